"""One notebook file does the right thing from the top: on a fresh machine, again, inside the new kernel, and without a page."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from conftest import ROOT, Machine
from nbclient import NotebookClient

from colab_env import steps

FIRST = f"""\
import sys
sys.path.append({str(ROOT)!r})
import colab_env
colab_env.switch("lesson")
"""


@pytest.fixture
def registered(machine: Machine, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    steps.install_python(machine.python.version, interpreter="system")
    steps.configure_venv(project)
    steps.register_kernel("lesson", project=project)
    return project


def run(project: Path, kernel: str) -> list[str]:
    """Run all cells with nbclient, as papermill does; return what each printed."""
    sources = [FIRST, "import sys; print(sys.executable)", "kept = 1", "print(kept)"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    client = NotebookClient(notebook, kernel_name=kernel, timeout=60, resources={"metadata": {"path": str(project)}})
    client.execute()
    return ["".join(each.get("text", "") for each in cell.outputs) for cell in notebook.cells]


@pytest.mark.network
@pytest.mark.filterwarnings("ignore")
def test_without_a_page_the_run_goes_on_with_the_new_python(registered: Path) -> None:
    outputs = run(registered, "python3")
    assert "in place" in outputs[0]
    assert outputs[1].strip() == str(registered / ".venv" / "bin" / "python")
    assert outputs[3] == "1\n"


@pytest.mark.network
@pytest.mark.filterwarnings("ignore")
def test_inside_the_new_kernel_the_same_notebook_changes_nothing(registered: Path) -> None:
    outputs = run(registered, "lesson")
    assert outputs[0] == "This is the kernel 'lesson' already.\n"
    assert outputs[1].strip() == str(registered / ".venv" / "bin" / "python")
