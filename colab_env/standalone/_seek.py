"""Run a Python program, and write down which libraries and programs it looked for and did not find.

Runs under the program's own Python (3.6 or newer; programs that are started are seen from 3.8 on):

    python _seek.py LOG -c CODE | -m MODULE | SCRIPT [ARGUMENT...]

LOG gets a line for each, such as "find_library usb-1.0": what was looked for last comes last.
"""

import ctypes
import ctypes.util
import os
import runpy
import shutil
import sys
from collections.abc import Callable
from typing import Any

Note = Callable[[str, Any], None]


def main(arguments: list[str]) -> None:
    """Run the program that the arguments name."""
    note = noting(arguments[0])
    watch_libraries(note)
    watch_programs(note)
    run(arguments[1:])


def noting(log: str) -> Note:
    """Return what writes a line to the log."""

    def note(kind: str, name: object) -> None:
        if name:
            with open(log, "a", encoding="utf-8", errors="backslashreplace") as file:  # noqa: PTH123
                file.write("{} {}\n".format(kind, str(name).replace("\n", " ")[:500]))

    return note


asking = []  # type: Any  # names that find_library looks for, by a compiler of its own: nobody's need


def watch_libraries(note: Note) -> None:
    """Note the libraries that are not found."""
    find_library, dlopen = ctypes.util.find_library, ctypes._dlopen  # type: ignore[attr-defined]  # noqa: SLF001

    def finding(name: str) -> Any:
        asking.append(name)
        try:
            path = find_library(name)
        finally:
            asking.pop()
        if path is None:
            note("find_library", name)
        return path

    def opening(name: Any, *args: Any) -> Any:
        try:
            return dlopen(name, *args)
        except OSError:
            note("dlopen", name)
            raise

    ctypes.util.find_library = finding
    ctypes._dlopen = opening  # type: ignore[attr-defined]  # noqa: SLF001


def watch_programs(note: Note) -> None:
    """Note the programs that are not found."""
    which = shutil.which

    def locating(cmd: Any, *args: Any, **kwargs: Any) -> Any:
        path = which(cmd, *args, **kwargs)
        if path is None and not asking:
            note("which", cmd)
        return path

    def hook(event: str, args: Any) -> None:
        if event == "subprocess.Popen" and not asking:
            words = args[1]
            program = os.fsdecode(args[0] or (words if isinstance(words, (str, bytes)) else words[0]))
            if which(program) is None:
                note("which", program)

    shutil.which = locating
    if hasattr(sys, "addaudithook"):
        sys.addaudithook(hook)


def run(words: list[str]) -> None:
    """Run what `python` would run with these words."""
    first = words[0]
    sys.argv = [first, *words[2 if first in ("-c", "-m") else 1 :]]
    if first == "-c":
        sys.path[0] = ""
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})  # noqa: S102
    elif first == "-m":
        sys.path[0] = os.getcwd()  # noqa: PTH109
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(first))  # noqa: PTH100, PTH120
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
