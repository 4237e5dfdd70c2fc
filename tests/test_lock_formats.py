"""What holds for every format of lock files, whichever the registry finds; and the formats that are read here."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from pip._internal.models.index import PyPI
from test_installers import fill

import colab_env
from colab_env import diagnose
from colab_env.errors import ColabEnvError, LockMismatchError, UsageError
from colab_env.locks import registry
from colab_env.locks.installing import Selection
from colab_env.machine import Machine

FORMATS = registry.all_formats()
FOUND = [each for each in FORMATS if each.file_names]
HERE = Path(sys.executable)
SIX = "sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254"
IDNA = "sha256:c05567e9c24a6b9faaa835c4821bad0590fbb9d5779e7caa6e1cc4978e7eb24f"


def said(lock, **selected) -> str:
    return lock.format.export(lock, Selection(**selected), python=HERE, machine=Machine.detect())


def wanted(lock, **selected) -> dict[str, tuple[str, bool, set[str]]]:
    """Return by name the version or address, whether a marker stands there, and the hashes."""
    lines = said(lock, **selected).replace("\\\n", " ").splitlines()
    found = {}
    for line in (line for line in lines if not line.startswith("-")):
        requirement = Requirement(line.partition(" --hash")[0].strip())
        hashes = set(re.findall(r"--hash=(\S+)", line))
        found[requirement.name] = (
            requirement.url or str(requirement.specifier),
            requirement.marker is not None,
            hashes,
        )
    return found


# --- every format


def test_the_formats_are_those_of_the_modules():
    names = {each.name for each in FORMATS}
    assert len(names) == len(FORMATS) == len(list((Path(colab_env.__file__).parent / "formats").glob("[a-z]*.py")))
    assert {"poetry.lock", "uv.lock", "pylock.toml", "pdm.lock", "Pipfile.lock", "requirements.txt"} < names
    assert [each.is_made_by_tool for each in FORMATS].count(True) == 1


@pytest.mark.parametrize("known", FOUND, ids=lambda each: each.name)
def test_a_format_is_found_by_its_name_and_named_to_who_asks_for_another(known, project):
    for name in known.file_names:
        (project / name).touch()
        assert registry.find(project).format.name == known.name
        assert registry.find(project, name).format.name == known.name
        (project / name).unlink()
        (project / "other.lock").touch()
        with pytest.raises(UsageError, match=r"other\.lock is not a lock file") as caught:
            registry.find(project, "other.lock")
        assert name in caught.value.hint


@pytest.mark.parametrize("known", FOUND, ids=lambda each: each.name)
def test_a_checksum_changes_with_the_file_and_not_with_its_neighbours(known, project):
    path = project / known.file_names[0]
    path.write_text("a\n")
    first = registry.find(project).digest
    (project / "neighbour.txt").write_text("b\n")
    assert registry.find(project).digest == first
    path.write_text("b\n")
    assert registry.find(project).digest != first


@pytest.mark.parametrize("known", FOUND, ids=lambda each: each.name)
@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("extras", {"extras": ["x"]}),
        ("groups", {"groups": ["x"]}),
        ("keep", {"keep": ["x"]}),
        ("poetry", {"installer": "poetry"}),
        ("isolated", {"system_site_packages": False}),
    ],
)
def test_an_option_that_a_format_lacks_is_refused_by_plan_and_set_up_alike(known, option, words, project, home):
    if option in known.options:
        return
    (project / known.file_names[0]).touch()
    messages = []
    for verb in (colab_env.setup, colab_env.plan):
        if option == "poetry" and verb is colab_env.plan:  # which installs nothing
            continue
        with pytest.raises(UsageError, match=known.file_names[0]) as caught:
            verb(project=project, interpreter="miniconda", **words)
        messages.append(caught.value.message)
    assert len({*messages}) == 1
    assert sorted(path.name for path in project.iterdir()) == [known.file_names[0]]


@pytest.mark.parametrize("known", [each for each in FOUND if not each.brings_python], ids=lambda each: each.name)
def test_status_says_what_it_needs(known, project, home):
    (project / known.file_names[0]).touch()
    (line,) = [part for part in diagnose.status(project).parts if part.name == "Poetry"]
    assert (line.problem is not None) == known.is_made_by_tool


READ_HERE = [each for each in FOUND if each.name in ("pdm.lock", "Pipfile.lock")]
DAMAGED = [
    "",
    "[",
    "[]",
    "{}",
    "nothing",
    "[" * 100_000,
    '{"default": 3}',
    "package = 3\n[metadata]\n",
    "\0\xff",
    '{"a": {"b": []}}',
]


@pytest.mark.parametrize("known", READ_HERE, ids=lambda each: each.name)
@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_what_is_damaged_is_this_package_s_own_error(known, text, project, home):
    (project / known.file_names[0]).write_text(text)
    lock = registry.find(project)
    assert [message for message in map(refusal, [lambda: said(lock), lambda: lock.requires_python]) if message]


def refusal(ask) -> str | None:
    """Return what is said of a file, or None; other errors than this package's come through."""
    try:
        ask()
    except ColabEnvError as error:
        return error.message
    return None


