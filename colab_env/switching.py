"""Continue the open notebook on another Python: planned and tried here, carried out by `_leave.py` inside the kernel."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files, _report, kernel
from colab_env.errors import MissingStepError, PreflightError, UsageError
from colab_env.jupyter import guard, kernelspec, preflight, sessions, shim
from colab_env.machine import Machine
from colab_env.standalone import _leave
from colab_env.step import changing

if TYPE_CHECKING:
    from colab_env.jupyter.sessions import Session

WAYS = ("restart", "session", "exec")
STOCK = "python3"
CRASH_OR_RESTART = "The page may call this a crash or a restart. Go on with the next cell."
# What a helper process is told about the kernel that it works for (see `_remote.py`): not the next kernel's.
_OF_THIS_CALL = (sessions.NAMED, guard.PROCESS, "COLAB_ENV_INTERPRETER", "PYTHONUNBUFFERED")
Plan = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a switch happens: the machine, the kernel's own session if there is one, and the interpreter of now."""

    machine: Machine
    session: Session | None
    interpreter: Path

    @property
    def launcher(self) -> Path | None:
        """Return Colab's launcher, or None where a restart of this session would not come by it."""
        is_stock = self.session is None or self.session.kernel_name == STOCK
        return shim.place(self.machine) if is_stock else None

    def runs(self, spec: Mapping[str, Any]) -> bool:
        """Say whether this kernel is that one: by interpreter, for two environments can have one version."""
        return kernelspec.environment_of(Path(_project(spec))) in self.interpreter.parents

    @classmethod
    def here(cls) -> _Place:
        machine = Machine.detect()
        named = machine.environ.get("COLAB_ENV_INTERPRETER")
        return cls(machine=machine, session=sessions.find(machine), interpreter=Path(named or sys.executable))


def switch(name: str | None, *, how: str | None = None) -> None:
    """Continue this notebook on the kernel `name`, without download, edit or upload; None is the machine's own.

    First that kernel is started on trial in that very way; if it does not answer, nothing changes. `how` is "restart"
    (on Colab: the session restarts on the new Python, now and at every later restart), "session" (the notebook server
    gives the session another kernel) or "exec" (this process becomes the new Python, the notebook's cells run on); by
    default the first that this machine allows. Inside that kernel already, it does nothing. Raises MissingStepError,
    UsageError or PreflightError with the kernel's last lines.
    """
    _leave.leave(planned(name, how=how))


def planned(name: str | None, *, how: str | None = None) -> Plan:
    """Try the kernel, prepare the machine, and return what the running kernel has to do: plain values."""
    if how not in (None, *WAYS):
        msg = f"there is no way {how!r} to switch"
        raise UsageError(msg, hint=f"choose one of {', '.join(WAYS)}")
    place = _Place.here()
    with changing("switch", place.machine, place.machine.data / "locks" / "kernels"):
        return _back(place) if name is None else _forth(place, name, how=how)


def _forth(place: _Place, name: str, *, how: str | None) -> Plan:
    spec = _spec(place.machine, name)
    if place.runs(spec) and how is None:
        return _nothing(f"This is the kernel {name!r} already.")
    chosen = how or _way(place)
    guard.install(place.machine)
    with _report.activity(f"Trying the kernel {name}"):
        ways = {"restart": _by_restart, "session": _by_session, "exec": _by_exec}
        return ways[chosen](place, name, spec)


def _back(place: _Place) -> Plan:
    launcher, session = shim.place(place.machine), place.session
    removed = launcher is not None and shim.remove(launcher)
    if session is not None and session.kernel_name != STOCK and _is_ours(place.machine, session.kernel_name):
        return _asking(session.change_kernel(STOCK), "the machine's own kernel")
    if any(place.runs(spec) for spec in _ours(place.machine)) and session is not None:
        return _asking(session.restart(), "the machine's own kernel")
    subject = "The next restart" if removed and session is None else "This"
    return _nothing(f"{subject} is the machine's own kernel.")


