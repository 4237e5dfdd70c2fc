"""The commands that are tried: from which state, whether they worked, and what is run to take them back."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.faults.injection import Argv, Ended, Fault, run
from tests.faults.world import BASE_PYTHON, World

Change = Callable[[World], object]
_PYTHON = ("install-python", "--interpreter", "system", "--python", str(BASE_PYTHON))
_VENV = ("configure-venv",)
_POETRY = ("install-poetry",)
_POEM = ("configure-venv", "{root}/poem")
_LAYER = ("install-colab-packages",)
_KERNEL = ("kernel", "register", "lesson")
_UNDO = ("undo",)
_CREATE = ("env", "create", "web", "demo==1.0")
_PURGE = ("env", "purge", "--if-exists", "web", "site")


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command in one situation.

    `start` are the commands that ran before it; `before` is what the user has done before colab-env's first step, `since`
    what happened after those commands. `works` says whether it has done what it is for. `done` are exit codes
    with which a second run may say that the first had finished. `back` are commands that are run before `undo`, and
    `spent` is what does not come back then. `weight` is its share in a sample.
    """

    name: str
    argv: Argv
    works: Callable[[World], str | None]
    start: tuple[Argv, ...] = ()
    before: Change | None = None
    since: Change | None = None
    done: tuple[int, ...] = ()
    back: tuple[Argv, ...] = ()
    spent: str | None = None
    weight: float = 1.0


def call(world: World, argv: Argv) -> Ended:
    """Run a command undisturbed."""
    return faulted(world, argv, None, marker="undisturbed")


def faulted(world: World, argv: Argv, fault: Fault | None, *, marker: str) -> Ended:
    """Run a command in the project's directory; words such as `{drive}` are places of this world."""
    words = tuple(word.format(root=world.root, drive=world.drive) for word in argv)
    return run(words, root=world.root, cwd=world.project, environ=world.environ(marker), fault=fault)


def _answer(world: World, argv: Argv) -> Any:
    """Return what a command answers to a program."""
    return json.loads(call(world, (*argv, "--json")).output)


def _no_check(_: World) -> str | None:
    return None


def _packages(*versions: str, environment: str = "lesson/.venv") -> Callable[[World], str | None]:
    def works(world: World) -> str | None:
        where = world.root / environment
        code = "import demo, other; print(demo.version, other.version)"
        try:
            argv = [str(where / "bin/python"), "-I", "-c", code]
            answer = subprocess.run(argv, capture_output=True, text=True, check=False)
        except OSError as error:
            return f"{environment} has no Python: {error.strerror}"
        wanted = " ".join(versions)
        return None if answer.stdout.strip() == wanted else f"{environment} does not import demo {wanted}"

    return works


def _part(world: World, name: str, project: str = "lesson") -> str | None:
    """Return what `status` says of one part of a set-up, or None where it is healthy."""
    parts = _answer(world, ("status", "--project", f"{{root}}/{project}"))["parts"]
    return next(
        (f"status of {name}: {part['problem']}" for part in parts if part["name"] == name and part["problem"]), None
    )


def _environment(version: str, project: str = "lesson") -> Callable[[World], str | None]:
    def works(world: World) -> str | None:
        found = _packages(version, "1.0", environment=f"{project}/.venv")(world)
        return found or _part(world, "Environment", project)

    return works


def _poetry(world: World) -> str | None:
    return _part(world, "Poetry", "poem")


def _kernel(world: World) -> str | None:
    listed = _answer(world, ("kernel", "list"))["kernels"]
    if not any(each["name"] == "lesson" and each["ours"] for each in listed):
        return "the kernel is not registered"
    return _part(world, "Kernel")


def _no_kernel(world: World) -> str | None:
    return "the kernel is still there" if (world.home / ".local/share/jupyter/kernels/lesson").exists() else None


def _no_kernel_but_environment(world: World) -> str | None:
    return _no_kernel(world) or _environment("1.0")(world)


def _listed(name: str) -> Callable[[World], str | None]:
    def works(world: World) -> str | None:
        listed = _answer(world, ("env", "list"))
        found = {each["name"]: each["health"] for each in listed}
        return None if found == {name: None} else f"the named environments are {found}"

    return works


def _named(name: str) -> Callable[[World], str | None]:
    def works(world: World) -> str | None:
        return _listed(name)(world) or _packages("1.0", "1.0", environment=f"envs/{name}")(world)

    return works


def _none_named(world: World) -> str | None:
    left = sorted(path.name for path in world.base.iterdir() if path.name not in (".locks", ".builds"))
    return f"left: {left}" if left else None


def _snapshots(count: int) -> Callable[[World], str | None]:
    def works(world: World) -> str | None:
        verified = _answer(world, ("cache", "verify", "{drive}"))
        found = verified["snapshots"]
        return None if verified["ok"] and len(found) == count else f"{len(found)} snapshots, not {count} whole ones"

    return works


def _asks_for(name: str) -> Callable[[World], str | None]:
    def works(world: World) -> str | None:
        found = json.loads((world.project / "lesson.ipynb").read_text())["metadata"]["kernelspec"]["name"]
        return None if found == name else f"the notebook asks for {found}"

    return works