# --- Pipfile.lock


def pipfile(project: Path, **changes: object) -> Path:
    document = {
        "_meta": {
            "requires": {"python_version": "3.11"},
            "sources": [
                {"name": "pypi", "url": str(PyPI.simple_url), "verify_ssl": True},
                {"name": "own", "url": "https://${OWN_USER}:${OWN_WORD}@own.example/simple", "verify_ssl": True},
            ],
        },
        "default": {
            "idna": {"hashes": [IDNA], "index": "pypi", "markers": "python_version >= '3.5'", "version": "==3.6"},
            "inner": {"hashes": ["sha256:00"], "index": "own", "version": "==1.0"},
            "here": {"editable": True, "path": "."},
            "at": {"git": "https://git.example/at.git", "ref": "abc", "subdirectory": "python"},
        },
        "develop": {"six": {"hashes": [SIX], "version": "==1.16.0"}, "idna": {"version": "==3.6", "hashes": [IDNA]}},
        **changes,
    }
    path = project / "Pipfile.lock"
    path.write_text(json.dumps(document))
    return path


def test_a_pipfile_lock_says_what_pipenv_sync_takes(project, home, monkeypatch):
    pipfile(project)
    lock = registry.find(project)
    assert lock.requires_python == "3.11"
    assert lock.asks_for_python.name == "Pipfile.lock"
    assert wanted(lock) == {
        "idna": ("==3.6", True, {IDNA}),
        "inner": ("==1.0", False, {"sha256:00"}),
        "at": ("git+https://git.example/at.git@abc#subdirectory=python", False, set()),
    }
    assert [line for line in said(lock).splitlines() if line.startswith("-e ")] == [f"-e {project.as_uri()}"]
    for name in ("dev", "develop"):
        assert wanted(lock, groups=(name,))["six"] == ("==1.16.0", False, {SIX})
    with pytest.raises(UsageError, match="no group 'docs'") as caught:
        said(lock, groups=("docs",))
    assert caught.value.hint == "it has develop"
    monkeypatch.setenv("OWN_USER", "me")
    with pytest.raises(UsageError, match="environment variable OWN_WORD"):
        lock.format.sources(lock)
    monkeypatch.setenv("OWN_WORD", "p@ss/")
    urls = {each.name: each.url for each in lock.format.sources(lock)}
    assert (urls["idna"], urls["inner"]) == (None, "https://me:p%40ss%2F@own.example/simple")


# --- pdm.lock

PDM = """\
[metadata]
groups = ["default", "test", "plots"]
strategy = [%s]
lock_version = "4.5.0"
content_hash = "sha256:0"

[[package]]
name = "idna"
version = "3.6"
requires_python = ">=3.5"
groups = ["default"]
marker = "python_version >= \\"3.5\\""
dependencies = ["old; python_version < \\"3\\"", "needed>=1"]
files = [{file = "idna-3.6-py3-none-any.whl", hash = "%s"}]

[[package]]
name = "needed"
version = "1.5"
groups = ["default"]

[[package]]
name = "old"
version = "1.0"
groups = ["default"]
marker = "python_version < \\"3\\""

[[package]]
name = "six"
version = "1.16.0"
groups = ["test"]
files = [{file = "six-1.16.0-py2.py3-none-any.whl", hash = "%s"}]

[[package]]
name = "pictures"
version = "2.0"
groups = ["plots"]
git = "https://git.example/pictures.git"
revision = "abc"
"""
PROJECT = """\
[project]
name = "lesson"
version = "1"
requires-python = ">=3.10"
dependencies = ["idna%s"]
[project.optional-dependencies]
plots = ["pictures @ git+https://git.example/pictures.git"]
[dependency-groups]
test = ["six"]
[tool.pdm]
distribution = %s
"""


