"""Continue the open notebook on another Python: planned and tried here, carried out by `_leave.py` inside the kernel.

For that the notebook server that this kernel belongs to is looked for, with the kernel's own session.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any

from colab_env import _files, _report, _state, kernel
from colab_env.errors import MissingStepError, PreflightError, UsageError
from colab_env.jupyter import diversion, kernelspec
from colab_env.jupyter.diversion import Choice, Choices, Notebook
from colab_env.machine import Machine
from colab_env.standalone import _leave
from colab_env.step import changing

_COLAB_PORT = 9000  # of Colab's server, which wants no token
_LOOK = 5  # seconds: a server that does not answer by then is not the one that runs this notebook
NAMED_SESSION = "COLAB_ENV_CONNECTION_FILE"  # tells a helper process which kernel it works for


@dataclass(frozen=True, kw_only=True)
class Session:
    """One session on a notebook server: the server's API address with a slash, its headers, and the session's kernel."""

    api: str
    headers: Mapping[str, str]
    id: str
    name: str
    kernel_id: str
    kernel_name: str

    def require_consent(self) -> None:
        """Raise PreflightError where the server would refuse what it is going to be asked, which nobody would see then."""
        try:
            _leave.call(**self._request("PATCH", f"sessions/{self.id}", {"path": self.name}))
        except (OSError, ValueError, HTTPException) as error:
            msg = f"the notebook server at {self.api} refuses to be asked by a kernel: {error}"
            raise PreflightError(msg, hint='nothing was changed; how="exec" needs no server') from None

    def restart(self) -> dict[str, Any]:
        """Return the request that restarts the kernel, which the server does not count as a crash."""
        return self._request("POST", f"kernels/{self.kernel_id}/restart", {})

    def change_kernel(self, name: str) -> dict[str, Any]:
        """Return the request that gives the session a new kernel, by a kernelspec that the server reads afresh."""
        return self._request("PATCH", f"sessions/{self.id}", {"kernel": {"name": name}})

    def _request(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"method": method, "url": self.api + path, "headers": dict(self.headers), "body": body}


@dataclass(frozen=True, kw_only=True)
class _ListedKernel:
    id: str
    name: str


@dataclass(frozen=True, kw_only=True)
class _Listed:
    """One session in a server's list."""

    id: str
    path: str = ""
    kernel: _ListedKernel | None = None


def connection_file(machine: Machine) -> Path | None:
    """Return the connection file of the kernel that this call is made in or for, or None outside of kernels."""
    file = machine.environ.get(NAMED_SESSION) or _leave.own_connection_file()
    return Path(file) if file else None


def find_session(machine: Machine) -> Session | None:
    """Return the session of this kernel, or None where no server with it answers (nbclient, papermill, a terminal)."""
    file = connection_file(machine)
    if file is None:
        return None
    kernel_id = file.stem.removeprefix("kernel-")
    return next((session for session in running(machine) if session.kernel_id == kernel_id), None)


def running(machine: Machine) -> Iterator[Session]:
    """Return the sessions of every notebook server on this machine that answers, this kernel's own server first."""
    for api, headers in _servers(machine):
        yield from _sessions(api, headers)


def _servers(machine: Machine) -> Iterator[tuple[str, dict[str, str]]]:
    if ip := machine.environ.get("COLAB_JUPYTER_IP"):
        yield f"http://{ip}:{_COLAB_PORT}/api/", {}
    # Every Jupyter server leaves a note of its address and token. This kernel's own parent comes first.
    parents = (str(os.getppid()), machine.environ.get("JPY_PARENT_PID"))
    runtime = Path(machine.environ.get("JUPYTER_RUNTIME_DIR") or machine.jupyter / "runtime")
    read = (_files.read_json(path) for path in runtime.glob("jpserver-*.json"))
    notes = [note for note in read if isinstance(note, dict) and isinstance(note.get("url"), str)]
    for note in sorted(notes, key=lambda note: str(note.get("pid")) not in parents):
        base = note["url"].rstrip("/")
        headers = {"Authorization": f"token {note['token']}"} if note.get("token") else _leave.cookie(f"{base}/")
        yield f"{base}/api/", headers


