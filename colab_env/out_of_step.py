"""What a project asks for and its lock file does not hold, in words: what a person has to know of a lock file that is stale."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from colab_env.errors import UsageError
from colab_env.interpreter import parse_specifier
from colab_env.package_names import normalized

_MOST = 3  # named; a project that was locked years ago differs in dozens


def described(asked: Iterable[tuple[str, str]], locked: Mapping[str, Collection[str]]) -> str:
    """Return what differs, or an empty string: `asked` are names and versions, as PEP 440 or Poetry writes a range.

    `locked` has the versions by normalized name; of a package from elsewhere than an index, none.
    """
    differences = []
    for name, wanted in dict.fromkeys(asked):
        versions = locked.get(normalized(name))
        if versions is None:
            differences.append(f"{name} is not in it")
        elif versions and not _fits(versions, wanted):
            differences.append(f"it has {name} {' and '.join(sorted(versions))}, asked for is {wanted}")
    more = len(differences) - _MOST
    return "; ".join(differences[:_MOST]) + (f"; and {more} more" if more > 0 else "")


def _fits(versions: Collection[str], wanted: str) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion

    if "|" in wanted:
        return any(_fits(versions, alternative) for alternative in re.split(r"\|+", wanted))
    if wanted.strip() in ("", "*"):
        return True
    try:
        is_poetrys = wanted.lstrip()[0] in "^~" and not wanted.lstrip().startswith("~=")
        # Without an operator, Poetry and Pipenv mean that one version.
        text = f"=={wanted.strip()}" if wanted.strip()[0].isdigit() else wanted
        specifier = parse_specifier(wanted) if is_poetrys else SpecifierSet(text.replace(" ", ""))
        return any(specifier.contains(version, prereleases=True) for version in versions)
    except (InvalidSpecifier, InvalidVersion, UsageError, ValueError):
        return True  # what cannot be read is no difference that can be named
