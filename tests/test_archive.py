"""A snapshot file gives back what went in, is read to its last byte, and writes nowhere but in its place."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest
import zstandard
from conftest import ROOT

from colab_env.errors import SnapshotError
from colab_env.snapshot import _archive, _unpack
from colab_env.snapshot._archive import Contents, Tree
from colab_env.snapshot.manifest import Footer, footer_bytes, read_footer

MANIFEST = {"made": 1, "text": "für alle"}


def anything(*_link: str) -> None:
    """Accept every symbolic link."""


def pack(path: Path, place: Path, **options) -> Footer:
    with path.open("wb") as out:
        trees = [Tree(name="tree", directory=place, **options)]
        packed = Contents(manifest=MANIFEST, files={"files/a": b"A"}, trees=trees, check=anything)
        return _archive.write(out, packed, sign=None)


def test_the_members_are_counted_before_any_is_written(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/file").touch()
    trees = [Tree(name=name, directory=tmp_path) for name in ("one", "two")]
    contents = Contents(manifest=MANIFEST, files={"files/a": b"A"}, trees=trees, check=anything)
    names = ["the description", "files/a", "one", "one/below", "one/below/file", "two", "two/below", "two/below/file"]
    assert _archive._measure(contents)[1] == len(names)


def test_what_is_no_file_is_left_out_and_what_comes_after_it_is_not(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    os.mkfifo(tmp_path / "place/a")
    (tmp_path / "place/b").write_text("b")
    pack(tmp_path / "x.tar.zst", tmp_path / "place")
    unpack(tmp_path / "x.tar.zst", tmp_path / "again")
    assert [path.name for path in (tmp_path / "again").iterdir()] == ["b"]


@pytest.mark.parametrize("size", [8**11 - 1, 8**11, 8**11 + 1])
def test_a_header_says_a_size_that_every_tar_understands(size: int) -> None:
    written = _archive.header(_archive.Member("x", _archive.FILE, 0o644, size, 0))
    with tarfile.open(fileobj=io.BytesIO(written + bytes(1024)), mode="r:") as archive:
        assert archive.firstmember is not None
        assert archive.firstmember.size == size


def unpack(path: Path, place: Path | None, check=anything, **options) -> dict[str, bytes]:
    with path.open("rb") as file:
        return _unpack.unpack(file, read_footer(file), targets={"tree": place}, check=check, **options)


def listing(place: Path) -> dict[str, tuple]:
    """Return all that a person could see below a place: kind and mode, time, content or target."""
    found = {}
    for path in [place, *place.rglob("*")]:
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else ""
        link = str(path.readlink()) if path.is_symlink() else ""
        found[os.fsdecode(path.relative_to(place))] = (status.st_mode, status.st_mtime_ns, content, link)
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    place = tmp_path / "tree"
    (place / "empty").mkdir(parents=True)
    (place / "nothing").touch()
    (place / "big").write_bytes(os.urandom(3_000_001))
    deep = place / ("a-directory-with-a-long-name" * 4) / "und ein schöner"
    deep.mkdir(parents=True)
    (deep / ("x" * 150)).write_text("long")
    (place / os.fsdecode(b"not-utf8-\xff\xfe name ")).write_text("odd")
    (place / "program").write_text("#!/bin/sh\n")
    (place / "program").chmod(0o755)
    (place / "private").write_text("secret")
    (place / "private").chmod(0o600)
    (place / "shared").write_text("shared")
    (place / "shared").chmod(0o664)
    os.link(place / "program", deep / "same-program")
    (place / "link").symlink_to("program")
    (place / "far").symlink_to("long/" * 40 + "target")
    for number, path in enumerate(sorted(place.rglob("*"))):
        os.utime(path, ns=(10**18 + number, 1_700_000_000_123_456_789 + number), follow_symlinks=False)
    os.utime(place, ns=(1, 1_600_000_000_000_000_001))
    return place


def test_what_is_packed_comes_back_with_modes_times_and_links(tree: Path, tmp_path: Path) -> None:
    pack(tmp_path / "a", tree)
    files = unpack(tmp_path / "a", tmp_path / "out")
    assert files == {"files/a": b"A"}
    assert listing(tmp_path / "out") == listing(tree)
    twins = list((tmp_path / "out").rglob("*program"))
    assert len(twins) == 2
    assert twins[0].stat().st_ino == twins[1].stat().st_ino


def test_what_is_left_out_stays_out(tree: Path, tmp_path: Path) -> None:
    pack(tmp_path / "a", tree, without=frozenset({"big", "empty"}))
    unpack(tmp_path / "a", tmp_path / "out")
    assert listing(tree).keys() - listing(tmp_path / "out").keys() == {"big", "empty"}


@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs zstd")
def test_tar_reads_it_too(tree: Path, tmp_path: Path) -> None:
    pack(tmp_path / "a", tree)
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "--zstd", "-xf", tmp_path / "a", "-C", tmp_path / "out"], check=True)
    found, wanted = listing(tmp_path / "out" / "tree"), listing(tree)
    assert {name: each for name, each in found.items() if not stat.S_ISDIR(each[0])} == {
        name: each for name, each in wanted.items() if not stat.S_ISDIR(each[0])
    }
    assert found.keys() == wanted.keys()


def test_a_file_that_is_not_wanted_is_read_and_not_written(tree: Path, tmp_path: Path) -> None:
    pack(tmp_path / "a", tree)
    before = set(tmp_path.rglob("*"))
    assert unpack(tmp_path / "a", None) == {"files/a": b"A"}
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kept", [0, 1, 20, 0.1, 0.5, 0.9, -1, -20, -300])
def test_a_file_that_is_cut_off_is_refused(tree: Path, tmp_path: Path, kept: float) -> None:
    pack(tmp_path / "a", tree)
    content = (tmp_path / "a").read_bytes()
    size = int(len(content) * kept) if isinstance(kept, float) else kept
    (tmp_path / "a").write_bytes(content[:size])
    with pytest.raises(SnapshotError, match="is damaged: "):
        unpack(tmp_path / "a", tmp_path / "out")


def test_a_byte_that_flipped_is_found_wherever_it_is(tree: Path, tmp_path: Path) -> None:
    (tree / "big").write_bytes(b"short")
    pack(tmp_path / "a", tree)
    content = (tmp_path / "a").read_bytes()
    places = {*range(0, len(content), max(len(content) // 150, 1)), *range(len(content) - 60, len(content))}
    for place in sorted(places):
        changed = bytearray(content)
        changed[place] ^= 0x10
        (tmp_path / "b").write_bytes(changed)
        with pytest.raises(SnapshotError):
            unpack(tmp_path / "b", None)
        with pytest.raises(SnapshotError):
            unpack(tmp_path / "b", tmp_path / "out", is_rehearsal=True)


def test_bytes_between_the_archive_and_its_description_are_found(tree: Path, tmp_path: Path) -> None:
    footer = pack(tmp_path / "a", tree)
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(content[: footer.size] + b"more" + content[footer.size :])
    with pytest.raises(SnapshotError, match="length"):
        unpack(tmp_path / "a", None)


# --- members that leave their place


def forge(path: Path, *members: tarfile.TarInfo, manifest: object = MANIFEST) -> None:
    """Write a snapshot file with a right checksum and any members, by other means than the product's."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info in (member("manifest.json", size=len(json.dumps(manifest))), *members):
            content = json.dumps(manifest).encode() if info.name == "manifest.json" else bytes(info.size)
            tar.addfile(info, io.BytesIO(content))
    body = zstandard.compress(raw.getvalue())
    described = {"manifest": manifest, "sha256": hashlib.sha256(body).hexdigest(), "size": len(body)}
    path.write_bytes(body + footer_bytes(json.dumps(described).encode(), None))


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, size, 0o755
    return info


