"""The lock of a build: a pylock.toml (PEP 751) of what is installed in it, with hashes, and the files that no index has.

Wheels of a directory and what was built on this machine are kept beside the lock, so that the build can be made again when
their sources are gone. Its own words in the lock are below `tool.colab-env`: a package's `content` is a checksum of its
installed files, wherever they are.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from colab_env import _file_locks, _files, _process, content, toml_text, wheels
from colab_env.errors import ColabEnvError, CommandError, HashMismatchError, ProjectFileError
from colab_env.locks.requirements_text import normalized
from colab_env.named_env import repacking
from colab_env.named_env.recipe import without_secrets
from colab_env.named_env.repacking import SOURCES, KeptWheels, pinned
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.wheels import WheelInstaller

FILE = "pylock.toml"
_OWN = "colab-env"
_REQUIRES = 'requires-python = "=={}.*"'
_LARGEST = 8 << 30  # bytes of a wheel
_OPTION = re.compile(
    r"(?m)^[ \t]*(-(?:i|f)|--(?:index-url|extra-index-url|find-links|pre|no-binary|only-binary))\b[ =]*(.*)$"
)
_LINE = re.compile(r"[A-Za-z0-9._-]+(?:==[A-Za-z0-9._+!-]+| @ \S+)(?: --hash=[a-z0-9]+:[0-9a-f]+)*")
_NO_VERSION = re.compile(r"Because\s+there\s+is\s+no\s+version\s+of\s+([\w.-]+)==")


@dataclass(frozen=True, kw_only=True)
class LockedPackage:
    """One package of a lock: its files as PEP 751 has them, by the key, such as "wheels"; `content` as above, or None."""

    name: str
    version: str
    files: Mapping[str, Any]
    content: str | None = None
    hashes: tuple[str, ...] = ()
    """Those that a project's lock has for it, where its files are not known."""

    @property
    def requirement(self) -> str:
        """Return the line in pip's format that installs it, by hashes; a kept wheel is to be found by its name."""
        files = self.files.get("wheels", [])
        hashes = "".join(f" --hash={digest}" for digest in sorted({*_hashes(self.files), *self.hashes}))
        if (vcs := self.files.get("vcs")) is not None:
            return f"{self.name} @ {vcs['type']}+{vcs['url']}@{vcs['commit-id']}{_within(vcs)}"
        if (archive := self.files.get("archive")) is not None:
            return f"{self.name} @ {archive['url']}{_within(archive)}{hashes}"
        if (local := self.files.get("directory")) is not None:
            return f"{self.name} @ {Path(local['path']).as_uri()}"
        if self.files.get("index") and files:
            return f"{self.name} @ {files[0]['url']}{hashes}"
        return f"{self.name}=={self.version}{hashes}"

    @property
    def is_hashed(self) -> bool:
        return " --hash=" in self.requirement

    @property
    def is_bundled(self) -> bool:
        """Say whether its wheels are beside the lock."""
        return any("path" in file for file in self.files.get("wheels", []))


def read(text: str, *, path: Path) -> list[LockedPackage]:
    """Return what a lock of ours says. Raises ProjectFileError for a text that no build has."""
    try:
        return [_package(table) for table in toml_text.parsed(text).get("packages", [])]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        msg = f"{short(path)} is not a lock of an environment: {error}"
        raise ProjectFileError(msg, hint="export the environment again; nothing was changed") from error


def names(lock: Path) -> set[str]:
    """Return the names of what a lock holds."""
    return {package.name for package in read((_files.content(lock) or b"").decode(), path=lock)}


def is_for(lock: Path, python: str) -> bool:
    """Say whether a lock of ours was written for a version of Python, such as "3.12"."""
    return _REQUIRES.format(python) in (_files.content(lock) or b"").decode()


def name_of(requirement: str) -> str:
    """Return the name in a requirement such as "six" or "demo @ https://example.org/demo.whl"."""
    return normalized(re.split(r"[\s@\[<>=!~;]", requirement, maxsplit=1)[0])


