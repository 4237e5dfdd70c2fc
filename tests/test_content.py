"""What was installed is proven, file by file: after every build, by `verify`, and before a changed lock file is believed."""

from __future__ import annotations

import contextvars
import errno
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from index_server import IndexServer
from small_wheels import write_archive, write_wheel
from test_installers import fill

import colab_env
from colab_env import _process, cli, content, diagnose, index, poetry, proving, setting_up, steps, uv
from colab_env.errors import CommandError, DamagedError, DiskFullError, HashMismatchError, MissingStepError
from colab_env.machine import Machine

# --- the files themselves, without any tool


def site(root: Path, *wheels: Path) -> Path:
    """Unpack wheels as an installer does, without one."""
    directory = root / "lib/python3.11/site-packages"
    for wheel in wheels:
        shutil.unpack_archive(wheel, directory, "zip")
    return directory


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two packages, a script and a link, written down."""
    root = tmp_path / "env"
    wheels = [write_wheel(tmp_path, "first", "1.0"), write_wheel(tmp_path, "second", "2.0")]
    site(root, *wheels)
    (root / "bin").mkdir()
    (root / "bin/activate").write_text("# a script of nobody's\n")
    (root / "bin/python").symlink_to("/usr/bin/python3")
    content.write(root, content.Survey(root).content({"first": ["sha256:1"]}))
    return root


def wrong(root: Path) -> list[str]:
    known = content.read(root)
    assert known is not None
    return [str(each) for each in content.Survey(root).differences(known)]


def test_what_is_as_installed_has_no_differences(tree):
    assert wrong(tree) == []
    assert content.Survey(tree).broken() == {}


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("lib/python3.11/site-packages/first.py", "first 1.0"),
        ("lib/python3.11/site-packages/first-1.0.dist-info/METADATA", "first 1.0"),
        ("lib/python3.11/site-packages/first-1.0.dist-info/RECORD", "first 1.0"),
        ("bin/activate", None),
    ],
)
@pytest.mark.parametrize("how", ["appended", "emptied", "gone", "a directory", "a link"])
def test_a_changed_file_is_named(tree, path, named, how):
    file = tree / path
    before = file.read_bytes()
    file.unlink()
    if how == "appended":
        file.write_bytes(before + b"\n")
    elif how == "emptied":
        file.touch()
    elif how == "a directory":
        file.mkdir()
    elif how == "a link":
        (tree / "elsewhere").write_bytes(before)
        file.symlink_to(tree / "elsewhere")
    found = [each for each in wrong(tree) if each.startswith(path)]
    assert len(found) == 1
    assert (named or path) in found[0]


def test_a_link_that_leads_elsewhere_is_a_difference(tree):
    (tree / "bin/python").unlink()
    (tree / "bin/python").symlink_to("/usr/bin/true")
    assert wrong(tree) == ["bin/python has changed"]


def test_what_was_added_is_no_damage_but_is_named(tree, tmp_path):
    site(tree, write_wheel(tmp_path, "third", "3.0"))
    (tree / "notes.txt").write_text("mine")
    assert wrong(tree) == []
    known = content.read(tree)
    assert content.Survey(tree).added(known) == ["third 3.0", "notes.txt"]


def test_two_packages_may_share_a_file_of_different_content(tmp_path):
    for name, text in (("one", "1"), ("two", "2")):
        files = {"tests/__init__.py": text, f"{name}-1.0.dist-info/METADATA": f"Name: {name}\nVersion: 1.0\n"}
        site(tmp_path / "env", write_archive(tmp_path / f"{name}.whl", files, f"{name}-1.0.dist-info"))
    assert content.Survey(tmp_path / "env").broken() == {}


def test_a_vendored_record_is_not_a_distribution(tmp_path):
    files = {
        "outer/_vendor/inner-1.0.dist-info/RECORD": "inner.py,sha256=wrong,1\n",
        "outer/_vendor/inner.py": "changed",
        "outer-1.0.dist-info/METADATA": "Name: outer\nVersion: 1.0\n",
    }
    site(tmp_path / "env", write_archive(tmp_path / "outer.whl", files, "outer-1.0.dist-info"))
    survey = content.Survey(tmp_path / "env")
    assert survey.broken() == {}
    assert [content.name_of(info) for info in survey.records] == ["outer"]


def test_a_record_that_lost_its_end_does_not_vouch_for_what_it_no_longer_names(tree):
    record = tree / "lib/python3.11/site-packages/first-1.0.dist-info/RECORD"
    record.write_text("".join(line for line in record.read_text().splitlines(keepends=True) if "METADATA" not in line))
    assert list(content.Survey(tree).broken()) == ["first"]


@pytest.mark.parametrize(
    "text", [b"\xff\xfe", b'"never closed', b"../../../../etc/passwd,sha256=x,1\n", b"a,b,c,d\n,,\n", b"x,md5=1,1\n"]
)
def test_an_odd_record_is_damage_and_no_traceback(tree, text):
    (tree / "lib/python3.11/site-packages/first-1.0.dist-info/RECORD").write_bytes(text)
    assert any("RECORD has changed" in each for each in wrong(tree))
    assert "first" in content.Survey(tree).broken()


@pytest.mark.parametrize("is_alone", [True, False])
@pytest.mark.parametrize("damage", ["gone", "a directory"])
def test_a_package_without_a_record_is_damage(tree, is_alone, damage):
    record = tree / "lib/python3.11/site-packages/first-1.0.dist-info/RECORD"
    record.unlink()
    if damage == "a directory":
        record.mkdir()
    if is_alone:
        shutil.rmtree(record.parent.with_name("second-2.0.dist-info"))
    (found,) = content.Survey(tree).broken()["first"]
    assert str(found) == "lib/python3.11/site-packages/first-1.0.dist-info/RECORD is missing (first 1.0)"


def test_a_record_that_lost_its_own_line_is_damage_where_no_installer_came_to_its_end(tree):
    record = tree / "lib/python3.11/site-packages/first-1.0.dist-info/RECORD"
    record.write_text("".join(line for line in record.read_text().splitlines(keepends=True) if "RECORD" not in line))
    (found,) = content.Survey(tree).broken()["first"]
    assert str(found).endswith("first-1.0.dist-info/RECORD is not whole (first 1.0)")


def test_a_vendored_package_needs_no_record(tmp_path):
    files = {
        "outer/_vendor/inner-1.0.dist-info/METADATA": "Name: inner\nVersion: 1.0\n",
        "other-1.0.dist-info/METADATA": "Name: other\nVersion: 1.0\n",
        "outer-1.0.dist-info/METADATA": "Name: outer\nVersion: 1.0\n",
    }
    site(tmp_path / "env", write_archive(tmp_path / "outer.whl", files, "outer-1.0.dist-info"))
    assert content.Survey(tmp_path / "env").broken() == {}


def test_other_hashes_than_sha256_count(tmp_path):
    root = tmp_path / "env"
    directory = site(root, write_wheel(tmp_path, "first", "1.0"))
    record = directory / "first-1.0.dist-info/RECORD"
    digest = content._written("sha512", hashlib.sha512((directory / "first.py").read_bytes()).digest())
    lines = record.read_text().splitlines()
    record.write_text("\n".join(f"first.py,{digest},1" if line.startswith("first.py") else line for line in lines))
    assert content.Survey(root).broken() == {}
    (directory / "first.py").write_text("changed")
    assert list(content.Survey(root).broken()) == ["first"]


def test_a_record_may_have_absolute_paths(tmp_path):
    """As Poetry writes that of a project itself; the environment may have moved since."""
    root = tmp_path / "env"
    directory = site(root, write_wheel(tmp_path, "first", "1.0"))
    info = "lib/python3.11/site-packages/first-1.0.dist-info"
    (root / "bin").mkdir()
    (root / "bin/first").write_text("a script\n")
    record = directory / "first-1.0.dist-info/RECORD"
    script = f"../../../bin/first,{content.digest_of((root / 'bin/first').read_bytes())},9"
    lines = [script, *record.read_text().splitlines()]
    record.write_text("".join(f"{os.path.normpath(directory / line)}\n" for line in lines))
    for place in (root, tmp_path / "moved"):
        root = root.rename(place)
        survey = content.Survey(place)
        assert survey.broken() == {}
        assert survey.records[info].keys() >= {"bin/first", f"{info}/METADATA"}
        assert "bin/first" in content.promised(place, info)
    (place / "lib/python3.11/site-packages/first.py").write_text("changed")
    assert list(content.Survey(place).broken()) == ["first"]


def test_a_later_look_reads_only_what_has_changed(tree, monkeypatch):
    survey = content.Survey(tree)
    (tree / "bin/activate").write_text("# changed, and longer than it was\n")
    read: list[str] = []
    whole = content.digest
    monkeypatch.setattr(content, "digest", lambda path: read.append(str(path)) or whole(path))
    again = content.Survey(tree, earlier=survey)
    assert read == [str(tree / "bin/activate")]
    assert again.digests == content.Survey(tree).digests


def test_a_package_that_became_a_link_is_damage(tmp_path):
    files = {"pkg/__init__.py": "x = 1\n", "pkg-1.0.dist-info/METADATA": "Name: pkg\nVersion: 1.0\n"}
    directory = site(tmp_path / "env", write_archive(tmp_path / "pkg.whl", files, "pkg-1.0.dist-info"))
    content.write(tmp_path / "env", content.Survey(tmp_path / "env").content({}))
    shutil.rmtree(directory / "pkg")
    (directory / "pkg").symlink_to("/nonexistent")
    assert wrong(tmp_path / "env") == ["lib/python3.11/site-packages/pkg/__init__.py is missing (pkg 1.0)"]
    assert list(content.Survey(tmp_path / "env").broken()) == ["pkg"]


def test_a_program_that_cannot_be_executed_any_more_is_damage(tree):
    program = tree / "bin/tool"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    content.write(tree, content.Survey(tree).content({}))
    assert wrong(tree) == []
    program.chmod(0o644)
    assert wrong(tree) == ["bin/tool can no longer be executed"]


def test_a_file_that_a_record_names_and_no_wheel_holds_is_written_down(tree):
    record = tree / "lib/python3.11/site-packages/first-1.0.dist-info/RECORD"
    record.write_text(f"{record.read_text()}gone.py,sha256=x,1\n")
    assert list(content.Survey(tree).broken()) == ["first"]
    known = content.Survey(tree).content({})
    content.write(tree, known)
    assert wrong(tree) == []
    assert content.Survey(tree).broken(known) == {}
    (record.parent.parent / "gone.py").write_text("x")
    assert wrong(tree) == ["lib/python3.11/site-packages/gone.py has changed (first 1.0)"]


def test_a_compiled_file_of_a_wheel_may_be_written_anew(tmp_path):
    files = {
        "m.py": "x = 1\n",
        "__pycache__/m.cpython-311.pyc": "old",
        "m-1.dist-info/METADATA": "Name: m\nVersion: 1\n",
    }
    directory = site(tmp_path / "env", write_archive(tmp_path / "m.whl", files, "m-1.dist-info"))
    known = content.Survey(tmp_path / "env").content({})
    content.write(tmp_path / "env", known)
    (directory / "__pycache__/m.cpython-311.pyc").write_text("new")
    assert wrong(tmp_path / "env") == []
    assert len(content.Survey(tmp_path / "env").compiled(known)) == 1


@pytest.mark.parametrize("name", ["RECORD.jws", "RECORD.p7s"])
def test_a_signature_is_named_by_no_record(tree, name):
    (tree / f"lib/python3.11/site-packages/first-1.0.dist-info/{name}").write_text("signed")
    assert content.Survey(tree).broken() == {}


def test_loose_files_that_were_added_are_named(tree):
    (tree / "lib/python3.11/site-packages/sitecustomize.py").write_text("")
    (tree / "lib/python3.11/site-packages/first").mkdir()
    (tree / "lib/python3.11/site-packages/first/__init__.py").write_text("")
    known = content.read(tree)
    names = ["lib/python3.11/site-packages/first/__init__.py", "lib/python3.11/site-packages/sitecustomize.py"]
    assert content.Survey(tree).added(known) == names


def test_a_content_file_without_its_checksum_is_damaged(tree):
    values = {"schema": "content", "version": 1, "proven": 1, "distributions": {}, "others": {}}
    (tree / content.FILE).write_text(json.dumps(values))
    assert content.read(tree) is None
    assert "damaged" in content.fault(tree)


def test_a_directory_that_cannot_be_read_counts_as_missing(tree, monkeypatch):
    whole = os.scandir

    def scandir(path):
        if str(path).endswith("first-1.0.dist-info"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return whole(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert any("first-1.0.dist-info/RECORD is missing" in each for each in wrong(tree))


# --- compiled files


@pytest.fixture
def compiled(tree, pythons):
    """A compiled file of each of the machine's Pythons, with the path of that Python."""
    python = pythons[0].path
    source = tree / "lib/python3.11/site-packages/first.py"
    source.write_text("def greet(name='x'):\n    return {'hello', name} | {1.5, (2, 'three')}\nclass A:\n    y = 0.0\n")
    subprocess.run([python, "-m", "compileall", "-q", source], check=True)
    (path,) = source.parent.glob("__pycache__/*.pyc")
    return python, tree, path


