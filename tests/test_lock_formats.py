"""Every format of lock file keeps the same promises; pdm.lock and Pipfile.lock mean what their own tools take them for."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from index_server import IndexServer
from small_wheels import write_wheel
from test_installers import fill, installed, library, nowhere

from colab_env import _report, diagnose, environment, planning, setting_up, undoing, venv
from colab_env.errors import (
    ColabEnvError,
    HashMismatchError,
    LockMismatchError,
    NetworkError,
    NoSuchPythonError,
    ProjectFileError,
    UsageError,
)
from colab_env.formats import pylock_toml
from colab_env.interpreter_sources import source_for
from colab_env.locks import installing, registry, requirements_text
from colab_env.locks.installing import Selection
from colab_env.machine import Machine
from colab_env.request import InstallOptions, Request

FORMATS = registry.all_formats()
NAMED = [each for each in FORMATS if each.file_names]
OWN = [each for each in FORMATS if each.name in ("pdm.lock", "Pipfile.lock")]
# What everybody has without settings, as pip knows it.
PUBLIC = pytest.importorskip("pip._internal.models.index").PyPI.simple_url
IDNA = "sha256:c05567e9c24a6b9faaa835c4821bad0590fbb9d5779e7caa6e1cc4978e7eb24f"
SIX = "sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254"


def text_of(project: Path, name: str, **selection) -> str:
    """Return what a lock file says, read without its tool."""
    lock = registry.find(project, name)
    chosen = Selection(**selection)
    peeked = lock.format.peek(lock, chosen, machine=Machine.detect(), has_python=True)
    exported = lock.format.export(lock, chosen, python=Path("python"), machine=Machine.detect())
    assert peeked == exported
    return exported


def said(project: Path, name: str, *, python: str = "3.12", **selection) -> dict[str, str]:
    """Return the versions by name that a lock file comes to on a Linux machine."""
    markers = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "os_name": "posix",
    }
    found = requirements_text.read(text_of(project, name, **selection), markers)
    return {name: each.version for name, each in found.items()}


# --- all formats


@pytest.fixture(params=NAMED, ids=lambda each: each.name)
def any_format(request):
    return request.param


# Poetry always writes it, and refuses a file without it.
NOTHING = {
    "poetry.lock": '[metadata]\nlock-version = "2.1"\n',
    "pyproject.toml": '[project]\nname = "lesson"\nversion = "1"\n',
}


def locked(project: Path, each, text: str | None = None) -> Path:
    text = NOTHING.get(each.name, "# nothing\n") if text is None else text
    path = project / (each.file_names[0] if each.file_names else "lesson.py")
    path.write_text(text)
    return path


def test_names_and_ranks_are_each_ones_own():
    assert len({each.name for each in FORMATS}) == len({each.rank for each in FORMATS}) == len(FORMATS)
    assert [each.rank for each in FORMATS] == sorted(each.rank for each in FORMATS)
    assert {"pdm.lock", "Pipfile.lock"} <= {each.name for each in FORMATS}


def test_a_lock_file_is_found_by_its_name(project, any_format):
    for name in any_format.file_names:
        path = project / name
        built = (
            '[build-system]\nbuild-backend = "other"\n' if any_format.name == "setup.py" else NOTHING["pyproject.toml"]
        )
        path.write_text(built if name == "pyproject.toml" else "[metadata]\n")
        found = registry.find(project)
        assert (found.path, found.format) == (path, any_format)
        assert registry.find(Path("/"), path).format is any_format
        path.unlink()


def test_the_checksum_is_that_of_the_content_and_not_of_a_neighbour(project, any_format):
    path = locked(project, any_format)
    before = registry.find(project).digest
    (project / "neighbour.txt").write_text("six\n")
    assert registry.find(project, path.name).digest == before
    path.write_text(f"{path.read_text()}# something else\n" if path.suffix == ".toml" else "# something else\n")
    assert registry.find(project, path.name).digest != before


@pytest.mark.parametrize(
    ("option", "arguments", "rest"),
    [
        ("extras", {"extras": ["more"]}, {}),
        ("groups", {"groups": ["more"]}, {}),
        ("poetry", {"installer": "poetry"}, {}),
        ("keep", {"keep": ["six"]}, {}),
        ("isolated", {}, {"system_site_packages": False}),
    ],
)
def test_options_that_a_format_lacks_are_refused_and_others_are_not(project, any_format, option, arguments, rest):
    path = locked(project, any_format)
    options = InstallOptions.from_arguments(**arguments)
    (project / "pyproject.toml").write_text(
        "[project]\nname = 'a'\nversion = '1'\n[project.optional-dependencies]\nmore = []\n[dependency-groups]\nmore = []\n"
    )
    if any_format.name == "pylock.toml":
        path.write_text('extras = ["more"]\ndependency-groups = ["more"]\n')
    if any_format.is_loose:
        (project / "pyproject.toml").unlink()
    if (any_format.name, option) == ("pyproject.toml", "poetry"):  # then Poetry makes the lock file
        assert Request.read(project, Machine.detect(), options=options).lock.format.name == "poetry.lock"
        return
    if option in any_format.options:
        assert Request.read(project, Machine.detect(), options=options, **rest).lock.format is any_format
        return
    with pytest.raises(UsageError, match=re.escape(path.name)) as caught:
        Request.read(project, Machine.detect(), options=options, **rest)
    assert caught.value.hint


@pytest.mark.parametrize("known", NAMED, ids=lambda each: each.name)
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
    if option in known.options or (known.name, option) == ("pyproject.toml", "poetry"):
        return
    (project / known.file_names[0]).touch()
    messages = []
    for verb in (setting_up.setup, planning.plan):
        if option == "poetry" and verb is planning.plan:  # which installs nothing
            continue
        with pytest.raises(UsageError, match=known.file_names[0]) as caught:
            verb(project=project, interpreter="miniconda", **words)
        messages.append(caught.value.message)
    assert len({*messages}) == 1
    assert sorted(path.name for path in project.iterdir()) == [known.file_names[0]]


def test_an_unknown_file_is_refused_with_the_names_of_all_that_are_known(project, any_format):
    (project / "unknown.lock").write_text("")
    with pytest.raises(UsageError, match=r"unknown\.lock is not a lock file of a known kind") as caught:
        registry.find(project, "unknown.lock")
    assert all(name in caught.value.hint for name in any_format.file_names)


@pytest.mark.parametrize(
    ("name", "text", "arguments", "message", "there"),
    [
        ("uv.lock", "version = 1\n", {"extras": ["fats"]}, "uv.lock has no extra 'fats'", "it has fast"),
        ("uv.lock", "version = 1\n", {"groups": ["tests"]}, "uv.lock has no group 'tests'", "it has dev, test"),
        (
            "poetry.lock",
            NOTHING["poetry.lock"],
            {"groups": ["tests"]},
            "poetry.lock has no group 'tests'",
            "dev, main, test",
        ),
        ("poetry.lock", NOTHING["poetry.lock"], {"extras": ["x"]}, "poetry.lock has no extra 'x'", "it has fast"),
        (None, "", {"groups": ["tests"]}, "pyproject.toml has no group 'tests'", "dev, test"),
        (
            None,
            "",
            {"groups": ["tests"], "installer": "poetry"},
            "pyproject.toml has no group 'tests'",
            "dev, main, test",
        ),
        (
            "pylock.toml",
            'extras = ["a"]\n',
            {"groups": ["test"]},
            "pylock.toml has no group 'test'",
            "it has no group at all",
        ),
        ("pylock.toml", 'extras = ["a"]\n', {"extras": ["b"]}, "pylock.toml has no extra 'b'", "it has a"),
    ],
)
def test_an_extra_or_a_group_that_is_not_there_is_refused_with_those_that_are(
    project, home, name, text, arguments, message, there
):
    (project / "pyproject.toml").write_text(
        "[project]\nname = 'a'\nversion = '1'\n[project.optional-dependencies]\nfast = []\n"
        "[dependency-groups]\ntest = []\n[tool.uv]\ndev-dependencies = ['six']\n"
    )
    if name:
        (project / name).write_text(text)
    before = sorted(project.iterdir())
    with pytest.raises(UsageError, match=re.escape(message)) as caught:
        setting_up.setup(project=project, interpreter="system", **arguments)
    assert there in caught.value.hint
    assert sorted(project.iterdir()) == before


def test_a_group_of_pylock_comes_beside_its_default_groups(project):
    groups = 'dependency-groups = ["default", "test"]\ndefault-groups = ["default"]\n'
    (project / "pylock.toml").write_text(groups)
    lock = registry.find(project)
    assert pylock_toml.options(lock, Selection(groups=("test",))) == ["--group=default", "--group=test"]
    assert pylock_toml.options(lock, Selection()) == []


PYLOCK_OF_PDM = """
lock-version = "1.0"
extras = ["docs"]
dependency-groups = ["default", "dev"]
default-groups = ["default"]
[[packages]]
name = "six"
version = "1.17.0"
marker = '"default" in dependency_groups'
sdist = {name = "six.tar.gz", url = "https://example.org/six.tar.gz", hashes = {sha256 = "aa"}}
[[packages]]
name = "old"
version = "1.0"
marker = 'python_version ~= "3.9" and ("docs" in extras or "default" in dependency_groups)'
sdist = {name = "old.tar.gz", url = "https://example.org/old.tar.gz", hashes = {sha256 = "bb"}}
[[packages]]
name = "theme"
version = "1.0"
marker = 'sys_platform != "win32" and ("Docs" in extras or "dev" in dependency_groups)'
sdist = {name = "theme.tar.gz", url = "https://example.org/theme.tar.gz", hashes = {sha256 = "cc"}}
[[packages]]
name = "lib"
version = "0.1"
vcs = {type = "git", url = "https://example.org/lib", commit-id = "0123abc", subdirectory = "python"}
[[packages]]
name = "data"
version = "0.1"
archive = {url = "https://example.org/data.zip", hashes = {sha256 = "dd"}}
"""


@pytest.mark.parametrize(
    ("chosen", "theme"),
    [
        ({}, ()),
        ({"extras": ("docs",)}, ("theme==1.0 ; sys_platform != 'win32' \\", "    --hash=sha256:cc")),
        ({"groups": ("dev",)}, ("theme==1.0 ; sys_platform != 'win32' \\", "    --hash=sha256:cc")),
    ],
)
def test_what_an_image_gets_of_a_pylock_is_what_uv_installs_of_it(project, chosen, theme):
    (project / "pylock.toml").write_text(PYLOCK_OF_PDM)
    lock, python = registry.find(project), Path(sys.executable)
    text = lock.format.export_universal(lock, Selection(**chosen), python=python, machine=Machine.detect())
    assert text.splitlines() == [
        *("six==1.17.0 \\", "    --hash=sha256:aa"),
        *("old==1.0 ; python_version ~= '3.9' \\", "    --hash=sha256:bb"),
        *theme,
        "lib @ git+https://example.org/lib@0123abc#subdirectory=python",
        *("data @ https://example.org/data.zip \\", "    --hash=sha256:dd"),
    ]


def test_a_marker_of_a_pylock_that_nobody_can_read_is_named(project):
    (project / "pylock.toml").write_text(
        PYLOCK_OF_PDM.replace("'\"default\" in dependency_groups'", "'\"x\" in extras and ('")
    )
    lock, python = registry.find(project), Path(sys.executable)
    with pytest.raises(ProjectFileError, match="marker"):
        lock.format.export_universal(lock, Selection(), python=python, machine=Machine.detect())


@pytest.mark.parametrize("name", ["conda-lock.yml", "pixi.lock", "pixi.toml", "Pipfile"])
def test_what_nobody_here_reads_is_refused_with_the_next_step_and_never_an_empty_environment(project, home, name):
    (project / name).write_text("version = 1\n")
    for arguments in ({}, {"lock": name}):
        with pytest.raises(UsageError, match=re.escape(name)) as caught:
            setting_up.setup(project=project, interpreter="system", **arguments)
        assert "run `" in caught.value.hint
    assert [each.name for each in project.iterdir()] == [name]
    (project / "requirements.txt").write_text("six\n")
    assert registry.find(project).path.name == "requirements.txt"


@pytest.mark.parametrize(
    ("beside", "text", "is_refused"),
    [
        ("pixi.lock", "", True),
        ("conda-lock.yml", "", True),
        ("", '[tool.pixi.dependencies]\npython = "3.12.*"\nnumpy = "*"\n', True),
        ("", '[tool.pixi.pypi-dependencies]\nx = { path = ".", editable = true }\n', False),
        ("pixi.lock", '[dependency-groups]\ndev = ["six"]\n', False),
    ],
)
def test_a_project_whose_packages_only_pixi_or_conda_knows_is_no_empty_environment(project, beside, text, is_refused):
    (project / "pyproject.toml").write_text(f'[project]\nname = "x"\nversion = "1"\ndependencies = []\n{text}')
    if beside:
        (project / beside).write_text("version = 1\n")
    with pytest.raises(UsageError, match="is not read by colab-env") if is_refused else contextlib.nullcontext():
        assert registry.find(project).format.name == "pyproject.toml"
    (project / "uv.lock").write_text("version = 1\n")
    assert registry.find(project).format.name == "uv.lock"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("python_requires='>=3.6, <4'", ">=3.6, <4"),
        ('python_requires = ">=3.6" , zip_safe=False', ">=3.6"),
        *(
            (f"python_requires={value}", None)
            for value in ("'>=' + cfg['min_python']", "'>=%s' % X", '">={}".format(X)', "X")
        ),
    ],
)
def test_of_a_setup_py_only_a_whole_text_says_which_python(project, written, expected):
    """What is put together, as nbdev does it, is known when it runs."""
    (project / "setup.py").write_text(f"from setuptools import setup\nsetup(name='a', {written})\n")
    assert registry.find(project).requires_python == expected


def test_a_setup_cfg_is_one_of_a_package_only_if_it_describes_one(project):
    (project / "setup.cfg").write_text("[flake8]\nmax-line-length = 100\n")
    assert registry.find(project).format.is_made_by_tool
    (project / "setup.cfg").write_text("[metadata]\nname = a\n[options]\npython_requires = >=3.9\n")
    lock = registry.find(project)
    assert (lock.format.name, lock.requires_python) == ("setup.py", ">=3.9")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("from setuptools import setup\nsetup(name='a')\n", True),
        ("from numpy.distutils.core import setup\n\nif True:\n    setup(**names)\n", True),
        ("import skbuild\nskbuild.setup(name='a')\n", True),
        ("import setuptools as s\ngetattr(s, 'setup')()\n", True),
        ("import os\n\ndef setup(app):\n    app.setup(1)\n    return app\n", False),
        ("class Setup:\n    pass\n", False),
        ("# nothing\n", True),
    ],
)
def test_a_setup_py_is_one_of_a_package_only_if_it_calls_for_one(project, text, is_one):
    (project / "setup.py").write_text(text)
    assert (registry.find(project).format.name == "setup.py") == is_one


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ('[build-system]\nbuild-backend = "flit_core.buildapi"\n[tool.flit.metadata]\nmodule = "x"\n', True),
        ('[build-system]\nbuild-backend = "setuptools.build_meta"\n', False),
        ('[build-system]\nbuild-backend = "hatchling.build"\n[project]\nname = "x"\n', False),
        ('[build-system]\nbuild-backend = "poetry.core.masonry.api"\n[tool.poetry]\n', False),
    ],
)
def test_a_project_that_only_its_backend_knows_is_built(project, text, is_one):
    (project / "pyproject.toml").write_text(text)
    assert (registry.find(project).format.name == "setup.py") == is_one
    if not is_one:
        is_standard = "[project]" in text
        with contextlib.nullcontext() if is_standard else pytest.raises(UsageError, match="not a lock file of a known"):
            assert registry.find(project, "pyproject.toml").format.name == "pyproject.toml"


def test_status_names_the_lock_file_without_reading_a_tool(project, any_format, no_children):
    path = locked(project, any_format)
    request = Request.read(project, Machine.detect())
    assert request.described_lock().startswith(path.name)
    assert diagnose.status(project).parts


@pytest.mark.parametrize("each", [*OWN, registry.of_name("environment.yml")], ids=lambda each: each.name)
@pytest.mark.parametrize("text", ["", "nonsense", "[1", '"text"', "\0", "{}", '{"_meta": 3}', 'metadata = "x"\n'])
def test_damaged_content_gives_an_error_of_this_packages_own(project, each, text):
    locked(project, each, text)
    lock = registry.find(project)
    with pytest.raises(ColabEnvError) as caught:
        lock.format.export(lock, Selection(), python=Path("python"), machine=Machine.detect())
    assert lock.path.name in caught.value.message
    assert caught.value.hint


def test_a_plan_knows_the_lock_files_that_need_no_tool(project, pythons):
    for each, text in (("pdm.lock", PDM), ("Pipfile.lock", json.dumps(pipfile(default={"six": PINNED_SIX})))):
        (project / each).write_text(text)
        if each == "pdm.lock":
            (project / "pyproject.toml").write_text(PROJECT)
        plan = planning.plan(pythons[0].version, interpreter="system", project=project, lock=each)
        assert plan.lock == project / each
        assert {row.name: row.wanted for row in plan.rows}["six"] == "1.16.0"


# --- Pipfile.lock


PINNED_SIX = {"version": "==1.16.0", "hashes": [SIX]}


def pipfile(*, default=None, develop=None, sources=None, requires=None, **more):
    meta = {
        "hash": {"sha256": "0" * 64},
        "pipfile-spec": 6,
        "requires": requires or {},
        "sources": sources or [{"name": "pypi", "url": PUBLIC, "verify_ssl": True}],
    }
    return {"_meta": meta, "default": default or {}, "develop": develop or {}, **more}


def write_pipfile_lock(project: Path, **parts) -> Path:
    path = project / "Pipfile.lock"
    path.write_text(json.dumps(pipfile(**parts)))
    return path


def test_the_main_packages_are_installed_and_categories_on_demand(project):
    write_pipfile_lock(
        project,
        default={"idna": {"version": "==3.6", "hashes": [IDNA]}},
        develop={"six": PINNED_SIX, "idna": {"version": "==3.6", "hashes": [IDNA]}},
        docs={"toml": {"version": "==0.10.2"}},
    )
    assert said(project, "Pipfile.lock") == {"idna": "3.6"}
    for name in ("develop", "dev", "dev-packages"):
        assert said(project, "Pipfile.lock", groups=(name,)) == {"idna": "3.6", "six": "1.16.0"}
    assert said(project, "Pipfile.lock", groups=("docs", "dev")) == {"idna": "3.6", "six": "1.16.0", "toml": "0.10.2"}
    assert f"--hash={IDNA}" in text_of(project, "Pipfile.lock")
    with pytest.raises(UsageError, match="no group 'tests'") as caught:
        text_of(project, "Pipfile.lock", groups=("tests",))
    assert caught.value.hint == "it has develop, docs"


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"version": "==1.0", "extras": ["b", "a"]}, "demo[a,b]==1.0"),
        ({"version": "==1.0", "markers": "python_version < '3.8'"}, 'demo==1.0 ; python_version < "3.8"'),
        (
            {"version": "==1.0", "markers": "os_name == 'nt'", "os_markers": "sys_platform == 'win32'"},
            'demo==1.0 ; (os_name == "nt") and (sys_platform == "win32")',
        ),
        ("==1.0", "demo==1.0"),
        (
            {"git": "https://git.example.org/demo.git", "ref": "abc", "subdirectory": "lib", "editable": True},
            "demo @ git+https://git.example.org/demo.git@abc#subdirectory=lib",
        ),
        ({"git": "git@git.example.org:me/demo.git"}, "demo @ git+ssh://git@git.example.org/me/demo.git"),
        ({"git": "https://${TOKEN}@git.example.org/x", "ref": "1"}, "demo @ git+https://${TOKEN}@git.example.org/x@1"),
        (
            {"file": "https://files.example.org/demo-1.0.tar.gz", "hashes": [SIX]},
            f"demo @ https://files.example.org/demo-1.0.tar.gz \\\n    --hash={SIX}",
        ),
        ({"path": ".", "editable": True, "markers": "python_version > '3'"}, '-e file://{here} ; python_version > "3"'),
        ({"path": "./libs/demo"}, "file://{here}/libs/demo"),
    ],
)
def test_an_entry_of_pipenv_becomes_a_line_of_pips(project, entry, line):
    write_pipfile_lock(project, default={"demo": entry})
    assert text_of(project, "Pipfile.lock").strip() == line.replace("{here}", str(project))


@pytest.mark.parametrize("name", ["demo-1.0.tar.gz", "demo-1.0.zip", "demo-1.0.tar.bz2", "demo-1.0-py3-none-any.whl"])
def test_the_hash_of_every_kind_of_archive_is_kept(project, name):
    address = f"https://files.example.org/{name}"
    write_pipfile_lock(project, default={"demo": {"file": address, "hashes": [SIX]}})
    assert text_of(project, "Pipfile.lock").split() == ["demo", "@", address, "\\", f"--hash={SIX}"]


def test_a_package_of_two_categories_is_installed_where_either_wants_it(project):
    on_windows = {"version": "==1.0", "markers": "sys_platform == 'win32'"}
    write_pipfile_lock(project, default={"demo": on_windows, "six": PINNED_SIX}, develop={"Demo": {"version": "==1.0"}})
    assert said(project, "Pipfile.lock") == {"six": "1.16.0"}
    assert said(project, "Pipfile.lock", groups=("dev",)) == {"six": "1.16.0", "demo": "1.0"}


@pytest.mark.parametrize(
    ("requires", "asked"),
    [
        ({}, None),
        ({"python_version": "3.11"}, "3.11"),
        ({"python_full_version": "3.11.4", "python_version": "3.11"}, "3.11.4"),
    ],
)
def test_the_python_is_that_of_the_pipfile(project, requires, asked):
    path = write_pipfile_lock(project, requires=requires)
    lock = registry.find(project)
    assert (lock.requires_python, lock.asks_for_python) == (asked, path)


def test_a_python_that_the_pipfile_does_not_ask_for_is_a_note_as_for_pipenv(project, pythons):
    write_pipfile_lock(project, requires={"python_version": "3.6"})
    request = Request.read(project, Machine.detect())
    assert (request.requested_python, request.specifier.contains("3.12.1")) == ("3.6", False)
    assert environment.require_python(request, pythons[0]) == (
        f"Pipfile.lock asks for Python 3.6; {pythons[0].version} was chosen"
    )
    made = venv.Receipt(python=pythons[0], inputs="", wanted=request.options.recorded(), packages=())
    assert replace(request, receipt=made).requested_python == pythons[0].short_version


def test_another_patch_level_of_the_python_that_a_pipfile_asks_for_will_do(project, home, pythons):
    absent = f"{pythons[0].short_version}.99"
    write_pipfile_lock(project, requires={"python_full_version": absent})
    request = Request.read(project, Machine.detect(), source="system")
    assert source_for(request).resolve(request).python.short_version == pythons[0].short_version
    assert environment.require_python(request, pythons[0]) == (
        f"Pipfile.lock asks for Python {absent}; {pythons[0].version} was chosen"
    )
    asked = replace(request, python=absent)  # a person's own word
    with pytest.raises(NoSuchPythonError, match=r"no Python on this machine fits '==3\.\d+\.99'"):
        source_for(asked).resolve(asked)


def test_a_package_comes_from_the_index_that_it_names_and_the_first_is_that_of_the_others(project, monkeypatch):
    monkeypatch.setenv("TOKEN", "p@ss/word")
    private = {"name": "private", "url": "https://me:${TOKEN}@index.example.org/simple", "verify_ssl": False}
    public = {"name": "pypi", "url": PUBLIC}
    packages = {"here": {"version": "==1.0", "index": "private"}, "there": {"version": "==2.0", "hashes": [SIX]}}
    for sources, expected in (
        ([public, private], None),
        ([private, public], "https://me:p%40ss%2Fword@index.example.org/simple"),
    ):
        write_pipfile_lock(project, default=packages, sources=sources)
        lock = registry.find(project)
        found = {each.name: each for each in lock.format.sources(lock)}
        assert found["here"].url == "https://me:p%40ss%2Fword@index.example.org/simple"
        assert found["there"].url == expected
        assert (found["there"].version, found["there"].hashes) == ("2.0", {SIX})
        assert "--trusted-host index.example.org\n" in text_of(project, "Pipfile.lock")
    monkeypatch.delenv("TOKEN")
    with pytest.raises(UsageError, match="needs the environment variable TOKEN"):
        lock.format.sources(lock)
    write_pipfile_lock(project, default={"here": {"version": "==1.0", "index": "gone"}})
    with pytest.raises(ProjectFileError, match="'gone', which is not among its sources"):
        text_of(project, "Pipfile.lock")


def test_a_pipfile_that_has_moved_on_is_said(project):
    (project / "Pipfile").write_text(
        f'[[source]]\nurl = "{PUBLIC}"\nverify_ssl = true\nname = "pypi"\n\n[packages]\nSix = "*"\n\n'
        '[dev-packages]\n\n[docs]\nsphinx = {version = "*", extras = ["a"]}\n\n[requires]\npython_version = "3.11"\n'
    )
    source = {"name": "pypi", "url": PUBLIC, "verify_ssl": True}
    content = {
        "_meta": {"requires": {"python_version": "3.11"}, "sources": [source]},
        "default": {"Six": "*"},
        "develop": {},
        "docs": {"sphinx": {"extras": ["a"], "version": "*"}},
    }
    for names in ({"Six": "*"}, {"six": "*"}):  # as Pipenv wrote it for years, and as it does now
        content["default"] = names
        document = pipfile(default={"six": PINNED_SIX})
        plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
        document["_meta"]["hash"]["sha256"] = hashlib.sha256(plain.encode()).hexdigest()
        (project / "Pipfile.lock").write_text(json.dumps(document))
        assert said(project, "Pipfile.lock") == {"six": "1.16.0"}
    before = registry.find(project).digest
    (project / "Pipfile").write_text((project / "Pipfile").read_text().replace('Six = "*"', 'Six = "<2"'))
    assert registry.find(project).digest != before
    with pytest.raises(LockMismatchError, match=r"does not belong to its Pipfile: sphinx is not in it") as caught:
        text_of(project, "Pipfile.lock")
    assert "pipenv lock" in caught.value.hint
    # `pipenv sync` does not look, so a set-up installs what is there, and says so.
    (project / "Pipfile").write_text('[packages]\nsix = "<1.16"\n')
    notes: list[str] = []
    assert said(project, "Pipfile.lock", accepts_stale=True, notes=notes) == {"six": "1.16.0"}
    assert "it has six 1.16.0, asked for is <1.16; installed as it is, as by `pipenv sync`" in notes[0]
    (project / "Pipfile").write_text('[packages]\nsix = "*"\n[requires]\npython_version = "3.9"\n')
    assert said(project, "Pipfile.lock", accepts_stale=True, notes=notes) == {"six": "1.16.0"}
    assert "its packages fit, but" in notes[-1]


# --- pdm.lock


PROJECT = """\
[project]
name = "lesson"
version = "1.0"
requires-python = ">=3.9"
dependencies = ["six>=1.16"]

