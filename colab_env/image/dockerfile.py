"""Render what builds a project's image: its Dockerfile, the files beside it, and those for people who run no Docker."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from colab_env import pins
from colab_env.image import context, debian, jupyter
from colab_env.image.instructions import NEXT_LINE, comment, copy, env, exec_form, run, stage
from colab_env.image.project import ImageProject
from colab_env.image.tools import BUILD, FIRST_OF_1980, HASHED, UNHASHED, VENV, BuildTool, Installation, Recipe, mounted

USER = 1000


@dataclass(frozen=True, kw_only=True)
class Image:
    """What is to be written: the kind "app", "packages" or "jupyter", by which tool, and on what."""

    recipe: Recipe
    kind: str
    tool: BuildTool
    server: jupyter.Server | None = None

    @property
    def project(self) -> ImageProject:
        return self.recipe.project

    @property
    def has_wheels(self) -> bool:
        """Say whether the project or a path dependency is built and installed as a wheel."""
        return bool(self.recipe.wheels)

    @property
    def is_mounted(self) -> bool:
        """Say whether the last stage installs the packages itself, by a mounted tool: nothing has to be compiled for them.

        A copy from another stage takes as long as an installation: 1.4 GB are written, and read to know them again.
        """
        return self.tool.can_be_mounted(self.recipe) and not debian.needed_to_build(self.project)

    @property
    def installations(self) -> list[Installation]:
        """Return what installs the packages, and of kind "jupyter" the kernel."""
        kernel = [jupyter.installation(self.server, self.recipe, self.tool)] if self.server else []
        return [*self.tool.packages(self.recipe), *kernel]

    @property
    def command(self) -> list[str]:
        """Return what a container of kind "app" or "packages" starts."""
        project = self.project
        if self.kind == "app" and project.scripts:
            return [project.name if project.name in project.scripts else project.scripts[0]]
        return ["python"]


def render(image: Image) -> str:
    """Return the text of the Dockerfile, without the line that says who wrote it."""
    servers = jupyter.stages(image.recipe, image.tool) if image.server else []
    wheels = [_wheels(image)] if image.has_wheels else []
    stages = [_tools(image), *servers, _packages(image), *wheels, _runtime(image)]
    return "\n\n".join("\n".join(lines) for lines in stages) + "\n"


def _tools(image: Image) -> list[str]:
    apt = debian.needed_to_build(image.project)
    return [
        stage(image.project.base, "tools"),
        *image.tool.tools(image.recipe),
        *([debian.apt_install(apt)] if apt else []),
    ]


def _packages(image: Image) -> list[str]:
    """Return the stage that makes the environment, or has what the last stage makes it from."""
    lines = [stage("tools", "packages"), f"WORKDIR {BUILD}"]
    if image.is_mounted:
        files = (line for each in image.installations for line in each.files)
        sums = [f"find {BUILD} -type f -exec sha256sum {{}} + > {_SUMS}", f"sort --output={_SUMS} {_SUMS}"]
        return [
            comment("What the last stage installs from: of this, only the checksums are copied."),
            *lines,
            *files,
            run(sums),
        ]
    lines += (line for each in image.installations for line in each.in_stage())
    return [*lines, *debian.find_needed_to_run(image.project)]


# Seen with buildah 1.28: `--layers` takes the layer of a RUN from the cache whatever is in its mounts, so the old packages;
# and mounts of a stage that came from the cache are empty, unless something is copied from that stage, or it ends with an ENV.
_SUMS = "/packages.sha256"
_NOT_IN_MOUNTS = "buildah and podman do not look into what is mounted below."


def _packages_in_image(image: Image) -> list[str]:
    """Return how the packages get into the last stage; of kind "jupyter", JupyterLab and the kernel too."""
    server = [jupyter.server_copied()] if image.server else []
    if image.is_mounted:
        changed = comment(f"Other packages change this file: {_NOT_IN_MOUNTS}")
        sums = copy(_SUMS, "/opt/", "--from=packages")
        return [*server, changed, sums, *mounted(image.installations, image.tool, image.recipe)]
    why = comment("At the path it was made for: the first lines of its programs name that path.")
    kernel = jupyter.kernel_copied() if image.server else []
    return [why, copy(VENV, VENV, "--from=packages"), *server, *kernel]


# setuptools-scm and its like ask `git describe --dirty`, for which a tracked file that is not there is a change.
_CLEAN_TREE = (
    comment(
        "What .dockerignore leaves out is no change of the sources: else the version would say that they are dirty."
    ),
    run(["git ls-files -z --deleted > /tmp/left-out", "xargs -0 -r git update-index --skip-worktree < /tmp/left-out"]),
)


def _wheels(image: Image) -> list[str]:
    return [
        comment("A change of the sources begins here: the packages above stay as they are."),
        stage("tools", "project"),
        "WORKDIR /src",
        copy(".", "./"),
        *(_CLEAN_TREE if image.project.has_version_of_git else []),
        *image.tool.wheels(image.recipe),
    ]


_WHEELS_SUM = (
    comment(f"A change of the wheels changes this file: {_NOT_IN_MOUNTS}"),
    copy("/wheels.sha256", "/opt/", "--from=project"),
)


def _runtime(image: Image) -> list[str]:
    # useradd writes down the day, or that of this variable (shadow 4.5): a build of tomorrow is the same image.
    create = f"SOURCE_DATE_EPOCH={FIRST_OF_1980} useradd --uid {USER} --gid {USER} --create-home --no-log-init app"
    return [
        stage(image.project.base, "runtime"),
        *debian.install_to_run(image.project),
        comment(
            "Not root; by number below, so that Kubernetes can see it; with a home, where libraries keep their settings."
        ),
        run([f"groupadd --gid {USER} app", create]),
        *env(
            ("PATH", f"{VENV}/bin:$PATH", ""),
            ("PYTHONUNBUFFERED", "1", "Without it, a process that is killed loses what it has printed."),
        ),
        # Before what changes: BuildKit makes a layer of it.
        *(["WORKDIR /home/app"] if image.kind == "app" else []),
        *_packages_in_image(image),
        *([*_WHEELS_SUM, *image.tool.install_wheels(image.recipe)] if image.has_wheels else []),
        *_last(image),
    ]


def _last(image: Image) -> list[str]:
    """Return what makes no layer, and the sources where they are no package."""
    if image.server:
        return [
            comment("Notebooks are saved where they stand, so they belong to the user."),
            "WORKDIR /work",
            copy(".", "./", f"--chown={USER}:{USER}"),
            *_identity(image.project),
            *jupyter.start(),
        ]
    if image.kind == "packages":
        lines = [
            comment("The sources come last, and are root's: the process cannot change them."),
            "WORKDIR /app",
            copy(".", "./"),
        ]
        return [*lines, *_identity(image.project), exec_form("CMD", image.command)]
    begins = "ENTRYPOINT" if image.project.scripts else "CMD"
    return [*_identity(image.project), exec_form(begins, image.command)]


def _identity(project: ImageProject) -> list[str]:
    """Return who runs the image, and the labels that say what it is."""
    pyproject = project.request.pyproject
    described = pyproject.at("project", "description") or pyproject.at("tool", "poetry", "description")
    labels = {
        "title": project.name,
        "version": project.version,
        "description": described if isinstance(described, str) else None,
        "base.name": project.base,
    }
    pairs = list[str]()
    for key, value in labels.items():
        if value:
            quoted = " ".join(value.split()).replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
            pairs.append(f'org.opencontainers.image.{key}="{quoted}"')
    return [f"USER {USER}:{USER}", "LABEL " + NEXT_LINE.join(pairs)]


def binder(image: Image) -> dict[str, str]:
    """Return what repo2docker reads, which knows none of the lock formats: hashed requirements, and the rest afterwards."""
    project = image.project
    files = {
        ".binder/requirements.txt": project.packages.requirements,
        ".binder/runtime.txt": f"python-{project.python}\n",
    }
    if project.apt:
        files[".binder/apt.txt"] = "".join(f"{name}\n" for name in project.apt)
    pip = "python -m pip install --no-cache-dir --no-deps"
    unhashed = project.packages.unhashed_requirements
    commands = [f"{pip} -r .binder/unhashed.txt"] if unhashed else []
    commands += [
        f"{pip} {shlex.quote('.' if directory == '.' else f'./{directory}')}" for directory in image.recipe.wheels
    ]
    if unhashed:
        files[".binder/unhashed.txt"] = unhashed
    if commands:
        head = "#!/bin/bash\n# After the hashed requirements: with a line that has no hash, pip would take none of them.\nset -e\n"
        files[".binder/postBuild"] = head + "".join(f"{command}\n" for command in commands)
    return files


def apptainer(image: Image) -> dict[str, str]:
    """Return a definition file, and the requirements that it installs."""
    project = image.project
    unhashed = project.packages.unhashed_requirements
    sources = [f"{name} /build/src/{name.rpartition('/')[0]}".rstrip("/") + "/" for name in sorted(_sent(image))]
    copied = [f"{HASHED} /build/", *([f"{UNHASHED} /build/"] if unhashed else []), *sources]
    uv = "/opt/tools/bin/uv pip install --python /opt/venv --no-deps"
    apt = sorted({*project.apt, *debian.needed_to_build(project)})
    install = f"apt-get update && apt-get install --yes --no-install-recommends {' '.join(apt)}"
    wheels = " ".join(
        shlex.quote(f"/build/src/{directory}" if directory != "." else "/build/src")
        for directory in image.recipe.wheels
    )
    post = [
        "set -e",
        *([install, "rm -rf /var/lib/apt/lists/*"] if apt else []),
        "# What installs is removed below: the image is one file, in which nothing of it is left.",
        "python3 -m venv /opt/tools",
        f"/opt/tools/bin/pip install --no-cache-dir --disable-pip-version-check uv=={pins.UV}",
        "export UV_NO_CACHE=1 UV_LINK_MODE=copy" + (" UV_COMPILE_BYTECODE=1" if image.recipe.compile_bytecode else ""),
        f"/opt/tools/bin/uv venv --python python3 {VENV}",
        f"{uv} --require-hashes -r /build/{HASHED}",
        *([f"cd /build && {uv} -r {UNHASHED}"] if unhashed else []),
        *([f"{uv} {wheels}"] if wheels else ["mkdir /app", "cp -a /build/src/. /app/"]),
        "rm -rf /build /opt/tools",
    ]
    # Not by an import: modules may have other names than their distribution.
    asked = f'import importlib.metadata as m; m.version("{project.name}")' if project.is_package else "import sys"
    command = " ".join(image.command)
    sections = {
        "files": copied,
        "post": post,
        "environment": [f"export PATH={VENV}/bin:$PATH", "export PYTHONUNBUFFERED=1"],
        "test": [f"{VENV}/bin/python -c '{asked}'"],
        "runscript": [f'exec {command} "$@"'],
    }
    body = "".join(f"\n%{name}\n{textwrap.indent(chr(10).join(lines), 4 * ' ')}\n" for name, lines in sections.items())
    return {
        "apptainer.def": f"Bootstrap: docker\nFrom: {project.base}\n{body}",
        HASHED: project.packages.requirements,
        **({UNHASHED: unhashed} if unhashed else {}),
    }


def devcontainer(image: Image) -> dict[str, str]:
    """Return the settings of a dev container: the image, with the sources of the workspace in front of the installed ones."""
    inside = "${containerWorkspaceFolder}"
    settings = {
        "name": image.project.name,
        "build": {"dockerfile": "../Dockerfile", "context": ".."},
        "remoteUser": "app",
        "overrideCommand": True,
        "containerEnv": {"PYTHONPATH": f"{inside}/src:{inside}"},
        "customizations": {"vscode": {"settings": {"python.defaultInterpreterPath": f"{VENV}/bin/python"}}},
    }
    return {".devcontainer/devcontainer.json": json.dumps(settings, indent=2, ensure_ascii=False) + "\n"}


def compose(image: Image) -> dict[str, str]:
    """Return a Compose file with the one service."""
    lines = ["services:", f"  {image.project.name}:", "    build: .", f"    image: {image.project.name}"]
    lines += ["    # The first process ends its children, and passes signals on.", "    init: true"]
    if image.server:
        lines += ["    # For this machine alone: who has the token can run anything.", "    ports:"]
        lines += [f'      - "127.0.0.1:{jupyter.PORT}:{jupyter.PORT}"']
    return {"compose.yaml": "".join(f"{line}\n" for line in lines)}


RENDERERS: dict[str, Callable[[Image], dict[str, str]]] = {
    "binder": binder,
    "apptainer": apptainer,
    "devcontainer": devcontainer,
    "compose": compose,
}
NEED_NO_DOCKERFILE = frozenset({"binder", "apptainer"})


def _sent(image: Image) -> list[str]:
    """Return the names in the build context that go into an image: Apptainer reads no .dockerignore, and splits at spaces.

    A directory with a secret somewhere in it is named by its parts, without the secret.
    """
    directory, survey = image.project.context, context.survey(image.project.context)
    ignored = [line for line in context.text(survey).splitlines() if line and not line.startswith("#")]
    patterns = [*(context.read_ignored(directory / ".dockerignore") or []), *ignored]
    names, waiting = list[str](), [path.name for path in directory.iterdir() if path.name not in (HASHED, UNHASHED)]
    while waiting:
        name = waiting.pop()
        if " " in name or context.is_ignored(name, patterns):
            continue
        if any(secret.startswith(f"{name}/") for secret in survey.secrets):
            waiting += [f"{name}/{path.name}" for path in (directory / name).iterdir()]
        else:
            names.append(name)
    return names
