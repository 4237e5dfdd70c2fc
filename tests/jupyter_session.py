"""A Jupyter server as a command started it, asked over its own API: what a browser does, without the browser."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import websocket

TOKEN = "of-the-test"
_PATIENCE = 240  # seconds; an installation may be part of the start


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that answers, and the process that a command became."""

    process: subprocess.Popen[str]
    url: str
    notebook: Path
    content: (
        Any  # of the notebook, as it was before the command: juv 0.5.0 writes into one that is locked, and breaks it
    )

    def get(self, path: str) -> Any:
        answer = requests.get(f"{self.url}/api/{path}", params={"token": TOKEN}, timeout=20)
        answer.raise_for_status()
        return answer.json()

    def run_notebook(self) -> list[str]:
        """Run every code cell of the notebook in a session of its own, as opening it and "Run all" do; return what they print."""
        spec = self.content["metadata"].get("kernelspec") or {"name": self.get("kernelspecs")["default"]}
        body = {
            "path": self.notebook.name,
            "name": self.notebook.name,
            "type": "notebook",
            "kernel": {"name": spec["name"]},
        }
        answer = requests.post(f"{self.url}/api/sessions", params={"token": TOKEN}, json=body, timeout=60)
        answer.raise_for_status()
        kernel = answer.json()["kernel"]["id"]
        address = f"{self.url.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels?token={TOKEN}"
        connection = websocket.create_connection(address, timeout=60)
        try:
            cells = [cell for cell in self.content["cells"] if cell["cell_type"] == "code"]
            return [_run_cell(connection, "".join(cell["source"])) for cell in cells]
        finally:
            connection.close()


def _run_cell(connection: websocket.WebSocket, code: str) -> str:
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "username": "",
        "session": "test",
        "version": "5.3",
    }
    content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False, "stop_on_error": True}
    message = {
        "header": header,
        "parent_header": {},
        "metadata": {},
        "content": content,
        "channel": "shell",
        "buffers": [],
    }
    connection.send(json.dumps(message))
    printed = ""
    while True:
        answer = json.loads(connection.recv())
        if answer["parent_header"].get("msg_id") != header["msg_id"]:
            continue
        if answer["msg_type"] == "stream":
            printed += answer["content"]["text"]
        elif answer["msg_type"] == "error":
            printed += f"{answer['content']['ename']}: {answer['content']['evalue']}\n"
        elif answer["msg_type"] == "status" and answer["content"]["execution_state"] == "idle":
            return printed


@contextlib.contextmanager
def serving(argv: Sequence[str | Path], notebook: Path, *, environ: Mapping[str, str], port: int) -> Iterator[Server]:
    """Run a command that becomes a server for a notebook, until the server answers; end it after the block."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    process = subprocess.Popen(
        [str(word) for word in argv],
        env=dict(environ),
        cwd=notebook.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(process, url)
        yield Server(process=process, url=url, notebook=notebook, content=content)
    finally:
        # juv's server is in a session of its own, and outlives the command that started it.
        with contextlib.suppress(requests.RequestException):
            requests.post(f"{url}/api/shutdown", params={"token": TOKEN}, timeout=10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _wait(process: subprocess.Popen[str], url: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            msg = f"it ended with {process.returncode}: {process.stdout.read() if process.stdout else ''}"
            raise RuntimeError(msg)
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"{url}/api/status", params={"token": TOKEN}, timeout=5).ok:
                return
        time.sleep(0.05)
    msg = f"no server answers at {url}"
    raise RuntimeError(msg)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
