"""What the package index has that needs no build, and which version fits a library of the system."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from colab_env import _download, native
from colab_env.machine import Machine
from colab_env.native_need import published
from colab_env.native_need.apt import Apt
from colab_env.native_need.locked_files import parse_target
from colab_env.native_need.missing import Explanation, Missing

FILES = [
    ("fiona-1.9.5.tar.gz", ">=3.7", False),
    ("fiona-1.9.5-cp311-cp311-manylinux2014_x86_64.whl", ">=3.7", False),
    ("fiona-1.9.6-cp312-cp312-manylinux2014_x86_64.whl", ">=3.7", True),
    ("fiona-1.10.0rc1-cp312-cp312-manylinux2014_x86_64.whl", ">=3.8", False),
    ("fiona-1.10.1-cp312-cp312-manylinux2014_x86_64.whl", ">=3.8", False),
    ("fiona-1.11.0-cp312-cp312-manylinux2014_x86_64.whl", ">=3.8", False),
    ("fiona-1.11.0-cp312-cp312-macosx_11_0_arm64.whl", ">=3.8", False),
    ("fiona-new-scheme.exe", "", False),
]


def as_json() -> str:
    files = [
        {"filename": name, "requires-python": python, "yanked": yanked, "url": f"../{name}"}
        for name, python, yanked in FILES
    ]
    return json.dumps({"meta": {"api-version": "1.1"}, "name": "fiona", "files": files})


def as_html() -> str:
    anchors = []
    for name, python, is_yanked in FILES:
        attributes = f'data-requires-python="{python.replace(">", "&gt;")}"' + (" data-yanked" if is_yanked else "")
        anchors.append(f'<a href="../{name}#sha256=00" {attributes}>{name}</a><br>')
    return "<!DOCTYPE html><html><body>" + "\n".join(anchors) + "</body></html>"


@pytest.mark.parametrize("page", [as_json(), as_html()], ids=["PEP 691", "PEP 503"])
def test_another_version_and_another_python_have_a_wheel(page: str) -> None:
    files = published.read_page(page)
    lines = list(published.wheel_advice(files, "fiona", "1.9.5", parse_target("linux/amd64", "3.12")))
    assert lines == ["fiona 1.10.1 has a wheel for Python 3.12", "fiona 1.9.5 has a wheel for Python 3.11"]


def test_where_nothing_has_a_wheel_nothing_is_advised() -> None:
    files = published.read_page(as_json())
    assert list(published.wheel_advice(files, "fiona", "1.9.5", parse_target("linux/arm64", "3.12"))) == []


NO_PAGES = ["", "{", "{}", '{"files": 3}', '{"files": [1, {"filename": 2}]}', "<html><a href=x>y</a>", "[]"]


def test_a_version_that_is_none_has_no_advice() -> None:
    files = published.read_page('{"files": [{"filename": "x-%s-py3-none-any.whl"}]}' % ("9" * 5000))
    assert files == []
    assert published.fitting_version(files, "1." + "9" * 5000) is None
    assert list(published.wheel_advice(files, "x", "no version", parse_target("linux/amd64", "3.12"))) == []


@pytest.mark.parametrize("page", NO_PAGES)
def test_a_page_that_is_none_has_no_files(page: str) -> None:
    assert published.read_page(page) == []


@pytest.mark.parametrize(("library", "version"), [("3.8.4", "3.8.4"), ("3.8.5", "3.8.4"), ("3.7.1", None), ("4", None)])
def test_the_version_that_fits_a_library_has_its_number(library: str, version: str | None) -> None:
    page = json.dumps(
        {"files": [{"filename": f"GDAL-{number}.tar.gz"} for number in ("3.6.2", "3.8.3", "3.8.4", "3.9.0")]}
    )
    assert published.fitting_version(published.read_page(page), library) == version


def test_a_build_that_failed_is_advised_from_the_index_and_the_library_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = tmp_path / "status"
    status.write_text(
        "Package: libgdal-dev\nStatus: install ok installed\nVersion: 1:3.8.4+dfsg-3\n\n"
        "Package: libvirt-dev\nStatus: deinstall ok config-files\nVersion: 9.0.0-4\n"
    )
    page = json.dumps({"files": [{"filename": f"GDAL-{number}.tar.gz"} for number in ("3.8.4", "3.9.0")]})
    asked: list[str] = []
    monkeypatch.setattr(_download, "read_once", lambda url, **_: asked.append(url) or page)  # the outermost edge
    monkeypatch.setattr(Apt, "__init__", lambda self, machine: self.__dict__.update(machine=machine, status=status))
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://packages.example/simple")
    (tmp_path / "conda" / "conda-meta").mkdir(parents=True)
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "conda"))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    failed = Explanation(
        findings=(Missing(kind="config-program", name="gdal-config"),), requirement="GDAL==3.9.0", python="3.12"
    )
    explanation = native.with_advice(failed)
    assert asked == ["https://packages.example/simple/gdal/"]
    assert explanation.advice[0] == "GDAL==3.8.4 fits libgdal-dev 3.8.4, which is installed"
    assert explanation.advice[1].startswith("conda install -c conda-forge GDAL")
    assert "or: GDAL==3.8.4 fits" in repr(explanation)
    assert Apt(machine=Machine.detect()).version("libvirt-dev") is None


def test_a_set_up_that_cannot_build_is_told_what_has_a_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_download, "read_once", lambda *_, **__: as_json())  # the outermost edge
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    machine = Machine.detect()
    advice = native.wheel_advice(["", "  x Failed to build `fiona==1.9.5`", "  cause: no"], "3.12.4", machine)
    assert advice.startswith("fiona 1.10.1 has a wheel for Python 3.12; fiona 1.9.5 has a wheel for Python 3.11")
    assert "Python 3.11 (--python 3.11, or python='3.11', chooses it)" in advice
    wrapped = ["  x Because fiona==1.9.5", "    has no wheels with a matching Python ABI tag (e.g., `cp312`) and you"]
    assert native.wheel_advice(wrapped, "3.12.4", machine) == advice
    newest = native.wheel_advice(["Because there is no version of fiona==99 and you require"], "3.12", machine)
    assert newest.startswith("fiona 1.11.0 has a wheel for Python 3.12")
    assert native.wheel_advice(["error: Failed to build `lesson @ file:///lesson`"], "3.12", machine) == ""
    monkeypatch.setattr(_download, "read_once", lambda *_, **__: None)
    assert not native.wheel_advice(["Failed to build `nosuch-zz==1`"], "3.12", machine)


def test_a_failed_import_and_an_unreachable_index_are_not_advised_about(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Explanation(findings=(Missing(kind="shared-object", name="libGL.so.1", phase="run"),))
    assert native.with_advice(run) == run
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:9/simple")
    build = Explanation(findings=(Missing(kind="header", name="x.h"),), requirement="x", python="3.12")
    assert [line for line in native.with_advice(build).advice if "wheel" in line] == []