def judged(compiled, *, known: bool = True) -> list[str]:
    """Return what is wrong with the one compiled file, which was written down with other bytes, or not at all."""
    python, tree, path = compiled
    name = str(path.relative_to(tree))
    written = content.Content(proven=0, distributions={}, others={name: "sha256=other"} if known else {})
    survey = content.Survey(tree)
    found = proving.wrong_bytecode(survey, written, python=python, environ=os.environ)
    return [str(each) for each in found if each.path == name]


def test_compiled_files_that_python_wrote_are_right(compiled):
    assert judged(compiled) == []


@pytest.mark.parametrize("change", ["flags", "truncated", "appended", "empty", "body", "of another source"])
def test_a_compiled_file_that_is_not_of_its_source_is_found(compiled, change):
    path = compiled[2]
    data = bytearray(path.read_bytes())
    if change == "flags":
        data[4] ^= 1
    elif change == "truncated":
        data = data[:-20]
    elif change == "appended":
        data += b"\0"
    elif change == "empty":
        data.clear()
    elif change == "body":
        data[data.index(b"three")] ^= 2
    else:
        path.with_name(path.name.replace("first", "third")).write_bytes(data)
        (path.parent.parent / "third.py").write_text("x = 1\n")
        python, tree, _ = compiled
        compiled = (python, tree, path.with_name(path.name.replace("first", "third")))
        assert len(judged(compiled)) == 1
        return
    path.write_bytes(data)
    assert len(judged(compiled)) == 1


