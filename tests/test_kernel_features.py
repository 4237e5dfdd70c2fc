"""Which of Colab's features a kernel lacks: what was asked is what the result says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT, PreparedMachine

from colab_env import _process, kernel
from colab_env.errors import PreflightError
from colab_env.jupyter import kernelspec
from colab_env.jupyter.background import BackgroundKernel
from colab_env.machine import Machine
from colab_env.standalone import _remote

LACK = {"missing": {"sheets": "needs pandas", "ai": "ImportError: no"}, "packages": ["pandas"]}


def report(detail: str, *, ok: bool = True) -> _process.Finished:
    checks = [{"name": name, "ok": ok, "detail": detail, "seconds": 0.1} for name in ("kernel_info", "features")]
    line = json.dumps({"ok": ok, "checks": checks, "python": "3.12", "ipython": "8", "log": []})
    return _process.Finished(argv=(), returncode=0, lines=(line,))


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the trial's program answer what a test says."""

    def answer(finished: _process.Finished) -> kernel.Lack:
        monkeypatch.setattr(_process, "run", lambda *_, **__: finished)
        spec = {"argv": ["python"], "metadata": {"colab_env": {"project": "/x"}}}
        return kernel.ask_features(spec, environ={}, machine=Machine.detect(), site=Path("/x"))

    return answer


def test_what_the_kernel_says_is_what_it_lacks(answer: Any) -> None:
    assert answer(report(json.dumps(LACK))) == kernel.Lack(missing=LACK["missing"], packages=("pandas",))


@pytest.mark.parametrize("finished", [report("no", ok=False), report("[]"), report('{"missing": 1}')])
def test_features_that_could_not_be_tried_are_not_taken_for_there(answer: Any, finished: _process.Finished) -> None:
    assert list(answer(finished).missing) == ["features that could not be tried"]


def test_the_advice_is_one_line_for_all_packages_and_one_for_each_other_reason(tmp_path: Path) -> None:
    lack = kernel.Lack(missing=LACK["missing"], packages=("pandas",))
    # An empty directory becomes a project of Poetry's; of others see test_adding.py.
    assert kernel._advice(lack, tmp_path) == ["no ai: ImportError: no", "what adds sheets: poetry add pandas"]
    assert kernel._advice(kernel.Lack(missing={}), tmp_path) == []


