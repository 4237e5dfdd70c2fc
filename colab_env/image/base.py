"""The base image: its manifest, its configuration and its layers, from a registry, an OCI layout or an archive."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from colab_env import _files, _report
from colab_env.errors import BaseImageError, HashMismatchError, UsageError
from colab_env.image import _registry, reference
from colab_env.image._layers import key_of
from colab_env.image._registry import Registry
from colab_env.image.reference import Descriptor, ImageReference, Manifest, Platform, configuration, damaged
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.image._layers import LayerCache
    from colab_env.machine import Machine

_LARGEST = 4 * 2**20  # bytes of a manifest or a configuration
_CHUNK = 1 << 20


class Source(Protocol):
    """Where the blobs of an image are."""

    def open(self, blob: Descriptor) -> IO[bytes]:
        """Open one for reading. Raises BaseImageError where it is not there."""

    def stamp(self, blob: Descriptor) -> list[Any]:
        """Return what changes with the file that it is in."""


@dataclass(frozen=True, kw_only=True)
class BaseImage:
    """A base image, opened: `name` as it was asked for, `reference` where it is from a registry."""

    name: str
    manifest: Manifest
    config: dict[str, Any]
    source: Source
    reference: ImageReference | None = None

    @property
    def diff_ids(self) -> list[str]:
        """Return the digests of its layers without compression."""
        return list(self.config["rootfs"]["diff_ids"])

    def verify(self, cache: LayerCache) -> None:
        """Read every layer that was not read before. Raises HashMismatchError for one that is not what its name says."""
        for blob in self.manifest.layers:
            key = key_of("verified", blob.digest, self.source.stamp(blob))
            if cache.record(key):
                continue
            with self.source.open(blob) as file:
                require_digest(file, blob, name=self.name)
            cache.remember(key, {"size": blob.size})


def require_digest(file: IO[bytes], blob: Descriptor, *, name: str) -> None:
    """Read a blob to its end. Raises HashMismatchError where it is another."""
    sha256, size = hashlib.sha256(), 0
    while block := file.read(_CHUNK):
        sha256.update(block)
        size += len(block)
    if (size, f"sha256:{sha256.hexdigest()}") != (blob.size, blob.digest):
        how = f"has {size} of {blob.size} bytes" if size < blob.size else "is another than its digest says"
        msg = f"{name}: the layer {blob.digest[:19]} {how}"
        raise HashMismatchError(msg, hint="get the image anew; nothing was written")


def open_base(name: str, target: Platform, *, machine: Machine, cache: LayerCache) -> BaseImage:
    """Open `oci:DIR[:NAME]`, `docker-archive:FILE[:NAME]` or the name of an image in a registry, whose layers are fetched.

    Raises UsageError, BaseImageError, HashMismatchError, NetworkError, RegistryLoginError.
    """
    kind, _, rest = name.partition(":")
    if kind == "oci":
        image = _from_layout(name, rest, target)
    elif kind == "docker-archive":
        image = _from_archive(name, rest)
    else:
        image = _from_registry(name, target, machine, cache)
    _require_platform(image, target)
    return image


def _require_platform(image: BaseImage, target: Platform) -> None:
    system, architecture = image.config.get("os"), image.config.get("architecture")
    if (system, architecture) != ("linux", target.architecture):
        msg = f"{image.name} is for {system}/{architecture}, not for {target}"
        raise BaseImageError(msg, hint=f"give a base for {target}, or --platform {system}/{architecture}")
    zstd = [blob for blob in image.manifest.layers if blob.media_type.endswith("zstd")]
    if zstd:
        msg = f"{image.name} has layers compressed with zstd, which engines before Docker 23 cannot load"
        hint = "recompress it: `skopeo copy --dest-compress-format gzip docker://... oci:base`, then --base oci:base"
        raise BaseImageError(msg, hint=hint)


def _opened(name: str, manifest: Manifest, source: Source, reference: ImageReference | None = None) -> BaseImage:
    with source.open(manifest.config) as file:
        content = file.read(_LARGEST)
    require_digest(io.BytesIO(content), manifest.config, name=name)
    try:
        config = configuration(json.loads(content))
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise damaged(name, "its configuration cannot be read") from error
    if len(config["rootfs"]["diff_ids"]) != len(manifest.layers):
        raise damaged(name, "its configuration does not belong to its layers")
    return BaseImage(name=name, manifest=manifest, config=config, source=source, reference=reference)


class _InCache:
    """Blobs of a registry, in the cache."""

    def __init__(self, cache: LayerCache) -> None:
        self._cache = cache

    def open(self, blob: Descriptor) -> IO[bytes]:
        return self._cache.path(blob.digest).open("rb")

    def stamp(self, blob: Descriptor) -> list[Any]:
        return ["cache", blob.size]  # verified when it was fetched


def _from_registry(name: str, target: Platform, machine: Machine, cache: LayerCache) -> BaseImage:
    image = ImageReference.parsed(name)
    registry = Registry(image, _registry.find_login(image, machine))
    with _report.activity(f"Fetching {name}"):
        content, digest = registry.manifest()
        part = reference.chosen(content, target, name=name)
        if part is not None:
            content, digest = registry.manifest(part.digest)
        manifest = reference.manifest(content, digest=digest, name=name)
        for blob in (manifest.config, *manifest.layers):
            if cache.is_fresh or not _is_intact(cache, blob, name=name):
                registry.fetch(blob, cache.path(blob.digest))
                with cache.path(blob.digest).open("rb") as file:
                    require_digest(file, blob, name=name)
            cache.remember(key_of("verified", blob.digest, ["cache", blob.size]), {"size": blob.size})
    return _opened(name, manifest, _InCache(cache), image)


def _is_intact(cache: LayerCache, blob: Descriptor, *, name: str) -> bool:
    """Say whether a blob is in the cache as it was fetched; one that is damaged is replaced by what is fetched anew."""
    if not cache.has(blob.digest, blob.size):
        return False
    with contextlib.suppress(HashMismatchError), cache.path(blob.digest).open("rb") as file:
        require_digest(file, blob, name=name)
        return True
    return False


class _Layout:
    """The blobs of an OCI image layout."""

    def __init__(self, name: str, directory: Path) -> None:
        self._name = name
        self._directory = directory

    def path(self, digest: str) -> Path:
        return self._directory / "blobs/sha256" / digest.removeprefix("sha256:")

    def open(self, blob: Descriptor) -> IO[bytes]:
        try:
            return self.path(blob.digest).open("rb")
        except FileNotFoundError as error:
            raise damaged(self._name, f"the blob {blob.digest[:19]} is not there") from error

    def stamp(self, blob: Descriptor) -> list[Any]:
        return _stamp(self.path(blob.digest))

    def read(self, blob: Descriptor) -> bytes:
        with self.open(blob) as file:
            content = file.read(_LARGEST)
        require_digest(io.BytesIO(content), blob, name=self._name)
        return content


def _stamp(path: Path) -> list[Any]:
    try:
        status = path.stat()
    except OSError:
        return []
    return [str(path.absolute()), status.st_size, status.st_mtime_ns, status.st_ino]


def _from_layout(name: str, rest: str, target: Platform) -> BaseImage:
    where, colon, tag = rest.rpartition(":") if not Path(rest).is_dir() else (rest, "", "")
    directory = _files.named_path(where or rest)
    source = _Layout(name, directory)
    content = _files.content(directory / "index.json", largest=_LARGEST)
    if content is None:
        msg = f"{short(directory)} is no OCI image layout: it has no index.json"
        raise BaseImageError(msg, hint="make one with `skopeo copy docker://IMAGE oci:DIR`")
    if colon:
        content = _named_only(content, tag, name=name)
    digest = ""
    for _ in range(3):  # an index may name an index
        if (part := reference.chosen(content, target, name=name)) is None:
            break
        content, digest = source.read(part), part.digest
    if not digest:
        raise damaged(name, "its index.json names no image")
    return _opened(name, reference.manifest(content, digest=digest, name=name), source)


def _named_only(content: bytes, tag: str, *, name: str) -> bytes:
    try:
        entries = json.loads(content)["manifests"]
        by_tag = {(entry.get("annotations") or {}).get("org.opencontainers.image.ref.name"): entry for entry in entries}
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise damaged(name, "its index cannot be read") from error
    if tag not in by_tag:
        msg = f"{name}: there is no image {tag!r} in it"
        raise UsageError(msg, hint=f"it has {', '.join(sorted(filter(None, by_tag))) or 'one without a name'}")
    return json.dumps({"manifests": [by_tag[tag]]}).encode()


class _Archive:
    """The blobs of a `docker save` archive, which lie in it without compression."""

    def __init__(self, name: str, path: Path, members: dict[str, tarfile.TarInfo]) -> None:
        self._name = name
        self._path = path
        self._members = members
        self.blobs: dict[str, tarfile.TarInfo] = {}

    def member(self, name: str) -> tarfile.TarInfo:
        """Return a member; Docker writes a layer that is there twice as a link."""
        for _ in range(3):
            member = self._members.get(name)
            if member is None:
                raise damaged(self._name, f"{name!r} is not in it")
            if member.isreg():
                return member
            parts = Path(name).parent.joinpath(member.linkname) if member.issym() else Path(member.linkname)
            name = str(Path(*_normalized(parts.parts)))
        raise damaged(self._name, f"{name!r} is a link to a link")

    def read(self, member: tarfile.TarInfo) -> IO[bytes]:
        file = self._path.open("rb")
        return io.BufferedReader(_Part(file, member.offset_data, member.size))

    def open(self, blob: Descriptor) -> IO[bytes]:
        return self.read(self.blobs[blob.digest])

    def stamp(self, blob: Descriptor) -> list[Any]:
        return [*_stamp(self._path), self.blobs[blob.digest].offset_data]


def _normalized(parts: tuple[str, ...]) -> list[str]:
    done: list[str] = []
    for part in parts:
        if part == "..":
            done = done[:-1]
        elif part != ".":
            done.append(part)
    return done


class _Part(io.RawIOBase):
    """A part of a file, read as a file of its own."""

    def __init__(self, file: IO[bytes], offset: int, size: int) -> None:
        self._file, self._offset, self._size = file, offset, size
        file.seek(offset)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True  # or requests does not know its length, and sends it in chunks

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self._size}[whence]
        return self._file.seek(self._offset + max(0, start + offset)) - self._offset

    def tell(self) -> int:
        return self._file.tell() - self._offset

    def readinto(self, buffer: Any) -> int:
        block = self._file.read(max(0, min(self._size - self.tell(), len(buffer))))
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._file.close()
        super().close()


def _from_archive(name: str, rest: str) -> BaseImage:
    where, _, tag = rest.partition(":") if not Path(rest).exists() else (rest, "", "")
    path = _files.named_path(where)
    if not path.is_file():
        msg = f"there is no archive {short(path)}"
        raise UsageError(msg, hint="make one with `docker save IMAGE -o FILE`")
    try:
        with tarfile.open(path, "r:") as archive:
            members = {str(Path(*_normalized(Path(member.name).parts))): member for member in archive}
    except (tarfile.TarError, EOFError, ValueError) as error:
        msg = f"{short(path)} cannot be read as a `docker save` archive: {error}"
        raise BaseImageError(msg, hint="get it anew; one that is compressed has to be unpacked first") from error
    source = _Archive(name, path, members)
    try:
        images = json.loads(_bytes(source, "manifest.json"))
        entry = _image_of_archive(images, tag, name=name)
        config = _bytes(source, entry["Config"])
        config_blob = _blob(source, entry["Config"], reference.OCI_CONFIG, _digest(config))
        layers = []
        for member, diff_id in zip(entry["Layers"], json.loads(config)["rootfs"]["diff_ids"], strict=True):
            layers.append(_layer(source, str(member), str(diff_id)))
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise damaged(name, "its manifest.json cannot be read") from error
    manifest = Manifest(digest=config_blob.digest, config=config_blob, layers=tuple(layers))
    return _opened(name, manifest, source)


def _image_of_archive(images: Any, tag: str, *, name: str) -> dict[str, Any]:
    fitting: list[dict[str, Any]] = [image for image in images if not tag or tag in (image.get("RepoTags") or ())]
    if len(fitting) == 1:
        return fitting[0]
    tags = ", ".join(str(tag) for image in images for tag in image.get("RepoTags") or ())
    msg = f"{name}: {'no image of that name is' if tag else f'{len(images)} images are'} in it"
    raise UsageError(msg, hint=f"name one: docker-archive:FILE:NAME, of {tags or 'none that has a name'}")


def _layer(source: _Archive, name: str, diff_id: str) -> Descriptor:
    with source.read(source.member(name)) as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    if not is_gzip:
        return _blob(source, name, reference.OCI_LAYER, diff_id)
    sha256 = hashlib.sha256()
    with source.read(source.member(name)) as file:
        while block := file.read(_CHUNK):
            sha256.update(block)
    return _blob(source, name, f"{reference.OCI_LAYER}+gzip", f"sha256:{sha256.hexdigest()}")


def _blob(source: _Archive, name: str, media_type: str, digest: str) -> Descriptor:
    member = source.member(name)
    source.blobs[digest] = member
    return Descriptor.parsed({"mediaType": media_type, "digest": digest, "size": member.size})


def _bytes(source: _Archive, name: str) -> bytes:
    with source.read(source.member(name)) as file:
        return file.read(_LARGEST)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
