"""The systemd service file for a program of an environment. Pure text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from colab_env.errors import UsageError

_UNIT = """\
# Made by `colab-env unit`. Save it as /etc/systemd/system/{unit}.service, then: systemctl {start}
[Unit]
Description={program} in the Python environment {name}
After=network-online.target
Wants=network-online.target
ConditionPathExists={path}/colab-env.json

[Service]
Type={type}
ExecStart={command}
Environment={base} HOME=/var/lib/{unit}
{restart}{user}
UMask=0027
StateDirectory={unit}
RuntimeDirectory={unit}
WorkingDirectory=/var/lib/{unit}

# The program may read the machine and write to its own /var/lib/{unit}, which is its `~`, to /run/{unit}, for sockets, and
# to a private /tmp.
CapabilityBoundingSet=
LockPersonality=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome={home}
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# What is its own may be given its own group: gunicorn does that with a socket. What is refused fails, and kills nothing.
SystemCallFilter=@chown
SystemCallErrorNumber=EPERM
"""
_INSTALL = """
[Install]
WantedBy=multi-user.target
"""
_TIMER = """\
# Made by `colab-env unit`. Save it as /etc/systemd/system/{unit}.timer, then: systemctl enable --now {unit}.timer
[Unit]
Description={program} in the Python environment {name}, by the calendar

[Timer]
OnCalendar={calendar}
Persistent=yes

[Install]
WantedBy=timers.target
"""
_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")


def unit_name(name: str, program: str, arguments: Sequence[str] = ()) -> str:
    """Return a name for the service that systemd takes as it is; Python's own says which module or script it runs."""
    if program in ("python", "python3"):
        is_module = list(arguments[:1]) == ["-m"]
        named = arguments[1] if is_module and arguments[1:] else next(iter(arguments), "")
        program = name if named.startswith("-") or not named else named if is_module else Path(named).stem
    return name if program == name else f"{name}-{re.sub(r'[^A-Za-z0-9_.-]', '-', program)}"


def unit_text(
    *,
    name: str,
    program: str,
    arguments: Sequence[str],
    path: Path,
    command: Path,
    user: str | None = None,
    is_timed: bool = False,
) -> str:
    """Return a service file that starts `program` in the environment `name` at `path` through `command`.

    It runs as `user`, an account of the machine; without one systemd invents one for as long as the program runs. One that
    `is_timed` is started by its timer alone, and ends.
    """
    words, unit = [str(command), "run", name, program, *arguments], unit_name(name, program, arguments)
    in_home = any(path.is_relative_to(env) for env in ("/home", "/root", "/run/user"))
    return _UNIT.format(
        unit=unit,
        start=f"enable --now {unit}.timer" if is_timed else f"enable --now {unit}",
        type="oneshot" if is_timed else "exec",
        restart="" if is_timed else "Restart=on-failure\n",
        program=escaped(program),
        name=name,
        path=quoted(str(path)).strip('"'),
        command=" ".join(map(quoted, words)),
        base=quoted(f"COLAB_ENV_BASE={path.parent}"),
        user=f"User={user}" if user else "DynamicUser=yes",
        home="read-only" if in_home else "yes",
    ) + ("" if is_timed else _INSTALL)


def timer_text(*, name: str, program: str, arguments: Sequence[str], calendar: str) -> str:
    """Return the timer file for a service that `is_timed`; the `calendar` is systemd's, such as "daily" (systemd.time(7)).

    Raises UsageError for one that could not stand on a line.
    """
    if not re.fullmatch(r"[\w:*/.,~ +-]+", calendar):
        msg = f"{calendar!r} is not a calendar that systemd reads"
        raise UsageError(msg, hint="write such as 'daily' or 'Mon..Fri 06:30'; see `man systemd.time`")
    return _TIMER.format(
        unit=unit_name(name, program, arguments), program=escaped(program), name=name, calendar=calendar
    )


def quoted(word: str) -> str:
    """Write a word of a command line as systemd reads it (systemd.service(5), "Command lines")."""
    if _PLAIN.fullmatch(word):
        return word
    inside = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("$", "$$")
    return f'"{escaped(inside)}"'


def escaped(text: str) -> str:
    """Write a text so that systemd sees no specifier in it."""
    return text.replace("%", "%%")
