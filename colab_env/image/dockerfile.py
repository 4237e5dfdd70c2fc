"""Render the Dockerfile of a project: tools, packages, the project's wheel, and what runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from colab_env.image import jupyter, system_packages
from colab_env.image.instructions import comment, copy, env, exec_form, run, stage
from colab_env.image.project import ImageProject
from colab_env.image.tools import VENV, BuildTool, Recipe

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
    def command(self) -> list[str]:
        """Return what a container of kind "app" or "packages" starts."""
        project = self.project
        if self.kind == "app" and project.scripts:
            return [project.name if project.name in project.scripts else project.scripts[0]]
        return ["python"]


def render(image: Image) -> str:
    """Return the text of the Dockerfile, without the line that says who wrote it."""
    servers = jupyter.stages(image.recipe) if image.server else []
    wheels = [_wheels(image)] if image.has_wheels else []
    stages = [_tools(image), *servers, _packages(image), *wheels, _runtime(image)]
    return "\n\n".join("\n".join(lines) for lines in stages) + "\n"


def _tools(image: Image) -> list[str]:
    apt = system_packages.needed_to_build(image.project)
    return [
        stage(image.project.base, "tools"),
        *image.tool.tools(image.recipe),
        *([system_packages.install(apt)] if apt else []),
    ]


def _packages(image: Image) -> list[str]:
    return [
        stage("tools", "packages"),
        "WORKDIR /build",
        *image.tool.packages(image.recipe),
        *(jupyter.install(image.server, image.recipe) if image.server else []),
        *system_packages.find_needed_to_run(image.project),
    ]


def _wheels(image: Image) -> list[str]:
    return [
        comment("A change of the sources begins here: the packages above stay as they are."),
        stage("tools", "project"),
        "WORKDIR /src",
        copy(".", "./"),
        *image.tool.wheels(image.recipe),
    ]


def _runtime(image: Image) -> list[str]:
    create = f"useradd --uid {USER} --gid {USER} --create-home --no-log-init app"
    return [
        stage(image.project.base, "runtime"),
        *system_packages.install_to_run(image.project),
        comment(
            "Not root; by number below, so that Kubernetes can see it; with a home, where libraries keep their settings."
        ),
        run([f"groupadd --gid {USER} app", create]),
        comment("At the path it was made for: the first lines of its programs name that path."),
        copy(VENV, VENV, "--from=packages"),
        *(jupyter.copies() if image.server else []),
        env("PATH", f"{VENV}/bin:$PATH"),
        comment("Without it, a process that is killed loses what it has printed."),
        env("PYTHONUNBUFFERED", "1"),
        *(image.tool.install_wheels(image.recipe) if image.has_wheels else []),
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
    return ["WORKDIR /home/app", *_identity(image.project), exec_form(begins, image.command)]


def _identity(project: ImageProject) -> list[str]:
    return [f"USER {USER}:{USER}", *_labels(project)]


def _labels(project: ImageProject) -> Sequence[str]:
    pyproject = project.request.pyproject
    described = pyproject.at("project", "description") or pyproject.at("tool", "poetry", "description")
    said = {
        "title": project.name,
        "version": project.version,
        "description": described if isinstance(described, str) else None,
        "base.name": project.base,
    }
    quoted = {
        key: value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") for key, value in said.items() if value
    }
    return [f'LABEL org.opencontainers.image.{key}="{" ".join(value.split())}"' for key, value in quoted.items()]