def pdm(project: Path, *, strategy: str = '"inherit_metadata"', asked: str = "", distribution: str = "false") -> None:
    (project / "pyproject.toml").write_text(PROJECT % (asked, distribution))
    (project / "pdm.lock").write_text(PDM % (strategy, IDNA, SIX))


@pytest.mark.parametrize("strategy", ['"inherit_metadata"', ""])
def test_a_pdm_lock_says_what_pdm_sync_takes(project, home, strategy):
    pdm(project, strategy=strategy)
    lock = registry.find(project)
    assert lock.requires_python == ">=3.10"

    def names(**selected: tuple[str, ...]) -> set[str]:
        return {*wanted(lock, **selected)} - {"old"}  # whose marker excludes it

    assert wanted(lock)["idna"][::2] == ("==3.6", {IDNA})
    assert wanted(lock)["old"][1]
    assert names() == {"idna", "needed", "six", "pictures"}
    assert names(groups=()) == {"idna", "needed"}
    assert names(groups=("test",), extras=("plots",)) == {"idna", "needed", "six", "pictures"}
    assert "pictures @ git+https://git.example/pictures.git@abc" in said(lock, extras=("plots",))
    with pytest.raises(UsageError, match="no extra 'films'"):
        said(lock, extras=("films",))
    with pytest.raises(UsageError, match="no group 'docs'"):
        said(lock, groups=("docs",))


@pytest.mark.parametrize("asked", [">=4", '", "fresh'])
def test_a_pdm_lock_that_its_project_has_moved_on_from_is_named(project, home, asked):
    pdm(project, asked=asked)
    with pytest.raises(LockMismatchError, match=r"pdm\.lock (has idna 3\.6, but|does not hold fresh)"):
        said(registry.find(project))


def test_the_project_itself_is_installed_where_pdm_does(project, home):
    pdm(project, distribution="true")
    assert f"-e {project.as_uri()}" in said(registry.find(project)).splitlines()[-1]


# --- both


@pytest.mark.network
@pytest.mark.parametrize("kind", ["pdm.lock", "Pipfile.lock"])
def test_an_environment_gets_exactly_what_is_locked(machine, project, kind):
    if kind == "pdm.lock":
        head = '[project]\nname = "x"\nversion = "1"\ndependencies = ["idna"]\n'
        (project / "pyproject.toml").write_text(f"{head}[tool.pdm]\ndistribution = false\n")
        head = '[metadata]\ngroups = ["default"]\nstrategy = ["inherit_metadata"]\nlock_version = "4.5.0"\n'
        package = '[[package]]\nname = "idna"\nversion = "3.6"\ngroups = ["default"]\n'
        package += f'files = [{{file = "i.whl", hash = "{IDNA}"}}]\n'
        (project / kind).write_text(head + package)
    else:
        pipfile(project, _meta={}, default={"idna": {"hashes": [IDNA], "version": "==3.6"}})
    result = fill(project, python=machine.python)
    assert any(note.startswith(f"Packages from {kind}") for note in result.notes)
    found = {path.name.split("-")[0] for path in project.glob(".venv/lib/python3*/site-packages/*.dist-info")}
    assert found == {"idna", "pip"}
    assert not fill(project, python=machine.python).changed
    rows = {row.name: row.wanted for row in colab_env.plan(project=project, interpreter="system").rows}
    assert rows["idna"] == "3.6"
    shutil.rmtree(project / ".venv")
    (project / kind).write_text((project / kind).read_text().replace(IDNA, SIX))
    with pytest.raises(ColabEnvError, match="idna"):
        fill(project, python=machine.python)
