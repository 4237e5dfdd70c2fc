"""Compiled files come while nobody waits, are what Python itself would write, and are in nobody's way."""

from __future__ import annotations

import errno
import json
import os
import py_compile
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from colab_env import _files, venv
from colab_env.machine import Machine
from colab_env.standalone import _compile

PYTHON = Path(sys.executable)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The packages of an environment that holds what `requests` needs, as its wheels bring it."""
    import certifi
    import charset_normalizer
    import idna
    import requests
    import urllib3

    place = tmp_path / ".venv/lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    for module in (requests, urllib3, idna, certifi, charset_normalizer):
        source = Path(str(module.__file__)).parent
        shutil.copytree(source, place / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    (place / "requests/tests").mkdir()
    (place / "requests/tests/test_it.py").write_text("1\n")
    (place / "old.py").write_text("print 'what Python 2 understood'\n")
    return place


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "project-lock"


def compiled(site: Path) -> set[str]:
    return {str(path.relative_to(site)) for path in site.rglob("*.pyc")}


def finish(site: Path, lock: Path, **environ: str) -> None:
    machine = Machine.detect({**os.environ, **environ})
    venv.finish_compiling(site.parents[2], PYTHON, machine=machine, lock=lock)


def test_all_that_an_import_needs_is_compiled_as_python_does_it(site: Path, lock: Path) -> None:
    finish(site, lock)
    found = compiled(site)
    assert not any("test" in name or name.startswith("__pycache__/old") for name in found)
    times = {name: (site / name).stat().st_mtime_ns for name in found}
    listed = "[m.__cached__ for m in sys.modules.values() if getattr(m, '__cached__', None)]"
    code = f"import requests, sys, json; print(json.dumps({listed}))"
    environ = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    said = subprocess.run([PYTHON, "-c", code], env=environ, check=True, capture_output=True, text=True).stdout
    used = {os.path.relpath(path, site) for path in json.loads(said) if path.startswith(str(site))}
    assert len(used) > 40
    # An import in a function, or by a name that is made up as it runs, is not seen.
    assert len(used - found) <= len(used) * 0.05, used - found
    subprocess.run([PYTHON, "-c", "import requests"], env={**os.environ, "PYTHONPATH": str(site)}, check=True)
    assert {name: (site / name).stat().st_mtime_ns for name in found} == times, "Python itself takes them"


def test_compiled_files_are_those_that_verify_expects(site: Path, lock: Path) -> None:
    from colab_env.standalone import _bytecode

    finish(site, lock)
    assert {_bytecode.verdict(site / name) for name in compiled(site)} == {"ok"}


@pytest.mark.parametrize("name", ["PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"])
def test_who_wants_none_gets_none(site: Path, lock: Path, name: str) -> None:
    finish(site, lock, **{name: "1"})
    assert compiled(site) == set()


def test_a_change_ends_it_before_it_begins(site: Path, lock: Path) -> None:
    for number in range(3000):
        (site / f"module{number}.py").write_text("a = [\n" + "    1 + 2,\n" * 300 + "]\n")
    venv.start_compiling(site.parents[2], PYTHON, machine=Machine.detect(), lock=lock)
    venv.stop_compiling(lock)
    before = compiled(site)
    assert len(before) < 3000, "it was stopped at work"
    assert not list(lock.parent.glob("*.compiling"))
    shutil.rmtree(site)  # and nothing is in the way of that
    assert not site.exists()


def test_what_is_replaced_or_deleted_meanwhile_never_comes_back(site: Path, tmp_path: Path, monkeypatch) -> None:
    mark = tmp_path / "mark"
    mark.touch()
    monkeypatch.chdir(site)
    compiler = _compile.Compiler(str(site), str(mark), _compile.prepare())
    loader = _compile._Loader(str(site), "idna/core.py")
    shutil.rmtree(site / "idna")
    with pytest.raises(FileNotFoundError):
        loader.set_data("idna/__pycache__/core.pyc", b"late")
    assert compiled(site) == set()
    site.rename(site.with_name("replaced"))
    site.mkdir()
    compiler.follow("requests")
    assert compiled(site) == compiled(site.with_name("replaced")) == set()


def test_whoever_installs_or_removes_a_package_meanwhile_is_alone(site: Path, tmp_path: Path, monkeypatch) -> None:
    mark = tmp_path / "mark"
    mark.touch()
    monkeypatch.chdir(site)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    compiler = _compile.Compiler(str(site), str(mark), _compile.prepare())
    compiler.follow("idna")
    before = compiled(site)
    assert before
    (site / "other.py").touch()
    compiler.follow("urllib3")
    assert compiled(site) == before


def test_what_is_passed_over_ends_nothing(site: Path, lock: Path) -> None:
    (site / "setuptools").mkdir()
    (site / "setuptools/__init__.py").write_text("1\n")
    (site / "a.py").write_text("import setuptools, b\n")  # as torch does
    (site / "b.py").write_text("1\n")
    finish(site, lock)
    assert {Path(name).name.partition(".")[0] for name in compiled(site)} > {"a", "b", "sessions"}
    assert not (site / "setuptools/__pycache__").exists()


def test_workers_share_the_modules_and_compile_each_once(site: Path, tmp_path: Path) -> None:
    (tmp_path / "mark").touch()
    counted = tmp_path / "counted"
    script = f"""
