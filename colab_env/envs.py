"""Named environments: made, listed, used, moved and removed by name, from one known place, without activation."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from colab_env import _file_locks, _files, _orphans, _process, _report, _state, _transactions
from colab_env.env_programs import script, unit, write_unit
from colab_env.errors import (
    BrokenEnvironmentError,
    ColabEnvError,
    NoSuchEnvironmentError,
    NoSuchProgramError,
    NotWritableError,
    UsageError,
)
from colab_env.machine import Machine
from colab_env.named_env import base_dirs, inventory, making, programs, scripts
from colab_env.named_env.base_dirs import check_environment_name
from colab_env.named_env.inventory import NamedEnvironment, Receipt
from colab_env.named_env.recipe import Recipe
from colab_env.named_env.reports import Build, EnvironmentInfo, PrunedEnvironment, Upgraded, VersionChange
from colab_env.results import StepResult, short
from colab_env.step import RUNNING

if TYPE_CHECKING:
    from colab_env.named_env.reports import CheckedEnvironment

Base = str | Path | None
_PIP = ("pip", "pip3")
_DAY = 86400  # seconds
UNUSED_DAYS = 30

__all__ = [
    "add", "adopt", "check", "create", "diff", "environ", "history", "list_environments", "path", "prune", "purge", "rename",
    "rollback", "run", "run_script", "script", "unit", "upgrade", "upgrade_all", "which", "write_unit",
]  # fmt: skip


def create(
    name: str,
    *packages: str,
    python: str | None = None,
    project: str | Path | None = None,
    requirements: str | Path | None = None,
    wheels: str | Path | None = None,
    system_site_packages: bool = False,
    kernel: bool = False,
    keep: int | None = None,
    base: Base = None,
) -> StepResult:
    """Make the environment `name` with these packages, or what a project's lock or a requirements file says.

    One that is there, healthy and made of the same, is left alone; else the next build is made, verified, and the name
    stands for it in one instant. What runs goes on in the build that it was started from. `python` is a version, a PEP 440
    specifier or a path; `wheels` a directory that is then the only source of packages, for machines without a network.
    `kernel` registers it for Jupyter under its name. `keep` says how many earlier builds stay (else `keep` in the
    configuration files, or one). Raises EnvironmentNameError, NoSuchPythonError, NotOursError, PreflightError,
    CommandError; then all is as before.
    """
    recipe = Recipe(
        python=python,
        packages=packages,
        project=Path(project) if project else None,
        requirements=Path(requirements) if requirements else None,
        wheels=Path(wheels) if wheels else None,
        system_site_packages=system_site_packages,
        kernel=kernel,
    ).checked()
    making.check_keep(keep)
    machine, env = _named(name, base)
    return making.make(env, recipe, machine=machine, keep=keep)


def list_environments(*, base: Base = None, measure: bool = False) -> list[EnvironmentInfo]:
    """Return every environment in every base, healthy or with the reason why not, and the processes that use it.

    Sizes are those of the day they were made, unless `measure`. Starts nothing.
    """
    bases = base_dirs.bases(Machine.detect(), base)
    used = programs.users(bases)
    return [inventory.info(env, programs.of(env, used), measure=measure) for env in inventory.everything(bases)]


def path(name: str, *, base: Base = None) -> Path:
    """Return the directory of the environment. Raises NoSuchEnvironmentError with near matches."""
    return _find(name, base).path


def which(name: str, program: str, *, base: Base = None) -> Path:
    """Return the path of a program of the environment. Raises NoSuchProgramError with near matches."""
    env = _find_settled(name, base)
    return _settled(env, env.program(program), directory=env.directory)


def environ(name: str, *, base: Base = None) -> dict[str, str]:
    """Return this process's environment as an activated environment has it: that of the build that is current now."""
    env = _find(name, base)
    return programs.activated_environ(env.directory, name, Machine.detect().environ)


def run(name: str, program: str, *arguments: str, keep_pythonpath: bool = False, base: Base = None) -> NoReturn:
    """Become a program of the environment: the same process and terminal, its own signals and exit code.

    PYTHONPATH is another Python's, and not passed on, unless `keep_pythonpath`. pip comes when it is run for the first time.
    """
    env = _find_settled(name, base)
    directory = env.directory  # read once: the name may stand for another build a moment later
    try:
        path = env.program(program, directory=directory)
    except NoSuchProgramError:
        if program not in _PIP:
            raise
        from colab_env.named_env import building

        building.add_pip(env, machine=Machine.detect())
        directory = env.directory
        path = env.program(program, directory=directory)
    environ = programs.activated_environ(directory, name, Machine.detect().environ, keep_pythonpath=keep_pythonpath)
    _settled(env, path, directory=directory)
    _process.become(path, arguments, environ)


