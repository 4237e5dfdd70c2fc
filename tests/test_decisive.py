"""What a failed tool said last, and where: the lines that decide are never cut away."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from conftest import PreparedMachine

from colab_env import _process, poetry, steps, wheels
from colab_env.errors import BuildError, CommandError, NetworkError, PoetryError, ProjectFileError
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


def test_a_name_that_is_taken_for_another_is_met_with_that_one() -> None:
    text = "error: Failed to build `sklearn==0.0`\n  The 'sklearn' PyPI package is deprecated\n"
    text += "hint: `sklearn` is often confused for `scikit-learn`. Did you mean to install `scikit-learn` instead?\n"
    hint = uv_install.translate_error(error_of(text), {}).hint
    assert str(hint).startswith("`sklearn` is often confused for `scikit-learn`. Did you mean")


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


def test_what_cmake_says_below_its_error_is_kept() -> None:
    lines = [
        "CMake Error at CMakeLists.txt:8 (cmake_minimum_required):",
        "",
        "  Compatibility with CMake < 3.5 was removed.",
    ]
    shown = _process.decisive_lines([*lines, *(f"-- {number}" for number in range(50)), "^^^^", "error: cmake failed"])
    assert {lines[0], lines[2], "error: cmake failed"} <= {*shown}
    assert "^^^^" not in shown


def test_which_build_failed_is_known_however_much_it_printed(tmp_path: Path) -> None:
    script = (
        "print('  x Failed to build `gevent==1.4.0`'); [print('warning', n) for n in range(2000)]; raise SystemExit(1)"
    )
    with pytest.raises(CommandError) as caught:
        _process.run([sys.executable, "-c", script], environ=dict(os.environ), cwd=tmp_path)
    found = uv_install.translate_error(caught.value, {})
    assert isinstance(found, BuildError)
    assert found.message.startswith("uv could not build gevent")


def test_a_line_that_is_no_requirement_is_shown_with_its_file_and_a_next_step() -> None:
    text = "error: Couldn't parse requirement in `requirements.txt` at position 0\n"
    text += '  cause: no such comparison operator "=", must be one of ~= ==\n         numpy=1.26\n              ^^^^^\n'
    found = uv_install.translate_error(error_of(text), {})
    assert isinstance(found, ProjectFileError)
    assert found.message.endswith(
        "requirements.txt: 'numpy=1.26' is no requirement: no such comparison operator \"=\", must be one of ~= =="
    )
    assert "as pip has it" in str(found.hint)


def test_a_file_that_uv_reads_from_a_pipe_is_named_as_it_is() -> None:
    """One that begins with a byte-order mark, or is not in UTF-8, is given to uv as text."""
    text = "error: Couldn't parse requirement in `-` at position 0\n"
    text += (
        "  cause: after parsing `0.25.0c`, found `hromadb`\n         zstandard==0.25.0chromadb\n              ^^^^^\n"
    )
    found = uv_install.translate_error(error_of(text), {}, read=Path("/project/requirements.txt"))
    assert isinstance(found, ProjectFileError)
    assert found.message.startswith("/project/requirements.txt: 'zstandard==0.25.0chromadb' is no requirement")


def test_the_host_of_an_address_without_a_name_is_named() -> None:
    text = "   Updating https://github.com/psf/requests.git (main)\nerror: Git operation failed\n"
    text += (
        "         fatal: unable to access 'https://github.com/psf/requests.git/': Could not resolve host: github.com\n"
    )
    found = uv_install.translate_error(error_of(text), {})
    assert isinstance(found, NetworkError)
    assert found.message.startswith("git cannot fetch from github.com: fatal: unable to access")


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


def test_a_misspelt_package_is_met_with_a_name_that_there_is(tmp_path: Path) -> None:
    pages = tmp_path / "simple-v28" / "pypi"
    pages.mkdir(parents=True)
    for name in ("requests", "matplotlib-inline"):
        (pages / f"{name}.rkyv").write_bytes(b"")

    def hint(name: str) -> str:
        text = f"  x Because {name} was not found in the package registry and you require it"
        return str(wheels.translate_error(error_of(text), {"UV_CACHE_DIR": str(tmp_path)}).hint)

    assert hint("reqeusts").startswith("did you mean requests? Else check how it is spelled")
    assert hint("pytset").startswith("did you mean pytest")  # which runs this
    assert hint("matplotlib-inlien").startswith("did you mean matplotlib-inline")  # as the index answered before
    assert hint("scikit_lern").startswith("did you mean scikit-learn?")
    assert hint("cv2") == "did you mean opencv-python? cv2 is what it is imported as"
    assert hint("zzyzx-xyzzy").startswith("check how it is spelled")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Because requestss was not found in the\n      package registry and you require requestss", "requestss"),
        ("Because there is no version of requests==99.0 and you require", "requests"),
        ("Because there are no versions of six and you require six", "six"),
        ("Because only the following versions of torch are available:", "torch"),
        ("Because only tensorflow>=2.8 is available", "tensorflow"),
        (
            "Because lesson depends on numpyy (^1.0) which doesn't match any\nversions, version solving failed.",
            "numpyy",
        ),
        ("Because flask==3.0.0 depends on werkzeug>=3.0.0 and you require", None),
    ],
)
def test_the_package_that_is_not_there_is_read_from_what_a_resolver_says(text: str, name: str | None) -> None:
    assert wheels.blamed(text.splitlines()) == name


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "Because x depends on numpyy (^1.0) which doesn't match any versions, version solving failed.",
            "no version of numpyy",
            "spelled",
        ),
        (
            "Because x depends on both a (3) and b (1), version solving failed.",
            "no versions fit what",
            "change the versions",
        ),
    ],
)
def test_what_poetry_cannot_resolve_has_a_message_and_a_next_step(text: str, message: str, hint: str) -> None:
    kind, said, next_step = poetry._cause(text, Path("lesson"))
    assert kind is PoetryError
    assert said.startswith(message)
    assert hint in next_step


@pytest.mark.network
def test_an_unknown_package_is_said_with_file_and_line(machine: PreparedMachine, project: Path) -> None:
    (project / "requirements.txt").write_text("six\nno-such-package-as-this-xyz==1.0\n")
    with pytest.raises(
        CommandError, match=r"requirements\.txt, line 2: the package index has no package 'no-such"
    ) as caught:
        steps.configure_venv(project, python=machine.python)
    assert "spelled" in str(caught.value.hint)
    assert [path.name for path in project.iterdir()] == ["requirements.txt"]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            (
                "error: No solution found\n  cause: Because six was not found in the package registry and you require six\n"
                "\nhint: An index URL (http://host/simple) could not be queried due to a lack of valid authentication"
                " credentials (401 Unauthorized)"
            ),
            "the package index http://host/simple: it does not accept the user name",
            "in the address",
        ),
        (
            "WARNING: 401 Error, Credentials not correct for http://host/simple/six/\nERROR: No matching distribution",
            "the package index http://host/simple/six/: it does not accept",
            "netrc",
        ),
        (
            (
                "error: Failed to download `six @ http://host/six.whl`\n  cause: Failed to fetch: http://host/six.whl\n"
                "  cause: HTTP status client error (401 Unauthorized) for url (http://host/six.whl)"
            ),
            "six cannot be fetched from its address: host: it does not accept the user name",
            "in the address",
        ),
        (
            (
                "error: Failed to download `six @ http://host/six.whl`\n  cause: Failed to fetch: http://host/six.whl\n"
                "  cause: HTTP status client error (404 Not Found) for url (http://host/six.whl)"
            ),
            "six cannot be fetched from its address: host: it has no such file",
            "check the address",
        ),
        (
            (
                "error: Error parsing included file in `requirements.txt` at position 66\n"
                "  cause: Error while accessing remote requirements file: http://host/limits.txt"
            ),
            "http://host/limits.txt, which a requirements file includes, cannot be fetched",
            "browser",
        ),
    ],
)
def test_what_a_host_refuses_is_told_with_its_reason(text: str, message: str, hint: str) -> None:
    found = wheels.translate_error(error_of(text), {})
    assert isinstance(found, NetworkError)
    assert found.message.startswith(message)
    assert hint in str(found.hint)


def test_where_the_python_is_too_old_another_one_is_the_next_step() -> None:
    text = (
        "  cause: Because the current Python version (3.11.7) does not\n"
        "      satisfy Python>=3.12 and django>=6.0,<=6.0.10 depends on Python>=3.12, we can conclude that it cannot be used."
    )
    found = wheels.translate_error(error_of(text), {})
    assert "(3.11.7) does not satisfy Python>=3.12" in found.message
    assert found.hint == "take a Python that fits, such as with --python '>=3.12'; nothing was changed"


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
        ("ModuleNotFoundError: No module named 'imp'", "it was written for an older"),
        ("configparser.NoSectionError: No section: 'versioneer'", "its own build"),
        ("error: \u2018_PyLong_One\u2019 undeclared (first use in this function)", "it was written for an older"),
        ("ModuleNotFoundError: No module named 'pkg_resources'", "setuptools had pkg_resources up to version 81"),
        (
            "self.compiler = new_compiler(compiler=self.compiler,\nTypeError: new_compiler() got an unexpected",
            "its own build",
        ),
        (
            "src/lxml/etree.c:274:12: fatal error: longintrepr.h: No such file or directory",
            "it was written for an older",
        ),
        (
            "global_compiler = _customized_ccompiler()\nTypeError: Compiler.__init__() takes 1",
            "it was written for an older",
        ),
        ("flit_core.config.ConfigError: The [tool.flit.metadata] table is no longer supported.", "its own build"),
    ],
)
def test_a_compiler_is_named_where_one_was_looked_for(text: str, named: str) -> None:
    assert wheels.build_hint(f"error: Failed to build `x==1`\n{text}").startswith(named)


@pytest.mark.parametrize("name", ["os", "JSON", "python", "pkg-resources"])
def test_what_no_index_can_have_is_to_be_left_out(name: str) -> None:
    text = f"  cause: Because {name} was not found in the package registry and you require {name}, we can conclude\n"
    found = wheels.translate_error(error_of(text), {"UV_INDEX_STRATEGY": "unsafe-best-match"})
    assert f"no package {name!r}" in found.message
    assert str(found.hint).startswith("leave it out: ")
    assert "password" not in str(found.hint)


def test_a_package_of_another_system_gets_its_marker() -> None:
    text = "error: No solution found when resolving dependencies\n  cause: Because pywin32==305 has no wheels with a"
    text += (
        " matching platform tag (e.g., `manylinux_2_36_x86_64`) and you require pywin32==305, we can conclude that your"
    )
    text += " requirements are unsatisfiable.\n\nhint: Wheels are available for `pywin32` (v305) on the following platforms:"
    found = wheels.translate_error(error_of(f"{text} `win32`, `win_amd64`, `win_arm64`\n"), {})
    assert "add `; sys_platform == 'win32'` to its line" in str(found.hint)
    found = wheels.translate_error(
        error_of(f"{text} `win32`, `macosx_11_0_arm64`\n"), {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/"}
    )
    assert "sys_platform" not in str(found.hint)


def test_a_package_that_has_wheels_for_older_pythons_gets_one_of_these() -> None:
    """Where uv lists which versions there are, its sentence has no comma before the conclusion."""
    text = (
        "error: No solution found when resolving dependencies\n  cause: Because tensorflow<=2.6.5 has no wheels with a"
    )
    text += " matching Python ABI tag (e.g., `cp311`) and only the following versions of tensorflow are available:\n"
    text += "             tensorflow<=2.6.5\n             tensorflow>2.7.dev0\n         we can conclude that"
    text += (
        " tensorflow>=2.6.0,<2.7.dev0 cannot be used.\n         And because you require tensorflow>=2.6.0,<2.7.dev0, we"
    )
    text += " can conclude that your requirements are unsatisfiable.\n\nhint: You require CPython 3.11 (`cp311`), but we only"
    text += " found wheels for `tensorflow` (v2.6.5) with the following Python ABI tags: `cp37m`, `cp38`, `cp39`\n"
    found = wheels.translate_error(error_of(text), {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/"})
    assert found.message.startswith("no versions fit what is asked for: Because tensorflow<=2.6.5 has no wheels")
    assert "conclude" not in found.message
    assert found.hint == (
        "tensorflow has wheels for Python 3.7, 3.8, 3.9: take one, such as with --python 3.9; nothing was changed"
    )


def test_a_path_of_another_machine_is_told_as_that() -> None:
    """`pip freeze` in an environment of conda writes where conda has built a package."""
    text = "error: Distribution not found at: file:///tmp/build/80754af9/numpy_and_numpy_base_1653915516269/work\n"
    found = wheels.translate_error(error_of(text), {})
    assert found.message.startswith("Distribution not found at: file:///tmp/build/")
    assert "NAME==VERSION" in str(found.hint)


def test_git_to_be_edited_gets_the_line_that_works() -> None:
    text = "error: Error parsing included file in `requirements.txt` at position 28\n  cause: "
    text += "Unsupported editable requirement in `docs.txt` at line 1: `git+https://git.example/a.git#egg=a`\n"
    text += "  cause: Git sources cannot be editable\n\nhint: Editable requirements must refer to a local directory\n"
    found = wheels.translate_error(error_of(text), {})
    assert "`docs.txt` at line 1: `git+https://git.example/a.git#egg=a`" in found.message
    assert "leave out `-e`" in str(found.hint)


UNKNOWN_HOST = "  cause: dns error\n  cause: failed to lookup address information: Name or service not known\n"


@pytest.mark.parametrize("why", [UNKNOWN_HOST, "  cause: it is odd\n"])
def test_a_file_that_a_requirements_file_includes_is_not_called_an_index(why: str) -> None:
    url = "https://lists.example/upper.txt"
    text = (
        "error: Error parsing included file in `requirements.txt` at position 0\n  cause: Error while accessing remote"
    )
    text += f" requirements file: {url}\n  cause: error sending request for url ({url})\n{why}"
    found = wheels.translate_error(error_of(text), {})
    assert isinstance(found, NetworkError)
    assert found.message.startswith(f"{url}, which a requirements file includes, cannot be fetched")
    assert "index" not in found.message


def test_a_page_of_links_is_not_called_an_index() -> None:
    url = "https://links.example/torch.html"
    text = f"error: Failed to read `--find-links` URL: {url}\n  cause: Failed to fetch: {url}\n{UNKNOWN_HOST}"
    found = wheels.translate_error(error_of(text), {})
    assert isinstance(found, NetworkError)
    assert found.message == (
        f"the page of links {url} (--find-links) cannot be fetched: links.example: its name is not known here"
    )


def test_a_package_whose_own_requirements_nobody_reads_any_more_is_told_as_that() -> None:
    text = "  x Failed to build `gym==0.21.0`\n  cause: The build backend returned an error\n  [stderr]\n"
    text += "  error in gym setup command: 'extras_require' must be a dictionary whose values are strings or lists of"
    text += " strings containing valid project/version requirement specifiers.\n"
    found = uv_install.translate_error(error_of(text), {})
    assert isinstance(found, BuildError)
    assert "not in a form that today's tools read" in str(found.hint)


def test_a_lock_for_other_systems_gets_a_next_step() -> None:
    found = wheels.translate_error(error_of("error: The target environment is not supported by the lockfile\n"), {})
    assert found.message == "The target environment is not supported by the lockfile"
    assert "another of its lock files (--lock NAME)" in str(found.hint)
