"""The files of a few small projects as they are written: `python tests/container_golden.py` writes tests/containers anew."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import container_projects

from colab_env.image import dockerfile, jupyter, tools
from colab_env.image import project as image_project
from colab_env.machine import Machine
from colab_env.request import InstallOptions, Request

HERE = Path(__file__).parent / "containers"
_HASHED = container_projects.REQUIREMENTS
_GIT = "lib @ git+https://example.org/lib.git@0123abc ; python_version < '4'\n"
_SERVER = jupyter.Server(
    name="py312", display_name="Python 3.12 (hello-app)", requirements=_HASHED, kernel_requirements=_HASHED
)


def model(place: Path, lock: str, text: str = _HASHED, *, apt: tuple[str, ...] = (), package: bool = True):
    """Read a project as `container write` does, but for the lock file's tool: what that exports is `text`."""
    project = container_projects.write(place / lock.replace(".", "-"), lock)
    request = Request.read(project, Machine.detect(), options=InstallOptions.from_arguments(lock=lock, groups=()))
    return image_project.ImageProject(
        request=request,
        context=project,
        name="hello-app",
        version="1.2",
        is_package=package,
        scripts=("hello",) if package else (),
        python="3.12",
        base="python:3.12-slim-bookworm",
        packages=image_project.parse_packages(text, directory=project, context=project, project=project),
        apt=apt,
        digest="0" * 64,
    )


def written(place: Path) -> dict[str, str]:
    """Return the text of every Dockerfile by the name of its case."""
    compiled = ("libpq-dev", "gcc", "libgomp1")
    cases = {
        "app-uv-lock": ("app", "uv", model(place, "uv.lock")),
        "app-requirements": ("app", "uv", model(place, "requirements.txt", _HASHED + _GIT)),
        "app-pip": ("app", "pip", model(place, "requirements.txt", _HASHED + _GIT)),
        "app-poetry": ("app", "poetry", model(place, "poetry.lock")),
        "packages-pylock": ("packages", "uv", model(place, "pylock.toml", package=False)),
        "packages-apt": ("packages", "uv", model(place, "requirements.txt", package=False, apt=compiled)),
        "jupyter": ("jupyter", "uv", model(place, "uv.lock")),
        "jupyter-pip": ("jupyter", "pip", model(place, "requirements.txt", package=False)),
        "jupyter-poetry": ("jupyter", "poetry", model(place, "poetry.lock")),
    }
    texts = {}
    for name, (kind, tool, project) in cases.items():
        server = _SERVER if kind == "jupyter" else None
        image = dockerfile.Image(recipe=tools.Recipe(project=project), kind=kind, tool=tools.TOOLS[tool], server=server)
        texts[f"{name}.Dockerfile"] = dockerfile.render(image)
    plain = replace(tools.Recipe(project=model(place, "uv.lock")), compile_bytecode=False)
    texts["app-no-compile.Dockerfile"] = dockerfile.render(
        dockerfile.Image(recipe=plain, kind="app", tool=tools.TOOLS["uv"])
    )
    full = model(place, "requirements.txt", _HASHED + _GIT, apt=compiled)
    image = dockerfile.Image(recipe=tools.Recipe(project=full), kind="app", tool=tools.TOOLS["uv"], server=_SERVER)
    for name, renderer in dockerfile.RENDERERS.items():
        for path, text in renderer(image).items():
            texts[f"{name}-{Path(path).name}"] = text
    return texts


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for file_name, content in written(Path(scratch)).items():
            (HERE / file_name).write_text(content)
