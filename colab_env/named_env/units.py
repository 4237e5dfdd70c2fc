"""The systemd service file for a program of an environment. Pure text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_UNIT = """\
# Made by `colab-env unit`. Save it as /etc/systemd/system/{unit}.service, then: systemctl enable --now {unit}
[Unit]
Description={program} in the Python environment {name}
After=network-online.target
Wants=network-online.target
ConditionPathExists={path}/colab-env.json

[Service]
Type=exec
ExecStart={command}
Environment={base}
Restart=on-failure
{user}
UMask=0027
StateDirectory={unit}

# The program may read the machine and write to its own /var/lib/{unit} and to its private /tmp.
CapabilityBoundingSet=
LockPersonality=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProcSubset=pid
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

[Install]
WantedBy=multi-user.target
"""
_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")


def unit_name(name: str, program: str) -> str:
    """Return a name for the service that systemd takes as it is."""
    return name if program in (name, "python", "python3") else f"{name}-{re.sub(r'[^A-Za-z0-9_.-]', '-', program)}"


def unit_text(
    *, name: str, program: str, arguments: Sequence[str], path: Path, command: Path, user: str | None = None
) -> str:
    """Return a service file that starts `program` in the environment `name` at `path` through `command`.

    It runs as `user`, an account of the machine; without one systemd invents one for as long as the program runs.
    """
    words = [str(command), "run", name, program, *arguments]
    in_home = any(path.is_relative_to(place) for place in ("/home", "/root", "/run/user"))
    return _UNIT.format(
        unit=unit_name(name, program),
        program=escaped(program),
        name=name,
        path=quoted(str(path)).strip('"'),
        command=" ".join(map(quoted, words)),
        base=quoted(f"COLAB_ENV_BASE={path.parent}"),
        user=f"User={user}" if user else "DynamicUser=yes",
        home="read-only" if in_home else "yes",
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
