"""The bundled notebook: as Colab writes it, and run from top to bottom, twice, by a real Jupyter kernel."""

from __future__ import annotations

import re
import shutil

import nbformat
import pytest
from bundled import NOTEBOOK, PreparedMachine, build_wheel, texts, with_parameters

RUN_ALL = (
    "import sys, nbformat; from nbclient import NotebookClient; path = sys.argv[1]; notebook = nbformat.read(path, 4); "
    "NotebookClient(notebook, timeout=600, kernel_name='python3').execute(); nbformat.write(notebook, path)"
)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    return PreparedMachine.make(tmp_path_factory.mktemp("notebook-machine"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_it_is_a_valid_notebook_without_outputs_as_colab_writes_it():
    notebook = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(notebook)
    assert notebook.metadata.colab == {"provenance": [], "include_colab_link": True}
    assert all(cell.metadata.id for cell in notebook.cells)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert "colab-badge.svg" in notebook.cells[0].source
    assert "%pip install -q" in code[0].source


def test_every_step_is_one_call_under_one_sentence():
    cells = nbformat.read(NOTEBOOK, 4).cells
    calls = [cell.source for cell in cells if cell.source.startswith("colab_env.")]
    assert len(calls) == 5
    assert all("\n" not in call for call in calls)
    assert all(cells[cells.index(cell) - 1].cell_type == "markdown" for cell in cells if cell.source in calls)


@pytest.mark.machine
@pytest.mark.network
def test_run_all_works_twice_and_the_second_time_everything_is_there(machine, wheel, tmp_path):
    path, project = tmp_path / "run.ipynb", tmp_path / "lesson"
    shutil.copy(NOTEBOOK, path)
    with_parameters(path, package=str(wheel), python="", interpreter="system", project_directory=str(project))
    first, second = (_run_all(machine, path) for _ in range(2))
    name = re.search(r"✓ Kernel '(py3\d+)', plain in", first[6])[1]
    assert f"✓ Kernel {name!r} works" in first[7]
    assert all("(already there, 0." in text for text in second[2:7]), second
    assert (project / ".venv/bin/python").exists()


def _run_all(machine, path):
    done = machine.run([machine.python, "-c", RUN_ALL, path], cwd=path.parent)
    assert done.returncode == 0, done.stderr
    return texts(path)