def write(
    directory: Path,
    survey: content.Survey,
    *,
    into: Path | None = None,
    wheelhouses: Sequence[Path],
    is_offline: bool = False,
    installer: WheelInstaller,
    hashes: Mapping[str, Collection[str]] = MappingProxyType({}),
    options: Sequence[str] = (),
) -> None:
    """Write the lock of what is installed in a directory, and beside it the files that no index has, there or `into` another.

    `wheelhouses` are directories of wheels that packages came from, all of them if it `is_offline`; `hashes` are those that
    a project's lock has, by name; `options` say in pip's words where else packages came from. An index that does not answer
    now leaves a lock without addresses.
    """
    house = KeptWheels(directory, into or directory)
    installed = {info: dict(promised) for info, promised in survey.records.items()}
    local = {info: files for info in installed if (files := house.files(info, installed[info], wheelhouses))}
    if is_offline:
        repacked = {info: house.repack(info, installed[info]) for info in installed if info not in local}
        local |= {info: {"wheels": [file]} for info, file in repacked.items()}
    indexed = {info: pinned(info) for info in installed if info not in local}
    published = _published(house, indexed.values(), installer=installer, options=options)
    packages = []
    for info in installed:
        name, version = pinned(info)
        locked, files = tuple(sorted(hashes.get(name, ()))), local.get(info) or published.get(name, {})
        if locked and not set(locked) & set(_hashes(files)):
            files = files if info in local else {}  # a namesake on another index
        summed = repacking.content_hash(info, survey)
        packages.append(
            LockedPackage(name=name, version=version, files=files, content=summed, hashes=locked if not files else ())
        )
    _files.write_text(house.into / FILE, text(packages, python=_python(directory)))


