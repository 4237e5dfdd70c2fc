"""What a failed tool said last, and where: the lines that decide are never cut away."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import PreparedMachine

from colab_env import _process, steps, wheels
from colab_env.errors import BuildError, CommandError, NetworkError
from colab_env.locks import registry, uv_install

BUILD = (
    """\
  x Failed to build `python-ldap==3.4.4`
  |-> The build backend returned an error
[stdout]
"""
    + "\n".join(f"copying Lib/ldap/{n}.py -> build/lib" for n in range(60))
    + """
[stderr]
Modules/ldapcontrol.c:4:10: fatal error: lber.h: No such file or directory
    4 | #include <lber.h>
"""
    + "\n".join(f"note {n}" for n in range(30))
    + """
error: command '/usr/bin/gcc' failed with exit code 1
hint: This usually indicates a problem with the package or the build environment.
"""
)


def error_of(text: str) -> CommandError:
    return CommandError("uv failed", lines=tuple(text.splitlines()))


def test_a_build_error_keeps_the_cause_and_the_end() -> None:
    found = uv_install.translate_error(error_of(BUILD), {})
    assert isinstance(found, BuildError)
    assert "could not build python-ldap" in found.message
    for line in ("fatal error: lber.h: No such file", "error: command '/usr/bin/gcc' failed", "hint: This usually"):
        assert line in found.message
    assert len(found.message.splitlines()) <= 14


def test_a_build_backend_that_fails_for_the_project_itself_is_a_build_error() -> None:
    text = "error: The build backend returned an error\n  Traceback (most recent call last):\n  ConfigError: no table\n"
    found = uv_install.translate_error(error_of(text), {})
    assert isinstance(found, BuildError)
    assert found.message.startswith("uv could not build the project:\n")
    assert found.message.endswith("ConfigError: no table")


def test_a_program_that_says_little_is_shown_whole_and_in_its_order() -> None:
    assert _process.decisive_lines(["a", "", "error: b", "c"]) == ["a", "error: b", "c"]
    many = [f"error: {number}" for number in range(100)]
    assert _process.decisive_lines(many) == [*many[:3], *many[-9:]]


@pytest.mark.parametrize("address", ["https://me:secret@git.example/a/b", "ssh://git@git.example/a/b"])
def test_a_git_host_that_is_not_reached_is_named_and_not_the_index(address: str) -> None:
    text = f"error: Failed to download and build `x @ git+{address}`\n  cause: Git operation failed\n"
    text += "         fatal: unable to access the repository: Could not resolve host: git.example\n"
    found = wheels.translate_error(error_of(text), {})
    assert isinstance(found, NetworkError)
    assert found.message.startswith("git cannot fetch from git.example: fatal: unable to access")


def test_an_unknown_package_is_found_in_its_file(project: Path) -> None:
    (project / "requirements.txt").write_text("six\n# nosuch-xyz-more is another\n-r more.txt\n")
    (project / "more.txt").write_text("\n\nNosuch_xyz >= 2  # what is that?\n")
    lock = registry.find(project)
    assert lock.named_at("nosuch-xyz") == "more.txt, line 3"
    assert lock.named_at("other") is None


@pytest.mark.network
def test_an_unknown_package_is_said_with_file_and_line(machine: PreparedMachine, project: Path) -> None:
    (project / "requirements.txt").write_text("six\nno-such-package-as-this-xyz==1.0\n")
    with pytest.raises(
        CommandError, match=r"requirements\.txt, line 2: the package index has no package 'no-such"
    ) as caught:
        steps.configure_venv(project, python=machine.python)
    assert "spelled" in str(caught.value.hint)
    assert [path.name for path in project.iterdir()] == ["requirements.txt"]


def test_a_tool_s_only_line_is_the_message_without_the_command_that_nobody_typed() -> None:
    lines = ("warning: something", "error: Extras `new` and `old` are incompatible with the declared conflicts")
    error = wheels.translate_error(CommandError("`uv export …` ended with exit code 2", lines=lines), {})
    assert error.message == "Extras `new` and `old` are incompatible with the declared conflicts"
    assert error.hint
    more = CommandError("`uv …` ended with exit code 2", lines=(*lines, "  Caused by: something else"))
    assert wheels.translate_error(more, {}) is more


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("FileNotFoundError: [Errno 2] No such file or directory: 'pkg-config'", "x needs the command pkg-config"),
        ("Failed to get options via gdal-config: [Errno 2] No such file or directory", "a compiler"),
        ("Modules/LDAPObject.c:16:10: fatal error: lber.h: No such file or directory", "x needs the header lber.h"),
        ("error: can't find Rust compiler", "x needs what compiles"),
        ("RuntimeError: gcc -E ended with return code 1", "a compiler"),
        ("FileNotFoundError: Readme path `/home/ada/lesson/README.md` does not exist.", "its own build"),
        ("ModuleNotFoundError: No module named 'imp'", "its own build"),
        ("configparser.NoSectionError: No section: 'versioneer'", "its own build"),
        ("flit_core.config.ConfigError: The [tool.flit.metadata] table is no longer supported.", "its own build"),
    ],
)
def test_a_compiler_is_named_where_one_was_looked_for(text: str, named: str) -> None:
    assert wheels.build_hint(f"error: Failed to build `x==1`\n{text}").startswith(named)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("pnadas", "did you mean pandas?"),
        ("scikit_lern", "did you mean scikit-learn?"),
        ("cv2", "did you mean opencv-python? cv2 is what it is imported as"),
        ("PIL", "did you mean pillow? PIL is what it is imported as"),
        ("our-own-thing", "check how it is spelled, or which index has it"),
    ],
)
def test_a_package_that_no_index_has_is_answered_with_what_was_meant(name, hint):
    lines = [f"  \u00d7 No solution found: Because {name} was not found in the package registry and you require it"]
    error = wheels.translate_error(CommandError("uv failed", lines=lines), {})
    assert (error.message, error.hint) == (f"the package index has no package {name!r}", hint)
