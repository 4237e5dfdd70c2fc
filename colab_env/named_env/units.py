"""The systemd service file for a program of an environment: its text, and a trial of it under the systemd that runs here."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, _process
from colab_env.errors import CommandError, PreflightError, UsageError

if TYPE_CHECKING:
    from colab_env.machine import Machine

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
{restart}# Only the program itself is told to end, and ends its workers when they are done: celery's would drop their tasks.
KillMode=mixed
{user}
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
# Stronger than /etc/systemd/system, so that an older file of that name is not the one that is tried; gone with the next boot.
_TRIAL_DIRECTORY = Path("/run/systemd/system.control")
_TRIAL_SECONDS = 5.0  # on two busy cores, celery needs three to fail
_SHOWN_LINES = 12
_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")
# What systemd takes for an account: it passes over a line with any other, and the service would be root's (systemd.exec(5)).
_ACCOUNT = re.compile(r"\d+|[A-Za-z_][A-Za-z0-9_.-]{0,30}\$?")
_NOT_STARTED = 126  # of a program that is not there


def unit_name(name: str, program: str, arguments: Sequence[str] = ()) -> str:
    """Return a name for the service that systemd takes as it is; Python's own says which module or script it runs."""
    if program in ("python", "python3"):
        is_module = list(arguments[:1]) == ["-m"]
        subject = arguments[1] if is_module and arguments[1:] else next(iter(arguments), "")
        program = name if subject.startswith("-") or not subject else subject if is_module else Path(subject).stem
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
    `is_timed` is started by its timer alone, and ends. Raises UsageError for what is no account's name.
    """
    if user and not _ACCOUNT.fullmatch(user):
        msg = f"{user!r} is not the name of an account"
        raise UsageError(msg, hint="give one of this machine, such as www-data; without one systemd invents one")
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


def try_unit(text: str, unit: str, *, machine: Machine, seconds: float = _TRIAL_SECONDS) -> None:
    """Start a service as its file says, see that it stays for so many seconds, stop it, and take its file away again.

    One for a timer is to end well instead. Its state directory goes too, unless it was there before. Raises UsageError where
    no systemd runs, this account may not start services, or a service of that name runs already; PreflightError, with what
    the program printed, where it does not start or stay.
    """
    if os.geteuid() != 0 or not Path("/run/systemd/system").is_dir():
        msg = "a service is tried by root, on a machine where systemd runs"
        raise UsageError(msg, hint="leave --try out, or run it there")
    service = _Service(unit, machine)
    if service.state().get("ActiveState") not in ("inactive", "failed"):
        msg = f"{unit}.service runs already"
        raise UsageError(msg, hint=f"stop it first: systemctl stop {unit}")
    file, log = _TRIAL_DIRECTORY / f"{unit}.service", Path("/run") / f"colab-env-try-{unit}.log"
    # The second is where the state of an account that systemd invents is; the first is a link to it then.
    state = [path for path in (Path("/var/lib", unit), Path("/var/lib/private", unit)) if not os.path.lexists(path)]
    output = f"[Service]\nStandardOutput=append:{log}\nStandardError=append:{log}\n"
    try:
        _files.write_text(file, text.replace("[Service]\n", output, 1), mode=0o644)
        service.run("daemon-reload")
        fault = service.fault(stays="Type=oneshot" not in text, seconds=seconds)
        if fault:
            printed = (_files.content(log) or b"").decode("utf-8", "replace").splitlines()[-_SHOWN_LINES:]
            msg = "\n".join([f"{unit}.service does not run: {fault}", *printed])
            raise PreflightError(msg, hint="nothing was changed; `systemd.exec(5)` explains the settings in the file")
    finally:
        service.run("stop", unit)
        for path in (file, log, *(state if len(state) == 2 else ())):
            _files.discard(path)
        service.run("daemon-reload")
        service.run("reset-failed", unit)


class _Service:
    """A service of the machine, and what systemctl does with it."""

    def __init__(self, unit: str, machine: Machine) -> None:
        self._unit = unit
        self._environ = _process.child_environ(machine.environ)

    def run(self, *words: str) -> _process.Finished:
        return _process.run(["systemctl", *words], environ=self._environ, check=False)

    def state(self) -> dict[str, str]:
        """Return what systemd says of it, by the names of its properties."""
        names = "ActiveState,SubState,Result,ExecMainStatus,NRestarts"
        lines = self.run("show", f"--property={names}", self._unit).lines
        return dict(line.strip().split("=", 1) for line in lines if "=" in line)

    def fault(self, *, stays: bool, seconds: float) -> str | None:
        """Start it, and return why it did not start, or did not stay for so many seconds, or None."""
        started = self.run("start", self._unit)
        end = time.monotonic() + seconds
        while True:
            state = self.state()
            status = f"{state.get('Result')}, status {state.get('ExecMainStatus')}"
            if started.returncode or state.get("ActiveState") == "failed" or state.get("NRestarts", "0") != "0":
                return f"it fails ({status})"
            if not stays:
                return None
            if state.get("ActiveState") != "active":
                return f"it has ended at once ({status})"
            if time.monotonic() >= end:
                return None
            time.sleep(0.2)


def timer_text(*, name: str, program: str, arguments: Sequence[str], calendar: str, machine: Machine) -> str:
    """Return the timer file for a service that `is_timed`; the `calendar` is systemd's, such as "daily" (systemd.time(7)).

    Raises UsageError for one that systemd does not read, or where there is no systemd, that could not stand on a line.
    """
    if not re.fullmatch(r"[\w:*/.,~ +-]+", calendar) or not _is_read_by_systemd(calendar, machine):
        msg = f"{calendar!r} is not a calendar that systemd reads"
        raise UsageError(msg, hint="write such as 'daily' or 'Mon..Fri 06:30'; see `man systemd.time`")
    return _TIMER.format(
        unit=unit_name(name, program, arguments), program=escaped(program), name=name, calendar=calendar
    )


def _is_read_by_systemd(calendar: str, machine: Machine) -> bool:
    """Say whether systemd reads a calendar; where it is not installed, nobody can say no."""
    try:
        _process.run(["systemd-analyze", "calendar", "--", calendar], environ=machine.environ)
    except CommandError as error:
        return error.returncode == _NOT_STARTED
    return True


def quoted(word: str) -> str:
    """Write a word of a command line as systemd reads it (systemd.service(5), "Command lines")."""
    if _PLAIN.fullmatch(word):
        return word
    inside = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("$", "$$")
    return f'"{escaped(inside)}"'


def escaped(text: str) -> str:
    """Write a text so that systemd sees no specifier in it."""
    return text.replace("%", "%%")
