"""A kernel that cannot start costs at most one boot, and the machine's own says why."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from boot_faults import (
    ENVIRONMENT,
    FAULTS,
    MACHINE_S_OWN,
    ROOT,
    SITE,
    VERSIONS,
    Fault,
    PreparedMachine,
    ask_to_switch,
    inject,
    machine,
    next_cell,
    repair,
)
from colab_standin import Page, unavailable
from matrix import WAYS

from colab_env.jupyter import diversion
from colab_env.standalone import _guard

NAMES = "{n for n in dir() if n[0] != '_'} - {'In', 'Out', 'sys'} == {'exit', 'get_ipython', 'quit'}"
STARTUP = "/root/.ipython/profile_default/startup"
SWITCH = f"import sys; sys.path.append({str(ROOT)!r}); import colab_env; colab_env.switch({{name!r}}, how={{how!r}})"
VERSION = "3.12"
on_colab = [
    pytest.mark.machine,
    pytest.mark.network,
    pytest.mark.skipif(unavailable() is not None, reason=unavailable() or "available"),
    pytest.mark.skipif(not list(VERSIONS.glob(f"{VERSION}.*")), reason=f"no Python {VERSION} in {VERSIONS}"),
]


@pytest.fixture(scope="module")
def prepared() -> Iterator[PreparedMachine]:
    with machine(VERSION) as prepared:
        yield prepared


def colab(test: object) -> object:
    for mark in on_colab:
        test = mark(test)  # type: ignore[operator]
    return test


@colab
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_cell_runs_again_after(prepared: PreparedMachine, fault: Fault) -> None:
    try:
        with Page(prepared.server.url) as page:
            page.open()
            ask_to_switch(page, prepared.kernel)
            next_cell(page, on=ENVIRONMENT)
            outcome = inject(prepared, page, fault)
    finally:
        repair(prepared)
    assert outcome.lost <= max(fault.lost, 1)
    assert fault.says in outcome.shown
    assert (outcome.interpreter == ENVIRONMENT) is (not fault.says)
    if fault.says:
        assert f'colab_env.switch("{prepared.kernel}") tries the kernel again' in outcome.shown


@colab
@pytest.mark.parametrize("how", WAYS)
def test_a_switch_whose_kernel_dies_although_its_trial_passed_ends_on_the_machine_s_own_with_the_reason(
    prepared: PreparedMachine, how: str
) -> None:
    # Only the guard sets this, and not for trials.
    dies = "import os, sys\nif 'COLAB_ENV_BOOT' in os.environ: sys.exit('not today')"
    prepared.root.run(["sh", "-c", f"cat > {SITE}/sitecustomize.py"], input=dies)
    try:
        with Page(prepared.server.url) as page:
            page.open()
            before = prepared.root.run(["sh", "-c", f"ls {STARTUP} | grep -v colab-env-switch"]).stdout
            page.submit(SWITCH.format(name=prepared.kernel, how=how))
            deadline = time.monotonic() + 300
            # The page may still ask the kernel that it leaves. On a busy machine it gives up a cell, which the server then
            # hands to the next kernel: that is its first one.
            while "not today" not in page.stderr and time.monotonic() < deadline:
                next_cell(page, on=MACHINE_S_OWN)
            assert f"The kernel {prepared.kernel!r} could not start: it ended before it answered" in page.stderr
            assert "not today" in page.stderr
            assert page.execute("1 + 1").stderr == ""
            assert page.execute(NAMES).text == "True"
            assert prepared.root.run(["sh", "-c", f"ls {STARTUP} | grep -v colab-env-switch"]).stdout == before
    finally:
        repair(prepared)
        prepared.root.run(["/usr/bin/python3", "-m", "colab_env", "switch"], env={"PYTHONPATH": str(ROOT)})


@colab
def test_a_kernel_that_came_up_in_place_leaves_no_notice(prepared: PreparedMachine) -> None:
    with Page(prepared.server.url) as page:
        page.open()
        before = prepared.root.run(["sh", "-c", f"ls {STARTUP} | grep -v colab-env-switch"]).stdout
        page.execute(SWITCH.format(name=prepared.kernel, how="exec"), timeout=300)
        next_cell(page, on=ENVIRONMENT)
        assert prepared.root.run(["sh", "-c", f"ls {STARTUP} | grep -v colab-env-switch"]).stdout == before
        assert (
            page.execute("import os; [n for n in os.environ if n.startswith('COLAB_ENV')]").text
            == "['COLAB_ENV_MACHINE_PYTHON']"
        )


@colab
def test_a_repaired_kernel_is_tried_again_by_switch(prepared: PreparedMachine) -> None:
    with Page(prepared.server.url) as page:
        page.open()
        ask_to_switch(page, prepared.kernel)
        next_cell(page, on=ENVIRONMENT)
        fault = next(fault for fault in FAULTS if fault.name == "segmentation fault at import")
        inject(prepared, page, fault)
        page.restart()
        assert page.execute("import sys; sys.executable").text == "'/usr/bin/python3'"
        repair(prepared)
        ask_to_switch(page, prepared.kernel)
        next_cell(page, on=ENVIRONMENT)


@colab
def test_a_registered_kernel_heals_itself_as_well(prepared: PreparedMachine) -> None:
    with Page(prepared.server.url) as page:
        page.open(prepared.kernel)
        fault = next(fault for fault in FAULTS if fault.name == "google.colab removed")
        outcome = inject(prepared, page, fault)
        repair(prepared)
    assert (outcome.interpreter, outcome.lost) == ("/usr/bin/python3", 1)
    assert "No module named 'google'" in outcome.shown


def test_the_guard_costs_less_than_three_bare_starts_of_python(tmp_path: Path) -> None:
    text = here(tmp_path)
    plain, guarded = [], []
    for number in range(15):
        argv = [sys.executable, "-IS", "-c", "import os; os.environ.get('COLAB_ENV_BOOT')"]
        plain.append(seconds(argv))
        guarded.append(seconds([sys.executable, "-IS", "-c", text, "py312", f"/x/kernel-{number}.json", "A=b", *argv]))
    # The quickest of each, in seconds of processor time: other work only adds. `python benchmarks/guard.py` shows the rest.
    assert min(guarded) - min(plain) < 3 * min(plain)


def test_variables_are_set_as_env_does(tmp_path: Path) -> None:
    code = "import os; print(os.environ['A'], os.environ['PATH'])"
    argv = [
        sys.executable,
        "-IS",
        "-c",
        here(tmp_path),
        "py312",
        "/x/kernel-1.json",
        "A=b c",
        "PATH=/x:${PATH}",
        sys.executable,
    ]
    done = subprocess.run([*argv, "-c", code], env={"PATH": "/bin"}, capture_output=True, text=True, check=True)
    assert done.stdout == "b c /x:/bin\n"
    assert (tmp_path / f"colab-env-{os.getuid()}" / "kernel-1.json.log").is_file()


def test_the_home_of_the_servers_python_is_not_the_environments(tmp_path: Path) -> None:
    argv = [sys.executable, "-IS", "-c", here(tmp_path), "py312", "/x/kernel-1.json", sys.executable, "-c", "print(1)"]
    environ = {"PYTHONHOME": "/nonsense", "PATH": os.environ["PATH"]}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
    assert done.stdout == "1\n", done.stderr


def started(place: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Start a kernel through the guard; where it would start the machine's own, it says why instead and ends."""
    argv = [sys.executable, "-IS", "-c", here(place), "py312", "/x/kernel-1.json", *command]
    return subprocess.run(argv, env={"COLAB_ENV_CELL": "{}"}, capture_output=True, text=True, check=False)