def run_script(script: str | Path, *arguments: str, keep_pythonpath: bool = False, base: Base = None) -> NoReturn:
    """Become Python with a script, in the environment that its PEP 723 block asks for; the first use makes it.

    Settings of uv in the block, and a lock that `uv lock --script` wrote beside it, count as they do for uv. Raises
    ScriptError, and as `create` does.
    """
    path, machine = Path(script), Machine.detect()
    stamp = scripts.stamp(path, machine=machine)  # before it is read
    recipe = (scripts.recipe(path) or Recipe()).checked()
    name = scripts.environment_name(recipe, machine=machine)
    _, env = _named(name, base)
    if not env.is_complete() or env.health_check():
        making.make(env, recipe, machine=machine)
    if recipe.script is None:
        scripts.remember(path, name, stamp=stamp, base=env.base)
    run(name, "python", str(script), *arguments, keep_pythonpath=keep_pythonpath, base=base)


def purge(*names: str, force: bool = False, if_exists: bool = False, base: Base = None) -> list[StepResult]:
    """Remove environments, and their kernels with them.

    All names are checked before anything is removed. Raises NotAnEnvironmentError for what is no environment of ours,
    or a link; EnvironmentInUseError while programs of yours, root's or the owner's run from it (unless `force`);
    NoSuchEnvironmentError (unless `if_exists`). A build that somebody else runs goes when that ends.
    """
    from colab_env.named_env import moving

    machine = Machine.detect()
    bases = base_dirs.bases(machine, base)
    with contextlib.ExitStack() as last:
        for directory in bases:
            last.callback(moving.clear_leftovers, directory, machine=machine)
        candidates = [moving.find_removable(name, bases, if_exists=if_exists) for name in names]
        environments = [env for env in candidates if env is not None]
        if not force:
            for env in environments:
                _require_unused(env, machine)
        results = [moving.purge(env, machine=machine, force=force, if_exists=if_exists) for env in environments]
        return [result for result in results if result is not None]


def prune(*, older_than: float = UNUSED_DAYS, dry_run: bool = False, base: Base = None) -> list[PrunedEnvironment]:
    """Remove the environments of scripts (`run --script`) that no script has used for `older_than` days.

    The next start of such a script makes its environment again. Used means that its Python has started: the file system keeps
    that to the day. On one that keeps no times of reading, what counts is when it was made. Compiled files that no build has
    taken for as long go too. With `dry_run`, nothing is removed.
    """
    from colab_env.named_env import bytecode

    if older_than < 0:
        msg = f"{older_than} is not a number of days"
        raise UsageError(msg, hint="say how many days, such as 30")
    machine = Machine.detect()
    bases = base_dirs.bases(machine, base)
    used, results = programs.users(bases), []
    for env in inventory.everything(bases):
        days = _unused_days(env) if env.name.startswith(scripts.PREFIX) else -1
        if days >= older_than and not programs.of(env, used) and os.access(env.base, os.W_OK):
            receipt, error = env.receipt, None
            try:
                if not dry_run:
                    purge(env.name, base=env.base)
            except ColabEnvError as failure:
                error = failure
            size, reason = receipt.size if receipt else 0, "it would go" if dry_run else None
            results.append(PrunedEnvironment(name=env.name, days=int(days), size=size, reason=reason, error=error))
    if not dry_run:
        bytecode.forget_unused(machine, days=older_than)
        for directory in bases:
            scripts.forget_gone(directory)
    return results


def _unused_days(env: NamedEnvironment) -> float:
    times = [env.receipt.created if env.receipt else 0.0]
    with contextlib.suppress(OSError):
        times.append((env.path / "pyvenv.cfg").stat().st_atime)  # which Python reads when it starts
    return (time.time() - max(times)) / _DAY


def adopt(name: str, directory: str | Path, *, force: bool = False, base: Base = None) -> StepResult:
    """Make somebody else's virtual environment ours: move it to where `name` belongs, and write its receipt.

    Its programs are made to say the new place. Raises NotAnEnvironmentError, EnvironmentExistsError, or
    EnvironmentInUseError (unless `force`).
    """
    from colab_env.named_env import moving

    machine, env = _named(name, base)
    source = _files.named_path(directory).absolute()
    moving.clear_leftovers(env.base, machine=machine)
    _transactions.recover(source, wait=False)
    if moving.has_moved(source, env):
        return making.run_step("adopt", env, machine=machine)
    moving.require_environment(source)
    if not force:
        _require_unused(NamedEnvironment(name=source.name, base=source.parent), machine)

    def check() -> str:
        if source != env.path:
            moving.require_free(env)
        return f"from {short(source)}"

    def build() -> None:
        moving.adopt(source, env, machine=machine)

    return making.run_step("adopt", env, machine=machine, check=check, build=build)


