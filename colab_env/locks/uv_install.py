"""uv as installer: it reads the lock files that it owns, and makes an environment hold exactly what one of them says.

Meanwhile its log is followed: packages that had to be fetched, bytes written, and the time that is left.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from colab_env import _file_locks, _files, _process, _report, wheels
from colab_env.errors import (
    BuildError,
    ColabEnvError,
    CommandError,
    HashMismatchError,
    LockMismatchError,
    NetworkError,
    NoSuchPythonError,
    ProjectFileError,
)
from colab_env.results import short

_Result = TypeVar("_Result")
LOG = "uv_installer::plan=debug"  # one line for each package that is not in uv's cache
# uv names the larger ones with their size, and again when they are there.
_LARGE = re.compile(r"^\s*Downloading (\S+) \(([\d.]+)([KMG])iB\)")
_FETCHED = re.compile(r"^\s*Downloaded (\S+)")
_MEGABYTES = {"K": 1 / 1024, "M": 1.0, "G": 1024.0}
_SMALL = 0.3  # megabytes, of a package whose size uv does not name
_UNPACKED = 3.3  # how many times a wheel's size its files have, on average
_UNCACHED = re.compile(r"^DEBUG (?:Identified uncached|Must revalidate)")


class Follower:
    """Counts what arrives in uv's cache while uv works: each package fetched is a new directory there."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._before = self._arrived()
        self._began = time.monotonic()
        self._received_before = _received()
        self.missing = 0
        self._large: dict[str, float] = {}
        self._fetched: set[str] = set()

    def on_line(self, line: str) -> bool:
        """Take note of a line that uv prints, and say whether it was for us only."""
        if _UNCACHED.match(line):
            if not self.missing:  # what it does before, resolving above all, says nothing of how fast wheels arrive
                self._began, self._received_before = time.monotonic(), _received()
            self.missing += 1
        if match := _LARGE.match(line):
            self._large[match[1]] = float(match[2]) * _MEGABYTES[match[3]]
        if match := _FETCHED.match(line):
            self._fetched.add(match[1])
        return line.startswith("DEBUG ")

    def on_tick(self, pid: int) -> None:
        """Show how far the program `pid` is."""
        if self.missing:
            done = min(self._arrived() - self._before, self.missing)
            seconds, written = time.monotonic() - self._began, _written(pid)
            share = self._share(done, written)
            _report.packages(done, self.missing, written=written, share=share, seconds=seconds)

    def _share(self, done: int, written: int) -> float:
        # By size: a hundred small packages are there while the one of two gigabytes still comes. What is on the way is
        # never taken for all: others use the network too.
        large, fetched = dict(self._large), set(self._fetched)
        arrived = sum(size for name, size in large.items() if name in fetched) + _SMALL * max(done - len(fetched), 0)
        expected = sum(large.values()) + _SMALL * max(self.missing - len(large), 0)
        if not expected:
            return 1.0
        on_the_way = self._on_the_way(written) / 2**20 / expected
        return min(max(arrived / expected, min(on_the_way, 0.95)), 1.0)

    def _on_the_way(self, written: int) -> float:
        """Return the bytes that have come so far, in wheels that are complete or not."""
        received = _received() - self._received_before
        # The counter is the machine's. Unpacked, wheels are larger than they came, so that what is more than was written
        # (a megabyte at a time) others have received.
        return min(received, written) if received > 0 else written / _UNPACKED

    def _arrived(self) -> int:
        with contextlib.suppress(OSError):
            return sum(len(os.listdir(directory)) for directory in self._cache.glob("archive-v*"))  # noqa: PTH208
        return 0


def _received() -> int:
    """Return the bytes that all of this machine's network interfaces have received, or 0 where nobody counts."""
    with contextlib.suppress(OSError):
        table = Path("/proc/net/dev").read_text(encoding="ascii", errors="replace")
        return sum(int(count) for count in re.findall(r"^\s*\S+:\s*(\d+)", table, re.MULTILINE))
    return 0


