"""The command line: words, options and names that nobody knows."""

from __future__ import annotations

import json

from .files import PLAN, SETUP
from .mistake import Mistake

NOTEBOOK = json.dumps(
    {
        "cells": [],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
)
CELL = json.dumps(
    {
        "cells": [
            {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": "import pandas"}
        ],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 4,
    }
)
OLD = json.dumps({"worksheets": [], "metadata": {}, "nbformat": 3, "nbformat_minor": 0})
LOCKED = {"requirements.txt": "six==1.17.0\n"}


def _typo(typed: str, meant: str, cure: str | None = None, **more) -> Mistake:
    """A word that is not one of ours, beside the one that is meant."""
    return Mistake(
        **{
            "name": typed,
            "typed": typed,
            "says": (typed.rsplit(maxsplit=1)[-1], meant),
            "cure": cure,
            "source": "N10",
            **more,
        }
    )


def _notebook(name: str, verb: str, text: str | None, *says: str, **more) -> Mistake:
    """Something about a notebook file."""
    files = {} if text is None else {"lesson.ipynb": text}
    return Mistake(**{"name": f"{verb}: {name}", "typed": verb, "files": files, "says": says, "code": 22, **more})


MISTAKES = (
    _typo("setpu", "setup", "setup --help"),
    _typo("instal-python", "install-python", "install-python --help"),
    _typo("kernels", "kernel", "kernel list"),
    _typo("list", "env list", "env list"),
    _typo("install", "setup", "setup --help"),
    _typo("create", "env create", "env list"),
    _typo("uninstall", "undo", "undo --dry-run"),
    _typo("doctr", "doctor", None),
    _typo("STATUS", "status", "status"),
    _typo("env lst", "list", "env list"),
    _typo("env delete", "purge", "env purge --help"),
    _typo("env ls", "list", "env list"),
    _typo("kernel rm", "remove", "kernel remove --help"),
    _typo("kernel regsiter", "register", "kernel register --help"),
    _typo("notebook set", "set-kernel", "notebook set-kernel --help"),
    _typo("cache clear", "prune", "cache prune --help"),
    _typo("container dockerfile", "write", "container write --help"),
    _typo("native fix", "mend", "native mend --help"),
    _typo("setup --pyhton 3.12", "--python", "setup --help", says=("--pyhton", "--python")),
    _typo("setup --kernel-name lab", "--kernel", "setup --help", says=("--kernel-name", "--kernel")),
    _typo("setup -p 3.12", "--python", "setup --help", says=("-p", "--python")),
    _typo("status --jsn", "--json", "status --json"),
    _typo("env create web --pakages flask", "PACKAGE", "env create web flask", says=("--pakages",)),
    _typo("completion powershell", "bash", "completion bash"),
    _typo("setup --installer pip", "uv", f"{SETUP} --installer uv", says=("pip", "uv")),
    _typo("cache prune . --keep two", "2", "cache prune . --keep 2", says=("two",)),
    _typo("setup --python", "3.12", "setup --help", says=("--python",)),
    _typo("kernel remove", "NAME", "kernel list", says=("NAME",)),
    _typo("notebook set-kernel lesson.ipynb", "NAME", "kernel list", says=("NAME",)),
    _typo("setup 3.12", "--python 3.12", f"{SETUP} --python 3.12", says=("3.12", "--python 3.12")),
    _typo("setup lesson.ipynb", "open", None, says=("lesson.ipynb",), files={"lesson.ipynb": NOTEBOOK}),
    Mistake(
        name="an interpreter source that nobody knows",
        typed="setup --interpreter conda",
        says=("no interpreter source 'conda'",),
        hint="miniforge",
        cure="setup --interpreter miniforge",
    ),
    Mistake(
        name="pyenv as an interpreter source",
        typed="plan --interpreter pyenv",
        says=("no interpreter source 'pyenv'",),
        hint="system",
        cure=PLAN,
    ),
    Mistake(
        name="a path that is no Python",
        typed=f"{PLAN} --python ./notes.txt",
        files={"notes.txt": ""},
        says=("notes.txt is not a CPython",),
        code=3,
        hint="version such as 3.12",
        cure=f"{PLAN} --python 3.12",
        starts=("notes.txt",),
    ),
    Mistake(
        name="the path of a Python that is not there",
        typed=f"{PLAN} --python /opt/nothere/bin/python3",
        says=("/opt/nothere/bin/python3 is not a CPython",),
        code=3,
        cure=f"{PLAN} --python 3.12",
    ),
    Mistake(
        name="the path of an environment instead of its Python",
        typed=f"{PLAN} --python ./.venv",
        files={".venv/pyvenv.cfg": ""},
        says=("is not a CPython",),
        code=3,
    ),
    Mistake(
        name="a path and a source that gets its own",
        typed="setup --interpreter uv --python /usr/bin/python3",
        says=("/usr/bin/python3 is a path, and uv brings a Python of its own",),
        hint="system",
        code=2,
        cure="setup --interpreter system --python /usr/bin/python3",
    ),
    Mistake(
        name="a Poetry that there is not",
        typed=f"{SETUP} --poetry-version newest",
        says=("'newest' is not a version of Poetry",),
        cure=SETUP,
        source="N8",
    ),
    Mistake(
        name="a Poetry that is too old",
        typed=f"{SETUP} --poetry-version 1.1.15",
        says=("export plugin needs Poetry 1.3",),
        cure=f"{SETUP} --poetry-version 1.8.5",
        source="P9",
    ),
    Mistake(
        name="a checksum without its installer",
        typed="setup --interpreter uv --conda-sha256 abc",
        says=("do not go with --interpreter uv",),
        hint="leave them out",
        cure="setup --interpreter uv",
    ),
    Mistake(
        name="an installer without its checksum",
        typed="install-miniconda --installer https://example.org/M.sh",
        says=("sha256",),
        hint="sha256",
    ),
    Mistake(
        name="a checksum that is none",
        typed="install-miniconda --installer https://example.org/M.sh --sha256 abc",
        says=("abc",),
        hint="64 hexadecimal digits",
    ),
    Mistake(
        name="a distribution that nobody knows",
        typed="install-miniconda --distribution anaconda",
        says=("anaconda",),
        hint="did you mean miniconda?",
        cure="install-miniconda --distribution miniconda",
    ),
    Mistake(
        name="a prefix with a space",
        typed="install-miniconda --prefix './my conda'",
        says=("my conda",),
        hint="without spaces",
        cure="install-miniconda --prefix ./my-conda",
    ),
    Mistake(
        name="a Python that no Miniconda has",
        typed="install-miniconda --python 2.7 --prefix ./conda",
        says=("2.7",),
        code=3,
        hint="ask for one of these",
        cure="install-miniconda --python 3.12 --prefix ./conda",
    ),
    Mistake(
        name="Python 4.7",
        typed="setup --interpreter uv --python 4.7",
        says=("4.7",),
        code=3,
        source="N10",
        cure="setup --interpreter uv --python 3.12",
    ),
    Mistake(
        name="trust without a cache",
        typed=f"{SETUP} --trust abc",
        says=("abc", "no cache is given"),
        cure=SETUP,
        source="N8",
    ),
    Mistake(
        name="keep with Poetry",
        typed=f"{SETUP} --keep numpy --installer poetry",
        says=("Poetry installs everything",),
        cure=f"{SETUP} --keep numpy",
    ),
    Mistake(
        name="keep with a version",
        typed=f"{SETUP} --keep numpy==1.26",
        says=("numpy==1.26",),
        hint="names alone",
        cure=f"{SETUP} --keep numpy",
    ),
    *(
        Mistake(
            name=f"kernel {name!r}",
            typed=f"{SETUP} --kernel '{name}'",
            says=(name,),
            code=19,
            hint="for example",
            cure=f"{SETUP} --kernel my-kernel",
            source="N8",
        )
        for name in ("my kernel", "Kern\u00e9l", "a/b", "../x", "\u6570\u636e", "python 3.12 (lab)")
    ),
    Mistake(
        name="a kernel name of Jupyter's own",
        typed=f"{SETUP} --kernel python3",
        says=("python3",),
        code=20,
        hint="choose another name",
        cure=f"{SETUP} --kernel my-python",
    ),
    Mistake(
        name="a kernel that there is not, removed",
        typed="kernel remove py399",
        says=("py399",),
        code=19,
        cure="kernel list",
    ),
    Mistake(
        name="a kernel that there is not, checked",
        typed="kernel check py399",
        says=("py399",),
        code=4,
        cure="kernel list",
    ),
    Mistake(
        name="a kernel of a project without an environment",
        typed="kernel register",
        says=("virtual environment",),
        code=4,
        cure="setup --interpreter system",
    ),
    Mistake(
        name="a switch to a kernel that there is not",
        typed="switch py399",
        says=("py399",),
        code=4,
        cure="setup --interpreter system",
    ),
    Mistake(
        name="undo of a step that there is not",
        typed="undo frob",
        says=("frob",),
        hint="there is: add",
        source="N7",
        cure="undo add",
    ),
    Mistake(
        name="undo of a step, mistyped",
        typed="undo register-kernl",
        says=("register_kernl",),
        hint="register_kernel",
        cure="undo register_kernel",
        source="N7",
    ),
    Mistake(name="verify before a set-up", typed="verify", says=("lesson",), code=4, cure="setup --interpreter system"),
    Mistake(name="save before a set-up", typed="save snapshots", says=("",), code=4, cure="setup --interpreter system"),
    Mistake(
        name="packages before a Python",
        typed="install-colab-packages",
        says=("no Python is chosen yet",),
        code=4,
        cure="install-python --interpreter system",
    ),
    Mistake(
        name="status of a directory that is not there",
        typed="status --project nothere --exit-code",
        says=("there is no directory", "nothere"),
        code=2,
        hint="nothing was changed",
        cure="status --project .",
    ),
    Mistake(
        name="list of a cache that is not there",
        typed="cache list nothere",
        says=("nothere",),
        code=40,
        source="N7",
        cure="cache list .",
    ),
    Mistake(
        name="list of a cache that is a file",
        typed="cache list notes.txt",
        files={"notes.txt": ""},
        says=("notes.txt",),
        code=40,
        cure="cache list .",
    ),
    Mistake(
        name="prune of a cache without a word what",
        typed="cache prune snaps",
        files={"snaps/x": ""},
        says=("",),
        code=0,
    ),
    Mistake(
        name="prune of a cache, all but -1",
        typed="cache prune snaps --keep -1",
        files={"snaps/x": ""},
        says=("cannot be negative",),
        hint="--keep 2",
        cure="cache prune snaps --keep 2",
    ),
    Mistake(name="a cache at an address of nowhere", typed="cache list ftp9://x/y", says=("ftp9",), code=40),
    _notebook(
        "a file that is not there", "notebook check lesson.ipynb py312", None, "lesson.ipynb", hint="ends in .ipynb"
    ),
    _notebook("a directory", "notebook check . py312", None, ".", hint="ends in .ipynb"),
    _notebook(
        "not JSON",
        "notebook set-kernel lesson.ipynb py312",
        "print()\n",
        "lesson.ipynb is not a notebook",
        hint="nothing was changed",
    ),
    _notebook(
        "cut off",
        "notebook set-kernel lesson.ipynb py312",
        NOTEBOOK[:-9],
        "lesson.ipynb is not a notebook",
        hint="nothing was changed",
    ),
    _notebook(
        "conflict marks",
        "notebook set-kernel lesson.ipynb py312",
        f"<<<<<<< HEAD\n{NOTEBOOK}",
        "lesson.ipynb",
        hint="git conflict",
    ),
    _notebook("a list", "notebook check lesson.ipynb py312", "[]", "lesson.ipynb", hint="nothing was changed"),
    _notebook("nbformat 3", "notebook set-kernel lesson.ipynb py312", OLD, "lesson.ipynb", code=23),
    _notebook("not UTF-8", "notebook set-kernel lesson.ipynb py312", "\udcff{}", "UTF-8", hint="save it as UTF-8"),
    _notebook("a kernel name with a space", "notebook set-kernel lesson.ipynb 'my py'", NOTEBOOK, "my py", code=19),
    _notebook("no backup", "notebook restore lesson.ipynb", NOTEBOOK, "lesson.ipynb has no backup"),
    _notebook(
        "a kernel that there is not",
        "notebook set-kernel lesson.ipynb py399",
        NOTEBOOK,
        "no kernel 'py399' is registered",
        code=0,
        changes=("lesson/lesson.ipynb*",),
        source="N7",
    ),
    _notebook("not there", "open lesson.ipynb", None, "lesson.ipynb", code=22),
    _notebook(
        "a script",
        "open run.py",
        None,
        "is a Python script, not a notebook",
        hint="run --script run.py",
        files={"run.py": "print(1)\n"},
        cure="run --script run.py",
    ),
    _notebook("not there", "add lesson.ipynb pandas", None, "lesson.ipynb", code=22),
    _notebook("no package", "add lesson.ipynb", CELL, "", code=2, cure="add lesson.ipynb six"),
    _notebook(
        "a package with a space",
        "add lesson.ipynb 'scikit learn'",
        CELL,
        "scikit learn",
        code=2,
        cure="add lesson.ipynb scikit-learn",
    ),
    _notebook(
        "a version without an operator",
        "add lesson.ipynb 'pandas 2.0'",
        CELL,
        "pandas 2.0",
        code=2,
        cure="add lesson.ipynb 'six==1.17'",
    ),
    _notebook("the packages first", "add pandas lesson.ipynb", CELL, "pandas", code=22, cure="add lesson.ipynb six"),
    _notebook(
        "a Python that is none",
        "add lesson.ipynb pandas --python three",
        CELL,
        "'three' is not a Python version",
        code=2,
        cure="add lesson.ipynb six --python 3.11",
    ),
    _notebook(
        "without a block",
        "lock lesson.ipynb",
        CELL,
        "lesson.ipynb",
        "# /// script",
        code=36,
        cure="add lesson.ipynb six",
    ),
    _notebook(
        "without a block", "remove lesson.ipynb pandas", CELL, "lesson.ipynb", code=36, cure="add lesson.ipynb six"
    ),
    _notebook("nothing to undo", "add lesson.ipynb --undo", CELL, "lesson.ipynb", code=22),
    Mistake(
        name="badge outside of git",
        typed="badge lesson.ipynb",
        files={"lesson.ipynb": NOTEBOOK},
        says=("is not in a git repository",),
        code=25,
    ),
    Mistake(
        name="no Dockerfile to check",
        typed="container check",
        files=LOCKED,
        says=("lesson",),
        code=4,
        hint="container write",
        cure="container write",
    ),
    Mistake(
        name="a Dockerfile that is not there",
        typed="container check Dokcerfile",
        files=LOCKED,
        says=("Dokcerfile",),
        hint="check the path",
        cure="container write",
    ),
    Mistake(
        name="an image without an output",
        typed="container build",
        files=LOCKED,
        says=("",),
        hint="-o FILE",
        cure="container build -o app.tar",
    ),
    Mistake(
        name="an image for a platform that there is not",
        typed="container build -o app.tar --platform windows/amd64",
        files=LOCKED,
        says=("windows/amd64",),
        cure="container build -o app.tar --platform linux/amd64",
    ),
    Mistake(
        name="an image name in capitals",
        typed="container build --push Me/App",
        files=LOCKED,
        says=("Me/App",),
        cure="container build -o app.tar",
    ),
    Mistake(
        name="container write with a tool that nobody knows",
        typed="container write --tool conda",
        files=LOCKED,
        says=("conda", "uv"),
        cure="container write --tool uv",
    ),
    Mistake(
        name="native check without a lock file",
        typed="native check",
        says=("",),
        code=4,
        hint="lock",
        mend={"pylock.toml": 'lock-version = "1.0"\ncreated-by = "a tool"\npackages = []\n'},
    ),
    Mistake(
        name="native check of a lock that is not there",
        typed="native check --lock nothere.lock",
        says=("nothere.lock",),
    ),
    Mistake(
        name="native check for a platform that there is not",
        typed="native check --lock requirements.txt --platform amiga",
        files={"requirements.txt": "six==1.16.0\n"},
        says=("amiga",),
    ),
    Mistake(
        name="native explain of a log that is not there",
        typed="native explain build.log",
        says=("build.log",),
        mend={"build.log": "fatal error: zlib.h: No such file or directory\n"},
    ),
)
