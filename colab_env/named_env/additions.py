"""What somebody has put into an environment with pip since it was made, and where it came from."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from colab_env import _file_locks, _files, content
from colab_env.named_env import locking, repacking
from colab_env.named_env.inventory import Receipt, name_of
from colab_env.named_env.recipe import without_secrets
from colab_env.package_names import normalized

if TYPE_CHECKING:
    from colab_env.machine import Machine

BUNDLED = ("pip", "setuptools")  # what ensurepip installs; the latter up to Python 3.11
_REQUIRES = re.compile(r"(?m)^Requires-Dist:[ \t]*([A-Za-z0-9._-]+)(.*)$")
_EXTRA = re.compile(r";.*\bextra\b")


def requirements(directory: Path, receipt: Receipt) -> tuple[str, ...]:
    """Return all that somebody has added to an environment, to earlier builds and to this one, by name where it is known.

    What `add` was given by its path is such as `demo @ file:///srv/demo`.
    """
    infos = {_address(_origin(info)): info for info in directory.glob("lib/python3*/site-packages/*.dist-info")}

    def named(requirement: str) -> str:
        path = requirement.partition("[")[0]
        info = infos.get(Path(path).as_uri()) if path.startswith("/") else None
        return f"{content.name_of(info.name)} @ {Path(path).as_uri()}" if info else requirement

    return tuple(dict.fromkeys((*map(named, receipt.added), *added(directory, receipt))))


@contextlib.contextmanager
def sources(directory: Path, requirements: tuple[str, ...], *, machine: Machine) -> Iterator[tuple[str, ...]]:
    """Give requirements as they are to be installed now, for the next build of the environment in a directory.

    What is in place there stays so; what came from a file or a directory that is gone is taken from what is installed.
    """
    in_place = _in_place(directory)
    gone = [each for each in requirements if is_gone(each) and locking.name_of(each) not in in_place]
    with contextlib.ExitStack() as stack:
        words = {requirement: in_place.get(locking.name_of(requirement), requirement) for requirement in requirements}
        if gone and directory.is_dir():
            survey = content.Survey(directory)
            scratch = stack.enter_context(_file_locks.private_directory(machine.data))
            words |= {requirement: _repacked(requirement, survey, scratch) for requirement in gone}
        yield tuple(words[requirement] for requirement in requirements)


def is_gone(requirement: str) -> bool:
    """Say whether a requirement names a file or a directory of this machine that is not there any more."""
    _, _, address = requirement.partition(" @ ")
    return address.startswith("file:") and not Path(unquote(urlsplit(address).path)).exists()


def _repacked(requirement: str, survey: content.Survey, scratch: Path) -> str:
    name = locking.name_of(requirement)
    info = next((info for info in survey.records if content.name_of(info) == name), None)
    if info is None or name in survey.broken():
        return requirement  # the installer says that it is gone
    file, wheel = repacking.wheel(survey.directory, info, survey.records[info])
    _files.write_bytes(scratch / file, wheel)
    return f"{name} @ {(scratch / file).as_uri()}"


def added(directory: Path, receipt: Receipt) -> tuple[str, ...]:
    """Return what somebody has asked pip for in an environment since it was made, as requirements.

    What nothing there needs by its name alone was asked for too: as an extra, such as `requests[socks]`.
    """
    installed = {*map(name_of, receipt.packages)}
    infos = sorted(directory.glob("lib/python3*/site-packages/*.dist-info"))
    new = [info for info in infos if name_of(info.name.removesuffix(".dist-info")) not in installed]
    needed = set().union(*map(_needs, infos)) if new else set()
    by_hand = []
    for info in new:
        name = info.name.removesuffix(".dist-info").rpartition("-")[0]
        is_extra = (info / "METADATA").exists() and normalized(name) not in needed.union(BUNDLED)
        if is_extra or (info / "REQUESTED").exists():
            address = _address(_origin(info))
            by_hand.append(f"{name} @ {address}" if address else name)
    return tuple(by_hand)


def _in_place(directory: Path) -> dict[str, str]:
    """Return how distributions are installed that an environment uses where their sources are, by normalized name."""
    addresses = {}
    for info in directory.glob("lib/python3*/site-packages/*.dist-info"):
        origin = _origin(info)
        details = origin.get("dir_info")
        if isinstance(details, dict) and details.get("editable") and (address := _address(origin)):
            addresses[name_of(info.name.removesuffix(".dist-info"))] = f"--editable={address}"
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