def test_what_no_attribute_of_code_shows_is_found(compiled):
    """Of each variable, how it is kept."""
    path = compiled[2]
    data = bytearray(path.read_bytes())
    kinds = re.search(rb"[s\xf3]\x01\0\0\0\x20", data)  # of the one in `greet`
    if kinds is None:
        pytest.skip("this Python writes its variables otherwise")
    data[kinds.end() - 1] |= 1
    path.write_bytes(data)
    assert len(judged(compiled)) == 1


@pytest.mark.parametrize("field", ["co_stacksize", "co_varnames", "co_qualname", "co_filename"])
def test_what_a_comparison_of_code_leaves_out_is_found(compiled, field):
    python, _, path = compiled
    code = (
        "import marshal, sys\nfrom pathlib import Path\npath, field = Path(sys.argv[1]), sys.argv[2]\n"
        "data = path.read_bytes()\ncode = marshal.loads(data[16:])\n"
        "inner = next(each for each in code.co_consts if hasattr(each, 'co_code') and each.co_name == 'greet')\n"
        "old = getattr(inner, field, None)\n"
        "if old is None: sys.exit(3)\n"
        "new = old + 1 if isinstance(old, int) else ('other',) if isinstance(old, tuple) else 'other'\n"
        "consts = tuple(inner.replace(**{field: new}) if each is inner else each for each in code.co_consts)\n"
        "path.write_bytes(data[:16] + marshal.dumps(code.replace(co_consts=consts)))\n"
    )
    if subprocess.run([python, "-c", code, path, field], check=False).returncode == 3:
        pytest.skip("this Python's code has no such field")
    assert len(judged(compiled)) == 1


