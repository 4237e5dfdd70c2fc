"""Colab's notebook server, run inside a stand-in."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import requests

from .namespace import stop

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from .root import ColabRoot

PORT = 9000
_LOG = "/var/log/colab-jupyter.log"
_SECONDS_TO_START = 180


class ServerError(Exception):
    """The server did not start."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server: its address, and the file that it and its kernels write to."""

    url: str
    log: Path


@contextmanager
def serving(root: ColabRoot) -> Iterator[Server]:
    """Run the server with Colab's flags on http://{root.ip}:9000; end it and its kernels afterwards."""
    log = root.path(_LOG)
    with log.open("w") as output:
        process = root.popen(server_argv(root.ip), stdout=output, stderr=output)
    server = Server(url=f"http://{root.ip}:{PORT}", log=log)
    try:
        _wait(server, process)
        yield server
    finally:
        stop(process)


def server_argv(ip: str) -> list[str]:
    """Return the arguments that Colab starts its server with: no token, no checks, no signed messages."""
    return [
        "/usr/bin/python3",
        "/usr/local/bin/jupyter-server",
        "--transport=ipc",
        f"--ip={ip}",
        f"--port={PORT}",
        "--ServerApp.port_retries=0",
        "--ServerApp.allow_root=True",
        "--ServerApp.root_dir=/content",
        "--ServerApp.allow_origin=*",
        "--ServerApp.disable_check_xsrf=True",
        "--IdentityProvider.token=",
        "--MultiKernelManager.default_kernel_name=python3",
        "--Session.key=",
    ]


def _wait(server: Server, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < end and process.poll() is None:
        if _answers(server.url):
            return
        time.sleep(0.1)
    msg = f"no answer from {server.url}:\n{server.log.read_text()}"
    raise ServerError(msg)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/api/status", timeout=5).ok
    except requests.RequestException:
        return False
