"""Every line that README shows is typed by a script, on a machine with a bare Python, from top to bottom."""

from __future__ import annotations

import re
import shlex
import subprocess

import nbformat
import pytest
from bundled import ROOT, PreparedMachine, build_wheel

pytestmark = [pytest.mark.machine, pytest.mark.network]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUN = (
    "import sys, nbformat; from nbclient import NotebookClient; path = sys.argv[1]; notebook = nbformat.read(path, 4); "
    "NotebookClient(notebook, timeout=600, kernel_name='python3').execute(); nbformat.write(notebook, path)"
)
# Not typed here: what continuous integration runs (tests/test_readme.py), and a Jupyter that stays (tests/test_notebooks.py).
ELSEWHERE = ("build/venv", "colab-env open")


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    directory = tmp_path_factory.mktemp("readme-machine")
    return PreparedMachine.make(directory), build_wheel(directory / "wheel")


def test_the_cells_make_a_kernel_and_the_notebook_goes_on_in_it(machine, tmp_path):
    (prepared, wheel), project = machine, tmp_path / "content"
    project.mkdir()
    first, steps = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    # The stand-ins of this machine: the package from this tree, a Python that is here, a project of its own.
    here = {"-q colab-bootstrap": f"-q {wheel}", 'python="3.12"': 'interpreter="system"', '"py312"': "name"}
    for text, other in here.items():
        first = first.replace(text, other)
    first = first.replace("colab_env.setup(", "name = colab_env.setup(").replace('system")', 'system").kernel')
    steps = re.sub(r"install_miniconda\(.*", 'install_python(interpreter="system")', steps)
    steps = steps.replace('"/content"', repr(str(project))).replace('"py312"', '"steps"')
    cells = [steps, *first.strip().splitlines()[2:], "import sys\nprint(sys.executable)"]
    cells = ["\n".join(first.strip().splitlines()[:2]), *cells]
    path = project / "lesson.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells]), path)
    done = prepared.run([prepared.python, "-c", RUN, path], cwd=project)
    assert done.returncode == 0, done.stderr
    last = nbformat.read(path, 4).cells[-1].outputs[0].text
    assert last.strip() == str(project / ".venv/bin/python")


def test_the_commands_do_what_their_words_say(machine, tmp_path):
    prepared, wheel = machine
    subprocess.run([prepared.python, "-m", "pip", "install", "-q", wheel], check=True)
    shell = prepared.environ() | {"COLAB_ENV_BASE": str(tmp_path / "envs")}
    project = tmp_path / "project"
    project.mkdir()
    (project / "shop.py").write_text("def app(environ, start_response):\n    return []\n")
    (project / "build.log").write_text("fatal error: graphviz/cgraph.h: No such file or directory\n")
    subprocess.run(["colab-env", "setup", "--interpreter", "system"], cwd=project, env=shell, check=True)
    lines = [
        line
        for block in re.findall(r"^```console\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
    ]
    typed = [line.partition("#")[0].strip() for line in lines if not any(word in line for word in ELSEWHERE)]
    assert len(typed) >= 4
    for line in typed:
        words = [*shlex.split(line), *(["--check-config"] if "gunicorn shop:app" in line else [])]
        done = subprocess.run(words, cwd=project, env=shell, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr
        assert done.returncode == 0, (line, done.stdout, done.stderr)
