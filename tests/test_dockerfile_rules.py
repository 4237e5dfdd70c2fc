"""What `container check` says about Dockerfiles that people have: each rule finds what it is for, and nothing near it."""

from __future__ import annotations

import pytest

from colab_env import container, undoing
from colab_env.errors import UsageError
from colab_env.image import reading, rules, surroundings
from colab_env.image.surroundings import Project

PY = "FROM python:3.12-slim\n"
MOUNT = "RUN --mount=type=cache,target=/root/.cache/uv"
CACHED = "RUN --mount=type=cache,target=/root/.cache"
PIP_POETRY = f"{PY}RUN pip install poetry==1.8.5\n"
POETRY_2 = f"{PY}RUN pip install poetry==2.1.0\n"
TWO = "FROM python:3.12 AS builder\nWORKDIR /app\nRUN pip install uv\nCOPY . .\nRUN uv sync --frozen{}\nFROM python:3.12-slim\n{}"

# By rule: what has it (with the line), and what is near and has not.
CASES = [
    ("no-such-variable", f"{PY}ENV A=1 \\\n    POETRY_NO_INTERACTION=1\n", 3),
    ("no-such-variable", f"{PY}ENV POETRY_NO_INTERACTION 1\n", 2),
    ("no-such-variable", f"{PY}ENV POETRY_NO_INTERACTION=1\nRUN poetry install ${{POETRY_NO_INTERACTION:+-n}}\n", None),
    ("pip-cache-off", f"{PY}ENV PIP_NO_CACHE_DIR=off\n", 2),
    ("pip-cache-off", f"{PY}ENV PIP_NO_CACHE_DIR=1\n", None),
    ("pip-variable-unread", f"{PY}COPY --from=x /uv /bin/\nENV PIP_DEFAULT_TIMEOUT=100\nRUN uv sync\n", 3),
    ("pip-variable-unread", f"{PIP_POETRY}ENV PIP_DEFAULT_TIMEOUT=100\nRUN poetry install\n", None),
    (
        "pip-variable-unread",
        f"{PY}ENV PIP_INDEX_URL=x\nRUN curl -sSL https://install.python-poetry.org | python3 -\nRUN poetry install\n",
        None,
    ),
    ("pip-variable-unread", f"{PY}ENV PIP_INDEX_URL=x\nRUN ./install.sh && uv sync\n", None),
    ("pip-variable-unread", f"{PY}ENV PIP_INDEX_URL=x\nRUN uv sync --index $PIP_INDEX_URL\n", None),
    ("pip-variable-unread", f"{PY}ENV PIP_INDEX_URL=x\nRUN uv sync\nFROM x\nRUN pip install y\n", 2),
    ("pip-variable-unread", f'{PY}ENV PIP_INDEX_URL=x\nRUN uv sync\nENTRYPOINT ["/start.sh"]\n', None),
    (
        "variable-elsewhere",
        "FROM python:3.12 AS b\nRUN pip install poetry\nRUN poetry install\nFROM alpine\nENV POETRY_VIRTUALENVS_CREATE=false\n",
        5,
    ),
    ("variable-elsewhere", "FROM alpine AS a\nENV POETRY_VIRTUALENVS_CREATE=false\nFROM a\nRUN poetry install\n", None),
    (
        "variable-elsewhere",
        'FROM python:3.12 AS b\nRUN poetry install\nFROM alpine\nENV POETRY_X=1\nCMD ["poetry", "run", "a"]\n',
        None,
    ),
    ("poetry-version-unread", f"{PY}ENV POETRY_VERSION=1.8.5\nRUN pip install poetry\n", 2),
    ("poetry-version-unread", f"{PY}ENV POETRY_VERSION=1.8.5\nRUN pip install poetry==$POETRY_VERSION\n", None),
    (
        "poetry-version-unread",
        f"{PY}ENV POETRY_VERSION=1.8.5\nRUN curl -sSL https://install.python-poetry.org | python3 -\n",
        None,
    ),
    ("uv-system-python", f"{PY}ENV UV_SYSTEM_PYTHON=1\nRUN uv sync\n", 2),
    ("uv-system-python", f"{PY}ENV UV_SYSTEM_PYTHON=1\nRUN uv pip install x\n", None),
    ("cache-mount-unused", f"{PY}RUN --mount=type=cache,target=/root/.cache/pip pip install --no-cache-dir x\n", 2),
    ("cache-mount-unused", f"{PY}RUN --mount=target=/root/.cache,type=cache pip install --no-cache-dir x\n", 2),
    (
        "cache-mount-unused",
        f"{PY}RUN --mount=type=cache,target=/root/.cache/other pip install --no-cache-dir x\n",
        None,
    ),
    (
        "cache-mount-unused",
        f"{PY}ENV PIP_NO_CACHE_DIR=1\nRUN --mount=type=cache,target=/root/.cache/pip pip install x\n",
        3,
    ),
    (
        "cache-mount-unused",
        f"{PY}RUN --mount=type=cache,target=/root/.cache/uv pip install --no-cache-dir uv && uv sync\n",
        None,
    ),
    ("cache-mount-unused", f"{PY}RUN --mount=type=cache,target=~/.cache/uv \\\n    uv sync --frozen\n", 2),
    ("cache-mount-unused", f"{PY}USER app\n{MOUNT} uv sync --frozen\n", 3),
    ("cache-mount-unused", f"{PY}USER app\nUSER 0:0\n{MOUNT} uv sync --frozen\n", None),
    ("cache-mount-unused", f"{PY}ENV UV_CACHE_DIR=/root/.cache/uv\nUSER app\n{MOUNT} uv sync --frozen\n", None),
    ("cache-mount-unused", f"{PY}USER $WHO\n{MOUNT} uv sync --frozen\n", None),
    ("cache-mount-unused", f"FROM python AS a\nUSER app\nFROM a\n{MOUNT} uv sync --frozen\n", 4),
    ("cache-mount-unused", f"{PY}USER app\nRUN --mount=type=cache,target=/root/.cache/other uv sync\n", None),
    # Poetry keeps its downloads there too.
    (
        "cache-mount-unused",
        f"{PY}RUN --mount=type=cache,target=/root/.cache pip install --no-cache-dir poetry && poetry install\n",
        None,
    ),
    # A name that no shell has, and BuildKit takes.
    ("variable-elsewhere", "FROM python:3.12 AS b\nRUN poetry install\nFROM alpine\nENV POETRY_(X 1\nRUN a\n", 4),
    # The shell's [ is a program too, and its name is not taken for a pattern's.
    ("cache-mount-unused", f'{PY}RUN --mount=type=cache,target=/x/.cache/pip if [ "$A" = b ]; then (b); fi\n', None),
    ("export-without-plugin", f"{POETRY_2}RUN poetry export -o r.txt\n", 3),
    ("export-without-plugin", f"{PY}RUN pip install poetry\nRUN poetry export -o r.txt\n", 3),
    ("export-without-plugin", f"{PIP_POETRY}RUN poetry export -o r.txt\n", None),
    ("export-without-plugin", f"{POETRY_2}RUN pip install poetry-plugin-export && poetry export\n", None),
    ("export-without-plugin", "FROM my/poetry-base\nRUN poetry export\n", None),
    ("option-gone", f"{POETRY_2}RUN poetry install \\\n  --no-root --no-dev\n", 4),
    ("option-gone", f"{PIP_POETRY}RUN poetry install --no-dev\n", None),
    (
        "option-gone",
        f"{PY}ARG POETRY_VERSION=2.0.1\nRUN curl https://install.python-poetry.org | python3 -\nRUN poetry lock --no-update\n",
        4,
    ),
    (
        "option-gone",
        f"{PY}ENV POETRY_VERSION=1.8.2\nRUN curl https://install.python-poetry.org | python3 -\nRUN poetry install --no-dev\n",
        None,
    ),
    ("option-gone", f"{PY}RUN pip install 'poetry<2'\nRUN poetry install --no-dev\n", None),
    ("option-gone", f"{PY}RUN pip install $WHAT\nRUN poetry install --no-dev\n", None),
    ("option-gone", f"{POETRY_2}RUN poetry config installer.modern-installation false\n", 3),
    # The newest Poetry that an old Python takes is an old one, and has the option.
    ("option-gone", "FROM python:3.8-buster\nRUN pip install poetry\nRUN poetry install --no-dev\n", None),
    ("option-gone", "ARG V=3.7\nFROM python:$V\nRUN pip install 'poetry>=1.0'\nRUN poetry install --no-dev\n", None),
    ("option-gone", "FROM x/fastapi:python3.8\nRUN pip install poetry\nRUN poetry install --no-dev\n", None),
    (
        "option-gone",
        "FROM ubuntu:20.04\nRUN apt-get install -y python3-pip && pip3 install poetry\nRUN poetry install --no-dev\n",
        None,
    ),
    ("option-gone", "FROM python:3.9\nRUN pip install poetry\nRUN poetry install --no-dev\n", 3),
    ("option-to-come", "FROM python:3.6\nRUN pip install poetry\nRUN poetry install --only main\n", 3),
    ("export-without-plugin", "FROM python:3.8\nRUN pip install poetry\nRUN poetry export\n", None),
    ("option-to-come", f"{PIP_POETRY}RUN poetry sync\n", 3),
    ("option-to-come", f"{PY}RUN pip install poetry==1.1.13\nRUN poetry install --only main\n", 3),
    ("option-to-come", f"{POETRY_2}RUN poetry sync --only main\n", None),
    ("environment-moved", TWO.format(" --no-editable", "COPY --from=builder /app/.venv /opt/venv\n"), 7),
    ("environment-moved", TWO.format(" --no-editable", "COPY --from=builder /app/.venv /app/.venv\n"), None),
    ("environment-moved", TWO.format(" --no-editable", "WORKDIR /app\nCOPY --from=builder /app/.venv .venv\n"), None),
    ("environment-moved", TWO.format(" --no-editable", "WORKDIR /app\nCOPY --from=0 /app/.venv ./venv\n"), 8),
    ("editable-left-behind", TWO.format("", "COPY --from=builder /app/.venv /app/.venv\n"), 7),
    ("editable-left-behind", TWO.format(" --no-editable", "COPY --from=builder /app/.venv /app/.venv\n"), None),
    ("editable-left-behind", TWO.format("", "COPY --from=builder /app/.venv /app/.venv\nCOPY src /app/src\n"), None),
    ("editable-left-behind", TWO.format("", "COPY --from=builder /app /app\n"), None),
    ("other-python", "FROM python:3.9\nRUN pip install -r requirements.txt\n", 1),
    ("other-python", "ARG V=3.9\nFROM python:${V}-slim\nRUN uv sync\n", 2),
    ("other-python", "FROM ghcr.io/astral-sh/uv:python3.9-bookworm-slim AS builder\nRUN uv sync\n", 1),
    ("other-python", "FROM ghcr.io/astral-sh/uv:0.9-python3.9-alpine\nRUN uv sync\n", 1),
    ("other-python", "FROM python:3.12\nRUN uv sync\n", None),
    ("other-python", "FROM python:3.9\nRUN pip install tool\n", None),
    (
        "into-system-python",
        "FROM debian:12\nRUN apt-get install -y python3 python3-pip\nENV POETRY_VIRTUALENVS_CREATE=false\nRUN poetry install\n",
        3,
    ),
    ("into-system-python", f"{PIP_POETRY}ENV POETRY_VIRTUALENVS_CREATE=false\nRUN poetry install\n", None),
    ("compilers-shipped", f"{PY}RUN apt-get update && apt-get install -y \\\n  curl \\\n  libpq-dev\n", 4),
    ("compilers-shipped", f"{PY}RUN apt-get install -y gcc && pip install x && apt-get purge -y gcc\n", None),
    (
        "compilers-shipped",
        f"{PY}RUN apk add --no-cache --virtual .build gcc && pip install x && apk del .build\n",
        None,
    ),
    (
        "compilers-shipped",
        "FROM python AS b\nRUN apt-get install -y gcc\nFROM python:3.12-slim\nCOPY --from=b /x /x\n",
        None,
    ),
    ("compilers-shipped", f"{PY}RUN apt-get install -y libmagickwand-dev\n", None),
    ("compilers-shipped", "FROM python:3.12-alpine\nRUN apk add --no-cache build-base\n", 2),
    (
        "editable-left-behind",
        TWO.format("\nRUN uv pip install --no-deps .", "COPY --from=builder /app/.venv /app/.venv\n"),
        None,
    ),
    ("compilers-shipped", "FROM quay.io/jupyter/base-notebook\nRUN apt-get install -y gcc\n", None),
    ("compilers-shipped", f'{PY}RUN apt-get install -y gcc\nCMD ["jupyter", "lab"]\n', None),
    ("compilers-shipped", f"{PY}RUN apt-get install -y gcc && pip install jupyterlab\n", None),
    (
        "environment-moved",
        "FROM python:3.12 AS b\nWORKDIR /app\nRUN uv venv --relocatable\nFROM python:3.12\nCOPY --from=b /app/.venv /venv\n",
        None,
    ),
    ("copied-before-install", f"{PY}COPY . .\nRUN pip install -r requirements.txt\n", 2),
    (
        "copied-before-install",
        f"{PY}COPY pyproject.toml .\nRUN uv sync --no-install-project\nCOPY . .\nRUN uv sync\n",
        None,
    ),
    ("copied-before-install", f"{PY}COPY --from=x . .\nRUN uv sync\n", None),
    ("copied-before-install", f"{PY}COPY . .\nRUN poetry install\n", 2),
    ("copied-before-install", f"{PY}COPY . .\nRUN pdm install --prod\n", 2),
    ("copied-before-install", f"{PY}COPY . .\nRUN pipenv install --system --deploy\n", 2),
    ("copied-before-install", f"{PY}COPY . .\nRUN pipenv install flask\n", None),
    ("copied-before-install", f"{PY}COPY . .\nRUN pip install .\n", None),
    ("copied-before-install", f"{PY}COPY . .\nRUN uv pip install -e .[web]\n", None),
    ("environment-in-context", f"{PY}COPY . .\n", 2),
    ("environment-in-context", f"{PY}COPY src .\n", None),
]
PROJECT = Project(requires_python=">=3.10", is_package=True, environments=(".venv",))


