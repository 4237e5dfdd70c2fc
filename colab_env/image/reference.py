"""The names of images, manifests and platforms, read from what people and registries write. Starts and opens nothing."""

from __future__ import annotations

import json
import platform
import re
from dataclasses import dataclass
from typing import Any

from colab_env.errors import BaseImageError, UsageError

DOCKER_HUB = "docker.io"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+|/)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HOST = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:]+\](?::[0-9]{1,5})?")
_LOCAL = re.compile(r"(?:localhost|127\.[0-9.]+|\[::1\])(?::[0-9]+)?")

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_TYPES = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)
# As the parts of a platform are called by images, by Python's `platform.machine()`, and by the ELF header.
ARCHITECTURES = {"amd64": ("x86_64", 0x3E), "arm64": ("aarch64", 0xB7)}


@dataclass(frozen=True, kw_only=True)
class ImageReference:
    """The name of an image: `registry` as people write it, "docker.io" where they write none; `digest` goes before `tag`."""

    registry: str
    repository: str
    tag: str
    digest: str | None = None

    @classmethod
    def parsed(cls, text: str) -> ImageReference:
        """Read a name such as "python:3.12-slim" or "localhost:5000/team/app@sha256:...". Raises UsageError."""
        rest, mark, digest = text.partition("@")
        first, slash, path = rest.partition("/")
        has_host = bool(slash) and (first == "localhost" or any(sign in first for sign in ".:"))
        registry, path = (first, path) if has_host else (DOCKER_HUB, rest)
        repository, colon, tag = path.partition(":")
        if registry in (DOCKER_HUB, f"index.{DOCKER_HUB}"):
            registry = DOCKER_HUB
            repository = repository if "/" in repository else f"library/{repository}"
        parts = (
            (registry, _HOST),
            (repository, _REPOSITORY),
            (tag if colon else "latest", _TAG),
            (digest if mark else f"sha256:{0:064}", _DIGEST),
        )
        if not all(pattern.fullmatch(part) for part, pattern in parts):
            msg = f"{text!r} is not the name of an image"
            raise UsageError(msg, hint="write it as python:3.12-slim, or HOST/PATH:TAG, all but the tag in lower case")
        return cls(registry=registry, repository=repository, tag=tag if colon else "latest", digest=digest or None)

    @property
    def url(self) -> str:
        """Return where the registry's API is. Only a registry on this machine is spoken to without encryption."""
        host = f"registry-1.{DOCKER_HUB}" if self.registry == DOCKER_HUB else self.registry
        return f"{'http' if _LOCAL.fullmatch(host) else 'https'}://{host}/v2/{self.repository}"

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}" + (f"@{self.digest}" if self.digest else f":{self.tag}")


def archive_tag(text: str) -> str:
    """Return the name that an image has in a file: `docker load` takes none without a tag. Raises UsageError."""
    parsed = ImageReference.parsed(text)
    if parsed.digest:
        msg = f"an image that is built has no digest before: {text!r}"
        raise UsageError(msg, hint="give a name with a tag, such as --tag lesson:1")
    return text if text.endswith(f":{parsed.tag}") else f"{text}:{parsed.tag}"


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What a container runs on: Linux, and an architecture as images call it."""

    architecture: str

    @classmethod
    def parsed(cls, text: str | None) -> Platform:
        """Read "linux/arm64"; None is this machine's own. Raises UsageError for one that nothing is known of."""
        machine = platform.machine()
        known_architecture = next((name for name, (alias, _) in ARCHITECTURES.items() if machine == alias), machine)
        system, _, architecture = (text or f"linux/{known_architecture}").removesuffix("/v8").partition("/")
        if system != "linux" or architecture not in ARCHITECTURES:
            msg = f"{text or machine!r} is no platform that images are built for here"
            raise UsageError(msg, hint=f"choose one of {', '.join(f'linux/{name}' for name in ARCHITECTURES)}")
        return cls(architecture=architecture)

    @property
    def machine(self) -> str:
        """Return its architecture as Python and wheels call it, such as "aarch64"."""
        return ARCHITECTURES[self.architecture][0]

    def __str__(self) -> str:
        return f"linux/{self.architecture}"


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """A blob as a manifest names it: its media type, its digest, its size in bytes."""

    media_type: str
    digest: str
    size: int

    @classmethod
    def parsed(cls, values: Any) -> Descriptor:
        """Read one of a manifest's. Raises ValueError."""
        media_type, digest, size = values["mediaType"], values["digest"], values["size"]
        if not (isinstance(media_type, str) and isinstance(digest, str) and _DIGEST.fullmatch(digest)):
            msg = "a digest in it is no SHA-256"
            raise ValueError(msg)
        if type(size) is not int or size < 0:
            msg = "a size in it is no number of bytes"
            raise ValueError(msg)
        return cls(media_type=media_type, digest=digest, size=size)

    def as_dict(self) -> dict[str, Any]:
        """Return it as a manifest has it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an image consists of: its configuration and its layers, the lowest first."""

    digest: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