[project.optional-dependencies]
fast = ["demo[quick]>=1"]
all = ["lesson[fast]"]

[dependency-groups]
test = ["pytest-like", {include-group = "Lint_It"}]
lint-it = ["linter==2.0"]

[tool.pdm]
distribution = false

[tool.pdm.dev-dependencies]
old = ["older"]
"""
PDM = f"""\
[metadata]
groups = ["default", "all", "fast", "lint-it", "old", "test"]
strategy = ["inherit_metadata"]
lock_version = "4.5.0"
content_hash = "sha256:{"0" * 64}"

[[package]]
name = "six"
version = "1.16.0"
groups = ["default"]
files = [{{file = "six-1.16.0-py2.py3-none-any.whl", hash = "{SIX}"}}]

[[package]]
name = "demo"
version = "1.5"
extras = ["quick"]
groups = ["all", "fast"]
dependencies = ["demo==1.5", "sped-up; python_version < \\"3.11\\""]

[[package]]
name = "demo"
version = "1.5"
groups = ["all", "fast"]

[[package]]
name = "sped-up"
version = "3"
groups = ["all", "fast"]
marker = "python_version < \\"3.11\\""

[[package]]
name = "pytest-like"
version = "7.0"
groups = ["test"]
dependencies = ["sped-up; python_version < \\"3.11\\"", "pytest-like[x]; sys_platform == \\"win32\\""]