def _sessions(api: str, headers: dict[str, str]) -> list[Session]:
    try:
        listed: list[_Listed] = _state.typed(
            list[_Listed], _leave.call("GET", f"{api}sessions", headers, timeout=_LOOK)
        )
    # Something else may listen on that port, and answers in any way it likes.
    except (OSError, ValueError, HTTPException, RecursionError, OverflowError):
        return []
    return [
        Session(
            api=api,
            headers=headers,
            id=session.id,
            name=session.path,
            kernel_id=session.kernel.id,
            kernel_name=session.kernel.name,
        )
        for session in listed
        if session.kernel is not None
    ]


WAYS = ("restart", "session", "exec")
STOCK = "python3"  # the name of the machine's own kernel, on Colab as elsewhere
# The kernel's id is all that such a notebook is known by, and a new kernel has a new one.
NAMELESS = "This server gives notebooks no names: one that gets a new kernel starts on the machine's own Python again."
CRASH_OR_RESTART = "The page may call this a crash or a restart. Go on with the next cell."
# What a helper process is told about the kernel that it works for (see `_remote.py`): not the next kernel's.
_OF_THIS_CALL = (NAMED_SESSION, diversion.PROCESS, "COLAB_ENV_INTERPRETER", "PYTHONUNBUFFERED")
Plan = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Origin:
    """Where a switch happens: the machine, which notebook it is for, its session if there is one, today's interpreter."""

    machine: Machine
    notebook: Notebook
    session: Session | None
    interpreter: Path

    @property
    def is_diverted(self) -> bool:
        """Say whether a restart of this session comes by what diverts the stock kernel's start."""
        is_stock = self.session is None or self.session.kernel_name == STOCK
        return is_stock and diversion.usable_file(self.machine) is not None

    def runs(self, spec: Mapping[str, Any]) -> bool:
        """Say whether this kernel is that one: by interpreter, for two environments can have one version."""
        return kernelspec.environment_of(kernelspec.own(spec).project) in self.interpreter.parents

    def choose(self, name: str | None, *, default: bool) -> None:
        """Write down what this notebook's next starts are to be, or those of every notebook that has not chosen.

        So in each of the ways: a restart, a crash or a page loaded anew must not bring the old Python back unasked.
        """
        # Outside Colab the notebook itself says which kernel it starts.
        if diversion.usable_file(self.machine) is None:
            return
        choices = diversion.read(self.machine)
        kernel = None if name is None else kernelspec.directory(self.machine, name) / "kernel.json"
        if default:
            choices = replace(choices, default=None if name is None else Choice(name=name, kernel=kernel))
        if self.notebook.is_identified:
            choices = choices.changed(self.notebook, name, kernel)
        diversion.write(self.machine, choices)

    @classmethod
    def here(cls) -> _Origin:
        machine = Machine.detect()
        # Which notebook this call is made in or for; in a terminal, that is unknown.
        file = connection_file(machine)
        kernel_id = file.stem.removeprefix("kernel-") if file else None
        return cls(
            machine=machine,
            notebook=Notebook(kernel_id=kernel_id, session=machine.environ.get("JPY_SESSION_NAME") or None),
            session=find_session(machine),
            interpreter=Path(machine.environ.get("COLAB_ENV_INTERPRETER") or sys.executable),
        )


def switch(name: str | None, *, how: str | None = None, default: bool = False) -> None:
    """Continue this notebook on the kernel `name`, without download, edit or upload; None is the machine's own.

    First that kernel is started on trial in that very way; if it does not answer, nothing changes. `how` is "restart"
    (on Colab: the session restarts on the new Python, now and at every later restart), "session" (the notebook server
    gives the session another kernel) or "exec" (this process becomes the new Python, the notebook's cells run on); by
    default the first that this machine allows. Other notebooks stay where they are; with `default`, new ones, and those
    that were never switched, start on this kernel too (on Colab). Inside that kernel already, it does nothing. Raises
    MissingStepError, UsageError or PreflightError with the kernel's last lines.
    """
    _leave.leave(planned(name, how=how, default=default))


