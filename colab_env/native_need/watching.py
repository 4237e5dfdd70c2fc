"""What a process looked for and did not find: for a failure whose text names nothing, the command is run once more, watched."""

from __future__ import annotations

import posixpath
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from colab_env.native_need.missing import Missing
from colab_env.native_need.rules import kind_of_program

_CALLS = "execve,open,openat,access,stat,newfstatat,exit_group"
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+)(?: (E[A-Z]+))?")
_EXIT = re.compile(r"^(\d+) +\+\+\+ exited with (\d+)")
_PATH = re.compile(r'"((?:[^"\\]|\\.){1,500})"')
_HEADER = re.compile(r"\.(?:h|hh|hpp|hxx)$")
_PROGRAM = re.compile(r"/s?bin/(?!python|pyvenv|pip)[\w.+-]+$")
_PYTHON = re.compile(r"(?:^|/)python[\d.]*$")
# Asked for by Python itself, by packaging tools, or by compilers of each other: nobody's need.
_USUAL_TEXT = """
gcc cc ld ldconfig objdump as collect2 git hg svn lsb_release uname pip file ccache sccache env sh bash python
python3 which locale tput stty nproc cc1 lto-wrapper
"""
_USUAL = frozenset(_USUAL_TEXT.split())


def watched_argv(argv: Sequence[str], log: Path, *, environ: Mapping[str, str]) -> list[str] | None:
    """Return the command that runs another one and writes to `log` what it looks for, or None where that cannot be had.

    A Python program that imports is watched from the inside, anything else by strace.
    """
    words = argv[1:]
    runs_code = bool(words) and (
        words[0] == "-c" or not words[0].startswith("-") or (words[0] == "-m" and words[1:2] != ["pip"])
    )
    if _PYTHON.search(argv[0]) and runs_code:
        script = Path(__file__).parent.parent / "standalone" / "_seek.py"
        return [argv[0], str(script), str(log), *argv[1:]]
    strace = shutil.which("strace", path=environ.get("PATH"))
    options = ["-f", "-q", "-s", "500", "-e", f"trace={_CALLS}", "-e", "signal=none", "-o", str(log)]
    return [strace, *options, *argv] if strace else None


def looked_for(trace: Iterable[str], text: str, *, phase: str) -> list[Missing]:
    """Return what a trace shows as looked for and not found, the likeliest first; `text` is what the program printed.

    What the text speaks of comes first; then what was looked for last.
    """
    by_name: dict[tuple[str, str], Missing] = {}
    for need in filter(None, map(_of_line, trace) if phase == "run" else _of_strace(trace)):
        by_name.pop((need.kind, need.name), None)  # what is looked for again is looked for last
        by_name[need.kind, need.name] = need
    words = set(re.findall(r"[a-z][a-z\d]{2,}", text.lower()))

    def key(need: Missing) -> tuple[bool, bool]:
        parts = re.findall(r"[a-z][a-z\d]{2,}", need.name.lower().removeprefix("lib"))
        # What pkg-config itself would have looked for comes after it.
        return need.name != "pkg-config", words.isdisjoint(parts)

    last_first = reversed(by_name.values())
    return sorted(last_first, key=key)


def _of_line(line: str) -> Missing | None:
    """Read a line of `standalone._seek`."""
    call, _, name = line.strip().partition(" ")
    base = posixpath.basename(name)
    if call == "which" and base and base not in _USUAL:
        kind, program = kind_of_program(base)
        return Missing(kind=kind, name=program, evidence=f"it looked for the program {name}", phase="run")
    if (
        call in ("find_library", "dlopen")
        and base
        and not name.endswith((".dll", ".dylib"))
        and "-packages/" not in name
    ):
        return Missing(kind="shared-object", name=base, evidence=f"{call}({name!r}) found nothing", phase="run")
    return None


def _of_strace(trace: Iterable[str]) -> list[Missing]:
    """Read a trace: programs that could not be started, headers that are nowhere, and what a pkg-config said no to."""
    reading = _Trace()
    for line in trace:
        if ended := _EXIT.match(line):
            reading.ended(ended[1], ended[2])
        elif (call := _LINE.match(line)) and (paths := _PATH.findall(call[3])):
            is_absent = call[5] == "ENOENT"
            if call[2] == "execve":
                reading.started(call[1], paths, is_absent=is_absent)
            elif _HEADER.search(paths[0]):
                reading.included(call[1], paths[0], is_absent=is_absent)
            elif _PROGRAM.search(paths[0]):  # a shell looks before it starts anything
                reading.started(call[1], paths[:1], is_absent=is_absent)
    return reading.missing()


class _Trace:
    """What has been read of a trace, by process."""

    def __init__(self) -> None:
        self._absent: dict[str, str] = {}  # programs, by their name
        self._present: set[str] = set()
        self._queries: dict[str, list[str]] = {}  # of a pkg-config
        self._tried: dict[str, list[str]] = {}  # the paths of one header, one after the other
        self._needs: list[Missing] = []

    def started(self, process: str, paths: Sequence[str], *, is_absent: bool) -> None:
        name = posixpath.basename(paths[0])
        if is_absent:
            self._absent.setdefault(name, paths[0])
            return
        self._present.add(name)
        if name in ("pkg-config", "pkgconf") and len(paths) > 1:
            self._queries[process] = [word for word in paths[2:] if re.fullmatch(r"[A-Za-z][\w.+-]*", word)]

    def ended(self, process: str, code: str) -> None:
        self._settle(process)
        for name in self._queries.pop(process, ()) if code != "0" else ():
            evidence = f"pkg-config was asked for {name}, and has none"
            self._needs.append(Missing(kind="pkg-config", name=name, evidence=evidence))

    def included(self, process: str, path: str, *, is_absent: bool) -> None:
        tried = self._tried.setdefault(process, [])
        if tried and posixpath.basename(tried[-1]) != posixpath.basename(path):
            self._settle(process)
        if is_absent:
            self._tried.setdefault(process, []).append(path)
        else:
            self._tried.pop(process, None)

    def _settle(self, process: str) -> None:
        self._needs += _nowhere(self._tried.pop(process, ()))

    def missing(self) -> list[Missing]:
        for process in list(self._tried):
            self._settle(process)
        programs = []
        for name in self._absent.keys() - self._present - _USUAL:
            kind, program = kind_of_program(name)
            programs.append(Missing(kind=kind, name=program, evidence=f"it could not start {name}"))
        return [*sorted(programs, key=lambda program: program.name), *self._needs]


def _nowhere(tried: Sequence[str]) -> list[Missing]:
    """Return the header that all these paths end with, where more than one directory was looked through."""
    if len(tried) < 2:
        return []
    common: list[str] = []
    for parts in zip(*(reversed(path.split("/")) for path in tried), strict=False):
        if len(set(parts)) > 1:
            break
        common.insert(0, parts[0])
    name = "/".join(common).rpartition("include/")[2]
    return (
        [Missing(kind="header", name=name, evidence=f"it looked for {name} in {len(tried)} directories")]
        if name
        else []
    )
