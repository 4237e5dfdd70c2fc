"""What a process looked for in vain: from traces as strace writes them, and from Python itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from colab_env import native
from colab_env.native_need import watching

HEADERS = """\
12 execve("/usr/bin/gcc", ["gcc", "-E", "x.c"], 0x7ff /* 9 vars */) = 0
13 execve("/usr/lib/gcc/x/cc1", ["cc1", "x.c"], 0x7ff /* 9 vars */) = 0
13 openat(AT_FDCWD, "/usr/local/include/stdio.h", O_RDONLY|O_NOCTTY) = -1 ENOENT (No such file or directory)
13 openat(AT_FDCWD, "/usr/include/stdio.h", O_RDONLY|O_NOCTTY) = 4
13 openat(AT_FDCWD, "/usr/local/include/openssl/bn.h", O_RDONLY|O_NOCTTY) = -1 ENOENT (No such file or directory)
13 openat(AT_FDCWD, "/usr/include/openssl/bn.h", O_RDONLY|O_NOCTTY) = -1 ENOENT (No such file or directory)
13 +++ exited with 1 +++
"""
PKG_CONFIG = """\
7 execve("/usr/local/bin/pkg-config", ["pkg-config", "--exists", "foo"], 0x7ff /* 9 vars */) = -1 ENOENT (No such file or directory)
7 execve("/usr/bin/pkg-config", ["pkg-config", "--exists", "foo"], 0x7ff /* 9 vars */) = 0
7  +++ exited with 1 +++
8 execve("/usr/bin/pkg-config", ["pkg-config", "--exists", "bar"], 0x7ff /* 9 vars */) = 0
8 +++ exited with 0 +++
"""
SHELL = """\
7 newfstatat(AT_FDCWD, "/usr/local/bin/swig", 0x7ffd, 0) = -1 ENOENT (No such file or directory)
7 newfstatat(AT_FDCWD, "/usr/bin/swig", 0x7ffd, 0) = -1 ENOENT (No such file or directory)
7 newfstatat(AT_FDCWD, "/usr/local/bin/make", 0x7ffd, 0) = -1 ENOENT (No such file or directory)
7 newfstatat(AT_FDCWD, "/usr/bin/make", {st_mode=S_IFREG|0755}, 0) = 0
7 execve("/usr/bin/git", ["git", "describe"], 0x7ff /* 9 vars */) = -1 ENOENT (No such file or directory)
"""


@pytest.mark.parametrize(
    ("trace", "named"),
    [
        (HEADERS, ["header openssl/bn.h"]),
        (PKG_CONFIG, ["pkg-config foo"]),
        (SHELL, ["command swig"]),
        (HEADERS + SHELL, ["header openssl/bn.h", "command swig"]),
        ("", []),
        ("\0\n12 execve(\n((((\n", []),
    ],
)
def test_a_trace_names_what_was_found_nowhere(trace: str, named: list[str]) -> None:
    seen = watching.looked_for(trace.splitlines(), "it failed", phase="build")
    assert [f"{each.kind} {each.name}" for each in seen] == named


def test_what_the_message_speaks_of_comes_first() -> None:
    seen = watching.looked_for((HEADERS + SHELL).splitlines(), "install SWIG first", phase="build")
    assert [each.name for each in seen] == ["swig", "openssl/bn.h"]


def test_pkg_config_comes_before_what_it_would_have_looked_for() -> None:
    trace = HEADERS + PKG_CONFIG.splitlines()[0]
    assert watching.looked_for(trace.splitlines(), "", phase="build")[0].name == "pkg-config"


def test_a_failed_import_that_names_nothing_is_run_once_more_and_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLAB_ENV_HOME", str(tmp_path))
    (tmp_path / "usb.py").write_text(
        "import ctypes.util, shutil\n"
        "shutil.which('no-such-program')\n"
        "if ctypes.util.find_library('no-such-usb') is None: raise ValueError('No backend available')\n"
    )
    shown: list[str] = []
    argv = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import usb"]
    explanation = native.explain_command(argv, show=shown.append)
    assert explanation.returncode == 1
    assert [(each.kind, each.name, each.phase) for each in explanation.findings] == [
        ("shared-object", "no-such-usb", "run"),
        ("command", "no-such-program", "run"),
    ]
    assert shown[-1] == "ValueError: No backend available"  # the second run is silent


@pytest.mark.parametrize("words", [["-c", "print(__name__, 1)"], ["-m", "program", "x"], ["program.py", "x"]])
def test_a_watched_program_runs_as_it_would_alone(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "program.py").write_text("import sys; print(__name__, sys.argv[1:], sys.path[0])")
    alone = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    watched = watching.watched_argv([sys.executable, *words], tmp_path / "log", environ={})
    assert watched is not None
    assert subprocess.run(watched, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == alone


def test_what_is_no_python_is_watched_by_strace_where_there_is_one(tmp_path: Path) -> None:
    assert watching.watched_argv(["make"], tmp_path / "log", environ={"PATH": str(tmp_path)}) is None
    (tmp_path / "strace").touch(mode=0o755)
    watched = watching.watched_argv(["make", "x"], tmp_path / "log", environ={"PATH": str(tmp_path)})
    assert watched is not None
    assert watched[-2:] == ["make", "x"]


@pytest.mark.skipif(
    not shutil.which("strace")
    or subprocess.run(["strace", "-qq", "true"], capture_output=True, check=False).returncode != 0,
    reason="there is no strace here, or it is not allowed",
)
def test_a_build_that_says_nothing_is_seen_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLAB_ENV_HOME", str(tmp_path / "data"))
    script = tmp_path / "build.sh"
    script.write_text("no-such-swig -version >/dev/null 2>&1 || { echo it failed; exit 4; }\n")
    explanation = native.explain_command(["sh", str(script)], show=lambda _: None)
    assert explanation.returncode == 4
    assert explanation.findings[0].name == "no-such-swig"
