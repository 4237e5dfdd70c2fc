"""`container write` and `container check`: what is written, when it is refused, and when it is stale."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import container_golden
import container_projects
import pytest
from test_image import elf
from test_lock_formats import PYLOCK_OF_PDM

from colab_env import container, undoing
from colab_env.errors import (
    ColabEnvError,
    MissingStepError,
    NoSuchPythonError,
    NotOursError,
    ProjectFileError,
    UsageError,
)
from colab_env.image import context, dockerfile, tools, writing
from colab_env.image import project as image_project
from colab_env.image.reference import ARCHITECTURES, Platform

HASH = container_projects.HASH


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    return container_projects.write(tmp_path / "hello")


def write(project: Path, **options):
    """Write with a lock file that is read without a tool: it counts when it is named."""
    lock = "uv.lock" if (project / "uv.lock").is_file() else "requirements.txt"
    return container.write(project, **{"lock": lock, **options})


def files(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


# --- what is written


def test_a_package_runs_its_console_script(hello):
    result = write(hello)
    text = (hello / "Dockerfile").read_text()
    assert {path.name for path in result.paths} == {"Dockerfile", ".dockerignore", "container-requirements.txt"}
    assert text.rstrip().endswith('ENTRYPOINT ["hello"]')
    assert "2 packages, Python 3.12, runs `hello`" in repr(result)
    assert (hello / "container-requirements.txt").read_text().endswith(container_projects.REQUIREMENTS)


def test_it_is_written_once_and_then_left_alone(hello):
    write(hello)
    before = files(hello)
    again = write(hello)
    assert again.changed == ()
    assert files(hello) == before


def test_the_same_files_come_of_another_directory_with_spaces_and_umlauts(hello, tmp_path):
    other = container_projects.write(tmp_path / "ein schönes Projekt")
    write(hello)
    write(other)
    assert files(hello) == files(other)


def test_undo_takes_the_files_back(hello):
    before = files(hello)
    write(hello)
    result = undoing.undo("container_write")
    assert result.complete
    assert files(hello) == before


def test_a_project_that_is_no_package_gets_its_packages_and_then_its_sources(hello):
    plain = container_projects.PYPROJECT.partition("[build-system]")[0]
    (hello / "pyproject.toml").write_text(plain)
    write(hello)
    text = (hello / "Dockerfile").read_text()
    assert text.index("COPY --from=packages") < text.index("-r /build/") < text.index("WORKDIR /app\nCOPY . ./")
    assert "/wheels" not in text


def test_the_name_of_a_directory_becomes_one_that_engines_take(tmp_path):
    lesson = tmp_path / "_Übung 3_"
    lesson.mkdir()
    (lesson / "requirements.txt").write_text(container_projects.REQUIREMENTS)
    assert " -t bung-3 " in write(lesson).build


def test_uv_lock_serves_as_it_is(tmp_path):
    project = container_projects.write(tmp_path / "hello", "uv.lock")
    write(project)
    assert not (project / "container-requirements.txt").exists()
    assert (
        "uv sync --project /build --frozen --no-default-groups --no-install-project"
        in (project / "Dockerfile").read_text()
    )


def test_no_address_or_path_of_this_machine_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://me:secret@corp.example/simple")
    monkeypatch.setenv("PIP_INDEX_URL", "https://me:secret@corp.example/simple")
    project = container_projects.write(tmp_path / "hello", "uv.lock")
    write(project)
    write(project, tool="pip", output=project / "docker")
    text = b"".join(content for name, content in files(project).items() if name != "uv.lock").decode()
    assert "corp.example" not in text
    assert "secret" not in text.replace("type=secret", "").replace("secrets", "").replace("client_secret", "")
    assert str(tmp_path) not in text


def test_the_kernel_of_the_notebooks_is_the_images(tmp_path):
    from colab_env.image import jupyter

    for name, kernel in (("a", "py312"), ("b", "py312"), ("c", "other"), ("d", "a name; rm")):
        notebook = {"nbformat": 4, "nbformat_minor": 5, "cells": [], "metadata": {"kernelspec": {"name": kernel}}}
        (tmp_path / f"{name}.ipynb").write_text(json.dumps(notebook))
    assert jupyter.kernel_name(tmp_path) == "py312"
    assert jupyter.kernel_name(tmp_path / "nothing") == "python3"


# --- what has no hash


def test_lines_without_a_hash_are_named_and_the_check_stays_on_for_the_others(hello):
    more = "lib @ git+https://example.org/lib.git@0123abc\nold==1.0\n"
    found = image_project.parse_packages(
        container_projects.REQUIREMENTS + more, directory=hello, context=hello, project=hello
    )
    assert [(each.name, each.kind) for each in found.unhashed] == [("lib", "git"), ("old", "index")]
    assert found.hashed == container_projects.REQUIREMENTS


def test_passwords_in_addresses_are_left_out(hello):
    found = image_project.parse_packages(
        f"--extra-index-url https://me:secret@corp.example/simple\nsix==1.0 --hash={HASH}\n",
        directory=hello,
        context=hello,
        project=hello,
    )
    assert found.indexes == ("--extra-index-url https://corp.example/simple",)
    assert found.needs_password


@pytest.mark.parametrize("line", ["-e ./part", "./part", "the_part @ file://{}/part", "-e file://{}/part"])
def test_a_directory_of_the_project_is_built_and_its_name_known(hello, line):
    (hello / "part").mkdir()
    (hello / "part/pyproject.toml").write_text('[project]\nname = "the.Part"\nversion = "1"\n')
    found = image_project.parse_packages(line.format(hello), directory=hello, context=hello, project=hello)
    assert [(each.kind, str(each.path), each.name) for each in found.unhashed] == [("directory", "part", "the-part")]


def test_the_project_itself_is_no_package_of_its_own(hello):
    found = image_project.parse_packages("-e .\n", directory=hello, context=hello, project=hello)
    assert found.unhashed == ()


# --- what is refused, with nothing written


def no_lock(project: Path) -> None:
    (project / "requirements.txt").unlink()


def loose(project: Path) -> None:
    (project / "requirements.txt").write_text("six>=1\n")


def conda(project: Path) -> None:
    no_lock(project)
    (project / "pyproject.toml").unlink()
    (project / "environment.yml").write_text("dependencies: [python=3.12]\n")


def outside(project: Path) -> None:
    (project.parent / "other").mkdir()
    (project / "requirements.txt").write_text(f"{container_projects.REQUIREMENTS}../other\n")


def no_image(project: Path) -> None:
    (project / "pyproject.toml").write_text(container_projects.PYPROJECT.replace(">=3.10", "==3.5.*"))


def hidden(project: Path) -> None:
    (project / ".dockerignore").write_text("*\n!hello_app\n")


def own_ignore_with_secrets(project: Path) -> None:
    (project / ".dockerignore").write_text(".git\n")
    (project / "config").mkdir()
    (project / "config/.env").write_text("PASSWORD=1\n")


def no_sources(project: Path) -> None:
    shutil.rmtree(project / "hello_app")


def bad_apt(project: Path) -> None:
    (project / "pyproject.toml").write_text(
        f'{container_projects.PYPROJECT}\n[tool.colab-env]\napt = ["a; rm -rf /"]\n'
    )


def unmade_path(project: Path) -> None:
    (project / "requirements.txt").write_text(f"{container_projects.REQUIREMENTS}./gone\n")


@pytest.mark.parametrize(
    ("spoil", "kind", "message", "hint"),
    [
        (no_lock, MissingStepError, "has no lock file", "--lock FILE"),
        (loose, UsageError, "no exact version of six", "uv pip compile"),
        (conda, UsageError, "is conda's", "micromamba"),
        (outside, UsageError, "outside of", "move it into the project"),
        (unmade_path, UsageError, "is not there", "get it"),
        (no_image, NoSuchPythonError, "no Python that images are written for", "name another image"),
        (hidden, UsageError, "hides pyproject.toml", "add the line !pyproject.toml"),
        (own_ignore_with_secrets, UsageError, "config/.env", "add to it a line"),
        (no_sources, UsageError, "its sources are missing", "hello_app"),
        (bad_apt, ProjectFileError, "no name of a Debian package", "libpq-dev"),
    ],
)
def test_bad_input_has_its_own_message_and_nothing_is_written(hello, spoil, kind, message, hint):
    spoil(hello)
    before = files(hello)
    with pytest.raises(kind) as raised:
        write(hello, **({"lock": None} if spoil in (no_lock, conda) else {}))
    assert message in raised.value.message
    assert hint in f"{raised.value.hint} {raised.value.message}"
    assert files(hello) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "vm"}, "no kind 'vm'"),
        ({"tool": "conda"}, "no tool 'conda'"),
        ({"tool": "poetry"}, "Poetry does not install requirements.txt"),
        ({"base": "python:3.9-slim"}, "has Python 3.9"),
        ({"output": "/"}, "a build sees nothing there"),
    ],
)
def test_options_that_cannot_be_are_refused(hello, options, message):
    before = files(hello)
    with pytest.raises(ColabEnvError, match=message):
        write(hello, **options)
    assert files(hello) == before


def test_a_dockerfile_of_somebody_elses_is_shown_as_a_diff_and_kept(hello):
    (hello / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(NotOursError, match="-FROM scratch") as raised:
        write(hello)
    assert "--output" in str(raised.value.hint)
    assert (hello / "Dockerfile").read_text() == "FROM scratch\n"
    assert not (hello / "container-requirements.txt").exists()
    write(hello, output=hello / "docker")
    assert (hello / "docker/Dockerfile").is_file()
    assert "COPY docker/container-requirements.txt ./" in (hello / "docker/Dockerfile").read_text()
    write(hello, overwrite=True)
    assert "FROM python:3.12" in (hello / "Dockerfile").read_text()


def test_an_edited_file_is_the_editors(hello):
    write(hello)
    path = hello / "Dockerfile"
    path.write_text(path.read_text().replace("EXPOSE", "EXPOSE 1") + "EXPOSE 80\n")
    with pytest.raises(NotOursError, match="edited it since"):
        write(hello, kind="packages")


def test_a_user_who_may_not_write_gets_one_error_and_no_file(hello, monkeypatch):
    # A directory in the way of the last file: the first ones go again.
    (hello / "container-requirements.txt").mkdir()
    with pytest.raises(ColabEnvError):
        write(hello)
    assert not (hello / "Dockerfile").exists()


def test_a_package_without_sources_goes_as_packages(hello):
    shutil.rmtree(hello / "hello_app")
    with pytest.raises(UsageError) as raised:
        write(hello)
    assert "--kind packages" in str(raised.value.hint)
    write(hello, kind="packages")
    assert "/wheels" not in (hello / "Dockerfile").read_text()


def test_companions_of_a_workspace_member_are_refused_in_its_own_words(tmp_path):
    model = container_golden.model(tmp_path, "uv.lock")
    with pytest.raises(UsageError, match="member of the workspace") as raised:
        container._target(None, replace(model, context=model.context.parent), ["compose"])
    assert "--output" in str(raised.value.hint)


# --- what the environment tells


def environment_with(project, **libraries):
    """Write a .venv whose distributions have a compiled file each, which loads these libraries."""
    site = project / ".venv/lib/python3.12/site-packages"
    for name, needed in libraries.items():
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"{name}/native.so,,\n")
        (site / name).mkdir()
        (site / name / "native.so").write_bytes(
            elf(*needed, machine=ARCHITECTURES[Platform.parsed(None).architecture][1])
        )


def test_a_library_that_the_slim_image_lacks_is_named_with_its_package(hello):
    environment_with(hello, lightgbm=["libgomp.so.1", "libc.so.6"], other=["libz.so.1"])
    (note,) = [note for note in write(hello).notes if "would not load" in note]
    assert note.startswith('lightgbm (libgomp.so.1) would not load in python:3.12-slim-bookworm: add "libgomp1" to apt')
    assert not [note for note in write(hello, base="debian:12", overwrite=True).notes if "would not load" in note]
    with (hello / "pyproject.toml").open("a") as file:
        file.write('[tool.colab-env]\napt = ["libgomp1"]\n')
    assert not [note for note in write(hello).notes if "would not load" in note]


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("python 3.12", "is not the name of an image"),
        ("", "is not the name of an image"),
        ("python:3.12-alpine3.20", "is Alpine"),
        ("alpine", "is Alpine"),
    ],
)
def test_a_base_that_cannot_be_built_on_is_refused(hello, base, words):
    before = files(hello)
    with pytest.raises(UsageError, match=words):
        write(hello, base=base)
    assert files(hello) == before


def test_the_commands_that_are_shown_can_be_pasted(tmp_path):
    project = container_projects.write(tmp_path / "my hello")
    context_word = f"'{project}'"
    assert write(project).build == f"docker build -t hello-app {context_word}"
    assert write(project, output=project / "docker").build.endswith(f" -f '{project}/docker/Dockerfile' {context_word}")


def test_a_lock_file_of_a_version_that_nobody_knows_is_no_empty_image(tmp_path):
    project = container_projects.write(tmp_path / "hello")
    (project / "pylock.toml").write_text('lock-version = "2.0"\ncreated-by = "x"\npackages = []\n')
    with pytest.raises(ProjectFileError, match=r"its lock-version is 2\.0"):
        container.write(project, lock="pylock.toml")
    assert not (project / "Dockerfile").exists()


def test_what_the_build_compiles_is_named_until_somebody_has_said_what_that_needs(tmp_path):
    lock = container_projects.UV_LOCK.replace("six-1.17.0-py2.py3-none-any.whl", "six-1.17.0-cp39-cp39-win32.whl")
    project = container_projects.write(tmp_path / "hello", "uv.lock", uv__lock=lock)
    (note,) = [note for note in write(project).notes if "built from source" in note]
    assert note.startswith("without a wheel for linux/")
    assert "Python 3.12, so built from source: six; what that needs goes into apt" in note
    with (project / "pyproject.toml").open("a") as file:
        file.write('[tool.colab-env]\napt = ["gcc", "libc6-dev"]\n')
    assert not [note for note in write(project).notes if "built from source" in note]
    fine = container_projects.write(tmp_path / "fine", "uv.lock")
    assert not [note for note in write(fine).notes if "built from source" in note]


# --- secrets, links, sockets


def test_secrets_are_left_out_and_named(hello):
    (hello / ".env").write_text("PASSWORD=1\n")
    (hello / ".env.example").write_text("PASSWORD=\n")
    (hello / "id_rsa.pub").write_text("public\n")
    result = write(hello)
    assert any("left out, since it looks like secrets: .env" in note and "example" not in note for note in result.notes)
    patterns = context.read_ignored(hello / ".dockerignore")
    assert patterns is not None
    assert context.is_ignored(".env", patterns)
    assert context.is_ignored("deep/below/.env", patterns)
    assert not context.is_ignored(".env.example", patterns)
    assert not context.is_ignored("hello_app/__init__.py", patterns)
    assert not context.is_ignored("hello_app/build/__init__.py", patterns)


@pytest.mark.parametrize(
    "name",
    [
        *("prod.env", ".envs/prod", ".envrc", "kaggle.json", ".kaggle/x", ".streamlit/secrets.toml", "SERVER.PEM"),
        *(
            "application_default_credentials.json",
            "client_secret_12.apps.json",
            "token.json",
            "app-key.json",
            ".pgpass",
        ),
        *(".npmrc", "id_ecdsa", "id_dsa", "main.tfstate", "deep/secrets/password.txt", "Secrets/db"),
    ],
)
def test_what_usually_holds_a_secret_is_left_out_and_named(hello, name):
    (hello / name).parent.mkdir(parents=True, exist_ok=True)
    (hello / name).write_text("x\n")
    result = write(hello)
    patterns = context.read_ignored(hello / ".dockerignore")
    assert patterns is not None
    assert context.is_ignored(name, patterns)
    assert any("looks like secrets" in note for note in result.notes)


def test_a_file_of_certificates_is_a_part_of_the_program(hello):
    certificate = "# an authority\n-----BEGIN CERTIFICATE-----\nMIID\n-----END CERTIFICATE-----\n"
    key = "-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\n"
    (hello / "hello_app" / "cacert.pem").write_text(certificate)
    (hello / "hello_app" / "server.pem").write_text(certificate + key)
    (note,) = [note for note in write(hello).notes if "looks like secrets" in note]
    assert note.endswith(": hello_app/server.pem")
    patterns = context.read_ignored(hello / ".dockerignore")
    assert patterns is not None
    assert not context.is_ignored("hello_app/cacert.pem", patterns)
    assert context.is_ignored("hello_app/server.pem", patterns)
    (hello / ".dockerignore").write_text("**/server.pem\n")
    write(hello, overwrite=True)  # nothing else is asked for


@pytest.mark.parametrize("name", ["hello_app/secrets/__init__.py", "hello_app/tokens.json", "example.env"])
def test_what_is_only_named_alike_is_no_secret(hello, name):
    (hello / name).parent.mkdir(parents=True, exist_ok=True)
    (hello / name).write_text("\n")
    result = write(hello)
    patterns = context.read_ignored(hello / ".dockerignore")
    assert patterns is not None
    assert not context.is_ignored(name, patterns)
    assert not any("secrets" in note for note in result.notes)


def test_what_the_user_lets_in_by_name_is_no_secret(hello):
    (hello / ".dockerignore").write_text(".venv\n!token.json\n")
    (hello / "token.json").write_text("{}\n")
    assert (hello / "Dockerfile") in write(hello).paths


@pytest.mark.parametrize(
    ("name", "more", "ignored"),
    [
        ("env/__init__.py", "", False),
        ("build/tasks.py", "", False),
        ("build/lib/hello_app/__init__.py", "", True),
        ("dist/hello.whl", "", True),
        ("venv/pyvenv.cfg", "", True),
        ("dist/data.csv", '[tool.hatch.build]\ninclude = ["dist/*.csv"]\n', False),
        ("dist/data.csv", '[tool.ruff]\nexclude = ["dist"]\n', True),
        ("build/data.csv", "[tool.hatch.build]\n", True),
    ],
)
def test_a_directory_named_as_what_a_build_makes_is_left_out_unless_it_is_a_source(hello, name, more, ignored):
    (hello / name).parent.mkdir(parents=True, exist_ok=True)
    (hello / name).write_text("")
    (hello / "pyproject.toml").write_text(f"{container_projects.PYPROJECT}\n{more}")
    write(hello)
    patterns = context.read_ignored(hello / ".dockerignore")
    assert patterns is not None
    assert context.is_ignored(name, patterns) is ignored


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("**a**b**c**d", "xaybzcd"),
        ("*/**/*/**/?.py", "a/b/c/d/e.py"),
        ("*a*b*c*[!d]", "a/b/c/e"),
        ("**/*/**/*/x", "a/x"),
    ],
)
def test_many_wildcards_mean_what_few_mean(pattern, name):
    expression = "".join(
        context._WILD.get(piece) or context._character(piece) for piece in context._PIECE.findall(pattern)
    )
    assert context.is_ignored(name, [pattern]) is (re.fullmatch(expression, name) is not None)


def test_many_wildcards_take_no_longer_than_few():
    # A regular expression would try every one of some 10 ** 11 ways to divide the name.
    assert not context.is_ignored("a" * 60, ["**a" * 12 + "b"])


def test_brackets_that_nothing_closes_take_no_longer_than_letters():
    began = time.process_time()
    assert not context.is_ignored("a", ["]" + "[" * 200_000])
    # Under 1; the rest of the line was searched from each of them, which took 15.
    assert time.process_time() - began < 5


def test_a_dockerignore_that_lets_git_and_environments_in_is_named(hello):
    (hello / ".dockerignore").write_text("*.md\n")
    for name in (".git/config", ".venv/pyvenv.cfg"):
        (hello / name).parent.mkdir()
        (hello / name).write_text("\n")
    notes = [note for note in write(hello).notes if ".dockerignore lets" in note]
    assert len(notes) == 1
    assert "lets .git, .venv into the image; .git/config may hold passwords" in notes[0]
    (hello / ".dockerignore").write_text(".git\n**/.venv\n")
    assert not any(".dockerignore lets" in note for note in write(hello).notes)


def test_a_dockerignore_may_hide_what_the_build_does_not_copy(hello):
    (hello / ".dockerignore").write_text("requirements.txt\n.git\n.venv\n")
    assert (hello / "Dockerfile") in write(hello).paths
    (hello / ".dockerignore").write_text("container-requirements.txt\n")
    with pytest.raises(UsageError, match=r"hides container-requirements\.txt"):
        write(hello)


@pytest.mark.parametrize(
    ("requires", "table"),
    [
        ('"setuptools", "setuptools_scm[toml]>=8"', ""),
        ('"hatchling", "hatch-vcs"', ""),
        ('"pdm-backend"', '[tool.pdm.version]\nsource = "scm"\n'),
    ],
)
def test_a_version_of_git_is_found_by_a_build_that_sees_git(hello, requires, table):
    pyproject = hello / "pyproject.toml"
    text = pyproject.read_text().replace('version = "1.2"', 'dynamic = ["version"]')
    pyproject.write_text(text.replace('"hatchling"', requires, 1) + table)
    with pytest.raises(UsageError, match=r"comes from git, and .* has no \.git"):
        write(hello)
    (hello / ".git").mkdir()
    write(hello)
    ignored = context.read_ignored(hello / ".dockerignore")
    assert not context.is_ignored(".git/HEAD", ignored)
    assert context.is_ignored("sub/.git/HEAD", ignored)
    tools, _, last = (hello / "Dockerfile").read_text().partition(" AS packages")
    assert "install --yes --no-install-recommends git" in tools
    assert "git" not in last.partition(" AS runtime")[2].replace("opencontainers", "")
    with pytest.raises(UsageError, match=r"would hold \.git"):
        write(hello, kind="packages", overwrite=True)


def test_what_the_build_does_not_see_is_no_change_of_the_sources_for_git(hello):
    pyproject = hello / "pyproject.toml"
    text = pyproject.read_text().replace('version = "1.2"', 'dynamic = ["version"]')
    pyproject.write_text(text.replace('"hatchling"', '"hatchling", "hatch-vcs"', 1))
    git = ["git", "-C", hello, "-c", "user.name=me", "-c", "user.email=me@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    write(hello)
    for words in (["add", "--all"], ["commit", "-qm", "all"], ["tag", "-a", "v4.7", "-m", "release"]):
        subprocess.run([*git, *words], check=True)
    ignored = context.read_ignored(hello / ".dockerignore")
    left_out = [path for path in hello.iterdir() if path.is_file() and context.is_ignored(path.name, ignored)]
    assert hello / "Dockerfile" in left_out
    (script,) = re.findall(r"(?m)^RUN (git ls-files (?:.*\\\n)*.*)", (hello / "Dockerfile").read_text())
    for path in left_out:
        path.unlink()
    describe = [*git, "describe", "--dirty", "--tags"]
    assert subprocess.run(describe, capture_output=True, text=True, check=True).stdout == "v4.7-dirty\n"
    subprocess.run(["sh", "-ec", script], cwd=hello, check=True)
    assert subprocess.run(describe, capture_output=True, text=True, check=True).stdout == "v4.7\n"


def test_a_version_that_stands_in_the_file_is_no_version_of_git(hello):
    pyproject = hello / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace('"hatchling"', '"setuptools", "setuptools-scm"', 1))
    write(hello)
    assert context.is_ignored(".git/HEAD", context.read_ignored(hello / ".dockerignore"))


def test_links_that_lead_out_are_named_and_sockets_left_out(hello, tmp_path):
    (hello / "out").symlink_to(tmp_path)
    (hello / "in").symlink_to("hello_app")
    os.mkfifo(hello / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(hello / "socket"))
        result = write(hello)
    assert any(note.endswith("in the image: out") for note in result.notes)
    assert (hello / ".dockerignore").read_text().splitlines()[-2:] == ["pipe", "socket"]


@pytest.mark.parametrize(
    ("pattern", "name", "ignored"),
    [
        ("*.md", "README.md", True),
        ("*.md", "docs/README.md", False),
        ("**/*.md", "docs/a/README.md", True),
        ("**/*.md", "README.md", True),
        ("docs", "docs/a/b", True),
        ("/docs/", "docs/a", True),
        ("doc?", "docs", True),
        ("[a-c]x", "bx", True),
        ("[", "[", True),
        ("*", "a/b", True),
    ],
)
def test_dockerignore_is_read_as_docker_reads_it(pattern, name, ignored):
    assert context.is_ignored(name, [pattern]) is ignored
    assert not context.is_ignored(name, [pattern, f"!{name}"])


# --- is it still what the project says?


def test_what_was_written_is_stale_when_the_lock_or_what_counts_has_changed(hello):
    write(hello)
    assert container.check(project=hello).ok
    path = hello / "pyproject.toml"
    path.write_text(path.read_text() + "\n[tool.ruff]\nline-length = 100\n")
    assert container.check(project=hello).ok
    (hello / "requirements.txt").write_text(container_projects.REQUIREMENTS.replace("1.17", "1.16"))
    result = container.check(project=hello)
    assert result.exit_code == 1
    assert len(repr(result).splitlines()) == 1
    assert "stale" in repr(result)
    write(hello)
    assert container.check(project=hello).ok


def test_check_uses_the_options_that_it_was_written_with(hello):
    (hello / "other.txt").write_text(container_projects.REQUIREMENTS)
    write(hello, lock="other.txt")
    (hello / "requirements.txt").write_text("")
    assert container.check(project=hello).ok


def test_there_is_nothing_to_check(hello):
    with pytest.raises(MissingStepError, match="has no Dockerfile"):
        container.check(project=hello)
    with pytest.raises(UsageError, match="there is no file"):
        container.check(hello / "Dockerfile", project=hello)


def test_the_command_ends_with_1_when_something_is_stale(hello):
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "colab_env", "container", *words, "--project", str(hello)]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    assert run("write", "--lock", "requirements.txt", "--json").returncode == 0
    assert run("check").returncode == 0
    (hello / "requirements.txt").write_text(container_projects.REQUIREMENTS.replace("1.17", "1.16"))
    done = run("check", "--json")
    assert done.returncode == 1
    assert not json.loads(done.stdout)["ok"]


def test_the_head_of_a_file_says_how_to_write_it_again():
    words = ["container", "write", "--extra", "a b", "--extra", "c"]
    text = writing.with_head("FROM x\n", words=words, lock="0" * 64, name="Dockerfile")
    head = writing.Head.of(text)
    assert head is not None
    assert head.values("--extra") == ["a b", "c"]
    assert not head.is_edited
    edited = writing.Head.of(f"{text}RUN y\n")
    assert edited is not None
    assert edited.is_edited
    assert writing.Head.of("FROM x\n") is None


# --- for those who run no Docker, and beside it


def test_binder_and_apptainer_need_no_dockerfile(hello):
    result = write(hello, also=["binder", "apptainer"])
    assert {str(path.relative_to(hello)) for path in result.paths} == {
        *(".binder/requirements.txt", ".binder/runtime.txt", ".binder/postBuild"),
        *("apptainer.def", "container-requirements.txt"),
    }
    assert (hello / ".binder/runtime.txt").read_text() == "python-3.12\n"
    assert (hello / ".binder/postBuild").read_text().startswith("#!/bin/bash\n# Written by")
    assert write(hello, also=["binder", "apptainer"]).changed == ()
    assert container.check(project=hello).ok


def test_apptainers_test_asks_for_the_distribution_whose_modules_may_have_other_names(hello):
    write(hello, also=["apptainer"], compile_bytecode=False)
    text = (hello / "apptainer.def").read_text()
    assert "/opt/venv/bin/python -c 'import importlib.metadata as m; m.version(\"hello-app\")'" in text
    assert "UV_COMPILE_BYTECODE" not in text


def test_a_pylock_with_a_repository_and_groups_gets_git_and_its_default_groups(hello):
    pyproject = container_projects.PYPROJECT + "[dependency-groups]\ndev = []\n"
    (hello / "pyproject.toml").write_text(pyproject)
    (hello / "pylock.toml").write_text(PYLOCK_OF_PDM)
    result = container.write(hello, lock="pylock.toml", groups=["dev"])
    text = (hello / "Dockerfile").read_text()
    assert "--no-install-recommends git\n" in text
    assert "uv pip install --python /opt/venv --group=default --group=dev -r /build/pylock.toml" in text
    assert "without a hash in the lock file: lib (git)" in repr(result)
    container.write(hello, lock="pylock.toml", tool="pip", overwrite=True)
    assert "theme" not in (hello / "container-requirements.txt").read_text()
    assert "lib @ git+https" in (hello / "container-unhashed.txt").read_text()


def test_an_app_without_a_console_script_says_what_it_starts_and_what_else_there_is(hello):
    pyproject = container_projects.PYPROJECT.replace('[project.scripts]\nhello = "hello_app:main"\n', "")
    (hello / "pyproject.toml").write_text(pyproject)
    (note,) = write(hello).notes
    assert note == (
        "it has no console script, so the image starts python and holds its modules alone: give a command after the image's "
        "name, or take --kind packages, kind='packages', which copies the files of the project too"
    )
    assert write(hello, kind="packages", overwrite=True).notes == ()


def test_git_that_a_project_names_is_there_when_it_runs(hello):
    # GitPython starts it. Where only the build needs git, nobody has to name it.
    with (hello / "pyproject.toml").open("a") as file:
        file.write('[tool.colab-env]\napt = ["git"]\n')
    write(hello)
    last = (hello / "Dockerfile").read_text().partition(" AS runtime\n")[2]
    assert "apt-get install --yes --no-install-recommends git \\\n" in last


def test_only_a_few_of_many_console_scripts_are_listed(hello):
    scripts = "".join(f'tool{number} = "hello_app:main"\n' for number in range(9))
    pyproject = container_projects.PYPROJECT.replace('hello = "hello_app:main"\n', scripts)
    (hello / "pyproject.toml").write_text(pyproject)
    (note,) = (note for note in write(hello).notes if "scripts" in note)
    assert note == "it has more console scripts: tool0, tool1, tool2, tool3, tool4 and 4 more"


def test_secrets_are_not_copied_by_apptainer_either(hello):
    (hello / ".env").write_text("PASSWORD=1\n")
    (hello / "config/deep").mkdir(parents=True)
    for name in ("config/.env", "config/app.toml", "config/deep/more.toml"):
        (hello / name).write_text("")
    write(hello, also=["apptainer"])
    text = (hello / "apptainer.def").read_text()
    assert "hello_app /build/src/" in text
    assert "config/app.toml /build/src/config/" in text
    assert "config/deep /build/src/config/" in text
    assert ".env" not in text
    assert "config /build" not in text


def test_a_dev_container_and_compose_are_beside_the_dockerfile(hello):
    before = files(hello)
    result = write(hello, also=["devcontainer", "compose"])
    names = {path.name for path in result.paths}
    assert {"Dockerfile", "devcontainer.json", "compose.yaml"} < names
    text = (hello / ".devcontainer/devcontainer.json").read_text()
    assert json.loads(re.sub(r"(?m)^//.*$", "", text))["build"]["dockerfile"] == "../Dockerfile"
    assert undoing.undo(project=hello).complete
    assert files(hello) == before
    with pytest.raises(UsageError, match="do not go with output"):
        write(hello, also=["compose"], output=hello / "docker")


# --- the files themselves


def test_every_file_is_as_its_golden_one(tmp_path):
    texts = container_golden.written(tmp_path)
    assert {path.name for path in container_golden.HERE.iterdir()} == set(texts)
    for name, text in texts.items():
        assert (container_golden.HERE / name).read_text() == text, name


# DL3008: versions of Debian's packages are those of the base's release: a version that is pinned is gone from the mirrors
# with the next security update. DL3013: the only distribution in reach is the wheel that was built two stages above.
@pytest.mark.parametrize("path", sorted(container_golden.HERE.glob("*Dockerfile")), ids=lambda path: path.name)
def test_hadolint_finds_nothing(path):
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [program, "--ignore", "DL3008", "--ignore", "DL3013", path], capture_output=True, text=True, check=False
    )
    assert done.stdout == ""
    assert done.returncode == 0


@pytest.mark.parametrize("path", sorted(container_golden.HERE.glob("*Dockerfile")), ids=lambda path: path.name)
def test_old_builders_can_read_it(path):
    text = path.read_text()
    assert "<<" not in text
    assert "syntax=" not in text
    assert "--link" not in text
    assert "PIP_NO_CACHE_DIR" not in text
    assert "ENV PYTHONDONTWRITEBYTECODE" not in text
    assert "ARG" not in text
    targets = [
        word.partition("=")[2]
        for line in text.split()
        if "--mount" in line
        for word in line.split(",")
        if word.startswith("target=")
    ]
    assert all(target.startswith("/") for target in targets)


@pytest.mark.parametrize("path", sorted(container_golden.HERE.glob("*Dockerfile")), ids=lambda path: path.name)
def test_no_stage_starts_a_tool_that_the_first_one_has_not_installed(path):
    first, _, rest = path.read_text().partition("\n\n")
    started = set(re.findall(r"(?m)(?:^ +|&& |=\S+ )(?:/opt/poetry/bin/)?(uv|poetry) ", rest))
    assert started <= set(re.findall(r"\b(uv|poetry)==", first))


@pytest.mark.parametrize("path", sorted(container_golden.HERE.glob("*.Dockerfile")), ids=lambda path: path.name)
def test_what_changes_a_layer_is_copied_not_only_mounted(path):
    # buildah and podman take a RUN from their cache whatever is in its mounts.
    last = path.read_text().rpartition("\nFROM ")[2]
    mounted = set(re.findall(r"--mount=type=bind,from=(\w+)", path.read_text()))
    assert mounted == set(re.findall(r"--mount=type=bind,from=(\w+)", last)) <= {"packages", "project"}
    for origin, copied in (
        ("project", "/wheels.sha256"),
        ("packages", "/packages.sha256"),
        ("packages", "/opt/run-time-packages.txt"),
    ):
        if copied.rpartition("/")[2] in path.read_text() or f"from={origin},source=/{Path(copied).stem}" in last:
            before = last.partition(f"--mount=type=bind,from={origin}")[0]
            assert f"COPY --from={origin} {copied} /opt/\n" in before


@pytest.mark.parametrize("apt", [(), ("gcc",)])
@pytest.mark.parametrize("tool", ["uv", "pip", "poetry"])
def test_packages_are_copied_from_stage_to_stage_only_where_something_is_compiled(tmp_path, tool, apt):
    # A copy of a large environment takes as long as its installation; what compiles must not be in the image.
    model = container_golden.model(tmp_path, "poetry.lock", apt=apt)
    image = dockerfile.Image(recipe=tools.Recipe(project=model), kind="app", tool=tools.TOOLS[tool])
    last = dockerfile.render(image).rpartition("\nFROM ")[2]
    is_copied = bool(apt) or tool == "poetry"
    assert ("COPY --from=packages /opt/venv /opt/venv\n" in last) == is_copied
    assert ("-r /build/" in last) != is_copied


@pytest.mark.parametrize("path", sorted(container_golden.HERE.glob("*.Dockerfile")), ids=lambda path: path.name)
def test_uvs_note_on_the_time_of_a_wheel_is_not_in_the_image(path):
    # It is the time of the inode, which nobody can set.
    runs = [
        text
        for text in re.split(r"(?m)^(?=[A-Z]+ )", path.read_text())
        if "uv pip install" in text and "/wheels" in text
    ]
    assert all("uv_cache.json" in text for text in runs)


@pytest.mark.parametrize("path", sorted(container_golden.HERE.glob("*.Dockerfile")), ids=lambda path: path.name)
def test_two_builds_at_once_do_not_meet_in_apts_directories(path):
    mounts = re.findall(r"--mount=(type=cache,target=/var/\S+)", path.read_text())
    assert [mount for mount in mounts if not mount.endswith(",sharing=locked")] == []


@pytest.mark.parametrize("path", sorted(container_golden.HERE.glob("*Dockerfile")), ids=lambda path: path.name)
def test_no_installer_compiler_or_apt_list_is_in_the_last_stage(path):
    last = path.read_text().partition(" AS runtime\n")[2]
    assert set(re.findall(r"(?m)^COPY .*--from=(\S+) (\S+)", last)) <= {
        ("project", "/wheels.sha256"),
        ("packages", "/packages.sha256"),
        ("packages", "/opt/venv"),
        ("packages", "/opt/run-time-packages.txt"),
        ("packages", "/opt/kernel"),
        ("packages", "/opt/jupyter/share/jupyter/kernels"),
        ("server", "/opt/jupyter"),
    }
    assert "libpq-dev" not in last
    assert ("apt-get" in last) == ("rm -rf /var/lib/apt/lists/*" in last)
    assert re.search(r"(?m)^USER 1000:1000$", last)
