"""A kernel asks its notebook server: one without a token, whose check against foreign pages stands, and one that refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from colab_env import diagnose, kernel, switching
from colab_env.errors import PreflightError
from colab_env.jupyter import diversion, kernelspec
from colab_env.machine import Machine
from colab_env.standalone import _leave


@pytest.fixture
def server(tmp_path: Path, home: Path) -> Iterator[str]:
    """A real server whose token is empty, as many run it in containers; its address."""
    options = ["--IdentityProvider.token=", f"--ServerApp.root_dir={tmp_path}", "--ServerApp.allow_root=True"]
    argv = [sys.executable, "-m", "jupyterlab", *options, "--ServerApp.open_browser=False", "--ServerApp.port=0"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        runtime, deadline = Path(os.environ["JUPYTER_RUNTIME_DIR"]), time.monotonic() + 120
        while not (notes := list(runtime.glob("jpserver-*.json"))) and time.monotonic() < deadline:
            time.sleep(0.1)
        url = json.loads(notes[0].read_text())["url"]
        while time.monotonic() < deadline:
            try:
                _leave.call("GET", f"{url}api/status", {})
                break
            except OSError:
                time.sleep(0.1)
        yield url
        process.terminate()


def test_a_server_without_a_token_is_asked_with_its_cookie(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = _leave.cookie(server)
    with pytest.raises(OSError, match="403"):
        _leave.call("POST", f"{server}api/kernels", {}, {"name": "python3"})
    body = {"path": "a.ipynb", "name": "a.ipynb", "type": "notebook", "kernel": {"name": "python3"}}
    made = _leave.call("POST", f"{server}api/sessions", headers, body)
    monkeypatch.setenv(switching.NAMED_SESSION, f"/x/kernel-{made['kernel']['id']}.json")
    session = switching.find_session(Machine.detect())
    assert session is not None
    assert (session.name, session.kernel_name) == ("a.ipynb", "python3")
    session.require_consent()
    _leave.call(**session.restart())


SPEC = {"display_name": "Python 3.12 (lesson)"}


def on_stock(origin: switching._Origin) -> switching.Session:
    assert origin.session is not None
    return replace(origin.session, kernel_name=switching.STOCK)


class Refusing(BaseHTTPRequestHandler):
    """A server that lets its sessions be read, and nothing else."""

    def do_GET(self) -> None:
        names = {"a.ipynb": "lesson", "b.ipynb": "python3"}
        listed = [
            {"id": path, "path": path, "kernel": {"id": str(number), "name": name}}
            for number, (path, name) in enumerate(names.items(), start=7)
        ]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(listed).encode())

    def do_PATCH(self) -> None:
        self.send_response(403)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that only lets its sessions be read, with a note of its address as every server leaves one."""
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        runtime = Path(os.environ["JUPYTER_RUNTIME_DIR"])
        runtime.mkdir(parents=True)
        note = {"url": f"http://127.0.0.1:{server.server_port}/", "token": "", "pid": 1}
        (runtime / "jpserver-1.json").write_text(json.dumps(note))
        monkeypatch.setenv(switching.NAMED_SESSION, "/x/kernel-7.json")
        yield
        server.shutdown()


@pytest.mark.usefixtures("refusing")
def test_a_server_that_refuses_is_an_error_before_anything_is_changed() -> None:
    session = switching.find_session(Machine.detect())
    assert session is not None
    with pytest.raises(PreflightError, match="refuses to be asked by a kernel") as raised:
        session.require_consent()
    assert "nothing was changed" in str(raised.value)


@pytest.mark.usefixtures("refusing")
def test_status_names_the_notebooks_that_are_on_kernels_of_ours(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = [
        kernelspec.Kernel(name=name, display_name="", directory=project, argv=(), ours=name == "lesson")
        for name in ("lesson", "python3")
    ]
    monkeypatch.setattr(kernelspec, "registered", lambda _: kernels)
    whose = [part.what for part in diagnose.notebooks(Machine.detect())]
    assert whose == ["a.ipynb: lesson"]


@pytest.mark.usefixtures("refusing")
@pytest.mark.parametrize("name", ["a.ipynb", None])
def test_a_server_that_does_not_name_its_notebooks_is_said_before_the_restart(
    name: str | None, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switching.Session, "require_consent", lambda _: None)
    monkeypatch.setattr(kernel, "try_argv", lambda *_, **__: kernel.Outcome(failure=None, seconds={}))
    monkeypatch.setattr(diversion, "usable_file", lambda _: project / "usercustomize.py")
    monkeypatch.setattr(diversion, "own_file", lambda _: project / "lib/python3.11/usercustomize.py")
    monkeypatch.setenv("JPY_SESSION_NAME", name or "")
    origin = switching._Origin.here()
    plan = switching._by_restart(replace(origin, session=on_stock(origin)), "lesson", SPEC, default=False)
    assert (switching.NAMELESS in plan["message"]) is (name is None)
    (choice,) = diversion.read(origin.machine).notebooks
    assert (choice.kernel_id, choice.session) == ("7", name)