def test_a_kernel_that_lacks_something_says_so_until_it_is_there(
    machine: PreparedMachine, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = kernel.ProjectKernel(name="lesson", project=filled, python=machine.python, machine=Machine.detect())
    spec = own.spec(kernelspec.PLAIN)
    spec["metadata"]["colab_env"]["missing"] = {"sheets": "needs pandas, numpy"}
    kernelspec.write(own.machine, "lesson", spec)
    assert own.describe().what == "Kernel 'lesson', plain but for sheets"
    assert own.check() is None
    for name in ("pandas", "numpy"):
        packages = next((filled / ".venv/lib").glob("python3*")) / "site-packages"
        (packages / f"{name}-1.0.dist-info").mkdir()
        (packages / f"{name}-1.0.dist-info/METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
    assert own.check() == "packages for sheets were added since it was tried"


def test_a_cell_asks_only_for_what_the_machines_colab_has(tmp_path: Path) -> None:
    """Without google.colab nothing is missing, and the last line is the answer."""
    import subprocess
    import sys

    code = (ROOT / "colab_env/standalone/_features.py").read_text(encoding="utf-8")
    shell = "from IPython.core.interactiveshell import InteractiveShell as S; S.instance()\n"
    done = subprocess.run(
        [sys.executable, "-c", shell + f"exec({code!r})"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {"missing": {}, "packages": []}, done.stderr


def test_a_call_in_the_environments_own_kernel_shows_a_card_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "machine.json").write_text(json.dumps({"path": str(ROOT), "python": sys.executable}))
    monkeypatch.setattr(_remote, "_HERE", tmp_path)
    answer = _remote._call("colab_env.status", str(tmp_path))
    assert answer.startswith("Project ")
    assert "<div class=cenv>" in answer._repr_html_()
    assert answer.project == tmp_path
    assert {part.name for part in answer.parts} >= {"Environment"}
    assert not hasattr(answer, "nothing")
    assert _remote._call("colab_env.kernels")._repr_html_() is None
    with pytest.raises(
        _remote.ColabEnvError, match=r"^module 'colab_env' has no attribute 'setpu': did you mean setup\?$"
    ):
        _remote._call("colab_env.setpu")


def test_a_notebooks_first_line_installs_nothing_into_the_project_of_its_kernel(tmp_path: Path) -> None:
    code = """
from colab_env.standalone import _launch
_launch.leave_packages()
from ipykernel.zmqshell import ZMQInteractiveShell
shell = ZMQInteractiveShell.instance()
for line in ("install -q colab-bootstrap", "install --upgrade git+https://example.org/x/colab-bootstrap", "--version"):
    shell.run_line_magic("pip", line)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("nothing was installed") == 2
    assert "site-packages" in done.stdout, "what else pip is asked for, it does"


def test_a_background_kernel_is_closed_also_when_python_ends(tmp_path: Path) -> None:
    code = "import atexit; from colab_env.jupyter.background import _aside; atexit.register(_aside, lambda: print('closed'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("closed\n", "")


def test_an_output_of_ipywidgets_in_the_other_kernel_takes_what_this_notebook_shows() -> None:
    sent: list[Any] = []
    session = SimpleNamespace(send=lambda _socket, _kind, content, **_: sent.append(content))
    own = SimpleNamespace(session=session, iopub_socket=None, get_parent=lambda _: {"header": {"msg_id": "ours"}})
    kernel = BackgroundKernel("mine", SimpleNamespace(kernel=own))
    for state in ({"msg_id": "theirs"}, {"msg_id": ""}, {"value": 3}):
        content = {"comm_id": "c", "data": {"method": "update", "state": state, "buffer_paths": []}}
        kernel._pass_on(
            {"msg_type": "comm_msg", "content": content, "metadata": {}, "parent_header": {}, "buffers": []}
        )
    assert [content["data"]["state"] for content in sent] == [{"msg_id": "ours"}, {"msg_id": ""}, {"value": 3}]
    kernel._pass_on(
        {"msg_type": "comm_msg", "content": {"data": "text"}, "metadata": {}, "parent_header": {}, "buffers": []}
    )
    assert sent[-1] == {"data": "text"}


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[BackgroundKernel, list[tuple[str, Any]]]]:
    """A real kernel in the background, and what it lets the notebook's own send: kinds of messages and their contents."""
    spec = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "other"}
    (tmp_path / "kernels/other").mkdir(parents=True)
    (tmp_path / "kernels/other/kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    sent: list[tuple[str, Any]] = []
    session = SimpleNamespace(send=lambda _socket, kind, content, **_: sent.append((kind, content)))
    comms = SimpleNamespace(comms={})
    own = SimpleNamespace(
        session=session, iopub_socket=None, get_parent=lambda _: {"header": {"msg_id": "ours"}}, comm_manager=comms
    )
    kernel = BackgroundKernel("other", SimpleNamespace(kernel=own, parent_header={}))
    kernel.start()
    yield kernel, sent
    kernel.close()


def test_a_kernel_that_is_silent_from_its_start_is_started_once_more(
    other: tuple[BackgroundKernel, list[tuple[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, _ = other
    monkeypatch.setattr("colab_env.jupyter.background._STARTS", (1.0, 120.0))
    spec = json.loads((tmp_path / "kernels/other/kernel.json").read_text())
    silent = f"""
import os, sys, time
from pathlib import Path
note = Path({str(tmp_path / "started")!r})
if not note.exists():
    note.write_text(str(os.getpid()))
    time.sleep(600)
sys.argv = ["ipykernel_launcher", *sys.argv[1:]]
from ipykernel.kernelapp import launch_new_instance
launch_new_instance()
"""
    (tmp_path / "kernels/other/kernel.json").write_text(
        json.dumps({**spec, "argv": [sys.executable, "-c", silent, "-f", "{connection_file}"]})
    )
    kernel.start()
    assert kernel.run("pass")["status"] == "ok"
    assert not Path("/proc", (tmp_path / "started").read_text()).exists()
    (tmp_path / "started").unlink()
    monkeypatch.setattr("colab_env.jupyter.background._STARTS", (0.5,))
    with pytest.raises(PreflightError, match=r"did not answer within 0\.5 s"):
        kernel.start()
    assert not kernel.is_alive


def told(comm_id: str) -> dict[str, Any]:
    return {"header": {"msg_type": "comm_msg"}, "content": {"comm_id": comm_id, "data": {}}, "buffers": []}


def test_what_a_page_tells_a_widget_from_another_thread_takes_no_answer_from_a_cell_that_runs(
    other: tuple[BackgroundKernel, list[tuple[str, Any]]],
) -> None:
    """JupyterLab sends what widgets hear to a subshell, which is a thread of its own in ipykernel 7."""
    kernel, _ = other
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(0.02):
            kernel.tell(told("none"))

    def run() -> None:
        for _ in range(40):
            assert kernel.run("pass")["status"] == "ok"
        ended.set()

    threads = [threading.Thread(target=target, daemon=True) for target in (tell, run)]
    for thread in threads:
        thread.start()
    try:
        assert ended.wait(90), "a cell waits for an answer that another thread has taken"
    finally:
        ended.set()
        for thread in threads:
            thread.join(5)


def test_an_exception_inside_an_output_of_ipywidgets_is_shown_there(
    other: tuple[BackgroundKernel, list[tuple[str, Any]]],
) -> None:
    """`with out:` shows it before it leaves the Output, in a cell and in what a button calls; the cell goes on."""
    kernel, sent = other
    cell = """
from ipykernel.comm import Comm
widget = Comm(target_name="t")
def enter(number):
    widget.send({"method": "update", "state": {"msg_id": number}, "buffer_paths": []})
def fail(message=None):
    enter("theirs")
    try:
        1 / 0
    except ZeroDivisionError:
        get_ipython().showtraceback()
    enter("")
widget.on_msg(fail)
fail()
"""
    assert kernel.run(cell)["status"] == "ok"
    (comm_id,) = kernel.shell.kernel.comm_manager.comms
    shown = [content.get("ename") or content["data"].get("state", {}).get("msg_id") for _, content in sent]
    assert shown == [None, "ours", "ZeroDivisionError", ""]
    del sent[:]
    kernel.tell(told(comm_id))
    shown = [content.get("ename") or content["data"]["state"]["msg_id"] for _, content in sent]
    assert shown == ["ours", "ZeroDivisionError", ""]
