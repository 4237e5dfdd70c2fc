"""apt: the only module that knows it. Its lists become the packed index, its simulation a plan, and it installs.

Lists, archives and caches lie in the data directory: the machine's own are neither used nor changed. Sources, keys,
proxies and mirrors are the machine's.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from colab_env import _files, _process, _report
from colab_env.errors import (
    AptError,
    ColabEnvError,
    CommandError,
    DamagedError,
    DiskFullError,
    NetworkError,
    UsageError,
)
from colab_env.machine import Machine
from colab_env.native_need.packed_index import Index
from colab_env.results import short

HELPER = Path("/usr/lib/apt/apt-helper")
DPKG_STATUS = Path("/var/lib/dpkg/status")
SOURCES = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))
OS_RELEASE = Path("/etc/os-release")
# Debian policy 5.6.1. A name that ends with "-" would be one to remove for apt.
_PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*[a-z0-9+]")
# What is essential says so between the two; what is held is installed as well.
_INSTALLED = re.compile(r"^Package: (\S+)\n(?:[^\n]+\n)*?Status: \S+ ok installed$", re.MULTILINE)
# As apt-file's own /etc/apt/apt.conf.d/50apt-file.conf has it: one list for each component in Debian, one for all in
# Ubuntu. Hooks of the machine that follow an update are about its own lists.
_SETTINGS = """\
Dir::State::lists "{directory}/lists";
Dir::Cache "{directory}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "";
Acquire::Languages "none";
Acquire::Retries "2";
APT::Get::List-Cleanup "false";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""
_CONTENTS = """\
Acquire::IndexTargets::deb::colab-env-contents {
  MetaKey "$(COMPONENT)/Contents-$(ARCHITECTURE)"; flatMetaKey "Contents-$(ARCHITECTURE)";
  ShortDescription "Contents-$(ARCHITECTURE)"; Description "$(RELEASE)/$(COMPONENT) $(ARCHITECTURE) Contents";
  flatDescription "$(RELEASE) Contents"; PDiffs "false"; KeepCompressed "true"; Optional "true";
  Identifier "colab-env-contents"; DefaultEnabled "true"; };
Acquire::IndexTargets::deb::colab-env-contents-all {
  MetaKey "Contents-$(ARCHITECTURE)"; Fallback-Of "colab-env-contents"; Identifier "colab-env-contents";
  ShortDescription "Contents-$(ARCHITECTURE)"; Description "$(RELEASE) $(ARCHITECTURE) Contents";
  PDiffs "false"; KeepCompressed "true"; Optional "true"; DefaultEnabled "true"; };
"""
_DAY = 86400.0  # seconds
_INSTALL = ("install", "-y", "--no-install-recommends")


@dataclass(frozen=True, kw_only=True)
class PackageIndex:
    """The packed index of a release: its size in bytes, and a `note` where it may be outdated."""

    path: Path
    size: int
    note: str | None = None

    def __repr__(self) -> str:
        text = f"✓ which package has what: {short(self.path)} ({_report.megabytes(self.size)})"
        return f"{text}\n  {self.note}" if self.note else text

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "path": str(self.path)}


@dataclass(frozen=True, kw_only=True)
class AptPlan:
    """What installing packages would do: sizes in bytes, `disk` negative where space would become free."""

    packages: tuple[str, ...]
    new: tuple[str, ...]
    upgraded: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    download: int = 0
    disk: int = 0

    @property
    def command(self) -> str:
        """Return the line to paste."""
        return shlex.join(["apt-get", *_INSTALL, *self.packages])

    def __repr__(self) -> str:
        also = f", {len(self.upgraded)} upgraded" if self.upgraded else ""
        sizes = f"{_report.megabytes(self.download)} to download, {_report.megabytes(max(self.disk, 0))} on the disk"
        return f"{self.command}\n  {len(self.new)} new packages{also}; {sizes}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "command": self.command}


@dataclass(kw_only=True)
class _Lines:
    """Keeps every line: a plan of hundreds of packages is longer than what is kept of a program otherwise."""

    lines: list[str] = field(default_factory=list)

    def on_line(self, line: str) -> bool:
        self.lines.append(line)
        return True

    def on_tick(self, pid: int) -> None:
        """Nothing to look at."""