def rename(name: str, new_name: str, *, force: bool = False, base: Base = None) -> StepResult:  # noqa: ARG001
    """Give an environment and its history another name; its programs and its kernel are told.

    What runs goes on where it was started from (`force`, which was needed for that, is taken and does nothing). Raises
    EnvironmentExistsError.
    """
    from colab_env.named_env import moving

    machine = Machine.detect()
    bases = base_dirs.bases(machine, base)
    for new in (NamedEnvironment(name=check_environment_name(new_name), base=directory) for directory in bases):
        moving.clear_leftovers(new.base, machine=machine)
        if moving.has_moved(new.base / name, new):
            return making.run_step("rename", new, machine=machine)
    env = _find(name, base)
    new = NamedEnvironment(name=new_name, base=env.base)

    def check() -> str:
        moving.require_free(new)
        return f"from {name!r}"

    def build() -> None:
        with _file_locks.locked(env.lock):
            inventory.find(name, [env.base])  # it may have gone while this run waited
            moving.rename(env, new, machine=machine)

    return making.run_step("rename", new, machine=machine, check=check, build=build)


def upgrade(
    name: str,
    *,
    python: str | None = None,
    keep: int | None = None,
    dry_run: bool = False,
    force: bool = False,  # noqa: ARG001
    base: Base = None,
) -> StepResult:
    """Make an environment anew: newest packages, or the lock as it is now, and another `python` if given.

    It is the next build, verified, and the name stands for it in one instant; whatever fails leaves the one that is there.
    What somebody has added with pip is installed too. What runs goes on in the build that it was started from (`force`,
    which was needed for that, is taken and does nothing). The result's notes say which versions have changed; with
    `dry_run`, the build is made, verified, and removed again. Raises as `create` does; `keep` is as there.
    """
    making.check_keep(keep)
    machine, env = Machine.detect(), _find(name, base)
    return making.upgrade(env, python=python, keep=keep, then=lambda _: not dry_run, machine=machine)


def upgrade_all(*, dry_run: bool = False, base: Base = None) -> list[Upgraded]:
    """Upgrade every environment that this account may change, one after the other; one that fails stays, and stops no other.

    A build in which no version has changed is removed again, so that the way back leads to other versions.
    """
    machine = Machine.detect()
    results = []
    for env in inventory.everything(base_dirs.bases(machine, base)):
        if os.access(env.base, os.W_OK):
            healthy = env.health_check() is None
            then = functools.partial(making.is_worth_it, dry_run=dry_run, healthy=healthy)
            try:
                result = making.upgrade(env, python=None, keep=None, then=then, machine=machine)
                results.append(Upgraded(name=env.name, result=result))
            except ColabEnvError as error:
                results.append(Upgraded(name=env.name, error=error))
    return results


def add(name: str, *packages: str, base: Base = None) -> StepResult:
    """Put more packages into an environment, for `upgrade` to know of; what is there stays at its version where they allow it.

    It is the next build, verified, as `upgrade` makes it: what runs goes on, and `rollback` leads back. Raises UsageError for
    what is no package, and as `create` does.
    """
    env = _find(name, base)
    if not packages:
        msg = "no package is named"
        raise UsageError(msg, hint=f"colab-env env add {name} flask, for example")
    return making.extend(env, packages, machine=Machine.detect())


def check(*names: str, deep: bool = False, repair: bool = False, base: Base = None) -> list[CheckedEnvironment]:
    """Compare environments, by default all, with what was installed: by their receipts, or `deep`, every file by its content.

    What was added since is said, and no problem. With `repair`, one that has problems is made anew of what its lock says, or
    as `upgrade` does it where that cannot be had; one whose link is gone gets it back, as by `rollback`. One that cannot be
    mended stays as it is, and stops no other.
    """
    machine = Machine.detect()
    every = inventory.everything(base_dirs.bases(machine, base))
    results = []
    for env in [_find_any(name, base) for name in names] if names else list(every):
        checked = inventory.check(env, machine=machine, deep=deep)
        if repair and checked.problems:
            try:
                receipt = env.receipt
                if env.is_lost or (receipt and env.was_moved(receipt)):
                    rollback(env.name, env.current, base=env.base)
                else:
                    making.repair(env, machine=machine)
                checked = inventory.check(env, machine=machine, deep=deep)
            except ColabEnvError as error:  # the others are mended all the same
                way = f"\n  → {error.hint}" if error.hint else ""
                checked = replace(checked, problems=(*checked.problems, f"it stays so: {error.message}{way}"))
        results.append(checked)
    return results


