"""Which packages of a lock file are built on a target, and what their source archives ask the system for."""

# ruff: noqa: E501  lock files and sources are as long as they are

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from colab_env import native
from colab_env.errors import MissingStepError, ProjectFileError, UsageError
from colab_env.locks import registry, wheel_support
from colab_env.native_need import source_archive
from colab_env.native_need.apt import Apt
from colab_env.native_need.contents import Contents, Packages, packed
from colab_env.native_need.locked_files import parse_target
from colab_env.native_need.packed_index import Index

MANYLINUX = "a-1-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
WHEELS = {
    "everywhere": "a-1-py3-none-any.whl",
    "amd64": MANYLINUX,
    "abi3": "a-1-cp38-abi3-manylinux_2_28_aarch64.whl",
    "musl": "a-1-cp312-cp312-musllinux_1_1_x86_64.whl",
    "old": "a-1-cp311-cp311-manylinux_2_17_x86_64.whl",
    "mac": "a-1-cp312-cp312-macosx_11_0_arm64.whl",
    "too new": "a-1-cp312-cp312-manylinux_2_99_x86_64.whl",
}


@pytest.mark.parametrize(
    ("platform", "fitting"),
    [
        ("linux/amd64", {"everywhere", "amd64"}),
        ("linux/arm64", {"everywhere", "abi3"}),
        ("linux/amd64-musl", {"everywhere", "musl"}),
        ("x86_64", {"everywhere", "amd64"}),
    ],
)
def test_a_wheel_fits_where_its_tags_say(platform: str, fitting: set[str]) -> None:
    assert {name for name, wheel in WHEELS.items() if parse_target(platform, "3.12").takes(wheel)} == fitting


def test_what_is_no_platform_or_python_is_refused() -> None:
    with pytest.raises(UsageError, match="no platform 'windows'"):
        parse_target("windows", "3.12")
    with pytest.raises(UsageError, match="'new' is no version"):
        parse_target("linux/amd64", "new")


PACKAGES = (("wheeled", MANYLINUX, ""), ("built", "", ""), ("windows-only", "", "sys_platform == 'win32'"))


def files(wheel: str, name: str) -> list[dict[str, str]]:
    return [{"name": file, "hash": f"sha256:{'0' * 64}"} for file in (wheel, f"{name}-1.tar.gz") if file]


def uv_lock() -> str:
    edges = ", ".join(
        f'{{ name = "{name}"{f", marker = {json.dumps(marker)}" if marker else ""} }}' for name, _, marker in PACKAGES
    )
    text = (
        f'version = 1\n[[package]]\nname = "p"\nversion = "0"\nsource = {{ virtual = "." }}\ndependencies = [{edges}]\n'
    )
    for name, wheel, _ in (*PACKAGES, ("of-nobody", "", "")):
        named = [f'{{ url = "https://host/{each["name"]}", hash = "{each["hash"]}" }}' for each in files(wheel, name)]
        text += f'[[package]]\nname = "{name}"\nversion = "1"\nsource = {{ registry = "https://host/simple" }}\nsdist = {named[-1]}\n'
        text += f"wheels = [{named[0]}]\n" if wheel else ""
    return text


def poetry_lock() -> str:
    text = ""
    for name, wheel, marker in PACKAGES:
        listed = ", ".join(f'{{file = "{each["name"]}", hash = "{each["hash"]}"}}' for each in files(wheel, name))
        text += f'[[package]]\nname = "{name}"\nversion = "1"\noptional = false\nfiles = [{listed}]\n'
        text += f"markers = {json.dumps(marker)}\n" if marker else ""
    return text + '[metadata]\nlock-version = "2.1"\npython-versions = ">=3.9"\ncontent-hash = "0"\n'


def poetry_lock_1() -> str:
    first = poetry_lock().replace("markers = \"sys_platform == 'win32'\"\n", "")
    edge = '\n[package.dependencies]\nwindows-only = {version = "*", markers = "sys_platform == \'win32\'"}\n'
    return first.replace('[[package]]\nname = "built"', f'{edge}\n[[package]]\nname = "built"')


def pdm_lock() -> str:
    text = '[metadata]\ngroups = ["default"]\nlock_version = "4.5.0"\n'
    for name, wheel, marker in PACKAGES:
        listed = ", ".join(f'{{file = "{each["name"]}", hash = "{each["hash"]}"}}' for each in files(wheel, name))
        text += f'[[package]]\nname = "{name}"\nversion = "1"\ngroups = ["default"]\nfiles = [{listed}]\n'
        text += f"marker = {json.dumps(marker)}\n" if marker else ""
    return text


