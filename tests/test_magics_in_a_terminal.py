"""`%%colab_env` in IPython in a terminal, with a kernel of another tool: neither a page nor a layer of ours is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
from conftest import ROOT
from jupyter_client.session import Session
from nbclient import NotebookClient

from colab_env.jupyter.background import BackgroundKernel

CELLS = """
import sys
sys.path.insert(0, {root!r})
from IPython.terminal.interactiveshell import TerminalInteractiveShell
shell = TerminalInteractiveShell.instance(simple_prompt=True)
for cell in ("%load_ext colab_env", "here = [1, 2]", *{cells!r}, "print('pulled', there)"):
    shell.run_cell(cell)
"""


def register(home: Path) -> None:
    directory = home / "jupyter/kernels/other"
    directory.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (directory / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Other", "language": "python"}))


def typed(home: Path, *cells: str) -> str:
    register(home)
    program = CELLS.format(root=str(ROOT), cells=[f"%%colab_env other {cell}" for cell in cells])
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return re.sub(r"\x1b\[[\d;]*m", "", done.stdout)


def test_what_a_cell_prints_its_value_and_its_exception_are_text(home, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(home / "jupyter"))
    shown = typed(
        home,
        "\nprint('printed')\n6 * 7",
        "\nshell = get_ipython()\nshell.display_pub.publish({'text/plain': 'drawn'})\n"
        "shell.showtraceback((KeyError, KeyError('seen'), None))",
        "\nfrom comm import create_comm; create_comm('a widget')\n1 / 0",
    )
    assert shown.startswith("printed\n42\ndrawn\n")
    assert "KeyError: 'seen'" in shown
    assert "ZeroDivisionError: division by zero" in shown
    assert "AttributeError" not in shown


def test_values_are_carried_to_and_from_a_kernel_of_another_tool(home, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(home / "jupyter"))
    shown = typed(
        home,
        "--push here\nprint(here)",
        "--pull there\nthere = {'a': here}",
        "\nprint(sorted({'_bring_helper'} & {*globals()}))",
    )
    assert shown == "[1, 2]\n[]\npulled {'a': [1, 2]}\n"


def test_where_what_is_typed_has_ended_the_next_cell_does_not_wait_for_it(home, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(home / "jupyter"))
    asked = "\ntry:\n    input('name? ')\nexcept EOFError as error:\n    print(repr(error))"
    shown = typed(home, asked, "\nprint('next')", "--pull there\nthere = 1")
    assert "EOFError" in shown
    assert shown.endswith("next\npulled 1\n")


def outputs(home: Path, *cells: str) -> list[list[tuple[str, str]]]:
    """Run cells in a notebook without a page, by nbclient; return by cell the name and the text of all it shows."""
    register(home)
    notebook = nbformat.v4.new_notebook()
    first = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n%load_ext colab_env"
    sources = (first, *(f"%%colab_env other\n{cell}" for cell in cells))
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
    NotebookClient(notebook, kernel_name="other", allow_errors=True, timeout=120).execute()
    outputs = (
        [output for output in cell.outputs if any(output.get("data", {"": "-"}).values())]
        for cell in notebook.cells[1:]
    )
    return [[(each.get("name", each.get("ename", "")), text_of(each)) for each in cell] for cell in outputs]


def text_of(output: Mapping[str, Any]) -> str:
    return str(output.get("text", output.get("evalue", output.get("data", {}).get("text/plain"))))


def test_a_magic_that_is_not_there_is_said_once(home, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(home / "jupyter"))
    assert outputs(home, "print('before')\n%spell 3", "%%spell\nprint(1)") == [
        [("stdout", "before\n"), ("stderr", "UsageError: Line magic function `%spell` not found.\n")],
        [("stderr", "UsageError: Cell magic `%%spell` not found.\n")],
    ]


_REPLIES_STAY = """\
session, held = get_ipython().kernel.session, []
send = session.send
def late(stream, kind, *arguments, **named):
    if kind == "execute_reply":
        held.append((stream, kind, arguments, named))
        return {"content": {"status": "ok"}}
    while kind == "kernel_info_reply" and held:
        old_stream, old_kind, old_arguments, old_named = held.pop(0)
        send(old_stream, old_kind, *old_arguments, **old_named)
    return send(stream, kind, *arguments, **named)
session.send = late
"""


def test_the_end_of_a_line_that_comes_later_is_still_that_of_the_usage_error(monkeypatch):
    kernel = BackgroundKernel("other", shell=None)
    kernel._manager = SimpleNamespace(session=Session(key=b""))
    shown: list[str] = []
    monkeypatch.setattr(kernel, "_show", lambda message: shown.append(json.loads(message["content"])["text"]))
    held: list[Mapping[str, Any]] = []
    for text in ("first", "\n", "UsageError: no %spell", "\n"):
        content = kernel._manager.session.pack({"name": "stderr", "text": text})
        kernel._show_after({"msg_type": "stream", "content": content}, held, [])
    assert (shown, len(held)) == (["first", "\n"], 2)
    kernel._show_after({"msg_type": "stream", "content": b'{"name": "stdout", "text": "more"}'}, held, [])
    assert (shown, held) == (["first", "\n", "UsageError: no %spell", "\n", "more"], [])


def test_a_kernel_whose_answer_waits_for_the_next_request_is_sent_one(home, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(home / "jupyter"))
    assert outputs(home, _REPLIES_STAY, "print('on')")[1] == [("stdout", "on\n")]


def test_the_exception_that_a_debugger_is_about_is_shown_too(home, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(home / "jupyter"))
    (shown,) = outputs(home, "%pdb on\n1 / 0")
    errors = [(name, text) for name, text in shown if name != "stdout"]
    assert errors[0] == ("ZeroDivisionError", "division by zero")
    assert errors[-1][0] == "StdinNotImplementedError"  # nbclient has nobody to ask


def test_figures_stand_below_the_exception_that_ends_their_cell(home, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(home / "jupyter"))
    draw = "lambda: get_ipython().display_pub.publish({'text/plain': 'figure'})"  # as matplotlib does after each cell
    _, failing, later = outputs(
        home, f"get_ipython().events.register('post_execute', {draw})", "1 / 0", "print('later')"
    )
    assert failing == [("ZeroDivisionError", "division by zero"), ("", "figure")]
    assert later == [("stdout", "later\n"), ("", "figure")]