[[package]]
name = "linter"
version = "2.0"
groups = ["lint-it", "test"]

[[package]]
name = "older"
version = "0.1"
groups = ["old"]
"""
ALL = {"six": "1.16.0", "demo": "1.5", "pytest-like": "7.0", "linter": "2.0", "older": "0.1"}


def write_pdm(project: Path, kind: str = "inherit", text: str = PROJECT) -> None:
    """Write a lock file as a strategy has it: groups and markers at each package, or only what needs what."""
    lock = PDM
    if kind == "walk":
        lock = re.sub(r'(?m)^(?:marker = .*|groups = \["(?!default", "all).*)\n', "", PDM).replace(
            '["inherit_metadata"]', "[]"
        )
    (project / "pdm.lock").write_text(lock)
    (project / "pyproject.toml").write_text(text)


@pytest.mark.parametrize("kind", ["inherit", "walk"])
@pytest.mark.parametrize(
    ("selection", "names"),
    [
        ({}, [*ALL]),
        ({"groups": ()}, ["six"]),
        ({"groups": ("test",)}, ["six", "pytest-like", "linter"]),
        ({"groups": ("Lint_It",)}, ["six", "linter"]),
        ({"groups": ("old",)}, ["six", "older"]),
        ({"groups": (), "extras": ("all",)}, ["six", "demo"]),
        ({"groups": (), "extras": ("fast",)}, ["six", "demo"]),
    ],
)
def test_the_groups_and_extras_of_pdm_are_installed_on_demand(project, kind, selection, names):
    write_pdm(project, kind)
    assert said(project, "pdm.lock", **selection) == {name: ALL[name] for name in names}


@pytest.mark.parametrize("kind", ["inherit", "walk"])
def test_a_marker_on_the_way_to_a_package_counts(project, kind):
    write_pdm(project, kind)
    assert said(project, "pdm.lock", groups=(), extras=("fast",), python="3.10")["sped-up"] == "3"
    assert "sped-up" not in said(project, "pdm.lock", groups=(), extras=("fast",), python="3.11")
    assert text_of(project, "pdm.lock", groups=()) == f"six==1.16.0 \\\n    --hash={SIX}\n"


def test_of_two_versions_that_pdm_has_locked_the_one_that_is_asked_for_is_installed(project):
    write_pdm(project, "walk")
    older = '\n[[package]]\nname = "six"\nversion = "1.15.0"\n'
    (project / "pdm.lock").write_text((project / "pdm.lock").read_text() + older)
    assert text_of(project, "pdm.lock", groups=()) == f"six==1.16.0 \\\n    --hash={SIX}\n"


@pytest.mark.parametrize("selection", [{"groups": ("docs",)}, {"extras": ("slow",)}])
def test_a_group_that_pdm_has_not_locked_is_refused_with_those_that_it_has(project, selection):
    write_pdm(project)
    with pytest.raises(UsageError, match=r"has no (group 'docs'|extra 'slow')") as caught:
        text_of(project, "pdm.lock", **selection)
    assert caught.value.hint == "it has all, fast, lint-it, old, test"


@pytest.mark.parametrize("kind", ["inherit", "walk"])
@pytest.mark.parametrize(
    ("new", "message"),
    [("six>=1.17", "has six 1.16.0, but the project asks for six>=1.17"), ("gone", "does not hold gone")],
)
def test_a_pyproject_that_has_moved_on_is_said(project, kind, new, message):
    write_pdm(project, kind, PROJECT.replace("six>=1.16", new))
    with pytest.raises(LockMismatchError, match=re.escape(message)) as caught:
        text_of(project, "pdm.lock")
    assert caught.value.hint == "run `pdm lock` for it, then this call again"
    notes: list[str] = []
    if kind == "inherit":  # `pdm sync` installs what stands at each package; what has to be walked it refuses too
        assert said(project, "pdm.lock", accepts_stale=True, notes=notes) == ALL
        assert f"{message}; installed as it is, as by `pdm sync`" in notes[0].replace(
            ", which the project asks for", ""
        )
    else:
        with pytest.raises(LockMismatchError, match=re.escape(message)):
            text_of(project, "pdm.lock", accepts_stale=True)
    write_pdm(project, kind, PROJECT.replace("six>=1.16", "six") + '[tool.pdm.resolution.overrides]\nsix = "1.16.0"\n')
    assert said(project, "pdm.lock")["six"] == "1.16.0"


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ('version = "1.0"', "demo==1.0"),
        (
            'git = "https://git.example.org/demo.git"\nref = "main"\nrevision = "abc"\nsubdirectory = "lib"',
            "demo @ git+https://git.example.org/demo.git@abc#subdirectory=lib",
        ),
        (
            f'url = "https://files.example.org/demo-1.0-py3-none-any.whl"\nfiles = [{{hash = "{SIX}"}}]',
            f"demo @ https://files.example.org/demo-1.0-py3-none-any.whl \\\n    --hash={SIX}",
        ),
        ('url = "file:///${PROJECT_ROOT}/libs/demo"', "demo @ file://{here}/libs/demo"),
        ('path = "./libs/demo"\neditable = true', "-e file://{here}/libs/demo#egg=demo"),
        ('path = "./libs/demo"', "demo @ file://{here}/libs/demo"),
    ],
)
def test_an_entry_of_pdm_becomes_a_line_of_pips(project, entry, line):
    head = PDM.partition("[[package]]")[0]
    (project / "pdm.lock").write_text(f'{head}[[package]]\nname = "demo"\ngroups = ["default"]\n{entry}\n')
    assert text_of(project, "pdm.lock").strip() == line.replace("{here}", str(project))


@pytest.mark.parametrize(
    ("settings", "is_installed"),
    [
        ("", True),
        ("distribution = true", True),
        ("distribution = false", False),
        ('package-type = "application"', False),
    ],
)
def test_the_project_itself_is_installed_where_pdm_would(project, settings, is_installed):
    write_pdm(project, text=PROJECT.replace("distribution = false", settings))
    assert (f"-e {project.as_uri()}#egg=lesson\n" in text_of(project, "pdm.lock")) == is_installed
    lock = registry.find(project)
    text = lock.format.export(lock, Selection(), python=Path("python"), machine=Machine.detect(), editable=False)
    assert (f"lesson @ {project.as_uri()}\n" in text) == is_installed
    assert "-e " not in text


def test_what_is_editable_is_recorded_without_the_name_that_a_line_gives_it(project, tmp_path):
    """PDM and Pipenv write the directory alone (PEP 610), and so does uv for `-e .`."""
    told: list[str] = []

    class Uv:
        scratch = tmp_path

        def install(self, _arguments, *, text, **_more):
            told.append(text)

    text = "-e file:///a#egg=lesson\n-e file:///b#subdirectory=c&egg=d\nsix==1.16.0\n"
    target = installing.Target(machine=Machine.detect(), environment=project / ".venv", uv=None, pip=False)
    installing.install_text(Uv(), text, Selection(), target=target, directory=project)
    assert told == [text.replace("#egg=lesson", "")]


def test_the_indexes_of_a_pdm_project_are_those_of_its_packages(project, monkeypatch):
    def found(tables: str):
        write_pdm(project, text=f"{PROJECT}\n{tables}")
        lock = registry.find(project)
        return {each.name: each.url for each in lock.format.sources(lock)}, text_of(project, "pdm.lock")

    monkeypatch.setenv("TOKEN", "s3cret/x")
    private = '[[tool.pdm.source]]\nname = "%s"\nurl = "https://me:${TOKEN}@index.example.org/simple"\n'
    assert found("")[0] == found(f'[[tool.pdm.source]]\nname = "pypi"\nurl = "{PUBLIC}"\n')[0] == {}
    sources, text = found(private % "pypi")
    assert set(sources.values()) == {"https://me:s3cret%2Fx@index.example.org/simple"}
    assert "--index-url https://me:${TOKEN}@index.example.org/simple\n" in text
    sources, text = found(private % "more")
    assert sources == {}
    assert "--extra-index-url https://me:${TOKEN}@index.example.org/simple\n" in text
    sources, _ = found(private % "more" + 'include_packages = ["si*"]\nexclude_packages = ["*"]\nverify_ssl = false\n')
    assert sources == {"six": "https://me:s3cret%2Fx@index.example.org/simple"}


def test_a_pdm_lock_that_says_no_groups_needs_its_project(project):
    write_pdm(project, "walk")
    (project / "pyproject.toml").unlink()
    with pytest.raises(LockMismatchError, match=r"no pyproject\.toml beside it"):
        text_of(project, "pdm.lock", groups=())


@pytest.mark.parametrize("line", ["-e file:///${PROJECT_ROOT}/libs/one", "./libs/one"])
def test_a_local_package_that_has_no_name_is_the_one_at_its_path(project, line):
    entry = '[[package]]\nname = "{0}"\nversion = "1"\npath = "./libs/{0}"\neditable = true\n'
    metadata = '[metadata]\ngroups = ["default", "dev"]\nlock_version = "4.3"\n'
    (project / "pdm.lock").write_text(metadata + entry.format("one") + entry.format("two"))
    (project / "pyproject.toml").write_text(
        f'[project]\nname = "x"\nversion = "1"\n[tool.pdm.dev-dependencies]\ndev = ["{line}"]\n'
    )
    text = text_of(project, "pdm.lock", groups=("dev",))
    assert f"-e file://{project}/libs/one" in text
    assert "libs/two" not in text


def test_more_conditions_than_can_be_followed_end_soon_and_are_said(project):
    count = 40
    needs = "".join(
        f'[[package]]\nname = "p{each}"\nversion = "1"\ndependencies = ['
        + ", ".join(f"\"p{other}; platform_release == '{each}.{other}'\"" for other in range(count) if other != each)
        + "]\n"
        for each in range(count)
    )
    (project / "pdm.lock").write_text(f'[metadata]\ngroups = ["default"]\nlock_version = "4.3"\n{needs}')
    (project / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\ndependencies = ["p0"]\n')
    started = time.process_time()  # of this process: others may have the machine
    with pytest.raises(LockMismatchError, match="more conditions") as caught:
        text_of(project, "pdm.lock")
    assert "inherit_metadata" in caught.value.hint
    assert time.process_time() - started < 60, "without a limit it would take years"


# --- damage


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Pipfile.lock", json.dumps(pipfile(default=["six"]))),
        ("Pipfile.lock", json.dumps(pipfile(default={"six": 3}))),
        ("Pipfile.lock", json.dumps(pipfile(default={"six": {"version": "==1\n--index-url x"}}))),
        ("Pipfile.lock", json.dumps(pipfile(default={"six": {"version": "==1", "hashes": ["x --index-url y"]}}))),
        ("Pipfile.lock", json.dumps(pipfile(default={"six": {"version": "==1", "markers": "nonsense"}}))),
        ("Pipfile.lock", json.dumps(pipfile(default={"six": {"git": "https://x.example\n-e ."}}))),
        ("Pipfile.lock", "[" * 100_000),
        ("Pipfile.lock", '{"_meta": ' * 100_000),
        ("pdm.lock", 'package = "x"\n[metadata]\nlock_version = "4.5.0"\n'),
        ("pdm.lock", PDM + "[[package]]\nname = 3\n"),
        ("pdm.lock", PDM + '[[package]]\nname = "x"\nversion = "1\\n-e ."\n'),
        ("pdm.lock", PDM + '[[package]]\nname = "x"\nversion = "1"\nmarker = "nonsense"\n'),
        ("pdm.lock", PDM + '[[package]]\nname = "x"\nversion = "1"\nfiles = ["y"]\n'),
        ("pdm.lock", "x = " + "[" * 100_000),
        ("pdm.lock", "x." * 100_000 + "x = 1"),
        ("pdm.lock", "[" + "x." * 100_000 + "x]"),
    ],
    ids=lambda text: text[:12] if len(text) < 20 else str(len(text)),
)
def test_damage_is_said_at_once_and_nothing_of_it_becomes_an_option(project, name, text):
    (project / name).write_text(text)
    (project / "pyproject.toml").write_text(PROJECT)
    started = time.process_time()
    with pytest.raises(ProjectFileError, match=re.escape(name)):
        text_of(project, name, groups=())
    assert time.process_time() - started < 5


@pytest.mark.parametrize("text", ["[project]\nname = 3\n", "[project]\ndependencies = 3\n", "[tool]\npdm = 3\n"])
def test_a_pyproject_that_pdm_could_not_read_is_named(project, text):
    write_pdm(project, text=text)
    with pytest.raises(ProjectFileError, match=r"pyproject\.toml"):
        text_of(project, "pdm.lock")


# --- installations


@pytest.mark.network
@pytest.mark.parametrize("name", ["Pipfile.lock", "pdm.lock"])
def test_what_is_locked_is_installed_and_a_wrong_file_is_not(machine, project, name):
    library(project / "libs/frompath")
    if name == "pdm.lock":
        text = PDM.partition('[[package]]\nname = "demo"')[0]
        text += f'[[package]]\nname = "idna"\nversion = "3.6"\ngroups = ["test"]\nfiles = [{{hash = "{IDNA}"}}]\n'
        text += '[[package]]\nname = "frompath"\nversion = "1.0"\npath = "./libs/frompath"\ngroups = ["default"]\n'
        (project / "pyproject.toml").write_text(
            '[project]\nname = "lesson"\nversion = "1"\ndependencies = ["six"]\n'
            '[dependency-groups]\ntest = ["idna"]\n[tool.pdm]\ndistribution = false\n'
        )
    else:
        idna = {"version": "==3.6", "hashes": [IDNA], "markers": "python_version >= '3.5'"}
        text = json.dumps(
            pipfile(default={"six": PINNED_SIX, "frompath": {"path": "./libs/frompath"}}, develop={"idna": idna})
        )
    (project / name).write_text(text)
    group = "test" if name == "pdm.lock" else "dev"
    result = fill(project, python=machine.python, groups=[group])
    assert installed(project) == {"six-1.16.0", "idna-3.6", "frompath-1.0"}
    assert f"Packages from {name}" in result.notes
    assert not fill(project, python=machine.python, groups=[group]).changed
    fill(project, python=machine.python, groups=[])
    assert installed(project) == {"six-1.16.0", "frompath-1.0"}
    (project / name).write_text(text.replace(SIX, f"sha256:{'0' * 64}"))
    fill_again = {"python": machine.python, "groups": [], "system_site_packages": True}
    with pytest.raises(HashMismatchError, match=r"six==1\.16\.0"):
        fill(project, **fill_again)
    assert installed(project) == {"six-1.16.0", "frompath-1.0"}


SETUP_PY = """\
from setuptools import setup
setup(name="oldone", version="1.0", py_modules=["oldone"], python_requires=">=3.8",
      install_requires=["six==1.16.0"], extras_require={"fast": ["idna==3.6"]})