def test_every_damage_to_compiled_files_is_survived(compiled):
    python, tree, path = compiled
    whole, chosen = path.read_bytes(), random.Random(1)
    paths = []
    for number in range(60):
        data = bytearray(whole)
        for _ in range(8):
            data[chosen.randrange(16, len(data))] = chosen.randrange(256)
        source = tree / f"lib/python3.11/site-packages/m{number}.py"
        shutil.copy2(tree / "lib/python3.11/site-packages/first.py", source)
        paths.append(path.with_name(path.name.replace("first", f"m{number}")))
        paths[-1].write_bytes(data)
    names = {str(each.relative_to(tree)) for each in paths}
    known = content.Content(proven=0, distributions={}, others=dict.fromkeys(names, "sha256=other"))
    found = proving.wrong_bytecode(content.Survey(tree), known, python=python, environ=os.environ)
    assert {each.path for each in found} == names


def test_what_python_passes_over_is_no_damage_unless_it_was_written_down(compiled):
    _, tree, _ = compiled
    source = tree / "lib/python3.11/site-packages/first.py"
    os.utime(source, (1, 1))
    assert judged(compiled, known=False) == []
    assert len(judged(compiled)) == 1
    source.unlink()
    assert judged(compiled, known=False) == []


def test_what_somebody_compiled_from_another_directory_is_no_damage(compiled):
    python, tree, path = compiled
    path.unlink()
    subprocess.run([python, "-m", "py_compile", "first.py"], check=True, cwd=tree / "lib/python3.11/site-packages")
    assert judged(compiled, known=False) == []
    data = bytearray(path.read_bytes())
    data[data.index(b"three")] ^= 2
    path.write_bytes(data)
    assert len(judged(compiled, known=False)) == 1


# --- the steps


@pytest.fixture
def wheels(machine, tmp_path, monkeypatch):
    """A directory of wheels that is the only index, and a cache of uv's own."""
    directory = tmp_path / "wheels"
    write_wheel(directory, "first", "1.0", code="def main():\n    print('first')\n", programs=["first"])
    write_wheel(directory, "second", "2.0")
    write_wheel(directory, "pip", "1.0")  # every environment gets one
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    with IndexServer(directory) as server:
        monkeypatch.setenv("UV_DEFAULT_INDEX", server.url)
        monkeypatch.setenv("PIP_INDEX_URL", server.url)
        yield directory