TOP = member("tree", tarfile.DIRTYPE)
LEAVING = {
    "up": [TOP, member("tree/../../x")],
    "up at once": [TOP, member("../x")],
    "absolute": [TOP, member("/tmp/colab-env-test-x")],
    "another tree": [TOP, member("other", tarfile.DIRTYPE)],
    "no tree": [member("tree/x")],
    "a dot": [TOP, member("tree/./x")],
    "through a link": [TOP, member("tree/d", tarfile.SYMTYPE, "/tmp"), member("tree/d/x")],
    "a directory over a link": [TOP, member("tree/d", tarfile.SYMTYPE, "/tmp"), member("tree/d", tarfile.DIRTYPE)],
    "a file over a link": [TOP, member("tree/d", tarfile.SYMTYPE, "/tmp/x"), member("tree/d", size=3)],
    "through a file": [TOP, member("tree/f"), member("tree/f/x")],
    "the tree is a link": [member("tree", tarfile.SYMTYPE, "/tmp")],
    "the tree twice": [TOP, TOP],
    "a name twice": [TOP, member("tree/x"), member("tree/x")],
    "a hard link out": [TOP, member("tree/h", tarfile.LNKTYPE, "/etc/passwd")],
    "a hard link up": [TOP, member("tree/h", tarfile.LNKTYPE, "tree/../manifest")],
    "a hard link to a link": [TOP, member("tree/l", tarfile.SYMTYPE, "/etc/passwd"), member("tree/h", tarfile.LNKTYPE, "tree/l")],
    "a hard link to a directory": [TOP, member("tree/d", tarfile.DIRTYPE), member("tree/h", tarfile.LNKTYPE, "tree/d")],
    "a hard link to nothing": [TOP, member("tree/h", tarfile.LNKTYPE, "tree/nothing")],
    "a device": [TOP, member("tree/null", tarfile.CHRTYPE)],
    "a pipe": [TOP, member("tree/pipe", tarfile.FIFOTYPE)],
    "a null": [TOP, member("tree/a\0b")],
}  # fmt: skip