@pytest.mark.parametrize(("rule", "text", "line"), CASES)
def test_a_rule_finds_what_it_is_for_and_nothing_near_it(rule, text, line):
    found = [each.line for each, _ in rules.check(reading.read(text), PROJECT) if each.rule == rule]
    assert found == ([] if line is None else [line])


def test_every_rule_has_one_sentence_one_source_and_a_case():
    table = rules.table()
    assert set(table) == set(rules.FINDERS) == {rule for rule, _, line in CASES if line}
    for text, source in table.values():
        assert "\n" not in text
        assert not text.endswith(".")
        assert source.startswith("https://")


def test_what_is_not_known_is_no_finding():
    text = "FROM python:3.9\nRUN uv sync\nCOPY . .\n" + TWO.format("", "COPY --from=builder /app/.venv /app/.venv\n")
    names = {each.rule for each, _ in rules.check(reading.read(text), Project())}
    assert not names & {"other-python", "editable-left-behind", "environment-in-context"}


@pytest.mark.parametrize(
    ("text", "better"),
    [
        (f"{PY}ENV POETRY_NO_INTERACTION=1\nRUN a\n", f"{PY}RUN a\n"),
        (f"{PY}ENV A=1 POETRY_NO_INTERACTION=1 B=2\n", f"{PY}ENV A=1 B=2\n"),
        (f"{PY}ENV POETRY_NO_INTERACTION=1 \\\n    A=1\n", f"{PY}ENV A=1\n"),
        (f"{PY}ENV A=1 \\\n    POETRY_NO_INTERACTION='1'\nRUN b\n", f"{PY}ENV A=1\nRUN b\n"),
        (f"{PY}ENV A=1 \\\n    POETRY_NO_INTERACTION=1 \\\n    B=2\n", f"{PY}ENV A=1 \\\n    B=2\n"),
        (f"{PY}ENV \\\n    POETRY_NO_INTERACTION=1 \\\n    B=2\n", f"{PY}ENV B=2\n"),
        (f"{PY}ENV POETRY_NO_INTERACTION 1\n", PY),
        (f"{PY}ENV PIP_NO_CACHE_DIR=off\r\n", f"{PY}ENV PIP_NO_CACHE_DIR=1\r\n"),
        # What is kept in a mount is in no layer: there the cache may be on, as the author wants it.
        (f"{PY}ENV PIP_NO_CACHE_DIR=off A=1\n{CACHED} pip install x\n", f"{PY}ENV A=1\n{CACHED} pip install x\n"),
        (
            f"{PY}ENV PIP_NO_CACHE_DIR=off\n{CACHED} pip install x\nRUN pip install y\n",
            f"{PY}ENV PIP_NO_CACHE_DIR=1\n{CACHED} pip install x\nRUN pip install y\n",
        ),
        (
            f"{PY}ENV PIP_NO_CACHE_DIR=off\nUSER app\n{CACHED} pip install x\n",
            f"{PY}ENV PIP_NO_CACHE_DIR=1\nUSER app\n{CACHED} pip install x\n",
        ),
        (
            f"{PY}ENV PIP_NO_CACHE_DIR=off\n{CACHED} pip install x\nRUN ./more.sh\n",
            f"{PY}ENV PIP_NO_CACHE_DIR=1\n{CACHED} pip install x\nRUN ./more.sh\n",
        ),
        (f"{POETRY_2}RUN poetry install --no-dev --no-root\n", f"{POETRY_2}RUN poetry install --only main --no-root\n"),
        (f"{POETRY_2}RUN poetry lock --no-update && b\n", f"{POETRY_2}RUN poetry lock && b\n"),
        (f"{PIP_POETRY}RUN poetry sync", f"{PIP_POETRY}RUN poetry install --sync"),
        (f"{PY}{MOUNT} uv sync --no-cache\n", f"{PY}{MOUNT} uv sync\n"),
        (f"{PY}{MOUNT.replace('/root', '~')} uv sync\n", f"{PY}{MOUNT} uv sync\n"),
        (
            f"{PY}USER app\n{MOUNT.replace('/root', '~')} uv sync\n",
            f"{PY}USER app\n{MOUNT.replace('/root', '~')} uv sync\n",
        ),
        (f"{PY}{MOUNT} uv sync \\\n    --no-cache \\\n    --frozen\n", f"{PY}{MOUNT} uv sync \\\n    --frozen\n"),
        (
            f"{PY}ENV UV_NO_CACHE=1\n{MOUNT} uv sync --no-cache\n",
            f"{PY}ENV UV_NO_CACHE=1\n{MOUNT} uv sync --no-cache\n",
        ),
    ],
)
def test_what_is_mended_is_that_line_alone(text, better):
    file = reading.read(text)
    mended = rules.fixed(file, rules.check(file, Project()))
    assert mended == better
    again = reading.read(mended)
    assert rules.fixed(again, rules.check(again, Project())) == mended


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("ENV A=1 X=2 B=3", "ENV A=1 B=3"),
        ("ENV X=2 B=3", "ENV B=3"),
        ("ENV A=1 X=2", "ENV A=1"),
        ("ENV A=1 X=2 \\\n    B=3", "ENV A=1 \\\n    B=3"),
        ("ENV X=2 \\\n    B=3", "ENV B=3"),
    ],
)
def test_a_variable_that_is_taken_out_leaves_no_gap(line: str, left: str) -> None:
    assert rules.without_variable("X")(line) == left


