"""Where a built image goes: into one file that every engine loads, or to a registry."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from colab_env import _files, _ledger, _report
from colab_env.errors import BaseImageError, NotOursError
from colab_env.image import reference
from colab_env.image._layers import key_of
from colab_env.image._registry import Registry
from colab_env.image.image import manifest_of
from colab_env.image.reference import Descriptor
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.image._layers import LayerCache
    from colab_env.image._registry import Login
    from colab_env.image.image import BuiltImage
    from colab_env.image.reference import ImageReference

_FIRST = "index.json"
_OURS = "colab-env"
_CHUNK = 1 << 20  # bytes


def require_free(path: Path) -> None:
    """Raise NotOursError where something is that is no image which colab-env wrote."""
    if not os.path.lexists(path):
        return
    foreign = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, tarfile.TarError, EOFError)
    with contextlib.suppress(*foreign), tarfile.open(path, "r:") as archive:
        member = archive.next()
        file = archive.extractfile(member) if member and member.name == _FIRST else None
        if file and _OURS in json.loads(file.read())["annotations"]:
            return
    msg = f"{short(path)} exists, and is no image that colab-env wrote"
    raise NotOursError(msg, hint="move it away, or give another file with -o; nothing was changed")


def write_archive(image: BuiltImage, path: Path) -> None:
    """Write an image to a file, which has its name when all of it is on the disk; until then it has none."""
    with _files.translate_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            _nameless(path) as out,
            tarfile.TarFile(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, copybufsize=_CHUNK) as archive,
        ):
            for name, content in _documents(image).items():
                archive.addfile(_member(name, len(content)), io.BytesIO(content))
            done = 0
            total = sum(blob.size for blob in image.blobs)
            for blob in image.blobs:
                with image.open(blob) as file:
                    member = _member(_blob_path(blob.digest), blob.size)
                    _add_file(archive, member, file, image.name)
                done += blob.size
                _report.progress(done, total, 0.0)


def _add_file(archive: tarfile.TarFile, member: tarfile.TarInfo, file: IO[bytes], name: str) -> None:
    try:
        archive.addfile(member, file)
    except OSError as error:
        if error.errno is not None:
            raise
        msg = f"{name}: a layer is shorter than it was"
        raise BaseImageError(msg, hint="run it again") from error


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member


def _blob_path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _documents(image: BuiltImage) -> dict[str, bytes]:
    """Return name and content of what comes before the blobs: an OCI layout's index, and what `docker load` reads instead."""
    annotations = {"org.opencontainers.image.ref.name": image.tag, "io.containerd.image.name": image.tag}
    index = {
        "schemaVersion": 2,
        "mediaType": reference.OCI_INDEX,
        "manifests": [{**image.manifest.as_dict(), "annotations": annotations}],
        "annotations": {_OURS: "1"},  # so that the next build knows the file as one that it may replace
    }
    layers = [_blob_path(layer.digest) for layer in image.layers]
    for_docker = [{"Config": _blob_path(image.config.digest), "RepoTags": [image.tag], "Layers": layers}]
    return {
        _FIRST: json.dumps(index, sort_keys=True).encode(),
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "manifest.json": json.dumps(for_docker, sort_keys=True).encode(),
    }


@contextlib.contextmanager
def _nameless(path: Path) -> Iterator[IO[bytes]]:
    """Give a file that has no name in its directory, and the name at the end: a run that is killed leaves nothing."""
    new = path.with_name(f".{path.name}.colab-env-new")
    new.unlink(missing_ok=True)
    descriptor = _opened(path.parent)
    file = open(new if descriptor is None else descriptor, "w+b")  # noqa: PTH123, SIM115
    try:
        yield file
        file.flush()
        os.fchmod(file.fileno(), 0o666 & ~_files.umask())
        os.fsync(file.fileno())
        if descriptor is not None:
            _named(descriptor, new)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    finally:
        file.close()
    _ledger.sync_directory(path.parent)


def _named(descriptor: int, path: Path) -> None:
    # open(2), O_TMPFILE. Only with a directory's descriptor does Python follow the link.
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(f"/proc/self/fd/{descriptor}", path.name, src_dir_fd=parent, dst_dir_fd=parent)
    finally:
        os.close(parent)


def _opened(directory: Path) -> int | None:
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:  # a file system without such files
        return None


_LEVEL = 6


def push(image: BuiltImage, target: ImageReference, login: Login, cache: LayerCache) -> tuple[str, int]:
    """Push an image, its own layers compressed, and return the digest of its manifest there and how many bytes were sent.

    Layers that the base's repository of the same registry has are taken over there. Raises NetworkError, RegistryLoginError.
    """
    base = image.base.reference
    is_near = base is not None and base.registry == target.registry and base.repository != target.repository
    registry = Registry(target, login, mounting=base.repository if base and is_near else None)
    sent, layers = 0, list(image.base_layers)
    for layer in image.base_layers:
        sent += _send(registry, layer, image.open(layer))
    for layer in image.own_layers:
        packed = _compressed(image, layer, cache)
        layers.append(packed)
        sent += _send(registry, packed, cache.path(packed.digest).open("rb"))
    sent += _send(registry, image.config, image.open(image.config))
    content = manifest_of(image.config, layers)
    registry.put_manifest(content, reference.OCI_MANIFEST)
    return f"sha256:{hashlib.sha256(content).hexdigest()}", sent + len(content)


def _send(registry: Registry, blob: Descriptor, file: IO[bytes]) -> int:
    with file:
        if registry.has(blob.digest):
            return 0
        where = registry.mount(blob.digest)
        if where is None:
            return 0
        with _report.activity(f"Sending {blob.digest[:19]} ({_report.megabytes(blob.size)})"):
            registry.upload(where, blob, file)
        return blob.size


def _compressed(image: BuiltImage, layer: Descriptor, cache: LayerCache) -> Descriptor:
    """Return a layer of ours as gzip, made once; the name and the time in its header are left out."""
    key, media_type = key_of("gzip", layer.digest, _LEVEL), f"{reference.OCI_LAYER}+gzip"
    record = cache.record(key)
    if record and cache.has(record["digest"], record["size"]):
        return Descriptor(media_type=media_type, digest=record["digest"], size=record["size"])
    with (
        cache.writing() as out,
        image.open(layer) as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=out, mtime=0) as packed,
    ):
        while block := file.read(_CHUNK):
            packed.write(block)
    cache.remember(key, {"digest": out.digest, "size": out.size})
    return Descriptor(media_type=media_type, digest=out.digest, size=out.size)
