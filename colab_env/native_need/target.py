"""The machine and the Python that packages are for, as wheels and markers name them."""

from __future__ import annotations

import platform as this_machine
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from colab_env.errors import UsageError

_MACHINES = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}
_PLATFORM = re.compile(r"(?:linux/)?(\w+?)(?:[-/](musl))?")
_GLIBC = 36  # of Debian 12; wheels ask for 2.34 at most as yet
_MUSL = 2  # of musllinux_1_2
_OLDEST = {"x86_64": 5, "aarch64": 17}
_ALIASES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A Linux machine ("x86_64" or "aarch64"), its C library, and a CPython such as (3, 12)."""

    python: tuple[int, int]
    machine: str
    is_musl: bool = False

    def __str__(self) -> str:
        name = {"x86_64": "amd64", "aarch64": "arm64"}[self.machine]
        return f"linux/{name}{'-musl' if self.is_musl else ''}, Python {self.python[0]}.{self.python[1]}"

    @cached_property
    def tags(self) -> frozenset[str]:
        """Return the tags of every wheel that can be installed there."""
        from packaging.tags import compatible_tags, cpython_tags

        platforms = list(self._platforms())
        named = f"cp{self.python[0]}{self.python[1]}"
        tags = [*cpython_tags(self.python, platforms=platforms), *compatible_tags(self.python, named, platforms)]
        return frozenset(map(str, tags))

    @property
    def markers(self) -> dict[str, str]:
        """Return what environment markers see there."""
        version = f"{self.python[0]}.{self.python[1]}"
        return {
            "python_version": version,
            "python_full_version": f"{version}.0",
            "implementation_name": "cpython",
            "implementation_version": f"{version}.0",
            "platform_python_implementation": "CPython",
            "os_name": "posix",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": self.machine,
            "platform_release": "",
            "platform_version": "",
            "extra": "",
        }

    def takes(self, wheel: str) -> bool:
        """Say whether a wheel of this file name can be installed there."""
        _, *tags = wheel.removesuffix(".whl").rsplit("-", 3)
        if len(tags) != 3:
            return False
        python, abi, platforms = (tag.split(".") for tag in tags)
        return any(f"{one}-{two}-{three}" in self.tags for one in python for two in abi for three in platforms)

    def _platforms(self) -> Iterator[str]:
        if self.is_musl:
            yield from (f"musllinux_1_{minor}_{self.machine}" for minor in range(_MUSL, -1, -1))
        else:
            for minor in range(_GLIBC, _OLDEST[self.machine] - 1, -1):
                yield f"manylinux_2_{minor}_{self.machine}"
                if minor in _ALIASES:
                    yield f"{_ALIASES[minor]}_{self.machine}"
        yield f"linux_{self.machine}"


def parse(platform: str | None, python: str) -> Target:
    """Return the target of `platform`, such as "linux/arm64" or "linux/amd64-musl" (None: this machine), and a Python "3.12".

    Raises UsageError for what is neither.
    """
    named = _PLATFORM.fullmatch(platform or this_machine.machine())
    machine = _MACHINES.get(named[1]) if named else None
    if named is None or machine is None:
        msg = f"there is no platform {platform or this_machine.machine()!r} here"
        raise UsageError(msg, hint="give linux/amd64 or linux/arm64, with -musl for Alpine")
    version = re.match(r"(\d+)\.(\d{1,3})(?!\d)", python)
    if version is None:
        msg = f"{python!r} is no version of Python"
        raise UsageError(msg, hint='give one such as "3.12"')
    return Target(python=(int(version[1]), int(version[2])), machine=machine, is_musl=named[2] is not None)