@dataclass(frozen=True, kw_only=True)
class Apt:
    """apt on one machine, with lists of its own in `directory`."""

    machine: Machine
    status: Path = DPKG_STATUS

    @property
    def directory(self) -> Path:
        return self.machine.data / "apt"

    def health_check(self) -> str | None:
        """Return why apt cannot be used here, or None."""
        if not HELPER.is_file() or shutil.which("apt-get", path=self.machine.environ.get("PATH")) is None:
            return "this system has no apt: only Debian, Ubuntu and their relatives have"
        return None if self.status.is_file() else f"{self.status} is missing, so that dpkg knows no package"

    def installed(self) -> frozenset[str]:
        """Return the names of the packages that are installed."""
        try:
            text = self.status.read_text(errors="replace")
        except OSError:
            return frozenset()
        return frozenset(_INSTALLED.findall(text))

    def version(self, package: str) -> str | None:
        """Return the upstream version of an installed package, as "3.6.2" of "1:3.6.2+dfsg-1+b2", or None."""
        try:
            stanzas = self.status.read_text(errors="replace").split("\n\n")
        except OSError:
            return None
        stanza = next((text for text in stanzas if text.startswith(f"Package: {package}\n")), "")
        match = re.search(r"(?m)^Version: (?:\d+:)?([\d.]+\d)", stanza)
        return match[1] if match and " ok installed\n" in stanza else None

    def absent(self, packages: Iterable[str]) -> list[str]:
        """Return those of the packages, such as "libpq-dev" or "libpq-dev=15.8-0", that are not installed."""
        installed = self.installed()
        return [package for package in packages if package.partition("=")[0] not in installed]

    def release(self) -> dict[str, str]:
        """Return what an index belongs to: system, version, architecture, and the sources as they are."""
        text = OS_RELEASE.read_text(errors="replace") if OS_RELEASE.is_file() else ""
        names = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', text, re.MULTILINE))
        architecture = _process.run(["dpkg", "--print-architecture"], environ=self._environ()).output.strip()
        return {
            "system": names.get("ID", "unknown"),
            "version": names.get("VERSION_ID") or names.get("VERSION_CODENAME", ""),
            "architecture": architecture,
            "sources": _sources_digest(),
        }

    def index_path(self, release: Mapping[str, str]) -> Path:
        name = "-".join(re.sub(r"[^a-z0-9.]", "", release[key]) for key in ("system", "version", "architecture"))
        return self.directory / f"{name}.index"

    def index(self, *, refresh: bool = False) -> tuple[Index, str | None]:
        """Return the packed index of this release, made if need be, and a sentence if it may be outdated.

        Without a network an index of other sources of the same release is better than none. Raises NetworkError where
        there is none, and AptError where there is no apt.
        """
        if (reason := self.health_check()) is not None:
            raise AptError(reason, hint="install the missing things with this system's own tool")
        release = self.release()
        path = self.index_path(release)
        old = None if not path.is_file() else _opened(path)
        if old is not None and not refresh and old.facts.get("sources") == release["sources"]:
            return old, old.facts.get("note")
        try:
            index = self._make_index(path, release)
        except (NetworkError, AptError) as error:
            if old is None:
                raise
            return old, f"{error.message}; the index of {path.name} is used as it is"
        return index, index.facts.get("note")

    def ready_index(self) -> Index | None:
        """Return the index of this release if it is here already."""
        path = None if self.health_check() else self.index_path(self.release())
        return _opened(path) if path is not None and path.is_file() else None

    def _make_index(self, path: Path, release: Mapping[str, str]) -> Index:
        from colab_env.native_need.contents import Contents, Packages, packed

        with _report.activity("Asking the distribution which package has what"):
            problem = self.update(contents=True)
            lists = self._lists()
            if not any(identifier == "colab-env-contents" for identifier, _ in lists):
                msg = (
                    "apt's sources have no Contents lists"
                    if problem is None
                    else f"apt cannot fetch its lists: {problem}"
                )
                raise NetworkError(msg, hint="once there is a network: colab-env native index")
            contents, packages = Contents(), Packages()
            for identifier, file in lists:
                reader = contents if identifier == "colab-env-contents" else packages
                reader.read(self._text(file))
            # One list that cannot be fetched, of `-updates` say, does not keep the others from answering.
            note = (
                f"{problem}; the index is made of the other lists: colab-env native index --refresh"
                if problem
                else None
            )
            _files.write_bytes(path, packed(contents, packages, {**release, "note": note}))
        for identifier, file in lists:
            if identifier == "colab-env-contents":
                _files.discard(file)  # 80 MB that are not needed again
        return Index(path)

    def update(self, *, contents: bool = False) -> str | None:
        """Fetch the lists; return what went wrong where some came all the same, such as those of a third party."""
        self._configure(contents=contents)
        finished = self._apt("update")
        _files.write_text(self.directory / "fetched", "")
        problems = [line for line in finished.lines if re.match(r"(?:E|W|Err):? ?", line) and "sandbox" not in line]
        if finished.returncode == 0 and not any("Failed to fetch" in line for line in problems):
            return None
        return problems[0] if problems else f"apt-get update ended with exit code {finished.returncode}"

    def has_recent_lists(self) -> bool:
        """Say whether the lists of packages are here, and of today."""
        has_lists = any((self.directory / "lists").glob("*Packages*"))
        fetched = self.directory / "fetched"
        return has_lists and fetched.is_file() and time.time() - fetched.stat().st_mtime < _DAY

    def _lists(self) -> list[tuple[str, Path]]:
        finished = self._apt("indextargets", "--format", "$(IDENTIFIER) $(FILENAME)", quiet=True)
        pairs = [line.split(" ", 1) for line in finished.lines if line.count(" ") >= 1]
        lists = [(name, Path(file)) for name, file in pairs if name in {"colab-env-contents", "Packages"}]
        return [(name, file) for name, file in dict.fromkeys(lists) if file.is_file()]

    def _text(self, file: Path) -> Iterator[bytes]:
        return _process.output_chunks([HELPER, "cat-file", file], environ=self._environ())

    # --- packages

    def plan(self, packages: Iterable[str]) -> AptPlan:
        """Return what installing these packages would do. Changes nothing. Raises UsageError for what is no name."""
        names = tuple(dict.fromkeys(packages))
        for name in names:
            check_name(name)
        self._configure()
        # Unlike a simulation it knows the sizes, too.
        finished = self._apt(*_INSTALL, "-o", "Debug::NoLocking=1", "--print-uris", "--", *names, quiet=True)
        if finished.returncode:
            raise self._problem(finished, names)
        sizes = [int(match[1]) for line in finished.lines if (match := re.match(r"'\S+' \S+ (\d+) ", line))]
        return AptPlan(
            packages=names,
            new=_listed(finished.output, "The following NEW packages will be installed:"),
            upgraded=_listed(finished.output, "The following packages will be upgraded:"),
            removed=_listed(finished.output, "The following packages will be REMOVED:"),
            download=sum(sizes),
            disk=_disk(finished.output),
        )

    def install(self, plan: AptPlan) -> None:
        """Install what was planned, without a question. Raises AptError, NetworkError or DiskFullError."""
        self._configure()
        environ = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1", "APT_LISTCHANGES_FRONTEND": "none"}
        options = [f"Dpkg::Options::=--force-conf{how}" for how in ("def", "old")]
        argv = [
            *_INSTALL,
            "--no-remove",
            *(word for option in options for word in ("-o", option)),
            "--",
            *plan.packages,
        ]
        finished = self._apt(*argv, environ=environ)
        _files.discard(self.directory / "cache")
        if finished.returncode:
            raise self._problem(finished, plan.packages)

    def removal_obstacle(self, packages: Iterable[str]) -> str | None:
        """Return what would go as well if these packages were removed, or None."""
        ours = set(packages)
        self._configure()
        finished = self._apt("purge", "-y", "-o", "Debug::NoLocking=1", "-s", "--", *sorted(ours), quiet=True)
        gone = {match[1] for line in finished.lines if (match := re.match(r"(?:Remv|Purg) (\S+?)(?::\S+)? ", line))}
        if others := sorted(gone - ours):
            return f"{others[0]} needs it and was there before, or came since"
        return None if finished.returncode == 0 else "apt cannot remove it: " + (finished.lines or ("?",))[-1]

    def remove(self, packages: Iterable[str]) -> None:
        """Remove packages and their settings. Raises AptError."""
        names = sorted(set(packages))
        self._configure()
        finished = self._apt("purge", "-y", "--", *names, environ={"DEBIAN_FRONTEND": "noninteractive"})
        if finished.returncode:
            raise self._problem(finished, names)

    def _problem(self, finished: _process.Finished, packages: Iterable[str]) -> ColabEnvError:
        line = shlex.join(["apt-get", *_INSTALL, *packages])
        for pattern, kind, message, hint in _PROBLEMS:
            if match := re.search(pattern, finished.output):
                text = message.format(*(match.groups() or ("",)))
                if issubclass(kind, CommandError):
                    return kind(text, hint=hint.format(line), returncode=finished.returncode, lines=finished.lines)
                return kind(text, hint=hint.format(line))
        return _process.failed(finished, kind=AptError, hint=f"try it yourself: {line}")

    def _configure(self, *, contents: bool = False) -> None:
        text = _SETTINGS.replace("{directory}", str(self.directory)) + (_CONTENTS if contents else "")
        for name in ("lists/partial", "cache/archives/partial"):
            _files.make_directory(self.directory / name)
        _files.write_text(self.directory / "apt.conf", text)

    def _apt(self, *words: str, quiet: bool = False, environ: Mapping[str, str] | None = None) -> _process.Finished:
        """Run apt-get with our settings; `quiet` shows nothing of it and keeps every line."""
        argv = ["apt-get", "-c", str(self.directory / "apt.conf"), *words]
        lines = _Lines() if quiet else None
        finished = _process.run(argv, environ=self._environ(**(environ or {})), check=False, follow=lines)
        return replace(finished, lines=tuple(lines.lines)) if lines else finished

    def _environ(self, **changes: str) -> dict[str, str]:
        return _process.child_environ(self.machine.environ, LC_ALL="C.UTF-8", LANGUAGE="C", **changes)


