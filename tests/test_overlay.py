# ruff: noqa: F811, PT012  the fixtures are imported; what an exception leaves is the subject
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conda_standin.fixtures import machine, runtime, state  # noqa: F401

from colab_env.errors import ColabEnvError, DiskFullError, NotOursError
from colab_env.miniconda import _originals, _overlay
from colab_env.miniconda._overlay import OPEN, Manifest, overlaying, recover
from colab_env.miniconda._overlay_undo import obstacles, undo


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return tmp_path / "saved"


def write(path: Path, text: str = "conda's", *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)


def install_like_conda(prefix: Path) -> None:
    write(prefix / "conda-meta" / "python-3.12.4-h0_0.json", "{}")
    write(prefix / "bin/python3.12", "#!/bin/sh\n", mode=0o755)
    (prefix / "bin/python").unlink(missing_ok=True)
    (prefix / "bin/python").symlink_to("python3.12")
    (prefix / "bin/python3").unlink(missing_ok=True)
    (prefix / "bin/python3").symlink_to("python3.12")
    (prefix / "bin/pip").write_text(f"#!{prefix}/bin/python\nconda's pip\n")  # truncated in place
    write(prefix / "bin/conda", f"#!{prefix}/bin/python\nconda\n", mode=0o755)
    write(prefix / "share/jupyter/kernels/python3/kernel.json", "{}")
    write(prefix / "lib/libstandin.so.1", "conda's library\n")
    write(prefix / "pkgs/cache.txt")
    (prefix / "bin/uv").unlink(missing_ok=True)


def test_commands_and_settings_of_the_machine_work_on(machine, saved):
    before = state(machine)
    with overlaying(machine, saved=saved):
        install_like_conda(machine)
    after = state(machine)
    kept = {name: seen for name, seen in before.items() if not name.startswith("lib/libstandin")}
    assert {name: after[name] for name in kept} == kept


def test_conda_keeps_its_libraries(machine, saved):
    with overlaying(machine, saved=saved):
        install_like_conda(machine)
    assert (machine / "lib/libstandin.so.1").read_text() == "conda's library\n"


def test_undo_restores_the_machine_exactly(machine, saved):
    before = state(machine)
    with overlaying(machine, saved=saved):
        install_like_conda(machine)
    manifest = undo(machine, saved=saved)
    assert state(machine) == before
    assert not saved.exists()
    assert set(manifest.put_back) == {"bin/python", "bin/pip", "bin/uv", "share/jupyter/kernels/python3/kernel.json"}
    assert undo(machine, saved=saved) is None


def test_undo_leaves_what_somebody_else_added_later(machine, saved):
    with overlaying(machine, saved=saved):
        install_like_conda(machine)
    write(machine / "bin/later")
    write(machine / "condabin/later")
    undo(machine, saved=saved)
    assert (machine / "bin/later").exists()
    assert (machine / "condabin/later").exists()
    assert not (machine / "bin/conda").exists()


def test_undo_leaves_what_somebody_changed_or_added_and_finishes_once_that_is_gone(machine, saved):
    before = state(machine)
    with overlaying(machine, saved=saved):
        install_like_conda(machine)
        write(machine / "lib/conda/module.py", "")
    (machine / "bin/conda").write_text("mine now")
    (machine / "lib/libstandin.so.1").write_text("mine, too")
    write(machine / "lib/conda/sub/added.py")
    write(machine / "lib/conda/__pycache__/module.cpython-312.pyc", "")
    expected = {
        "bin/conda": "somebody changed it since",
        "lib/libstandin.so.1": "somebody changed it since",
        "lib/conda/sub": "somebody put it there since",
    }
    assert obstacles(machine, saved=saved) == expected
    undo(machine, saved=saved)
    assert obstacles(machine, saved=saved) == expected
    assert (machine / "bin/conda").read_text() == "mine now"
    assert sorted(path.name for path in (machine / "lib/conda").rglob("*")) == ["added.py", "sub"]
    for name in ("bin/conda", "lib/libstandin.so.1", "lib/conda/sub/added.py"):
        (machine / name).unlink()
    (machine / "lib/conda/sub").rmdir()
    undo(machine, saved=saved)
    assert state(machine) == before
    assert not saved.exists()