def pylock() -> str:
    text = 'lock-version = "1.0"\ncreated-by = "uv"\n'
    for name, wheel, marker in PACKAGES:
        text += f'[[packages]]\nname = "{name}"\nversion = "1"\n' + (
            f"marker = {json.dumps(marker)}\n" if marker else ""
        )
        text += f'sdist = {{ url = "https://host/{name}-1.tar.gz", hashes = {{ sha256 = "{"0" * 64}" }} }}\n'
        text += f'wheels = [{{ url = "https://host/{wheel}", hashes = {{}} }}]\n' if wheel else ""
    return text


LOCKS = {
    "uv.lock": uv_lock,
    "poetry.lock": poetry_lock,
    "pdm.lock": pdm_lock,
    "pylock.toml": pylock,
    "poetry.lock of Poetry 1": poetry_lock_1,
}


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_files_own_names_say_what_is_built(name: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "p"\nversion = "0"\ndependencies = ["wheeled", "built"]\n'
    )
    (tmp_path / name.partition(" ")[0]).write_text(LOCKS[name]())
    found = native.check(tmp_path, platform="linux/amd64", python="3.12")
    assert (found.count, [each.name for each in found.built]) == (2, ["built"])
    found = native.check(tmp_path, platform="linux/amd64", python="3.13")
    assert [(each.name, each.elsewhere) for each in found.built] == [("built", ()), ("wheeled", ("3.12",))]
    assert repr(found).splitlines()[0].endswith("2 of 2 packages have no wheel for linux/amd64, Python 3.13")


def test_packages_whose_files_a_lock_file_does_not_name_are_not_called_built(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.poetry]\nname = "p"\n[tool.poetry.dependencies]\nsix = "*"\n')
    package = '[[package]]\nname = "{}"\nversion = "1"\ncategory = "main"\noptional = false\n'
    files = '[metadata.files]\nsix = []\nidna = [{file = "idna-1-py3-none-any.whl", hash = "sha256:0"}]\n'
    (tmp_path / "poetry.lock").write_text(package.format("six") + package.format("idna") + files)
    found = native.check(tmp_path, platform="linux/amd64", python="3.12")
    assert (found.built, found.unknown) == ((), ("six",))
    lines = repr(found).splitlines()
    assert lines[0] == "poetry.lock names no file of 1 of 2 packages: six"
    assert lines[-1] == "✓ poetry.lock: all 1 packages have a wheel for linux/amd64, Python 3.12"


def test_a_lock_file_that_names_no_files_is_said(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("six==1.16.0\n")
    with pytest.raises(UsageError, match="does not say which files"):
        native.check(tmp_path)
    with pytest.raises(MissingStepError, match="no lock file"):
        native.check(tmp_path / "nothing")


def test_a_download_is_as_large_as_the_wheel_that_fits(tmp_path: Path) -> None:
    sizes = {
        "cp312-cp312-musllinux_1_2_x86_64": 9,
        "cp312-cp312-manylinux_2_17_x86_64": 5,
        "cp311-cp311-manylinux_2_17_x86_64": 8,
        "cp312-cp312-win_amd64": 7,
    }
    files = "".join(
        f'    {{ url = "https://x.example/a-1-{tags}.whl", hash = "sha256:00", size = {size} }},\n'
        for tags, size in sizes.items()
    )
    text = f'[[package]]\nname = "a"\nversion = "1"\nsource = {{ registry = "r" }}\nwheels = [\n{files}]\n'
    (tmp_path / "uv.lock").write_text(f"version = 1\n{text}")
    target = parse_target("linux/amd64", "3.12.4")
    (package,) = wheel_support.locked_packages(registry.find(tmp_path), target)
    assert package.download(target) == 5
    assert package.download(parse_target("linux/amd64-musl", "3.12")) == 9
    assert package.download(parse_target("linux/arm64", "3.12")) is None


def test_a_damaged_lock_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "uv.lock").write_text("package = 3\n")
    with pytest.raises(ProjectFileError, match="cannot be read as"):
        native.check(tmp_path)


