"""Send an image to a registry: what it has already is not sent again, and the name comes last."""

from __future__ import annotations

import gzip
import hashlib
from typing import IO, TYPE_CHECKING

from colab_env import _report
from colab_env.image import reference
from colab_env.image._registry import Registry
from colab_env.image._store import key_of
from colab_env.image.image import manifest_of
from colab_env.image.reference import Descriptor

if TYPE_CHECKING:
    from colab_env.image._store import LayerCache
    from colab_env.image.image import BuiltImage
    from colab_env.image.logins import Login
    from colab_env.image.reference import ImageReference

_LEVEL = 6
_CHUNK = 1 << 20


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
    known = cache.record(key)
    if known and cache.has(known["digest"], known["size"]):
        return Descriptor(media_type=media_type, digest=known["digest"], size=known["size"])
    with (
        cache.writing() as out,
        image.open(layer) as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=out, mtime=0) as packed,
    ):
        while block := file.read(_CHUNK):
            packed.write(block)
    cache.remember(key, {"digest": out.digest, "size": out.size})
    return Descriptor(media_type=media_type, digest=out.digest, size=out.size)