def sha256(wheel: Path) -> str:
    return f"sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"


def lock(project: Path, wheels: Path, *names: str) -> Path:
    """Lock these wheels by their hashes."""
    found = [next(wheels.glob(f"{name}-*.whl")) for name in names]
    lines = [f"{each.name.split('-')[0]}=={each.name.split('-')[1]} --hash={sha256(each)}\n" for each in found]
    path = project / "requirements.txt"
    path.write_text("".join(lines))
    return path


def module(project: Path, name: str) -> Path:
    return next((project / ".venv").glob(f"lib/python3*/site-packages/{name}.py"))


@pytest.fixture
def two(wheels, project):
    """A project with both packages in its environment."""
    lock(project, wheels, "first", "second")
    fill(project)
    return project


def test_a_build_writes_down_hash_and_record_of_each_distribution(two, wheels):
    known = content.read(two / ".venv")
    found = {content.name_of(info): each for info, each in known.distributions.items()}
    assert found["first"].hashes == (sha256(wheels / "first-1.0-py3-none-any.whl"),)
    assert found["first"].source is None
    assert found["second"].record.startswith("sha256=")
    assert wrong(two / ".venv") == []


def test_a_token_in_a_source_is_not_written_down(tmp_path):
    info = tmp_path / "lib/python3.12/site-packages/x-1.dist-info"
    info.mkdir(parents=True)
    (info / "RECORD").write_text("x-1.dist-info/RECORD,,\n")
    address = "https://me:word@files.example/t0k3n-in-the-path/x-1-py3-none-any.whl?sig=s1gn4ture#sha256=0"
    (info / "direct_url.json").write_text(json.dumps({"url": address, "archive_info": {}}))
    (installed,) = content.Survey(tmp_path).content({}).distributions.values()
    assert installed.source == "https://***@files.example/***/x-1-py3-none-any.whl"


def test_a_file_changed_in_one_environment_is_not_changed_in_the_next(two, wheels, tmp_path):
    with module(two, "first").open("a") as file:
        file.write("\nraise SystemExit('infected')\n")
    other = tmp_path / "other"
    other.mkdir()
    lock(other, wheels, "first")
    fill(other)
    assert "infected" not in module(other, "first").read_text()


@pytest.mark.parametrize("damage", ["gone", "a directory", "without its end"])
def test_a_package_that_uv_has_installed_by_half_is_installed_anew(two, wheels, tmp_path, damage):
    """uv fails where it has unpacked no RECORD, and passes what it left of the package by when it is started again."""
    (cached,) = (tmp_path / "uv-cache").glob("archive-v*/*/first-1.0.dist-info/RECORD")
    text = cached.read_text()
    cached.unlink()
    if damage == "a directory":
        cached.mkdir()
    elif damage == "without its end":
        cached.write_text(text.rpartition(",,")[0])
    other = tmp_path / "other"
    other.mkdir()
    lock(other, wheels, "first", "second")
    fill(other)
    assert content.Survey(other / ".venv").metadata.keys() == content.Survey(two / ".venv").metadata.keys()
    assert (module(other, "first").with_name("first-1.0.dist-info") / "INSTALLER").is_file()
    assert os.access(other / ".venv/bin/first", os.X_OK)
    assert wrong(other / ".venv") == []


@pytest.mark.parametrize("into_a_directory", [False, True])
def test_what_uv_has_left_of_a_package_when_it_failed_is_not_taken_for_all_of_it(
    two, tmp_path, monkeypatch, into_a_directory
):
    (cached,) = (tmp_path / "uv-cache").glob("archive-v*/*/first-1.0.dist-info/RECORD")
    cached.write_text(cached.read_text() + '"half a line')
    ends: list[int] = []
    run = _process.run

    def counted(argv, **options):
        try:
            run(argv, **options)
        except CommandError as error:
            ends.append(error.returncode or 0)
            raise
        ends.append(0)

    monkeypatch.setattr(_process, "run", counted)
    target = tmp_path / "target"
    where = {"target": target} if into_a_directory else {}
    python = two / ".venv/bin/python"
    machine = Machine.detect()
    if not into_a_directory:
        uv.installer(machine, index.settings(machine)).install(["--reinstall", "second"], python=python)
        shutil.rmtree(module(two, "first").parent / "first-1.0.dist-info")
        module(two, "first").unlink()
        target = two / ".venv"
    ends.clear()
    uv.installer(machine, index.settings(machine)).install(["first", "second"], python=python, **where)
    assert [code != 0 for code in ends] == [True, False, False]  # it fails, its cache is cleaned, it succeeds
    assert content.Survey(target).broken() == {}
    assert next(target.rglob("first.py")).is_file()


