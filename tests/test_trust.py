"""A snapshot that no key of ours signed is used only where a person names it, and no snapshot says where anything goes."""

# ruff: noqa: F811  (fixtures of another module)

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import zstandard
from conftest import ROOT
from test_archive import TOP, anything, forge, member, unpack
from test_snapshots import archive_in, cache, filled_now, hand_made, lose, made, rewrite  # noqa: F401  (fixtures)

import colab_env
from colab_env import _files, _ledger, _process, _report, cli, system, venv
from colab_env.errors import CacheError, SnapshotError, UsageError
from colab_env.interpreter import Interpreter
from colab_env.interpreter_sources import source_of
from colab_env.jupyter import colab_layer
from colab_env.locks import registry
from colab_env.machine import Machine
from colab_env.request import InstallOptions, Request
from colab_env.snapshot import _archive, manifest, restoring, signing
from colab_env.snapshot._archive import Contents, Tree
from colab_env.snapshots import SetupCache
from colab_env.undoing import undo

ZEROS = 1 << 28  # bytes


def key_file() -> Path:
    return Machine.detect().data / "snapshot-key.json"


# --- the key


def test_the_first_save_makes_the_key_and_says_once_how_to_keep_it(made: Path, cache: Path) -> None:
    first = colab_env.save(cache)
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600
    assert "colab-env cache key" in first.notes[-1]
    assert signing.VARIABLE in first.notes[-1]
    archive_in(cache).unlink()
    assert not any("key" in note for note in colab_env.save(cache).notes)
    assert colab_env.cache_list(cache).snapshots[0].signature == "ours"
    assert undo().complete
    assert not Machine.detect().data.exists()


def test_a_set_up_that_makes_the_key_says_once_how_to_keep_it(made: Path, cache: Path) -> None:
    for times in (1, 0):
        first = SetupCache(cache, Request.read(made, Machine.detect()))
        first.save()
        assert sum("colab-env cache key" in note for note in first.notes) == times
        archive_in(cache).unlink()


def test_several_first_saves_at_once_make_one_key(home: Path) -> None:
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.append(colab_env.cache_key().key)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 6
    assert len({*made}) == 1
    assert json.loads(key_file().read_text())["key"] == made[0]


