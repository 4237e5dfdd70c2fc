"""A project's files: what people write into them, and what they point at them."""

from __future__ import annotations

from .mistake import API, Mistake

HEAD = '[project]\nname = "lesson"\nversion = "1"\n'
GOOD = HEAD + 'requires-python = ">=3.8"\n'
PLAN = "plan --interpreter system"
SETUP = "setup --interpreter system"
NEEDS = "# /// script\n# dependencies = []\n# ///\n"


def _project(name: str, text: str, *says: str, **more) -> Mistake:
    """A pyproject.toml that cannot be read, and the same mended."""
    return Mistake(
        **{
            "name": name,
            "typed": SETUP,
            "files": {"pyproject.toml": text},
            "says": says,
            "code": 18,
            "mend": {"pyproject.toml": GOOD},
            **more,
        }
    )


def _lock(name: str, file: str, text: str, *says: str, **more) -> Mistake:
    """A lock file that cannot be read; another one can."""
    return Mistake(
        **{
            "name": name,
            "typed": f"{SETUP} --lock {file}",
            "files": {file: text, "pyproject.toml": GOOD, "requirements.txt": "six\n"},
            "says": (file, *says),
            "code": 18,
            "cure": f"{SETUP} --lock requirements.txt",
            **more,
        }
    )


def _requires(text: str, source: str, *says: str, line: int = 4) -> Mistake:
    return _project(
        f"requires-python = {text!r}",
        f'{HEAD}requires-python = "{text}"\n',
        f"pyproject.toml, line {line}: {text!r} is not a Python version",
        *says,
        hint="nothing was changed",
        source=source,
    )


