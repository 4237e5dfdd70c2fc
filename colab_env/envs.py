"""Named environments: made, listed, used, moved and removed by name, from one known place, without activation."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from colab_env import _files, _process, _state
from colab_env.errors import (
    BrokenEnvironmentError,
    ColabEnvError,
    NoSuchEnvironmentError,
    NoSuchProgramError,
    ScriptError,
    UsageError,
)
from colab_env.machine import Machine
from colab_env.named_env import base_dirs, inventory, processes, scripts
from colab_env.named_env.inventory import Build, EnvironmentInfo, NamedEnvironment, Receipt, Upgraded, VersionChange
from colab_env.named_env.names import check_environment_name
from colab_env.named_env.recipe import Recipe
from colab_env.results import StepResult, short
from colab_env.step import RUNNING, Artifact, Step

if TYPE_CHECKING:
    from colab_env.named_env.checking import CheckedEnvironment

Base = str | Path | None
_PIP = ("pip", "pip3")


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
    asked = Recipe(
        python=python,
        packages=packages,
        project=_path(project),
        requirements=_path(requirements),
        wheels=_path(wheels),
        system_site_packages=system_site_packages,
        kernel=kernel,
    ).checked()
    _check_keep(keep)
    machine, place = _named(name, base)
    return make(place, asked, machine=machine, keep=keep)


def make(
    place: NamedEnvironment,
    asked: Recipe,
    *,
    machine: Machine,
    keep: int | None = None,
    locked: Path | None = None,
    added: tuple[str, ...] = (),
    verb: str = "create",
) -> StepResult:
    """Make an environment of a recipe as `create` does; `locked` is a directory whose lock says what is installed.

    `added` is what somebody has added to it with pip, as requirements.
    """
    from colab_env.named_env import building, builds

    def fault() -> str | None:
        return to_do(place, asked, machine=machine)

    def check() -> str | None:
        return to_do(place, asked, machine=machine, keep=keep)

    notes: list[str] = []

    def build() -> None:
        receipt = place.receipt
        is_same = receipt is not None and receipt.inputs == asked.digest()
        if keep is not None and fault() is None:
            builds.set_keep(place, keep)
        elif receipt is not None and is_same and place.was_moved(receipt):
            builds.settle(place)
        else:
            if names := lost(place, asked, added=added):
                back = f"(`env rollback {place.name}` goes back to it)"
                notes.append(f"what somebody had added is not in it: {', '.join(names)} {back}")
            building.build(place, asked, machine=machine, keep=keep, locked=locked, added=added)

    return _step(verb, place, machine=machine, check=check, build=build, notes=notes)


def lost(place: NamedEnvironment, asked: Recipe, *, added: tuple[str, ...] = ()) -> list[str]:
    """Return what was asked for of an environment, or added to it, that one made of this recipe and `added` has no longer."""
    from colab_env.named_env import locking

    receipt = place.receipt
    if receipt is None:
        return []
    wanted = {locking.name_of(each) for each in (*asked.packages, *added)}
    had = (*receipt.recipe.packages, *receipt.added, *inventory.added(place.directory, receipt))
    return [each for each in dict.fromkeys(had) if locking.name_of(each) not in wanted]


def list_environments(*, base: Base = None, measure: bool = False) -> list[EnvironmentInfo]:
    """Return every environment in every base, healthy or with the reason why not, and the processes that use it.

    Sizes are those of the day they were made, unless `measure`. Starts nothing.
    """
    bases = base_dirs.bases(Machine.detect(), base)
    used = processes.users(bases)
    found = inventory.everything(bases)
    return [inventory.info(place, processes.of(place, used), measure=measure) for place in found]


def path(name: str, *, base: Base = None) -> Path:
    """Return the directory of the environment. Raises NoSuchEnvironmentError with near matches."""
    return _find(name, base).path


def which(name: str, program: str, *, base: Base = None) -> Path:
    """Return the path of a program of the environment. Raises NoSuchProgramError with near matches."""
    place = _find(name, base)
    return _settled(place, place.program(program), directory=place.directory)


def environ(name: str, *, base: Base = None) -> dict[str, str]:
    """Return this process's environment as an activated environment has it: that of the build that is current now."""
    place = _find(name, base)
    return _activated(place.directory, name, Machine.detect().environ)