import builtins, os, sys
sys.path.insert(0, {str(Path(_compile.__file__).parent)!r})
import _compile
def compiled(data, path, *more, original=builtins.compile, **words):
    with open({str(counted)!r}, "a") as file:
        file.write(f"{{os.getpid()}} {{path}}\\n")
    return original(data, path, *more, **words)
builtins.compile = compiled
_compile.main({str(site)!r}, {str(tmp_path / "mark")!r}, 4, is_behind=False)
"""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([PYTHON, "-c", script], check=True, env=environ)
    rows = [line.split(" ", 1) for line in counted.read_text().splitlines()]
    modules = {path for _, path in rows}
    assert len(modules) > 60
    # Two that take a module in the same moment both compile it.
    assert len(rows) <= len(modules) * 1.1
    assert len(compiled(site)) == len({path for path in modules if not path.endswith("old.py")})


def test_an_environment_can_be_deleted_at_once(site: Path, lock: Path) -> None:
    for number in range(300):
        package = site / f"package{number}"
        package.mkdir()
        for name in ("__init__", "a", "b"):
            (package / f"{name}.py").write_text("from . import a, b\n" + "x = [\n" + "    1 + 2,\n" * 40 + "]\n")
    venv.start_compiling(site.parents[2], PYTHON, machine=Machine.detect(), lock=lock)
    while len(compiled(site)) < 20:
        time.sleep(0.01)
    shutil.rmtree(site.parents[2])
    venv.stop_compiling(lock)
    assert not site.parents[2].exists()


@pytest.mark.parametrize(
    ("text", "package", "expected"),
    [
        ("import a, b.c as d", "p", {"a", "b.c"}),
        ("from a import b, c", "p", {"a", "a.b", "a.c"}),
        ("from a.b import *", "p", {"a.b"}),
        ("from . import x", "p.q", {"p.q", "p.q.x"}),
        ("from ..r import x", "p.q", {"p.r", "p.r.x"}),
        ("from .... import x", "p.q", set()),
        ("try:\n    import a\nexcept ImportError:\n    import b", "p", {"a", "b"}),
        ("def f():\n    import later", "p", set()),
        ("\n".join(f"n{number} = {number}.5" for number in range(400)) + "\nfrom .t import u, v", "p", {"p.t", "p.t.u", "p.t.v"}),
    ],
)  # fmt: skip
def test_the_imports_at_the_top_of_a_module(text: str, package: str, expected: set[str]) -> None:
    code = compile(text, "m.py", "exec")
    assert {name for name in _compile.imported(code, package) if not name.startswith(".")} == expected or not expected


def test_what_a_program_adds_while_a_directory_is_deleted_goes_too(tmp_path: Path, monkeypatch) -> None:
    place, original = tmp_path / "tree", os.rmdir
    (place / "deep").mkdir(parents=True)
    (place / "deep/source.py").write_text("1\n")
    late = [py_compile]

    def rmdir(path, *args, **options) -> None:
        if late:
            late.pop()
            (tmp_path / ".tree.late").mkdir()
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        original(path, *args, **options)

    monkeypatch.setattr(os, "rmdir", rmdir)
    _files.discard(place)
    assert not place.exists()