def manifest(content: bytes, *, digest: str, name: str) -> Manifest:
    """Read an image's manifest. Raises BaseImageError."""
    try:
        values = json.loads(content)
        layers = tuple(Descriptor.parsed(layer) for layer in values["layers"])
        return Manifest(digest=digest, config=Descriptor.parsed(values["config"]), layers=layers)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise damaged(name, "its manifest cannot be read") from error


def configuration(values: Any) -> dict[str, Any]:
    """Return an image's configuration where every value that is used has its type. Raises ValueError, TypeError, LookupError."""
    process = values.get("config") or {}
    texts = [values["architecture"], values["os"], values.get("variant") or ""]
    texts += [process.get(name) or "" for name in ("User", "WorkingDir")]
    lists = [process.get(name) or [] for name in ("Env", "Entrypoint", "Cmd")]
    labels, history, diff_ids = process.get("Labels") or {}, values.get("history") or [], values["rootfs"]["diff_ids"]
    is_right = (
        all(isinstance(values, list) for values in (*lists, history, diff_ids))
        and all(isinstance(text, str) for text in (*texts, *(text for words in lists for text in words)))
        and all(isinstance(text, str) for pair in labels.items() for text in pair)
        and all(isinstance(entry, dict) for entry in history)
        and all(_DIGEST.fullmatch(digest) for digest in diff_ids)
    )
    if not is_right:
        msg = "a value in it is of another type than it should be"
        raise ValueError(msg)
    return dict(values)


def chosen(content: bytes, target: Platform, *, name: str) -> Descriptor | None:
    """Return which manifest of an index is that of a platform, or None where `content` is a manifest itself."""
    try:
        values = json.loads(content)
        if "manifests" not in values:
            return None
        entries = [(entry.get("platform") or {}, entry) for entry in values["manifests"]]
        fitting = [
            Descriptor.parsed(entry)
            for key, entry in entries
            if (key.get("os"), key.get("architecture")) == ("linux", target.architecture)
        ]
        # A layout of one image often says no platform.
        alone = [Descriptor.parsed(entry) for key, entry in entries if not key] if len(entries) == 1 else []
        offered = sorted(
            {f"{key.get('os')}/{key.get('architecture')}" for key, _ in entries if key} - {"unknown/unknown"}
        )
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise damaged(name, "its index cannot be read") from error
    if not fitting and not alone:
        msg = f"{name} has no image for {target}: it has {', '.join(offered) or 'none that says its platform'}"
        raise BaseImageError(msg, hint="give another base with --base, or another --platform; nothing was written")
    return (fitting or alone)[0]


def damaged(name: str, reason: str) -> BaseImageError:
    """Return the error for an image that is not as images are."""
    return BaseImageError(f"{name}: {reason}", hint="get the image anew, or give another with --base")