def test_fix_shows_a_diff_and_writes_only_when_asked(tmp_path):
    path = tmp_path / "Dockerfile"
    path.write_text(f"{PY}ENV PIP_NO_CACHE_DIR=off\nRUN pip install x\n")
    before = path.read_text()
    shown = container.check(path, project=tmp_path, fix=True)
    assert "-ENV PIP_NO_CACHE_DIR=off" in repr(shown)
    assert shown.exit_code == 1
    assert path.read_text() == before
    written = container.check(path, project=tmp_path, fix=True, write=True)
    assert written.exit_code == 0
    assert "PIP_NO_CACHE_DIR=1" in path.read_text()
    assert container.check(project=tmp_path).ok
    undoing.undo("container_write")
    assert path.read_text() == before


def test_a_line_and_its_source_are_named(tmp_path):
    path = tmp_path / "Dockerfile"
    path.write_text(f"{PY}ENV POETRY_NO_INTERACTION=1\n")
    line = repr(container.check(path, project=tmp_path)).splitlines()[0]
    assert line.startswith(f"✗ {path}:2: POETRY_NO_INTERACTION does nothing")
    assert "https://python-poetry.org" in line


def test_what_is_no_dockerfile_is_named(tmp_path):
    (tmp_path / "x").write_text("hello\n")
    with pytest.raises(UsageError, match="has no FROM"):
        container.check(tmp_path / "x", project=tmp_path)
    with pytest.raises(UsageError, match="--fix"):
        container.check(tmp_path / "x", project=tmp_path, write=True)


@pytest.mark.parametrize(
    ("path", "is_it"),
    [
        ("Dockerfile", False),
        ("notebook/Dockerfile", True),
        ("Dockerfile.dev", True),
        ("docker/device.Dockerfile", False),
    ],
)
def test_a_developers_own_container_is_known_by_its_path(tmp_path, path, is_it):
    assert surroundings.beside(tmp_path, path).is_for_development is is_it
