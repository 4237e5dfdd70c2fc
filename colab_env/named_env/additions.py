"""What somebody has put into an environment with pip since it was made, and where it came from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from colab_env import _files
from colab_env.named_env.inventory import Receipt, name_of
from colab_env.named_env.recipe import without_secrets
from colab_env.package_names import normalized

BUNDLED = ("pip", "setuptools")  # what ensurepip installs; the latter up to Python 3.11
_REQUIRES = re.compile(r"(?m)^Requires-Dist:[ \t]*([A-Za-z0-9._-]+)(.*)$")
_EXTRA = re.compile(r";.*\bextra\b")


def added(directory: Path, receipt: Receipt) -> tuple[str, ...]:
    """Return what somebody has asked pip for in an environment since it was made, as requirements.

    What nothing there needs by its name alone was asked for too: as an extra, such as `requests[socks]`.
    """
    installed = {*map(name_of, receipt.packages)}
    infos = sorted(directory.glob("lib/python3*/site-packages/*.dist-info"))
    new = [info for info in infos if name_of(info.name.removesuffix(".dist-info")) not in installed]
    needed = set().union(*map(_needs, infos)) if new else set()
    requirements = []
    for info in new:
        name = info.name.removesuffix(".dist-info").rpartition("-")[0]
        if (info / "REQUESTED").exists() or normalized(name) not in needed.union(BUNDLED):
            address = _address(_origin(info))
            requirements.append(f"{name} @ {address}" if address else name)
    return tuple(requirements)


def in_place(directory: Path) -> dict[str, str]:
    """Return where the sources of distributions are that an environment uses without a copy, by normalized name."""
    addresses = {}
    for info in directory.glob("lib/python3*/site-packages/*.dist-info"):
        origin = _origin(info)
        details = origin.get("dir_info")
        if isinstance(details, dict) and details.get("editable") and (address := _address(origin)):
            addresses[name_of(info.name.removesuffix(".dist-info"))] = address
    return addresses


def _origin(info: Path) -> Mapping[str, Any]:
    origin = _files.read_json(info / "direct_url.json")
    return origin if isinstance(origin, dict) else {}


def _address(origin: Mapping[str, Any]) -> str | None:
    """Return the address that a distribution came from, as a requirement has it (PEP 610 has its parts), or None."""
    url, vcs = origin.get("url"), origin.get("vcs_info")
    if not isinstance(url, str):
        return None
    if isinstance(vcs, dict):
        revision = vcs.get("requested_revision")
        url = f"{vcs.get('vcs', 'git')}+{url}{f'@{revision}' if revision else ''}"
    subdirectory = origin.get("subdirectory")
    return without_secrets(url) + (f"#subdirectory={subdirectory}" if subdirectory else "")


def _needs(info: Path) -> set[str]:
    """Return the names of what a distribution needs whatever extras are asked for, by its .dist-info directory."""
    metadata = (_files.content(info / "METADATA") or b"").decode(errors="replace")
    return {normalized(name) for name, rest in _REQUIRES.findall(metadata) if not _EXTRA.search(rest)}