def test_what_somebody_changed_between_two_installations_counts_as_changed(machine, saved):
    with overlaying(machine, saved=saved):
        install_like_conda(machine)
    (machine / "bin/conda").write_text("mine now")
    with overlaying(machine, saved=saved):
        second_installation(machine)
    assert set(obstacles(machine, saved=saved)) == {"bin/conda"}


def test_only_what_was_overwritten_stays_saved(machine, saved):
    with overlaying(machine, saved=saved):
        install_like_conda(machine)
    assert sorted(path.name for path in saved.rglob("*") if path.is_file()) == ["lib%libstandin.so.1", "manifest.json"]
    assert set(Manifest.read(saved).overwritten) == {"lib/libstandin.so.1"}


def test_scripts_of_conda_run_on_the_versioned_interpreter(machine, saved):
    with overlaying(machine, saved=saved) as overlay:
        install_like_conda(machine)
        overlay.settle(python=machine / "bin/python3.12")
    assert (machine / "bin/conda").read_text() == f"#!{machine}/bin/python3.12\nconda\n"
    assert (machine / "bin/conda").stat().st_mode & 0o777 == 0o755
    assert "conda's" not in (machine / "bin/pip").read_text()


def test_a_new_alias_does_not_hide_a_command_further_down_the_path(machine, saved):
    path = f"/nowhere:{machine}/bin:{machine.parent}/bin"
    with overlaying(machine, saved=saved, path=path):
        install_like_conda(machine)
    assert not (machine / "bin/python3").exists()
    assert (machine / "bin/python3.12").exists()
    assert (machine / "bin/conda").exists()


def test_a_file_written_through_a_link_is_put_back(machine, saved):
    outside = machine.parent / "bin" / "pip3"
    outside.write_text("#!/bin/sh\n# the machine's\n")
    outside.chmod(0o755)
    (machine / "bin/pip3").symlink_to(outside)
    with overlaying(machine, saved=saved):
        (machine / "bin/pip3").write_text("conda's")
    assert outside.read_text() == "#!/bin/sh\n# the machine's\n"
    assert outside.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_any_exception_restores_everything(machine, saved, error):
    before = state(machine)
    with pytest.raises(error), overlaying(machine, saved=saved):
        install_like_conda(machine)
        raise error
    assert state(machine) == before
    assert not saved.exists()


def test_the_stop_button_while_saving_changes_nothing(machine, saved, monkeypatch):
    before = state(machine)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_originals, "_stored", stop)
    with pytest.raises(KeyboardInterrupt), overlaying(machine, saved=saved):
        pytest.fail("the block began")
    assert state(machine) == before
    assert not saved.exists()


def test_the_stop_button_while_putting_back_restores_everything(machine, saved, monkeypatch):
    before = state(machine)
    restore, calls = _originals.Originals.restore, []

    def stop_once(self, path, entry):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        restore(self, path, entry)

    monkeypatch.setattr(_originals.Originals, "restore", stop_once)
    with pytest.raises(KeyboardInterrupt), overlaying(machine, saved=saved):
        install_like_conda(machine)
    assert state(machine) == before


def test_a_roll_back_that_is_stopped_itself_is_finished_by_the_next_run(machine, saved, monkeypatch):
    before = state(machine)
    with monkeypatch.context() as patch:
        patch.setattr(_originals.Originals, "restore", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt), overlaying(machine, saved=saved):
            install_like_conda(machine)
    assert state(machine) != before
    assert recover(machine, saved=saved)
    assert state(machine) == before


