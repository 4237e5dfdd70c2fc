"""Show a machine's packages in an environment by symbolic links: no copies, and nothing of the machine is touched.

Commands in `bin` are not linked. Whole directories are linked where they belong to one package alone. The metadata is a
directory of the environment's own whose RECORD lists the links, so that a tool that uninstalls such a package takes
away the links and not what they name: a tool that found the machine's RECORD here would follow it through a link and
delete the machine's files.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from colab_env import _files
from colab_env.errors import KeepError
from colab_env.plans.distributions import Distribution
from colab_env.results import short

_RECORD, _INSTALLER = "RECORD", "INSTALLER"
_OWN = (_RECORD, _INSTALLER, "REQUESTED", "RECORD.jws", "direct_url.json")


def link(packages: Iterable[Distribution], site: Path) -> None:
    """Link packages into the directory `site`. Raises KeepError when something of another package is in the way."""
    for package, paths in _link_paths(list(packages), site):
        links = [path for path in paths if _link(package.site / path, site / path)]
        info = {Path(_info_name(package), name): target for name, target in _metadata(package).items()}
        links += [path for path, target in info.items() if _link(target, site / path)]
        _write_record(site / _info_name(package), links)


def _link_paths(packages: list[Distribution], site: Path) -> Iterator[tuple[Distribution, list[Path]]]:
    files = {package.name: package.files() for package in packages}
    owners = Counter(parent for paths in files.values() for parent in {p for parts in paths for p in _parents(parts)})
    for package in packages:
        modules = (parts for parts in files[package.name] if parts[0] != package.info.name)
        yield package, sorted({_link_path(parts, package, owners, site) for parts in modules})


def _parents(parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (parts[:depth] for depth in range(1, len(parts)))


def _link_path(parts: tuple[str, ...], package: Distribution, owners: Counter[tuple[str, ...]], site: Path) -> Path:
    for parent in _parents(parts):
        alone = owners[parent] == 1 and not (site / Path(*parent)).is_dir()
        if alone and not _is_namespace(package.site / Path(*parent)):
            return Path(*parent)
    return Path(*parts)


def _is_namespace(directory: Path) -> bool:
    # Packages that nobody has thought of may have a part of it. A name such as numpy.libs is no module's.
    return directory.name.isidentifier() and not (directory / "__init__.py").exists()


def _link(target: Path, path: Path) -> bool:
    if not os.path.lexists(path):
        _files.link(path, target)
        return True
    if path.is_file() and target.is_file() and path.read_bytes() == target.read_bytes():
        return False  # such as the __init__.py that packages of one family share
    msg = f"{short(target)} cannot be kept: the environment has another {short(path)}"
    raise KeepError(msg, hint="leave the package out of keep=; nothing was changed")


def _info_name(package: Distribution) -> str:
    modern = package.info.suffix == ".dist-info"
    return package.info.name if modern else f"{package.name.replace('-', '_')}-{package.version}.dist-info"


def _metadata(package: Distribution) -> dict[str, Path]:
    if package.info.is_file():  # Debian has some of the oldest form
        return {"METADATA": package.info}
    files = {path.name: path for path in sorted(package.info.iterdir()) if path.name not in _OWN}
    return {"METADATA" if name == "PKG-INFO" else name: path for name, path in files.items()}


def _write_record(info: Path, paths: Iterable[Path]) -> None:
    own = [Path(info.name, name) for name in (_INSTALLER, _RECORD)]
    _files.write_text(info / _INSTALLER, "colab-env\n")
    _files.write_text(info / _RECORD, "".join(f"{_quoted(path)},,\n" for path in (*paths, *own)))


def _quoted(path: Path) -> str:
    text = str(path).replace('"', '""')
    return f'"{text}"' if "," in text or '"' in text else text
