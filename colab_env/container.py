"""Take a project home as a container image: write the files that build it, and check those that are there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _report, steps
from colab_env.errors import UsageError
from colab_env.image import context, dockerfile, tools, writing
from colab_env.image import project as image_project
from colab_env.machine import Machine
from colab_env.request import InstallOptions, Request, project_directory
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.image.findings import CheckResult
    from colab_env.image.writing import WriteResult

KINDS = ("auto", "app", "packages", "jupyter")


def write(
    project: str | Path = ".",
    *,
    kind: str = "auto",
    tool: str = "uv",
    python: str | None = None,
    base: str | None = None,
    lock: str | Path | None = None,
    extras: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    output: str | Path | None = None,
    compile_bytecode: bool = True,
    overwrite: bool = False,
) -> WriteResult:
    """Write the Dockerfile of a project, a .dockerignore beside it, and the lock file as its build reads it.

    `kind` is "app" (the project's console script is the command), "packages" (the locked packages, the sources copied last)
    or "jupyter" (the project as a kernel); "auto" takes "app" for a package. `tool` installs in the build: "uv", "pip" or
    "poetry"; none of them is in the image. `base` is another image than the official one of the project's Python. Only the
    main dependencies are in it, with `extras` and dependency `groups` that are named, or were when the environment was made.
    `output` is a directory in the project to write to instead. A file that somebody else wrote, or has edited, is never
    overwritten unless `overwrite`.

    Raises MissingStepError without a lock file, LockMismatchError for a stale one, NotOursError for a file in the way,
    NoSuchPythonError where no base image has the Python, UsageError, ProjectFileError. Nothing is written then.
    """
    _require_one_of("kind", kind, KINDS)
    _require_one_of("tool", tool, tuple(tools.TOOLS))
    machine = Machine.detect()
    request = read_request(project, machine, python=python, lock=lock, extras=extras, groups=groups)
    model = image_project.read(request, base=base)
    builder = tools.TOOLS[tool]
    builder.check(model)
    target = _target(output, model)
    if kind == "auto":
        kind = "app" if model.is_package else "packages"
    recipe = tools.Recipe(project=model, exported=_prefix(target, model), compile_bytecode=compile_bytecode)
    image = dockerfile.Image(recipe=recipe, kind=kind, tool=builder)
    ignore_file, survey = _look_at_context(model, target)
    texts = {"Dockerfile": dockerfile.render(image), **builder.exports(model)}
    if ignore_file is None:
        texts[".dockerignore" if target == model.context else "Dockerfile.dockerignore"] = context.text(survey)
    words = _command(request, kind=kind, tool=tool, base=base, python=python)
    files = {
        target / name: writing.with_head(text, words=words, lock=model.digest, name=name)
        for name, text in texts.items()
    }
    changed = writing.write(files, machine=machine, project=request.project, overwrite=overwrite)
    result = writing.WriteResult(
        paths=tuple(files),
        changed=changed,
        what=_what(image),
        build=_build_command(model, target),
        run=f"docker run --rm {model.name}",
        notes=(*request.notes(), *request.selection.notes, *_notes(model, survey)),
    )
    _report.keep(repr(result))
    return result


def check(*dockerfiles: str | Path, project: str | Path = ".", fix: bool = False, write: bool = False) -> CheckResult:
    """Say whether what `write` wrote is still what the project says, and what is wrong with other Dockerfiles."""
    raise NotImplementedError


def read_request(
    project: str | Path,
    machine: Machine,
    *,
    python: str | None = None,
    lock: str | Path | None = None,
    extras: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> Request:
    """Read a project for an image: without development groups where nobody names any, and with the tool that reads its lock.

    Poetry is installed into this package's own directory where it is needed and not there.
    """
    options = InstallOptions.from_arguments(lock=lock, extras=extras, groups=groups)
    request = Request.read(project, machine, options=options, python=python)
    image_project.require_lock(request)
    if request.options.groups is None:
        options = InstallOptions.from_arguments(lock=lock, extras=extras, groups=())
        request = Request.read(project, machine, options=options, python=python)
    if request.lock.format.missing_tool(machine):
        steps.install_poetry()
    return request


def _require_one_of(option: str, value: str, names: Sequence[str]) -> None:
    if value not in names:
        msg = f"there is no {option} {value!r}"
        raise UsageError(msg, hint=f"choose one of {', '.join(names)}")


def _target(output: str | Path | None, model: image_project.ImageProject) -> Path:
    """Return the directory to write to. Raises UsageError for one that a build does not see."""
    if output is None:
        return model.request.project
    path = project_directory(output)
    if not path.is_relative_to(model.context):
        msg = f"{short(path)} is outside of {short(model.context)}, and a build sees nothing there"
        raise UsageError(msg, hint="name a directory in the project, such as --output docker; nothing was written")
    return path


def _prefix(target: Path, model: image_project.ImageProject) -> str:
    relative = target.relative_to(model.context).as_posix()
    return "" if relative == "." else f"{relative}/"


def _look_at_context(model: image_project.ImageProject, target: Path) -> tuple[Path | None, context.Survey]:
    """Return the .dockerignore of the user's, or None, and what should not be in an image."""
    path = model.context / ".dockerignore"
    patterns = context.read_ignored(path)
    is_ours = patterns is not None and writing.is_ours(path)
    survey = context.survey(model.context, None if is_ours else patterns)
    if patterns is None or is_ours:
        return None, survey
    needed = [model.lock_name, *(f"{each}pyproject.toml" for each in ("",))]
    context.require_visible(path, [*needed, f"{_prefix(target, model)}{tools.HASHED}"])
    context.require_no_secrets(path, survey)
    return path, survey


def _command(request: Request, **options: str | None) -> list[str]:
    named = [f"--{name} {value}".split(" ", 1) for name, value in options.items() if value is not None]
    repeated = [
        *(["--extra", each] for each in request.options.extras),
        *(["--group", each] for each in request.options.groups or ()),
    ]
    lock = [["--lock", request.options.lock]] if request.options.lock else []
    return ["container", "write", *(word for pair in (*named, *lock, *repeated) for word in pair)]


def _build_command(model: image_project.ImageProject, target: Path) -> str:
    where = "" if target == model.context else f" -f {short(target / 'Dockerfile')}"
    return f"docker build -t {model.name}{where} {short(model.context)}"


def _what(image: dockerfile.Image) -> str:
    model = image.project
    number = len(re.findall(r"(?m)^[\w.-]+", model.packages.hashed)) + len(model.packages.unhashed)
    command = " ".join(image.command)
    return f"{image.kind}, {number} packages, Python {model.python}" + (
        f", runs `{command}`" if image.kind == "app" else ""
    )


def _notes(model: image_project.ImageProject, survey: context.Survey) -> list[str]:
    notes = []
    rest = [each for each in model.packages.unhashed if each.kind != "directory"]
    if rest:
        names = ", ".join(f"{each.name} ({each.kind})" for each in rest)
        notes.append(f"without a hash in the lock file, and installed after the others: {names}")
    if model.packages.needs_password:
        notes.append("an index needs a password: give the build one with --secret id=netrc,src=$HOME/.netrc")
    if len(model.scripts) > 1:
        notes.append(f"it has more console scripts: {', '.join(model.scripts)}")
    if survey.secrets:
        notes.append(f"left out, since it looks like secrets: {', '.join(survey.secrets[:5])}")
    if survey.outside:
        notes.append(f"links that lead out of the project, and nowhere in the image: {', '.join(survey.outside[:5])}")
    return notes