def history(name: str, *, base: Base = None) -> list[Build]:
    """Return the builds of an environment that are there, the newest first, and what runs from each. Starts nothing."""
    from colab_env.named_env import builds

    env = _find_any(name, base)
    return builds.history(env, programs.users([env.base]))


def rollback(name: str, number: int | None = None, *, base: Base = None) -> StepResult:
    """Let an environment be an earlier build again, by its `number`, or the one before the current one.

    Where the current one is gone, or the name stands for none, that is the newest. Nothing is installed: the name stands
    for another directory, and the next start takes that. A kernel is registered anew. A build that was moved here with its
    base is made to say so first.
    Raises NoSuchEnvironmentError for a build that is not there, with those that are.
    """
    from colab_env.named_env import builds, kernels

    machine, env = Machine.detect(), _find_any(name, base)
    target = number if number is not None else builds.way_back(env)
    if target is None:
        msg = f"the environment {name!r} has no earlier build"
        raise NoSuchEnvironmentError(msg, hint=f"see what there is: colab-env env history {name}")
    builds.directory(env, target)

    def check() -> str | None:
        if env.is_lost:
            return env.health_check()
        if target != (env.current or 1):
            return f"from build {env.current} to build {target}"
        receipt = env.receipt
        return f"it was moved here from {receipt.path}" if receipt and env.was_moved(receipt) else None

    def build() -> None:
        builds.directory(env, target)  # it may have gone while this run waited
        builds.settle_build(env, target)
        with builds.pointed(env, target):
            kernels.register(env, machine=machine)

    return making.run_step("rollback", env, machine=machine, check=check, build=build)


def diff(name: str, first: int | None = None, second: int | None = None, *, base: Base = None) -> list[VersionChange]:
    """Return the packages whose versions are others in the second build than in the first.

    By default the build before the current one, and the current one. Raises NoSuchEnvironmentError for a build that is not
    there.
    """
    from colab_env.named_env import builds

    env = _find_any(name, base)
    current = env.current or 1
    one = first if first is not None else next(iter(builds.earlier(env)), current)
    directories = (builds.directory(env, number) for number in (one, second if second is not None else current))
    old, after = map(inventory.packages, directories)
    return inventory.version_changes(old, after)


def _require_unused(env: NamedEnvironment, machine: Machine) -> None:
    """Raise EnvironmentInUseError while programs run from an environment, but for those that a killed run has left."""
    _orphans.end_orphans(machine.data / RUNNING)
    programs.require_unused(env)


def _find(name: str, base: Base) -> NamedEnvironment:
    return inventory.find(name, base_dirs.bases(Machine.detect(), base))


def _find_settled(name: str, base: Base) -> NamedEnvironment:
    """Return an environment; one that was moved or copied with its base says where it is from now on, if it is the caller's."""
    env = _find(name, base)
    receipt = env.receipt
    if receipt and env.current and env.was_moved(receipt) and env.base.stat().st_uid == os.geteuid():
        with contextlib.suppress(NotWritableError), _report.screen(_report.Silent()):
            rollback(name, env.current, base=env.base)
    return env


def _find_any(name: str, base: Base) -> NamedEnvironment:
    """Return an environment whose current build may be damaged: that is when the others are asked for."""
    check_environment_name(name)
    candidates = [NamedEnvironment(name=name, base=directory) for directory in base_dirs.bases(Machine.detect(), base)]
    return next((env for env in candidates if env.current is not None or env.is_lost), None) or _find(name, base)


def _named(name: str, base: Base) -> tuple[Machine, NamedEnvironment]:
    machine = Machine.detect()
    return machine, NamedEnvironment(name=check_environment_name(name), base=base_dirs.bases(machine, base)[0])


def _settled(env: NamedEnvironment, program: Path, *, directory: Path) -> Path:
    """Return the path of a program. Raises BrokenEnvironmentError for one that would run another base's Python.

    The first lines of programs say where they were made, and in a copied base that is the original.
    """
    receipt = _state.receipt(directory, Receipt)
    if receipt is None or receipt.path is None or not env.was_moved(receipt, directory):
        return program
    with program.open("rb") as file:
        if os.fsencode(receipt.path) not in file.read(1024):
            return program
    msg = f"{program.name!r} would run in {receipt.path}, from where {short(env.path)} was moved or copied"
    hint = f"let it say where it is: colab-env env rollback {env.name} {env.current}"
    raise BrokenEnvironmentError(msg, hint=hint)
