"""Which Python: every form that pip, Poetry, uv and conda take, and what people write instead."""

from __future__ import annotations

import shlex

from .mistake import Mistake

PROJECT = '[project]\nname = "lesson"\nversion = "1"\nrequires-python = {!r}\n'
RANGE = "'>=3.11,<3.13'"

# What somebody writes, a version of Python that fits, one that does not, and whose form it is.
ACCEPTED: tuple[tuple[str, str, str, str], ...] = (
    ("3", "3.13.0", "4.0.0", "uv"),
    ("3.11", "3.11.9", "3.12.0", "uv, conda"),
    ("3.11.4", "3.11.4", "3.11.5", "uv"),
    (" 3.11 ", "3.11.9", "3.12.0", "uv"),
    ("3.11.*", "3.11.9", "3.12.0", "Poetry, conda"),
    ("3.*", "3.11.9", "4.0.0", "Poetry, conda"),
    ("*", "3.11.9", "", "Poetry, conda"),
    ("", "3.11.9", "", "pip"),
    ("==3.11.*", "3.11.9", "3.12.0", "pip"),
    ("== 3.11.*", "3.11.9", "3.12.0", "pip"),
    ("==3.11.4", "3.11.4", "3.11.5", "pip"),
    ("===3.11.4", "3.11.4", "3.11.5", "pip"),
    ("~=3.11", "3.13.0", "3.10.9", "pip"),
    ("~= 3.11", "3.13.0", "3.10.9", "pip"),
    ("~=3.11.0", "3.11.9", "3.12.0", "pip"),
    ("~=3.11,<3.13", "3.12.1", "3.13.0", "pip"),
    (">=3.11", "3.13.0", "3.10.9", "pip"),
    (">= 3.11", "3.13.0", "3.10.9", "pip"),
    (">3.11", "3.12.0", "3.11.0", "pip"),
    ("<3.12", "3.11.9", "3.12.0", "pip"),
    ("<=3.12", "3.11.9", "3.12.1", "pip"),
    ("!=3.11.4,>=3.11", "3.11.5", "3.11.4", "pip"),
    (">=3.11,!=3.11.4", "3.11.5", "3.11.4", "pip"),
    (">=3.11, !=3.12.*", "3.13.0", "3.12.1", "pip"),
    (">=3.11,<3.13", "3.12.9", "3.13.0", "pip"),
    (">=3.11,<3.13,", "3.12.9", "3.13.0", "pip"),
    (">=3.9 <3.13", "3.12.9", "3.13.0", "Poetry"),
    (">= 3.9 < 3.13", "3.12.9", "3.13.0", "Poetry"),
    (">=3.9  ,  <3.13", "3.12.9", "3.13.0", "Poetry"),
    ("^3.11", "3.13.0", "3.10.9", "Poetry"),
    ("^ 3.11", "3.13.0", "3.10.9", "Poetry"),
    ("^3.11.4", "3.11.4", "3.11.3", "Poetry"),
    ("^3", "3.11.0", "4.0.0", "Poetry"),
    ("^3.9,<3.13", "3.12.9", "3.13.0", "Poetry"),
    ("~3.11", "3.11.9", "3.12.0", "Poetry"),
    ("~3.11.4", "3.11.9", "3.11.3", "Poetry"),
    ("~3", "3.11.0", "4.0.0", "Poetry"),
    ("~3.9 || ~3.11", "3.11.2", "3.10.1", "Poetry"),
    ("3.9 | 3.11", "3.11.2", "3.10.1", "Poetry"),
    ("3.11|3.12", "3.12.2", "3.10.1", "conda"),
    ("3.11.*|3.12.*", "3.12.2", "3.10.1", "conda"),
    (">=3.11,<3.12.0a0", "3.11.9", "3.12.0", "conda"),
    ("=3.11", "3.11.9", "3.12.0", "conda"),
    ("3.11*", "3.11.9", "3.12.0", "conda"),
    ("=3.11.*", "3.11.9", "3.12.0", "conda"),
    ("python3.11", "3.11.9", "3.12.0", "uv"),
    ("Python 3.11", "3.11.9", "3.12.0", "people"),
    ("python>=3.11", "3.12.0", "3.10.9", "conda"),
    ("python=3.11", "3.11.9", "3.12.0", "conda"),
    ("python==3.11", "3.11.0", "3.12.0", "conda"),
    ("cpython3.11", "3.11.9", "3.12.0", "uv"),
    ("cpython@3.11", "3.11.9", "3.12.0", "uv"),
    ("py311", "3.11.9", "3.12.0", "people, kernels of ours"),
    ("py3.11", "3.11.9", "3.12.0", "people"),
    ("cp311", "3.11.9", "3.12.0", "uv, wheels"),
    ("311", "3.11.9", "3.12.0", "uv"),
    ("v3.11", "3.11.9", "3.12.0", "people"),
    ("3.11.x", "3.11.9", "3.12.0", "npm"),
    ("3.x", "3.11.9", "4.0.0", "GitHub Actions"),
    (">=3.6.*", "3.11.0", "3.5.0", "python-poetry/poetry#4201"),
    (">=3.7,!=3.8*", "3.9.0", "3.8.1", "python-poetry/poetry#120"),
)