def test_a_disk_that_fills_up_while_saving_is_said_so(machine, saved, monkeypatch):
    before = state(machine)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_originals, "_stored", full)
    with pytest.raises(DiskFullError), overlaying(machine, saved=saved):
        pytest.fail("the block began")
    assert state(machine) == before


def killed_while(work: str, machine: Path, saved: Path) -> None:
    """Run `work` in a child inside the overlay, and kill it when it prints."""
    code = f"""
import sys, time
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}
from pathlib import Path
from colab_env.miniconda._overlay import overlaying
from test_overlay import install_like_conda, write
machine = Path({str(machine)!r})
with overlaying(machine, saved=Path({str(saved)!r})) as overlay:
    {work}
    print("now", flush=True)
    time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "now\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()


def test_after_a_kill_the_next_run_does_not_take_condas_files_for_the_machines(machine, saved):
    before = state(machine)
    killed_while("install_like_conda(machine)", machine, saved)
    assert state(machine) != before
    with overlaying(machine, saved=saved):
        install_like_conda(machine)
    assert (machine / "bin/pip").read_text().endswith("print('pip of the machine')\n")
    undo(machine, saved=saved)
    assert state(machine) == before


def test_after_a_kill_while_committing_undo_still_restores_everything(machine, saved):
    before = state(machine)
    killed_while(
        "install_like_conda(machine); overlay.settle(); overlay._close = lambda: None; overlay.commit()", machine, saved
    )
    with overlaying(machine, saved=saved):
        install_like_conda(machine)
    undo(machine, saved=saved)
    assert state(machine) == before


def test_what_somebody_installed_after_a_kill_stays(machine, saved, monkeypatch):
    before = state(machine)
    killed_while("install_like_conda(machine)", machine, saved)
    monkeypatch.setattr(_overlay, "_BEAT", 0)
    monkeypatch.setattr(_overlay, "_LATE", 0)
    os.utime(saved / "transaction.json")  # the last touch
    time.sleep(0.05)
    write(machine / "bin/black", "#!/usr/bin/python3\n")
    write(machine / "lib/new/of-somebody.so")
    os.utime(machine / "bin/black", (0, 0))  # as pip sets the times of a wheel
    (machine / "bin/pip").write_text("another pip of the machine")
    assert recover(machine, saved=saved)
    assert (machine / "bin/pip").read_text() == "another pip of the machine"
    now = state(machine)
    assert now.keys() - before.keys() == {"bin/black", "lib/new", "lib/new/of-somebody.so"}
    assert {name for name in before if now[name] != before[name]} - {"bin", "lib"} == {"bin/pip"}


def test_taking_back_may_be_killed_itself_and_what_somebody_installed_still_stays(machine, saved, monkeypatch):
    before = state(machine)

    def die_once_the_packages_are_gone(prefix, names, *, keep):
        assert not (prefix / "pkgs").exists()
        while (saved / "transaction.json").stat().st_mtime < (prefix / "lib/of-conda.so").stat().st_ctime:
            time.sleep(0.01)
        raise SystemExit

    linked = "install_like_conda(machine); (machine / 'lib/of-conda.so').hardlink_to(machine / 'pkgs/cache.txt')"
    killed_while(linked, machine, saved)
    monkeypatch.setattr(_overlay, "_BEAT", 0.01)
    monkeypatch.setattr(_overlay, "_LATE", 0)
    os.utime(saved / "transaction.json")
    time.sleep(0.05)
    write(machine / "bin/black", "#!/usr/bin/python3\n")
    with monkeypatch.context() as patch:
        # That changed the time of what conda had linked from there.
        patch.setattr(_overlay, "remove_new", die_once_the_packages_are_gone)
        with pytest.raises(SystemExit):
            recover(machine, saved=saved)
    time.sleep(0.05)
    write(machine / "bin/ruff", "#!/usr/bin/python3\n")
    assert recover(machine, saved=saved)
    assert state(machine).keys() - before.keys() == {"bin/black", "bin/ruff"}


def dead(machine: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill an installation, and let what follows be later than its last sign of life."""
    killed_while("install_like_conda(machine)", machine, saved)
    monkeypatch.setattr(_overlay, "_BEAT", 0.01)
    monkeypatch.setattr(_overlay, "_LATE", 0)
    monkeypatch.setattr(_overlay, "_CLOCK", 0.02)
    os.utime(saved / "transaction.json")
    time.sleep(0.05)


