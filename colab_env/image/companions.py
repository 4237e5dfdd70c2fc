"""The files beside a Dockerfile, and for those who run no Docker: Binder, Apptainer, a dev container, Compose."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable

from colab_env import pins
from colab_env.image import context, jupyter, system_packages
from colab_env.image.dockerfile import Image
from colab_env.image.tools import HASHED, UNHASHED, VENV

_INDENT = "\n    "


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
    commands += [f"{pip} {shlex.quote('.' if each == '.' else f'./{each}')}" for each in image.recipe.wheels]
    if unhashed:
        files[".binder/unhashed.txt"] = unhashed
    if commands:
        head = "#!/bin/bash\n# After the hashed requirements: with a line that has no hash, pip would take none of them.\nset -e\n"
        files[".binder/postBuild"] = head + "".join(f"{each}\n" for each in commands)
    return files


def apptainer(image: Image) -> dict[str, str]:
    """Return a definition file, and the requirements that it installs."""
    project = image.project
    unhashed = project.packages.unhashed_requirements
    sources = [f"{name} /build/src/" for name in sorted(_sent(image))]
    copied = [f"{HASHED} /build/", *([f"{UNHASHED} /build/"] if unhashed else []), *sources]
    uv = "/opt/tools/bin/uv pip install --python /opt/venv --no-deps"
    apt = sorted({*project.apt, *system_packages.needed_to_build(project)})
    install = f"apt-get update && apt-get install --yes --no-install-recommends {' '.join(apt)}"
    wheels = " ".join(
        shlex.quote(f"/build/src/{each}" if each != "." else "/build/src") for each in image.recipe.wheels
    )
    post = [
        "set -e",
        *([install, "rm -rf /var/lib/apt/lists/*"] if apt else []),
        "# What installs is removed below: the image is one file, in which nothing of it is left.",
        "python3 -m venv /opt/tools",
        f"/opt/tools/bin/pip install --no-cache-dir --disable-pip-version-check uv=={pins.UV}",
        "export UV_NO_CACHE=1 UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1",
        f"/opt/tools/bin/uv venv --python python3 {VENV}",
        f"{uv} --require-hashes -r /build/{HASHED}",
        *([f"cd /build && {uv} -r {UNHASHED}"] if unhashed else []),
        *([f"{uv} {wheels}"] if wheels else ["mkdir /app", "cp -a /build/src/. /app/"]),
        "rm -rf /build /opt/tools",
    ]
    modules = [project.name.replace("-", "_")] if project.is_package else ["sys"]
    command = " ".join(image.command)
    sections = {
        "files": copied,
        "post": post,
        "environment": [f"export PATH={VENV}/bin:$PATH", "export PYTHONUNBUFFERED=1"],
        "test": [f"{VENV}/bin/python -c 'import {', '.join(modules)}'"],
        "runscript": [f'exec {command} "$@"'],
    }
    body = "".join(f"\n%{name}{_INDENT}{_INDENT.join(lines)}\n" for name, lines in sections.items())
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
    """Return the names in the build context that go into an image: Apptainer reads no .dockerignore, and splits at spaces."""
    directory = image.project.context
    own = [line for line in context.text(context.survey(directory)).splitlines() if line and not line.startswith("#")]
    patterns = [*(context.read_ignored(directory / ".dockerignore") or []), *own]
    names = [path.name for path in directory.iterdir() if " " not in path.name and path.name not in (HASHED, UNHASHED)]
    return [name for name in names if not context.is_ignored(name, patterns)]