def _way(place: _Place) -> str:
    if place.launcher is not None:
        return "restart"
    return "session" if place.session is not None else "exec"


def _by_restart(place: _Place, name: str, spec: Mapping[str, Any]) -> Plan:
    launcher = place.launcher
    if launcher is None:
        msg = "a restart would not come by Colab's launcher here"
        raise UsageError(msg, hint='choose another way: how="session" or how="exec"')
    kernel_json = kernelspec.directory(place.machine, name) / "kernel.json"
    trial = guard.script(place.machine).parent / "trial"
    _files.write_text(trial / launcher.name, shim.text(launcher, kernel_json))
    try:
        argv = [str(place.machine.machine_python), "-m", shim.MODULE, "-f", "{connection_file}"]
        _require_answer(name, kernel.try_argv(place.machine, spec, argv, PYTHONPATH=str(trial)))
    finally:
        _files.remove(trial)
    guard.forget_failures(place.machine)
    shim.install(launcher, kernel_json)
    if place.session is None:
        return _nothing(f"The next restart of the session comes up on {spec['display_name']}.")
    return _asking(place.session.restart(), spec["display_name"])


def _by_session(place: _Place, name: str, spec: Mapping[str, Any]) -> Plan:
    if place.session is None:
        msg = "no notebook server was found that this kernel belongs to"
        raise UsageError(msg, hint='choose how="exec", or start the notebook with this kernel: papermill -k NAME')
    _require_answer(name, kernel.try_registered(place.machine, name))
    guard.forget_failures(place.machine)
    return _asking(place.session.change_kernel(name), spec["display_name"])


def _by_exec(place: _Place, name: str, spec: Mapping[str, Any]) -> Plan:
    file = sessions.connection_file(place.machine)
    if file is None:
        msg = "this is no kernel, so it cannot become another one"
        raise UsageError(msg, hint="call switch() in a notebook's cell")
    _require_answer(name, kernel.try_registered(place.machine, name))
    guard.forget_failures(place.machine)
    argv = [word.replace("{connection_file}", str(file)) for word in spec["argv"]]
    environ = {key: value for key, value in os.environ.items() if key not in _OF_THIS_CALL}
    environ.update(guard.announce(place.machine, name, file))
    message = f"This kernel becomes {spec['display_name']} in place. Variables are gone, files are as they were."
    return {"message": message, "argv": argv, "environ": environ}


def _asking(request: Mapping[str, Any], shown: str) -> Plan:
    return {"message": f"Switching to {shown}. {CRASH_OR_RESTART}", "request": dict(request)}


def _nothing(message: str) -> Plan:
    return {"message": message}


def _spec(machine: Machine, name: str) -> dict[str, Any]:
    spec = kernelspec.read(machine, name)
    if spec is None or not _is_ours(machine, name):
        known = ", ".join(each.name for each in kernelspec.registered(machine) if each.ours) or "none"
        msg = f"colab-env has registered no kernel {name!r}"
        raise MissingStepError(msg, hint=f"registered kernels: {known}; setup() registers one")
    return spec


def _is_ours(machine: Machine, name: str) -> bool:
    return any(each.ours and each.name == name for each in kernelspec.registered(machine))


def _ours(machine: Machine) -> list[dict[str, Any]]:
    names = (each.name for each in kernelspec.registered(machine) if each.ours)
    return [spec for spec in (kernelspec.read(machine, name) for name in names) if spec is not None]


def _project(spec: Mapping[str, Any]) -> str:
    return str(spec["metadata"]["colab_env"]["project"])


def _require_answer(name: str, outcome: preflight.Outcome) -> None:
    if outcome.failure is not None:
        text = "\n".join([f"the kernel {name!r} does not work: {outcome.failure}", *(f"    {x}" for x in outcome.log)])
        raise PreflightError(text, hint="nothing was changed; setup() repairs what it can")