# What no tool takes and can mean one thing only: that is what the hint offers.
MEANT: tuple[tuple[str, str, str], ...] = (
    ("=>3.11", ">=3.11", "people"),
    ("=<3.12", "<=3.12", "people"),
    ("\u22653.11", ">=3.11", "people"),
    ("\u22643.12", "<=3.12", "people"),
    (">=3.11\uff0c<3.13", ">=3.11,<3.13", "a Japanese keyboard"),
    ("\uff13.\uff11\uff12", "3.12", "a Japanese keyboard"),
    ("\u201c3.12\u201d", "3.12", "copied from a page"),
    ("'3.12'", "3.12", "quotes that cmd.exe leaves"),
    ("3.11\u20133.13", ">=3.11,<3.14", "people"),
    ("3.11-3.13", ">=3.11,<3.14", "people"),
    ("3.11 to 3.13", ">=3.11,<3.14", "people"),
    ("3,12", "3.12", "a German keyboard"),
    ("3.12-dev", "3.12", "GitHub Actions, pyenv"),
    ("3.12.", "3.12", "python-poetry/poetry#4201"),
    ("3.11+", ">=3.11", "people"),
    ("3.11 or newer", ">=3.11", "people"),
    ("3.11 or 3.12", "3.11 || 3.12", "people"),
    (">=3.11 and <3.13", ">=3.11,<3.13", "people"),
    (">=3.11 && <3.13", ">=3.11,<3.13", "npm"),
)

# What nobody can mean, or what could mean several things: one sentence, with a form that is taken.
REFUSED: tuple[tuple[str, str], ...] = (
    ("banana", ""),
    ("latest", ""),
    ("newest", ""),
    ("three", ""),
    (">=", ""),
    ("^", ""),
    ("3..1", ""),
    (">=^3.9", "python-poetry/poetry#7729"),
    ("===1.0.*", "astral-sh/uv#5358"),
    ("3.13t", "uv"),
    ("pypy3.10", "uv"),
    ("pypy@3.10", "uv"),
    ("graalpy", "uv"),
    ("3.11 3.12", ""),
    ("--python", ""),
    ("\u4e09\u70b9\u5341\u4e8c", ""),
)


def _refused(text: str, *, hint: str, cure: str, source: str) -> Mistake:
    return Mistake(
        name=f"--python {text}",
        typed=f"plan --interpreter system --python={shlex.quote(text)}",
        says=(f"{text!r} is not a Python version",),
        hint=hint,
        cure=f"plan --interpreter system --python={shlex.quote(cure)}",
        source=source,
    )


MISTAKES = (
    *(_refused(text, hint=RANGE, cure=">=3.8", source=source) for text, source in REFUSED),
    *(_refused(text, hint=f"did you mean '{meant}'?", cure=meant, source=source) for text, meant, source in MEANT),
)