def run(name: str, program: str, *arguments: str, keep_pythonpath: bool = False, base: Base = None) -> NoReturn:
    """Become a program of the environment: the same process and terminal, its own signals and exit code.

    PYTHONPATH is another Python's, and not passed on, unless `keep_pythonpath`. pip comes when it is run for the first time.
    """
    place = _find(name, base)
    directory = place.directory  # read once: the name may stand for another build a moment later
    try:
        found = place.program(program, directory=directory)
    except NoSuchProgramError:
        if program not in _PIP:
            raise
        from colab_env.named_env import building

        building.add_pip(place, machine=Machine.detect())
        directory = place.directory
        found = place.program(program, directory=directory)
    environ = _activated(directory, name, Machine.detect().environ, keep_pythonpath=keep_pythonpath)
    _settled(place, found, directory=directory)
    _process.become(found, arguments, environ)


def run_script(script: str | Path, *arguments: str, keep_pythonpath: bool = False, base: Base = None) -> NoReturn:
    """Become Python with a script, in the environment that its PEP 723 block asks for; the first use makes it.

    Settings of uv in the block, and a lock that `uv lock --script` wrote beside it, count as they do for uv. Raises
    ScriptError, and as `create` does.
    """
    path, machine = Path(script), Machine.detect()
    stamp = scripts.stamp(path, machine=machine)  # before it is read
    asked = (scripts.recipe(path) or Recipe()).checked()
    name = scripts.environment_name(asked)
    _, place = _named(name, base)
    if not place.is_there() or place.health_check():
        make(place, asked, machine=machine)
    if asked.script is None:
        scripts.remember(path, name, stamp=stamp, base=place.base)
    run(name, "python", str(script), *arguments, keep_pythonpath=keep_pythonpath, base=base)


def script(
    file: str | Path,
    *,
    name: str | None = None,
    program: str = "python3",
    one_argument: bool = False,
    base: Base = None,
) -> str:
    """Write the first line that runs a script in the environment `name`, or in that of its PEP 723 block; return it.

    The file becomes executable. With `one_argument` the line also works where `env` knows no `-S`. A line that names an
    environment of the machine's own base says so, that nobody's own one of that name is taken. Raises ScriptError.
    """
    said = Path(base) if base else None
    if name is not None:
        place = _find(name, base)
        place.program(program)
        said = said or (place.base if place.base == base_dirs.SYSTEM else None)
    elif scripts.recipe(Path(file)) is None:
        msg = f"{short(file)} has no block `# /// script` (PEP 723) that says what it needs"
        raise ScriptError(msg, hint="add one, or give the name of an environment")
    command = str(scripts.command()) if one_argument else None
    line = scripts.first_line(name, program, command=command, base=said)
    scripts.write_first_line(Path(file), line)
    return line


def unit(
    name: str, program: str, *arguments: str, user: str | None = None, is_timed: bool = False, base: Base = None
) -> str:
    """Return a hardened systemd service file that runs a program of the environment, as `user` or as nobody else.

    One that `is_timed` is for a timer: it does not start with the machine, and ends. Raises NoSuchProgramError with near
    matches.
    """
    from colab_env.named_env import units

    place = _find(name, base)
    place.program(program)
    command, path = scripts.command(), place.path
    return units.unit_text(
        name=name, program=program, arguments=arguments, path=path, command=command, user=user, is_timed=is_timed
    )


def write_unit(
    directory: str | Path,
    name: str,
    program: str,
    *arguments: str,
    user: str | None = None,
    on_calendar: str | None = None,
    base: Base = None,
) -> list[Path]:
    """Write the service file into a directory, and with `on_calendar`, such as "daily", its timer; return their paths."""
    from colab_env.named_env import units

    is_timed, where = on_calendar is not None, _files.named_path(directory).absolute()
    texts = {"service": unit(name, program, *arguments, user=user, is_timed=is_timed, base=base)}
    if on_calendar is not None:
        texts["timer"] = units.timer_text(name=name, program=program, arguments=arguments, calendar=on_calendar)
    stem = units.unit_name(name, program, arguments)
    paths = {suffix: _files.output_path(where / f"{stem}.{suffix}") for suffix in texts}
    for suffix, path in paths.items():
        _files.write_text(path, texts[suffix])
    return list(paths.values())


