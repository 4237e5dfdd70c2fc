"""Where named environments live, and what they may be called. `front.sh` reads the same files and variables."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files, toml_text
from colab_env.errors import EnvironmentNameError, UsageError
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.machine import Machine

LONGEST = 64  # characters; Linux before 5.1 cuts the first line of a script after 127
_ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SYSTEM = Path("/var/lib/python3/envs")
SYSTEM_CONFIG = Path("/etc/colab-env.toml")
PYTHONS = Path("/var/lib/python3/pythons")  # those that uv installs for everybody
VARIABLE = "COLAB_ENV_BASE"
DEFAULT_KEEP = 1  # earlier builds of an environment that stay where nobody says how many


def bases(machine: Machine, option: str | Path | None = None) -> tuple[Path, ...]:
    """Return the directories that are searched, in order; the first is where environments are made.

    In this order: `option`, the variable COLAB_ENV_BASE (several are divided by colons), `base` in the user's
    `~/.config/colab-env.toml`, `base` in `/etc/colab-env.toml`; then the machine's own directory for root, and for
    others the user's data directory followed by the machine's. Raises UsageError for a relative path or a file that
    is not TOML.
    """
    if option:
        return (_absolute(_files.named_path(option).absolute(), "--base"),)
    if from_variable := [part for part in machine.environ.get(VARIABLE, "").split(":") if part]:
        return tuple(_absolute(_files.named_path(part), VARIABLE) for part in from_variable)
    configured = (_read(path) for path in _config_files(machine))
    return next(filter(None, configured), None) or default(machine)


def default(machine: Machine) -> tuple[Path, ...]:
    """Return the directories of a machine on which nothing is configured."""
    directories = (SYSTEM,) if os.geteuid() == 0 else (machine.data / "envs", SYSTEM)
    # HOME may be somebody else's, as after `sudo -u`.
    return tuple(path for path in directories if not _is_closed(path))


def _config_files(machine: Machine) -> list[Path]:
    directory = Path(machine.environ.get("XDG_CONFIG_HOME") or machine.home / ".config")
    return [
        path for path in (directory / "colab-env.toml", SYSTEM_CONFIG) if not _is_closed(path) and _is_trusted(path)
    ]


def _is_trusted(path: Path) -> bool:
    """Say whether a file may say where this account works: to root, only a file of root's."""
    return os.geteuid() != 0 or not path.exists() or path.stat().st_uid == 0


def is_systems(base: Path) -> bool:
    """Say whether a base holds environments that root makes for everybody."""
    configured = _read(SYSTEM_CONFIG) if not _is_closed(SYSTEM_CONFIG) and _is_trusted(SYSTEM_CONFIG) else ()
    return os.geteuid() == 0 and base in (SYSTEM, *configured)


def keep(machine: Machine) -> int:
    """Return how many earlier builds of an environment stay: `keep` of the configuration files, or one.

    Raises UsageError for what is no such number.
    """
    for path in _config_files(machine):
        value = _parsed(path).get("keep")
        if value is not None:
            if type(value) is not int or value < 0:
                msg = f"`keep` in {short(path)} is not a number of builds"
                raise UsageError(msg, hint="write keep = 3, for example")
            return value
    return DEFAULT_KEEP


def _read(path: Path) -> tuple[Path, ...]:
    value = _parsed(path).get("base", [])
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(path, str) for path in listed):
        msg = f"`base` in {short(path)} is neither a directory nor a list of directories"
        raise UsageError(msg, hint=f'write base = "{SYSTEM}", for example')
    return tuple(_absolute(_files.named_path(entry), short(path)) for entry in listed)


def _parsed(path: Path) -> dict[str, Any]:
    if not (text := _files.content(path)):
        return {}  # most machines have none, and the parser takes longer to import than what is left of `purge`
    try:
        return toml_text.parsed(text.decode("utf-8"))
    except ValueError as error:
        msg = f"{short(path)} is not TOML: {error}"
        raise UsageError(msg, hint="mend that line") from error


def _is_closed(path: Path) -> bool:
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return path.is_dir() and not os.access(path, os.R_OK | os.X_OK)


def _absolute(path: Path, source: str) -> Path:
    if not path.is_absolute() or str(path) == "/":
        msg = f"the base directory {str(path)!r} in {source} is not an absolute path"
        raise UsageError(msg, hint=f"write it in full, such as {SYSTEM}")
    if _is_closed(path):
        msg = f"the base directory {path} in {source} may not be read by this account"
        raise UsageError(msg, hint="choose another one, or change the mode of the directories above it")
    return path


def check_environment_name(name: str) -> str:
    """Return the name if it is one: ASCII letters, digits, dots, dashes and underscores, a letter or a digit first.

    Raises EnvironmentNameError, which names the character that is wrong: letters of other alphabets may look the same.
    """
    if _ALLOWED.fullmatch(name) and len(name) <= LONGEST:
        return name
    quoted = ascii(name) if len(name) <= LONGEST else ascii(name[:20] + "...")
    msg = f"{quoted} is not a name for an environment: {_fault(name)}"
    hint = "take letters a-z, digits, dots, dashes and underscores, such as 'web-1'"
    raise EnvironmentNameError(msg, hint=hint)


def _fault(name: str) -> str:
    if not name:
        return "it is empty"
    if len(name) > LONGEST:
        return f"it has {len(name)} characters, {LONGEST} are the limit"
    wrong = next((character for character in name if not re.fullmatch(r"[A-Za-z0-9._-]", character)), None)
    if wrong is None:
        return f"it begins with {name[0]!r}"
    return f"it has a {unicodedata.name(wrong, 'control character')} ({wrong!a})"
