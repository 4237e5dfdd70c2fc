"""The notebook server that this kernel belongs to: find it and the kernel's own session, phrase what it can be asked."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files, _state
from colab_env.errors import PreflightError
from colab_env.jupyter.diversion import Notebook
from colab_env.standalone import _leave

if TYPE_CHECKING:
    from colab_env.machine import Machine

_COLAB_PORT = 9000  # of Colab's server, which wants no token
_LOOK = 5  # seconds: a server that does not answer by then is not the one that runs this notebook
NAMED = "COLAB_ENV_CONNECTION_FILE"  # tells a helper process which kernel it works for


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
    named = machine.environ.get(NAMED) or _leave.own_connection_file()
    return Path(named) if named else None


def notebook(machine: Machine) -> Notebook:
    """Return which notebook this call is made in or for; in a terminal, that is unknown."""
    file = connection_file(machine)
    kernel_id = file.stem.removeprefix("kernel-") if file else None
    return Notebook(kernel_id=kernel_id, session=machine.environ.get("JPY_SESSION_NAME") or None)


def find(machine: Machine) -> Session | None:
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
