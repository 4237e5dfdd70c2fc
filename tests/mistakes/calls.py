"""Calls from Python: what the API is given, in a script and in a cell of a notebook, and what is asked of the magics."""

from __future__ import annotations

import json
import sys

from .commands import NOTEBOOK, OLD
from .files import GOOD, HEAD
from .mistake import API, MAGIC, PAGE, Mistake

_SETUP = "import colab_env\ncolab_env.setup(interpreter='system')"
# A kernel that Jupyter finds, as another tool registers one.
_KERNEL = {
    "../home/jupyter/kernels/py312/kernel.json": json.dumps(
        {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "Python 3.12",
            "language": "python",
        }
    )
}


def _call(name: str, typed: str, *says: str, **more) -> Mistake:
    return Mistake(**{"name": name, "typed": f"colab_env.{typed}", "door": API, "says": says, **more})


def _cell(name: str, typed: str, *says: str, **more) -> Mistake:
    return Mistake(**{"name": name, "typed": typed, "door": MAGIC, "says": says, **more})


def _form(name: str, lines: str, *says: str, cure: str | None = None, **more) -> Mistake:
    """The form of the bundled notebook with something written into it, and its next cell."""
    cell = (
        'python, interpreter, kernel_name, project_directory = "", "system", "", "."\n'
        "{}\nimport colab_env\n"
        "colab_env.setup(python or None, interpreter=interpreter, project=project_directory, kernel=kernel_name or None)"
    )
    cured = None if cure is None else cell.format(cure)
    return Mistake(**{"name": name, "typed": cell.format(lines), "door": PAGE, "says": says, "cure": cured, **more})