def purge(*names: str, force: bool = False, if_exists: bool = False, base: Base = None) -> list[StepResult]:
    """Remove environments, and their kernels with them.

    All names are checked before anything is removed. Raises NotAnEnvironmentError for what is no environment of ours,
    or a link; EnvironmentInUseError while programs of yours, root's or the owner's run from it (unless `force`);
    NoSuchEnvironmentError (unless `if_exists`). A build that somebody else runs goes when that ends.
    """
    from colab_env.named_env import moving, purging

    machine = Machine.detect()
    bases = base_dirs.bases(machine, base)
    with contextlib.ExitStack() as last:
        for each in bases:
            last.callback(moving.clear_leftovers, each, machine=machine)
        places = [purging.find(name, bases, if_exists=if_exists) for name in names]
        there = [place for place in places if place is not None]
        if not force:
            for place in there:
                _require_unused(place, machine)
        return [purging.purge(place, machine=machine, force=force) for place in there]


def adopt(name: str, directory: str | Path, *, force: bool = False, base: Base = None) -> StepResult:
    """Make somebody else's virtual environment ours: move it to where `name` belongs, and write its receipt.

    Its programs are made to say the new place. Raises NotAnEnvironmentError, EnvironmentExistsError, or
    EnvironmentInUseError (unless `force`).
    """
    from colab_env.named_env import moving

    machine, place = _named(name, base)
    source = _files.named_path(directory).absolute()
    moving.clear_leftovers(place.base, machine=machine)
    _files.recover(source, wait=False)
    if moving.has_moved(source, place):
        return _step("adopt", place, machine=machine)
    moving.require_environment(source)
    if source != place.path:
        moving.require_free(place)
    if not force:
        _require_unused(NamedEnvironment(name=source.name, base=source.parent), machine)

    def build() -> None:
        moving.adopt(source, place, machine=machine)

    return _step("adopt", place, machine=machine, check=lambda: f"from {short(source)}", build=build)


def rename(name: str, new_name: str, *, force: bool = False, base: Base = None) -> StepResult:  # noqa: ARG001
    """Give an environment and its history another name; its programs and its kernel are told.

    What runs goes on where it was started from (`force`, which was needed for that, is taken and does nothing). Raises
    EnvironmentExistsError.
    """
    from colab_env.named_env import moving

    machine = Machine.detect()
    bases = base_dirs.bases(machine, base)
    for each in (NamedEnvironment(name=check_environment_name(new_name), base=each) for each in bases):
        moving.clear_leftovers(each.base, machine=machine)
        if moving.has_moved(each.base / name, each):
            return _step("rename", each, machine=machine)
    place = _find(name, base)
    new = NamedEnvironment(name=new_name, base=place.base)
    moving.require_free(new)

    def build() -> None:
        with _files.locked(place.lock):
            moving.rename(place, new, machine=machine)

    return _step("rename", new, machine=machine, check=lambda: f"from {name!r}", build=build)


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
    _check_keep(keep)
    machine, place = Machine.detect(), _find(name, base)
    return _upgrade(place, python=python, keep=keep, then=lambda _: not dry_run, machine=machine)


def upgrade_all(*, dry_run: bool = False, base: Base = None) -> list[Upgraded]:
    """Upgrade every environment that this account may change, one after the other; one that fails stays, and stops no other.

    A build in which no version has changed is removed again, so that the way back leads to other versions.
    """
    machine = Machine.detect()
    found = []
    for place in inventory.everything(base_dirs.bases(machine, base)):
        if os.access(place.base, os.W_OK):
            healthy = place.health_check() is None
            is_wanted = functools.partial(_is_wanted, dry_run=dry_run, healthy=healthy)
            try:
                result = _upgrade(place, python=None, keep=None, then=is_wanted, machine=machine)
                found.append(Upgraded(name=place.name, result=result))
            except ColabEnvError as error:
                found.append(Upgraded(name=place.name, error=error))
    return found


