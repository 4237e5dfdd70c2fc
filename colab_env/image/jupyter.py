"""The kind "jupyter": JupyterLab in an environment of its own, the project's environment as its kernel."""

from __future__ import annotations

import collections
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, pins
from colab_env.image.instructions import Run, comment, copy, exec_form, run, stage
from colab_env.image.tools import BUILD, VENV, BuildTool, Installation, Recipe
from colab_env.locks import installing, requirements_text

if TYPE_CHECKING:
    from colab_env.image.project import ImageProject

SERVER_REQUIREMENTS = "container-jupyter.txt"
KERNEL_REQUIREMENTS = "container-kernel.txt"
PORT = 8888
_SERVER, _KERNEL = "/opt/jupyter", "/opt/kernel"
# What Colab's page asks of a local runtime: the preflight of a private address, and credentials with its own origin.
_SETTINGS = {
    "ServerApp": {
        "allow_origin": "https://colab.research.google.com",
        "allow_credentials": True,
        "tornado_settings": {"headers": {"Access-Control-Allow-Private-Network": "true"}},
    },
    "KernelSpecManager": {"ensure_native_kernel": False},
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LARGEST, _MOST = 50_000_000, 200  # bytes of a notebook, notebooks that are read


@dataclass(frozen=True, kw_only=True)
class Server:
    """JupyterLab and the kernel: what is installed besides the lock file's packages, in pip's format with hashes.

    `name` is the kernel's, as the notebooks have it. `kernel_requirements` is empty where the lock file has ipykernel.
    """

    name: str
    display_name: str
    requirements: str
    kernel_requirements: str

    def exports(self) -> dict[str, str]:
        """Return name and text of the files that its stages read."""
        files = {SERVER_REQUIREMENTS: self.requirements, KERNEL_REQUIREMENTS: self.kernel_requirements}
        return {name: text for name, text in files.items() if text}


def resolve(project: ImageProject, *, python: Path, earlier: Path) -> Server:
    """Resolve JupyterLab, and ipykernel for the versions that are locked; versions written in `earlier`, a directory, stay."""
    request = project.request
    installer = installing.installer(request.machine, pyproject=request.pyproject)
    options = ("--universal", "--python-version", project.python)
    locked = {
        requirements_text.normalized(requirement.name)
        for _, requirement in requirements_text.requirements(project.packages.hashed)
    }

    def compiled(name: str, text: str, constraints: str = "") -> str:
        earlier_text = (_files.content(earlier / name) or b"").decode("utf-8", "replace")
        return installer.compile(
            request.project / name,
            python=python,
            text=text,
            options=options,
            constraints=constraints,
            known=earlier_text,
        )

    kernel = ""
    if "ipykernel" not in locked:
        resolved = compiled(KERNEL_REQUIREMENTS, "ipykernel>=6\n", _pins(project.packages.hashed))
        kernel = requirements_text.without(resolved, locked)
    return Server(
        name=kernel_name(project.request.project),
        display_name=f"Python {project.python} ({project.name})",
        requirements=compiled(SERVER_REQUIREMENTS, f"jupyterlab=={pins.JUPYTERLAB}\n"),
        kernel_requirements=kernel,
    )


def _pins(hashed: str) -> str:
    return "".join(
        f"{requirement}\n"
        for _, requirement in requirements_text.requirements(hashed)
        if not requirement.url and not requirement.extras
    )


def kernel_name(project: Path) -> str:
    """Return the kernel that most notebooks of a project ask for, or "python3"."""
    counted = collections.Counter(_names(project))
    return min(counted, key=lambda name: (-counted[name], name)) if counted else "python3"


def _names(project: Path) -> Iterator[str]:
    remaining = _MOST
    for directory, names, files in os.walk(project):
        names[:] = sorted(name for name in names if not name.startswith(".") and name != "node_modules")
        for file in sorted(name for name in files if name.endswith(".ipynb")):
            remaining -= 1
            path = Path(directory) / file
            if remaining < 0 or not path.is_file() or path.stat().st_size > _LARGEST:
                continue
            value = _files.read_json(path)
            for key in ("metadata", "kernelspec", "name"):
                value = value.get(key) if isinstance(value, dict) else None
            if isinstance(value, str) and _NAME.fullmatch(value):
                yield value


def stages(recipe: Recipe, tool: BuildTool) -> list[list[str]]:
    """Return the stage with the server, which a change of the lock file leaves as it is."""
    directory = f"{_SERVER}/etc/jupyter"
    settings = f"printf '%s\\n' '{json.dumps(_SETTINGS)}' > {directory}/jupyter_server_config.json"
    return [
        [
            comment("JupyterLab is apart from the project: neither decides about the other's versions."),
            stage("tools", "server"),
            f"WORKDIR {BUILD}",
            recipe.copied(SERVER_REQUIREMENTS),
            run(
                [
                    tool.create(_SERVER),
                    tool.install(recipe, f"--require-hashes --no-deps -r {SERVER_REQUIREMENTS}", environment=_SERVER),
                    f"rm -r {_SERVER}/share/jupyter/kernels",
                ],
                tool.cache,
            ),
            comment(
                "Colab's page may use this server as a local runtime: its origin, with the token, from a public address."
            ),
            run([f"mkdir -p {directory}", settings]),
        ]
    ]


def installation(server: Server, recipe: Recipe, tool: BuildTool) -> Installation:
    """Return what registers the project's environment as a kernel."""
    spec = f"--prefix {_SERVER} --name {server.name} --display-name '{server.display_name}'"
    if not server.kernel_requirements:
        commands = (f"mkdir -p {_KERNEL}", f"{VENV}/bin/python -m ipykernel install {spec}")
        return Installation(why="The kernel is the ipykernel of the lock file.", files=(), commands=commands, how=Run())
    install = tool.install(recipe, f"--require-hashes --no-deps -r {BUILD}/{KERNEL_REQUIREMENTS}", target=_KERNEL)
    register = f"PYTHONPATH={_KERNEL} {VENV}/bin/python -m ipykernel install {spec} --env PYTHONPATH {_KERNEL}"
    return Installation(
        why="What a kernel needs and the lock file does not have is beside the environment, not in it.",
        files=(recipe.copied(KERNEL_REQUIREMENTS),),
        commands=(install, register),
        how=tool.cache,
    )


def server_copied() -> str:
    """Return the instruction that brings JupyterLab into the last stage."""
    return copy(_SERVER, _SERVER, "--from=server")


def kernel_copied() -> list[str]:
    """Return the instructions that bring the kernel into the last stage, where it was made in another one."""
    return [
        copy(_KERNEL, _KERNEL, "--from=packages"),
        copy(f"{_SERVER}/share/jupyter/kernels", f"{_SERVER}/share/jupyter/kernels", "--from=packages"),
    ]


def start() -> list[str]:
    """Return how it starts, and how its health is asked for."""
    question = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{PORT}/api', timeout=3)"
    options = ["--ip=0.0.0.0", f"--port={PORT}", "--no-browser", "--ServerApp.port_retries=0"]
    return [
        f"EXPOSE {PORT}",
        f"HEALTHCHECK --interval=30s --timeout=5s --start-period=20s {exec_form('CMD', [f'{_SERVER}/bin/python', '-c', question])}",
        comment("The token is made at the start and printed, or taken from JUPYTER_TOKEN; it is never empty."),
        exec_form("CMD", [f"{_SERVER}/bin/jupyter", "lab", *options]),
    ]
