"""What uv makes of a notebook's block: packages added and removed, and the lock. uv reads and writes the block as a script's."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _download, _files, _process, _report, index, system, wheels
from colab_env.errors import BuildError, CommandError, NoSuchPythonError, UsageError
from colab_env.interpreter import parse_specifier
from colab_env.locks import installing, script_block, uv_install
from colab_env.pyproject import Pyproject
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.machine import Machine


def empty_block(python: str | None = None) -> str:
    """Return a block that names no package, for `python`, a version or a specifier; by default for this one and newer."""
    # A bare "3.12" is what `--python` takes everywhere; a block wants a specifier, and uv writes this one for it.
    is_version = python is not None and all(part.isdigit() for part in python.split("."))
    specifier = f">={python}" if is_version else python or f">={sys.version_info.major}.{sys.version_info.minor}"
    parse_specifier(specifier)
    return f'# /// script\n# requires-python = "{specifier}"\n# dependencies = []\n# ///'


def with_packages(
    block: str, arguments: Sequence[str | Path], *, lock: str | None, notebook: Path, machine: Machine
) -> tuple[str, str | None]:
    """Return the block, and its lock where it has one, after `uv add --script` or `uv remove --script` with these arguments.

    A block that is locked is resolved anew, as uv does it. Raises CommandError, NetworkError or BuildError.
    """
    return _run_uv(arguments, block=block, lock=lock, notebook=notebook, machine=machine)


def locked(block: str, *, lock: str | None, notebook: Path, machine: Machine, upgrade: bool = False) -> str:
    """Return the lock of a block; versions that are locked and fit stay, unless `upgrade`."""
    arguments = ["lock", *(["--upgrade"] if upgrade else [])]
    with _report.activity(f"Locking what {notebook.name} asks for"):
        _, text = _run_uv(arguments, block=block, lock=lock, notebook=notebook, machine=machine)
    return text or ""


def check_requirements(requirements: Sequence[str]) -> None:
    """Raise UsageError for what uv would take as an option, or refuse only after it has written."""
    from packaging.requirements import InvalidRequirement, Requirement

    for text in requirements:
        if text.startswith("-") or not text.strip():
            msg = f"{text!r} is not a package"
            raise UsageError(
                msg, hint="write a name, with a version if need be such as 'pandas>=2'; nothing was changed"
            )
        if "://" in text.partition(" @ ")[0] or text.startswith((".", "/", "~")):
            continue  # an address or a directory, whose name uv finds out
        try:
            Requirement(text)
        except InvalidRequirement as error:
            reason = str(error).splitlines()[0]
            msg = f"{text!r} is not a package as pip writes it: {reason}"
            raise UsageError(
                msg, hint="such as pandas, 'pandas>=2' or 'rich[jupyter]==14.*'; nothing was changed"
            ) from error


def _run_uv(
    arguments: Sequence[str | Path], *, block: str, lock: str | None, notebook: Path, machine: Machine
) -> tuple[str, str | None]:
    uv = installing.installer(machine, pyproject=Pyproject.read(notebook.parent))
    verb, *rest = arguments
    specifier = script_block.read(block, notebook).requires_python
    # uv looks on PATH alone, and would fetch another one; this package finds Pythons in more places.
    python = _python(specifier, machine)
    which: list[str | Path] = ["--python", python] if python else []
    with _as_script(notebook, block=block, lock=lock) as script:
        lock_file = script.with_name(f"{script.name}.lock")
        try:
            argv: list[str | Path] = [
                uv.program,
                verb,
                "--quiet",
                *which,
                "--script",
                script,
                *rest,
            ]
            wheels.run_uv(argv, environ=uv.environ, cwd=notebook.parent)
        except CommandError as error:
            tool_lines = wheels.without_advice(error.lines)
            plain = CommandError(error.message, hint=error.hint, returncode=error.returncode, lines=tool_lines)
            translated = uv_install.translate_error(plain, uv.environ)
            if isinstance(translated, BuildError):
                msg = translated.message.replace(str(script), str(notebook))
                hint = f"{unbuilt_hint(tool_lines, machine)}; nothing was changed"
                raise BuildError(msg, hint=hint, returncode=error.returncode, lines=tool_lines) from error
            if translated is not plain:
                raise translated from error
            # The name of the file between us and uv is nobody's business.
            lines = [line.replace(str(script), str(notebook)) for line in _process.decisive_lines(tool_lines)]
            msg = f"uv cannot {verb} for {short(notebook)}: " + " ".join(line.strip() for line in lines)
            hint = "change what is asked for; nothing was changed"
            raise CommandError(msg, hint=hint, returncode=error.returncode, lines=tool_lines) from error
        text = script_block.block(script).rstrip("\n")
        written = _files.content(lock_file)
    return text, None if written is None else written.decode()


def unbuilt_hint(lines: Sequence[str], machine: Machine) -> str:
    """Return what to do about a package that could not be built: another Python, where the index has wheels for one."""
    from packaging.utils import canonicalize_name

    match = re.search(r"Failed to (?:download and )?build `?([\w.-]+)==([\w.+!-]+)", "\n".join(lines))
    address = index.settings(machine).url or index.default_url()
    page = _download.read_once(f"{address.rstrip('/')}/{canonicalize_name(match[1])}/") if match and address else None
    if match is None or page is None:
        return "change what is asked for"
    name = re.sub("[-_.]+", "[-_.]+", match[1])
    files = rf"\b{name}-{re.escape(match[2])}-cp3(\d+)-[\w.]+-manylinux[\w.]*_{platform.machine()}\.whl"
    tags = re.findall(files, page, re.IGNORECASE)
    if not tags:
        return f"{match[1]} {match[2]} has no wheel for this kind of machine: ask for another version"
    newest = max(map(int, tags))
    return f'wheels of {match[1]} {match[2]} go up to Python 3.{newest}: write `requires-python = "==3.{newest}.*"` into the block'


def _python(requires_python: str | None, machine: Machine) -> Path | None:
    """Return an interpreter of this machine that fits, its own first, or None: uv then gets one."""
    specifier = parse_specifier(requires_python or "*")
    machine_python = system.inspect(machine.machine_python, machine=machine)
    if machine_python is not None and specifier.contains(machine_python.version):
        return machine_python.path
    try:
        return system.find(specifier, machine=machine).path
    except NoSuchPythonError:
        return None


@contextlib.contextmanager
def _as_script(notebook: Path, *, block: str, lock: str | None) -> Iterator[Path]:
    # Beside the notebook, for relative paths in `[tool.uv.sources]` start from there.
    script = notebook.with_name(f".{notebook.stem}-{os.getpid()}.py")
    lock_file = script.with_name(f"{script.name}.lock")
    try:
        _files.write_text(script, f"{block}\n", mode=0o600)
        if lock is not None:
            _files.write_text(lock_file, lock, mode=0o600)
        yield script
    finally:
        _files.unlink(script)
        _files.unlink(lock_file)
