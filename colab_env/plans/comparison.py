"""Compare what a lock brings with what the machine has: rows, and what does not fit together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from colab_env import _report
from colab_env.locks.requirements_text import RequiredVersion
from colab_env.plans.distributions import Distribution, accepts, is_same

KEPT, SAME, REPLACED, NEW = "kept", "same", "replaced", "new"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One package: the version `wanted` (None: only `keep` brings it), the `machine`'s or None, and what `happens`.

    `download` is the size of its wheel, as the lock file says, and `on_disk` that of the machine's one; both are in bytes,
    and None where nobody says it.
    """

    name: str
    wanted: str | None
    machine: str | None
    happens: str
    download: int | None = None
    on_disk: int | None = None


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """A package that stays as it is and does not accept the version of another that will stand beside it."""

    package: str
    version: str
    needs: str
    brings: str

    def __str__(self) -> str:
        return f"{self.package} {self.version} needs {self.needs}, and gets {self.brings}"


@dataclass(frozen=True, kw_only=True)
class Sides:
    """What is compared: what the lock has `required`, what the `machine` has, and what is `visible` to the environment.

    `keep` is what is used as the machine has it. `described` are distributions whose metadata tells what required ones
    need, such as those of the environment that exists already; `downloads` are the bytes of wheels, by name.
    """

    required: Mapping[str, RequiredVersion]
    machine: Mapping[str, Distribution]
    visible: Mapping[str, Distribution]
    markers: Mapping[str, str]
    keep: Mapping[str, Distribution] = field(default_factory=dict)
    described: Mapping[str, Distribution] = field(default_factory=dict)
    downloads: Mapping[str, int] = field(default_factory=dict)


def rows(sides: Sides) -> list[Row]:
    """Return a row for everything that is wanted or kept, by name."""
    return [_row(name, sides) for name in sorted({*sides.required, *sides.keep})]


def only_on_machine(sides: Sides) -> int:
    """Return how many of the machine's packages the environment sees as they are and does not ask for."""
    return len(set(sides.visible) - set(sides.required) - set(sides.keep))


def conflicts(sides: Sides) -> list[Conflict]:
    """Return which packages that stay do not accept a version that will be there.

    What stays visible is asked about what hides its neighbours; what is kept and what is wanted are asked about each
    other, as far as the metadata is on this machine already.
    """
    hidden = {*sides.required, *sides.keep}
    staying = [distribution for name, distribution in sides.visible.items() if name not in hidden]
    exact = {name: requirement.version for name, requirement in sides.required.items() if requirement.exact}
    bringing = {name: version for name, version in exact.items() if name not in sides.keep}
    keep_versions = {name: distribution.version for name, distribution in sides.keep.items()}
    versions = {**bringing, **keep_versions}
    visible = {name: distribution.version for name, distribution in sides.visible.items()}
    hiding = {name: version for name, version in versions.items() if visible.get(name) != version}
    every = (
        *broken(staying, hiding, sides.markers),
        *broken(sides.keep.values(), bringing, sides.markers),
        *broken(_described(sides, bringing), keep_versions, sides.markers),
    )
    return [*dict.fromkeys(every)]


def broken(
    distributions: Iterable[Distribution], versions: Mapping[str, str], markers: Mapping[str, str]
) -> Iterator[Conflict]:
    """Yield which of the distributions do not accept one of the versions."""
    from packaging.utils import canonicalize_name

    for distribution in distributions:
        for need in distribution.needs(markers):
            name = canonicalize_name(need.name)
            if name in versions and not accepts(need.specifier, versions[name]):
                needs, brings = f"{name}{need.specifier}", f"{name} {versions[name]}"
                yield Conflict(package=distribution.name, version=distribution.version, needs=needs, brings=brings)


def _row(name: str, sides: Sides) -> Row:
    required, present = sides.required.get(name), sides.visible.get(name) or sides.machine.get(name)
    return Row(
        name=name,
        wanted=_report.address(required.version) if required else None,
        machine=present.version if present else None,
        happens=_happens(name, required, sides),
        download=None if name in sides.keep else sides.downloads.get(name),
        on_disk=(present.size() or None) if present else None,
    )


def _happens(name: str, required: RequiredVersion | None, sides: Sides) -> str:
    present = sides.visible.get(name)
    if name in sides.keep:
        return KEPT
    if present is None:
        return NEW
    return SAME if required is not None and required.exact and required.version == present.version else REPLACED


def _described(sides: Sides, versions: Mapping[str, str]) -> Iterator[Distribution]:
    # A wheel of the same version says the same, wherever it is installed.
    for name, version in versions.items():
        for packages in (sides.described, sides.visible, sides.machine):
            distribution = packages.get(name)
            if distribution is not None and is_same(distribution.version, version):
                yield distribution
                break