def test_a_tree_that_somebody_moved_there_stays(machine, saved, monkeypatch, tmp_path):
    before = state(machine)
    write(tmp_path / "node/bin/node", "older than conda's run")
    time.sleep(0.2)
    dead(machine, saved, monkeypatch)
    (tmp_path / "node").rename(machine / "node")
    (machine / "etc").rename(machine / "etc.mine")
    assert recover(machine, saved=saved)
    now = state(machine)
    assert {name for name in now.keys() - before.keys() if "etc" not in name} == {"node", "node/bin", "node/bin/node"}
    assert before.keys() <= now.keys()


def test_what_somebody_made_where_something_else_was_stays_and_recovery_ends(machine, saved, monkeypatch):
    dead(machine, saved, monkeypatch)
    (machine / "man").unlink()
    write(machine / "man/man1/mine.1")
    shutil.rmtree(machine / "include")
    (machine / "include").write_text("a file now")
    shutil.rmtree(machine / "etc")
    (machine / "etc").symlink_to("nowhere")
    write(machine / "pkgs/mine.txt")
    assert recover(machine, saved=saved)
    assert (machine / "man/man1/mine.1").exists()
    assert (machine / "include").read_text() == "a file now"
    assert str((machine / "etc").readlink()) == "nowhere"
    assert list((machine / "pkgs").iterdir()) == [machine / "pkgs/mine.txt"]
    assert (saved / "aside-0/transaction/small").exists()  # what was there before is nobody's to throw away
    assert "originals" in obstacles(machine, saved=saved)["."]
    assert not recover(machine, saved=saved)


def test_what_is_left_is_said(machine, saved, monkeypatch, capsys):
    dead(machine, saved, monkeypatch)
    write(machine / "bin/black")
    recover(machine, saved=saved)
    assert "somebody changed it since: 1 path, such as bin/black" in capsys.readouterr().err


def test_what_somebody_puts_there_between_two_attempts_to_take_back_stays(machine, saved, monkeypatch):
    before = state(machine)
    dead(machine, saved, monkeypatch)
    with monkeypatch.context() as patch:

        def die(*_: object, **__: object) -> None:
            write(machine / "bin/black")
            raise SystemExit

        patch.setattr(_overlay, "remove_new", die)
        with pytest.raises(SystemExit):
            recover(machine, saved=saved)
    recover(machine, saved=saved)
    assert state(machine).keys() - before.keys() == {"bin/black"}


def test_what_a_kill_at_the_very_end_has_left_is_cleared_away(machine, saved):
    (saved / "transaction").mkdir(parents=True)
    (saved / ".manifest.json.colab-env-new").touch()
    assert not recover(machine, saved=saved)
    assert not saved.exists()


def test_a_second_damaged_journal_is_set_aside_beside_the_first_one_with_its_originals(machine, saved):
    (saved / "aside-1").mkdir(parents=True)
    for _ in range(2):
        (saved / "transaction").mkdir()
        (saved / "transaction.json").write_text("{")
        recover(machine, saved=saved)
    assert {path.name for path in saved.iterdir()} == {"aside-0", "aside-1", "aside-2"}
    assert (saved / "aside-2/transaction").is_dir()


def test_a_name_as_long_as_names_can_be_comes_back(machine, saved):
    write(machine / "etc" / ("n" * 255), "the machine's")
    before = state(machine)
    with pytest.raises(KeyboardInterrupt), overlaying(machine, saved=saved):
        write(machine / "etc" / ("n" * 255))
        raise KeyboardInterrupt
    assert state(machine) == before