def _is_wanted(changes: list[VersionChange], *, dry_run: bool, healthy: bool) -> bool:
    return not dry_run and (bool(changes) or not healthy)


def _upgrade(
    place: NamedEnvironment,
    *,
    python: str | None,
    keep: int | None,
    then: Callable[[list[VersionChange]], bool],
    machine: Machine,
) -> StepResult:
    from colab_env.named_env import building

    recipe, kept, locked, notes = _wanted(place, python=python)

    def decide(changes: list[VersionChange]) -> bool:
        is_taken = then(changes)
        notes.extend(repr(each).strip() for each in changes)
        if not changes:
            notes.append("no version has changed")
        if not is_taken:
            notes.append("it stays as it is")
        return is_taken

    def build() -> None:
        receipt = receipt_of(place)
        added = dict.fromkeys((*receipt.added, *inventory.added(place.directory, receipt)))
        building.build(
            place, recipe, machine=machine, keep=keep, added=tuple(added), copy=kept, locked=locked, then=decide
        )

    return _step("upgrade", place, machine=machine, check=lambda: "a new one is asked for", build=build, notes=notes)


def extend(place: NamedEnvironment, packages: tuple[str, ...], *, machine: Machine) -> StepResult:
    """Make the next build with more packages; what the lock of the current one says stays where they allow it."""
    from colab_env.named_env import building, locking

    receipt, directory = receipt_of(place), place.directory
    recipe, added = receipt.recipe, dict.fromkeys((*receipt.added, *inventory.added(directory, receipt)))
    names = {locking.name_of(each) for each in Recipe(packages=packages).checked().packages}
    if recipe.project or recipe.requirements or recipe.script or (recipe.export and not recipe.packages):
        added |= dict.fromkeys(packages)
    else:
        others = (each for each in recipe.packages if locking.name_of(each) not in names)
        recipe = replace(recipe, packages=(*others, *packages), export=None)
    locked = directory if (directory / locking.FILE).is_file() else None
    notes: list[str] = []

    def decide(changes: list[VersionChange]) -> bool:
        notes.extend(repr(each).strip() for each in changes)
        return True

    def build() -> None:
        building.build(place, recipe, machine=machine, added=tuple(added), more=packages, locked=locked, then=decide)

    asked = f"{', '.join(packages)} asked for"
    return _step("add", place, machine=machine, check=lambda: asked, build=build, notes=notes)


def _wanted(place: NamedEnvironment, *, python: str | None) -> tuple[Recipe, Path | None, Path | None, list[str]]:
    """Return what an upgrade is made from: the recipe, or what the build has kept where the recipe's files are gone.

    That is a copy of a requirements file, or the directory with the build's own lock. The notes say so.
    """
    from colab_env.named_env import building, locking

    receipt = receipt_of(place)
    directory, recipe = place.directory, replace(receipt.recipe, python=python or receipt.recipe.python)
    copy, has_lock = directory / building.REQUIREMENTS, (directory / locking.FILE).is_file()
    if recipe.export is not None and not recipe.packages:
        return recipe, None, directory, ["it was imported, and its lock stays: `env import` brings another one"]
    gone, recipe = recipe.gone(), replace(recipe, export=None)
    if gone is None:
        return recipe.checked(), None, None, []
    if copy.is_file() and replace(recipe, requirements=None).gone() is None:
        return recipe.checked(kept=copy), copy, None, [f"{short(gone)} is gone: what it said is taken"]
    if not has_lock:
        return recipe.checked(), None, None, []  # which says what is gone
    recipe = replace(recipe, python=recipe.python or receipt.python.short_version)
    return recipe, None, directory, [f"{short(gone)} is gone: the lock of the current build is taken"]


