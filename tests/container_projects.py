"""Small locked projects for the tests of container images: what they name is on no index."""

from __future__ import annotations

from pathlib import Path

HASH = "sha256:" + "a1" * 32
PYPROJECT = """\
[project]
name = "Hello_App"
version = "1.2"
description = 'Says "hello" for $5'
requires-python = ">=3.10"
dependencies = ["six"]

[project.scripts]
hello = "hello_app:main"

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
"""
REQUIREMENTS = f'six==1.17.0 \\\n    --hash={HASH}\ncolorama==0.4.6 ; sys_platform == "win32" \\\n    --hash={HASH}\n'
UV_LOCK = f"""\
version = 1
revision = 3
requires-python = ">=3.10"

[[package]]
name = "hello-app"
version = "1.2"
source = {{ editable = "." }}
dependencies = [
    {{ name = "six" }},
]

[package.metadata]
requires-dist = [{{ name = "six" }}]

[[package]]
name = "six"
version = "1.17.0"
source = {{ registry = "https://pypi.org/simple" }}
wheels = [
    {{ url = "https://files.pythonhosted.org/six-1.17.0-py2.py3-none-any.whl", hash = "{HASH}", size = 11050 }},
]
"""
POETRY_LOCK = f"""\
[[package]]
name = "six"
version = "1.17.0"
optional = false
python-versions = "*"
groups = ["main"]
files = [
    {{file = "six-1.17.0-py2.py3-none-any.whl", hash = "{HASH}"}},
]

[metadata]
lock-version = "2.1"
python-versions = ">=3.10"
content-hash = "0"
"""


def write(project: Path, lock: str = "requirements.txt", **more: str) -> Path:
    """Write a package with one console script and a lock file; `more` are texts by name, "__" for a dot."""
    project.mkdir(parents=True, exist_ok=True)
    texts = {"requirements.txt": REQUIREMENTS, "uv.lock": UV_LOCK, "poetry.lock": POETRY_LOCK}
    files = {
        "pyproject.toml": PYPROJECT,
        lock: texts.get(lock, ""),
        "hello_app/__init__.py": "def main(): print('hello')\n",
    }
    for name, text in {**files, **{key.replace("__", "."): value for key, value in more.items()}}.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    return project
