"""Say, before anything is installed, what the machine has already, what will hide it, and what does not fit together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, interpreter_sources, system, venv
from colab_env.environment import require_python
from colab_env.interpreter import parse_specifier, unsupported_python_message
from colab_env.locks import requirements_text
from colab_env.locks.lock_format import reading
from colab_env.locks.requirements_text import RequiredVersion
from colab_env.machine import Machine
from colab_env.plans import comparison, distributions, keeping, project_needs
from colab_env.plans.comparison import Sides
from colab_env.plans.planned import Plan
from colab_env.request import PREFIX, InstallOptions, Request

if TYPE_CHECKING:
    from colab_env.interpreter_sources import ResolvedPython
    from colab_env.plans.keeping import SystemPackages

# A wheel's file name and size in one entry of a lock file's table.
_WHEEL = re.compile(r'[/"]([^/"\n]{1,300})\.whl"[^{}\n]{0,400}?\bsize = (\d{1,15})\b')


def plan(
    python: str | None = None,
    *,
    interpreter: str = "auto",
    project: str | Path = ".",
    lock: str | Path | None = None,
    extras: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    keep: Sequence[str] | None = None,
    prefix: str | Path = PREFIX,
    system_site_packages: bool | None = None,
    defaults: bool = False,
) -> Plan:
    """Say what `setup` with these arguments would bring, and what of the machine it hides or clashes with.

    Arguments as in `setup`. Nothing of the project or the machine is changed; uv, which reads most lock files, is put
    into this package's own directory where there is none. Of a Python that is not there yet only the version is known.
    What a package needs is known where its metadata is on this machine already; the rest shows when `setup` runs.
    Raises NoSuchPythonError, UsageError, ProjectFileError, or what reading the lock file raises.
    """
    machine = Machine.detect()
    source, prefix = interpreter_sources.named(
        interpreter, machine, project=project, python=python, prefix=prefix, defaults=defaults
    )
    request = Request.read(
        project,
        machine,
        options=InstallOptions.from_arguments(lock=lock, extras=extras, groups=groups, keep=keep),
        python=python,
        source=source,
        prefix=prefix,
        system_site_packages=system_site_packages,
        defaults=defaults,
    )
    resolved = interpreter_sources.source_for(request).resolve(request)
    require_python(request, resolved.python)
    return _plan(request, resolved, keeping.system_packages(machine, chosen=resolved.python))


def _plan(request: Request, resolved: ResolvedPython, present: SystemPackages) -> Plan:
    lock, python = request.lock, resolved.python
    site_paths = system.query_interpreter(python, machine=request.machine) if resolved.is_installed else None
    markers = site_paths.markers if site_paths else _markers_of(python.version)
    directories = site_paths.directories if site_paths and request.system_site_packages else ()
    needs = project_needs.read(lock.pyproject, markers, extras=request.options.extras)
    required = _locked_versions(request, resolved, present, markers)
    # Without a lock file only the ranges are known that pyproject.toml asks for.
    ranges = {need.name: RequiredVersion(name=need.name, version=need.text, exact=False) for need in needs}
    brought = keeping.Lock(required=required or ranges, needs=needs)
    chosen = keeping.choose(request.options.keep, brought, present=present, python=python)
    sides = Sides(
        required=brought.required,
        machine=present.packages,
        visible=distributions.read(directories),
        markers=markers,
        keep=chosen.packages,
        described=distributions.read((request.project / venv.NAME).glob("lib/python3*/site-packages")),
        downloads=_download_sizes(request, python.version),
    )
    return Plan(
        python=python,
        there=resolved.is_installed,
        machine=present.python,
        visible=not present.directories.isdisjoint(directories),
        lock=lock.path if lock.is_there and lock.format.is_lock else None,
        rows=tuple(comparison.rows(sides)),
        only_on_machine=comparison.only_on_machine(sides),
        conflicts=tuple(comparison.conflicts(sides)),
        notes=(*request.notes(), *chosen.notes, *_going(request, brought.required)),
        outgrown=_unsupported_python(request),
        saved=sum(package.size() for package in chosen.packages.values()),
    )


def _locked_versions(
    request: Request, resolved: ResolvedPython, present: SystemPackages, markers: Mapping[str, str]
) -> dict[str, RequiredVersion]:
    lock, machine, selection = request.lock, request.machine, request.selection
    if not lock.is_there:
        return {}
    # uv would have to start a Python that is not there: the machine's own stands in for it.
    with reading(lock):
        text = lock.format.peek(lock, selection, machine=machine, python_is_there=resolved.is_installed)
        if text is None:
            reader = resolved.python if resolved.is_installed else present.python or resolved.python
            text = lock.format.export(lock, selection, python=reader.path, machine=machine)
        return requirements_text.read(text, markers)


def _download_sizes(request: Request, version: str) -> dict[str, int]:
    """Return the bytes of the wheels that a uv.lock or a pylock.toml names for this platform, by the package's name."""
    import platform

    if request.lock.path.suffix not in (".lock", ".toml") or not request.lock.is_there:
        return {}
    text = (_files.content(request.lock.path) or b"").decode("utf-8", "replace")
    tag, sizes = "cp" + "".join(version.split(".")[:2]), dict[str, int]()
    for block in re.split(r"^\[\[packages?\]\]$", text, flags=re.MULTILINE)[1:]:
        name = re.search(r'^name = "([\w.-]{1,200})"$', block, re.MULTILINE)
        for filename, size in _WHEEL.findall(block):
            _, _, *_, pythons, abi, platforms = filename.split("-") if filename.count("-") >= 4 else [""] * 5
            is_pure = platforms == "any" and "3" in pythons
            is_own = "linux" in platforms and "musl" not in platforms and platform.machine() in platforms
            if name and (is_pure or (is_own and (tag in pythons or abi == "abi3"))):
                sizes[name[1]] = max(sizes.get(name[1], 0), int(size))
    return sizes


def _going(request: Request, required: Mapping[str, RequiredVersion]) -> list[str]:
    """Return a note about what is in the environment that is there and will not be in it any more."""
    receipt = request.receipt
    if receipt is None or receipt.inputs == request.inputs or not required:
        return []
    installed = venv.versions(request.project / venv.NAME)
    gone = [f"{name} {version}" for name, version in sorted(installed.items()) if name not in {*required, "pip"}]
    return [f"will be removed: {', '.join(gone)}"] if gone else []


def _unsupported_python(request: Request) -> str | None:
    own = system.machine_python(request.machine)
    if request.requires_python is None or own is None:
        return None
    asking, colab = request.lock.asks_for_python.name, request.machine.is_colab
    return unsupported_python_message(
        own.version, parse_specifier(request.requires_python), asking=asking, is_colab=colab
    )


def _markers_of(version: str) -> dict[str, str]:
    from packaging.markers import default_environment

    # Of a Python that is not installed yet, the platform is known all the same: it is this one's.
    full = version if version.count(".") > 1 else f"{version}.0"
    of_python = {
        "python_version": ".".join(full.split(".")[:2]),
        "python_full_version": full,
        "implementation_version": full,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    return {**{name: str(value) for name, value in default_environment().items()}, **of_python}
