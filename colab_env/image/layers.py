"""How packages are divided into layers: so that one changed package makes one new layer, and a registry takes all of them."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from colab_env.image.base_python import BasePython
    from colab_env.image.locked_wheels import LockedWheel

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
