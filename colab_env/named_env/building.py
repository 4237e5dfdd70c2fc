"""Make the next build of a named environment, beside the ones that are there: verified before it takes the name."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from colab_env import (
    _files,
    _process,
    _report,
    _state,
    _transactions,
    content,
    index,
    proving,
    system,
    uv,
    wheels,
)
from colab_env.errors import (
    BrokenEnvironmentError,
    ColabEnvError,
    CommandError,
    NetworkError,
    NoSuchPythonError,
    UsageError,
)
from colab_env.interpreter import Interpreter, parse_specifier
from colab_env.jupyter import kernelspec
from colab_env.locks import registry
from colab_env.locks.installing import Target
from colab_env.named_env import additions, base_dirs, builds, bytecode, kernels, locking
from colab_env.named_env.inventory import MadeFrom, NamedEnvironment, Receipt, packages, version_changes
from colab_env.named_env.recipe import without_secrets
from colab_env.named_env.repacking import SOURCES
from colab_env.named_env.reports import VersionChange
from colab_env.results import short
from colab_env.step import changing

if TYPE_CHECKING:
    from colab_env.machine import Machine
    from colab_env.named_env.recipe import Recipe
    from colab_env.request import Request
    from colab_env.wheels import WheelInstaller

Hashes = Mapping[str, Collection[str]]
REQUIREMENTS = "colab-env-requirements.txt"
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_PROOF = "import sys; assert sys.prefix != sys.base_prefix"


def build(
    env: NamedEnvironment,
    recipe: Recipe,
    *,
    machine: Machine,
    keep: int | None = None,
    added: tuple[str, ...] = (),
    more: tuple[str, ...] = (),
    copy: Path | None = None,
    locked: Path | None = None,
    then: Callable[[list[VersionChange]], bool] = lambda _: True,
) -> None:
    """Make the next build, verify it, and let the name stand for it; what runs goes on in the build that it was started from.

    Whatever fails leaves the build that is there. `keep` says how many earlier ones stay, from now on; what somebody has
    `added` by hand is installed too, and `more` packages that the recipe names and the lock does not; `copy` is what there
    is of a requirements file that is gone. `locked` is a directory with a lock of ours, which says alone what is installed.
    `then` gets what has changed, and says whether the build is to be the current one, or to go again. Raises NotOursError
    where the name is anybody else's.
    """
    builds.take_in(env)
    everybodys = base_dirs.is_systems(env.base)
    python = choose_python(recipe, machine=machine, everybodys=everybodys)
    number, previous = builds.next_number(env), env.current
    follows = previous or next(iter(env.whole_builds()), None)  # whose link is gone
    path = env.build(number)
    try:
        with _transactions.replacing(path), additions.sources(env.directory, added, machine=machine) as by_hand:
            read = recipe if copy is None else replace(recipe, requirements=copy)
            if locked is None:
                where = recipe.requirements.parent if recipe.requirements else None
                survey, hashes = _fill(
                    path, read, python=python, machine=machine, prompt=env.name, added=by_hand, cwd=where
                )
                _keep_requirements(path, read)
                lock_build(path, recipe=read, machine=machine, survey=survey, hashes=hashes)
            else:
                survey, hashes = (
                    _fill_from_lock(
                        path, read, locked, python=python, machine=machine, prompt=env.name, added=by_hand, more=more
                    ),
                    {},
                )
            if everybodys:
                _open_to_all(env, path)
            earlier_count = builds.recorded_keep(env) if keep is None else keep
            builds.doom(env, [number])
            write_receipt(
                path, recipe, python=python, survey=survey, hashes=hashes, number=number, machine=machine, follows=follows,
                keep=earlier_count, added=added,
            )  # fmt: skip
        try:
            changes = version_changes(packages(env.directory) if previous else [], packages(path))
            if not then(changes):
                _files.remove(path)
                return
            with builds.pointed(env, number):
                kernels.register(env, machine=machine)
        except BaseException:
            _files.remove(path)
            raise
    finally:
        builds.remove_if_empty(env)
    builds.collect(env, keep=builds.keep_count(env, machine=machine), spared=previous)


def _open_to_all(env: NamedEnvironment, path: Path) -> None:
    """Let everybody read a build and what is above it: uv's cache has the modes of when it was filled.

    A base that somebody has configured has the mode that he gave it.
    """
    directories = (env.base.parent, env.base) if env.base == base_dirs.SYSTEM else ()
    for entry in (*directories, env.builds.parent, env.builds, path, *path.rglob("*")):
        if not entry.is_symlink():
            _files.open_to_all(entry)


def choose_python(recipe: Recipe, *, machine: Machine, everybodys: bool = False) -> Interpreter:
    """Return the Python that is asked for; uv installs one that the machine lacks, if the network may be used.

    For an environment of `everybodys`, only one that everybody can run. Raises NoSuchPythonError.
    """
    requested = recipe.specifier(machine)
    if "/" in requested:
        interpreter = system.at_path(_files.named_path(requested), machine=machine)
        if everybodys and (closed := _files.closed_to_others(interpreter.path)):
            raise _of_one_account(interpreter, closed)
        return interpreter
    if everybodys:  # root's own directory of Pythons is closed to others
        machine = replace(machine, environ={**machine.environ, "UV_PYTHON_INSTALL_DIR": str(base_dirs.PYTHONS)})
    closed_ones = []

    def is_usable(python: Interpreter) -> bool:
        closed = _files.closed_to_others(python.path) if everybodys else None
        if closed is not None:
            closed_ones.append((python, closed))
        return closed is None

    machine_python = system.inspect(machine.machine_python, machine=machine)
    fits = requested == "*" or (
        machine_python is not None and parse_specifier(requested).contains(machine_python.version)
    )
    if machine_python is not None and fits and is_usable(machine_python):
        return machine_python
    specifier = parse_specifier(requested)
    try:
        return system.find(specifier, machine=machine, accept=is_usable)
    except NoSuchPythonError as error:
        program = uv.find(machine)
        if program is None or recipe.wheels is not None:
            if closed_ones:
                raise _of_one_account(*closed_ones[0]) from error
            raise
        return uv.install_python(program, specifier, machine=machine, index=index.settings(machine))


def _of_one_account(python: Interpreter, closed: Path) -> NoSuchPythonError:
    msg = f"nobody but root could use an environment with {python.path}: others may not enter {closed}"
    hint = "install a Python for the whole machine, or uv, which brings one; or take another --python"
    return NoSuchPythonError(msg, hint=hint)


def write_receipt(
    path: Path,
    recipe: Recipe,
    *,
    python: Interpreter,
    number: int,
    machine: Machine,
    survey: content.Survey | None = None,
    hashes: Hashes = MappingProxyType({}),
    follows: int | None = None,
    keep: int | None = None,
    added: tuple[str, ...] = (),
) -> None:
    """Mark a build as ours and complete; `hashes` are those that its lock file locks names by, `survey` an earlier look at it."""
    builds.mark(path, number, path=path)
    _files.discard(path / ".lock")  # uv's, which lets everybody write to it
    survey = content.Survey(path, earlier=survey)
    receipt = Receipt(
        python=MadeFrom(**vars(python), real=(path / "bin/python").resolve()),
        recipe=recipe.recorded(),
        inputs=recipe.digest(machine),
        packages=tuple(packages(path)),
        size=survey.size,
        created=time.time(),
        follows=follows,
        keep=keep,
        added=added,
        path=path,
    )
    content.write(path, survey.content(hashes))
    _state.complete(path, receipt)


def verify(path: Path, *, machine: Machine, alone: bool = True) -> None:
    """Raise BrokenEnvironmentError unless its Python starts and, if it stands `alone`, its packages fit together."""
    python = path / "bin" / "python"
    try:
        _process.run([python, "-I", "-c", _PROOF], environ=_process.child_environ(machine.environ))
        if alone:
            _check_packages(path, machine)
    except CommandError as error:
        msg = "\n".join([f"the environment does not work: {error.message.splitlines()[0]}", *error.lines[-6:]])
        raise BrokenEnvironmentError(msg, hint="nothing was changed") from error


def _fill(
    path: Path,
    recipe: Recipe,
    *,
    python: Interpreter,
    machine: Machine,
    prompt: str,
    added: tuple[str, ...] = (),
    cwd: Path | None = None,
) -> tuple[content.Survey, Hashes]:
    """Make it and install what is wanted, proven file by file; return the hashes that its lock file locks names by, too.

    Relative paths in a requirements file start at `cwd`, as long as that is there.
    """
    cwd = cwd if cwd and cwd.is_dir() else None
    if recipe.wheels is None and (recipe.packages or recipe.requirements or added):
        # With uv it is several times as fast, and environments share their bytes where the file system lets them; pip does it too.
        with contextlib.suppress(NetworkError):
            uv.obtain(machine)
    installer, request = _installer(machine, path), recipe.request(machine)
    hashes: dict[str, Collection[str]] = {}

    def install() -> None:
        _files.empty(path)
        visible = recipe.system_site_packages
        installer.make_venv(path, python.path, system_site_packages=visible, prompt=prompt)
        source = ["--no-index", "--find-links", str(recipe.wheels)] if recipe.wheels else []
        if installer.uv:
            # uv (seen in 0.13.9) takes what it unpacked or built of another wheel or directory of that name and version.
            source += (
                ["--reinstall"] if recipe.wheels else [f"--reinstall-package={name}" for name in recipe.local_names()]
            )
        if request is not None and recipe.requirements is None:
            hashes.update(_install_project(path, request, recipe, source=source))
        packages = () if recipe.script else recipe.packages  # which its lock says too
        requirements = ["-r", str(recipe.requirements)] if recipe.requirements else list(packages)
        try:
            if requirements or added:
                installer.install([*source, *requirements, *added], python=path / "bin/python", cwd=cwd)
        except ColabEnvError:
            if not (added and recipe.wheels):
                raise
            if requirements:
                installer.install([*source, *requirements], python=path / "bin/python", cwd=cwd)
            _install_added(added, recipe, source=source, python=path / "bin/python", installer=installer)
        bytecode.date_sources(path)

    survey, _ = proving.prove(path, install, unpacked=installer)
    survey = bytecode.fill(path, survey, python=python, machine=machine)
    kernelspec.write_ipython_config(path)
    verify(path, machine=machine, alone=not recipe.system_site_packages)
    return survey, hashes


def _install_added(
    added: Sequence[str],
    recipe: Recipe,
    *,
    source: Sequence[str],
    python: Path,
    installer: WheelInstaller,
    versions: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Install what somebody has added by hand, at the `versions` that it had, or, where these are gone, at any.

    A directory of wheels may not be where it came from: then an index is asked.
    """
    pinned = [
        f"{requirement}=={version}"
        if _NAME.fullmatch(requirement) and (version := versions.get(locking.name_of(requirement)))
        else requirement
        for requirement in added
    ]
    wider = ("--find-links", str(recipe.wheels)) if recipe.wheels else source
    *attempts, last = dict.fromkeys([(*source, *pinned), (*wider, *pinned), (*wider, *added)])
    for attempt in attempts:
        with contextlib.suppress(ColabEnvError):
            return installer.install(attempt, python=python)
    return installer.install(last, python=python)