def _lock_demo_2(world: World) -> None:
    world.write("lesson/requirements.txt", "demo==2.0\n", mode=0o640)


def _make_foreign_venv(world: World) -> None:
    subprocess.run([BASE_PYTHON, "-m", "venv", "--without-pip", world.project / ".venv"], check=True)
    world.write("lesson/.venv/mine.txt", "mine\n", mode=0o600)


def _make_venv_to_adopt(world: World) -> None:
    subprocess.run([BASE_PYTHON, "-m", "venv", "--without-pip", world.root / "old"], check=True)


def _lose_all(world: World) -> None:
    """Leave the cache, and what was there before colab-env's first step."""
    kept = world.drive.rename(world.root.with_name("kept-drive"))
    world.load("pristine")
    world.drive.rmdir()
    kept.rename(world.drive)


_SET_UP = (_PYTHON, _VENV)
_WITH_LAYER = (*_SET_UP, _LAYER)
_WITH_KERNEL = (*_WITH_LAYER, _KERNEL)
_WITH_POETRY = (_PYTHON, _POETRY)
_VIEW = ("configure-venv", "--no-system-site-packages")

COMMANDS = (
    Command(name="install-python", argv=_PYTHON, works=_no_check),
    Command(name="configure-venv", argv=_VENV, works=_environment("1.0"), start=(_PYTHON,), weight=1.5),
    Command(name="configure-venv, lock changed", argv=_VENV, works=_environment("2.0"), start=_SET_UP, since=_lock_demo_2),
    Command(name="configure-venv, other view", argv=_VIEW, works=_environment("1.0"), start=_SET_UP),
    Command(
        name="configure-venv, foreign .venv", argv=_VENV, works=_environment("1.0"), start=(_PYTHON,),
        before=_make_foreign_venv,
    ),
    Command(name="install-poetry", argv=_POETRY, works=_poetry, start=(_PYTHON,), weight=0.5),
    Command(name="configure-venv, Poetry", argv=_POEM, works=_environment("1.0", "poem"), start=_WITH_POETRY, weight=0.7),
    Command(name="install-colab-packages", argv=_LAYER, works=_no_check, start=_SET_UP, weight=0.3),
    Command(name="register-kernel", argv=_KERNEL, works=_kernel, start=_WITH_LAYER, weight=0.3),
    Command(
        name="remove-kernel", argv=("kernel", "remove", "lesson"), works=_no_kernel, start=_WITH_KERNEL, done=(19,)
    ),
    Command(name="undo", argv=_UNDO, works=_no_check, start=_WITH_KERNEL, weight=2),
    Command(
        name="undo, one step", argv=("undo", "register_kernel"), works=_no_kernel_but_environment, start=_WITH_KERNEL
    ),
    Command(name="undo, foreign .venv", argv=_UNDO, works=_no_check, start=_SET_UP, before=_make_foreign_venv),
    Command(name="undo, Poetry", argv=_UNDO, works=_no_check, start=(*_WITH_POETRY, _POEM)),
    Command(name="save", argv=("save", "{drive}"), works=_snapshots(1), start=_WITH_LAYER),
    Command(
        name="cache-prune", argv=("cache", "prune", "{drive}", "--keep", "0"), works=_snapshots(0),
        start=(*_WITH_LAYER, ("save", "{drive}")),
    ),
    Command(
        name="restore", argv=("api", "restore", "{drive}"), works=_packages("1.0", "1.0"),
        start=(*_WITH_LAYER, ("save", "{drive}")), since=_lose_all,
    ),
    Command(
        name="notebook-set-kernel", argv=("notebook", "set-kernel", "lesson.ipynb", "other"), works=_asks_for("other"),
        back=(("notebook", "restore", "lesson.ipynb"),),
    ),
    Command(
        name="notebook-restore", argv=("notebook", "restore", "lesson.ipynb"), works=_asks_for("python3"),
        start=(("notebook", "set-kernel", "lesson.ipynb", "other"),), done=(22,),
    ),
    Command(name="env-create", argv=_CREATE, works=_named("web"), back=(_PURGE,)),
    Command(name="env-upgrade", argv=("env", "upgrade", "web"), works=_named("web"), start=(_CREATE,), back=(_PURGE,)),
    Command(
        name="env-rollback", argv=("env", "rollback", "web", "1"), works=_named("web"),
        start=(_CREATE, ("env", "upgrade", "web")), back=(_PURGE,),
    ),
    Command(
        name="env-rename", argv=("env", "rename", "web", "site"), works=_named("site"), start=(_CREATE,), back=(_PURGE,),
        done=(31,),
    ),
    Command(
        name="env-adopt", argv=("env", "adopt", "web", "{root}/old"), works=_listed("web"), before=_make_venv_to_adopt,
        back=(_PURGE,), spent="old", done=(32,),
    ),
    Command(name="env-purge", argv=_PURGE, works=_none_named, start=(_CREATE,)),
    Command(
        name="setup", argv=("setup", *_PYTHON[1:], "--kernel", "lesson"), works=_kernel, weight=0.15,
    ),
)  # fmt: skip
BY_NAME = {command.name: command for command in COMMANDS}
