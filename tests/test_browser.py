"""The new kernel in JupyterLab, chosen and used by hand in a real browser."""

from __future__ import annotations

import subprocess
import sys

import nbformat
import pytest
from browser import choose_kernel, chromium, jupyterlab, needs_browser, run_cell, wait_for_text
from bundled import NOTEBOOK

pytestmark = [pytest.mark.network, pytest.mark.browser, needs_browser]


def test_the_new_kernel_can_be_chosen_in_jupyterlab_and_runs_a_cell(home, tmp_path):
    project = tmp_path / "lesson"
    setup = [
        sys.executable,
        "-m",
        "colab_env",
        "setup",
        "--interpreter",
        "system",
        "--project",
        project,
        "--kernel",
        "mine",
    ]
    subprocess.run(setup, check=True, cwd=NOTEBOOK.parent)
    notebook = nbformat.read(NOTEBOOK, 4)
    cell = nbformat.v4.new_code_cell("import sys\nprint(sys.executable)")
    del cell["id"]  # a notebook of minor version 0 has none
    notebook.cells.insert(2, cell)
    nbformat.write(notebook, project / "lesson.ipynb", version=nbformat.NO_CONVERT)
    with jupyterlab(project, home) as address, chromium(tmp_path / "profile") as driver:
        driver.get(address.format(path="lesson.ipynb"))
        choose_kernel(driver, _display_name(project))
        run_cell(driver)
        shown = wait_for_text(driver, ".venv/bin/python")
        driver.save_screenshot(str(tmp_path / "jupyterlab.png"))
    assert str(project / ".venv/bin/python") in shown.replace("\n", "")


def _display_name(project):
    listed = subprocess.run(
        [sys.executable, "-m", "colab_env", "kernel", "list"],
        check=True,
        text=True,
        capture_output=True,
        cwd=NOTEBOOK.parent,
    )
    line = next(line for line in listed.stdout.splitlines() if line.startswith("mine "))
    return line[len("mine ") :].split("  ")[0].strip()
