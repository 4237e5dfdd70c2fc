"""An image that is built: its manifest, its configuration, and where each of its layers is."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from colab_env.image import reference
from colab_env.image._layer import LayerFile, Owner
from colab_env.image.base_python import search_path
from colab_env.image.reference import Descriptor
from colab_env.image.sbom import timestamp

if TYPE_CHECKING:
    from colab_env.image._store import LayerCache
    from colab_env.image.base import BaseImage

_OCI_TYPES = {"application/vnd.docker.image.rootfs.diff.tar.gzip": f"{reference.OCI_LAYER}+gzip"}
_UID = 1000
USER = f"{_UID}:{_UID}"
HOME = "/home/app"
_ACCOUNTS = {"/etc/passwd": f"app:x:{_UID}:{_UID}::{HOME}:/bin/sh", "/etc/group": f"app:x:{_UID}:"}


@dataclass(frozen=True, kw_only=True)
class OwnLayer:
    """A layer of ours in the cache: its digest and size without compression, what is in it, and whether it is new."""

    digest: str
    size: int
    title: str
    is_new: bool


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an image says about itself: the command to run, labels, and seconds since 1970 as its only time."""

    command: tuple[str, ...]
    labels: dict[str, str]
    epoch: int


class BuiltImage:
    """An image whose layers are all there. It is opened blob by blob: nothing of it is in memory but the two small ones."""

    def __init__(self, *, tag: str, base: BaseImage, own: list[OwnLayer], config: bytes, cache: LayerCache) -> None:
        self.name = base.name
        self.tag = tag
        self.base = base
        self._cache = cache
        self._small = {_digest(config): config}
        self.base_layers = list(base.manifest.layers)
        self.own_layers = [Descriptor(media_type=reference.OCI_LAYER, digest=one.digest, size=one.size) for one in own]
        self.config = Descriptor(media_type=reference.OCI_CONFIG, digest=_digest(config), size=len(config))
        content = manifest_of(self.config, self.layers)
        self._small[_digest(content)] = content
        self.manifest = Descriptor(media_type=reference.OCI_MANIFEST, digest=_digest(content), size=len(content))

    @property
    def layers(self) -> list[Descriptor]:
        """Return all layers, the lowest first."""
        return [*self.base_layers, *self.own_layers]

    @property
    def blobs(self) -> list[Descriptor]:
        """Return every blob of the image, once."""
        return list({blob.digest: blob for blob in (self.manifest, self.config, *self.layers)}.values())

    def open(self, blob: Descriptor) -> IO[bytes]:
        """Open a blob for reading."""
        if blob.digest in self._small:
            return io.BytesIO(self._small[blob.digest])
        if any(blob.digest == own.digest for own in self.own_layers):
            return self._cache.path(blob.digest).open("rb")
        return self.base.source.open(blob)


def manifest_of(config: Descriptor, layers: list[Descriptor]) -> bytes:
    """Return the manifest of an image as bytes, the same for the same layers."""
    typed = [{**layer.as_dict(), "mediaType": _OCI_TYPES.get(layer.media_type, layer.media_type)} for layer in layers]
    values = {"schemaVersion": 2, "mediaType": reference.OCI_MANIFEST, "config": config.as_dict(), "layers": typed}
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


def home_files(accounts: Mapping[str, str]) -> tuple[dict[str, LayerFile], dict[str, Owner]]:
    """Return what the user needs, as `useradd --create-home` makes it, and whose it is: a home, and a name where the base has none.

    `accounts` are the base's texts of /etc/passwd and /etc/group, "" where it has none.
    """
    files = {HOME: LayerFile(is_directory=True)}
    for path, line in _ACCOUNTS.items():
        text = accounts.get(path, "")
        entries = [entry.split(":") for entry in text.splitlines()]
        if not any(entry[0] == "app" or entry[2:3] == [str(_UID)] for entry in entries):
            end = "" if not text or text.endswith("\n") else "\n"
            files[path] = LayerFile(content=f"{text}{end}{line}\n".encode("utf-8", "surrogateescape"))
    return files, {HOME: (0o755, _UID, _UID)}


def configuration(base: BaseImage, own: list[OwnLayer], settings: Settings) -> bytes:
    """Return the configuration of an image as bytes: the base's, with what the project adds to it."""
    inherited = dict(base.config.get("config") or {})
    environ = dict(str(line).partition("=")[::2] for line in inherited.get("Env") or [])
    environ.setdefault("PATH", search_path(base.config))
    # Without it, a process that is killed loses what it has printed.
    environ["PYTHONUNBUFFERED"] = "1"
    environ.setdefault("HOME", HOME)  # not every engine reads /etc/passwd
    inherited.update(
        Env=[f"{name}={value}" for name, value in environ.items()],
        User=USER,
        WorkingDir=HOME,
        Labels={**(inherited.get("Labels") or {}), **settings.labels},
    )
    if settings.command:
        inherited.update(Entrypoint=list(settings.command), Cmd=None)
    inherited = {name: value for name, value in inherited.items() if value is not None}
    time = timestamp(settings.epoch)
    history = [{"created": time, "created_by": f"colab-env container build: {layer.title}"} for layer in own]
    values: dict[str, Any] = {
        "created": time,
        "os": "linux",
        "architecture": base.config["architecture"],
        **({"variant": base.config["variant"]} if "variant" in base.config else {}),
        "config": inherited,
        "rootfs": {"type": "layers", "diff_ids": [*base.diff_ids, *(layer.digest for layer in own)]},
        "history": [*(base.config.get("history") or _histories(len(base.diff_ids), time)), *history],
    }
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


def _histories(count: int, time: str) -> list[dict[str, str]]:
    # Where the base says nothing, every layer has to have one all the same.
    return [{"created": time, "created_by": "the base image"}] * count


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
