"""From what a failed build or import printed to what it was missing, or to the other cause that it had."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colab_env import native, wheels
from colab_env.errors import UsageError
from colab_env.native_need.apt import Apt
from colab_env.native_need.extract import extract
from colab_env.standalone import _remote

LOGS = Path(__file__).parent / "native"
POPPLER = """
      /bin/sh: 1: pkg-config: not found
      pdftotext.cpp:3:10: fatal error: poppler/cpp/poppler-document.h: No such file or directory
      error: command '/usr/bin/gcc' failed with exit code 1
"""


def cases(name: str) -> list[tuple[str, str]]:
    """Return what each log of a file is expected to say, and the log."""
    found = []
    for block in re.split(r"(?m)^=== ", (LOGS / name).read_text())[1:]:
        expected, _, text = block.partition("\n")
        found.append((expected, text))
    return found


MISSING = [*cases("missing.txt"), *cases("learned.txt")]
OTHER = cases("other.txt")


@pytest.mark.parametrize(("expected", "text"), MISSING, ids=[each for each, _ in MISSING])
def test_the_first_missing_thing_is_named(expected: str, text: str) -> None:
    explanation = extract(text)
    first = (*explanation.findings, *explanation.unconfirmed)[0]
    assert explanation.other is None or not explanation.findings
    assert f"{first.kind} {first.name}" == expected
    assert first.line > 0


@pytest.mark.parametrize(("kind", "text"), OTHER, ids=[each for each, _ in OTHER])
def test_another_cause_is_never_blamed_on_a_package(kind: str, text: str) -> None:
    explanation = extract(text)
    assert explanation.findings == ()
    assert explanation.other is not None
    assert explanation.other.kind == kind
    assert explanation.other.advice


@pytest.mark.parametrize(
    "text", ["", "\n\n", "hello", "RuntimeError: gcc -E ended with return code 1", "error:", "\0\0\0"]
)
def test_a_text_that_names_nothing_is_not_guessed_at(text: str) -> None:
    assert extract(text).findings == ()


def test_what_was_tried_and_passed_over_is_not_the_cause() -> None:
    explanation = extract(POPPLER)
    assert [each.name for each in explanation.findings] == ["poppler/cpp/poppler-document.h"]
    assert explanation.not_concluded == ("line 2 names pkg-config, which is not what it ended with",)


def test_pkg_config_comes_before_what_it_would_have_looked_for() -> None:
    text = next(text for _, text in MISSING if "Dependency lookup for cairo" in text)
    assert [each.name for each in extract(text).findings] == ["pkg-config", "cairo"]


@pytest.mark.parametrize(
    "drawn",
    [
        lambda line: f"\x1b[31m  │ {line}\x1b[0m\r",
        lambda line: f"    | {line}",
        lambda line: f"#12 3.456   ╰─▶ {line}",
        lambda line: f"2026-11-29T10:00:00.1234567Z {line}",
        lambda line: f"2026-11-29T10:00:00.123456Z 01O {line}",
        lambda line: f"[2026-11-29T10:00:00.123Z] {line}",
        lambda line: f"10:00:00  {line}",
        lambda line: f"3.456 {line}",
        lambda line: f"119.5 {line}",
        lambda line: f"web-1  | {line}",
        lambda line: f"[pod/build-1/build] {line}",
        lambda line: f"Nov 29 10:00:00 host python3[123]: {line}",
        lambda line: f"##[error]{line}",
        lambda line: f"Downloading ━━━━ 10%\r{line}",
    ],
)
def test_colours_boxes_and_times_change_nothing(drawn: Callable[[str], str]) -> None:
    text = "\n".join(drawn(line.strip()) for line in POPPLER.splitlines())
    assert extract(text).findings[0].name == "poppler/cpp/poppler-document.h"


def test_a_log_that_is_cut_in_the_middle_names_what_is_left() -> None:
    assert extract(POPPLER[: POPPLER.index("error: command")]).findings[0].name == "poppler/cpp/poppler-document.h"
    assert extract(POPPLER[40:]).findings[0].name == "poppler/cpp/poppler-document.h"


COPYING = "copying foo/bar/baz.py -> build/lib.linux/foo/bar\n"
SIZE = 2_000_000
WORDS = ("error", "not found", "No such file", "cannot find", "library", "-config", "Could NOT find X", "pkg-config")
LARGE = {
    "in the middle": lambda: COPYING * 20_000 + POPPLER + COPYING * 20_000,
    "in one line": lambda: (COPYING * 20_000 + POPPLER + COPYING * 20_000).replace("\n", "\\n"),
    "compiler": lambda: POPPLER + "gcc -O2 -Wno-error=x -c a.c\na.c:1:1: warning: unused 'x' [-Wunused]\n" * 20_000,
}
HOSTILE = {
    "empty lines": lambda: "\n" * SIZE,
    "one letter": lambda: "a" * SIZE,
    "one line of words": lambda: " ".join(random.Random(1).choices(WORDS, k=1000)) * (SIZE // 9000),
    "phrases": lambda: ("could not find the " * 30 + "\n") * 3_400,
    "objects": lambda: ("a/.so" * 110 + ": cannot open\n") * 3_400,
    "tokens": lambda: ("a.h/" * 140 + " not found\n") * 3_400,
    "stars": lambda: ("*" * 590 + " missing\n") * 3_400,
    "escapes": lambda: ("\x1b[" * 300 + "error\n") * 3_200,
}


def test_what_many_short_lines_follow_is_not_lost() -> None:
    errors = "\n".join(f"x.h:{number}: error: 'PyObject' does not name a type" for number in range(900))
    fatal = "x.c:1:20: error: sox.h: No such file or directory"
    text = f"{COPYING * 500}{fatal}\n{errors}\nerror: command 'gcc' failed"
    assert [missing.name for missing in extract(text).findings] == ["sox.h"]


@pytest.mark.parametrize("name", LARGE)
def test_a_large_log_hides_nothing(name: str) -> None:
    assert extract(LARGE[name]()).findings[0].name == "poppler/cpp/poppler-document.h"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_text_made_to_cost_time_does_not(name: str) -> None:
    text = HOSTILE[name]()
    began = time.process_time()
    extract(text)
    assert (
        time.process_time() - began < 5
    )  # about 1 on a machine with other work; a pattern that is not linear takes minutes


def test_a_large_log_costs_little_memory() -> None:
    text = LARGE["in the middle"]()
    tracemalloc.start()
    extract(text)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 60 << 20


def test_the_hint_of_a_failed_build_names_what_it_needs() -> None:
    hint = wheels.build_hint(f"error: Failed to build `pdftotext==1`\n{POPPLER}")
    assert hint.startswith("pdftotext needs the header poppler/cpp/poppler-document.h: a package of the system")


def explain(*words: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "colab_env", "native", "explain", "--no-fetch", *map(str, words)]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)


def test_a_command_is_run_shown_and_explained_and_its_exit_code_is_returned(tmp_path: Path) -> None:
    script = tmp_path / "build"
    script.write_text("import sys; print('building'); print(sys.argv[1], file=sys.stderr); sys.exit(3)")
    done = explain("--", sys.executable, script, "a.c:1:10: fatal error: ffi.h: No such file or directory")
    assert done.returncode == 3
    assert done.stdout.splitlines()[0] == "building"
    assert "missing: the header ffi.h" in done.stdout
    fine = explain("--", sys.executable, "-c", "print('fine')")
    assert (fine.returncode, fine.stdout) == (0, "fine\n")


def test_a_log_comes_from_a_file_or_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(POPPLER)
    from_file = explain("--json", tmp_path / "log")
    assert json.loads(from_file.stdout)["findings"][0]["name"] == "poppler/cpp/poppler-document.h"
    assert explain("--json", "-", stdin=POPPLER).stdout == from_file.stdout


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\x7fELF\0\0\0")
    with pytest.raises(UsageError, match="is no text"):
        native.explain(log=tmp_path / "binary")
    with pytest.raises(UsageError, match="cannot be read"):
        native.explain(log=tmp_path / "nothing")
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        native.explain(log=tmp_path)


def test_the_kernel_of_an_environment_sends_its_own_last_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(_remote, "_call", lambda *arguments, **options: calls.append((arguments, options)))
    monkeypatch.setattr(sys, "last_value", OSError("libGLU.so.1: cannot open shared object file"), raising=False)
    _remote.Named("colab_env").native.explain(fetch=False)
    ((name, text), options) = calls[0]
    assert (name, options) == ("colab_env.native.explain", {"fetch": False})
    assert text.endswith("OSError: libGLU.so.1: cannot open shared object file\n")
    monkeypatch.delattr(sys, "last_value")
    _remote.Named("colab_env").native.explain()
    _remote.Named("colab_env").native.explain(log="a")
    assert calls[1:] == [((name,), {}), ((name,), {"log": "a"})]


def test_a_notebooks_last_exception_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys, "last_value", raising=False)
    with pytest.raises(UsageError, match="no exception"):
        native.explain(fetch=False)
    error = OSError("libGLU.so.1: cannot open shared object file: No such file or directory")
    monkeypatch.setattr(sys, "last_value", error, raising=False)
    (finding,) = native.explain(fetch=False).findings
    assert (finding.kind, finding.name, finding.phase) == ("shared-object", "libGLU.so.1", "run")


def test_the_lines_that_an_error_of_ours_keeps_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from colab_env.errors import BuildError

    error = BuildError("uv could not build x", lines=tuple(POPPLER.splitlines()))
    monkeypatch.setattr(sys, "last_value", error, raising=False)
    assert native.explain(fetch=False).findings[0].name == "poppler/cpp/poppler-document.h"


def test_words_that_only_the_index_tells_name_the_command_that_fetches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Apt, "ready_index", lambda self: None)
    monkeypatch.setattr(Apt, "health_check", lambda self: None)
    text = 'File "/v/lib/python3.11/site-packages/x.py", line 1\nRuntimeError: Flubber does not seem to be installed'
    explanation = native.explain(text, fetch=False)
    assert [missing.name for missing in explanation.unconfirmed if missing.kind == "words"] == ["Flubber"]
    assert "colab-env native index" in repr(explanation)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("x.c:1:10: fatal error: gdal.h: No such file or directory\nerror: command 'gcc' failed", "the libraries"),
        ("RuntimeError: Found no NVIDIA driver on your system", "the hardware"),
        ("PermissionError: [Errno 13] Permission denied: '/opt/x'", "the operating system"),
        ("ModuleNotFoundError: No module named 'numpy'", "the application"),
    ],
)
def test_a_cause_says_on_which_level_it_lies(text: str, level: str) -> None:
    assert f"on the level of {level}: see" in repr(extract(text))
