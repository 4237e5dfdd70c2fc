"""One report about a machine, to read or to paste into an issue: what is here, what starts, what was changed, what is known.

It starts every Python kernel once and changes nothing. Nothing in it is a secret: of variables it names the names.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import site
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from colab_env import _report, choice, diagnose, index, kernel, undoing, uv
from colab_env.errors import ColabEnvError
from colab_env.jupyter import kernelspec
from colab_env.machine import Machine
from colab_env.miniconda import _overlay
from colab_env.part import Part
from colab_env.results import CardResult, short

_LITTLE = 2_000_000_000  # bytes; what a set-up with a large lock file needs at once
_SHOWN = 12
_NOT_TRIED = "not tried"
_LONG = 6  # characters; shorter values are switches and numbers
# Words such as `token=…`, and the beginnings that services give their keys.
_SECRET = re.compile(
    r"((?:token|secret|passw(?:or)?d|pass|api_?key|credential)\w*[\"']?\s*[=:]\s*)\S+"
    r"|\b(?:gh[oprsu]_|github_pat_|glpat-|sk-|hf_|xox[a-z]-|AKIA|AIza)[\w-]{8,}",
    re.IGNORECASE,
)
# They change what Python, pip, uv or a kernel does, and a report has to say that they are set.
_TELLING = ("PYTHON", "PIP_", "UV_", "POETRY_", "CONDA_", "JUPYTER", "IPYTHON", "COLAB_ENV_", "VIRTUAL_ENV", "LD_")
# Not PYTHONPATH and LD_PRELOAD: Colab itself sets them, and a kernel of ours has no PYTHONPATH.
_HARMFUL = {
    "PYTHONHOME": "every other Python looks for its library there: unset it",
    "PIP_TARGET": "pip installs there and nowhere else: unset it",
    "PIP_USER": "pip cannot install into an environment with it: unset it",
}


@dataclass(frozen=True, kw_only=True)
class Report(CardResult):
    """What `doctor` found; `changed` are the paths that colab-env changed, the newest first.

    `untried` are kernels that were not started: another language's, or where nothing here can speak to one.
    """

    parts: tuple[Part, ...]
    changed: tuple[str, ...]
    untried: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Say whether nothing is wrong."""
        return all(part.problem is None for part in self.parts)

    def __repr__(self) -> str:
        wrong = sum(part.problem is not None for part in self.parts)
        last = f"✗ {wrong} of {len(self.parts)} need a look, see above" if wrong else "✓ Nothing wrong was found"
        more = len(self.changed) - _SHOWN
        changes = [f"  {path}" for path in self.changed[:_SHOWN]] + ([f"  and {more} more"] if more > 0 else [])
        listing = ["Changed by colab-env, and taken back by `colab-env undo`:", *changes] if changes else []
        untried = [f"Kernels that were not tried: {', '.join(self.untried)}"] if self.untried else []
        return "\n".join([*map(repr, self.parts), *untried, *listing, last])

    def _repr_html_(self) -> str:
        from colab_env import cards

        wrong = [part for part in self.parts if part.problem is not None]
        title = f"{len(wrong)} of {len(self.parts)} need a look" if wrong else "Nothing wrong was found"
        listed = "".join(f"<p><code>{escape(path)}</code></p>" for path in self.changed)
        return cards.card(
            title,
            [part.row(0) for part in sorted(self.parts, key=lambda part: part.problem is None)],
            mark="✗" if wrong else "✓",
            notes=[f"Kernels that were not tried: {', '.join(self.untried)}"] if self.untried else [],
            more=cards.folded(f"Changed by colab-env, and taken back by undo() ({len(self.changed)})", listed)
            if listed
            else "",
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        parts = [{**asdict(part), "where": part.where and str(part.where)} for part in self.parts]
        return {"ok": self.ok, "parts": parts, "changed": list(self.changed), "untried": list(self.untried)}


@_report.ends_in_card
def doctor() -> Report:
    """Look at all of a machine: host, Pythons, kernels and whether each starts, settings, and what colab-env changed.

    Takes a few seconds for each kernel. What cannot be looked at is a problem of the report, never an error.
    """
    machine = Machine.detect()
    with _report.activity("Starting the kernels"), ThreadPoolExecutor(2) as pool:
        registered = kernelspec.registered(machine)
        # Two at a time: each takes a processor for seconds while it starts.
        tried = [pool.submit(copy_context().run, _kernel, entry, machine) for entry in registered]
        parts = [*_looked_at(machine), *(part for future in tried if (part := future.result()) is not None)]
    untried = tuple(entry.name for entry, part in zip(registered, tried, strict=True) if part.result() is None)
    return Report(parts=tuple(parts), changed=tuple(map(short, undoing.changed_paths(machine))), untried=untried)


def _looked_at(machine: Machine) -> Iterator[Part]:
    for look in (_package, _host, _pythons, _tools, _disk, _variables, _settings, _state, _startup, diagnose.notebooks):
        yield from _guarded(look, machine)


def _guarded(look: Callable[[Machine], Iterator[Part]], machine: Machine) -> Iterator[Part]:
    """Yield the parts that a function reports; where it fails, that is reported too."""
    try:
        yield from list(look(machine))
    except Exception as error:  # noqa: BLE001  on an odd machine, what else can be said is wanted all the more
        yield Part(name=look.__name__.strip("_").capitalize(), what="unknown", where=None, problem=_message(error))


def _message(error: Exception) -> str:
    return error.message if isinstance(error, ColabEnvError) else f"{type(error).__name__}: {error}"


def _package(_: Machine) -> Iterator[Part]:
    try:
        version = importlib.metadata.version("colab-bootstrap")
    except importlib.metadata.PackageNotFoundError:
        version = "not installed, run from its directory"
    other = None
    # It owns the import name on PyPI, and whichever was installed last wins file by file.
    if any(importlib.metadata.distributions(name="colab-env")):
        other = (
            "the distribution colab-env, which is somebody else's, brings a module of the same name: "
            "pip uninstall colab-env, then pip install --force-reinstall colab-bootstrap"
        )
    yield Part(name="colab-env", what=version, where=Path(__file__).parent, problem=other)


def _host(machine: Machine) -> Iterator[Part]:
    cores, libc = os.cpu_count(), " ".join(platform.libc_ver())
    yield Part(
        name="Machine",
        what=f"{machine.host.title}; {platform.system()} {platform.machine()}, {libc}, {cores} cores",
        where=None,
        problem=None,
    )


def _pythons(machine: Machine) -> Iterator[Part]:
    yield Part(name="This Python", what=platform.python_version(), where=Path(sys.executable), problem=None)
    gone = None if machine.machine_python.is_file() else "it is gone, and the machine's own tools with it"
    yield Part(name="Machine's", what="the Python of the machine", where=machine.machine_python, problem=gone)
    if (chosen := choice.python(machine)) is not None:
        gone = None if chosen.path.is_file() else "it is gone: run colab-env setup"
        yield Part(name="Chosen", what=f"{chosen.version}, {chosen.source}", where=chosen.path, problem=gone)


def _tools(machine: Machine) -> Iterator[Part]:
    program = uv.find(machine)
    yield Part(name="uv", what="there" if program else "none; a set-up brings its own", where=program, problem=None)
    search = machine.environ.get("PATH")
    tools = {name: shutil.which(name, path=search) for name in ("conda", "poetry", "jupyter", "git", "gcc")}
    commands = ", ".join(f"{name} {short(path)}" for name, path in tools.items() if path)
    missing = ", ".join(name for name, path in tools.items() if path is None)
    yield Part(name="Commands", what=f"{commands or 'none'}" + (f"; no {missing}" if missing else ""), where=None)


def _disk(machine: Machine) -> Iterator[Part]:
    for name, directory in (("Disk", machine.data), ("Temporary", Path(tempfile.gettempdir()))):
        # The directory may not exist yet; its disk does.
        parent = next(path for path in (directory, *directory.parents) if path.is_dir())
        free = shutil.disk_usage(parent).free
        little = f"only {_report.megabytes(free)} are free: `colab-env cache prune`, or delete downloads"
        closed = (
            None if os.access(parent, os.W_OK) else "it cannot be written: let COLAB_ENV_HOME name another directory"
        )
        yield Part(
            name=name,
            what=f"{free / 1e9:.1f} GB free",
            where=directory,
            problem=closed or (little if free < _LITTLE else None),
        )


def _variables(machine: Machine) -> Iterator[Part]:
    names = sorted(name for name, value in machine.environ.items() if value and name.startswith(_TELLING))
    harmful = [f"{name} is set: {why}" for name, why in _HARMFUL.items() if machine.environ.get(name)]
    yield Part(
        name="Variables", what=", ".join(names) or "none that matter", where=None, problem="; ".join(harmful) or None
    )


def _settings(machine: Machine) -> Iterator[Part]:
    settings = index.settings(machine)
    address = _report.clean(settings.url or "the usual one", _report.hidden(machine.environ))
    yield Part(name="Index", what=address, where=None, problem=None)


def _state(machine: Machine) -> Iterator[Part]:
    if (fault := choice.fault(machine)) is not None:
        yield Part(name="Notes", what="damaged", where=machine.data, problem=f"{fault}: the next set-up writes it anew")
    for journal in (machine.data / "saved").glob("*/transaction.json"):
        where = _overlay.Transaction.read(journal.parent)
        problem = "a change by conda was interrupted: run the same command again, or colab-env undo"
        yield Part(name="conda", what="unfinished", where=where.prefix if where else journal, problem=problem)
    # The data directory goes by a rename first, so this is what a killed `undo` leaves.
    doomed = machine.data.with_name(f".{machine.data.name}.colab-env-doomed")
    if doomed.is_dir():
        yield Part(name="undo", what="unfinished", where=doomed, problem="it was interrupted: call undo again")


def _startup(machine: Machine) -> Iterator[Part]:
    """Say what runs in every Python or kernel and is not ours: with it, a kernel may behave unlike anybody else's."""
    directory = machine.home / ".ipython" / "profile_default" / "startup"
    files = sorted(path.name for path in directory.glob("*.*py") if not path.name.startswith("colab-env-"))
    if files:
        yield Part(name="Startup", what=f"IPython runs {', '.join(files)} in every kernel", where=directory)
    # Whatever stands in these files runs in every kernel, this package's own included.
    directories = [*site.getsitepackages(), site.getusersitepackages()]
    for path in (
        Path(directory) / f"{name}.py" for directory in directories for name in ("sitecustomize", "usercustomize")
    ):
        if path.is_file() and b"colab_env" not in path.read_bytes():
            yield Part(name="Startup", what="every Python of the machine runs it", where=path)


def _kernel(entry: kernelspec.Kernel, machine: Machine) -> Part | None:
    """Start a kernel and say whether it answers; None where it is not one that can be asked."""
    what = f"{entry.name} “{entry.display_name}”" + (f", {entry.tier}" if entry.tier else "")
    try:
        problem = _problem(entry, machine)
    except Exception as error:  # noqa: BLE001  a kernelspec may say anything
        problem = f"it could not be tried: {_message(error)}"
    if problem == _NOT_TRIED:
        return None
    return Part(name="Kernel", what=what, where=entry.directory, problem=problem and _masked(problem, entry.directory))


def _problem(entry: kernelspec.Kernel, machine: Machine) -> str | None:
    needed = entry.argv if entry.ours else entry.argv[:1]  # other words may name files that the kernel will write
    gone = next((word for word in needed if word.startswith("/") and not Path(word).exists()), None)
    if gone is not None:
        remedy = f"colab-env kernel remove {entry.name}" if entry.ours else f"jupyter kernelspec remove {entry.name}"
        return f"{short(gone)} is gone: {remedy}"
    if entry.problem:
        return entry.problem
    if entry.ours:
        outcome = kernel.try_registered(machine, entry.name)
    elif "ipykernel" in " ".join(entry.argv) and importlib.util.find_spec("jupyter_client"):
        # Start a kernel that somebody else registered, as its kernelspec says.
        spec = {
            "argv": [*entry.argv],
            "env": {},
            **json.loads((entry.directory / "kernel.json").read_text(encoding="utf-8")),
            "metadata": {"colab_env": {"project": str(machine.home)}},
        }
        outcome = kernel.try_kernel(
            spec,
            environ=kernelspec.started_environ(spec, machine.environ),
            checks=("kernel_info", "execute", "shutdown"),
            structured=False,
            machine=machine,
            site=entry.directory,
        )
    else:
        return _NOT_TRIED
    return outcome.failure and " | ".join([outcome.failure, *outcome.log[-2:]])


def _masked(text: str, directory: Path) -> str:
    """Return what a kernel printed without what may be a secret: a value that its kernelspec sets, or what looks like one."""
    try:
        values = json.loads((directory / "kernel.json").read_text(encoding="utf-8"))["env"].values()
    except (OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError):
        values = ()
    # The longest first: a short value may be a part of a long one.
    for value in sorted((item for item in values if isinstance(item, str)), key=len, reverse=True):
        # A path is no secret, and short words would turn the whole text into stars.
        if len(value) >= _LONG and not value.startswith("/"):
            text = text.replace(value, "***")
    return _SECRET.sub(lambda match: f"{match[1] or ''}***", text)