def planned(name: str | None, *, how: str | None = None, default: bool = False) -> Plan:
    """Try the kernel, prepare the machine, and return what the running kernel has to do: plain values."""
    if how not in (None, *WAYS):
        msg = f"there is no way {how!r} to switch"
        raise UsageError(msg, hint=f"choose one of {', '.join(WAYS)}")
    origin = _Origin.here()
    if default and diversion.usable_file(origin.machine) is None:
        msg = "a default for all notebooks is Colab's only: there they start in one way that can be diverted"
        raise UsageError(msg, hint="choose the kernel in each notebook; nothing was changed")
    if name is not None:
        _spec(origin.machine, name)  # refused before anything is written
    # Kernels are locked, so that none is removed between its trial and the switch.
    with changing("switch", origin.machine, origin.machine.data / "locks" / "kernels"):
        return _back(origin, default=default) if name is None else _forth(origin, name, how=how, default=default)


def _forth(origin: _Origin, name: str, *, how: str | None, default: bool) -> Plan:
    spec = _spec(origin.machine, name)
    if origin.runs(spec) and how is None and not default:
        return _nothing(f"This is the kernel {name!r} already.")
    # Where starts are diverted a restart is enough; else the server changes the session's kernel; without a server
    # only exec is left.
    chosen = how or ("restart" if origin.is_diverted else "session" if origin.session is not None else "exec")
    with _report.activity(f"Trying the kernel {name}"):
        if chosen == "restart" or default:
            return _by_restart(origin, name, spec, default=default)
        return _by_session(origin, name, spec) if chosen == "session" else _by_exec(origin, name, spec)


def _back(origin: _Origin, *, default: bool) -> Plan:
    choices, session = diversion.read(origin.machine), origin.session
    if not origin.notebook.is_identified:
        return _all_back(origin, choices)
    origin.choose(None, default=default)
    # Switched by its session: only the server can start the other kernel.
    if session is not None and session.kernel_name != STOCK and session.kernel_name in _ours(origin.machine):
        return _asking(session.change_kernel(STOCK), "the machine's own kernel")
    if any(origin.runs(spec) for spec in _ours(origin.machine).values()) and session is not None:
        return _asking(session.restart(), "the machine's own kernel")
    changed = choices.of(origin.notebook) != diversion.read(origin.machine).of(origin.notebook)
    return _nothing(f"{'The next restart' if changed and session is None else 'This'} is the machine's own kernel.")


def _all_back(origin: _Origin, choices: Choices) -> Plan:
    """Take every notebook back: from a terminal, where no cell may run any more."""
    diversion.write(origin.machine, Choices())
    ours = _ours(origin.machine)
    moved = [session for session in running(origin.machine) if session.kernel_name in ours]
    for session in moved:
        # Something harmless is asked first: a refusal is said here, where somebody sees it.
        session.require_consent()
        _leave.call(**session.change_kernel(STOCK))
    names = ", ".join(sorted({session.name for session in moved}))
    messages = [f"{names} got the machine's own kernel."] if moved else []
    if choices != Choices():
        messages.append("The next restart of every notebook is the machine's own kernel.")
    return _nothing(" ".join(messages) or "This is the machine's own kernel.")


