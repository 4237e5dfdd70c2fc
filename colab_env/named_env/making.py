"""Whether an environment needs its next build, and the step that makes it, for `create`, `add`, `upgrade`, `import` and `sync`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from colab_env import _files, content
from colab_env.errors import BrokenEnvironmentError, ColabEnvError, UsageError
from colab_env.machine import Machine
from colab_env.named_env import base_dirs, inventory, kernels
from colab_env.named_env.inventory import NamedEnvironment, Receipt
from colab_env.named_env.recipe import Recipe
from colab_env.named_env.reports import VersionChange, pluralize
from colab_env.results import StepResult, short
from colab_env.step import Artifact, Step

_TITLES = {
    "create": "Making",
    "adopt": "Adopting",
    "rename": "Renaming",
    "import": "Importing",
    "add": "Adding to",
    "upgrade": "Upgrading",
    "repair": "Repairing",
    "rollback": "Rolling back",
}


def make(
    env: NamedEnvironment,
    recipe: Recipe,
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
        return to_do(env, recipe, machine=machine)

    def check() -> str | None:
        return to_do(env, recipe, machine=machine, keep=keep)

    request = recipe.request(machine)
    notes = request.notes() if request else []

    def build() -> None:
        receipt = env.receipt
        is_same = receipt is not None and receipt.inputs == recipe.digest(machine)
        if keep is not None and fault() is None:
            builds.set_keep(env, keep)
        elif receipt is not None and is_same and env.was_moved(receipt):
            builds.settle(env)
        else:
            if names := lost(env, recipe, added=added):
                back = f"(`env rollback {env.name}` goes back to it)"
                notes.append(f"what somebody had added is not in it: {', '.join(names)} {back}")
            building.build(env, recipe, machine=machine, keep=keep, locked=locked, added=added)

    return run_step(verb, env, machine=machine, check=check, build=build, notes=notes)


def lost(env: NamedEnvironment, recipe: Recipe, *, added: tuple[str, ...] = ()) -> list[str]:
    """Return what was asked for of an environment, or added to it, that one made of this recipe and `added` has no longer."""
    from colab_env.named_env import additions, locking

    receipt = env.receipt
    if receipt is None:
        return []
    names = {locking.name_of(requirement) for requirement in (*recipe.packages, *added)}
    earlier = (*receipt.recipe.packages, *additions.requirements(env.directory, receipt))
    return [requirement for requirement in dict.fromkeys(earlier) if locking.name_of(requirement) not in names]


def upgrade(
    env: NamedEnvironment,
    *,
    python: str | None,
    keep: int | None,
    then: Callable[[list[VersionChange]], bool],
    machine: Machine,
) -> StepResult:
    """Make the next build of what an environment was made of; `then` gets the changes, and says whether it is taken."""
    from colab_env.named_env import additions, building

    notes: list[str] = []

    def decide(changes: list[VersionChange]) -> bool:
        is_taken = then(changes)
        notes.extend(repr(change).strip() for change in changes)
        if not changes:
            notes.append("no version has changed")
        if not is_taken:
            notes.append("it stays as it is")
        return is_taken

    def build() -> None:
        recipe, copy, locked, said = _upgrade_sources(env, python=python)
        notes.extend(said)
        receipt = require_receipt(env)
        added = additions.requirements(env.directory, receipt)
        notes.extend(
            f"{requirement} is gone: what is installed is taken" for requirement in filter(additions.is_gone, added)
        )
        building.build(env, recipe, machine=machine, keep=keep, added=added, copy=copy, locked=locked, then=decide)

    return run_step("upgrade", env, machine=machine, check=lambda: "a new one is asked for", build=build, notes=notes)


def repair(env: NamedEnvironment, *, machine: Machine) -> StepResult:
    """Make the next build of what the lock of the current one says; where that cannot be had any more, as `upgrade` does.

    Another Python may need other versions, and the lock may be what is damaged.
    """
    from colab_env.named_env import additions, building, locking

    require_receipt(env)
    recorded, lock = content.read(env.directory), env.directory / locking.FILE

    def build() -> None:
        receipt, directory = require_receipt(env), env.directory
        added = additions.requirements(directory, receipt)
        building.build(env, receipt.recipe, machine=machine, added=added, locked=directory)

    if recorded and recorded.others.get(locking.FILE) == content.digest(lock):
        with contextlib.suppress(ColabEnvError):
            return run_step("repair", env, machine=machine, check=lambda: "it is damaged", build=build)
    return upgrade(env, python=None, keep=None, then=lambda _: True, machine=machine)


def extend(env: NamedEnvironment, packages: tuple[str, ...], *, machine: Machine) -> StepResult:
    """Make the next build with more packages; what the lock of the current one says stays where they allow it."""
    from colab_env.named_env import additions, building, locking

    require_receipt(env)
    packages = Recipe(packages=packages).checked().packages
    names = {*map(locking.name_of, packages)}
    notes: list[str] = []

    def decide(changes: list[VersionChange]) -> bool:
        notes.extend(repr(change).strip() for change in changes)
        return True

    def build() -> None:
        receipt, directory = require_receipt(env), env.directory  # now: another run may have added to it meanwhile
        recipe, earlier = receipt.recipe, additions.requirements(directory, receipt)
        added = tuple(requirement for requirement in earlier if locking.name_of(requirement) not in names)
        if recipe.project or recipe.requirements or recipe.script or (recipe.export and not recipe.packages):
            added = (*added, *packages)
        else:
            others = (requirement for requirement in recipe.packages if locking.name_of(requirement) not in names)
            recipe = replace(recipe, packages=(*others, *packages), export=None)
        locked = directory if (directory / locking.FILE).is_file() else None
        building.build(env, recipe, machine=machine, added=added, more=packages, locked=locked, then=decide)

    reason = f"{', '.join(packages)} asked for"
    return run_step("add", env, machine=machine, check=lambda: reason, build=build, notes=notes)


def _upgrade_sources(
    env: NamedEnvironment, *, python: str | None
) -> tuple[Recipe, Path | None, Path | None, list[str]]:
    """Return what an upgrade is made from: the recipe, or what the build has kept where the recipe's files are gone.

    That is a copy of a requirements file, or the directory with the build's own lock. The notes say so.
    """
    from colab_env.named_env import building, locking

    receipt = require_receipt(env)
    directory, recipe = env.directory, replace(receipt.recipe, python=python or receipt.recipe.python)
    copy, has_lock = directory / building.REQUIREMENTS, (directory / locking.FILE).is_file()
    if recipe.export is not None and not recipe.packages:
        return recipe, None, directory, ["it was imported, and its lock stays: `env import` brings another one"]
    gone, recipe = recipe.gone(), replace(recipe, export=None)
    if gone is None:
        return recipe.checked(), None, None, []
    if copy.is_file() and replace(recipe, requirements=None).gone() is None:
        return recipe.checked(copy=copy), copy, None, [f"{short(gone)} is gone: what it said is taken"]
    if not has_lock:
        return recipe.checked(), None, None, []  # which says what is gone
    recipe = replace(recipe, python=recipe.python or receipt.python.short_version)
    return recipe, None, directory, [f"{short(gone)} is gone: the lock of the current build is taken"]


def run_step(
    verb: str,
    env: NamedEnvironment,
    *,
    machine: Machine,
    check: Callable[[], str | None] = lambda: None,
    build: Callable[[], None] = lambda: None,
    notes: list[str] | None = None,
) -> StepResult:
    """Run what changes an environment as a step: locked, stopped whole or not at all, and shown."""
    from colab_env.named_env import moving

    def describe() -> Artifact:
        receipt = require_receipt(env)
        what = f"Environment {env.name!r} with Python {receipt.python.version}"
        return Artifact(what=f"{what} and {pluralize(len(receipt.packages))}", where=env.path)

    def swept_build() -> None:
        if verb != "rollback":  # which is to be over in an instant
            moving.clear_leftovers(env.base, machine=machine)
        build()

    title = f"{_TITLES[verb]} the environment {env.name!r}"
    step = Step(
        name=verb,
        title=title,
        machine=machine,
        lock=env.lock,
        check=check,
        build=swept_build,
        describe=describe,
        notes=[] if notes is None else notes,
        recorded=False,  # it goes by `purge`, and `undo` leaves it alone
    )
    with _files.readable_to_all() if base_dirs.is_systems(env.base) else contextlib.nullcontext():
        return step.run()


def to_do(env: NamedEnvironment, recipe: Recipe, *, machine: Machine, keep: int | None = None) -> str | None:
    """Return why `make` would do something, or None. Starts nothing."""
    receipt = env.receipt
    if receipt is None:
        return env.health_check() if env.is_unfinished() or env.is_ours() else "there is none of that name"
    if receipt.inputs != recipe.digest(machine):
        return "it was made of something else"
    return env.health_check() or kernels.fault(env, machine=machine) or _keep_to_do(env, keep)


def check_keep(keep: int | None) -> None:
    """Raise UsageError for what is no number of builds."""
    if keep is not None and keep < 0:
        msg = f"{keep} is not a number of builds"
        raise UsageError(msg, hint="say how many earlier builds are to stay: 0 or more")


def _keep_to_do(env: NamedEnvironment, keep: int | None) -> str | None:
    receipt = env.receipt
    if receipt is None or keep is None or receipt.keep == keep:
        return None
    return f"{keep} earlier {'build is' if keep == 1 else 'builds are'} to stay"


def require_receipt(env: NamedEnvironment) -> Receipt:
    """Return what was written when it was made. Raises BrokenEnvironmentError."""
    receipt = env.receipt
    if receipt is None:
        msg = f"the environment {env.name!r} in {short(env.path)} cannot be used: {env.health_check()}"
        raise BrokenEnvironmentError(msg, hint=inventory.way_out(env))
    return receipt


def is_worth_it(changes: list[VersionChange], *, dry_run: bool, healthy: bool) -> bool:
    return not dry_run and (bool(changes) or not healthy)