@pytest.mark.parametrize("damage", ["truncated", "gone", "appended", "a directory"])
def test_what_uv_has_unpacked_and_damaged_is_fetched_anew(two, wheels, tmp_path, damage):
    (cached,) = (tmp_path / "uv-cache").glob("archive-v*/*/first.py")
    whole = cached.read_bytes()
    if damage in ("gone", "a directory"):
        cached.unlink()
        if damage == "a directory":
            cached.mkdir()
    else:
        cached.write_bytes(whole[:5] if damage == "truncated" else whole + b"\nx = 1\n")
    other = tmp_path / "other"
    other.mkdir()
    lock(other, wheels, "first", "second")
    result = fill(other)
    assert module(other, "first").read_bytes() == whole
    assert not any("RECORD" in note for note in result.notes)
    assert wrong(other / ".venv") == []


def test_metadata_that_uv_cannot_install_from_its_cache_is_fetched_anew(two, wheels, tmp_path):
    (cached,) = (tmp_path / "uv-cache").glob("archive-v*/*/first-1.0.dist-info/WHEEL")
    cached.write_text("")
    other = tmp_path / "other"
    other.mkdir()
    lock(other, wheels, "first")
    fill(other)
    assert module(other, "first").is_file()


@pytest.mark.parametrize("kept", ["simple-v*/**/first.rkyv", "wheels-v*/**/*.http", "wheels-v*/**/*.msgpack"])
def test_a_directory_in_the_place_of_a_file_of_uvs_cache_is_taken_away(two, wheels, tmp_path, kept):
    """uv writes anew whatever else is wrong there; its own words of this one name a download that failed."""
    (cached,) = (
        path for path in (tmp_path / "uv-cache").glob(kept) if "first" in path.parts[-2:] or "first" in path.name
    )
    cached.unlink()
    (cached / "inside").mkdir(parents=True)
    other = tmp_path / "other"
    other.mkdir()
    lock(other, wheels, "first", "second")
    fill(other)
    assert cached.is_file()
    assert wrong(other / ".venv") == []


