"""What stands in the place of a file that people write is refused in one sentence, and never waited for."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest

import colab_env
from colab_env import _file_locks, _files, index
from colab_env.errors import ColabEnvError, DiskFullError, NotWritableError, ProjectFileError, ScriptError, UsageError
from colab_env.locks import registry, requirements_text, script_block
from colab_env.machine import Machine
from colab_env.request import InstallOptions, Request

INSTEAD = {
    "a pipe": os.mkfifo,
    "a directory": Path.mkdir,
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}
NAMES = ["pyproject.toml", "poetry.toml", *(name for each in registry.all_formats() for name in each.file_names)]


@pytest.fixture(params=INSTEAD)
def instead(request):
    return INSTEAD[request.param]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_file_is_refused_by_plan_and_set_up_alike(project, name, instead):
    instead(project / name)
    said = []
    for call in (colab_env.plan, colab_env.setup):
        with pytest.raises(ProjectFileError, match=name) as caught:
            call(project=project)
        said.append(caught.value.message)
    assert said[0] == said[1]
    assert [each.name for each in project.iterdir()] == [name]


def test_a_script_that_is_no_file_is_refused(project, instead):
    instead(project / "lesson.py")
    with pytest.raises((ProjectFileError, ScriptError), match=r"lesson\.py"):
        Request.read(project, Machine.detect(), options=InstallOptions(lock="lesson.py"))


def test_a_file_that_requirements_include_is_read_alike(project, instead):
    (project / "requirements.txt").write_text("-r other.txt\n")
    instead(project / "other.txt")
    with pytest.raises(ProjectFileError, match=r"other\.txt"):
        _ = registry.find(project).digest


def test_files_that_include_each_other_by_other_paths_are_read_once(project):
    (project / "x").mkdir()
    (project / "requirements.txt").write_text("-r x/../requirements.txt\n-r x/../x/../requirements.txt\n")
    assert len(requirements_text.with_included(project / "requirements.txt")) == 1


@pytest.mark.parametrize("name", [".config/pip/pip.conf", ".config/uv/uv.toml"])
def test_settings_that_are_no_file_are_refused(home, name, instead):
    (home / name).parent.mkdir(parents=True)
    instead(home / name)
    with pytest.raises(ProjectFileError, match=Path(name).name):
        index.settings(Machine.detect(dict(os.environ, PIP_CONFIG_FILE="")))


@pytest.mark.parametrize("name", [".config/pip/pip.conf", ".config/uv/uv.toml"])
def test_a_link_to_dev_null_is_no_settings(home, name):
    (home / name).parent.mkdir(parents=True)
    (home / name).symlink_to(os.devnull)
    index.settings(Machine.detect(dict(os.environ, PIP_CONFIG_FILE="")))


def test_status_never_waits(project, instead):
    instead(project / "pyproject.toml")
    instead(project / "poetry.lock")
    (project / ".venv").mkdir()
    instead(project / ".venv/pyvenv.cfg")
    assert not colab_env.status(project).ok


def test_a_large_file_is_refused_before_it_is_read(project, monkeypatch):
    monkeypatch.setattr(_files.content, "__kwdefaults__", {"largest": 1000})
    (project / "uv.lock").write_bytes(b"x" * 1001)
    with pytest.raises(ProjectFileError, match="more than"):
        _ = registry.find(project).digest
    (project / "pyproject.toml").write_bytes(b"#" * 2**21)
    with pytest.raises(ProjectFileError, match="more than"):
        Request.read(project, Machine.detect())


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_what_the_machine_cannot_do_is_no_fault_of_the_file(project, monkeypatch, number):
    def refuse(*_arguments, **_options):
        raise OSError(number, os.strerror(number))

    (project / "poetry.lock").write_text("x")
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(NotWritableError, match=os.strerror(number)) as caught:
        _files.content(project / "poetry.lock")
    assert caught.value.hint


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOLCK, errno.EMFILE])
def test_a_lock_that_cannot_be_had_is_an_error_of_ours(tmp_path, monkeypatch, number):
    def refuse(*_arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(NotWritableError, match=os.strerror(number)) as caught, _file_locks.locked(tmp_path / "locks/x"):
        pass
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "package = []\n"])
def test_an_empty_poetry_lock_is_refused_by_plan_and_set_up_alike(project, text):
    (project / "poetry.lock").write_text(text)
    for call in (colab_env.plan, colab_env.setup):
        with pytest.raises(ProjectFileError, match=r"poetry\.lock .*no \[metadata\]"):
            call(project=project)
    assert [each.name for each in project.iterdir()] == ["poetry.lock"]


@pytest.mark.parametrize("name", ["poetry.lock", "uv.lock", "requirements.txt", "pylock.toml"])
def test_marks_of_a_conflict_are_named_with_their_line(project, name):
    (project / name).write_text("# x\n<<<<<<< HEAD\nsix==1\n=======\nsix==2\n>>>>>>> other\n[metadata]\n")
    with pytest.raises(ProjectFileError, match=f"{name}, line 2: .*conflict"):
        colab_env.plan(project=project)


@pytest.mark.parametrize("text", ["~nobody-at-all/x", "a\0b", "\ud800", "x" * 5000])
def test_a_path_that_none_can_be_is_refused(project, text):
    for call in (
        lambda: colab_env.plan(project=text),
        lambda: colab_env.plan(project=project, lock=text),
        lambda: colab_env.plan(f"{text}/python", project=project),
        lambda: colab_env.status(text),
        lambda: colab_env.undo(project=text, dry_run=True),
    ):
        with pytest.raises(UsageError):
            call()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# /// script\n# a = 1\n# ///\n", 1),
        ("# /// script\n# a = 1\n# ///\n#\n# ///\nx", 1),
        ("# /// script\n# ///\n", 0),
        ("# /// script\n# a = 1\n", 0),
        ("# /// other\n# a\n# ///\n# /// script\n#\n# ///", 0),
        ("# /// other\n# a\n# ///\n\n# /// script\n#\n# ///", 1),
        ("# /// script\n#a = 1\n# ///\n", 0),
        ("# /// script\n" * 20_000, 0),
    ],
)
def test_blocks_are_found_as_pep_723_has_them(text, found):
    assert len(script_block.blocks(text)) == found


def test_every_error_can_be_shown():
    error = ColabEnvError("\ud800\x1b[31m" + "x" * 100_000, hint="\udcff")
    assert len(str(error).encode()) < 20_000
    assert "\x1b" not in str(error)


def test_a_pin_for_pyenv_beside_a_requirements_file_is_a_note(tmp_path):
    (tmp_path / "requirements.txt").write_text("-e .\nsix==1.16.0\n")
    (tmp_path / ".python-version").write_text("3.12.4\n")
    notes = Request.read(tmp_path, Machine.detect()).notes()
    assert [note for note in notes if ".python-version says 3.12" in note]
    assert not Request.read(tmp_path, Machine.detect(), python="3.12").notes()


def test_the_project_itself_is_no_row_of_what_its_requirements_ask_for():
    assert set(requirements_text.read("-e .\n./\n../other/\nsix==1.16\n", {})) == {"other", "six"}


@pytest.mark.parametrize("end", ["-1.0-py3-none-any.whl", "-1.0.tar.gz", ".zip", "/", ".git@main"])
def test_a_path_without_a_name_in_front_has_it_in_its_last_part(end):
    assert set(requirements_text.read(f"./wheels/demo{end}\n", {})) == {"demo"}


def test_a_pin_that_the_project_leaves_out_is_not_taken(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nrequires-python = ">=3.9"\n[tool.uv]\n')
    (tmp_path / ".python-version").write_text("3.8\n")
    request = Request.read(tmp_path, Machine.detect())
    assert request.requested_python == ">=3.9"
    assert request.selection.installer == "uv"


def test_a_block_that_is_not_closed_is_named_with_its_line(tmp_path):
    (tmp_path / "x.py").write_text("\n# /// script\n# a = 1\n")
    with pytest.raises(ScriptError, match=r"x\.py, line 2: .* is not closed"):
        script_block.block(tmp_path / "x.py")


FULL = os.strerror(errno.ENOSPC)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (OSError(errno.ENOSPC, "full", "/one"), DiskFullError, "while writing /one"),
        (OSError(errno.EDQUOT, "too much", "/one"), DiskFullError, "while writing /one"),
        (shutil.Error([("/a", "/one", "else"), ("/b", "/two", f"[Errno 28] {FULL}")]), DiskFullError, "writing /two"),
        (shutil.Error([("/a", "/one", "[Errno 5] else")]), NotWritableError, "/one: [Errno 5] else"),
        (shutil.Error("/one is there already"), NotWritableError, "/file: /one is there already"),
    ],
)
def test_what_the_system_says_of_a_file_or_a_tree_becomes_an_error_of_ours(error, kind, said):
    found = _files.translate_error(error, Path("/file"))
    assert type(found) is kind
    assert said in found.message


def test_what_is_installed_is_told_from_what_only_limits_versions(project):
    texts = {
        "requirements.txt": "-r more/base.txt\n--constraint limits.txt\na\n",
        "limits.txt": "a==1\n-r more/limits.txt\n",
        "more/base.txt": "b\n-c limits.txt\n-c ../more/base.txt\n",
        "more/limits.txt": "b==2\nc<3\n",
    }
    (project / "more").mkdir()
    for name, text in texts.items():
        (project / name).write_text(text)
    wanted, limits = requirements_text.parts(project / "requirements.txt")
    assert sorted(wanted) == sorted([texts["requirements.txt"], texts["more/base.txt"]])
    assert sorted(limits) == sorted([texts["limits.txt"], texts["more/limits.txt"], texts["more/base.txt"]])
    found = requirements_text.with_included(project / "requirements.txt")
    assert sorted(content.decode() for _, content in found) == sorted(texts.values())