def _fill_from_lock(
    path: Path,
    recipe: Recipe,
    locked: Path,
    *,
    python: Interpreter,
    machine: Machine,
    prompt: str,
    added: tuple[str, ...] = (),
    more: tuple[str, ...] = (),
) -> content.Survey:
    """Make it, and install what the lock in a directory says, which it then has itself, with the files beside it.

    What somebody has `added` by hand stays at the version that it has there. Raises HashMismatchError for a package that is
    not, file by file, what was locked.
    """
    installer = _installer(machine, path)
    in_lock, lock = locking.names(locked / locking.FILE), locked / locking.FILE
    by_hand = [each for each in added if each not in more and locking.name_of(each) not in in_lock]
    # Another version of what is locked, too.
    missing = [*by_hand, *(requirement for requirement in more if requirement not in in_lock)]
    pairs = (each.rpartition("-") for each in packages(locked))
    versions = {locking.name_of(name): version for name, _, version in pairs}
    source = ["--no-index", "--find-links", str(recipe.wheels)] if recipe.wheels and recipe.wheels.is_dir() else []

    def install() -> None:
        _files.empty(path)
        visible = recipe.system_site_packages
        installer.make_venv(path, python.path, system_site_packages=visible, prompt=prompt)
        locking.install(lock, python=path / "bin/python", installer=installer)
        if missing:
            locking.require_same(lock, content.Survey(path))
            if by_hand:
                _install_added(
                    by_hand, recipe, source=source, python=path / "bin/python", installer=installer, versions=versions
                )
            if more:
                installer.install([*source, *more], python=path / "bin/python")
        bytecode.date_sources(path)

    survey, _ = proving.prove(path, install, unpacked=installer)
    survey = bytecode.fill(path, survey, python=python, machine=machine)
    if not missing:
        locking.require_same(lock, survey)
    for name in (locking.FILE, SOURCES, REQUIREMENTS):
        if (locked / name).exists():
            _files.copy(locked / name, path / name)
    if missing or not locking.is_for(lock, python.short_version):
        lock_build(path, recipe=recipe, machine=machine, survey=survey)
    kernelspec.write_ipython_config(path)
    verify(path, machine=machine, alone=not recipe.system_site_packages)
    return survey