def text(packages: Iterable[LockedPackage], *, python: str) -> str:
    """Return the lock as TOML; `python` is the version, such as "3.12", that it is for."""
    blocks = [f'lock-version = "1.0"\ncreated-by = "colab-env"\n{_REQUIRES.format(python)}\n']
    for package in sorted(packages, key=lambda package: package.name):
        values = {"name": package.name, "version": package.version, **package.files}
        entry = {"content": package.content, "hashes": list(package.hashes)}
        lines = ["[[packages]]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
        lines += [f"[packages.tool.{_OWN}]", *(f"{key} = {_toml(value)}" for key, value in entry.items() if value)]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def bundle_archives(build: Path, locked: Path, *, into: Path) -> list[LockedPackage]:
    """Write the lock in the directory `locked` into another, with wheels of what came to a build from addresses of its own.

    Return its packages. Those wheels are made of what is installed, so what they install has the same contents.
    """
    house, survey = KeptWheels(build, into), content.Survey(build)
    infos = {pinned(info)[0]: info for info in survey.records}
    packages = []
    for package in read((locked / FILE).read_text(encoding="utf-8"), path=locked / FILE):
        if "archive" in package.files:
            wheel = house.repack(infos[package.name], survey.records[infos[package.name]])
            package = replace(package, files={"wheels": [wheel]}, hashes=())  # noqa: PLW2901
        packages.append(package)
    for path in (locked / SOURCES).iterdir() if locked != into and (locked / SOURCES).is_dir() else ():
        _files.copy(path, into / SOURCES / path.name)
    _files.write_text(into / FILE, text(packages, python=_python(build)))
    return packages


def install(lock: Path, *, python: Path, installer: WheelInstaller) -> None:
    """Install exactly what a lock says, by its hashes. Raises HashMismatchError for a file that is another one."""
    packages = read((_files.content(lock) or b"").decode(), path=lock)
    _require_bundled(lock, packages)
    for is_hashed in (True, False):  # pip takes either all with hashes or none
        listed = [package for package in packages if package.is_hashed is is_hashed]
        if not listed:
            continue
        are_bundled = [package.is_bundled for package in listed]
        how = ["--require-hashes"] if is_hashed else []
        how += ["--find-links", str(lock.parent / SOURCES)] if any(are_bundled) else []
        how += ["--no-index"] if all(are_bundled) else []
        with _file_locks.private_directory(python.parent.parent) as scratch:
            requirements = scratch / "requirements.txt"
            _files.write_text(requirements, "".join(f"{package.requirement}\n" for package in listed))
            try:
                installer.install([*how, "-r", str(requirements)], python=python, alone=True)
            except ColabEnvError as error:
                raise _translated(error, lock) from error


def _require_bundled(lock: Path, packages: Iterable[LockedPackage]) -> None:
    """Raise HashMismatchError for a file beside the lock that is not what the lock promises."""
    for package in packages:
        for file in (file for file in package.files.get("wheels", []) if "path" in file):
            digest = hashlib.sha256(_files.content(lock.parent / file["path"], largest=_LARGEST) or b"").hexdigest()
            if digest != file["hashes"].get("sha256"):
                msg = f"{package.name} is not what its lock promises: {file['path']} has the SHA-256 {digest}"
                raise HashMismatchError(
                    msg, hint="nothing was changed; do not use this file: it is not the one that was locked"
                )


def require_same(lock: Path, survey: content.Survey) -> None:
    """Raise HashMismatchError for packages that are not, file by file, what the lock says.

    What is built on the machine where it is installed may differ: the lock has no wheel of it.
    """
    installed = {pinned(info)[0]: repacking.content_hash(info, survey) for info in survey.records}
    packages = read((_files.content(lock) or b"").decode(), path=lock)
    wrong = [
        package.name
        for package in packages
        if "wheels" in package.files and package.content not in (None, installed.get(package.name))
    ]
    if wrong:
        msg = f"what was installed is not what {short(lock)} promises: {', '.join(sorted(wrong))}"
        raise HashMismatchError(msg, hint="nothing was changed; export the environment again where it is healthy")


def index_options(requirements: str, directory: Path) -> list[str]:
    """Return the lines of a requirements file that say where packages come from, as options; paths start at a directory."""
    options = []
    for option, text_after in _OPTION.findall(requirements):
        value = text_after.strip()
        is_path = option in ("-f", "--find-links") and "://" not in value
        options += [option, *([str(directory / _files.named_path(value)) if is_path else value] if value else [])]
    return options


def _translated(error: ColabEnvError, lock: Path) -> ColabEnvError:
    cause = error if isinstance(error, CommandError) else error.__cause__
    lines = "\n".join(cause.lines) if isinstance(cause, CommandError) else ""
    if mismatch := re.search(r"Hash mismatch for `([^`]+)`|hashes are required.*|DO NOT MATCH THE HASHES", lines):
        msg = f"{mismatch[1] or 'a package'} is not what {short(lock)} promises:\n{lines[mismatch.start() :][:600]}"
        return HashMismatchError(
            msg, hint="nothing was changed; do not use this file: it is not the one that was locked"
        )
    return error


def _package(table: Mapping[str, Any]) -> LockedPackage:
    entry = table.get("tool", {}).get(_OWN, {})
    name, version, hashes = str(table["name"]), str(table["version"]), tuple(map(str, entry.get("hashes", ())))
    files = {key: table[key] for key in ("index", "wheels", "sdist", "archive", "vcs", "directory") if key in table}
    package = LockedPackage(name=name, version=version, files=files, content=entry.get("content"), hashes=hashes)
    paths = [file["path"] for key, file in _listed(files) if key == "wheels" and "path" in file]
    # They become a line of a file in pip's format, and files below the lock.
    if any(Path(path).parent != Path(SOURCES) for path in paths) or not _LINE.fullmatch(package.requirement):
        msg = f"{name} {version} is no package that an environment has"
        raise ValueError(msg)
    return package


def _listed(files: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, value in files.items():
        if key != "index":
            yield from ((key, file) for file in (value if key == "wheels" else [value]))


def _within(source: Mapping[str, Any]) -> str:
    return f"#subdirectory={source['subdirectory']}" if "subdirectory" in source else ""


def _hashes(files: Mapping[str, Any]) -> list[str]:
    return [f"{name}:{value}" for _, file in _listed(files) for name, value in file.get("hashes", {}).items()]


def _published(
    house: KeptWheels, pins: Iterable[tuple[str, str]], *, installer: WheelInstaller, options: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return the files that an index has of packages, by name, with their hashes; none for what it does not know."""
    versions = dict(pins)
    if not versions:
        return {}
    try:
        return _ask(house, versions, installer=installer, options=options)
    except CommandError as error:
        lines = "\n".join(error.lines)
        unknown = {
            normalized(match[1]) for pattern in (wheels.UNKNOWN, _NO_VERSION) for match in pattern.finditer(lines)
        }
        if not unknown & versions.keys():
            return {}
        rest = [(name, version) for name, version in versions.items() if name not in unknown]
        return _published(house, rest, installer=installer, options=options)


def _ask(
    house: KeptWheels, versions: Mapping[str, str], *, installer: WheelInstaller, options: Sequence[str]
) -> dict[str, dict[str, Any]]:
    lines = "".join(f"{name}=={version}\n" for name, version in versions.items())
    python = house.directory / "bin/python"
    with _file_locks.private_directory(house.into) as scratch:
        if installer.uv is None:
            answer = scratch / "report.json"
            argv: list[str | Path] = [
                installer.machine_python,
                "-m",
                "pip",
                "--python",
                python,
                "install",
            ]
            argv += ["--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--report", answer, *options]
            _process.run([*argv, *(line for line in lines.splitlines())], environ=installer.environ)
            return _reported(_files.read_json(answer))
        answer = scratch / FILE
        argv = [installer.uv, "pip", "compile", "--quiet", "--no-deps", "--no-header", "--format", FILE, *options]
        argv += ["--python", python, "--output-file", answer]
        for offline in (["--offline"], []):  # it has just been asked, and uv keeps what it answered
            finished = _process.run([*argv, *offline, "-"], environ=installer.environ, stdin=lines, check=not offline)
            if not finished.returncode:
                break
        listed = toml_text.parsed(answer.read_text(encoding="utf-8")).get("packages", [])
        return {normalized(package["name"]): _plain(package, house, scratch) for package in listed}


def _plain(package: Mapping[str, Any], house: KeptWheels, scratch: Path) -> dict[str, Any]:
    files: dict[str, Any] = {}
    if "index" in package:
        files["index"] = without_secrets(package["index"])
    if "wheels" in package:
        files["wheels"] = [_file(wheel, house, scratch) for wheel in package["wheels"]]
    if "sdist" in package:
        files["sdist"] = _file(package["sdist"], house, scratch)
    return files


def _file(file: Mapping[str, Any], house: KeptWheels, scratch: Path) -> dict[str, Any]:
    url = str(file.get("url", ""))
    path = scratch / file["path"] if "path" in file else Path(unquote(urlsplit(url).path))
    if ("path" in file or url.startswith("file:")) and path.suffix == ".whl" and path.is_file():
        return house.keep(path.name, path.read_bytes())
    return {"url": without_secrets(url) or path.as_uri(), "hashes": dict(file.get("hashes", {}))}


def _reported(report: Any) -> dict[str, dict[str, Any]]:
    files = {}
    for installed in report.get("install", []) if isinstance(report, dict) else ():
        source = installed["download_info"]
        file = {"url": without_secrets(source["url"]), "hashes": source.get("archive_info", {}).get("hashes", {})}
        is_wheel = source["url"].endswith(".whl")
        files[normalized(installed["metadata"]["name"])] = {"wheels": [file]} if is_wheel else {"sdist": file}
    return files


def _python(directory: Path) -> str:
    return next(path.name.removeprefix("python") for path in (directory / "lib").glob("python3.*"))


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # a string of JSON is one of TOML