MISTAKES = (
    _requires("banana", "N1"),
    _requires("=>3.9", "people", "did you mean '>=3.9'?"),
    _requires(">=^3.9", "python-poetry/poetry#7729"),
    _requires("\u22653.9", "copied from a page", "did you mean '>=3.9'?"),
    _requires("===3.*", "astral-sh/uv#5358"),
    _requires("pypy3.10", "uv"),
    _requires("3.8 - 3.12", "people", "did you mean '>=3.8,<3.13'?"),
    _project(
        "Poetry's python = 'nine'",
        '[tool.poetry.dependencies]\npython = "nine"\n',
        "pyproject.toml, line 2: 'nine' is not a Python version",
    ),
    Mistake(
        name="python-version of environment.yml",
        typed=f"{PLAN} --lock run.py",
        files={"run.py": '# /// script\n# requires-python = "three"\n# dependencies = []\n# ///\n'},
        says=("run.py, line 2: 'three' is not a Python version",),
        code=18,
        mend={"run.py": NEEDS},
        source="N1",
    ),
    _project("a table that is not closed", "[project\n", "pyproject.toml, line 1"),
    _project("a value without quotes", "[project]\nname = lesson\n", "pyproject.toml, line 2"),
    _project("a quote that is not closed", '[project]\nname = "lesson\n', "pyproject.toml, line 2"),
    _project("a colon for the equals sign", "[project]\nname: 'lesson'\n", "pyproject.toml, line 2"),
    _project("JSON instead of TOML", '{"project": {"name": "lesson"}}\n', "pyproject.toml, line 1"),
    _project(
        "a key twice", '[project]\nname = "a"\nname = "b"\n', "pyproject.toml, line 3", "Cannot overwrite a value"
    ),
    _project("a table twice", "[project]\n[project]\n", "pyproject.toml", "project"),
    _project(
        "marks of a git conflict", "<<<<<<< HEAD\n[project]\n", "pyproject.toml, line 1", "git conflict", source="N9"
    ),
    _project("curly quotes", "[project]\nname = \u201clesson\u201d\n", "pyproject.toml, line 2"),
    _project("not UTF-8", "[project]\nname = '\udcff'\n", "pyproject.toml, line 2: it is not UTF-8 text"),
    _project(
        "UTF-16, as Windows' Notepad saves", "\udcff\udcfe[\x00p\x00", "pyproject.toml, line 1: it is not UTF-8 text"
    ),
    _project("dependencies as a text", f'{GOOD}dependencies = "six"\n', "pyproject.toml", "dependencies", "a list"),
    _project(
        "dependencies as a table",
        f"{GOOD}[project.dependencies]\nsix = '*'\n",
        "pyproject.toml",
        "dependencies",
        "a list",
    ),
    _project(
        "requires-python as a number", f"{HEAD}requires-python = 3.9\n", "pyproject.toml", "requires-python", "a text"
    ),
    _project("extras as a list", f"{GOOD}optional-dependencies = ['x']\n", "pyproject.toml", "a table"),
    _project("a group as a text", f"{GOOD}[dependency-groups]\ndev = 'six'\n", "pyproject.toml", "a list"),
    _project("apt as a text", f"{GOOD}[tool.colab-env]\napt = 'libgomp1'\n", "pyproject.toml", "apt", "a list"),
    _project("[project] as a list", "project = ['lesson']\n", "pyproject.toml", "a table"),
    Mistake(
        name="pyproject.toml is a directory",
        typed=SETUP,
        files={"pyproject.toml/x": ""},
        says=("pyproject.toml", "directory"),
        code=18,
    ),
    Mistake(
        name="--project is a file",
        typed=f"{SETUP} --project notes.txt",
        files={"notes.txt": ""},
        says=("notes.txt is a file, not a directory",),
        cure=SETUP,
    ),
    Mistake(
        name="--project below a file",
        typed=f"{SETUP} --project notes.txt/lesson",
        files={"notes.txt": ""},
        says=("notes.txt is a file, not a directory",),
        code=6,
        cure=SETUP,
    ),
    Mistake(
        name="--project with a home that nobody has",
        typed=f"{SETUP} --project ~nobody-of-that-name/lesson",
        says=("~nobody-of-that-name",),
        cure=SETUP,
    ),
    Mistake(
        name="--lock of a file that is not there",
        typed=f"{SETUP} --lock nothere.txt",
        says=("there is no lock file", "nothere.txt"),
        hint="nothing was changed",
        files={"requirements.txt": "six\n"},
        cure=f"{SETUP} --lock requirements.txt",
        source="N8",
    ),
    Mistake(
        name="--lock of a project that is not there either",
        typed=f"{SETUP} --project new --lock nothere.txt",
        says=("there is no lock file", "nothere.txt"),
        source="N8",
    ),
    Mistake(
        name="--lock of a directory",
        typed=f"{SETUP} --lock locks",
        files={"locks/x": ""},
        says=("locks",),
        code=2,
    ),
    Mistake(
        name="--lock of a picture",
        typed=f"{SETUP} --lock plot.png",
        files={"plot.png": "\x89PNG"},
        says=("plot.png",),
        hint="requirements",
        code=2,
    ),
    Mistake(
        name="Pipfile without its lock",
        typed=SETUP,
        files={"Pipfile": "[packages]\nsix = '*'\n"},
        says=("Pipfile",),
        code=2,
        source="P4",
    ),
    Mistake(
        name="conda-lock.yml",
        typed=f"{SETUP} --lock conda-lock.yml",
        files={"conda-lock.yml": "version: 1\n"},
        says=("conda-lock.yml",),
        code=2,
    ),
    Mistake(
        name="pixi.lock",
        typed=f"{SETUP} --lock pixi.lock",
        files={"pixi.lock": "version: 6\n"},
        says=("pixi.lock",),
        code=2,
    ),
    _lock(
        "a torn poetry.lock",
        "poetry.lock",
        'package = []\n[metadata]\nlock-version = "2.1\n',
        "cannot be read",
        source="N9",
    ),
    _lock(
        "conflict marks in poetry.lock",
        "poetry.lock",
        "[metadata]\n<<<<<<< HEAD\n",
        "line 2",
        "git conflict",
        source="N9",
    ),
    _lock("a torn uv.lock", "uv.lock", "version = 1\n[[package]]\nname = 'a\n", "cannot be read"),
    _lock("conflict marks in uv.lock", "uv.lock", "version = 1\n=======\n<<<<<<< HEAD\n", "line 3", "git conflict"),
    _lock("a torn pylock.toml", "pylock.toml", 'lock-version = "1.0"\nx = [\n', "cannot be read"),
    _lock("a torn pdm.lock", "pdm.lock", "[[package]]\nname = \n", "cannot be read"),
    _lock("a torn Pipfile.lock", "Pipfile.lock", '{"default": {', "cannot be read"),
    Mistake(
        name="conflict marks in a file that requirements.txt includes",
        typed=SETUP,
        files={"requirements.txt": "-r more.txt\n", "more.txt": "six\n>>>>>>> b\n"},
        says=("more.txt, line 2", "git conflict"),
        code=18,
        mend={"more.txt": "six\n"},
    ),
    Mistake(
        name="requirements.txt includes a file that is not there",
        typed=SETUP,
        files={"requirements.txt": "-r nothere.txt\n"},
        says=("nothere.txt",),
        code=18,
        mend={"nothere.txt": "six\n"},
    ),
    Mistake(
        name="an extra that there is not",
        typed=f"{SETUP} --extra fsat",
        files={"pyproject.toml": f"{GOOD}[project.optional-dependencies]\nfast = ['six']\n"},
        says=("no extra 'fsat'", "fast"),
        cure=f"{SETUP} --extra fast",
        source="P4",
    ),
    Mistake(
        name="a group that there is not",
        typed=f"{SETUP} --group tests",
        files={"pyproject.toml": f"{GOOD}[dependency-groups]\ntest = ['six']\n"},
        says=("no group 'tests'", "test"),
        cure=f"{SETUP} --group test",
        source="P4",
    ),
    Mistake(
        name="a group in requirements.txt",
        typed=f"{SETUP} --lock requirements.txt --group dev",
        files={"requirements.txt": "six\n"},
        says=("requirements.txt", "group"),
        hint="leave them out",
        cure=f"{SETUP} --lock requirements.txt",
    ),
    Mistake(
        name="an extra in environment.yml",
        typed=f"{SETUP} --lock environment.yml --extra x",
        files={"environment.yml": "dependencies:\n- python=3.12\n"},
        says=("environment.yml", "extra"),
        code=2,
    ),
    Mistake(
        name="a script without a block",
        typed=f"{SETUP} --lock run.py",
        files={"run.py": "print()\n"},
        says=("run.py", "# /// script"),
        code=36,
        mend={"run.py": NEEDS},
        source="N9",
    ),
    Mistake(
        name="a script with two blocks",
        typed=f"{SETUP} --lock run.py",
        files={"run.py": NEEDS + "\n" + NEEDS},
        says=("run.py", "# /// script"),
        hint="keep one of them",
        code=36,
        mend={"run.py": NEEDS},
        source="N9",
    ),
    Mistake(
        name="a script whose block is not TOML",
        typed=f"{SETUP} --lock run.py",
        files={"run.py": "# /// script\n# dependencies = [six]\n# ///\n"},
        says=("run.py", "not TOML"),
        code=36,
        mend={"run.py": NEEDS},
    ),
    Mistake(
        name="a script whose dependencies are a text",
        typed=f"{SETUP} --lock run.py",
        files={"run.py": "# /// script\n# dependencies = 'six'\n# ///\n"},
        says=("run.py", "dependencies"),
        hint="list of strings",
        code=36,
        mend={"run.py": NEEDS},
    ),
    Mistake(
        name="a script that is not there",
        typed=f"{SETUP} --lock nothere.py",
        says=("nothere.py",),
        hint="check the path",
    ),
    Mistake(
        name="a notebook as a lock file that is no JSON",
        typed=f"{SETUP} --lock lesson.ipynb",
        files={"lesson.ipynb": "print()\n"},
        says=("lesson.ipynb", "not JSON"),
        code=36,
    ),
    Mistake(
        name="a Python that the project excludes",
        typed=f"{SETUP} --python 3.9",
        files={"pyproject.toml": f'{HEAD}requires-python = ">=3.10"\n'},
        says=("'>=3.10'", "3.9"),
        code=3,
        cure=SETUP,
        source="N10",
        starts=("git", "python3"),
    ),
    Mistake(
        name="the same, from a cell",
        typed="colab_env.setup('3.9', interpreter='system')",
        door=API,
        files={"pyproject.toml": f'{HEAD}requires-python = ">=3.10"\n'},
        says=("'>=3.10'", "3.9"),
        code=3,
        cure="colab_env.setup(interpreter='system')",
        source="N10",
        starts=("git", "python3"),
    ),
)