# What apt and dpkg say in English, which LC_ALL sees to: pattern, error, message, and what to do next.
_PROBLEMS: tuple[tuple[str, type[ColabEnvError], str, str], ...] = (
    (
        r"Could not get lock (\S+?)\.?(?: |$)[^\n]*|Unable to acquire the dpkg frontend lock",
        AptError,
        "another program is installing packages: it holds {}",
        "wait until it is done, then: {}",
    ),
    (r"dpkg was interrupted", AptError, "an earlier run of dpkg was interrupted", "dpkg --configure -a && {}"),
    (
        r"[Nn]o space left|don't have enough free space",
        DiskFullError,
        "no space left for packages",
        "make room, then: {}",
    ),
    (
        r"are you root\?|Permission denied",
        AptError,
        "only root may install packages",
        "sudo apt-get update && sudo {}",
    ),
    (r"Unable to locate package (\S+)", AptError, "apt's sources have no package {}", "apt-get update && {}"),
    (r"Package '?(\S+?)'? has no installation candidate", AptError, "{} cannot be installed from apt's sources", "{}"),
    (r"Packages need to be removed but remove is disabled", AptError, "installing would remove other packages", "{}"),
    (r"(held broken packages|unmet dependencies)", AptError, "apt cannot install it: {}", "see why: {}"),
    (
        r"(?:Temporary failure resolving|Could not (?:connect|resolve)[^'\n]*) ?'?([^'\s]*)|Failed to fetch (\S+)",
        NetworkError,
        "apt cannot download from {}",
        "once there is a network: apt-get update && {}",
    ),
)