"""


@pytest.mark.network
def test_a_lone_setup_py_is_installed_with_what_it_needs_and_nothing_is_written_beside_it(machine, project):
    (project / "setup.py").write_text(SETUP_PY)
    (project / "oldone.py").write_text("")
    assert registry.find(project).requires_python == ">=3.8"
    with pytest.raises(UsageError, match=r"setup\.py has no extra 'fats'"):
        fill(project, python=machine.python, extras=["fats"])
    assert not (project / ".venv").exists()
    assert "Packages from setup.py" in fill(project, python=machine.python, extras=["fast"]).notes
    assert installed(project) == {"six-1.16.0", "idna-3.6", "oldone-1.0"}
    left = {path.name for path in project.iterdir()} - {"oldone.egg-info"}  # setuptools makes it
    assert left == {"setup.py", "oldone.py", ".venv"}
    assert not fill(project, python=machine.python, extras=["fast"]).changed


@pytest.mark.network
@pytest.mark.parametrize("kind", ["poetry", "requirements", "setup.py"])
def test_git_sees_nothing_of_a_set_up_and_undo_takes_all_of_it_back(machine, project, kind):
    def git(*arguments):
        options = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.excludesFile=/dev/null")
        done = subprocess.run(["git", *options, *arguments], cwd=project, check=True, capture_output=True, text=True)
        return done.stdout

    if kind == "setup.py":
        (project / "setup.py").write_text(SETUP_PY.replace('"six==1.16.0"', ""))
        (project / "oldone.py").write_text("")
        (project / "pyproject.toml").write_text('[build-system]\nrequires = ["setuptools"]\n')
        (project / ".gitignore").write_text("*.egg-info\n")  # which setuptools makes
    elif kind == "requirements":
        (project / "requirements.txt").write_text("six==1.16.0\n")
    else:
        (project / "pyproject.toml").write_text('[tool.poetry]\nname = "lesson"\nversion = "1"\npackage-mode = false\n')
        (project / "poetry.lock").write_text(
            'package = []\n\n[metadata]\nlock-version = "2.1"\npython-versions = "*"\n'
            'content-hash = "115cf985d932e9bf5f540555bbdd75decbb62cac81e399375fc19f6277f8c1d8"\n'
        )
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "a")
    fill(project, python=machine.python)
    assert git("status", "--porcelain") == ""
    assert undoing.undo("configure_venv").complete
    assert git("status", "--porcelain", "--ignored").replace("!! oldone.egg-info/\n", "") == ""


@pytest.mark.parametrize("codec", ["utf-16", "utf-8-sig"])
def test_requirements_that_powershell_wrote_are_read_as_pip_reads_them(project, codec):
    (project / "requirements.txt").write_bytes("six==1.16.0\r\nidna==3.6\r\n".encode(codec))
    lock = registry.find(project)
    assert lock.versions == {"six": "1.16.0", "idna": "3.6"}
    assert lock.named_at("idna") == "requirements.txt, line 2"
    assert planning.plan(interpreter="system", project=project).rows[1].name == "six"


@pytest.mark.network
def test_requirements_that_powershell_wrote_are_installed(machine, project):
    (project / "requirements.txt").write_bytes("six==1.16.0\r\n-r more.txt\r\n".encode("utf-16"))
    (project / "more.txt").write_text("idna==3.6\n")
    fill(project, python=machine.python)
    assert installed(project) == {"six-1.16.0", "idna-3.6"}
    (project / "requirements.txt").write_bytes(b"\xff\xfes\0i")  # cut
    with pytest.raises(ProjectFileError, match=r"requirements\.txt"):
        fill(project, python=machine.python)


def test_an_environment_without_packages_says_so(machine, project):
    (project / "requirements.txt").write_text("# nothing yet\n")
    result = fill(project, python=machine.python)
    assert "no packages: the project asks for none" in result.notes
    assert installed(project) == set()


PASSWORD = "s3cret-and-long"


@pytest.mark.network
@pytest.mark.parametrize("works", [True, False])
@pytest.mark.parametrize("name", ["Pipfile.lock", "pdm.lock"])
def test_a_package_comes_from_the_projects_own_index_and_no_password_is_shown(
    machine, project, tmp_path, monkeypatch, capfd, name, works
):
    (tmp_path / "wheels").mkdir()
    wheel = write_wheel(tmp_path / "wheels", "hidden", "1.0")
    checksum = f"sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"
    with IndexServer(tmp_path / "wheels", user="me", password=PASSWORD) as server:
        monkeypatch.setenv("LESSON_PASSWORD", PASSWORD if works else f"{PASSWORD}-old")
        url = server.url.replace("://", "://me:${LESSON_PASSWORD}@")
        if name == "Pipfile.lock":
            sources = [{"name": "pypi", "url": PUBLIC}, {"name": "private", "url": url}]
            hidden = {"version": "==1.0", "hashes": [checksum], "index": "private"}
            write_pipfile_lock(project, default={"six": PINNED_SIX, "hidden": hidden}, sources=sources)
        else:
            hidden = f'[[package]]\nname = "hidden"\nversion = "1.0"\ngroups = ["default"]\nfiles = [{{hash = "{checksum}"}}]\n'
            (project / "pdm.lock").write_text(PDM.partition('[[package]]\nname = "demo"')[0] + hidden)
            (project / "pyproject.toml").write_text(f'[[tool.pdm.source]]\nname = "private"\nurl = "{url}"\n')
        with _report.screen(_report.Plain()):
            if works:
                shown = repr(fill(project, python=machine.python))
            else:
                with pytest.raises(NetworkError, match="does not accept the user name and password") as caught:
                    fill(project, python=machine.python)
                shown = repr(caught.value)
    out, err = capfd.readouterr()
    assert not works or installed(project) == {"six-1.16.0", "hidden-1.0"}
    assert PASSWORD not in shown + out + err
    assert nowhere(PASSWORD, machine.data, project)


DAMAGED = {
    "binary": bytes(range(256)),
    "deep": b"a = " + b"[" * 5000,
    "cut": b'[[package]]\nname = "s',
    "odd": b"package = 3\n",
}


@pytest.mark.parametrize("name", ["poetry.lock", "uv.lock", "pdm.lock", "Pipfile.lock"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_plan_of_a_damaged_lock_file_is_an_error_of_this_package(name, damage, project, home):
    (project / name).write_bytes(DAMAGED[damage])
    with pytest.raises(ColabEnvError):
        planning.plan(interpreter="system", project=project)
    assert [path.name for path in project.iterdir()] == [name]


@pytest.mark.parametrize("name", ["poetry.lock", "requirements.txt", "pylock.toml", "pdm.lock", "Pipfile.lock"])
def test_what_is_no_text_is_refused_whether_its_tool_is_there_or_not(name, project, home):
    (project / name).write_bytes(b"# caf\xe9\x1b[31m\nsix==1.16.0\n")
    lock, here, machine = registry.find(project), Path(sys.executable), Machine.detect()
    for is_there in (True, False):
        with pytest.raises(ColabEnvError, match=re.escape(name)) as caught:
            # Where there is nothing to be read, its tool is asked, and refuses.
            _ = lock.format.peek(lock, Selection(), machine=machine, has_python=is_there) or lock.format.export(
                lock, Selection(), python=here, machine=machine
            )
        assert "\x1b" not in str(caught.value)


def test_plan_refuses_the_python_that_set_up_refuses_before_anything_is_installed(project, pythons, home):
    other = pythons[0].short_version
    (project / "requirements.txt").write_text("six==1.16.0\n")
    (project / "pyproject.toml").write_text(f'[project]\nname = "x"\nversion = "1"\nrequires-python = "!={other}.*"\n')
    said = []
    for verb in (planning.plan, setting_up.setup):
        with pytest.raises(NoSuchPythonError, match="asks for Python") as caught:
            verb(pythons[0].version, interpreter="system", project=project)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert not (Machine.detect().data / "layers").exists()
    assert sorted(path.name for path in project.iterdir()) == ["pyproject.toml", "requirements.txt"]