def _written(pid: int) -> int:
    # Linux counts what a program has written; what it downloads goes to the disk unpacked.
    with contextlib.suppress(OSError):
        match = re.search(r"wchar: (\d+)", Path(f"/proc/{pid}/io").read_text(encoding="ascii"))
        return int(match[1]) if match else 0
    return 0


_STALE = re.compile(r"needs to be updated|existing lockfile due to|No solution found when resolving dependencies")
_REASON = re.compile(r"existing lockfile due to (.+)")
# What changes no version that is locked: where this machine looks, what a person allowed when it was locked, a new
# version of the project itself.
_CONFLICTS = re.compile(r"change in conflicting groups: `([^`]*)` vs\. `([^`]*)`")
_CONFLICTING = re.compile(r'PackageName\("([^"]+)"\), kind: (\w+(?:\(\w+\("[^"]*"\)\))?)')
_OF_SETTINGS = re.compile(
    r"missing \w+ index|another order|exclude newer|change in (?:resolution|pre-release|fork)"
    r"|(?:mismatched|dynamic|static|missing) version"
)
_UNREAD = re.compile(r"Couldn't parse requirement in `([^`]+)` at position \d+\s+cause: (.+)\n\s*(.+)")
_MEANT = re.compile(r"(?m)^\s*hint: (.*Did you mean to install `[\w.-]+` instead\?)")
_TRUISM = "hint: Build failures usually indicate"  # uv's last line of every build that failed
_EXPORT = ("export", "--no-header", "--no-annotate")
_UNFIT = "incompatible with the `pylock.toml`'s Python requirement"
_LOG = "uv_lock_operations=debug,uv::commands::project::lock=debug"  # says why a uv.lock does not fit