def archive(path: Path, members: Mapping[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as made:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            made.addfile(info, io.BytesIO(text.encode()))
    return path


GUARDED = "#ifndef A_H\n#define A_H\n#include <ffi.h>\n#ifdef WITH_X\n#include <x.h>\n#endif\n#include <sys/types.h>\n#endif\n"
SOURCES = {
    "p-1/setup.py": "from setuptools import Extension, setup\n# libraries=['commented']\nsubprocess.run(['gdal-config', '--libs'])\n"
    "subprocess.check_output(['pkg-config', '--cflags', 'cairo'])\nsetup(ext_modules=[Extension('a', ['a.c'], libraries=['z', 'm'])])\n",
    "p-1/a.c": '#include <Python.h>\n#include "a.h"\n#include <stdio.h>\n#include <openssl/ssl.h>\n#include <openssl/err.h>\n',
    "p-1/a.h": GUARDED,
    "p-1/b.pyx": 'cdef extern from "gmp.h":\n    pass\n',
    "p-1/tests/t.c": "#include <nobody.h>\n",
    "p-1/win32/w.c": "#include <windows.h>\n#include <nobody2.h>\n",
    "p-1/meson.build": "dependency('glib-2.0', version: '>= 2')\ndependency('opt', required: false)\ndependency('own')\n",
    "p-1/subprojects/own/own.c": "",
    "p-1/CMakeLists.txt": "find_package(OpenCV REQUIRED)\nfind_package(Doxygen)\npkg_check_modules(X REQUIRED libusb-1.0>=1)\n",
}


def needed(path: Path) -> list[str]:
    return [f"{each.kind} {each.name}" for each in source_archive.needs(source_archive.read(path), "p")]


def test_a_source_archive_says_what_it_asks_for(tmp_path: Path) -> None:
    found = needed(archive(tmp_path / "p-1.tar.gz", SOURCES))
    assert sorted(found) == [
        *("cmake OpenCV", "command pkg-config", "compiler c", "config-program gdal-config"),
        *("header ffi.h", "header gmp.h", "header openssl/ssl.h", "library z"),
        *("pkg-config cairo", "pkg-config glib-2.0", "pkg-config libusb-1.0"),
    ]


def test_what_an_author_declared_comes_first(tmp_path: Path) -> None:
    external = '[external]\nbuild-requires = ["virtual:compiler/c", "dep:generic/pkg-config"]\nhost-requires = ["dep:generic/libwebp"]\n'
    found = needed(archive(tmp_path / "p-1.tar.gz", {"p-1/pyproject.toml": external, "p-1/a.c": "#include <a.h>\n"}))
    assert found[:3] == ["compiler c", "command pkg-config", "words libwebp"]


def test_a_crate_needs_rust(tmp_path: Path) -> None:
    project = '[build-system]\nrequires = ["maturin>=1"]\n'
    made = archive(tmp_path / "p-1.tar.gz", {"p-1/pyproject.toml": project, "p-1/Cargo.toml": "[package]\n"})
    assert needed(made) == ["compiler rust"]


def test_a_zip_is_read_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p-1.zip", "w") as made:
        made.writestr("p-1/a.c", "#include <ffi.h>\n")
    assert needed(tmp_path / "p-1.zip") == ["header ffi.h"]


def test_what_leads_out_of_an_archive_is_passed_over_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "p-1.tar.gz"
    with tarfile.open(path, "w:gz") as made:
        for name, kind in (
            ("p-1/link.c", tarfile.SYMTYPE),
            ("p-1/hard.c", tarfile.LNKTYPE),
            ("p-1/dev", tarfile.CHRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            made.addfile(info)
        for name in ("../../evil.c", "/evil.c"):
            made.addfile(tarfile.TarInfo(name))
    assert source_archive.read(path) == {}
    assert [each.name for each in tmp_path.iterdir()] == ["p-1.tar.gz"]


def test_a_bomb_and_a_million_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_archive, "_MOST_BYTES", 1000)
    with pytest.raises(ProjectFileError, match="unpacks to too much"):
        source_archive.read(archive(tmp_path / "p-1.tar.gz", {"a": "0" * 2000}))
    monkeypatch.setattr(source_archive, "_MOST_FILES", 3)
    with pytest.raises(ProjectFileError, match="unpacks to too much"):
        source_archive.read(archive(tmp_path / "p-2.tar.gz", {f"{number}": "" for number in range(5)}))


@pytest.mark.parametrize("name", ["p.tar.gz", "p.zip", "p.tar.xz"])
@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\0\0\0", b"PK\x03\x04"])
def test_what_is_no_archive_is_said(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ProjectFileError, match="is not looked into"):
        source_archive.read(tmp_path / name)


def test_sources_are_downloaded_by_their_locked_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = archive(tmp_path / "built-1.tar.gz", {"built-1/a.c": "#include <ffi.h>\n"})
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    monkeypatch.setenv("COLAB_ENV_HOME", str(tmp_path / "data"))
    asked = []

    def fetch(url: str, path: Path, *, sha256: str) -> None:
        asked.append((url, sha256))
        path.parent.mkdir(parents=True)
        path.write_bytes(made.read_bytes())

    page = '<a href="../built-2-cp312-cp312-manylinux2014_x86_64.whl">built-2-cp312-cp312-manylinux2014_x86_64.whl</a>'
    monkeypatch.setattr("colab_env._download.fetch", fetch)  # the network: the outermost edge
    monkeypatch.setattr("colab_env._download.read_once", lambda url, **_: page)
    text = uv_lock().replace(f'built-1.tar.gz", hash = "sha256:{"0" * 64}', f'built-1.tar.gz", hash = "sha256:{digest}')
    (tmp_path / "uv.lock").write_text(text)
    (built,) = native.check(tmp_path, platform="linux/amd64", python="3.12", sources=True).built
    assert [each.name for each in built.needs] == ["ffi.h"]
    assert asked == [("https://host/built-1.tar.gz", digest)]
    assert built.advice[:1] == ("built 2 has a wheel for Python 3.12",)
    assert "built 2 has a wheel" in repr(built)


def test_setup_says_in_two_lines_what_it_will_build(tmp_path: Path) -> None:
    (tmp_path / "uv.lock").write_text(uv_lock())
    lock = registry.find(tmp_path)
    lines = native.foretell(lock, "3.12.4")
    assert len(lines) == 2
    assert "built 1" in lines[0]
    (tmp_path / "uv.lock").write_text("package = 3")
    assert native.foretell(registry.find(tmp_path), "3.12.4") == []


def test_setup_names_the_packages_that_a_build_will_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = archive(tmp_path / "built-1.tar.gz", {"built-1/a.c": "#include <ffi.h>\n#include <zlib.h>\n"})
    contents, packages = Contents(), Packages()
    contents.read([b"usr/include/ffi.h libdevel/libffi-dev\nusr/include/zlib.h libdevel/zlib1g-dev\n"])
    packages.read([b"Package: libffi-dev\n\nPackage: zlib1g-dev\n\n"])
    (tmp_path / "small.index").write_bytes(packed(contents, packages, {}))

    def fetch(url: str, path: Path, *, sha256: str) -> None:
        path.parent.mkdir(parents=True)
        path.write_bytes(made.read_bytes())

    monkeypatch.setenv("COLAB_ENV_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("colab_env._download.fetch", fetch)  # the network and the distribution: the outermost edges
    monkeypatch.setattr("colab_env._download.read_once", lambda url, **_: None)
    monkeypatch.setattr(Apt, "ready_index", lambda self: Index(tmp_path / "small.index"))
    monkeypatch.setattr(Apt, "installed", lambda self: frozenset({"zlib1g-dev"}))
    (tmp_path / "uv.lock").write_text(uv_lock())
    lines = native.foretell(registry.find(tmp_path), "3.12.4")
    assert lines[1] == "what that needs of the system: apt-get install --no-install-recommends libffi-dev"
    checked = native.check(tmp_path, python="3.12", sources=True)
    assert checked.install == ("libffi-dev",)
    assert repr(checked).endswith("→ apt-get install --no-install-recommends libffi-dev")
    assert native.check(tmp_path, platform="linux/arm64", python="3.12", sources=True).install == ()


@pytest.mark.parametrize(
    "text", ["\n" * 300_000, "#" * 300_000, "'pkg-config " * 25_000, "dependency('a' " * 20_000, '"""' * 100_000]
)
def test_a_source_made_to_cost_time_does_not(text: str) -> None:
    began = time.process_time()
    source_archive.needs(
        {f"p/{name}": text for name in ("setup.py", "a.c", "b.pyx", "meson.build", "CMakeLists.txt")}, "p"
    )
    assert time.process_time() - began < 2  # about 0.1; a pattern that is not linear takes minutes


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"x-1/setup.py": "subprocess.run(['cmake', '..'])", "x-1/CMakeLists.txt": "project(x)"}, ["command cmake"]),
        (
            {
                "x-1/setup.py": "subprocess.run(['cmake', '..'])",
                "x-1/CMakeLists.txt": "",
                "x-1/pyproject.toml": "[build-system]\nrequires = ['cmake>=3.20']\n",
            },
            [],
        ),
        (
            {"x-1/x/_build.py": 'ffi.set_source("x._c", """\n#include <srtp2/srtp.h>\n#include <stdlib.h>\n""")'},
            ["header srtp2/srtp.h"],
        ),
        ({"x-1/x/build.py": "# no such call\n#include <a.h>"}, []),
    ],
)
def test_a_source_asks_for_cmake_and_for_what_cffi_compiles(files, expected, tmp_path: Path) -> None:
    needs = source_archive.needs(source_archive.read(archive(tmp_path / "x-1.tar.gz", files)), "x")
    assert [f"{need.kind} {need.name}" for need in needs if need.kind != "compiler"] == expected
