"""An image that is built: its layers, its manifest, its configuration, and the list of what is in it. Pure values."""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from colab_env import _report
from colab_env.image import reference
from colab_env.image._layers import LayerFile, Owner
from colab_env.image.base_python import search_path
from colab_env.image.reference import Descriptor

if TYPE_CHECKING:
    from colab_env.image._layers import LayerCache
    from colab_env.image._wheelhouse import LockedWheel
    from colab_env.image.base import BaseImage
    from colab_env.image.base_python import BasePython, DebianPackage

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
        if any(blob.digest == layer.digest for layer in self.own_layers):
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
    # Where the base says nothing, every layer has to have one all the same.
    silent = [{"created": time, "created_by": "the base image"}] * len(base.diff_ids)
    history = [{"created": time, "created_by": f"colab-env container build: {layer.title}"} for layer in own]
    values: dict[str, Any] = {
        "created": time,
        "os": "linux",
        "architecture": base.config["architecture"],
        **({"variant": base.config["variant"]} if "variant" in base.config else {}),
        "config": inherited,
        "rootfs": {"type": "layers", "diff_ids": [*base.diff_ids, *(layer.digest for layer in own)]},
        "history": [*(base.config.get("history") or silent), *history],
    }
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


# The kernel's overlay file system, as Docker uses it, has an end at 127.
MOST = 100
_LARGE = 300_000  # bytes of a wheel, about a megabyte when it is installed and compiled
_SHELVES = 16  # layers for what is smaller


@dataclass(frozen=True, kw_only=True)
class PackageLayer:
    """The packages of one layer: a large one alone, or small ones together."""

    wheels: tuple[LockedWheel, ...]

    @property
    def title(self) -> str:
        """Return what the history of the image says of it."""
        names = [f"{wheel.name}=={wheel.version}" for wheel in self.wheels]
        return ", ".join(names)


def grouped(wheels: Sequence[LockedWheel], *, taken: int) -> list[PackageLayer]:
    """Divide packages into layers, where the base and the project take `taken` of what an image may have.

    A small package goes by its name, so that it stays where it is when another one comes or goes. The large come first:
    engines unpack every layer above one that has changed, and those are small then.
    """
    ordered = sorted(wheels, key=lambda wheel: (-wheel.size, wheel.name))
    room = max(MOST - taken - _SHELVES, 1)
    alone = [wheel for wheel in ordered if wheel.size >= _LARGE][:room]
    shelves: dict[int, list[LockedWheel]] = {}
    for wheel in sorted(set(wheels) - set(alone), key=lambda wheel: wheel.name):
        shelf = hashlib.sha256(wheel.name.encode()).digest()[0] % _SHELVES
        shelves.setdefault(shelf, []).append(wheel)
    # By the power of two of its size: another version is seldom in another place.
    alone.sort(key=lambda wheel: (-wheel.size.bit_length(), wheel.name))
    return [PackageLayer(wheels=(wheel,)) for wheel in alone] + [
        PackageLayer(wheels=tuple(shelves[shelf])) for shelf in sorted(shelves)
    ]


def replaced_files(base: BasePython, names: dict[str, str]) -> list[str]:
    """Return the files of the base's distributions that another version of is installed: two would be seen as both.

    `names` are the versions that are installed, by normalized name. What a RECORD says is believed only where wheels put
    files, and only of what is no directory and in no distribution that stays.
    """
    gone: set[str] = set()
    replaced = [one for one in base.distributions if names.get(one.name, one.version) != one.version]
    others = [one for one in base.distributions if one not in replaced]
    infos = tuple(f"{one.info}/" for one in base.distributions)
    rest = [file for one in others for file in (*one.files, f"{one.info}/RECORD")]
    staying = {base.executable, *base.directories, *rest, *(parent for file in rest for parent in _parents(file))}
    data = tuple(f"{posixpath.join(base.prefix, name)}/" for name in ("etc", "include", "man", "share"))
    for one in replaced:
        tops = (f"{posixpath.dirname(one.info)}/", f"{base.site}/", f"{base.scripts}/", *data)
        files = {path for path in one.files if path.startswith(tops) and not path.startswith(infos)}
        # Another name with this beginning would be a whiteout itself, of a whole directory.
        gone |= {path for path in files - staying if not posixpath.basename(path).startswith(".wh.")} | {one.info}
    return sorted(gone)


def _parents(path: str) -> list[str]:
    return [path[:at] for at, sign in enumerate(path) if sign == "/" and at]


def bill_of_materials(
    *,
    name: str,
    version: str | None,
    digest: str,
    base: BasePython,
    wheels: Sequence[LockedWheel],
    is_package: bool,
    epoch: int,
) -> dict[str, Any]:
    """Return the bill of materials of an image; `digest` is the image's, `name` and `version` are the project's.

    What the base brings has no hash: it is named by its version, and the base by the image's digest. The same image has the
    same document.
    """
    application = {"type": "application", "name": name, **({"version": version} if version else {})}
    # The project stands among what is installed too, as importlib.metadata has it.
    installed = [{**application, "type": "library", "purl": _purl("pypi", name, version or "0")}] if is_package else []
    installed += [_of_wheel(wheel) for wheel in wheels]
    taken = {component["name"] for component in installed}
    brought = [one for one in base.distributions if one.name not in taken]
    installed += [
        {"type": "library", "name": one.name, "version": one.version, "purl": _purl("pypi", one.name, one.version)}
        for one in brought
    ]
    components = sorted(installed, key=lambda component: component["name"])
    components += [_of_debian(package, base.distribution) for package in base.packages]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(epoch),
            "tools": {"components": [{"type": "application", "name": "colab-env"}]},
            "component": {**application, "properties": [{"name": "colab-env:image", "value": digest}]},
        },
        "components": [{**component, "bom-ref": component["purl"]} for component in components],
    }


def timestamp(epoch: int) -> str:
    """Return seconds since 1970 as images and documents write them."""
    return datetime.fromtimestamp(epoch, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _of_wheel(wheel: LockedWheel) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "name": wheel.name,
        "version": wheel.version,
        "purl": _purl("pypi", wheel.name, wheel.version),
        "hashes": [{"alg": "SHA-256", "content": wheel.sha256}],
    }
    if wheel.url.startswith(("https://", "http://")):
        component["externalReferences"] = [{"type": "distribution", "url": _report.clean(wheel.url)}]
    return component


def _of_debian(package: DebianPackage, distribution: str) -> dict[str, Any]:
    vendor = distribution.partition("-")[0] or "debian"
    qualifiers = [("arch", package.architecture), ("distro", distribution)]
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in qualifiers if value)
    purl = f"{_purl('deb', f'{vendor}/{package.name}', package.version)}?{query}"
    return {"type": "library", "name": package.name, "version": package.version, "purl": purl}


def _purl(kind: str, name: str, version: str) -> str:
    return f"pkg:{kind}/{quote(name, safe='/')}@{quote(version, safe='')}"
