"""Take a project home as a container image: write the files that build it, and check those that are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env.errors import UsageError

if TYPE_CHECKING:
    from colab_env.image._building import BuildResult
    from colab_env.image.findings import CheckResult
    from colab_env.image.writing import WriteResult


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
) -> WriteResult:
    """Write the Dockerfile of a project, its .dockerignore and its exported lock file."""
    raise NotImplementedError


def check(*dockerfiles: str | Path, project: str | Path = ".", fix: bool = False, write: bool = False) -> CheckResult:
    """Say whether what `write` wrote is still what the project says, and what is wrong with other Dockerfiles."""
    raise NotImplementedError


def build(  # noqa: PLR0913  (keyword-only, each an option of the command)
    project: str | Path = ".",
    *,
    output: str | Path | None = None,
    push: str | None = None,
    base: str | None = None,
    platform: str | None = None,
    tag: str | None = None,
    sbom: str | Path | None = None,
    compile: bool = True,  # noqa: A002  (as uv and pip call it)
    cache: bool = True,
    python: str | None = None,
    lock: str | Path | None = None,
    extras: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> BuildResult:
    """Build the image of a project without an engine: into the file `output`, to the registry's name `push`, or both.

    `base` is the name of an image in a registry, `oci:DIR` or `docker-archive:FILE`; `platform` is "linux/amd64" or
    "linux/arm64", by default this machine's. The file is one that `docker load`, `podman load` and `skopeo` take, with the
    image under the name `tag`; `sbom` gets a list of what is in it, as CycloneDX JSON. Without `compile` no `.pyc` are made;
    without `cache` nothing of earlier builds is used. The same project, lock file and base give the same image everywhere.

    Raises UsageError, MissingStepError, LockMismatchError, NoWheelError, BaseImageError, RegistryLoginError, NetworkError,
    HashMismatchError, NotOursError, DiskFullError, BuildError; then nothing is under the name `output`.
    """
    from colab_env import _files, _report, caches
    from colab_env.image import _building
    from colab_env.image import project as projects
    from colab_env.image._store import LayerCache
    from colab_env.image.reference import ImageReference, Platform
    from colab_env.machine import Machine
    from colab_env.request import InstallOptions, Request
    from colab_env.step import changing

    if output is None and push is None:
        msg = "an image has to go somewhere"
        raise UsageError(msg, hint="give -o FILE, or --push NAME")
    machine = Machine.detect()
    limit = caches.limit(machine)
    options = InstallOptions.from_arguments(lock=lock, extras=extras, groups=groups)
    request = Request.read(project, machine, options=options, python=python)
    model = projects.read(request, base=base)
    chosen = _building.BuildOptions(
        platform=Platform.parsed(platform),
        tag=tag or f"{model.name}:latest",
        output=None if output is None else _files.named_path(output).absolute(),
        push=None if push is None else ImageReference.parsed(push),
        sbom=None if sbom is None else _files.named_path(sbom).absolute(),
        compile=compile,
        fresh=not cache,
    )
    with _report.screen(), changing("container", machine):
        result = _building.build(model, chosen, machine=machine)
    LayerCache(machine.data / "images").prune(limit)
    return result
