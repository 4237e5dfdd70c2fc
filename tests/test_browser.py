"""The new kernel in JupyterLab, chosen, switched to and used beside the notebook's own, in a real browser."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from browser import (
    choose_kernel,
    chromium,
    jupyterlab,
    needs_browser,
    run_cell,
    run_cell_until,
    there,
    wait_for_text,
    wait_until_idle,
)
from bundled import NOTEBOOK

pytestmark = [pytest.mark.network, pytest.mark.browser, needs_browser]
PROJECT = """
[project]
name = "lesson"
version = "0.1.0"
requires-python = ">=3.10"
dependencies = ["matplotlib", "tqdm", "ipywidgets"]

[tool.poetry]
package-mode = false
"""
STOCK = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
PLOT = """%%colab_env mine
import sys, time
import matplotlib.pyplot as plt
from tqdm.auto import tqdm  # a text here: this Jupyter has no widgets
for _ in tqdm(range(5), desc="counting"):
    time.sleep(0.2)
plt.figure(figsize=(3, 2)); plt.plot([1, 3, 2]); plt.show()
print(sys.executable)"""


def test_the_new_kernel_can_be_chosen_in_jupyterlab_and_runs_a_cell(home, tmp_path):
    project = tmp_path / "lesson"
    _set_up(project)
    notebook = nbformat.read(NOTEBOOK, 4)
    cell = nbformat.v4.new_code_cell("import sys\nprint(sys.executable)")
    del cell["id"]  # a notebook of minor version 0 has none
    notebook.cells.insert(2, cell)
    nbformat.write(notebook, project / "lesson.ipynb", version=nbformat.NO_CONVERT)
    with jupyterlab(project, home) as address, chromium(tmp_path / "profile") as driver:
        driver.get(address.format(path="lesson.ipynb"))
        choose_kernel(driver, _display_name())
        shown = run_cell_until(driver, 0, ".venv/bin/python")
        driver.save_screenshot(str(tmp_path / "chosen.png"))
    assert str(project / ".venv/bin/python") in shown.replace("\n", "")


def test_a_notebook_switches_its_session_and_the_next_cell_is_on_the_new_python(home, tmp_path):
    project = tmp_path / "lesson"
    _set_up(project)
    _write(project, "import colab_env\ncolab_env.switch('mine')", "import sys\nprint(sys.executable)")
    with jupyterlab(project, home) as address, chromium(tmp_path / "profile") as driver:
        driver.get(address.format(path="lesson.ipynb"))
        wait_until_idle(driver, STOCK["display_name"])
        run_cell(driver, 0)
        wait_for_text(driver, "Go on with the next cell")
        wait_until_idle(driver, _display_name())
        shown = run_cell_until(driver, 1, ".venv/bin/python")
        driver.save_screenshot(str(tmp_path / "switched.png"))
    assert str(project / ".venv/bin/python") in shown.replace("\n", "")


def test_a_cell_in_the_environment_s_kernel_shows_its_plot_and_its_progress_bar(home, tmp_path):
    project = tmp_path / "lesson"
    project.mkdir()
    (project / "pyproject.toml").write_text(PROJECT)
    _set_up(project)
    _write(project, "%load_ext colab_env", PLOT)
    with jupyterlab(project, home) as address, chromium(tmp_path / "profile") as driver:
        driver.get(address.format(path="lesson.ipynb"))
        wait_until_idle(driver, STOCK["display_name"])
        run_cell(driver, 0)
        run_cell(driver, 1)
        shown = wait_for_text(driver, ".venv/bin/python")
        driver.save_screenshot(str(tmp_path / "plot.png"))
        plots = there(driver, ".jp-OutputArea-output img")
    assert "counting: 100%|" in shown
    assert "5/5" in shown
    assert len(plots) == 1


def _set_up(project: Path) -> None:
    argv = [sys.executable, "-m", "colab_env", "setup", "--interpreter", "system", "--kernel", "mine"]
    subprocess.run([*argv, "--project", project], check=True, cwd=NOTEBOOK.parent)


def _write(project: Path, *cells: str) -> None:
    metadata = {"kernelspec": STOCK, "language_info": {"name": "python"}}
    written = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata=metadata)
    nbformat.write(written, project / "lesson.ipynb")


def _display_name() -> str:
    argv = [sys.executable, "-m", "colab_env", "kernel", "list", "--json"]
    listed = json.loads(subprocess.run(argv, check=True, capture_output=True, cwd=NOTEBOOK.parent).stdout)
    return next(each["display_name"] for each in listed["kernels"] if each["name"] == "mine")