def check_name(name: str) -> None:
    """Raise UsageError for what no Debian package can be called: names come out of logs, too."""
    if _PACKAGE_NAME.fullmatch(name) is None:
        msg = f"{name!r} is not the name of a package"
        raise UsageError(msg, hint="names have small letters, digits, +, - and . only")


def _listed(text: str, title: str) -> tuple[str, ...]:
    """Return the names of the indented lines below a title of apt's."""
    match = re.search(rf"^{re.escape(title)}\n((?: .*\n?)+)", text, re.MULTILINE)
    return tuple(name.partition(":")[0].rstrip("*") for name in match[1].split()) if match else ()


def _disk(text: str) -> int:
    match = re.search(
        r"After this operation, (\d[\d,]{0,20}(?:\.\d+)?) ?([kMGT]?)B (?:of additional disk space will be used|disk)",
        text,
    )
    if match is None:
        return 0
    size = int(float(match[1].replace(",", "")) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}[match[2]])
    return size if "additional" in match[0] else -size


def _opened(path: Path) -> Index | None:
    try:
        return Index(path)
    except DamagedError:
        return None  # a download or a disk that ended early; it is made anew


def _sources_digest() -> str:
    """Return a digest of what apt's sources say, without comments."""
    files = [path for source in SOURCES for path in ([source] if source.is_file() else sorted(source.glob("*")))]
    digest = hashlib.sha256()
    for path in files:
        if path.is_file() and path.suffix in {".list", ".sources"}:
            lines = path.read_text(errors="replace").splitlines()
            digest.update("\n".join(line for line in lines if line.strip() and not line.startswith("#")).encode())
    return digest.hexdigest()[:16]
