"""uv as a source of Pythons: the real uv, which takes its download from a local file instead of its own site."""

from __future__ import annotations

import hashlib
import json
import tarfile

import pytest
from conda_standin import find_python

from colab_env import index, steps, uv
from colab_env.errors import NetworkError, NoSuchPythonError
from colab_env.locks import installing
from colab_env.machine import Machine
from colab_env.pyproject import Pyproject


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A CPython of this machine, packed as uv's builds are."""
    path = tmp_path_factory.mktemp("uv") / "cpython.tar.gz"

    def wanted(member):
        left_out = ("/test/", "/__pycache__/", "/site-packages/", "/idlelib/", "/tkinter/")
        return None if any(part in f"/{member.name}/" for part in left_out) else member

    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        tar.add(find_python("3.12"), "python", filter=wanted)
    return path


@pytest.fixture
def offer(tmp_path, monkeypatch):
    """Make uv offer one Python 3.12 from an address."""

    def offered(url, sha256):
        platform = {"arch": {"family": "x86_64", "variant": None}, "os": "linux", "libc": "gnu"}
        version = {"name": "cpython", "major": 3, "minor": 12, "patch": 1, "prerelease": "", "variant": None}
        listed = {**platform, **version, "url": url, "sha256": sha256, "build": "20240107"}
        (tmp_path / "downloads.json").write_text(json.dumps({"cpython-3.12.1-linux-x86_64-gnu": listed}))
        monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(tmp_path / "downloads.json"))
        monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "pythons"))

    return offered


def test_a_python_that_fits_is_installed_once(offer, archive, tmp_path):
    offer(archive.as_uri(), hashlib.sha256(archive.read_bytes()).hexdigest())
    first, second = (steps.install_python(">=3.11,<3.13", interpreter="uv") for _ in range(2))
    assert (first.action, second.action) == ("done", "already there")
    assert first.python.short_version == "3.12"
    assert tmp_path / "pythons" in first.python.path.parents


def test_what_uv_offers_is_listed_without_starting_the_pythons_on_the_path(offer, tmp_path, monkeypatch):
    offer("http://127.0.0.1:9/cpython.tar.gz", "0" * 64)
    other = tmp_path / "bin/python3.12"
    other.parent.mkdir()
    other.write_text(f"#!/bin/sh\necho started >> '{tmp_path}/trace'\nexit 1\n")
    other.chmod(0o755)
    program = uv.find(Machine.detect())
    monkeypatch.setenv("PATH", str(other.parent))
    answer = uv.list_managed(program, environ=uv.environ(Machine.detect(), index.settings(Machine.detect())))
    assert [build.version for build in uv.listed(answer.lines)] == ["3.12.1"]
    assert not (tmp_path / "trace").exists()


def test_a_directory_in_the_place_of_uvs_own_lock_is_taken_away(offer, archive, tmp_path, monkeypatch):
    offer(archive.as_uri(), hashlib.sha256(archive.read_bytes()).hexdigest())
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    (tmp_path / "uv-cache/.lock").mkdir(parents=True)
    assert steps.install_python(">=3.11,<3.13", interpreter="uv").action == "done"
    assert not (tmp_path / "uv-cache/.lock").is_dir()


@pytest.mark.parametrize("names", [".lock", "interpreter-v*/*/*.msgpack"])
def test_what_uv_resolves_does_not_end_at_a_directory_in_its_cache(tmp_path, monkeypatch, pythons, names):
    cache = tmp_path / "uv-cache"
    monkeypatch.setenv("UV_CACHE_DIR", str(cache))
    (tmp_path / "requirements.txt").write_text("")
    uv = installing.installer(Machine.detect(), pyproject=Pyproject.read(tmp_path))
    uv.compile(tmp_path / "requirements.txt", python=pythons[0].path)
    found = list(cache.glob(names))
    assert found
    for path in found:
        path.unlink()
        path.mkdir()
    uv.compile(tmp_path / "requirements.txt", python=pythons[0].path)
    assert not any(path.is_dir() for path in found)


def test_one_that_uv_does_not_offer_is_an_error_of_its_own(offer, archive):
    offer(archive.as_uri(), "0" * 64)
    with pytest.raises(NoSuchPythonError, match=r"uv offers no Python that fits '3\.14'"):
        steps.install_python("3.14", interpreter="uv")


def test_a_site_that_is_not_reached_is_a_network_error(offer, tmp_path):
    offer("http://127.0.0.1:9/cpython.tar.gz", "0" * 64)
    with pytest.raises(NetworkError, match="uv cannot download its Python") as caught:
        steps.install_python("3.12", interpreter="uv")
    assert "UV_PYTHON_INSTALL_MIRROR" in caught.value.hint
