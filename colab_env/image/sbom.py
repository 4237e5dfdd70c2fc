"""What is in an image, as CycloneDX 1.5 in JSON: every Python distribution and every Debian package."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from colab_env import _report

if TYPE_CHECKING:
    from colab_env.image.base_python import BasePython, DebianPackage
    from colab_env.image.locked_wheels import LockedWheel


def document(
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
    own = {"type": "application", "name": name, **({"version": version} if version else {})}
    # The project stands among what is installed too, as importlib.metadata has it.
    installed = [{**own, "type": "library", "purl": _purl("pypi", name, version or "0")}] if is_package else []
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
            "component": {**own, "properties": [{"name": "colab-env:image", "value": digest}]},
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
