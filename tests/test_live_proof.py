"""The notebook that anybody can run on a live machine: run here on the stand-in, and what it keeps and prints."""

from __future__ import annotations

import time
from pathlib import Path

import nbformat
import pytest
from boot_faults import PYTHONS, VERSIONS, colab, next_cell
from colab_standin import Page, Refusal, serving, unavailable
from conftest import ROOT

from colab_env import live_proof
from colab_env.errors import MissingStepError
from colab_env.machine import Machine

NOTEBOOK = ROOT / "docs/live_proof.ipynb"
VERSION = "3.12"
_ITSELF = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
for name in [name for name in sys.modules if name.partition(".")[0] == "colab_env"]:
    del sys.modules[name]
"""


def cells() -> list[str]:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_the_notebook_is_clean_and_valid() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


def test_what_was_tried_is_kept_over_a_switch_and_printed_as_one_table(home: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingStepError, match="nothing has been tried"):
        live_proof.report()
    live_proof.begin()
    live_proof._saved([("tables", None, 0.1), ("auth", "ImportError: no | here", 0.2)])
    monkeypatch.setattr(live_proof, "_kernel", lambda _: live_proof._OWN)
    live_proof._saved([("tables", "https://ada:hunter2@host/x", 0.1)])
    live_proof._saved([("tables", None, 0.3)])
    lines = repr(live_proof.report()).splitlines()
    assert "| feature | the machine's Python | this notebook's own |" in lines
    assert "| tables | yes (0.1 s) | yes (0.3 s) |" in lines
    assert "| auth | no: ImportError: no \\| here | - |" in lines
    assert lines[-1] == "| **together** | 1 of 2 | 1 of 2 |"
    live_proof.begin()
    with pytest.raises(MissingStepError):
        live_proof.report()


def test_an_environment_of_the_machine_s_own_python_is_the_notebook_s(monkeypatch) -> None:
    machine = Machine.detect()
    monkeypatch.setattr(live_proof.sys, "prefix", str(machine.machine_python.parents[1]))
    assert live_proof._kernel(machine) == live_proof._STOCK
    monkeypatch.setattr(live_proof.sys, "prefix", "/content/live-proof/.venv")
    assert live_proof._kernel(machine) == live_proof._OWN


def test_no_secret_is_kept(home: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "hunter2" not in repr(live_proof._saved([("x", "no answer of https://ada:hunter2@host/x", 0.1)]))


def _javascript(request: dict) -> object:
    code = request["script"] if "script" in request else str(request)
    return Refusal(error="ReferenceError") if "nothing.of.this" in code else 42


@pytest.mark.machine
@pytest.mark.network
@pytest.mark.skipif(unavailable() is not None, reason=unavailable() or "available")
def test_run_all_on_a_colab_machine_ends_in_a_report_of_both_pythons() -> None:
    if not list(VERSIONS.glob(f"{VERSION}.*")):
        pytest.skip(f"no Python {VERSION} in {VERSIONS}")
    python = f"{PYTHONS}/{max(VERSIONS.glob(f'{VERSION}.*')).name}/bin/python"
    get, stock, choose, switch, again, own, with_person, report = cells()
    choose = choose.replace('python = "3.12"', f"python = {python!r}").replace('"uv"', '"system"')
    with colab() as root, serving(root) as server, Page(server.url, name="proof.ipynb") as page:
        page.open()
        page.answers = {"cell_javascript_eval": _javascript, "GetSecret": {"exists": False}}
        page.execute(f"import sys; sys.path.append({str(ROOT)!r})")
        for code in (stock, choose, switch):
            cell = page.execute(code, timeout=300)
            assert not cell.error, cell.error
        time.sleep(1)  # the request follows the end of the cell
        next_cell(page, on="/content/live-proof/.venv/bin/python")
        page.execute(_ITSELF)  # what the second installation does
        for code in (own, with_person, report):
            cell = page.execute(code, timeout=120)
            assert not cell.error, cell.error
    text = cell.stdout
    rows = {line.split("|")[1].strip(): line.split("|")[2:4] for line in text.splitlines() if line.startswith("| ")}
    for feature in ("tables", "JavaScript answers", "an error of the page can be caught", "a secret that nobody has"):
        assert all("yes" in each for each in rows[feature]), text
    assert f"Python {VERSION}" in text
    assert "Kernel       live-proof" in text
    assert all("%pip install -q {package}" in each for each in (get, again))