def lock_build(
    path: Path,
    *,
    recipe: Recipe,
    machine: Machine,
    survey: content.Survey | None = None,
    hashes: Hashes = MappingProxyType({}),
    into: Path | None = None,
) -> None:
    """Write the lock of what is installed in a build, there or `into` another directory, with the files that no index has.

    `survey` is what has been read of it already.
    """
    requirements, house = recipe.requirements, path / SOURCES
    included = registry.find(requirements.parent, requirements).text if requirements and requirements.exists() else ""
    wheels = [directory for directory in (recipe.wheels, house) if directory is not None and directory.is_dir()]
    locking.write(
        path,
        survey or content.Survey(path),
        into=into,
        wheelhouses=wheels,
        is_offline=recipe.wheels is not None,
        installer=_installer(machine, path),
        hashes=hashes,
        options=locking.index_options(included, requirements.parent if requirements else path),
    )


def _keep_requirements(path: Path, recipe: Recipe) -> None:
    """Keep a requirements file in the build, if it includes no other: `upgrade` can do without it then."""
    if recipe.requirements is None:
        return
    read = registry.find(recipe.requirements.parent, recipe.requirements)
    if len(read.format.inputs(read)) == 1:
        _files.write_text(path / REQUIREMENTS, without_secrets(read.text))