def test_a_wheel_that_was_published_with_a_wrong_record_is_installed_with_a_note(wheels, project):
    files = {"odd.py": "x = 1\n", "odd-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n"}
    files["odd-1.0.dist-info/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    wheel = write_archive(wheels / "odd-1.0-py3-none-any.whl", {**files, "odd.py": "x = 2\n"}, "odd-1.0.dist-info")
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        texts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in texts.items():
            archive.writestr(name, b"x = 1\n" if name == "odd.py" else text)
    lock(project, wheels, "odd")
    result = fill(project)
    assert any("1 file of odd cannot be as its RECORD says" in note for note in result.notes)
    assert wrong(project / ".venv") == []
    module(project, "odd").write_text("x = 3\n")
    assert wrong(project / ".venv") == [
        f"{module(project, 'odd').relative_to(project / '.venv')} has changed (odd 1.0)"
    ]


def test_other_content_of_the_same_version_gives_way_to_the_hash(wheels, project, tmp_path):
    other = write_wheel(tmp_path / "elsewhere", "first", "1.0", code="other = True\n")
    (project / "requirements.txt").write_text(f"first @ {other.as_uri()}\n")
    fill(project)
    assert "other" in module(project, "first").read_text()
    lock(project, wheels, "first")
    fill(project)
    assert "other" not in module(project, "first").read_text()


def test_what_somebody_installed_over_it_gives_way_when_the_lock_changes(two, wheels, tmp_path, machine):
    other = write_wheel(tmp_path / "elsewhere", "first", "1.0", code="other = True\n")
    subprocess.run(
        [
            uv.ensure(Machine.detect()),
            "pip",
            "install",
            "-q",
            "--python",
            two / ".venv/bin/python",
            "--reinstall",
            other,
        ],
        check=True,
    )
    assert "other" in module(two, "first").read_text()
    write_wheel(wheels, "third", "3.0")
    lock(two, wheels, "first", "second", "third")
    fill(two)
    assert "other" not in module(two, "first").read_text()
    assert module(two, "third").is_file()


def test_a_new_hash_for_the_same_version_is_installed(two, wheels):
    write_wheel(wheels, "first", "1.0", code="newer = True\n")
    shutil.rmtree(os.environ["UV_CACHE_DIR"])
    lock(two, wheels, "first", "second")
    fill(two)
    assert "newer" in module(two, "first").read_text()


def test_an_update_leaves_what_has_not_changed(two, wheels):
    before = module(two, "second").stat().st_ino
    write_wheel(wheels, "third", "3.0")
    lock(two, wheels, "first", "second", "third")
    fill(two)
    assert module(two, "second").stat().st_ino == before
    assert wrong(two / ".venv") == []


@pytest.mark.parametrize("path", ["first.py", "activate"])
def test_a_changed_lock_file_does_not_make_damage_right(two, wheels, path):
    damaged = two / ".venv/bin/activate" if path == "activate" else module(two, "first")
    whole = damaged.read_bytes()
    damaged.write_text("")
    write_wheel(wheels, "third", "3.0")
    lock(two, wheels, "first", "second", "third")
    result = fill(two)
    assert damaged.read_bytes() == whole
    assert not any("machine" in note for note in result.notes)


def test_the_package_of_an_index_takes_the_place_of_a_file_of_the_same_version(wheels, project, tmp_path):
    other = write_wheel(tmp_path / "elsewhere", "first", "1.0", code="other = True\n")
    (project / "requirements.txt").write_text(f"first @ {other.as_uri()}\n")
    fill(project)
    (project / "requirements.txt").write_text("first==1.0\n")
    fill(project)
    assert "other" not in module(project, "first").read_text()
    assert all(each.source is None for each in content.read(project / ".venv").distributions.values())


def test_what_this_machine_changes_whenever_python_starts_is_written_down_with_a_note(two, wheels, tmp_path):
    """The hook is a package's own here; a machine has it where the system's packages are."""
    hook = "import pathlib, second; p = pathlib.Path(second.__file__); t = p.read_text(); p.write_text(t.split('# h')[0] + '# h')"
    files = {"hook.pth": f"import sys; exec({hook!r})\n", "hook-1.0.dist-info/METADATA": "Name: hook\nVersion: 1.0\n"}
    files["hook-1.0.dist-info/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    write_archive(wheels / "hook-1.0-py3-none-any.whl", files, "hook-1.0.dist-info")
    lock(two, wheels, "first", "second", "hook")
    result = fill(two)
    assert any("this machine's own start-up of Python changes" in note and "second.py" in note for note in result.notes)
    part = next(each for each in colab_env.verify(two).parts if each.name == "Environment")
    assert part.damaged == ()
    (cached,) = (tmp_path / "uv-cache").glob("archive-v*/*/second.py")
    assert "# h" not in cached.read_text()


# --- verify


@pytest.mark.network
def test_verify_finds_what_has_changed_and_repairs_it(machine, project):
    (project / "requirements.txt").write_text("six==1.17.0\n")
    setting_up.setup(project=project)
    assert colab_env.verify(project).ok
    part = next(each for each in diagnose.status(project).parts if each.name == "Environment")
    assert part.proven is not None
    assert "proven" in repr(part)
    layer = next((Machine.detect().data / "layers").glob("*/site/ipykernel/kernelapp.py"))
    for path in (module(project, "six"), layer):
        text = path.read_text()
        path.unlink()  # the layer's files are other tests' too
        path.write_text(f"{text}\n# changed\n")
    found = colab_env.verify(project)
    assert not found.ok
    assert {part.name: len(part.damaged) for part in found.parts} == {"Poetry": 0, "Environment": 1, "Packages": 1}
    assert "six.py has changed (six 1.17.0)" in repr(found)
    repaired = colab_env.verify(project, repair=True)
    assert repaired.ok
    assert [part.name for part in repaired.parts if part.repaired] == ["Environment", "Packages"]
    assert "# changed" not in module(project, "six").read_text()
    assert colab_env.verify(project).ok
    assert not any(step.changed for step in setting_up.setup(project=project).steps)


def test_verify_names_what_was_added_by_hand(two, wheels):
    write_wheel(wheels, "third", "3.0")
    program = uv.ensure(Machine.detect())
    subprocess.run([program, "pip", "install", "-q", "--python", two / ".venv/bin/python", "third"], check=True)
    found = colab_env.verify(two).parts[-2]
    assert found.name == "Environment"
    assert found.damaged == ()
    assert found.added == ("third 3.0",)


def test_verify_without_a_set_up_says_what_to_do(machine, project):
    with pytest.raises(MissingStepError) as caught:
        colab_env.verify(project)
    assert "setup()" in caught.value.hint


@pytest.mark.parametrize("file", ["colab-env.json", "colab-env-content.json", "pyvenv.cfg"])
# `benchmarks/corruptions.py` damages a thousand.
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.machine) for seed in (1, 2))])
def test_one_changed_byte_in_a_file_of_ours_is_found_and_repaired(two, file, seed):
    path = two / ".venv" / file
    data = bytearray(path.read_bytes())
    data[random.Random(seed).randrange(len(data))] ^= 1
    path.write_bytes(data)
    try:
        part = next(each for each in colab_env.verify(two).parts if each.name == "Environment")
    except MissingStepError:
        assert fill(two).changed
    else:
        assert part.damaged or part.note
        part = next(each for each in colab_env.verify(two, repair=True).parts if each.name == "Environment")
        assert part.repaired
    part = next(each for each in colab_env.verify(two).parts if each.name == "Environment")
    assert part.damaged == ()