def test_a_start_that_somebody_ended_is_tried_once_more(tmp_path: Path) -> None:
    killed = (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    assert [started(tmp_path, *killed).returncode for _ in range(3)] == [-9, -9, 1]
    assert "it ended before it answered" in started(tmp_path, *killed).stderr


def test_a_start_that_another_one_overtakes_has_not_failed(tmp_path: Path) -> None:
    """Three restarts at once: the server starts three kernels, and none of them has ended."""
    waits = (sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()", "/x/kernel-1.json")
    text = here(tmp_path).replace("AT_ONCE = 2\n", "AT_ONCE = 2000\n")  # a busy machine starts them one by one
    argv = [sys.executable, "-IS", "-c", text, "py312", "/x/kernel-1.json", *waits]
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            first = stack.enter_context(
                subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            assert first.stdout is not None
            assert first.stdout.readline() == "up\n"
    # All have ended without a word: that is judged as before.
    assert [started(tmp_path, *waits).returncode for _ in range(2)] == [0, 1]


@pytest.mark.parametrize("jump", [-86400, 86400])
def test_a_clock_that_jumps_makes_no_silence_a_time_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    monkeypatch.setattr(_guard, "DIRECTORIES", [str(tmp_path)])
    path, log = _guard.noted("kernel.json")
    os.close(log)
    now = time.time() + jump
    monkeypatch.setattr(time, "time", lambda: now)
    assert _guard.what_failed(path) == "it ended before it answered"
    assert _guard.is_first_silence(path)


def test_a_start_that_said_why_is_not_tried_again(tmp_path: Path) -> None:
    fails = (sys.executable, "-c", "raise SystemExit('no such luck')")
    assert started(tmp_path, *fails).returncode == 1
    assert "    no such luck" in started(tmp_path, *fails).stderr


def test_a_switch_in_one_notebook_forgets_no_failed_start_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / f"colab-env-{os.getuid()}"
    monkeypatch.setattr(_guard, "DIRECTORIES", (str(place),))
    started(tmp_path, sys.executable, "-c", "raise SystemExit('no such luck')")
    mine = place / "kernel-1.json.log"
    others = [place / "kernel-2.json.log", place / "kernel-11.json.log", place / "kernel-3.json.log.again"]
    for record in others[:2]:
        shutil.copy(mine, record)
    others[2].mkdir()  # whatever else is there by such a name
    diversion.forget_failures(Path("/x/kernel-1.json"))
    assert sorted(place.iterdir()) == sorted(others)
    assert _guard.printed(str(others[0])) == ["no such luck"]
    # For all notebooks: a start of a moment ago may still be running, noted by either clock.
    os.utime(others[1], (time.monotonic(), time.monotonic()))
    os.utime(others[2], (1e9, 1e9))
    diversion.forget_failures(None, others=True)
    assert sorted(place.iterdir()) == sorted(others[:2])
    for record in others[:2]:
        os.utime(record, (1e9, 1e9))
    diversion.forget_failures(None, others=True)
    assert not place.exists()


def test_a_python_that_dies_by_itself_costs_one_start(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 7\n")
    python.chmod(0o755)
    assert started(tmp_path, python, "-c", "").returncode == 7
    assert f"{python} itself ends with code 7" in started(tmp_path, python, "-c", "").stderr


@pytest.mark.parametrize(
    ("damaged", "says"),
    [
        ("venv/pyvenv.cfg", "is damaged"),
        ("launch.py", "is damaged"),
        ("gone.py", "No such file or directory"),
        ("venv", "Not a directory"),
    ],
)
def test_a_file_that_is_missing_or_damaged_costs_no_start(tmp_path: Path, damaged: str, says: str) -> None:
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv/pyvenv.cfg").write_text("home = /x\n")
    (tmp_path / "launch.py").write_text("if True:\n    main()\n")
    (tmp_path / "gone.py").write_text("pass\n")
    command = [
        f"VIRTUAL_ENV={tmp_path / 'venv'}",
        sys.executable,
        "-c",
        "",
        tmp_path / "launch.py",
        tmp_path / "gone.py",
    ]
    assert started(tmp_path, *command).returncode == 0
    for record in tmp_path.glob("colab-env-*/*"):
        record.unlink()
    path = tmp_path / damaged
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if damaged != "gone.py":
        path.write_text("")
    told = started(tmp_path, *command)
    assert told.returncode == 1
    assert f"{path}" in told.stderr
    assert says in told.stderr
    assert list(tmp_path.glob("colab-env-*/*")) == []


def here(place: Path) -> str:
    """Return the guard's text, with `place` where it notes starts."""
    text = diversion.guard_source().replace('("/dev/shm", "/tmp", "/var/tmp")', f"({str(place)!r},)")
    assert str(place) in text
    return text


def seconds(argv: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_jupyter_finds_nothing_to_replace_in_the_guards_text_and_the_text_means_the_same() -> None:
    embedded = diversion.guard_source()
    assert re.search(r"\{[A-Za-z0-9_]+\}", embedded) is None
    inlined: list[ast.stmt] = []
    for node in ast.parse(embedded).body:
        is_later = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LATER"
        inlined += ast.parse(ast.literal_eval(node.value)).body if is_later else [node]
    file = ast.parse(Path(_guard.__file__).read_text(encoding="utf-8"))
    assert ast.unparse(ast.Module(inlined, [])) == ast.unparse(file)


@pytest.mark.parametrize(
    "said", [b"x" * 140_000 + b"\n", b"bad \0\n", b"\xff\xfe\n", b"".join(b"%d\n" % n for n in range(99_999))]
)
def test_whatever_a_start_has_printed_the_reason_is_told_in_a_few_lines(tmp_path: Path, said: bytes) -> None:
    place = tmp_path / f"colab-env-{os.getuid()}"
    place.mkdir(mode=0o700)
    (place / "kernel-1.json.log").write_bytes(said)
    told = started(tmp_path, sys.executable, "-c", "").stderr
    assert "it ended before it answered" in told
    assert len(told) < 6_000
    assert "\0" not in told


@pytest.mark.parametrize("name", ["kernel-1.json.log", "kernel-1.json.log.again"])
def test_a_note_that_is_no_file_keeps_no_kernel_from_coming_up(tmp_path: Path, name: str) -> None:
    (tmp_path / f"colab-env-{os.getuid()}" / name).mkdir(parents=True)
    done = started(tmp_path, sys.executable, "-c", "print('up')")
    assert done.stdout == "up\n" or "it ended before it answered" in done.stderr


def test_what_others_wrote_is_nothing_to_us(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kernel-1.json.log").write_text("boo")
    (tmp_path / f"colab-env-{os.getuid()}").symlink_to(elsewhere)
    told = started(tmp_path, sys.executable, "-c", "").stderr
    assert "its start could not be noted" in told
    assert "boo" not in told