def test_bytecode_that_was_there_stays(machine, saved):
    write(machine / "lib/__pycache__/tool.cpython-310.pyc", "the machine's")
    before = state(machine)
    with pytest.raises(KeyboardInterrupt), overlaying(machine, saved=saved):
        write(machine / "lib/tool.py")
        raise KeyboardInterrupt
    assert state(machine) == before


def test_a_saved_original_that_is_not_whole_is_not_put_back(machine, saved, monkeypatch):
    dead(machine, saved, monkeypatch)
    (saved / "transaction/small").write_bytes(b"")
    with pytest.raises(ColabEnvError, match="not whole"):
        recover(machine, saved=saved)


def test_a_transaction_says_all_along_that_its_run_lives(machine, saved, monkeypatch):
    monkeypatch.setattr(_overlay, "_BEAT", 0.01)
    journal, threads = saved / "transaction.json", threading.active_count()
    with overlaying(machine, saved=saved):
        os.utime(journal, (0, 0))
        while not journal.stat().st_mtime:
            time.sleep(0.01)
    assert threading.active_count() == threads


def second_installation(machine: Path) -> None:
    (machine / "bin/jupyter").write_text("conda's jupyter")
    write(machine / "lib/libstandin.so.1", "conda's second library\n")
    write(machine / "include/machine.h", "conda's")
    write(machine / "lib/new.so")


def test_a_second_installation_extends_the_first_manifest(machine, saved):
    before = state(machine)
    with overlaying(machine, saved=saved):
        install_like_conda(machine)
    with overlaying(machine, saved=saved):
        second_installation(machine)
    assert (machine / "bin/jupyter").read_text() != "conda's jupyter"
    assert (machine / "lib/libstandin.so.1").read_text() == "conda's second library\n"
    assert (saved / "originals/lib%libstandin.so.1").read_text() == "the machine's library\n"
    undo(machine, saved=saved)
    assert state(machine) == before


def test_a_second_installation_that_fails_leaves_the_first(machine, saved):
    with overlaying(machine, saved=saved):
        install_like_conda(machine)
    first, manifest = state(machine), (saved / "manifest.json").read_text()
    with pytest.raises(KeyboardInterrupt), overlaying(machine, saved=saved):
        second_installation(machine)
        (machine / "conda-meta/history").write_text("half")
        (machine / "bin/conda").write_text("half")
        raise KeyboardInterrupt
    assert state(machine) == first
    assert json.loads((saved / "manifest.json").read_text()) == json.loads(manifest)


def test_what_somebody_put_beside_condas_records_stays(machine, saved):
    with overlaying(machine, saved=saved):
        install_like_conda(machine)
    (machine / "conda-meta/history").write_text("conda went on")
    (machine / "conda-meta/later-1.0-0.json").write_text("{}")
    (machine / "conda-meta/pinned").write_text("numpy 1.*")
    assert obstacles(machine, saved=saved) == {"conda-meta/pinned": "somebody put it there since"}
    undo(machine, saved=saved)
    assert [path.name for path in (machine / "conda-meta").iterdir()] == ["pinned"]
    (machine / "conda-meta/pinned").unlink()
    undo(machine, saved=saved)
    assert not (machine / "conda-meta").exists()


def test_names_that_look_alike_keep_their_own_originals(machine, saved):
    names = ("lib/a/b", "lib/a%b", "lib/" + "/".join(["n" * 100] * 4), "share/caf\udce9")
    for name in names:
        write(machine / name)
        (machine / name).write_text(name.encode("utf-8", "surrogateescape").hex())
    before = state(machine)
    with overlaying(machine, saved=saved):
        for name in names:
            (machine / name).unlink()
            write(machine / name)
    undo(machine, saved=saved)
    assert state(machine) == before


