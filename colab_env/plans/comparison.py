"""Compare what a lock brings with what the machine has: rows, and what does not fit together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from colab_env import _report
from colab_env.locks.requirements_text import Wanted
from colab_env.plans.distributions import Distribution, accepts, is_same

KEPT, SAME, REPLACED, NEW = "kept", "same", "replaced", "new"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One package: the version `wanted` (None: only `keep` brings it), the `machine`'s or None, and what `happens`."""

    name: str
    wanted: str | None
    machine: str | None
    happens: str


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
    """What is compared: what is `wanted`, what the `machine` has, what the environment will have `seen` without it.

    What is `kept` is the machine's. `known` are distributions whose metadata tells what wanted ones need, such as those
    of the environment that is there.
    """

    wanted: Mapping[str, Wanted]
    machine: Mapping[str, Distribution]
    seen: Mapping[str, Distribution]
    markers: Mapping[str, str]
    kept: Mapping[str, Distribution] = field(default_factory=dict)
    known: Mapping[str, Distribution] = field(default_factory=dict)


def rows(sides: Sides) -> list[Row]:
    """Return a row for everything that is wanted or kept, by name."""
    return [_row(name, sides) for name in sorted({*sides.wanted, *sides.kept})]


def only_on_machine(sides: Sides) -> int:
    """Return how many of the machine's packages the environment sees as they are and does not ask for."""
    return len(set(sides.seen) - set(sides.wanted) - set(sides.kept))


def conflicts(sides: Sides) -> list[Conflict]:
    """Return which packages that stay do not accept a version that will be there.

    What stays visible is asked about what hides its neighbours; what is kept and what is wanted are asked about each
    other, as far as the metadata is on this machine already.
    """
    staying = [each for name, each in sides.seen.items() if name not in sides.wanted and name not in sides.kept]
    bringing = {name: each.version for name, each in sides.wanted.items() if each.exact and name not in sides.kept}
    versions = {**bringing, **{name: each.version for name, each in sides.kept.items()}}
    hiding = {name: version for name, version in versions.items() if _hides_another(name, version, sides)}
    kept = {name: each.version for name, each in sides.kept.items()}
    found = (
        *broken(staying, hiding, sides.markers),
        *broken(sides.kept.values(), bringing, sides.markers),
        *broken(_described(sides), kept, sides.markers),
    )
    return [*dict.fromkeys(found)]


def broken(
    distributions: Iterable[Distribution], versions: Mapping[str, str], markers: Mapping[str, str]
) -> Iterator[Conflict]:
    """Yield which of the distributions do not accept one of the versions."""
    from packaging.utils import canonicalize_name

    for each in distributions:
        for need in each.needs(markers):
            name = canonicalize_name(need.name)
            if name in versions and not accepts(need.specifier, versions[name]):
                needs, brings = f"{name}{need.specifier}", f"{name} {versions[name]}"
                yield Conflict(package=each.name, version=each.version, needs=needs, brings=brings)


def _row(name: str, sides: Sides) -> Row:
    wanted, there = sides.wanted.get(name), sides.seen.get(name) or sides.machine.get(name)
    return Row(
        name=name,
        wanted=_report.address(wanted.version) if wanted else None,
        machine=there.version if there else None,
        happens=_happens(name, wanted, sides),
    )


def _happens(name: str, wanted: Wanted | None, sides: Sides) -> str:
    there = sides.seen.get(name)
    if name in sides.kept:
        return KEPT
    if there is None:
        return NEW
    return SAME if wanted is not None and wanted.exact and wanted.version == there.version else REPLACED


def _hides_another(name: str, version: str, sides: Sides) -> bool:
    there = sides.seen.get(name)
    return there is None or there.version != version


def _described(sides: Sides) -> Iterator[Distribution]:
    # A wheel of the same version says the same, wherever it is installed.
    for name, wanted in sides.wanted.items():
        for place in (sides.known, sides.seen, sides.machine):
            there = place.get(name)
            if name not in sides.kept and wanted.exact and there is not None and is_same(there.version, wanted.version):
                yield there
                break
