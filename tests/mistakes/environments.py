"""Named environments: names, packages and what is asked of an environment that there is not."""

from __future__ import annotations

from .files import GOOD
from .mistake import Mistake

MISTAKES = (
    *(
        Mistake(
            name=f"an environment called {name!r}",
            typed=f"env create '{name}'",
            says=(said,),
            code=30,
            cure="env create web --python 3.12",
            source="pypa/pipx#1778",
        )
        for name, said in (
            *((name, name) for name in ("my web", "../web", "a/b", ".web", "-")),
            ("w\u00e9b", "LATIN SMALL LETTER E WITH ACUTE"),
            ("\u30a6\u30a7\u30d6", "KATAKANA LETTER U"),
        )
    ),
    Mistake(name="a name in capitals", typed="env path Web", says=("Web",), code=31, cure="env list"),
    *(
        Mistake(
            name=f"{verb}, of an environment that there is not", typed=typed, says=("web",), code=31, cure="env list"
        )
        for verb, typed in (
            ("path", "env path web"),
            ("which", "which web flask"),
            ("run", "run web flask"),
            ("purge", "env purge web"),
            ("rename", "env rename web site"),
            ("upgrade", "env upgrade web"),
            ("history", "env history web"),
            ("rollback", "env rollback web"),
            ("diff", "env diff web"),
            ("add", "env add web flask"),
            ("check", "env check web"),
            ("unit", "unit web gunicorn"),
            ("export", "env export web"),
        )
    ),
    Mistake(
        name="purge, content when it is gone",
        typed="env purge web --if-exists",
        code=0,
    ),
    Mistake(
        name="a package with a space",
        typed="env create web 'scikit learn'",
        says=("scikit learn",),
        hint="write a name",
        cure="env create web scikit-learn",
    ),
    Mistake(
        name="a version without an operator",
        typed="env create web 'flask 3.1'",
        says=("flask 3.1",),
        hint="did you mean 'flask==3.1'?",
        cure="env create web flask==3.1",
        source="pypa/pipx#979",
    ),
    Mistake(
        name="a version with npm's sign",
        typed="env create web flask@3.1",
        says=("flask@3.1",),
        hint="did you mean 'flask==3.1'?",
        cure="env create web flask==3.1",
        source="npm",
    ),
    Mistake(
        name="a version with one equals sign",
        typed="env create web flask=3.1",
        says=("flask=3.1",),
        hint="did you mean 'flask==3.1'?",
        cure="env create web flask==3.1",
        source="conda",
    ),
    Mistake(
        name="an option of pip's among the packages",
        typed="env create web -e .",
        says=("-e",),
        source="pypa/pipx#664",
    ),
    Mistake(
        name="a wheel that is not there",
        typed="env create web ./web-1.0-py3-none-any.whl",
        says=("web-1.0-py3-none-any.whl",),
        source="pypa/pipx#352",
    ),
    Mistake(
        name="a requirements file that is not there",
        typed="env create web -r requirments.txt",
        files={"requirements.txt": "six\n"},
        says=("requirments.txt",),
        hint="check the path",
        cure="env create web -r requirements.txt",
    ),
    Mistake(
        name="a requirements file and a project",
        typed="env create web -r requirements.txt --project .",
        files={"requirements.txt": "six\n", "pyproject.toml": GOOD},
        says=("project",),
        hint="give one of them",
        cure="env create web -r requirements.txt",
    ),
    Mistake(
        name="a project that is not there",
        typed="env create web --project nothere",
        says=("nothere",),
        hint="check the path",
    ),
    Mistake(
        name="a directory of wheels that is not there",
        typed="env create web flask --wheels nothere",
        says=("nothere",),
        cure="env create web flask",
    ),
    Mistake(
        name="a Python that is none",
        typed="env create web --python three",
        says=("'three' is not a Python version",),
        cure="env create web --python 3.12",
    ),
    Mistake(
        name="a Python with a sign too many",
        typed="env create web --python '=>3.12'",
        says=("did you mean '>=3.12'?",),
        cure="env create web --python '>=3.12'",
    ),
    Mistake(
        name="an environment on the path of a Python that is not there",
        typed="env create web --python /opt/nothere/bin/python",
        says=("/opt/nothere/bin/python",),
        code=3,
        cure="env create web --python 3.12",
    ),
    Mistake(
        name="a script to run that is not there",
        typed="run --script nothere.py",
        starts=("stat",),
        says=("nothere.py",),
        code=36,
        mend={"nothere.py": '# /// script\n# dependencies = ["six"]\n# ///\nimport six\n'},
    ),
    Mistake(
        name="a script with a list that is none",
        typed="run --script run.py",
        starts=("stat",),
        files={"run.py": "# /// script\n# dependencies = 'six'\n# ///\n"},
        says=("run.py", "dependencies"),
        code=36,
        mend={"run.py": "# /// script\n# dependencies = ['six']\n# ///\n"},
        source="E3",
    ),
    Mistake(
        name="a script that asks for no Python that there is",
        typed="run --script run.py",
        starts=("stat",),
        files={"run.py": "# /// script\n# requires-python = 'three'\n# dependencies = ['six']\n# ///\n"},
        says=("in run.py: requires-python 'three' is not a Python version",),
        code=18,
        mend={"run.py": "# /// script\n# requires-python = '>=3.8'\n# dependencies = ['six']\n# ///\n"},
    ),
    Mistake(
        name="an interpreter line for an environment that there is not",
        typed="script run.py --name web",
        files={"run.py": "print()\n"},
        says=("web",),
        code=31,
    ),
    Mistake(
        name="adopt of an environment that there is not",
        typed="env adopt web ./web",
        says=("web",),
        code=32,
        hint="pyvenv.cfg",
    ),
    Mistake(
        name="adopt of a directory that is no environment",
        typed="env adopt web ./web",
        files={"web/x": ""},
        says=("web",),
        code=32,
    ),
    Mistake(
        name="import of a file that is none of ours",
        typed="env import notes.json",
        files={"notes.json": "{}"},
        says=("notes.json",),
        code=18,
    ),
    Mistake(name="import of a file that is not there", typed="env import nothere.json", says=("nothere.json",), code=2),
)
