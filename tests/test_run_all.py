"""One notebook file does the right thing from the top: on a fresh machine, again, inside the new kernel, and without a page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT, PreparedMachine
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

from colab_env import index, setting_up, uv
from colab_env.jupyter import colab_layer
from colab_env.machine import Machine

pytestmark = [pytest.mark.machine, pytest.mark.network, pytest.mark.filterwarnings("ignore")]
# The first cell of a fresh notebook; then the switch, what comes after it, and what a second run from the top finds.
IMPORT = f"import sys; sys.path.append({str(ROOT)!r}); import colab_env\n"
SETUP = "colab_env.setup(interpreter='system', kernel='lesson')"
# As after `%pip install colab-bootstrap` in the new kernel: the package itself stands before what the layer lends.
ITSELF = f"""
sys.path.insert(0, {str(ROOT)!r})
for name in [name for name in sys.modules if name.partition(".")[0] == "colab_env"]:
    del sys.modules[name]
from colab_env.machine import Machine
here = Machine.detect()
print(here.machine_python, here.data, here.is_colab)
"""
CELLS = (
    IMPORT + SETUP,
    "colab_env.switch('lesson')",
    "import sys; print(sys.executable)",
    "kept = 1",
    "print(kept)",
    IMPORT + SETUP,
    ITSELF,
)


def notebook() -> nbformat.NotebookNode:
    kernelspec = {"name": "python3", "display_name": "Python 3"}
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernelspec})


def shown(ran: nbformat.NotebookNode) -> list[str]:
    """Return what each cell showed."""
    return ["".join(_text(each) for each in cell.outputs) for cell in ran.cells]


def _text(output: nbformat.NotebookNode) -> str:
    return str(output.get("text") or output.get("data", {}).get("text/plain", ""))


def by_nbclient(project: Path, kernel: str = "python3") -> nbformat.NotebookNode:
    ran = notebook()
    NotebookClient(ran, kernel_name=kernel, timeout=300, resources={"metadata": {"path": str(project)}}).execute()
    return ran


def requires(machine: PreparedMachine, project: Path) -> None:
    short = machine.python.short_version
    (project / "pyproject.toml").write_text(
        f'[project]\nname = "lesson"\nversion = "1"\nrequires-python = "=={short}.*"\n[tool.poetry]\npackage-mode = false\n'
    )


def check(outputs: list[str], machine: PreparedMachine, project: Path) -> None:
    """Hold what is true of every run, whatever kernel it began in."""
    assert outputs[2].strip() == str(project / ".venv" / "bin" / "python")
    assert outputs[4] == "1\n"
    assert outputs[5].count("already there") == 5, outputs[5]
    assert outputs[6] == f"{Machine.detect().machine_python} {machine.data} False\n"


def test_without_a_page_a_notebook_runs_through_on_a_fresh_machine_and_again(
    machine: PreparedMachine, project: Path
) -> None:
    requires(machine, project)
    for _ in range(2):
        outputs = shown(by_nbclient(project))
        assert "Ready in" in outputs[0]
        assert "in place" in outputs[1]
        check(outputs, machine, project)
    assert outputs[0].count("already there") == 5


def test_inside_the_new_kernel_the_same_notebook_changes_nothing(machine: PreparedMachine, project: Path) -> None:
    requires(machine, project)
    setting_up.setup(interpreter="system", kernel="lesson", project=project)
    registered = (Machine.detect().jupyter / "kernels/lesson/kernel.json").read_bytes()
    outputs = shown(by_nbclient(project, "lesson"))
    assert outputs[0].count("already there") == 5
    assert outputs[1] == "This is the kernel 'lesson' already.\n"
    check(outputs, machine, project)
    assert (Machine.detect().jupyter / "kernels/lesson/kernel.json").read_bytes() == registered


def test_a_layer_whose_kernels_would_call_a_package_that_is_gone_is_built_anew(machine: PreparedMachine) -> None:
    (layer,) = (machine.data / "layers").iterdir()
    assert colab_layer.health_check(layer) is None
    place = colab_layer.site(layer) / "colab_env" / "machine.json"
    place.unlink()  # a hard link
    place.write_text('{"python": "/nowhere/bin/python", "path": "/nowhere"}')
    assert colab_layer.health_check(layer) == "the colab-env that kernels call is gone"


def test_papermill_runs_it_to_its_end_on_the_new_python(
    machine: PreparedMachine, project: Path, tmp_path: Path
) -> None:
    requires(machine, project)
    runtime, place = Machine.detect(), tmp_path / "papermill"
    installer = uv.installer(runtime, index.settings(runtime))
    installer.install(["papermill"], python=Path(sys.executable), target=place)
    nbformat.write(notebook(), project / "in.ipynb")
    code = f"import sys; sys.path.append({str(place)!r}); from papermill.cli import papermill; papermill()"
    argv = [sys.executable, "-c", code, "in.ipynb", "out.ipynb", "--no-progress-bar"]
    done = subprocess.run(argv, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    check(shown(nbformat.read(project / "out.ipynb", 4)), machine, project)


def test_a_kernel_that_dies_in_place_ends_the_run_and_the_next_run_says_why(
    machine: PreparedMachine, project: Path
) -> None:
    requires(machine, project)
    setting_up.setup(interpreter="system", kernel="lesson", project=project)
    (site,) = (project / ".venv/lib").glob("python3.*/site-packages")
    (site / "sitecustomize.py").write_text("import os, sys\nif 'COLAB_ENV_BOOT' in os.environ: sys.exit('not today')")
    with pytest.raises(DeadKernelError):
        by_nbclient(project)
    (site / "sitecustomize.py").unlink()
    outputs = shown(by_nbclient(project))
    assert "The kernel 'lesson' could not start: it ended before it answered." in outputs[0]
    assert "not today" in outputs[0]
    check(outputs, machine, project)