def test_an_environment_of_an_older_version_is_compared_with_what_packages_list(two):
    (two / ".venv" / content.FILE).unlink()
    assert not steps.configure_venv(two, system_site_packages=False).changed
    part = next(each for each in colab_env.verify(two).parts if each.name == "Environment")
    assert part.damaged == ()
    assert "older version" in part.note
    module(two, "first").write_text("")
    part = next(each for each in colab_env.verify(two).parts if each.name == "Environment")
    assert len(part.damaged) == 1
    part = next(each for each in colab_env.verify(two, repair=True).parts if each.name == "Environment")
    assert part.repaired
    assert part.note is None


@pytest.mark.network
def test_poetry_without_its_receipt_is_damaged_and_made_anew(machine, project):
    """The file beside it says whose it is; else it stood in everybody's way as a stranger's, and `verify` said nothing."""
    (project / "requirements.txt").write_text("six==1.17.0\n")
    setting_up.setup(project=project)
    home = poetry.home(Machine.detect())
    shared = home.resolve()
    home.unlink()  # a link to that of all tests
    shutil.copytree(shared, home, symlinks=True)
    receipt = home / "colab-env.json"
    before = receipt.read_bytes()
    receipt.unlink()
    assert [part.name for part in colab_env.verify(project).parts if part.damaged] == ["Poetry"]
    assert colab_env.verify(project, repair=True).ok
    assert receipt.read_bytes() == before
    receipt.unlink()
    assert steps.install_poetry().changed
    assert colab_env.verify(project).ok


def test_the_command_ends_with_a_code_of_its_own(two, capsys):
    assert cli.main(["verify", "--project", str(two), "--quiet"]) == 0
    module(two, "first").write_text("")
    assert cli.main(["verify", "--project", str(two), "--json"]) == DamagedError.exit_code
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_files_that_change_from_one_build_to_the_next_are_an_error(tmp_path):
    wheel = write_wheel(tmp_path, "first", "1.0")
    builds: list[int] = []

    class Torn:
        def forget(self, names):
            assert list(names) == ["first"]

        def find(self, info, path, digest):
            return None

    def build():
        builds.append(1)
        shutil.rmtree(tmp_path / "env", ignore_errors=True)
        (site(tmp_path / "env", wheel) / "first.py").write_text("x" * len(builds))

    with pytest.raises(HashMismatchError) as caught:
        proving.prove(tmp_path / "env", build, unpacked=Torn())
    assert "first is not what was published" in caught.value.message
    assert len(builds) == 2


def test_a_lock_file_that_has_changed_is_no_damage(two, wheels):
    lock(two, wheels, "first")
    part = next(each for each in colab_env.verify(two).parts if each.name == "Environment")
    assert part.damaged == ()
    assert "setup() has something to do" in part.note


def test_verify_waits_for_a_step_that_works_on_the_environment(two):
    from colab_env.step import changing, project_lock

    machine = Machine.detect()
    began, waited = time.monotonic(), threading.Event()

    def work():
        with changing("configure_venv", machine, project_lock(machine, two)):
            path = module(two, "first")
            path.rename(two / "aside")
            waited.set()
            time.sleep(1)
            (two / "aside").rename(path)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
    thread.start()
    waited.wait()
    part = next(each for each in colab_env.verify(two).parts if each.name == "Environment")
    thread.join()
    assert part.damaged == ()
    assert time.monotonic() - began >= 1


def test_a_file_that_cannot_be_read_is_damage(tree):
    path = tree / "bin/activate"
    path.unlink()
    os.mkfifo(path)
    assert wrong(tree) == ["bin/activate is missing"]


def test_verify_brings_back_what_a_killed_repair_has_left(two):
    from colab_env import _files

    environment = two / ".venv"
    environment.rename(_files.scratch_name(environment, "old"))
    _files.scratch_name(environment, "building").touch()
    part = next(each for each in colab_env.verify(two).parts if each.name == "Environment")
    assert part.damaged == ()
    assert module(two, "first").is_file()


def test_a_full_disk_takes_only_the_date(two, monkeypatch):
    def full(*_):
        msg = "no space left"
        raise DiskFullError(msg)

    monkeypatch.setattr(content, "write", full)
    assert colab_env.verify(two).ok