def _by_restart(origin: _Origin, name: str, spec: Mapping[str, Any], *, default: bool) -> Plan:
    if not origin.is_diverted and not default:
        msg = "a restart would not come by what colab-env can divert here"
        raise UsageError(msg, hint='choose another way: how="session" or how="exec"')
    if not origin.notebook.is_identified and not default:
        msg = "a terminal does not say which notebook is meant"
        raise UsageError(
            msg,
            hint=f'call colab_env.switch("{name}") in a cell of that notebook; for every notebook: '
            f"`colab-env switch {name} --default`; nothing was changed",
        )
    if origin.session is not None:
        origin.session.require_consent()
    trial = origin.machine.data / "trial"
    kernel_json = kernelspec.directory(origin.machine, name) / "kernel.json"
    everywhere = Choices(default=Choice(name=name, kernel=kernel_json))
    # The very file that a restart would find, here found by PYTHONPATH and by this one start only.
    _files.write_text(trial / diversion.NAME, diversion.text(everywhere))
    try:
        argv = [str(origin.machine.machine_python), "-m", diversion.MODULE, "-f", "{connection_file}"]
        _require_answer(name, kernel.try_argv(origin.machine, spec, argv, PYTHONPATH=str(trial)))
    finally:
        _files.remove(trial)
    # It starts: what failed before must not keep the guard from trying it.
    diversion.forget_failures(connection_file(origin.machine), others=default)
    origin.choose(name, default=default)  # before the server is asked: the restart reads it
    if origin.session is None or (default and not origin.is_diverted):
        which = "every notebook that has not chosen another" if default else "this notebook"
        return _nothing(f"The next restart of {which} comes up on {spec['display_name']}.")
    plan = _asking(origin.session.restart(), spec["display_name"])
    if origin.notebook.session is None and not default:
        plan["message"] += f" {NAMELESS}"
    return plan


def _by_session(origin: _Origin, name: str, spec: Mapping[str, Any]) -> Plan:
    if origin.session is None:
        msg = "no notebook server was found that this kernel belongs to"
        raise UsageError(msg, hint='choose how="exec", or start the notebook with this kernel: papermill -k NAME')
    origin.session.require_consent()
    # Tried before the page is touched: a kernel that does not come up is dropped after five starts.
    _require_answer(name, kernel.try_registered(origin.machine, name))
    diversion.forget_failures(connection_file(origin.machine))
    origin.choose(name, default=False)
    return _asking(origin.session.change_kernel(name), spec["display_name"])


def _by_exec(origin: _Origin, name: str, spec: Mapping[str, Any]) -> Plan:
    file = connection_file(origin.machine)
    if file is None:
        msg = "this is no kernel, so it cannot become another one"
        raise UsageError(msg, hint=f"in a notebook's cell, write `%colab_env switch {name}`")
    _require_answer(name, kernel.try_registered(origin.machine, name))
    diversion.forget_failures(file)
    origin.choose(name, default=False)
    argv = [word.replace("{connection_file}", str(file)) for word in spec["argv"]]
    # What this kernel was started with is not what the next one is.
    environ = {key: value for key, value in os.environ.items() if key not in _OF_THIS_CALL}
    environ.update(diversion.announce_start(origin.machine, name, file))
    message = f"This kernel becomes {spec['display_name']} in place. Variables are gone, files are as they were."
    return {"message": message, "argv": argv, "environ": environ}


def _asking(request: Mapping[str, Any], title: str) -> Plan:
    return {"message": f"Switching to {title}. {CRASH_OR_RESTART}", "request": dict(request)}


def _nothing(message: str) -> Plan:
    return {"message": message}


def _spec(machine: Machine, name: str) -> dict[str, Any]:
    ours = _ours(machine)
    if name not in ours:
        msg = f"colab-env has registered no kernel {name!r}"
        raise MissingStepError(msg, hint=f"registered kernels: {', '.join(ours) or 'none'}; setup() registers one")
    return ours[name]


def _ours(machine: Machine) -> dict[str, dict[str, Any]]:
    """Return the kernelspecs that colab-env made, by the kernels' names."""
    names = (kernel.name for kernel in kernelspec.registered(machine) if kernel.ours)
    return {name: spec for name in names if (spec := kernelspec.read(machine, name)) is not None}


def _require_answer(name: str, outcome: kernel.Outcome) -> None:
    if outcome.failure is not None:
        text = "\n".join(
            [f"the kernel {name!r} does not work: {outcome.failure}", *(f"    {line}" for line in outcome.log)]
        )
        raise PreflightError(text, hint="nothing was changed; setup() repairs what it can")
