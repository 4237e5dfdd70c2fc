"""Scripts: their first line, and the environment that a PEP 723 block in them asks for."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, _process
from colab_env.errors import CommandError, DiskFullError, MissingStepError, NotWritableError, ScriptError
from colab_env.interpreter import parse_specifier
from colab_env.locks import script_block
from colab_env.named_env.recipe import Recipe
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.machine import Machine

PREFIX = "script-"  # of the names of environments that scripts have by what they ask for
LONGEST_LINE = 127  # bytes; Linux 5.1 and later take 255
_LONGEST_NAME = 200  # bytes; a file system takes 255, and what is being written has a longer name
_LONGEST_HEAD = 1000  # bytes that `front.sh` compares: reading more takes longer than starting `stat`
_MEMORY = ".scripts"  # in a base: for each script, its environment, and what `stat` says of it
_STAT = "%d %i %s %z"  # device, inode, size, and when it was changed last, which nobody can set


def recipe(script: Path) -> Recipe | None:
    """Return what the script's PEP 723 block asks for, or None when it has none. Raises ScriptError for a bad one.

    Sources, indexes and other settings in the block, and what `uv lock --script` wrote beside the script, are uv's to read:
    nobody's namesake is installed instead.
    """
    if not script_block.is_opened(_text(script)):
        return None
    block = script_block.block(script)
    values = script_block.read(block, script)
    if values.requires_python is not None:
        parse_specifier(values.requires_python, source=f"the block `# /// script` in {short(script)}: requires-python ")
    recipe_ = Recipe(python=values.requires_python, packages=tuple(sorted(values.dependencies)))
    # A table of another tool, such as a type checker's, says nothing of packages.
    if "uv" not in script_block.settings(block) and not _lock_of(script).is_file():
        return recipe_
    if script.suffix != ".py":
        msg = f"{short(script)} has settings of uv in its block, or a lock beside it, and no name that ends in .py"
        raise ScriptError(msg, hint="give it such a name: uv reads these settings, and takes no other for a script")
    return replace(recipe_, script=script.absolute())


def environment_name(recipe: Recipe, *, machine: Machine) -> str:
    """Return the name for an environment with this content: scripts that ask for the same share one."""
    text = repr((recipe.python, recipe.packages)) if recipe.script is None else recipe.digest(machine)
    return f"{PREFIX}{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def stamp(script: Path, *, machine: Machine) -> str | None:
    """Return what tells `front.sh` that a script is as it was: ask before it is read. None where nothing does.

    A script whose block stands near its beginning is known by these lines, and by not being younger than the note: the
    shell sees both without another program. Any other is known by what `stat` says of it.
    """
    if os.path.lexists(_lock_of(script)):
        return None
    if head := _head(_files.content(script) or b""):
        lines = head.count("\n")
        return f"= {lines}\n{head}"
    environ = {**_process.child_environ(machine.environ), "TZ": "UTC0"}
    try:
        line = _process.run(["stat", "-L", "-c", _STAT, "--", script], environ=environ).lines[-1].strip()
    except (CommandError, IndexError):
        return None
    return f"{line}\n"


def remember(script: Path, name: str, *, stamp: str | None, base: Path) -> None:
    """Write down which environment a script of this `stamp` has, so that `front.sh` finds it without Python."""
    memory = base / _MEMORY / str(script.absolute()).replace("/", "%")
    if stamp and len(os.fsencode(memory.name)) <= _LONGEST_NAME:
        with contextlib.suppress(NotWritableError, DiskFullError):  # it is found the longer way then
            _files.write_text(memory, f"{name}\n{stamp}", mode=0o600)


def _head(content: bytes) -> str:
    """Return the lines of a script from the first to the one after its block, or nothing where they are long."""
    try:
        lines = content[: _LONGEST_HEAD + 1].decode("ascii").split("\n")[:-1]  # the shell compares them byte by byte
    except UnicodeDecodeError:
        return ""
    start = next((number for number, line in enumerate(lines) if line.startswith("# /// script")), len(lines))
    end = next((number for number, line in enumerate(lines) if number > start and not line.startswith("#")), None)
    return "" if end is None or "\0" in (head := "\n".join(lines[: end + 1]) + "\n") else head


def forget_gone(base: Path) -> None:
    """Delete what `remember` wrote down of environments that are gone, and of scripts that are."""
    memory = base / _MEMORY
    for note in memory.iterdir() if memory.is_dir() and os.access(memory, os.W_OK) else ():
        name, script = (
            (_files.content(note) or b"").decode(errors="replace").partition("\n")[0],
            note.name.replace("%", "/"),
        )
        if not os.path.lexists(base / name) or not os.path.lexists(script):
            _files.unlink(note)


def _lock_of(script: Path) -> Path:
    return Path(f"{script}.lock")


def command() -> Path:
    """Return the command `colab-env` of this installation, or the one on PATH. Raises MissingStepError."""
    script = Path(sysconfig.get_path("scripts")) / "colab-env"
    path = shutil.which("colab-env") or (str(script) if script.is_file() else None)
    if path is None:
        msg = "the command colab-env is not installed"
        raise MissingStepError(msg, hint="install this package with pip, pipx or uv")
    return Path(path).absolute()


def first_line(name: str | None, program: str, *, command: str | None = None, base: Path | None = None) -> str:
    """Return the line that runs a script in the environment `name`, or without one in that of its PEP 723 block.

    By default `env -S` finds the command on PATH; where `env` knows no `-S`, give the `command` as an absolute path. With a
    `base`, the environment is looked for there alone. Raises ScriptError for a line that Linux would cut, or divide.
    """
    if base is not None and not re.fullmatch(r"[\w./+@=,:-]+", str(base)):
        msg = f"a first line cannot name the base {str(base)!r}: its words are divided at spaces"
        raise ScriptError(msg, hint="call colab-env from a shell script, or use a base with a plainer name")
    option = f" --base {base}" if base else ""
    words = f"run{option} {name} {program}" if name else f"run{option} --script"
    line = f"#!{command} {words}" if command else f"#!/usr/bin/env -S colab-env {words}"
    if len(line.encode()) > LONGEST_LINE:
        msg = f"the first line would have {len(line.encode())} bytes, Linux before 5.1 reads {LONGEST_LINE}"
        raise ScriptError(msg, hint="take a shorter name")
    return line


def write_first_line(script: Path, line: str) -> bool:
    """Make `line` the first of the script, in the place of another such line, and the file executable.

    Returns whether anything changed.
    """
    text = _text(script)
    rest = text.partition("\n")[2] if text.startswith("#!") else text
    mode = script.stat().st_mode
    executable = mode | (mode & 0o444) >> 2
    if text == f"{line}\n{rest}" and mode == executable:
        return False
    _files.write_text(script, f"{line}\n{rest}")
    _files.chmod(script, executable)
    return True


def _text(script: Path) -> str:
    return script_block.text(script).replace(
        "\r\n", "\n"
    )  # Linux looks for an interpreter whose name ends in a carriage return
