"""What the package index has of a distribution: what needs no build, and the version that fits a library of the system.

Advice only: where the index cannot be asked, there is none, and nothing fails.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin

from colab_env import _download
from colab_env import index as package_index
from colab_env.errors import UsageError
from colab_env.machine import Machine
from colab_env.native_need.apt import Apt
from colab_env.native_need.locked_files import LockedPackage, Target, normalized, parse_target

if TYPE_CHECKING:
    from packaging.version import Version

_OLDEST_PYTHON, _NEWEST_PYTHON = 8, 14  # minor versions of Python 3 that are looked for
_ANCHOR = re.compile(r"<a\s([^>]{1,4000})>([^<]{1,300})</a>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([\w-]{1,40})(?:\s*=\s*["']([^"']*)["'])?""")
_SDIST = re.compile(r"(.+)-([^-]+?)\.(?:tar\.gz|zip|tar\.bz2|tgz)")
_SIMPLE_PAGE = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"  # PEP 691, else PEP 503
_WHEEL = re.compile(r"[^-]+-([^-]+)(?:-\d[^-]*)?-[^-]+-[^-]+-[^-]+\.whl")


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """One file of a distribution; `requires_python` is its specifier, "" where it has none."""

    name: str
    version: Version
    requires_python: str = ""

    def installs(self, target: Target) -> bool:
        """Say whether it is a wheel that can be installed on a target."""
        return self.name.endswith(".whl") and target.takes(self.name) and self.allows(target)

    def allows(self, target: Target) -> bool:
        from packaging.specifiers import InvalidSpecifier, SpecifierSet

        try:
            return SpecifierSet(self.requires_python).contains(target.markers["python_full_version"])
        except InvalidSpecifier:  # of before PEP 440: pip ignores it
            return True


def read_page(page: str) -> list[PublishedFile]:
    """Return the files of a project's page, as PEP 691 (JSON) or PEP 503 (HTML) have it, without those that were withdrawn."""
    files = []
    for name, requires_python in _json_files(page) if page.lstrip().startswith("{") else _html_files(page):
        match = _WHEEL.fullmatch(name) or _SDIST.fullmatch(name)
        version = _version(match[match.lastindex or 1]) if match else None
        if version is not None and not version.is_prerelease:
            files.append(PublishedFile(name=name, version=version, requires_python=requires_python))
    return files


def _version(text: str) -> Version | None:
    from packaging.version import Version

    try:
        return Version(text)
    except ValueError:  # of before PEP 440, or of thousands of digits: no installer takes it
        return None


def _json_files(page: str) -> Iterator[tuple[str, str]]:
    try:
        listed = json.loads(page).get("files", [])
    except (ValueError, AttributeError, RecursionError):
        return
    for file in listed if isinstance(listed, list) else ():
        if isinstance(file, Mapping) and not file.get("yanked"):
            yield str(file.get("filename", "")), str(file.get("requires-python") or "")


def _html_files(page: str) -> Iterator[tuple[str, str]]:
    for match in _ANCHOR.finditer(page):
        attributes = {name.lower(): html.unescape(value) for name, value in _ATTRIBUTE.findall(match[1])}
        if "data-yanked" not in attributes:
            yield unquote(html.unescape(match[2]).strip()), attributes.get("data-requires-python", "")


def wheel_advice(files: Sequence[PublishedFile], name: str, version: str | None, target: Target) -> Iterator[str]:
    """Yield sentences about what needs no build: another version for this Python, and other Pythons for this version.

    Without a `version`, the newest that the Python may install is the one that failed.
    """
    python = f"Python {target.python[0]}.{target.python[1]}"
    allowed = {file.version for file in files if file.allows(target)}
    failed = _version(version) if version else max(allowed, default=None)
    wheels = {file.version for file in files if file.installs(target)} - {failed}
    if wheels:
        # The next newer one is the smallest step; an older one is better than a build.
        newer = [other for other in wheels if failed is not None and other > failed]
        yield f"{name} {min(newer) if newer else max(wheels)} has a wheel for {python}"
    pythons = [
        f"3.{minor}"
        for minor in range(_OLDEST_PYTHON, _NEWEST_PYTHON + 1)
        if any(file.version == failed and file.installs(replace(target, python=(3, minor))) for file in files)
    ]
    if pythons:
        yield f"{name} {failed} has a wheel for Python {', '.join(pythons)}"


def fitting_version(files: Iterable[PublishedFile], library_version: str) -> str | None:
    """Return the version of bindings that are released together with their library, as GDAL's are with libgdal, or None.

    That is the library's own number, else the nearest older one of the same minor version.
    """
    number = re.match(r"\d+(?:\.\d+)+", library_version)
    library = _version(number[0]) if number else None
    if library is None:
        return None
    fitting = {file.version for file in files if file.version.release[:2] == library.release[:2]}
    return str(max(versions)) if (versions := [version for version in fitting if version <= library]) else None


def library_names(distribution: str) -> list[str]:
    """Return the development packages that a distribution which wraps one library is named after: GDAL, libvirt-python."""
    name = normalized(distribution)
    stems = dict.fromkeys([name, name.removeprefix("python-"), name.removesuffix("-python"), name.removeprefix("py")])
    return [package for stem in stems for package in (f"lib{stem.removeprefix('lib')}-dev", f"{stem}-dev")]


def archive_url(package: LockedPackage, machine: Machine) -> str:
    """Return where a source archive is; where the lock file does not say, the index does."""
    if package.sha256 is None:
        msg = f"the lock file has no SHA-256 of {package.sdist}"
        raise UsageError(msg, hint="lock the project anew")
    if package.url and "://" in package.url:
        return package.url
    page = page_url(package.name, machine)
    if page is None:
        msg = "no package index is known here"
        raise UsageError(msg, hint="set UV_DEFAULT_INDEX or PIP_INDEX_URL")
    named = re.search(rf"""href=["']([^"'#]*/{re.escape(package.sdist or "")})["'#]""", _download.read_text(page))
    if named is None:
        msg = f"the package index does not have {package.sdist}"
        raise UsageError(msg, hint="lock the project anew")
    return str(urljoin(page, named[1]))


def page_url(name: str, machine: Machine) -> str | None:
    """Return the address of a distribution's page in the index that the machine is set to."""
    base = package_index.settings(machine).url or package_index.default_url()
    return f"{base.rstrip('/')}/{normalized(name)}/" if base else None


def advice(name: str, version: str | None, target: Target, *, machine: Machine) -> tuple[str, ...]:
    """Return sentences about what needs no build of a distribution; of the machine's own libraries where it is the target."""
    url = page_url(name, machine)
    page = _download.read_once(url, accept=_SIMPLE_PAGE) if url else None
    files = read_page(page or "")
    lines = list(wheel_advice(files, name, version, target))
    if target != parse_target(None, f"{target.python[0]}.{target.python[1]}"):
        return tuple(lines)  # what is installed here says nothing of another machine
    apt = Apt(machine=machine)
    libraries = ((package, apt.version(package)) for package in library_names(name))
    package, library = next(((package, number) for package, number in libraries if number), ("", ""))
    if library and (fitting := fitting_version(files, library)) and fitting != version:
        lines.append(f"{name}=={fitting} fits {package} {library}, which is installed")
    prefix = machine.environ.get("CONDA_PREFIX") if not machine.environ.get("VIRTUAL_ENV") else None
    if prefix and (Path(prefix) / "conda-meta").is_dir():
        lines.append(f"conda install -c conda-forge {name}, as this Python is conda's: that brings its libraries along")
    return tuple(lines)