@pytest.mark.parametrize("spell", [str, str.upper, lambda key: f" {base64.b64encode(bytes.fromhex(key)).decode()}\n"])
def test_the_next_machine_restores_with_the_key_in_a_variable(
    made: Path, cache: Path, spell: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    colab_env.save(cache)
    key = colab_env.cache_key().key
    lose(made)
    with pytest.raises(SnapshotError, match="signed with a key that is not here"):
        colab_env.restore(cache, project=made)
    monkeypatch.setenv(signing.VARIABLE, spell(key))
    assert colab_env.cache_verify(cache).ok
    assert colab_env.restore(cache, project=made).action == "restored"
    assert colab_env.cache_key().key == key


@pytest.mark.parametrize("text", ["x", "00" * 31, "zz" * 32, "A" * 44, "é" * 64])
def test_a_variable_that_is_no_key_is_named_and_not_shown(
    made: Path, cache: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(signing.VARIABLE, text)
    with pytest.raises(UsageError, match=signing.VARIABLE) as caught:
        colab_env.save(cache)
    assert text not in str(caught.value) or text == "x"
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{}", '{"schema": "snapshot key", "version": 1, "key": "xyz"}', "[" * 100_000])
def test_a_damaged_key_file_is_replaced(home: Path, content: str) -> None:
    before = colab_env.cache_key().key
    key_file().write_text(content)
    now = colab_env.cache_key().key
    assert now != before
    assert json.loads(key_file().read_text())["key"] == now


def test_the_key_is_not_in_the_environment_of_programs() -> None:
    environ = {signing.VARIABLE: "5e" * 32, "LANG": "C"}
    assert signing.VARIABLE not in _process.child_environ(environ)


def test_the_command_prints_the_key(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cache", "key"]) == 0
    key = capsys.readouterr().out.strip()
    assert re.fullmatch(r"[0-9a-f]{64}", key)
    assert cli.main(["cache", "key", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"key": key, "variable": signing.VARIABLE}
    assert key not in repr(signing.Key.parsed(key, origin="a test"))


# --- Colab's secrets


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Colab's page with its secrets: `answer` is what it says, `asked` what it was asked."""
    state = SimpleNamespace(answer=None, asked=[])

    def blocking_request(kind: str, *, request: object, timeout_sec: float | None) -> object:
        assert timeout_sec is not None, "a page that does not answer would be waited for"
        state.asked.append((kind, request))
        if isinstance(state.answer, Exception):
            raise state.answer
        return state.answer

    google, colab, message = (ModuleType(name) for name in ("google", "google.colab", "google.colab._message"))
    message.blocking_request = blocking_request
    google.colab, colab._message = colab, message
    for module in (google, colab, message):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(_report, "in_notebook", lambda: True)
    monkeypatch.setattr(_report, "choose_screen", lambda **_: _report.Silent())
    return state


def test_the_second_day_starts_from_the_key_in_colabs_secrets(made: Path, cache: Path, page: SimpleNamespace) -> None:
    first = colab_env.save(cache)
    key = colab_env.cache_key().key
    assert len(page.asked) == 1, "only the first save asks, before it makes a key"
    lose(made)
    request = Request.read(made, Machine.detect())
    refused = SetupCache(cache, request)
    assert refused.restore() is None
    assert first.name in refused.notes[0]
    assert "sha256:" + first.sha256 in refused.notes[0]
    page.answer = {"exists": True, "access": True, "payload": key}
    second = SetupCache(cache, request)
    assert second.restore() is not None
    assert second.notes == []
    assert page.asked[-1] == ("GetSecret", {"key": signing.VARIABLE})
    shutil.rmtree(made / ".venv")
    archive_in(cache).unlink()
    hand_made_again(made)
    saved = colab_env.save(cache)
    assert not any("key" in note for note in saved.notes), "it is signed with the key of the first day"
    assert json.loads(key_file().read_text())["key"] == key


def hand_made_again(project: Path) -> None:
    shutil.rmtree(Machine.detect().data / "layers")
    found = system.available(machine=Machine.detect())
    hand_made(project, found[0])


@pytest.mark.parametrize(
    "answer",
    [
        None, {}, "text", {"exists": False}, {"exists": True, "access": False}, RuntimeError("no page"),
        {"exists": True, "access": True, "payload": ""}, {"exists": True, "access": True, "payload": 5},
    ],
)  # fmt: skip
def test_a_secret_that_is_missing_or_not_granted_is_no_key(
    made: Path, cache: Path, page: SimpleNamespace, answer: object
) -> None:
    colab_env.save(cache)
    lose(made)
    page.answer = answer
    tried = SetupCache(cache, Request.read(made, Machine.detect()))
    assert tried.restore() is None
    assert "is not here" in tried.notes[0]


def test_the_page_is_asked_only_where_a_signature_is_not_known(
    made: Path, cache: Path, page: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(signing.VARIABLE, "5e" * 32)
    colab_env.save(cache)
    assert colab_env.cache_verify(cache).ok
    lose(made)
    colab_env.restore(cache, project=made)
    assert page.asked == []


# --- trust


@pytest.mark.parametrize("by", ["name", "sha256", "bare sha256"])
@pytest.mark.parametrize("kind", ["another's", "none"])
def test_a_snapshot_of_anothers_is_restored_when_it_is_named(made: Path, cache: Path, by: str, kind: str) -> None:
    saved = colab_env.save(cache)
    if kind == "none":
        rewrite(archive_in(cache), sign=None)  # as the first release wrote them
    lose(made)
    assert [each.signature for each in colab_env.cache_list(cache).snapshots] == [kind]
    with pytest.raises(SnapshotError, match=saved.sha256) as caught:
        colab_env.restore(cache, project=made)
    assert "trust=" in caught.value.message
    assert not colab_env.cache_verify(cache).ok
    trust = {"name": saved.name, "sha256": f"sha256:{saved.sha256}", "bare sha256": saved.sha256.upper()}[by]
    assert colab_env.cache_verify(cache, trust=trust).ok
    before = archive_in(cache).read_bytes()
    used = SetupCache(cache, Request.read(made, Machine.detect()), trust=trust)
    assert used.restore() is not None
    (made / ".venv/colab-env-untried").unlink()
    used.save()
    assert archive_in(cache).read_bytes() == before, "whoever pins it finds it as it was"


def test_the_name_of_another_snapshot_vouches_for_none(made: Path, cache: Path) -> None:
    saved = colab_env.save(cache)
    lose(made)
    other = saved.name.replace("lesson-", "other-")
    for trust in (other, "0" * 64):
        with pytest.raises(SnapshotError, match="not here"):
            colab_env.restore(cache, project=made, trust=trust)
    for trust in ("", "yes", "sha256:12", "../x.tar.zst"):
        with pytest.raises(UsageError, match="neither the name"):
            colab_env.restore(cache, project=made, trust=trust)
    with pytest.raises(UsageError, match="no cache is given"):
        colab_env.setup(project=made, interpreter="system", trust=saved.name)
    assert not (made / ".venv").exists()


def test_what_was_not_signed_by_us_is_saved_anew(made: Path, cache: Path) -> None:
    colab_env.save(cache)
    rewrite(archive_in(cache), sign=None)
    assert colab_env.save(cache).action == "saved"
    assert colab_env.cache_list(cache).snapshots[0].signature == "ours"


def test_a_byte_of_the_description_that_changed_is_another_signature(made: Path, cache: Path) -> None:
    colab_env.save(cache)
    path = archive_in(cache)
    with path.open("rb") as file:
        footer = manifest.read_footer(file)
    text = footer.text.replace(b'"packages": 1', b'"packages": 2')
    assert text != footer.text
    path.write_bytes(path.read_bytes()[: footer.size] + manifest.footer_bytes(text, footer.signature))
    (found,) = colab_env.cache_list(cache).snapshots
    assert found.signature == "another's"
    assert "is not here" in str(found.problem)


def test_other_content_under_a_good_signature_is_refused(made: Path, cache: Path) -> None:
    colab_env.save(cache)
    path = archive_in(cache)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    lose(made)
    with pytest.raises(SnapshotError):
        colab_env.restore(cache, project=made)
    assert not colab_env.cache_verify(cache).ok


# --- what a description says decides nothing, although it is signed


def signed_anew(cache: Path, change: Callable[[dict], object]) -> None:
    rewrite(archive_in(cache), change=change, sign=signing.Keyring(Machine.detect()).signing()[0].sign)


def with_member(cache: Path, name: str, kind: bytes = _archive.FILE, content: bytes = b"", link: str = "") -> None:
    """Add a member before the end of a snapshot, and sign it."""
    path = archive_in(cache)
    with path.open("rb") as file:
        footer = manifest.read_footer(file)
    archive = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()[: footer.size])
    head = _archive.header(_archive.Member(name, kind, 0o644, len(content), 0, link))
    archive = archive[: -len(_archive.END)] + head + content + _archive.padding(len(content)) + _archive.END
    body = zstandard.compress(archive)
    described = {**json.loads(footer.text), "sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}
    described |= {"members": footer.members + 1, "unpacked": len(archive)}
    text = json.dumps(described).encode()
    key = signing.Keyring(Machine.detect()).signing()[0]
    path.write_bytes(body + manifest.footer_bytes(text, key.sign(text)))


def test_a_project_file_that_no_format_declares_is_not_written(made: Path, cache: Path) -> None:
    """It replaced `main.py` of the user's."""
    (made / "main.py").write_text("mine\n")
    colab_env.save(cache)
    digest = hashlib.sha256(b"planted\n").hexdigest()
    signed_anew(cache, lambda found: found["left"].update({"main.py": digest}))
    with_member(cache, "files/main.py", content=b"planted\n")
    with pytest.raises(SnapshotError, match="not one of colab-env's"):
        colab_env.restore(cache, project=made)
    assert (made / "main.py").read_text() == "mine\n"


def test_project_files_are_those_that_the_formats_declare() -> None:
    declared = {name for each in registry.all_formats() for name in each.project_files}
    assert declared == {*manifest.PROJECT_FILES}


def test_a_link_is_made_where_its_source_makes_it_and_nowhere_else(
    project: Path, cache: Path, pythons: list[Interpreter], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`links={"~/.ssh": …}` planted a directory of uv's anywhere that nothing was yet."""
    base = home / ".local/share/uv/python"
    real, named = (base / f"cpython-{word}-linux-x86_64-gnu" for word in (pythons[0].version, pythons[0].short_version))
    (real / "bin").mkdir(parents=True)
    (real / "bin/python3").write_text("#!/bin/sh\n")
    (real / "bin/python3").chmod(0o755)
    named.symlink_to(real.name)
    made = hand_made(project, Interpreter(path=named / "bin/python3", version=pythons[0].version, source="uv"))
    colab_env.save(cache)
    original = archive_in(cache).read_bytes()
    monkeypatch.setenv(signing.VARIABLE, colab_env.cache_key().key)
    lose(made)
    shutil.rmtree(home / ".local")
    for links, tree in (
        ({str(home / ".ssh"): str(home / "planted")}, str(home / "planted")),
        ({str(home / ".ssh"): real.name, str(named): real.name}, str(real)),
        ({str(named): "../planted"}, str(base.parent / "planted")),
        ({str(named): "other"}, str(base / "other")),
    ):
        archive_in(cache).write_bytes(original)
        trees = {"venv": str(made / ".venv"), "python": tree}
        signed_anew(
            cache, lambda found, links=links, trees=trees: found.update(links=links, trees={**found["trees"], **trees})
        )
        with pytest.raises(SnapshotError):
            colab_env.restore(cache, project=made)
        assert not (home / ".ssh").exists()
        assert not list(home.rglob("planted"))
    archive_in(cache).write_bytes(original)
    colab_env.restore(cache, project=made)
    assert named.readlink() == Path(real.name)


def test_a_conda_goes_to_its_prefix_only(made: Path, cache: Path, home: Path) -> None:
    """With source="miniconda", any path got a directory of mode 7777."""
    colab_env.save(cache)
    python = {"path": str(home / "planted/bin/python3.12"), "version": "3.12.1", "source": "miniconda"}
    trees = {"python": str(home / "planted")}
    signed_anew(cache, lambda found: found.update(python=python, trees={**found["trees"], **trees}))
    shutil.rmtree(made / ".venv")
    with pytest.raises(SnapshotError):
        colab_env.restore(cache, project=made)
    with pytest.raises(SnapshotError):
        colab_env.restore(cache, project=made)
    assert not (home / "planted").exists()
    chosen = Interpreter(path=home / "planted/bin/python3.12", version="3.12.1", source="miniconda")
    source = source_of(chosen, Machine.detect())
    assert not source.would_take(chosen, Request.read(made, Machine.detect(), source="miniconda"))
    assert source.would_take(chosen, Request.read(made, Machine.detect(), source="miniconda", prefix=home / "planted"))


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A program that leaves a file beside it when it is started."""
    program = tmp_path / "trap" / "bin" / "python3"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\ntouch {program.parent}/started\necho '\"3\"'\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("source", ["system", "uv", "miniconda", "none"])
def test_a_program_that_a_snapshot_names_is_never_started(
    made: Path, cache: Path, trap: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cache list` and a restore started `python.path`."""
    colab_env.save(cache)
    version = system.available(machine=Machine.detect())[0].version

    def change(found: dict) -> None:
        found["python"] = {"path": str(trap), "version": version, "source": source}
        layer = colab_layer.directory(Machine.detect(), Interpreter(path=trap, version=version, source=source))
        found["layer"] = layer.name
        found["trees"]["layer"] = str(layer)

    signed_anew(cache, change)
    shutil.rmtree(made / ".venv")
    for call in (colab_env.cache_list, colab_env.cache_verify, lambda at: colab_env.restore(at, project=made)):
        with contextlib.suppress(SnapshotError):
            call(cache)
        assert not (trap.parent / "started").exists()
    rewrite(archive_in(cache), sign=None)
    colab_env.cache_list(cache)
    assert not (trap.parent / "started").exists()


def test_listing_and_verifying_start_nothing(made: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colab_env.save(cache)
    monkeypatch.setenv("COLAB_ENV_MACHINE_PYTHON", "/bin/sh")  # another than this process runs on

    def start(*_arguments: object, **_options: object) -> None:
        pytest.fail("a program was started")

    monkeypatch.setattr(_process, "run", start)
    assert len(colab_env.cache_list(cache).snapshots) == 1
    assert colab_env.cache_verify(cache).ok


@pytest.mark.parametrize("name", ["colab-env-untried", "colab-env.json", "pyvenv.cfg"])
def test_what_later_steps_write_is_no_link(made: Path, cache: Path, name: str) -> None:
    python = str(system.available(machine=Machine.detect())[0].path)
    colab_env.save(cache)
    with_member(cache, f"venv/{name}", _archive.LINK, link=python)
    shutil.rmtree(made / ".venv")
    with pytest.raises(SnapshotError):
        colab_env.restore(cache, project=made)
    assert Path(python).stat().st_size > 0
    assert not (made / ".venv").exists()


# --- limits


def test_no_description_makes_an_untyped_error(made: Path, cache: Path) -> None:
    """A nested description was a RecursionError."""
    colab_env.save(cache)
    path = archive_in(cache)
    with path.open("rb") as file:
        footer = manifest.read_footer(file)
    body, key = path.read_bytes()[: footer.size], signing.Keyring(Machine.detect()).signing()[0]
    said = b', "sha256": "%s", "size": %d}' % (footer.sha256.encode(), footer.size)
    for text in (
        b"[" * 60_000,
        b'{"a":' * 30_000,
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"1" * 5000,
        b'"\\ud800"',
        b"[" * 900 + b"]" * 900,
    ):
        for whole in (text, b'{"manifest": ' + text + said, b'{"manifest": {"x": ' + text + b"}" + said):
            path.write_bytes(body + manifest.footer_bytes(whole, key.sign(whole)))
            shutil.rmtree(made / ".venv", ignore_errors=True)
            with pytest.raises(SnapshotError):
                colab_env.restore(cache, project=made)
            assert not colab_env.cache_verify(cache).ok
            assert not colab_env.cache_list(cache).ok


def test_a_project_file_that_is_no_text_or_another_is_refused() -> None:
    """It was a UnicodeDecodeError, and `cache verify` said ✓. Restoring and verifying ask the same."""
    content = b"\xff\xfe"
    digest = hashlib.sha256(content).hexdigest()
    described = SimpleNamespace(
        given={"poetry.toml": None, "poetry.lock": None, "pyproject.toml": digest},
        left={"poetry.toml": digest, "poetry.lock": None, "pyproject.toml": digest},
    )
    with pytest.raises(SnapshotError, match="no text"):
        restoring._project_texts({"files/poetry.toml": content}, described)
    with pytest.raises(SnapshotError, match="no text"):  # one of an earlier version has what nobody changed, too
        restoring._project_texts({"files/poetry.toml": content, "files/pyproject.toml": content}, described)
    for files in (
        {},
        {"files/pyproject.toml": content},
        {"files/poetry.toml": b""},
        {"files/poetry.toml": content, "files/poetry.lock": b""},
    ):
        with pytest.raises(SnapshotError, match="not those of its description"):
            restoring._project_texts(files, described)


ODD_MEMBERS = {
    "a NUL in a link": [TOP, member("tree/l", b"2", "a\0b")],
    "an empty link": [TOP, member("tree/l", b"2", "")],
    "a long link": [TOP, member("tree/l", b"2", "x" * 4096)],
    "a long path": [TOP, *(member("tree" + "/" + "/".join(["n" * 250] * depth), b"5") for depth in range(1, 18))],
    "a long name": [TOP, member("tree/" + "n" * 256)],
    "a long name of few letters": [TOP, member("tree/" + "é" * 130)],
}


@pytest.mark.parametrize("case", ODD_MEMBERS)
@pytest.mark.parametrize("is_rehearsal", [False, True])
def test_a_member_that_no_file_system_takes_is_refused(tmp_path: Path, case: str, *, is_rehearsal: bool) -> None:
    members = [*ODD_MEMBERS[case]]
    if "\0" in members[-1].linkname:
        members[-1].pax_headers = {"linkpath": members[-1].linkname}
        members[-1].linkname = "x"
    forge(tmp_path / "a", *members)
    with pytest.raises(SnapshotError):
        unpack(tmp_path / "a", tmp_path / "out", is_rehearsal=is_rehearsal)


@pytest.mark.parametrize(("seconds", "now"), [(10**18, 1 << 33), (-(10**9), 0), (1_700_000_000, 1_700_000_000)])
def test_a_time_that_no_file_system_has_is_the_nearest(tmp_path: Path, seconds: int, now: int) -> None:
    """A huge one was an OverflowError."""
    info = member("tree/x")
    info.pax_headers = {"mtime": str(seconds)}
    forge(tmp_path / "a", TOP, info)
    unpack(tmp_path / "a", tmp_path / "out")
    assert int((tmp_path / "out/x").stat().st_mtime) == now


@pytest.mark.parametrize("kind", [b"0", b"5"])
def test_modes_are_masked(tmp_path: Path, kind: bytes) -> None:
    infos = [member("tree", b"5"), member("tree/x", kind)]
    for info in infos:
        info.mode = 0o7777
    forge(tmp_path / "a", *infos)
    unpack(tmp_path / "a", tmp_path / "out")
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("out", "out/x")} == {0o775}


@pytest.mark.parametrize("more", [b"\0", b"\0" * 20, b"0 a=b\n", b"1 a=b\n", b" a=b\n", b"9"])
def test_a_record_of_no_length_ends_the_reading(more: bytes) -> None:
    """It was read again and again."""
    good = _archive._record(b"mtime", b"1")
    block = _archive._block(b"tree/x", b"0", 0o644, 0, 0, b"")
    assert _archive.parse(block, good).mtime_ns == 10**9
    with pytest.raises(SnapshotError):
        _archive.parse(block, good + more)


@pytest.mark.parametrize("place", ["/", "relative", "/a/../b"])
def test_a_part_has_a_place_with_a_name(made: Path, cache: Path, place: str) -> None:
    colab_env.save(cache)
    signed_anew(cache, lambda found: found["trees"].update(uv=place))
    for found in (colab_env.cache_list(cache), colab_env.cache_verify(cache)):
        assert found.snapshots[0].problem == "the snapshot is damaged: its description is not one of colab-env's"


BOMBS = {
    "one file": [TOP, member("tree/zeros", size=ZEROS)],
    "a small file": [TOP, member("files/a", size=ZEROS)],
    "many small files": [TOP, *(member(f"files/{number}", size=1 << 23) for number in range(32))],
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_little_file_does_not_become_a_large_one(tmp_path: Path, case: str) -> None:
    """104 kB took 3.2 GB of memory, 125 kB made 4 GB of files."""
    forge(tmp_path / "a", *BOMBS[case])
    size = (tmp_path / "a").stat().st_size
    assert size < 200_000
    code = (
        "import re, sys; from pathlib import Path; from colab_env.snapshot import _unpack, manifest\n"
        "from colab_env.errors import SnapshotError\n"
        "with Path(sys.argv[1]).open('rb') as of:\n"
        "    try:\n"
        "        _unpack.unpack(of, manifest.read_footer(of), targets={'tree': Path(sys.argv[2])}, check=print)\n"
        "    except SnapshotError as error:\n"
        "        print(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])\n"
    )
    words = [sys.executable, "-c", code, tmp_path / "a", tmp_path / "out"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 120_000  # kilobytes; nothing is printed where it was unpacked
    assert sum(path.stat().st_size for path in tmp_path.rglob("zeros")) <= 1 << 27


def test_what_a_snapshot_declares_is_what_it_unpacks_to(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/x").write_bytes(b"x" * 5000)
    with (tmp_path / "a").open("wb") as out:
        trees = [Tree(name="tree", directory=tmp_path / "tree")]
        footer = _archive.write(out, Contents(manifest={}, files={}, trees=trees, check=anything), sign=None)
    assert footer.members == 3
    unpack(tmp_path / "a", None)
    body = (tmp_path / "a").read_bytes()[: footer.size]
    for change in ({"unpacked": footer.unpacked - 1}, {"members": 2}, {"members": 4}, {"unpacked": None, "members": 2}):
        text = json.dumps({**json.loads(footer.text), **change}).encode()
        (tmp_path / "b").write_bytes(body + manifest.footer_bytes(text, None))
        with pytest.raises(SnapshotError, match="damaged"):
            unpack(tmp_path / "b", None)


@pytest.mark.parametrize("limit", ["MOST_MEMBERS", "MOST_UNPACKED", "MOST_FILES", "MOST_DESCRIPTION"])
def test_what_could_not_be_read_is_not_written(
    made: Path, cache: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _ledger.recording("configure_venv", Machine.detect()):  # what a set-up has written is inside
        _files.write_text(made / "poetry.toml", "# settings\n")
    filled_now(made, venv.recorded_python(made), InstallOptions())
    monkeypatch.setattr(_archive, limit, 3)
    with pytest.raises(SnapshotError, match="more than a snapshot holds"):
        colab_env.save(cache)
    assert list(cache.iterdir()) == []


def test_the_threat_model_has_the_limits_of_the_code() -> None:
    text = (ROOT / "docs/threat-model.md").read_text()
    numbers = (
        f"{manifest.MOST_DESCRIPTION >> 10} kB", f"{manifest.MOST_MEMBERS:,}", f"{manifest.MOST_UNPACKED >> 30} GB",
        f"{manifest.MOST_FILES >> 20} MB", f"{_archive.LONGEST_PATH:,} bytes", f"{_archive.LONGEST_NAME} bytes",
        f"{manifest.USUAL_RATIO} times", f"{signing.PATIENCE} s",
    )  # fmt: skip
    assert [number for number in numbers if number not in text] == []


# --- the cache


def test_a_cache_that_is_not_there_is_an_error_and_a_set_up_saves_to_it(made: Path, tmp_path: Path) -> None:
    for call in (colab_env.cache_list, colab_env.cache_verify, colab_env.cache_prune):
        with pytest.raises(CacheError, match="No such file"):
            call(tmp_path / "nowhere")
    assert cli.main(["cache", "list", str(tmp_path / "nowhere")]) == CacheError.exit_code
    assert not (tmp_path / "nowhere").exists()
    assert SetupCache(tmp_path / "nowhere", Request.read(made, Machine.detect())).restore() is None


def test_a_cache_that_can_only_be_read_says_so(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The note was "NotImplementedError"."""
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.get_filesystem_class("memory")
    opened = memory._open

    def only_read(self: object, path: str, mode: str = "rb", **options: object) -> object:
        if mode != "rb":
            raise NotImplementedError
        return opened(self, path, mode, **options)

    monkeypatch.setattr(memory, "_open", only_read)
    with pytest.raises(CacheError, match="can be read, not written"):
        colab_env.save("memory://readonly")


def test_a_name_in_a_snapshot_does_not_move_the_cursor(made: Path, cache: Path) -> None:
    colab_env.save(cache)
    archive_in(cache).rename(cache / f"\x1b[31m{archive_in(cache).name}")
    assert "\x1b" not in repr(colab_env.cache_list(cache))


# --- thousands of them


def test_mutated_snapshots_reach_nothing() -> None:
    argv = [sys.executable, ROOT / "benchmarks/snapshots_mutated.py", "--count", "250", "--seed", "7", "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    found = json.loads(done.stdout)
    reached = {name: found[name] for name in ("outside", "started", "untyped", "lied")}
    assert reached == {"outside": [], "started": [], "untyped": [], "lied": []}
    assert found["count"] == 250
    assert 20 < found["restored"] < 200, "some are restored, so that all of the way is tried"
    assert found["peak"] <= 200_000_000