def test_what_is_kept_shares_no_bytes_with_what_was_put_back(machine, saved):
    (machine / "lib/kept.so").write_text("the machine's")
    before = state(machine)
    with overlaying(machine, saved=saved):
        (machine / "lib/kept.so").unlink()
        (machine / "lib/kept.so").write_text("conda's")
    with overlaying(machine, saved=saved) as overlay:
        overlay.clear()
        (machine / "lib/kept.so").write_text("written into")
    undo(machine, saved=saved)
    assert state(machine) == before


def test_another_version_comes_in_place_of_the_first_one(machine, saved):
    before = state(machine)
    with overlaying(machine, saved=saved):
        install_like_conda(machine)
    with overlaying(machine, saved=saved) as overlay:
        overlay.clear()
        now = state(machine, without="pkgs")
        assert now.pop(OPEN)
        assert now == {name: seen for name, seen in before.items() if name != "pkgs"}
        write(machine / "bin/python3.13", mode=0o755)
    assert not (machine / "bin/python3.12").exists()
    undo(machine, saved=saved)
    assert state(machine) == before


def test_another_version_that_fails_leaves_the_first_one(machine, saved):
    with overlaying(machine, saved=saved):
        install_like_conda(machine)
    first = state(machine)
    with pytest.raises(KeyboardInterrupt), overlaying(machine, saved=saved) as overlay:
        overlay.clear()
        raise KeyboardInterrupt
    assert state(machine) == first


def test_somebody_elses_conda_is_left_alone(machine, saved):
    write(machine / "conda-meta/history", "")
    before = state(machine)
    with (
        pytest.raises(NotOursError, match="holds a conda that colab-env did not install"),
        overlaying(machine, saved=saved),
    ):
        pytest.fail("the block began")
    assert state(machine) == before
    assert not saved.exists()


def test_a_prefix_that_is_not_there_goes_away_again(tmp_path, saved):
    with pytest.raises(KeyboardInterrupt), overlaying(tmp_path / "new", saved=saved):
        write(tmp_path / "new/bin/conda")
        raise KeyboardInterrupt
    assert not (tmp_path / "new").exists()


def test_large_files_are_linked_and_come_back_as_they_were(machine, saved):
    big = machine / "lib/big.so"
    big.write_bytes(bytes(2_000_000))
    inode = big.stat().st_ino
    before = state(machine)
    with overlaying(machine, saved=saved):
        assert big.stat().st_nlink == 2
        write(big, "conda's")
    assert big.read_text() == "conda's"
    undo(machine, saved=saved)
    assert (big.stat().st_ino, big.stat().st_nlink) == (inode, 1)
    assert state(machine) == before


def test_directories_that_became_files_and_files_that_became_directories_come_back(machine, saved):
    before = state(machine)
    with pytest.raises(KeyboardInterrupt), overlaying(machine, saved=saved):
        (machine / "etc").rename(machine / "etc.old")
        (machine / "etc").symlink_to("etc.old")
        (machine / "bin/uv").unlink()
        write(machine / "bin/uv/inside")
        raise KeyboardInterrupt
    assert state(machine) == before


def test_packages_of_the_machines_python_are_not_walked(machine, saved):
    (machine / "cuda-12").mkdir()
    (machine / "cuda-12/libcuda.so").write_text("")
    with overlaying(machine, saved=saved) as overlay:
        assert not [name for name in overlay.before if "pandas" in name or "libcuda" in name]


def test_a_directory_of_many_files_is_saved_and_compared_quickly(tmp_path, saved):
    prefix = tmp_path / "many"
    for number in range(100):
        (prefix / f"share/{number}").mkdir(parents=True)
        for name in range(100):
            (prefix / f"share/{number}/{name}").write_bytes(b"x" * 300)
    began = time.process_time()
    shutil.copytree(prefix, tmp_path / "copied")
    copied = time.process_time()
    with overlaying(prefix, saved=saved):
        pass
    assert time.process_time() - copied < 10 * (copied - began)
