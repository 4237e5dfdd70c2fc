"""Take a project home as a container image: write the files that build it, build it without an engine, check what is there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, _report, content, steps
from colab_env.errors import MissingStepError, UsageError
from colab_env.image import (
    context,
    debian,
    dockerfile,
    jupyter,
    reading,
    rules,
    shared_libraries,
    surroundings,
    tools,
    writing,
)
from colab_env.image import project as image_project
from colab_env.image.reference import ARCHITECTURES, ImageReference, Platform
from colab_env.image.rules import CheckedFile, CheckResult
from colab_env.machine import Machine
from colab_env.request import InstallOptions, Request, named_directory, project_directory
from colab_env.results import short
from colab_env.step import changing, project_lock

if TYPE_CHECKING:
    from colab_env.image._building import BuildResult
    from colab_env.image.writing import WriteResult

_LARGEST = 2_000_000  # bytes of a Dockerfile
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
    also: Sequence[str] = (),
    output: str | Path | None = None,
    compile_bytecode: bool = True,
    overwrite: bool = False,
) -> WriteResult:
    """Write the Dockerfile of a project, a .dockerignore beside it, and the lock file as its build reads it.

    `kind` is "app" (the project's console script is the command), "packages" (the locked packages, the sources copied last)
    or "jupyter" (the project as a kernel); "auto" takes "app" for a package. `tool` installs in the build: "uv", "pip" or
    "poetry"; none of them is in the image. `base` is another image than the official one of the project's Python. Only the
    main dependencies are in it, with `extras` and dependency `groups` that are named, or were when the environment was made.
    `also` are files beside it, or for those who run no Docker: "binder" and "apptainer", which alone need no Dockerfile,
    "devcontainer", "compose".
    `output` is a directory in the project to write to instead. A file that somebody else wrote, or has edited, is never
    overwritten unless `overwrite`.

    Raises MissingStepError without a lock file, LockMismatchError for a stale one, NotOursError for a file in the way,
    NoSuchPythonError where no base image has the Python, UsageError, ProjectFileError. Nothing is written then.
    """
    _require_one_of("kind", kind, KINDS)
    _require_one_of("tool", tool, tuple(tools.TOOLS))
    for name in also:
        _require_one_of("file for", name, tuple(dockerfile.RENDERERS))
    if base is not None:
        _require_debian(base)
    machine = Machine.detect()
    request = read_request(project, machine, python=python, lock=lock, extras=extras, groups=groups)
    if request.lock.format.missing_tool(machine):
        steps.install_poetry()
    model = image_project.read(request, base=base, kind=kind)
    builder = tools.TOOLS[tool]
    builder.check(model)
    image_project.require_git(model)
    target = _target(output, model, also)
    if kind == "auto":
        kind = "app" if model.is_package else "packages"
    ignore_file, survey = _look_at_context(model)
    python_path = image_project.python_for_lock(request)
    image = dockerfile.Image(
        recipe=tools.Recipe(project=model, exported=_prefix(target, model), compile_bytecode=compile_bytecode),
        kind=kind,
        tool=builder,
        server=jupyter.resolve(model, python=python_path, earlier=target) if kind == "jupyter" else None,
    )
    texts = _texts(image, also, target, ignore_file, survey)
    words = [*_command(request, kind=kind, tool=tool, base=base, python=python), *(f"--{name}" for name in also)]
    files = {
        target / name: writing.with_head(text, words=words, lock=model.digest, name=name)
        for name, text in texts.items()
    }
    changed = writing.write(files, machine=machine, project=request.project, overwrite=overwrite)
    build_command, run_command = _commands(model, target, kind) if "Dockerfile" in texts else ("", "")
    result = writing.WriteResult(
        paths=tuple(files),
        changed=changed,
        what=_what(image),
        build=build_command,
        run=run_command,
        notes=(
            *request.notes(model.python),
            *model.packages.notes,
            *_about_command(image),
            *_notes(model, survey, ignore_file),
        ),
    )
    _report.keep(repr(result))
    return result


def build(  # noqa: PLR0913  (keyword-only, each an option of the command)
    project: str | Path = ".",
    *,
    output: str | Path | None = None,
    push: str | None = None,
    base: str | None = None,
    platform: str | None = None,
    tag: str | None = None,
    sbom: str | Path | None = None,
    compile_bytecode: bool = True,
    cache: bool = True,
    python: str | None = None,
    lock: str | Path | None = None,
    extras: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> BuildResult:
    """Build the image of a project without an engine: into the file `output`, to the registry's name `push`, or both.

    `base` is the name of an image in a registry, `oci:DIR` or `docker-archive:FILE`; `platform` is "linux/amd64" or
    "linux/arm64", by default this machine's. The file is one that `docker load`, `podman load` and `skopeo` take, with the
    image under the name `tag`; `sbom` gets a list of what is in it, as CycloneDX JSON. Without `compile_bytecode` no `.pyc`
    are made; without `cache` nothing of earlier builds is used. The same project, lock file and base give the same image
    everywhere.

    Raises UsageError, MissingStepError, LockMismatchError, NoWheelError, BaseImageError, RegistryLoginError, NetworkError,
    HashMismatchError, NotOursError, DiskFullError, BuildError; then nothing is under the name `output`. Only where nothing but
    the push failed, `output` and `sbom` are there, complete, and the hint says so.
    """
    from colab_env import caches
    from colab_env.image import _building
    from colab_env.image.reference import archive_tag

    if output is None and push is None:
        msg = "an image has to go somewhere"
        raise UsageError(msg, hint="give -o FILE, or --push NAME")
    machine = Machine.detect()
    chosen = Platform.parsed(platform)
    target = None if push is None else ImageReference.parsed(push)
    name = None if tag is None else archive_tag(tag)
    request = read_request(project, machine, python=python, lock=lock, extras=extras, groups=groups)
    if request.lock.format.missing_tool(machine):
        steps.install_poetry()
    model = image_project.read(request, base=base)
    options = _building.BuildOptions(
        platform=chosen,
        tag=name or f"{model.name}:latest",
        output=None if output is None else _files.output_path(output),
        push=target,
        sbom=None if sbom is None else _files.output_path(sbom),
        compile=compile_bytecode,
        fresh=not cache,
        limit=caches.limit(machine),
    )
    with _report.screen(), changing("container", machine):
        result = _building.build(model, options, machine=machine)
    _report.keep(repr(result))
    return result


def check(*dockerfiles: str | Path, project: str | Path = ".", fix: bool = False, write: bool = False) -> CheckResult:
    """Say whether what `write` wrote is still what the project says, and what is wrong with other Dockerfiles.

    Without `dockerfiles`, all that `write` wrote in the project are compared, else its Dockerfile is read. With `fix` the
    result has a diff of what is certainly equivalent or better, and with `write` that is written too. Starts no tool and asks
    no network. Raises MissingStepError where there is nothing to check, UsageError, ProjectFileError.
    """
    machine, directory = Machine.detect(), project_directory(project)
    if write and not fix:
        msg = "write=True, --write, is for fix=True, --fix"
        raise UsageError(msg, hint="give both, or leave it out")
    paths = [_files.named_path(name).absolute() for name in dockerfiles] or _written_files(directory)
    return CheckResult(files=tuple(_checked(path, directory, machine, fix=fix, write=write) for path in paths))


def _written_files(project: Path) -> list[Path]:
    """Return the files that `write` wrote in a project, else its Dockerfile."""
    names = (
        *("Dockerfile", "Dockerfile.dockerignore", ".dockerignore", tools.HASHED, tools.UNHASHED),
        *(
            jupyter.SERVER_REQUIREMENTS,
            jupyter.KERNEL_REQUIREMENTS,
            "apptainer.def",
            "compose.yaml",
            "devcontainer.json",
        ),
        *("requirements.txt", "unhashed.txt", "apt.txt", "postBuild"),  # in .binder
    )
    directories = (project, *sorted(path for path in project.iterdir() if path.is_dir())) if project.is_dir() else ()
    paths = [path for directory in directories for name in names if (path := directory / name).is_file()]
    ours = [path for path in paths if writing.head_of(path) is not None]
    chosen = ours or [path for path in paths if path == project / "Dockerfile"]
    if not chosen:
        msg = f"{short(project)} has no Dockerfile"
        raise MissingStepError(msg, hint="run `colab-env container write` there, or name the files to check")
    return chosen


def _checked(path: Path, project: Path, machine: Machine, *, fix: bool, write: bool) -> CheckedFile:
    content_ = _files.content(path, largest=_LARGEST)
    if content_ is None:
        msg = f"there is no file {short(path)}"
        raise UsageError(msg, hint="check the path, which is relative to the working directory")
    if (head := writing.head_of(path)) is not None:
        return CheckedFile(path=path, stale=_stale(head, project, machine))
    text = content_.decode("utf-8", "replace")
    file = reading.read(text)
    if not file.stages:
        msg = f"{short(path)} has no FROM: it is no Dockerfile"
        raise UsageError(msg, hint="name the Dockerfile to check")
    findings = rules.check(file, surroundings.beside(project, os.path.relpath(path, project)))
    better = rules.fixed(file, findings) if fix else text
    if write and better != text:
        with changing("container_write", machine, project_lock(machine, project)):
            _files.write_text(path, better)
    linter = shutil.which("hadolint", path=machine.environ.get("PATH"))
    return CheckedFile(
        path=path,
        findings=tuple(finding for finding, _ in findings),
        difference=writing.difference(path, text, better) if better != text else "",
        fixed=write and better != text,
        notes=(f"hadolint is there, and knows more: {linter} {short(path)}",) if linter else (),
    )


def _stale(head: writing.Head, project: Path, machine: Machine) -> str | None:
    locks = head.values("--lock")
    request = read_request(
        project, machine, lock=locks[0] if locks else None, extras=head.values("--extra"), groups=head.values("--group")
    )
    if image_project.digest(request) == head.lock:
        return None
    remedy = f"run `colab-env {' '.join(head.words)}`, and commit what it writes"
    return (
        f"stale: {request.lock.path.name} or what counts in pyproject.toml has changed since it was written; {remedy}"
    )


def read_request(
    project: str | Path,
    machine: Machine,
    *,
    python: str | None = None,
    lock: str | Path | None = None,
    extras: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> Request:
    """Read a project for an image: without development groups where nobody names any. Raises MissingStepError without a lock."""
    options = InstallOptions.from_arguments(lock=lock, extras=extras, groups=groups)
    request = Request.read(project, machine, options=options, python=python)
    image_project.require_lock(request)
    if request.options.groups is None:  # the tools' default is what a developer wants
        options = InstallOptions.from_arguments(lock=lock, extras=extras, groups=())
        request = Request.read(project, machine, options=options, python=python)
    return request


def _require_one_of(option: str, value: str, names: Sequence[str]) -> None:
    if value not in names:
        msg = f"there is no {option} {value!r}"
        raise UsageError(msg, hint=f"choose one of {', '.join(names)}")


def _target(output: str | Path | None, model: image_project.ImageProject, also: Sequence[str]) -> Path:
    """Return the directory to write to. Raises UsageError for one that a build, or the reader of `also`, does not see."""
    target = model.request.project if output is None else named_directory(output)
    if not target.is_relative_to(model.context):
        msg = f"{short(target)} is outside of {short(model.context)}, and a build sees nothing there"
        raise UsageError(
            msg, hint=f"name a directory in the project, such as {short(model.context / 'docker')}; nothing was written"
        )
    if not also or target == model.context:
        return target
    # Binder, Apptainer, dev containers and Compose look for their files at the top of the build context.
    names, options = ", ".join(also), " ".join(f"--{name}" for name in also)
    if output is None:
        msg = f"{short(target)} is a member of the workspace {short(model.context)}, and {names} belong at its top"
        hint = f"write them there with --output {short(model.context)}, or leave {options} out; nothing was written"
    else:
        msg = f"{names} do not go with output={str(output)!r}: they are looked for at the top of the project"
        hint = "leave --output out, or write them by a call of their own; nothing was written"
    raise UsageError(msg, hint=hint)


def _texts(
    image: dockerfile.Image, also: Sequence[str], target: Path, ignore_file: Path | None, survey: context.Survey
) -> dict[str, str]:
    """Return name and text of every file to write; without a Dockerfile where `also` needs none."""
    model, texts = image.project, dict[str, str]()
    if not also or not dockerfile.NEED_NO_DOCKERFILE.issuperset(also):
        if ignore_file is not None:
            context.require_visible(ignore_file, _copied(image, _prefix(target, model)))
        texts |= {"Dockerfile": dockerfile.render(image), **image.tool.exports(model)}
        texts |= image.server.exports() if image.server else {}
        if ignore_file is None:
            # Beside a Dockerfile that is not at the top, Docker reads a file of this name alone.
            name = ".dockerignore" if target == model.context else "Dockerfile.dockerignore"
            texts[name] = context.text(survey, needs_git=_ships_only_wheel(image))
    for name in also:
        texts |= dockerfile.RENDERERS[name](image)
    return texts


def _prefix(target: Path, model: image_project.ImageProject) -> str:
    relative = target.relative_to(model.context).as_posix()
    return "" if relative == "." else f"{relative}/"


def _look_at_context(model: image_project.ImageProject) -> tuple[Path | None, context.Survey]:
    """Return the .dockerignore of the user's, or None, and what should not be in an image."""
    path = model.context / ".dockerignore"
    patterns = context.read_ignored(path)
    is_ours = patterns is not None and writing.is_ours(path)
    survey = context.survey(model.context, None if is_ours else patterns)
    if patterns is None or is_ours:
        return None, survey
    context.require_no_secrets(path, survey)
    return path, survey


def _ships_only_wheel(image: dockerfile.Image) -> bool:
    """Say whether the build may see .git, as it must for a version of git: where no directory of the project is shipped."""
    if not image.project.has_version_of_git:
        return False
    if image.kind == "app":
        return True
    msg = f"the version of {image.project.name} comes from git, and an image of kind {image.kind} would hold .git"
    raise UsageError(msg, hint="choose --kind app, or write the version into pyproject.toml; nothing was written")


def _copied(image: dockerfile.Image, prefix: str) -> list[str]:
    """Return the files of the build context that the Dockerfile copies by name, and what builds the project's wheel."""
    model = image.project
    exported = [*image.tool.exports(model), *(image.server.exports() if image.server else {})]
    reads_lock = image.tool.name == "poetry" or (image.tool.name == "uv" and tools.reads_lock(model))
    files = [model.lock_name, "pyproject.toml"] if reads_lock else []
    built = [f"{directory}/pyproject.toml".removeprefix("./") for directory in image.recipe.wheels]
    return [*files, *built, *(f"{prefix}{name}" for name in exported)]


def _command(request: Request, **options: str | None) -> list[str]:
    options_argv = [f"--{name} {value}".split(" ", 1) for name, value in options.items() if value is not None]
    repeated = [
        *(["--extra", name] for name in request.options.extras),
        *(["--group", name] for name in request.options.groups or ()),
    ]
    lock = [["--lock", request.options.lock]] if request.options.lock else []
    return ["container", "write", *(word for pair in (*options_argv, *lock, *repeated) for word in pair)]


def _commands(model: image_project.ImageProject, target: Path, kind: str) -> tuple[str, str]:
    """Return the commands that build the image with Docker, and run it."""
    where = "" if target == model.context else f" -f {_in_shell(target / 'Dockerfile')}"
    # Not to the whole network: who has the token can run anything.
    ports = f" -p 127.0.0.1:{jupyter.PORT}:{jupyter.PORT}" if kind == "jupyter" else ""
    return f"docker build -t {model.name}{where} {_in_shell(model.context)}", f"docker run --rm{ports} {model.name}"


def _in_shell(path: Path) -> str:
    """Return a path as a shell takes it, which knows no ~ in quotes."""
    return short(path) if shlex.quote(str(path)) == str(path) else shlex.quote(str(path))


def _require_debian(base: str) -> None:
    """Raise UsageError for a base that is no name of an image, or is known to lack what the Dockerfile calls: apt, glibc."""
    named = ImageReference.parsed(base)
    if "alpine" in f"{named.repository}:{named.tag}":
        msg = f"{base} is Alpine, and what is written here needs Debian: apt, and wheels for glibc"
        raise UsageError(msg, hint="name an image of Debian or Ubuntu, such as python:3.12-slim; nothing was written")


def _what(image: dockerfile.Image) -> str:
    model = image.project
    number = len(re.findall(r"(?m)^[\w.-]+", model.packages.hashed)) + len(model.packages.unhashed)
    command = " ".join(image.command)
    return f"{image.kind}, {content.pluralize(number, 'package')}, Python {model.python}" + (
        f", runs `{command}`" if image.kind == "app" else ""
    )


def _absent_libraries(model: image_project.ImageProject) -> list[str]:
    """Return a note about what the project's environment loads and the official slim image lacks, or none.

    Without an environment nobody knows; for the image that is named with --base, the one who names it does.
    """
    machine = ARCHITECTURES[Platform.parsed(None).architecture][1]
    sites = (model.request.project / ".venv").glob("lib/python3*/site-packages")
    absent: dict[str, None] = {}
    users: dict[str, dict[str, None]] = {}
    for site in sites if model.base == image_project.official_base(model.python) else ():
        for one in shared_libraries.missing_in_slim(site, machine):
            package = shared_libraries.SLIM_LACKS[one.library]
            if package not in {name.partition("=")[0] for name in model.apt}:
                absent[package] = None
                users.setdefault(one.distribution, {})[one.library] = None
    if not absent or any(map(debian.is_for_building, model.apt)):  # then what runs is derived in the build
        return []
    missing_text = ", ".join(f"{distribution} ({', '.join(libraries)})" for distribution, libraries in users.items())
    listed = ", ".join(f'"{package}"' for package in absent)
    return [f"{missing_text} would not load in {model.base}: add {listed} to apt in [tool.colab-env], if it is used"]


def _built_from_source(model: image_project.ImageProject) -> list[str]:
    """Return a note about what the image's build compiles, where nobody has said what that needs, or none.

    The official slim image has no compiler: whether a source needs one shows only when it is built.
    """
    from colab_env.locks.wheel_support import is_quickly_read, locked_packages
    from colab_env.native_need import locked_files

    lock = model.request.lock
    if model.apt or lock.format.name not in locked_files.NAMES_FILES or not is_quickly_read(lock):
        return []
    target = locked_files.parse_target(None, model.python)
    inside = set(map(locked_files.normalized, re.findall(r"^([\w.-]+)==", model.packages.hashed, re.MULTILINE)))
    packages = locked_packages(lock, target)
    names = [package.name for package in packages if package.name in inside and package.is_built(target)]
    if not names:
        return []
    listed = _first_ones(names)
    options = f"--platform {str(target).partition(',')[0]} --python {model.python} --sources"
    need = f"what that needs goes into apt in [tool.colab-env], and `colab-env native check {options}` says what it is"
    return [f"without a wheel for {target}, so built from source: {listed}; {need}"]


def _about_command(image: dockerfile.Image) -> list[str]:
    """Return a note about what an image of kind "app" starts, where that may be another thing than is wanted, or none."""
    model = image.project
    if image.kind != "app" or model.scripts == (model.name,):
        return []
    if not model.scripts:
        why = "it has no console script, so the image starts python and holds its modules alone"
        way_out = "take --kind packages, kind='packages', which copies the files of the project too"
        return [f"{why}: give a command after the image's name, or {way_out}"]
    if len(model.scripts) > 1:
        return [f"it has more console scripts: {_first_ones(model.scripts)}"]
    return [
        f"it starts {model.scripts[0]}, the project's only script: if that is no more than a helper, change ENTRYPOINT"
    ]


def _first_ones(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _notes(model: image_project.ImageProject, survey: context.Survey, ignore_file: Path | None) -> list[str]:
    notes = [*model.notes]
    rest = [line for line in model.packages.unhashed if line.kind != "directory"]
    if rest:
        names = ", ".join(f"{line.name} ({line.kind})" for line in rest)
        notes.append(f"without a hash in the lock file: {names}")
    notes += [*_built_from_source(model), *_absent_libraries(model)]
    if model.packages.needs_password:
        notes.append("an index needs a password: give the build one with --secret id=netrc,src=$HOME/.netrc")
    if survey.secrets:
        notes.append(f"left out, since it looks like secrets: {', '.join(survey.secrets[:5])}")
    if ignore_file and (sent := context.unneeded(model.context, context.read_ignored(ignore_file) or [])):
        why = "; .git/config may hold passwords" if ".git" in sent else ""
        notes.append(f"{short(ignore_file)} lets {', '.join(sent)} into the image{why}: add a line for each")
    if survey.outside:
        notes.append(f"links that lead out of the project, and nowhere in the image: {', '.join(survey.outside[:5])}")
    return notes