@pytest.mark.parametrize("case", LEAVING)
def test_a_member_that_leaves_its_place_is_refused_by_its_name(case: str, tmp_path: Path) -> None:
    if case == "a null":
        info = LEAVING[case][1]
        info.name, info.pax_headers = "x", {"path": info.name}
    forge(tmp_path / "a", *LEAVING[case])
    outside = set(tmp_path.rglob("*")) | set(Path("/tmp").glob("*"))
    with pytest.raises(SnapshotError) as caught:
        unpack(tmp_path / "a", tmp_path / "below" / "out")
    assert LEAVING[case][-1].name.rstrip("/").split("/")[0] in caught.value.message or case == "a null"
    appeared = (set(tmp_path.rglob("*")) | set(Path("/tmp").glob("x"))) - outside
    assert all(tmp_path / "below" in (path, *path.parents) for path in appeared)


def test_a_forged_file_that_stays_in_its_place_is_unpacked(tmp_path: Path) -> None:
    forge(tmp_path / "a", TOP, member("tree/d", tarfile.DIRTYPE), member("tree/d/x", size=700))
    unpack(tmp_path / "a", tmp_path / "out")
    assert (tmp_path / "out/d/x").read_bytes() == bytes(700)


def test_set_user_id_does_not_come_back(tmp_path: Path) -> None:
    info = member("tree/x")
    info.mode = 0o6755
    forge(tmp_path / "a", TOP, info)
    unpack(tmp_path / "a", tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out/x").stat().st_mode) == 0o755


# --- while it works


def test_a_file_that_shrinks_while_it_is_saved_is_an_error(tree: Path, tmp_path: Path, monkeypatch) -> None:
    def shrink(member: object) -> bytes:
        if member.name.endswith("big"):
            os.truncate(tree / "big", 5)
        return header(member)

    header = _archive.header
    monkeypatch.setattr(_archive, "header", shrink)
    with pytest.raises(SnapshotError, match="became shorter"):
        pack(tmp_path / "a", tree)


def test_the_stop_button_leaves_no_thread_behind(tree: Path, tmp_path: Path) -> None:
    def stop(*_link: str) -> None:
        raise KeyboardInterrupt

    (tree / "zz").write_bytes(os.urandom(20_000_000))
    pack(tmp_path / "a", tree)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        unpack(tmp_path / "a", tmp_path / "out", check=stop)
    assert threading.active_count() == before


def test_memory_does_not_grow_with_the_size(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with (tmp_path / "tree" / "large").open("wb") as large:
        for _ in range(24):
            large.write(os.urandom(1 << 20) + bytes(7 << 20))  # far more than the memory allowed
    code = (
        "import re, sys; from pathlib import Path; from colab_env.snapshot import _archive, _unpack, manifest\n"
        "place, file, out = map(Path, sys.argv[1:])\n"
        "with file.open('wb') as to:\n"
        "    trees = [_archive.Tree(name='tree', directory=place)]\n"
        "    _archive.write(to, _archive.Contents(manifest={}, files={}, trees=trees, check=print), sign=None)\n"
        "with file.open('rb') as of:\n"
        "    _unpack.unpack(of, manifest.read_footer(of), targets={'tree': out}, check=print)\n"
        # Not ru_maxrss: it counts what the process that started this one had.
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1])\n"
    )
    words = [sys.executable, "-c", code, tmp_path / "tree", tmp_path / "a", tmp_path / "out"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    peak = int(done.stdout)  # kilobytes
    assert peak < 120_000