MISTAKES = (
    _call(
        "a version as a number",
        "setup(3.12)",
        "3.12",
        hint='"3.12"',
        cure="colab_env.setup('3.12', interpreter='system')",
    ),
    _call(
        "3.10 as a number",
        "setup(python=3.10)",
        "3.1",
        hint='put it in quotes: python="3.10"',
        cure="colab_env.setup(python='3.10', interpreter='uv')",
    ),
    _call(
        "a version as a tuple",
        "setup((3, 12))",
        "(3, 12)",
        hint='"3.12"',
        cure="colab_env.setup('3.12', interpreter='uv')",
    ),
    _call(
        "a version with quotes in quotes",
        "plan('\"3.12\"', interpreter='system')",
        "did you mean '3.12'?",
        cure="colab_env.plan('3.12', interpreter='system')",
    ),
    _call(
        "a source that nobody knows",
        "setup(interpreter='conda')",
        "no interpreter source 'conda'",
        hint="system",
        cure="colab_env.setup(interpreter='system')",
    ),
    _call(
        "a source that is None",
        "setup(interpreter=None)",
        "no interpreter source None",
        hint="auto",
        cure="colab_env.setup(interpreter='auto')",
    ),
    _call(
        "an installer that nobody knows",
        "setup(installer='pip')",
        "no installer 'pip'",
        hint="uv, poetry",
        files={"requirements.txt": "six==1.17.0\n"},
        cure="colab_env.setup(installer='uv')",
    ),
    _call(
        "a kernel name with a space",
        "setup(kernel='my lab', interpreter='system')",
        "my lab",
        code=19,
        hint="'my-lab'",
        cure="colab_env.setup(kernel='my-lab', interpreter='system')",
    ),
    _call(
        "a lock file that is not there",
        "setup(lock='nothere.txt')",
        "there is no lock file",
        "nothere.txt",
        mend={"nothere.txt": "six==1.17.0\n"},
    ),
    _call(
        "an empty project",
        "setup(project='', lock='nothere.txt')",
        "there is no lock file",
        mend={"nothere.txt": "six==1.17.0\n"},
    ),
    _call(
        "a project with a null byte",
        "setup(project='a\\0b')",
        "is not a path",
        hint="check the path",
        cure="colab_env.setup(project='.', interpreter='system')",
    ),
    _call(
        "keep with a version",
        "setup(keep=['numpy==1.26'])",
        "numpy==1.26",
        hint="names alone",
        cure="colab_env.setup(keep=['six'], interpreter='system')",
        files={"requirements.txt": "six==1.17.0\n"},
    ),
    _call(
        "keep as one text of several",
        "setup(keep='six, idna', interpreter='system')",
        "six, idna",
        hint="write keep=['six', 'idna']",
        cure="colab_env.setup(keep=['six', 'idna'], interpreter='system')",
        files={"requirements.txt": "six==1.17.0\nidna==3.7\n"},
    ),
    _call(
        "an extra that there is not",
        "setup(extras=['x'], interpreter='system')",
        "no extra 'x'",
        hint="no extra at all",
        files={"pyproject.toml": GOOD},
        cure="colab_env.setup(interpreter='system')",
    ),
    _call(
        "trust without a cache",
        f"setup(trust='{'0' * 64}', interpreter='system')",
        "no cache is given",
        hint="cache=",
        cure=f"colab_env.setup(trust='{'0' * 64}', interpreter='system', cache='.')",
    ),
    _call(
        "a Poetry version as a number",
        "setup(poetry_version=2.1, interpreter='system')",
        "2.1",
        hint='poetry_version="2.1"',
        cure="colab_env.setup(poetry_version='2.1', interpreter='system')",
    ),
    _call(
        "a step before its Python",
        "install_colab_packages()",
        "no Python is chosen yet",
        code=4,
        hint="install_python()",
        cure="colab_env.install_python(interpreter='system')",
    ),
    _call(
        "a kernel before its environment",
        "register_kernel('lab')",
        "virtual environment",
        code=4,
        hint="setup() for all steps",
        cure="colab_env.setup(interpreter='system', kernel='lab')",
    ),
    _call(
        "a kernel that there is not",
        "check_kernel('py399')",
        "py399",
        code=4,
        cure="colab_env.setup(interpreter='system')",
    ),
    _call("a kernel that there is not, removed", "remove_kernel('py399')", "py399", code=19),
    _call(
        "a switch outside of a notebook",
        "switch('py399')",
        "py399",
        code=4,
        cure="colab_env.setup(interpreter='system')",
    ),
    _call("a way to switch that there is not", "switch('py399', how='reload')", "'reload'", hint="restart"),
    _call(
        "undo of a step that there is not",
        "undo(['frob'])",
        "frob",
        cure="colab_env.undo(['add'])",
        hint="there is: add",
    ),
    _call(
        "undo of a step, by one text",
        "undo('regster_kernel')",
        "regster_kernel",
        hint="register_kernel",
        cure="colab_env.undo('register_kernel')",
    ),
    _call(
        "a notebook that is not there",
        "notebooks.undo('lessn.ipynb')",
        "no notebook lessn.ipynb",
        code=22,
        hint="did you mean lesson.ipynb?",
        files={"lesson.ipynb": NOTEBOOK},
    ),
    _call(
        "an address in the place of a notebook",
        "notebooks.lock('https://github.com/OWNER/REPO/blob/main/lesson.ipynb')",
        "is an address, not a file",
        code=22,
        hint="curl -LO https://raw.githubusercontent.com/OWNER/REPO/main/lesson.ipynb",
    ),
    _call(
        "a directory in the place of a notebook",
        "notebooks.add('.', 'pandas')",
        "is a directory, not a notebook",
        code=22,
        hint="name a notebook in it: lesson.ipynb",
        files={"lesson.ipynb": NOTEBOOK},
        cure="colab_env.notebooks.add('lesson.ipynb', 'six')",
    ),
    _call(
        "a script in the place of a notebook",
        "notebooks.add('tool.py', 'pandas')",
        "is a Python script, not a notebook",
        code=22,
        hint="`colab-env run --script tool.py`",
        files={"tool.py": "print(1)\n"},
    ),
    _call(
        "a notebook of nbformat 3",
        "set_notebook_kernel('lesson.ipynb', 'py312')",
        "lesson.ipynb",
        code=23,
        files={"lesson.ipynb": OLD},
    ),
    _call(
        "a notebook without a backup",
        "restore_notebook('lesson.ipynb')",
        "no backup",
        code=22,
        files={"lesson.ipynb": NOTEBOOK},
    ),
    _call("a badge outside of git", "badge('lesson.ipynb')", "is not in a git repository", code=25),
    _call("a cache that is not there", "cache_list('nothere')", "nothere", code=40, cure="colab_env.cache_list('.')"),
    _call(
        "prune of a negative number",
        "cache_prune('.', keep=-1)",
        "cannot be negative",
        hint="give keep=2, or older_than=30",
        cure="colab_env.cache_prune('.', keep=2)",
    ),
    _call(
        "save before a set-up",
        "save('snapshots')",
        "",
        code=4,
        hint="setup()",
        cure="colab_env.setup(interpreter='system')",
    ),
    _call(
        "native check without a lock file",
        "native.check()",
        "lock",
        code=4,
        mend={"pylock.toml": 'lock-version = "1.0"\ncreated-by = "a tool"\npackages = []\n'},
    ),
    _call(
        "the Python that a file of the project asks for",
        "plan(interpreter='system')",
        "pyproject.toml, line 4: '3,11' is not a Python version",
        "did you mean '3.11'?",
        code=18,
        files={"pyproject.toml": f'{HEAD}requires-python = "3,11"\n'},
        mend={"pyproject.toml": GOOD},
    ),
    _cell("%%colab_env without a kernel", "%%colab_env\nprint(1)", "no kernel", code=4, hint="setup()", cure=_SETUP),
    _cell(
        "%%colab_env of a kernel that there is not",
        "%%colab_env nosuch\nprint(1)",
        "nosuch",
        code=4,
        hint="setup()",
        source="N5",
        cure=_SETUP,
    ),
    _cell(
        "%%colab_env, an option that nobody knows",
        "%%colab_env py312 --psuh x\nprint(1)",
        "--psuh",
        hint="did you mean --push?",
        files=_KERNEL,
        cure="x = 1\nget_ipython().run_cell_magic('colab_env', 'py312 --push x', 'print(x)')",
    ),
    _cell(
        "%%colab_env, names with a space",
        "%%colab_env py312 --push x y\nprint(1)",
        "'y'",
        hint="--push x,y",
        files=_KERNEL,
        cure="x = y = 1\nget_ipython().run_cell_magic('colab_env', 'py312 --push x,y', 'print(x, y)')",
    ),
    _cell(
        "%%colab_env, a name that is none",
        "%%colab_env py312 --push 1x\nprint(1)",
        "'1x'",
        hint="--push",
        files=_KERNEL,
        cure="x1 = 1\nget_ipython().run_cell_magic('colab_env', 'py312 --push x1', 'print(x1)')",
    ),
    _cell(
        "%%colab_env, a quote that is not closed",
        "%%colab_env 'py312\nprint(1)",
        "quot",
        hint="--push",
        files=_KERNEL,
        cure="%%colab_env 'py312'\nprint(1)",
    ),
    _cell(
        "%colab_env, a word that nobody knows",
        "%colab_env stauts",
        "'stauts'",
        hint="did you mean %colab_env status?",
        cure="%colab_env status",
    ),
    _cell("%colab_env switch, two names", "%colab_env switch a b", "'switch a b'", hint="switch [NAME]"),
    _cell("%colab_env add, nothing", "%colab_env add", "'add'", hint="add PACKAGE"),
    _cell("%colab_env switch to nothing there", "%colab_env switch py399", "py399", code=4, cure=_SETUP),
    _form("a version in words", 'python = "three"', "'three' is not a Python version", cure='python = "3.12"'),
    _form("a version with a comma", 'python = "3,12"', "did you mean '3.12'?", cure='python = "3.12"'),
    _form("a version from a Japanese keyboard", 'python = "３．１２"', "did you mean '3.12'?", cure='python = "3.12"'),
    _form("a kernel name with a space", 'kernel_name = "my lab"', "my lab", code=19, cure='kernel_name = "my-lab"'),
    _form(
        "a project directory that is the notebook",
        'project_directory = "lesson.ipynb"',
        "lesson.ipynb is a file, not a directory",
        files={"lesson.ipynb": NOTEBOOK},
        cure='project_directory = "."',
    ),
    _form(
        "a source that nobody knows",
        'interpreter = "conda"',
        "no interpreter source 'conda'",
        cure='interpreter = "system"',
    ),
)