def _install_project(path: Path, request: Request, recipe: Recipe, *, source: list[str]) -> Hashes:
    machine, project_lock = request.machine, recipe.lock(request)
    if project_lock is None:
        _installer(machine, path).install([*source, str(request.project)], python=path / "bin/python")
        return {}
    if project_lock.format.brings_python:
        msg = f"{short(project_lock.path)} is conda's, and conda makes no named environments"
        hint = "lock the project with Poetry or uv; or use setup(interpreter='miniconda') for a kernel"
        raise UsageError(msg, hint=hint)
    target = Target(
        machine=machine,
        environment=path,
        uv=uv.find(machine) if recipe.wheels else uv.obtain(machine),
        pip=False,
        editable=False,
        options=tuple(source),
    )
    return project_lock.format.install(project_lock, request.selection, target=target)


def add_pip(env: NamedEnvironment, *, machine: Machine) -> None:
    """Put pip into an environment, for somebody who runs it: Python's own where it has one, else from the index."""
    with changing("create", machine, env.lock, recorded=False), _report.screen():
        python = env.directory / "bin/python"
        if (python.parent / "pip").is_file():
            return  # another run was quicker
        for info in env.directory.glob("lib/python3*/site-packages/*.dist-info"):
            # Of one that was killed: the RECORD comes last, and without it these count as installed.
            if info.name.partition("-")[0] in additions.BUNDLED and not (info / "RECORD").exists():
                _files.remove(info)
        with _report.activity(f"Putting pip into the environment {env.name!r}"):
            try:
                argv: list[str | Path] = [python, "-I", "-m", "ensurepip", "--default-pip"]
                _process.run(argv, environ=_process.child_environ(machine.environ))
            except CommandError:  # Debian leaves it out
                _installer(machine, env.directory).install(["pip"], python=python)
            # Nobody has asked for these packages: the next build does without, until somebody runs pip again.
            for mark in env.directory.glob("lib/python3*/site-packages/*.dist-info/REQUESTED"):
                if mark.parent.name.partition("-")[0] in additions.BUNDLED:
                    _files.discard(mark)


def _installer(machine: Machine, path: Path) -> WheelInstaller:
    installer = uv.installer(machine, index.settings(machine))
    environ = {**_files.unshared(path.parent), **installer.environ}
    # What is compiled comes from `bytecode`.
    return replace(installer, environ={**environ, "UV_COMPILE_BYTECODE": "0", "PIP_NO_COMPILE": "1"})


def _check_packages(path: Path, machine: Machine) -> None:
    installer, python = _installer(machine, path), path / "bin" / "python"
    if installer.uv is not None:
        wheels.run_uv([installer.uv, "pip", "check", "--python", python], environ=installer.environ)
    else:
        argv: list[str | Path] = [installer.machine_python, "-m", "pip", "--python", python, "check"]
        _process.run(argv, environ=installer.environ)
