# ruff: noqa: F811  the fixtures are imported
"""Conda works beside the prefix, under a path as long as the prefix's, and nobody's command changes meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conda_standin.fixtures import defaults, machine, runtime, server, standin_site, state  # noqa: F401

from colab_env.miniconda._overlay import overlaying, recover, stage_of
from colab_env.miniconda._overlay_undo import undo
from colab_env.miniconda._stage import staging


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return tmp_path / "saved"


def write(path: Path, text: str, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def install_like_conda(place: Path) -> None:
    write(place / "conda-meta/python-3.12.4-h0_0.json", f'{{"sha256_in_prefix": "x", "dir": "{place}/pkgs/python"}}')
    write(place / "bin/python3.12", f"\0{place}/lib\0", mode=0o755)
    for alias in ("python", "python3"):
        (place / "bin" / alias).symlink_to("python3.12")
    for name in ("pip", "conda"):
        write(place / "bin" / name, f"#!{place}/bin/python\n{name} of conda\n", mode=0o755)
    write(place / "share/jupyter/kernels/python3/kernel.json", "{}")
    write(place / "lib/libstandin.so.1", "conda's library\n")
    write(place / "lib/module.py", "x = 1\n")
    (place / "lib/absolute").symlink_to(place / "lib/module.py")
    write(place / "pkgs/python/lib/module.py", "x = 1\n")


def install(prefix: Path, saved: Path) -> None:
    with overlaying(prefix, saved=saved) as overlay, staging(overlay, path="", is_new=True) as place:
        install_like_conda(place)


def test_what_was_made_there_is_as_if_it_had_been_made_in_the_prefix(machine, saved):
    before = state(machine)
    install(machine, saved)
    assert (machine / "bin/python3.12").read_bytes() == f"\0{machine}/lib\0".encode()
    assert (machine / "lib/absolute").readlink() == machine / "lib/module.py"
    assert f"{machine}/pkgs/python" in (machine / "conda-meta/python-3.12.4-h0_0.json").read_text()
    assert (machine / "lib/libstandin.so.1").read_text() == "conda's library\n"
    assert (machine / "bin/pip").read_text().endswith("'pip of the machine')\n")
    assert (machine / "share/jupyter/kernels/python3/kernel.json").read_text() != "{}"
    assert names_in(machine.parent) == ["bin", "local"]
    undo(machine, saved=saved)
    assert state(machine) == before


def test_no_command_of_the_machine_is_condas_for_a_moment(machine, saved):
    def seen() -> dict[str, tuple[int, int]]:
        return {
            name: ((machine / "bin" / name).stat().st_size, (machine / "bin" / name).stat().st_mtime_ns)
            for name in names
        }

    names = names_in(machine / "bin")
    right, wrong, done = seen(), [], threading.Event()

    def watch() -> None:
        while not done.is_set():
            if (now := seen()) != right:
                wrong.append(now)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        install(machine, saved)
        with overlaying(machine, saved=saved) as overlay, staging(overlay, path="") as place:
            write(place / "bin/jupyter", "jupyter of conda")
            write(place / "bin/ipython", "ipython of conda")
    finally:
        done.set()
        watcher.join()
    assert wrong == []


def test_conda_finds_there_what_it_has_and_nothing_of_the_machines(machine, saved):
    install(machine, saved)
    write(machine / "lib/somebodys.py", "")
    with overlaying(machine, saved=saved) as overlay, staging(overlay, path="") as place:
        assert (place / "bin/conda").read_text() == f"#!{machine}/bin/python\nconda of conda\n"
        assert (place / "lib/module.py").stat().st_ino == (machine / "lib/module.py").stat().st_ino
        assert (place / "conda-meta/python-3.12.4-h0_0.json").stat().st_nlink == 1  # conda writes into these
        assert not (place / "bin/pip").exists()
        assert not (place / "lib/somebodys.py").exists()


def test_what_conda_changes_and_removes_there_is_changed_and_removed_in_the_prefix(machine, saved):
    before = state(machine)
    install(machine, saved)
    with overlaying(machine, saved=saved) as overlay, staging(overlay, path="") as place:
        write(place / "lib/module.py", "x = 2\n")
        (place / "lib/absolute").unlink()
        (place / "bin/conda").unlink()
        write(place / "new/deep/file", f"{place}")
    assert (machine / "lib/module.py").read_text() == "x = 2\n"
    assert not os.path.lexists(machine / "lib/absolute")
    assert not (machine / "bin/conda").exists()
    assert (machine / "new/deep/file").read_text() == str(machine)
    undo(machine, saved=saved)
    assert state(machine) == before


def test_an_alias_that_would_hide_a_command_does_not_come(machine, saved):
    path = f"{machine}/bin:{machine.parent}/bin"
    with overlaying(machine, saved=saved, path=path) as overlay, staging(overlay, path=path, is_new=True) as place:
        install_like_conda(place)
    assert not os.path.lexists(machine / "bin/python3")
    assert (machine / "bin/python").readlink() == machine.parent / "bin/python3"


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError])
def test_an_error_changes_nothing(machine, saved, fault):
    before = state(machine)
    with (  # noqa: PT012  what the error leaves is the subject
        pytest.raises(fault),
        overlaying(machine, saved=saved) as overlay,
        staging(overlay, path="", is_new=True) as place,
    ):
        install_like_conda(place)
        raise fault
    assert state(machine) == before
    assert names_in(machine.parent) == ["bin", "local"]


def test_after_a_kill_the_next_run_clears_away_what_was_beside(machine, saved):
    before = state(machine)
    code = f"""
import os, signal, sys
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}
from pathlib import Path
from test_stage import install_like_conda, overlaying, staging
with overlaying(Path({str(machine)!r}), saved=Path({str(saved)!r})) as overlay:
    with staging(overlay, path="", is_new=True) as place:
        install_like_conda(place)
        os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(names_in(machine.parent)) == 3
    assert recover(machine, saved=saved)
    assert names_in(machine.parent) == ["bin", "local"]
    assert state(machine) == before


def test_a_directory_that_somebody_has_there_stays(machine, saved):
    stage = stage_of(machine)
    assert len(str(stage)) == len(str(machine))
    write(stage / "somebodys", "")
    assert stage_of(machine) is None
    with overlaying(machine, saved=saved) as overlay, staging(overlay, path="", is_new=True) as place:
        assert place == machine
    assert (stage / "somebodys").exists()


def test_a_name_too_short_for_another_one_is_worked_in_itself(tmp_path):
    (tmp_path / "usr").mkdir()
    assert stage_of(tmp_path / "usr") is None
    assert stage_of(tmp_path / "missing") is None


def test_what_is_a_file_here_and_a_directory_there_takes_the_others_place_under_lib_alone(machine, saved):
    before = state(machine)
    with overlaying(machine, saved=saved) as overlay, staging(overlay, path="", is_new=True) as place:
        write(place / "lib/libstandin.so.1/file", "")
        write(place / "lib/python3.12", "a file")
        write(place / "etc/jupyter/jupyter_config.json/file", "")
    assert (machine / "lib/libstandin.so.1/file").exists()
    assert (machine / "lib/python3.12/dist-packages/pandas.py").exists()  # which nobody has saved
    assert (machine / "etc/jupyter/jupyter_config.json").read_text() == '{"machine": true}\n'
    undo(machine, saved=saved)
    assert state(machine) == before