def check(*names: str, deep: bool = False, repair: bool = False, base: Base = None) -> list[CheckedEnvironment]:
    """Compare environments, by default all, with what was installed: by their receipts, or `deep`, every file by its content.

    What was added since is said, and no problem. With `repair`, one that has problems is made anew, as `upgrade` does it; one
    whose link is gone gets it back, as by `rollback`.
    """
    from colab_env.named_env import checking

    machine = Machine.detect()
    bases = base_dirs.bases(machine, base)
    places = [_find_any(name, base) for name in names] if names else list(inventory.everything(bases))
    found = []
    for place in places:
        checked = checking.check(place, machine=machine, deep=deep)
        if repair and checked.problems:
            if place.is_lost:
                rollback(place.name, base=place.base)
            else:
                _upgrade(place, python=None, keep=None, then=lambda _: True, machine=machine)
            checked = checking.check(place, machine=machine, deep=deep)
        found.append(checked)
    return found


def history(name: str, *, base: Base = None) -> list[Build]:
    """Return the builds of an environment that are there, the newest first, and what runs from each. Starts nothing."""
    from colab_env.named_env import builds

    place = _find_any(name, base)
    return builds.history(place, processes.users([place.base]))


def rollback(name: str, number: int | None = None, *, base: Base = None) -> StepResult:
    """Let an environment be an earlier build again, by its `number`, or the one before the current one.

    Where the current one is gone, or the name stands for none, that is the newest. Nothing is installed: the name stands
    for another directory, and the next start takes that. A kernel is registered anew. A build that was moved here with its
    base is made to say so first.
    Raises NoSuchEnvironmentError for a build that is not there, with those that are.
    """
    from colab_env.named_env import builds, kernels

    machine, place = Machine.detect(), _find_any(name, base)
    wanted = number if number is not None else builds.way_back(place)
    if wanted is None:
        msg = f"the environment {name!r} has no earlier build"
        raise NoSuchEnvironmentError(msg, hint=f"see what there is: colab-env env history {name}")
    builds.directory(place, wanted)

    def check() -> str | None:
        if place.is_lost:
            return place.health_check()
        if wanted != (place.current or 1):
            return f"from build {place.current} to build {wanted}"
        receipt = place.receipt
        return f"it was moved here from {receipt.path}" if receipt and place.was_moved(receipt) else None

    def build() -> None:
        builds.directory(place, wanted)  # it may have gone while this run waited
        builds.settle_build(place, wanted)
        with builds.pointed(place, wanted):
            kernels.register(place, machine=machine)

    return _step("rollback", place, machine=machine, check=check, build=build)


def diff(name: str, first: int | None = None, second: int | None = None, *, base: Base = None) -> list[VersionChange]:
    """Return the packages whose versions are others in the second build than in the first.

    By default the build before the current one, and the current one. Raises NoSuchEnvironmentError for a build that is not
    there.
    """
    from colab_env.named_env import builds

    place = _find_any(name, base)
    current = place.current or 1
    one = first if first is not None else next(iter(builds.earlier(place)), current)
    directories = (builds.directory(place, number) for number in (one, second if second is not None else current))
    before, after = map(inventory.packages, directories)
    return inventory.version_changes(before, after)


def _require_unused(place: NamedEnvironment, machine: Machine) -> None:
    """Raise EnvironmentInUseError while programs run from an environment, but for those that a killed run has left."""
    _process.end_orphans(machine.data / RUNNING)
    processes.require_unused(place)


_TITLES = {
    "create": "Making",
    "adopt": "Adopting",
    "rename": "Renaming",
    "import": "Importing",
    "add": "Adding to",
    "upgrade": "Upgrading",
    "rollback": "Rolling back",
}


def _step(
    verb: str,
    place: NamedEnvironment,
    *,
    machine: Machine,
    check: Callable[[], str | None] = lambda: None,
    build: Callable[[], None] = lambda: None,
    notes: list[str] | None = None,
) -> StepResult:
    from colab_env.named_env import moving

    def describe() -> Artifact:
        receipt = receipt_of(place)
        what = f"Environment {place.name!r} with Python {receipt.python.version}"
        return Artifact(what=f"{what} and {inventory.pluralize(len(receipt.packages))}", where=place.path)

    def swept_build() -> None:
        if verb != "rollback":  # which is to be over in an instant
            moving.clear_leftovers(place.base, machine=machine)
        build()

    title = f"{_TITLES[verb]} the environment {place.name!r}"
    step = Step(
        name=verb,
        title=title,
        machine=machine,
        lock=place.lock,
        check=check,
        build=swept_build,
        describe=describe,
        notes=[] if notes is None else notes,
        recorded=False,  # it goes by `purge`, and `undo` leaves it alone
    )
    with _files.readable_to_all() if base_dirs.is_systems(place.base) else contextlib.nullcontext():
        return step.run()