@dataclass(frozen=True, kw_only=True)
class UvInstaller:
    """uv's `program`, the `environ` of its calls, and a directory of our own for what passes between two of them."""

    program: Path
    environ: Mapping[str, str]
    scratch: Path

    def export(
        self,
        lock: Path,
        *,
        python: Path,
        project: Path | None = None,
        options: Sequence[str | Path] = (),
        notes: list[str] | None = None,
    ) -> str:
        """Return what a uv.lock says in pip's format for the `project`, by default the one beside it.

        Raises LockMismatchError with uv's reason when the project has moved on. Whether it fits is asked of the files
        alone, with the index that the lock itself names: a mirror is no reason to lock anew. Nor is what changes no
        version: that goes to `notes`.
        """
        argv: list[str | Path] = [*_EXPORT, "--python", python, *options]
        registry = re.search(r'registry = "(https?://[^"]+)"', lock.read_text(encoding="utf-8", errors="replace"))
        locked_index = ["--default-index", registry[1]] if registry else []
        cwd = project or lock.parent
        try:
            return self._written([*argv, "--locked", "--offline", *locked_index], cwd=cwd, log=_LOG)
        except CommandError as error:
            text = _in_short("\n".join(error.lines))
            reason = next((cause for cause in _REASON.findall(text) if not _OF_SETTINGS.search(cause)), None)
            if _STALE.search(text) and (reason or not _REASON.search(text)):
                of = "script" if "--script" in options else "pyproject.toml"
                msg = f"{short(lock)} does not belong to its {of}{f': {reason}{_differing(text)}' if reason else ''}"
                hint = "run `uv lock` for it, then this call again"
                raise LockMismatchError(msg, hint=hint, lines=error.lines) from error
            match = _REASON.search(text)
            if notes is not None and match and "index" not in match[1]:
                notes.append(f"`uv lock` would write {lock.name} anew: {match[1]}")
        # A project that has to be built before its metadata is known cannot be asked without a network.
        return self._written([*argv, "--frozen"], cwd=cwd)

    def script(self, script: Path, *, python: Path) -> str:
        """Return what a script's block comes to, in pip's format; what `uv lock --script` wrote beside it counts."""
        lock = script.with_name(f"{script.name}.lock")
        if lock.is_file():
            return self.export(lock, python=python, options=["--script", script])
        return self._written([*_EXPORT, "--python", python, "--script", script], cwd=script.parent)

    def compile(
        self,
        source: Path,
        *,
        python: Path,
        extras: Sequence[str] = (),
        text: str | None = None,
        options: Sequence[str] = (),
        constraints: str = "",
        known: str = "",
    ) -> str:
        """Resolve a requirements file, or a project's with `extras`, to exact versions with hashes, in pip's format.

        Where `text` is given, that is what the file says. `constraints` and `known`, an earlier answer whose versions are
        preferred, are such texts too; `options` are those of `uv pip compile`.
        """
        argv: list[str | Path] = [
            "pip",
            "compile",
            "--no-header",
            "--no-annotate",
            "--generate-hashes",
            "--python",
            python,
            *options,
            *(f"--extra={name}" for name in extras),
        ]
        with _file_locks.private_directory(self.scratch) as directory:
            if constraints:
                _files.write_text(directory / "constraints.txt", constraints)
                argv += ["--constraint", directory / "constraints.txt"]

            def compiled(more: Sequence[str]) -> str:
                words = [*argv, *more, "-" if text else source]
                return self._written(words, cwd=source.parent, stdin=text, read=source, preferred=known)

            return _refreshing(compiled)

    def resolve(
        self,
        arguments: Sequence[str | Path],
        *,
        known: str,
        python: Path,
        cwd: Path,
        rules: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """Return as pylock.toml what a project comes to for a Python; the versions in `known`, such a text, are preferred.

        `rules` are texts in pip's format by the option that each is given with. Relative paths start from a directory in
        `scratch`.
        """
        argv: list[str | Path] = [
            "pip",
            "compile",
            "--quiet",
            "--no-header",
            "--no-annotate",
            "--format",
            "pylock.toml",
        ]
        with _file_locks.private_directory(self.scratch) as directory:
            output = directory / "pylock.toml"
            # `uv pip compile` prefers the versions that its output file has already.
            if known:
                _files.write_text(output, known)
            for option, text in rules.items():
                path = directory / f"{option.strip('-')}.txt"
                _files.write_text(path, text)
                argv += [option, path]

            def resolved(more: Sequence[str]) -> str:
                words = [self.program, *argv, *more, "--python", python, *arguments, "--output-file", output]
                try:
                    wheels.run_uv(words, environ=self.environ, cwd=cwd)
                except CommandError as error:
                    raise translate_error(error, self.environ) from error
                return output.read_text(encoding="utf-8")

            return _refreshing(resolved)

    def synced(self, project: Path, *, python: Path, options: Sequence[str] = ()) -> str:
        """Return in pip's format the versions that `uv sync` would install of a project that is not locked.

        A uv.lock suits all systems and Pythons that the project is for, and so may have an older version than this one needs.
        Nothing is written. Where uv cannot lock it so, this returns nothing. Raises NetworkError.
        """
        with _file_locks.private_directory(self.scratch) as directory:
            environ = {**self.environ, "UV_PROJECT_ENVIRONMENT": str(directory / "none")}
            argv: list[str | Path] = ["sync", "--dry-run", "--python", python, *options]
            try:
                added = self._would_add(argv, environ=environ, cwd=project)
            except NetworkError:
                raise
            except ColabEnvError:
                return ""
        return "".join(f"{line}\n" for line in added if "==" in line)

    def pylock(self, lock: Path, *, python: Path, options: Sequence[str] = ()) -> str:
        """Return what a pylock.toml says for this Python on this machine: names and versions, or addresses."""
        with _file_locks.private_directory(self.scratch) as directory:
            # Into an empty directory: else uv would not name what is installed already.
            where: list[str | Path] = ["--dry-run", "--python", python, "--target", directory]
            argv = ["pip", "install", *where, *options, "--requirements", lock]
            added = self._would_add(argv, environ=self.environ, cwd=lock.parent)
        return "".join(f"{line}\n" for line in added)

    def _would_add(self, argv: Sequence[str | Path], *, environ: Mapping[str, str], cwd: Path) -> list[str]:
        def run() -> list[str]:
            follower = _Added()
            _process.run([self.program, *argv], environ=environ, cwd=cwd, follow=follower)
            return follower.lines

        return self._healing(run)

    def _healing(self, run: Callable[[], _Result], *, into: Path | None = None, read: Path | None = None) -> _Result:
        try:
            return wheels.healing(run, uv=self.program, environ=self.environ, into=into)
        except CommandError as error:
            raise translate_error(error, self.environ, read=read) from error

    def install(
        self,
        arguments: Sequence[str | Path],
        *,
        python: Path,
        cwd: Path,
        text: str | None = None,
        read: Path | None = None,
    ) -> None:
        """Make an environment hold exactly this: packages that are not named go, those of the system do not count.

        `text` is what "-r -" among the `arguments` reads, that of the file `read`; relative paths start from `cwd`. Raises
        HashMismatchError, BuildError, NoSuchPythonError, ProjectFileError, NetworkError, DiskFullError or CommandError.
        """
        argv: list[str | Path] = ["pip", "install", "--python", python, *arguments]
        self._install(argv, into=python.parent.parent, cwd=cwd, text=text, read=read)

    def sync(self, project: Path, *, environment: Path, options: Sequence[str]) -> None:
        """Make an environment hold what the uv.lock of a project says, as `uv sync --frozen` does. Raises as `install`."""
        argv: list[str | Path] = ["sync", "--frozen", "--python", environment / "bin/python", *options]
        self._install(argv, into=environment, cwd=project, environ={"UV_PROJECT_ENVIRONMENT": str(environment)})

    def _install(
        self,
        argv: Sequence[str | Path],
        *,
        into: Path,
        cwd: Path,
        text: str | None = None,
        read: Path | None = None,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        # Said on the log alone: which packages are fetched, and how large they are.
        children = {"RUST_LOG": LOG, **self.environ, **environ}

        def run() -> None:
            follower = Follower(wheels.cache(self.environ))
            with _report.activity("Installing"):
                _process.run([self.program, *argv], environ=children, cwd=cwd, stdin=text, follow=follower)

        self._healing(run, into=into, read=read)

    def add(self, packages: Sequence[str], *, project: Path, python: Path, is_locked: bool) -> None:
        """Write packages into a project's pyproject.toml, and into its uv.lock where it `is_locked`; install nothing.

        Raises as `install` does, without uv's advice about the options of `uv add`.
        """
        # A project that is not locked stays so: uv would write a lock file that nobody asked for.
        options: list[str | Path] = ["--no-sync" if is_locked else "--frozen", "--project", project, "--python", python]
        argv = [self.program, "add", *options, *packages]
        try:
            wheels.run_uv(argv, environ=self.environ, cwd=project)
        except CommandError as error:
            if error.returncode is None:
                raise  # it could not be started
            lines = wheels.without_advice(error.lines)
            said = _process.Finished(argv=tuple(map(str, argv)), returncode=error.returncode, lines=lines)
            raise translate_error(_process.failed(said), self.environ) from error

    def forget(self, names: Collection[str]) -> None:
        """Let uv fetch or build these distributions anew: what it has unpacked of them goes from its cache."""
        wheels.forget(names, uv=self.program, environ=self.environ)

    def _written(
        self,
        argv: Sequence[str | Path],
        *,
        cwd: Path,
        log: str | None = None,
        stdin: str | None = None,
        read: Path | None = None,
        preferred: str = "",
    ) -> str:
        # To a file that only we read: what a program prints is shown, and an address in it loses its password.
        environ = {**self.environ, **({"RUST_LOG": log} if log else {})}
        with _file_locks.private_directory(self.scratch) as directory:
            target = directory / "requirements.txt"
            if preferred:
                _files.write_text(target, preferred)
            words = [self.program, *argv, "--output-file", target]
            self._healing(lambda: _process.run(words, environ=environ, cwd=cwd, stdin=stdin), read=read)
            return target.read_text(encoding="utf-8")


def _refreshing(run: Callable[[Sequence[str]], str]) -> str:
    """Return what uv answers; where an address refuses it, from scratch.

    Of a project that it has built, uv keeps what that needs, and in an address there the password is masked.
    """
    try:
        return run([])
    except NetworkError as error:
        if not error.message.endswith(wheels.NO_ACCESS):
            raise
    return run(["--refresh"])


class _Added:
    """The packages that uv says it would install."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_line(self, line: str) -> bool:
        if match := re.fullmatch(r" \+ ([\w.-]+)(==\S+)?(?: @ (\S+)| \(from (\S+)\))?", line):
            name, version, *addresses = match.groups()
            address = next(filter(None, addresses), None)
            self.lines.append(f"{name} @ {address}" if address else f"{name}{version or ''}")
        return False

    def on_tick(self, pid: int) -> None:
        pass


def translate_error(error: CommandError, environ: Mapping[str, str], *, read: Path | None = None) -> ColabEnvError:
    """Return the error for what uv died of: a wrong hash, a build, a Python, the disk, the network, or its own words.

    `read` is the file whose text uv was given, which has no name for it.
    """
    text = "\n".join(wheels.without_advice(error.lines))
    if mismatch := re.search(r"Hash mismatch for `([^`]+)`", text):
        msg = f"{mismatch[1]} is not what the lock file promises:\n{_tail(text, mismatch.start())}"
        hint = "nothing was changed; if the lock file is right, do not use this file: it is not the one that was locked"
        return HashMismatchError(msg, hint=hint)
    if unread := _UNREAD.search(text):
        name = short(read if read and unread[1] == "-" else Path(unread[1]))
        msg = f"{name}: {unread[3].strip()!r} is no requirement: {unread[2].strip()}"
        return ProjectFileError(msg, hint="write it as pip has it, such as 'numpy==1.26.4'; nothing was changed")
    # A disk that is full ends builds too, and that has an error of its own.
    built = re.search(r"Failed to build `?([\w.-]+)", text) or re.search(r"The (build backend) returned an error", text)
    if built and "No space left on device" not in text:
        what = "the project" if built[1] == "build backend" else built[1]
        msg = f"uv could not build {what}:\n{_tail(text, built.start())}"
        meant = _MEANT.search(text)  # uv knows some names that people take for others, such as sklearn
        hint = f"{meant[1]}; nothing was changed" if meant else wheels.build_hint(text)
        return BuildError(msg, hint=hint, returncode=error.returncode, lines=error.lines)
    if unfit := next((line for line in error.lines if _UNFIT in line), None):
        return NoSuchPythonError(unfit.strip(), hint="choose another Python")
    return wheels.translate_error(error, environ)


def _in_short(text: str) -> str:
    """Return uv's log with its reasons as people read them; of conflicts, the order is no difference."""
    match = _CONFLICTS.search(text)
    if match is None:
        return text
    requested, locked = (
        {frozenset(_CONFLICTING.findall(one)) for one in side.split("ConflictSet")[1:]} for side in match.groups()
    )
    words = "another order of the conflicting groups" if requested == locked else "change in conflicting groups"
    return text.replace(match[0], words)


def _differing(text: str) -> str:
    """Return the names of the requirements that the project and its lock file do not share, as uv's log has both."""
    matches = [re.search(rf"{word}: \{{(.*)\}}", text) for word in ("Requested", "Existing")]
    requested, locked = (set((match[1] if match else "").split("Requirement {")) for match in matches)
    first_names = (re.search(r'PackageName\("([^"]+)"\)', requirement) for requirement in requested ^ locked)
    names = sorted({match[1] for match in first_names if match})
    return f" ({', '.join(names)})" if names else ""


def _tail(text: str, start: int) -> str:
    lines = [line for line in text[start:].splitlines() if not line.lstrip().startswith(_TRUISM)]
    return "\n".join(f"    {line.strip()}" for line in _process.decisive_lines(lines))
