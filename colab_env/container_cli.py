"""The commands `colab-env container ...`: container files and images of a project."""

from __future__ import annotations

import argparse
from collections.abc import Callable

TYPE_CHECKING = False  # see usage.py
if TYPE_CHECKING:
    from typing import Any

    Command = Callable[..., Any]
KINDS = ("auto", "app", "packages", "jupyter")
TOOLS = ("uv", "pip", "poetry")
_ALSO = {
    "binder": "write .binder, which repo2docker and mybinder.org read; alone, no Dockerfile is written",
    "apptainer": "write a definition file for Apptainer; alone, no Dockerfile is written",
    "devcontainer": "write .devcontainer/devcontainer.json too",
    "compose": "write compose.yaml too",
}


def add_commands(commands: Any, command: Command, *, shown: Command) -> None:
    """Add `container` with its commands; `command` makes a parser, `shown` prints a value."""
    group = commands.add_parser("container", help="container images of a project: write, build, check")
    containers = group.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, text: str, do: Command, *, example: str) -> argparse.ArgumentParser:
        def run(arguments: argparse.Namespace) -> int:
            value = do(arguments)
            if value is None:
                return 0
            return int(shown(value, arguments)) or int(getattr(value, "exit_code", 0))

        parser: argparse.ArgumentParser = command(containers, name, text, run, example=f"colab-env {example}")
        return parser

    _add_write(add)
    _add_build(add)
    _add_check(add)


def _add_write(add: Command) -> None:
    write = add(
        "write",
        "write a Dockerfile, a .dockerignore and the exported lock file",
        _write,
        example="container write --kind jupyter",
    )
    project_options(write)
    write.add_argument("--kind", choices=KINDS, default="auto", help="default: app for a package, else packages")
    write.add_argument("--tool", choices=TOOLS, default="uv", help="what installs in the build (default: uv)")
    for name, text in _ALSO.items():
        write.add_argument(f"--{name}", dest="also", action="append_const", const=name, help=text)
    text = "make no bytecode: a smaller image, and slower starts"
    write.add_argument("--no-compile", dest="compile_bytecode", action="store_false", help=text)
    write.add_argument("--overwrite", action="store_true", help="replace files that somebody else wrote, or has edited")
    write.add_argument("--output", "-o", metavar="DIR", help="write there, not into the project's directory")


def _add_build(add: Command) -> None:
    build = add(
        "build",
        "build the image itself, without an engine: as a file, or into a registry",
        _build,
        example="container build -o img.tar --base python:3.12-slim",
    )
    project_options(build)
    build.add_argument("--output", "-o", metavar="FILE", help="the file, for `docker load`, `podman load` and skopeo")
    build.add_argument("--push", metavar="NAME", help="the name in a registry, such as ghcr.io/me/app:1.0")
    build.add_argument("--platform", metavar="OS/ARCH", help="linux/amd64 or linux/arm64 (default: this machine's)")
    build.add_argument("--tag", metavar="NAME", help="the image's name in the file (default: the project's)")
    build.add_argument("--sbom", metavar="FILE", help="write what is in it, as CycloneDX JSON")
    text = "make no bytecode: a smaller image, and slower starts"
    build.add_argument("--no-compile", dest="compile_bytecode", action="store_false", help=text)
    build.add_argument("--no-cache", action="store_true", help="use nothing that earlier builds have made")


def _add_check(add: Command) -> None:
    check = add(
        "check",
        "compare what was written with the project, and say what is wrong with a Dockerfile; 1 when something is",
        _check,
        example="container check docker/Dockerfile --fix",
    )
    check.add_argument("dockerfiles", nargs="*", metavar="DOCKERFILE")
    check.add_argument("--project", default=".", metavar="DIR", help="the project's directory (default: this one)")
    check.add_argument("--fix", action="store_true", help="show as a diff what would certainly be better")
    check.add_argument("--write", action="store_true", help="with --fix: write it")


def project_options(parser: Any) -> None:
    """Add the options that say what goes into an image."""
    parser.add_argument("--project", default=".", metavar="DIR", help="the project's directory (default: this one)")
    parser.add_argument("--lock", metavar="FILE", help="the lock file (default: the one that the project has)")
    parser.add_argument("--extra", metavar="NAME", action="append", help="an extra of the project; may be repeated")
    parser.add_argument("--group", metavar="NAME", action="append", help="a dependency group; may be repeated")
    parser.add_argument("--python", metavar="VERSION", help="such as 3.12 (default: one that fits)")
    parser.add_argument(
        "--base",
        metavar="IMAGE",
        help="the base image (default: python:VERSION-slim-bookworm); for `build` also oci:DIR or docker-archive:FILE",
    )


def project_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what `project_options` read, as keyword arguments."""
    values = {name: getattr(arguments, name) for name in ("project", "lock", "python", "base")}
    return {**values, "extras": arguments.extra, "groups": arguments.group}


def _write(arguments: argparse.Namespace) -> Any:
    from colab_env import container

    options = {name: getattr(arguments, name) for name in ("kind", "tool", "output", "compile_bytecode", "overwrite")}
    options["also"] = arguments.also or ()
    result = container.write(**project_arguments(arguments), **options)
    return result if arguments.json else None  # without --json the screen has shown its line


def _check(arguments: argparse.Namespace) -> Any:
    from colab_env import container

    options = {name: getattr(arguments, name) for name in ("project", "fix", "write")}
    return container.check(*arguments.dockerfiles, **options)


def _build(arguments: argparse.Namespace) -> Any:
    from colab_env import container

    options: dict[str, Any] = {name: getattr(arguments, name) for name in ("output", "push", "platform", "tag", "sbom")}
    options |= {"compile_bytecode": arguments.compile_bytecode, "cache": not arguments.no_cache}
    result = container.build(**project_arguments(arguments), **options)
    return result if arguments.json else None  # without --json the screen has shown its line