def to_do(place: NamedEnvironment, asked: Recipe, *, machine: Machine, keep: int | None = None) -> str | None:
    """Return why `make` would do something, or None. Starts nothing."""
    from colab_env.named_env import kernels

    receipt = place.receipt
    if receipt is None:
        return place.health_check() if place.is_unfinished() or place.is_ours() else "there is none of that name"
    if receipt.inputs != asked.digest():
        return "it was made of something else"
    return place.health_check() or kernels.health_check(place, machine=machine) or _keep_to_do(place, keep)


def _check_keep(keep: int | None) -> None:
    if keep is not None and keep < 0:
        msg = f"{keep} is not a number of builds"
        raise UsageError(msg, hint="say how many earlier builds are to stay: 0 or more")


def _keep_to_do(place: NamedEnvironment, keep: int | None) -> str | None:
    receipt = place.receipt
    if receipt is None or keep is None or receipt.keep == keep:
        return None
    return f"{keep} earlier {'build is' if keep == 1 else 'builds are'} to stay"


def receipt_of(place: NamedEnvironment) -> Receipt:
    """Return what was written when it was made. Raises BrokenEnvironmentError."""
    receipt = place.receipt
    if receipt is None:
        msg = f"the environment {place.name!r} in {short(place.path)} cannot be used: {place.health_check()}"
        raise BrokenEnvironmentError(msg, hint=inventory.way_out(place))
    return receipt


def _find(name: str, base: Base) -> NamedEnvironment:
    return inventory.find(name, base_dirs.bases(Machine.detect(), base))


def _find_any(name: str, base: Base) -> NamedEnvironment:
    """Return an environment whose current build may be damaged: that is when the others are asked for."""
    places = [
        NamedEnvironment(name=check_environment_name(name), base=each)
        for each in base_dirs.bases(Machine.detect(), base)
    ]
    return next((each for each in places if each.current is not None or each.is_lost), None) or _find(name, base)


def _named(name: str, base: Base) -> tuple[Machine, NamedEnvironment]:
    machine = Machine.detect()
    return machine, NamedEnvironment(name=check_environment_name(name), base=base_dirs.bases(machine, base)[0])


def _settled(place: NamedEnvironment, program: Path, *, directory: Path) -> Path:
    """Return the path of a program. Raises BrokenEnvironmentError for one that would run another base's Python.

    The first lines of programs say where they were made, and in a copied base that is the original.
    """
    receipt = _state.receipt(directory, Receipt)
    if receipt is None or receipt.path is None or not place.was_moved(receipt, directory):
        return program
    with program.open("rb") as file:
        if os.fsencode(receipt.path) not in file.read(1024):
            return program
    msg = f"{program.name!r} would run in {receipt.path}, from where {short(place.path)} was moved or copied"
    hint = f"let it say where it is: colab-env env rollback {place.name} {place.current}"
    raise BrokenEnvironmentError(msg, hint=hint)


def _activated(
    directory: Path, name: str, environ: Mapping[str, str], *, keep_pythonpath: bool = False
) -> dict[str, str]:
    commands, path = str(directory / "bin"), environ.get("PATH", "")
    foreign = {"PYTHONHOME", "PYTHONSTARTUP", *(() if keep_pythonpath else ("PYTHONPATH",))}
    kept = {variable: value for variable, value in environ.items() if variable not in foreign}
    if path.split(os.pathsep)[0] != commands:
        kept["PATH"] = f"{commands}{os.pathsep}{path}" if path else commands
    return {**kept, "VIRTUAL_ENV": str(directory), "VIRTUAL_ENV_PROMPT": name}


def _path(given: str | Path | None) -> Path | None:
    return Path(given) if given else None
