"""The bundled notebook: as Colab writes it, and run from top to bottom, twice, by a real Jupyter kernel."""

from __future__ import annotations

import re
import shutil

import nbformat
import pytest
from bundled import NOTEBOOK, ROOT, PreparedMachine, build_wheel, texts, with_parameters

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
    assert "-m pip install -q" in code[0].source


def test_every_step_is_one_call_under_one_sentence():
    cells = nbformat.read(NOTEBOOK, 4).cells
    steps = [cell for cell in cells if re.search(r"colab_env\.(install|configure|register)_", cell.source)]
    assert len(steps) == 5
    assert all(cell.source.count("colab_env.") == 1 for cell in steps)
    assert all(cells[cells.index(cell) - 1].cell_type == "markdown" for cell in steps)


@pytest.mark.machine
@pytest.mark.network
def test_run_all_works_twice_and_the_second_time_everything_is_there(machine, wheel, tmp_path):
    path, project = tmp_path / "run.ipynb", tmp_path / "lesson"
    shutil.copy(NOTEBOOK, path)
    with_parameters(path, package=str(wheel), python="", interpreter="system", project_directory=str(project))
    first, second = (_run_all(machine, path) for _ in range(2))
    assert re.search(r"✓ Kernel 'py3\d+', plain in", first[6])
    assert f"{project}/.venv/bin/python" in first[8], first[7:]
    assert "This kernel becomes Python 3." in first[7]
    assert all("(already there, 0." in text for text in second[2:7]), second
    assert (project / ".venv/bin/python").exists()


@pytest.mark.machine
@pytest.mark.network
def test_as_it_is_it_takes_the_sources_that_lie_beside_it_and_ends_on_the_new_python(machine, tmp_path):
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__")
    checkout.mkdir()
    for name in ("colab_env", "packaging"):
        shutil.copytree(ROOT / name, checkout / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", NOTEBOOK.name):
        shutil.copy(ROOT / name, checkout)
    path = checkout / NOTEBOOK.name
    with_parameters(path, python="")  # the Pythons of the machine that runs the tests are its own affair
    shown = _run_all(machine, path)
    assert str(checkout / "build/demo/.venv/bin/python") in shown[8], shown
    assert not (checkout / ".venv").exists()


def _run_all(machine, path):
    done = machine.run([machine.python, "-c", RUN_ALL, path], cwd=path.parent)
    assert done.returncode == 0, done.stderr
    return texts(path)
