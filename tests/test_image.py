"""An image that is built without an engine: on a base of a few files, from wheels and a registry of this machine."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from index_server import Behaviour, IndexServer
from registry_server import Image, RegistryServer, base_files, digest
from requests.utils import super_len
from small_wheels import write_archive, write_wheel

from colab_env import _download, _files, container, errors
from colab_env.image import _layers, _registry, _wheelhouse, base_python, shared_libraries
from colab_env.image._layers import LayerCache, LayerFile
from colab_env.image._wheelhouse import LockedWheel
from colab_env.image.base import open_base
from colab_env.image.image import MOST, BuiltImage, grouped, home_files, replaced_files
from colab_env.image.reference import ImageReference, Platform, archive_tag
from colab_env.image.rootfs import RootFS
from colab_env.machine import Machine

AMD64 = Platform.parsed("linux/amd64")
PYPROJECT = """\
[project]
name = "app"
version = "1.0"
requires-python = ">=3.10"
dependencies = ["alpha"]
[project.scripts]
app = "app:main"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
# The smallest backend of PEP 517, so that no index is asked for one: named as such.
BACKEND = """\
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
from small_wheels import write_wheel
def build_wheel(directory, config_settings=None, metadata_directory=None):
    return write_wheel(Path(directory), "app", "1.0", code=Path("app.py").read_text(), programs=["app"]).name
def build_sdist(directory, config_settings=None):
    import tarfile
    with tarfile.open(Path(directory) / "app-1.0.tar.gz", "w:gz") as archive:
        for name in ("pyproject.toml", "backend.py", "app.py"):
            archive.add(name, f"app-1.0/{{name}}")
    return "app-1.0.tar.gz"
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return Image().write_layout(tmp_path / "base")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[LayerCache]:
    made = LayerCache(tmp_path / "cache")
    with made.opened():
        yield made


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    write_wheel(tmp_path / "wheels", "alpha", "1.0", code="value = 1\ndef main(): pass\n", programs=["alpha"])
    return tmp_path / "wheels"


@pytest.fixture
def served(wheels: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[IndexServer]:
    with IndexServer(wheels, behaviour=Behaviour()) as server:
        monkeypatch.setenv("UV_DEFAULT_INDEX", server.url)
        monkeypatch.setenv("UV_CACHE_DIR", str(home / "uv"))
        monkeypatch.setenv("COLAB_ENV_HOME", str(home / "data"))
        yield server


@pytest.fixture
def app(tmp_path: Path, wheels: Path) -> Path:
    return make_app(tmp_path / "app", wheels)


def make_app(directory: Path, wheels: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "pyproject.toml").write_text(PYPROJECT)
    (directory / "backend.py").write_text(BACKEND.format(tests=str(Path(__file__).parent)))
    (directory / "app.py").write_text("def main(): pass\n")
    lock(directory, *sorted(wheels.iterdir()))
    return directory


def lock(directory: Path, *files: Path) -> None:
    lines = []
    for file in files:
        name, version = file.name.split("-")[:2]
        lines.append(f"{name}=={version} --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}\n")
    (directory / "requirements.txt").write_text("".join(lines))


def built(app: Path, base: str | Path, **options: object) -> container.BuildResult:
    name = f"oci:{base}" if isinstance(base, Path) else base
    return container.build(app, base=name, **{"lock": "requirements.txt", "platform": "linux/amd64", **options})


def build(app: Path, base: Path, output: Path, **options: object) -> dict[str, tarfile.TarInfo]:
    """Build an image, and return what its own layers have."""
    built(app, base, output=output, **options)
    return contents(output)


def contents(output: Path, *, skipped: int = 1) -> dict[str, tarfile.TarInfo]:
    return {member.name: member for tar in own_layers(output, skipped) for member in tarfile.open(fileobj=tar)}


def own_layers(output: Path, skipped: int = 1) -> list[io.BytesIO]:
    (image,) = json.loads(member(output, "manifest.json"))
    return [io.BytesIO(member(output, name)) for name in image["Layers"][skipped:]]


def member(output: Path, name: str) -> bytes:
    with tarfile.open(output) as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read()


def file_of(output: Path, name: str) -> bytes:
    for tar in own_layers(output):
        with tarfile.open(fileobj=tar) as archive:
            if name in archive.getnames():
                file = archive.extractfile(name)
                assert file is not None
                return file.read()
    raise AssertionError(name)


# --- names


@pytest.mark.parametrize(
    ("text", "name", "url"),
    [
        ("python:3.12", "docker.io/library/python:3.12", "https://registry-1.docker.io/v2/library/python"),
        ("me/app", "docker.io/me/app:latest", "https://registry-1.docker.io/v2/me/app"),
        ("localhost:5000/a/b:1", "localhost:5000/a/b:1", "http://localhost:5000/v2/a/b"),
        ("ghcr.io/me/app:1", "ghcr.io/me/app:1", "https://ghcr.io/v2/me/app"),
        (f"a@sha256:{'0' * 64}", f"docker.io/library/a@sha256:{'0' * 64}", "https://registry-1.docker.io/v2/library/a"),
    ],
)
def test_a_name_is_read_as_engines_read_it(text: str, name: str, url: str):
    assert (str(ImageReference.parsed(text)), ImageReference.parsed(text).url) == (name, url)


@pytest.mark.parametrize("text", ["", "Python:3", "a b", "a:", "a@sha256:0", "https://host/a", "a/../b", "-a"])
def test_what_is_no_name_is_refused(text: str):
    with pytest.raises(errors.UsageError, match="is not the name of an image"):
        ImageReference.parsed(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [("lesson", "lesson:latest"), ("lesson:1", "lesson:1"), ("localhost:5000/me/a", "localhost:5000/me/a:latest")],
)
def test_an_image_has_a_tag_in_a_file_since_docker_loads_none_without(text: str, name: str):
    assert archive_tag(text) == name
    with pytest.raises(errors.UsageError, match="has no digest"):
        archive_tag(f"{text}@sha256:{'0' * 64}")


def test_only_platforms_that_can_be_built_are_taken():
    with pytest.raises(errors.UsageError, match="windows/amd64"):
        Platform.parsed("windows/amd64")
    assert str(Platform.parsed("linux/arm64/v8")) == "linux/arm64"


# --- logins


def test_a_login_is_found_where_engines_leave_it(home: Path):
    (home / ".docker").mkdir()
    auth = base64.b64encode(b"me:pa:ss").decode()
    (home / ".docker/config.json").write_text(json.dumps({"auths": {"ghcr.io": {"auth": auth}}}))
    login = _registry.find_login(ImageReference.parsed("ghcr.io/me/app"), Machine.detect())
    assert (login.user, login.password) == ("me", "pa:ss")
    assert "pa:ss" not in repr(login)
    assert not _registry.find_login(ImageReference.parsed("quay.io/me/app"), Machine.detect()).has_credentials


def test_a_helper_is_named_and_not_run(home: Path, no_children: None):
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text(json.dumps({"credsStore": "desktop", "auths": {"ghcr.io": {}}}))
    assert (
        _registry.find_login(ImageReference.parsed("ghcr.io/me/app"), Machine.detect()).helper
        == "docker-credential-desktop"
    )


@pytest.mark.parametrize("text", ["[]", "{", '{"auths": 3}', '{"auths": {"ghcr.io": {"auth": "%"}}}', ""])
def test_a_damaged_login_file_is_as_good_as_none(home: Path, text: str):
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text(text)
    assert not _registry.find_login(ImageReference.parsed("ghcr.io/me/app"), Machine.detect()).has_credentials


# --- the file system of a base


def tree(*tars: dict[str, bytes | str | None]) -> RootFS:
    from registry_server import layer

    made = RootFS("base")
    for files in tars:
        made.add(io.BytesIO(layer(files)))
    return made


def test_whiteouts_hide_what_lies_below_and_not_what_comes_with_them():
    made = tree(
        {"a/one": b"", "a/two": b"", "b/old": b"", "c/d/e": b""},
        {"a/.wh.one": b"", "b/new": b"", "b/.wh..wh..opq": b"", "c": b""},
    )
    assert [made.get(path) is not None for path in ("a/one", "a/two", "b/old", "b/new", "c/d/e", "c")] == [
        *(False, True, False, True, False, True)
    ]


def test_links_are_followed_inside_of_the_base_only():
    made = tree({"usr/lib/x": b"", "lib": "usr/lib", "out": "../../../etc/passwd", "abs": "/usr/lib", "loop": "loop"})
    assert [made.real(path) for path in ("lib/x", "abs/x", "out", "loop")] == ["usr/lib/x", "usr/lib/x", None, None]


def test_the_python_of_a_base_is_read_from_its_files(base: Path, cache: LayerCache):
    image = open_base(f"oci:{base}", AMD64, machine=Machine.detect(), cache=cache)
    python = base_python.of_image(image, AMD64, cache)
    assert (python.version, python.glibc, python.machine) == ("3.12.7", 36, "x86_64")
    assert (python.executable, python.site) == ("/usr/local/bin/python3.12", "/usr/local/lib/python3.12/site-packages")
    assert [(one.name, one.version) for one in python.distributions] == [("pip", "24.0")]
    assert [(one.name, one.version) for one in python.packages] == [("libc6", "2.36-9")]
    assert python == base_python.of_image(image, AMD64, cache)  # from the cache


def test_debians_own_python_gets_its_packages_where_debian_has_them():
    files = {
        **{name: content for name, content in base_files().items() if not name.startswith("usr/local")},
        "usr/bin/python3.11": base_files()["usr/local/bin/python3.12"],
        "usr/bin/python3": "python3.11",
        "usr/lib/python3.11/site.py": b"dist-packages",
    }
    python = base_python.inspect(tree(files), name="base", path="/usr/local/bin:/usr/bin", platform=AMD64)
    assert (python.site, python.scripts) == ("/usr/local/lib/python3.11/dist-packages", "/usr/local/bin")
    assert python.executable == "/usr/bin/python3.11"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"usr/lib/x86_64-linux-gnu/libc.so.6": None, "lib/ld-musl-x86_64.so.1": b"", "lib": None}, "musl"),
        ({"usr/local/bin/python3": None}, "no Python on its PATH"),
        ({"usr/local/bin/python3.12": b"\x7fELF" + bytes(14) + b"\xb7\x00"}, "another processor"),
        ({"usr/local/bin/python3.12": b"#!/bin/sh"}, "does not say which one"),
        ({"usr/lib/x86_64-linux-gnu/libc.so.6": b"nothing"}, "no glibc that says its version"),
    ],
)
def test_a_base_without_a_fitting_python_is_refused(change: dict[str, bytes | str | None], reason: str):
    made = tree({**base_files(), **change})
    with pytest.raises(errors.BaseImageError, match=reason):
        base_python.inspect(made, name="base", path="/usr/local/bin", platform=AMD64)


# --- bases from files


def test_an_archive_and_a_layout_are_the_same_base(tmp_path: Path, base: Path, cache: LayerCache):
    archive = Image().write_archive(tmp_path / "base.tar")
    names = [f"oci:{base}", f"docker-archive:{archive}", f"docker-archive:{archive}:base:latest"]
    images = [open_base(name, AMD64, machine=Machine.detect(), cache=cache) for name in names]
    assert len({json.dumps(image.config) for image in images}) == 1
    assert len({base_python.of_image(image, AMD64, cache).executable for image in images}) == 1


def test_a_layer_of_an_archive_is_a_file_whose_length_an_upload_knows(tmp_path: Path, cache: LayerCache):
    # What requests cannot measure, or go back in, it sends in chunks, beside a Content-Length: no registry takes that.
    archive = Image().write_archive(tmp_path / "base.tar")
    image = open_base(f"docker-archive:{archive}", AMD64, machine=Machine.detect(), cache=cache)
    for blob in (image.manifest.config, *image.manifest.layers):
        with image.source.open(blob) as file:
            assert super_len(file) == blob.size
            content = file.read()
            assert (len(content), file.read(), file.seek(-3, os.SEEK_END)) == (blob.size, b"", blob.size - 3)
            assert (file.read(), file.seek(0), file.read()) == (content[-3:], 0, content)


def test_the_image_of_the_platform_is_taken_from_an_index(tmp_path: Path, cache: LayerCache):
    layout = Image().write_layout(tmp_path / "both", Image(architecture="arm64"))
    image = open_base(f"oci:{layout}", Platform.parsed("linux/arm64"), machine=Machine.detect(), cache=cache)
    assert image.config["architecture"] == "arm64"


def test_a_base_for_another_platform_only_is_refused(tmp_path: Path, base: Path, cache: LayerCache):
    arm64 = Platform.parsed("linux/arm64")
    with pytest.raises(errors.BaseImageError, match="has no image for linux/arm64: it has linux/amd64"):
        open_base(f"oci:{base}", arm64, machine=Machine.detect(), cache=cache)
    archive = Image().write_archive(tmp_path / "base.tar")
    with pytest.raises(errors.BaseImageError, match="is for linux/amd64, not for linux/arm64"):
        open_base(f"docker-archive:{archive}", arm64, machine=Machine.detect(), cache=cache)


def test_a_base_that_is_damaged_is_refused(tmp_path: Path, base: Path, cache: LayerCache):
    (layer,) = Image().layers
    path = base / "blobs/sha256" / layer.removeprefix("sha256:")
    content = path.read_bytes()
    for damaged, reason in ((content[:-20], r"of \d+ bytes"), (content[:-1] + b"x", "another than its digest says")):
        path.write_bytes(damaged)
        image = open_base(f"oci:{base}", AMD64, machine=Machine.detect(), cache=cache)
        with pytest.raises(errors.HashMismatchError, match=reason):
            base_python.of_image(image, AMD64, cache)
    (base / "index.json").write_text("{")
    with pytest.raises(errors.BaseImageError, match="index cannot be read"):
        open_base(f"oci:{base}", AMD64, machine=Machine.detect(), cache=cache)
    (tmp_path / "odd.tar").write_bytes(b"\x1f\x8bno archive")
    for name in (f"oci:{tmp_path}", f"docker-archive:{tmp_path / 'odd.tar'}"):
        with pytest.raises(errors.BaseImageError):
            open_base(name, AMD64, machine=Machine.detect(), cache=cache)


def inspected(name: str, cache: LayerCache) -> base_python.BasePython:
    return base_python.of_image(open_base(name, AMD64, machine=Machine.detect(), cache=cache), AMD64, cache)


@pytest.mark.parametrize("diff_ids", [[digest(b"other")], ["sha256:zz"], [1], [{}], "a", None, {}])
def test_layers_that_are_not_those_of_the_configuration_are_refused(
    diff_ids: object, tmp_path: Path, cache: LayerCache
):
    layout = Image(changed={"rootfs": {"type": "layers", "diff_ids": diff_ids}}).write_layout(tmp_path / "odd")
    for _ in range(2):  # not believed the second time either
        with pytest.raises(errors.BaseImageError, match="configuration"):
            inspected(f"oci:{layout}", cache)


@pytest.mark.parametrize(
    "changed",
    [
        *({"config": {"Labels": [1]}}, {"config": {"Labels": {"a": 1}}}, {"config": {"Env": [1, None]}}, {"config": 3}),
        *({"config": {"WorkingDir": 3}}, {"config": {"Cmd": "sh"}}, {"config": {"User": [1]}}, {"history": [1]}),
        *({"architecture": 3}, {"variant": [8]}, {"rootfs": []}),
    ],
)
def test_a_configuration_with_values_of_other_types_is_refused(
    changed: dict[str, object], tmp_path: Path, cache: LayerCache
):
    layout = Image(changed=changed).write_layout(tmp_path / "odd")
    with pytest.raises(errors.BaseImageError, match="configuration"):
        inspected(f"oci:{layout}", cache)


# --- a registry


def registry_base(server: RegistryServer, cache: LayerCache) -> object:
    return open_base(f"{server.host}/base:1", AMD64, machine=Machine.detect(), cache=cache)


def log_in(home: Path, server: RegistryServer, password: str = "secret") -> None:
    (home / ".docker").mkdir(exist_ok=True)
    auth = base64.b64encode(f"me:{password}".encode()).decode()
    (home / ".docker/config.json").write_text(json.dumps({"auths": {server.host: {"auth": auth}}}))


def test_a_base_comes_from_a_registry_with_a_token_and_only_once(home: Path, cache: LayerCache):
    with RegistryServer(user="me", password="secret") as server:
        server.add("base", "1", [Image(architecture="arm64"), Image()])
        log_in(home, server)
        image = registry_base(server, cache)
        assert base_python.of_image(image, AMD64, cache).version == "3.12.7"
        server.asked.clear()
        registry_base(server, cache)
        assert not any("/blobs/" in path for path in server.asked)


def test_a_damaged_layer_in_the_cache_is_fetched_anew_and_all_are_without_the_cache(tmp_path: Path):
    made = LayerCache(tmp_path / "cache")
    with RegistryServer() as server, made.opened():
        server.add("base", "1", [Image()])
        registry_base(server, made)
        (layer,) = Image().layers
        path = made.path(layer)
        path.write_bytes(bytes(path.stat().st_size))
        server.asked.clear()
        assert base_python.of_image(registry_base(server, made), AMD64, made).version == "3.12.7"
        assert [one for one in server.asked if "/blobs/" in one] == [f"GET /v2/base/blobs/{layer}"]
        server.asked.clear()
        registry_base(server, LayerCache(tmp_path / "cache", fresh=True))
        assert len([one for one in server.asked if "/blobs/" in one]) == 2


@pytest.mark.parametrize(
    ("fault", "error", "reason"),
    [
        ("429", errors.NetworkError, "no more requests"),
        ("login page", errors.NetworkError, "shows a web page"),
        ("digest", errors.HashMismatchError, "something else"),
        ("truncated", errors.HashMismatchError, "something else"),
        ("endless", errors.HashMismatchError, "something else"),
        ("blob login", errors.RegistryLoginError, "wants a login to read base"),
        ("manifest", errors.HashMismatchError, "was asked for"),
    ],
)
def test_what_is_wrong_with_a_registry_is_said(fault: str, error: type[Exception], reason: str, cache: LayerCache):
    with RegistryServer(fault=fault) as server:
        server.add("base", "1", [Image()])
        with pytest.raises(error, match=reason):
            registry_base(server, cache)
    assert [path.name for path in (cache.directory / "blobs").iterdir()] == []


def test_a_layer_that_always_breaks_off_is_given_up_and_has_no_name(cache, monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr(_download.fetch, "__kwdefaults__", {**_download.fetch.__kwdefaults__, "sleep": waits.append})
    with RegistryServer(fault="breaks off") as server:
        server.add("base", "1", [Image()])
        with pytest.raises(errors.NetworkError, match="cannot download"):
            registry_base(server, cache)
        assert 2 <= len([one for one in server.asked if one.startswith("GET") and "/blobs/" in one]) < 10
    assert waits == [1, 2, 4, 8]
    # What has come stays, for the next attempt to go on with; under the name of the layer there is nothing.
    assert {path.suffix for path in (cache.directory / "blobs").iterdir()} <= {".part"}


@pytest.mark.parametrize("fault", ["realm", "token"])
def test_a_wrong_answer_about_tokens_is_named(fault: str, home: Path, cache: LayerCache):
    with RegistryServer(user="me", password="secret", fault=fault) as server:
        server.add("base", "1", [Image()])
        log_in(home, server)
        with pytest.raises(errors.NetworkError, match=r"the answer of .* is wrong"):
            registry_base(server, cache)


def test_a_registry_that_wants_a_login_says_how(home: Path, cache: LayerCache):
    with RegistryServer(user="me", password="secret") as server:
        server.add("base", "1", [Image()])
        with pytest.raises(errors.RegistryLoginError, match="wants a login to read base") as caught:
            registry_base(server, cache)
        assert "podman login" in str(caught.value)
        log_in(home, server, "wrong")
        with pytest.raises(errors.RegistryLoginError, match="does not let the login 'me' read base") as caught:
            registry_base(server, cache)
        assert "wrong" not in str(caught.value)


def test_a_registry_that_is_not_there_and_a_name_that_it_lacks(cache: LayerCache):
    with RegistryServer() as server, pytest.raises(errors.UsageError, match="does not know it"):
        registry_base(server, cache)
    with pytest.raises(errors.NetworkError, match="cannot reach the registry"):
        registry_base(server, cache)


# --- wheels and layers


def python_of(minor: str = "3.12", glibc: str = "2.36") -> base_python.BasePython:
    return base_python.inspect(
        tree(base_files(minor=minor, glibc=glibc)), name="base", path="/usr/local/bin", platform=AMD64
    )


def entry(name: str, *files: str) -> dict[str, object]:
    listed = [{"name": file, "url": f"https://host/{file}", "hashes": {"sha256": file}} for file in files]
    return {"name": name, "version": "1.0", "wheels": listed}


def test_the_wheel_that_fits_best_and_is_locked_is_chosen():
    names = (
        "a-1.0-py3-none-any.whl",
        "a-1.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "a-1.0-cp312-cp312-manylinux_2_39_x86_64.whl",
        "a-1.0-cp312-cp312-musllinux_1_2_x86_64.whl",
        "a-1.0-cp311-abi3-manylinux_2_28_x86_64.whl",
    )
    every = {f"sha256:{name}" for name in names}
    (wheel,) = _wheelhouse.choose_wheels([entry("a", *names)], python_of(), hashes={"a": every})
    assert wheel.file == names[1]
    (wheel,) = _wheelhouse.choose_wheels([entry("a", *names)], python_of(), hashes={"a": {f"sha256:{names[4]}"}})
    assert wheel.file == names[4]


def test_every_package_without_a_wheel_is_named_with_what_it_needs():
    entries = [
        entry("sources"),
        entry("other", "other-1.0-cp313-cp313-manylinux_2_17_x86_64.whl"),
        entry("a", "a-1.0-py3-none-any.whl"),
    ]
    with pytest.raises(errors.NoWheelError) as caught:
        _wheelhouse.choose_wheels(entries, python_of(), hashes={})
    text = str(caught.value)
    assert "sources 1.0: it has no locked wheel" in text
    assert "none for Python 3.12 on x86_64 with glibc 2.36" in text
    assert "container write" in text
    assert "a 1.0" not in text


def wheel(name: str, size: int) -> LockedWheel:
    return LockedWheel(name=name, version="1", file="", url="", sha256="", size=size)


def test_a_layer_is_its_files_and_little_more():
    out = io.BytesIO()
    files = {"/a/one": LayerFile(content=b"1"), "/a/two": LayerFile(content=bytes(600))}
    _layers.write_layer(out, files, directories={}, epoch=0)
    headers, contents, end = 3 * 512, 512 + 1024, 2 * 512
    assert len(out.getvalue()) == headers + contents + end
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        assert archive.getnames() == ["a", "a/one", "a/two"]


def test_large_packages_are_alone_and_no_image_has_too_many_layers():
    many = [wheel(f"large{number}", 10**6 + number) for number in range(200)] + [wheel(f"p{n}", 10) for n in range(200)]
    groups = grouped(many, taken=6)
    assert len(groups) + 6 <= MOST
    assert sorted(one.name for group in groups for one in group.wheels) == sorted(one.name for one in many)


def test_one_changed_package_makes_one_other_layer():
    many = [wheel(f"large{number}", 10**6) for number in range(20)] + [wheel(f"p{number}", 10) for number in range(60)]
    before = {group.title for group in grouped(many, taken=6)}
    for changed in ("large3", "p7"):
        other = [replace(one, version="2") if one.name == changed else one for one in many]
        after = {group.title for group in grouped(other, taken=6)}
        assert len(after - before) == 1


# --- shared libraries


def elf(*needed: str, soname: str = "", machine: int = 0x3E) -> bytes:
    """The smallest shared library that says what it loads; all bytes are ASCII, as texts in wheels of these tests are."""
    strings, entries = b"\0", b""
    for tag, name in [*((1, name) for name in needed), *([(14, soname)] if soname else [])]:
        entries += struct.pack("<QQ", tag, len(strings))
        strings += name.encode() + b"\0"
    entries += struct.pack("<QQ", 5, 0x10100)
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HHIQQQIHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2)
    loaded = struct.pack("<IIQQQQQQ", 1, 4, 0, 0x10000, 0, 0x300, 0x300, 0)
    dynamic = struct.pack("<IIQQQQQQ", 2, 4, 0x200, 0x10200, 0, 0x100, 0x100, 0)
    table = head.ljust(64, b"\0") + loaded + dynamic
    return table.ljust(0x100, b"\0") + strings.ljust(0x100, b"\0") + entries.ljust(0x100, b"\0")


def test_what_a_compiled_file_loads_is_read_from_it():
    content = elf("libgomp.so.1", "libc.so.6", soname="libx.so.1")
    read = shared_libraries.read_dynamic
    assert read(io.BytesIO(content), 0x3E) == ("libx.so.1", ["libgomp.so.1", "libc.so.6"])
    assert read(io.BytesIO(content), 0xB7) is None  # for another processor
    assert read(io.BytesIO(elf("libc.musl-x86_64.so.1", "libz.so.1")), 0x3E) is None


def test_a_damaged_compiled_file_is_passed_over():
    content = elf("libgomp.so.1")
    for end in range(0, len(content), 7):
        shared_libraries.read_dynamic(io.BytesIO(content[:end]), 0x3E)
    for at in range(0x100):
        changed = content[:at] + b"\xff" + content[at + 1 :]
        shared_libraries.read_dynamic(io.BytesIO(changed), 0x3E)


def test_the_libraries_of_a_base_are_those_that_its_loader_finds():
    made = tree(
        {
            "lib": "usr/lib",
            "usr/lib/x86_64-linux-gnu/libz.so.1": "libz.so.1.2",
            "usr/lib/x86_64-linux-gnu/libz.so.1.2": b"",
            "usr/lib/x86_64-linux-gnu/libgone.so.1": "nothing",
            "etc/ld.so.conf.d/own.conf": b"# a comment\n/opt/own/lib\n",
            "opt/own/lib/libown.so.2": b"",
            "opt/other/libother.so": b"",
            "srv/libsrv.so": b"",
        }
    )
    names = shared_libraries.in_base(made, "x86_64-linux-gnu", ["LD_LIBRARY_PATH=/opt/other"])
    assert names == ("libother.so", "libown.so.2", "libz.so.1", "libz.so.1.2")


def test_only_what_nobody_has_is_missing():
    distributions = {
        "lightgbm": {"provided": ["lib_lightgbm.so"], "needed": ["libc.so.6", "libgomp.so.1", "libpython3.12.so.1.0"]},
        "torch": {"provided": [], "needed": ["libcublas.so.12", "libcuda.so.1"]},
        "nvidia-cublas": {"provided": ["libcublas.so.12"], "needed": []},
    }
    (one,) = shared_libraries.missing(distributions, ["libc.so.6"])
    assert (one.distribution, one.library) == ("lightgbm", "libgomp.so.1")


def test_a_library_that_the_base_lacks_is_named_by_every_build(
    app: Path, base: Path, wheels: Path, served: IndexServer, tmp_path: Path
):
    info = "delta-1.0.dist-info"
    files = {
        "delta/native.so": elf("libgomp.so.1", "libc.so.6", "libown-0a1b.so.1").decode(),
        "delta.libs/libown-0a1b.so.1": elf("libc.so.6", soname="libown-0a1b.so.1").decode(),
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: delta\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    write_archive(wheels / "delta-1.0-py3-none-any.whl", files, info)
    lock(app, *sorted(wheels.iterdir()))
    for _ in range(2):  # from new layers, and from those that are there
        result = built(app, base, output=tmp_path / "img.tar")
        assert result.as_dict()["missing_libraries"] == ({"distribution": "delta", "library": "libgomp.so.1"},)
        assert "libraries that the base lacks: delta (libgomp.so.1)" in repr(result)


# --- the user


def test_the_user_has_a_name_where_the_base_has_none_of_its_number():
    files, _ = home_files({"/etc/passwd": "root:x:0:0:root:/root:/bin/sh", "/etc/group": ""})
    assert files["/etc/passwd"].content == b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"
    assert files["/etc/group"].content == b"app:x:1000:\n"
    files, owners = home_files(
        {"/etc/passwd": "ubuntu:x:1000:1000::/home/ubuntu:/bin/sh\n", "/etc/group": "app:x:9:\n"}
    )
    assert (list(files), owners) == (["/home/app"], {"/home/app": (0o755, 1000, 1000)})


# --- the whole


def test_an_image_holds_the_locked_packages_and_the_project(app: Path, base: Path, served: IndexServer, tmp_path: Path):
    output, sbom = tmp_path / "img.tar", tmp_path / "sbom.json"
    members = build(app, base, output, sbom=sbom)
    site = "usr/local/lib/python3.12/site-packages"
    assert {f"{site}/alpha.py", f"{site}/app.py", "usr/local/bin/alpha", "usr/local/bin/app"} <= set(members)
    assert file_of(output, "usr/local/bin/app").startswith(b"#!/usr/local/bin/python3.12\n")
    assert not any("direct_url" in name or "uv_cache" in name or name.endswith(".lock") for name in members)
    home = members.pop("home/app")
    assert (home.isdir(), home.mode, home.uid, home.gid, home.mtime) == (True, 0o755, 1000, 1000, 0)
    assert {(one.uid, one.gid, one.mtime) for one in members.values()} == {(0, 0, 0)}
    assert {one.mode for one in members.values()} <= {0o755, 0o644}
    record = file_of(output, f"{site}/app-1.0.dist-info/RECORD").decode().splitlines()
    assert record[:-1] == sorted(record[:-1])
    script = file_of(output, "usr/local/bin/app")
    expected = base64.urlsafe_b64encode(hashlib.sha256(script).digest()).rstrip(b"=").decode()
    assert f"../../../bin/app,sha256={expected},{len(script)}" in record
    listed = {one["name"]: one for one in json.loads(sbom.read_text())["components"]}
    assert {name: one["version"] for name, one in listed.items()} == {
        "alpha": "1.0",
        "app": "1.0",
        "pip": "24.0",
        "libc6": "2.36-9",
    }
    assert listed["libc6"]["purl"] == "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12"
    alpha = next(tmp_path.glob("wheels/alpha*")).read_bytes()
    assert listed["alpha"]["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(alpha).hexdigest()}]


def test_the_archive_is_a_layout_and_one_of_dockers_and_its_digests_are_right(
    app: Path, base: Path, served: IndexServer, tmp_path: Path
):
    output = tmp_path / "img.tar"
    result = built(app, base, output=output, tag="mine")
    (image,) = json.loads(member(output, "manifest.json"))
    assert image["RepoTags"] == ["mine:latest"]
    config = json.loads(member(output, image["Config"]))
    assert (config["config"]["User"], config["config"]["Entrypoint"]) == ("1000:1000", ["/usr/local/bin/app"])
    assert config["config"]["WorkingDir"] == "/home/app"
    assert "HOME=/home/app" in config["config"]["Env"]
    assert config["created"] == "1970-01-01T00:00:00Z"
    (entry,) = json.loads(member(output, "index.json"))["manifests"]
    assert (entry["digest"], digest(member(output, image["Config"]))) == (result.digest, result.image)
    manifest = json.loads(member(output, f"blobs/sha256/{entry['digest'].removeprefix('sha256:')}"))
    for blob in (manifest["config"], *manifest["layers"]):
        content = member(output, f"blobs/sha256/{blob['digest'].removeprefix('sha256:')}")
        assert (digest(content), len(content)) == (blob["digest"], blob["size"])
    assert [one["digest"] for one in manifest["layers"][1:]] == config["rootfs"]["diff_ids"][1:]


def test_the_same_input_gives_the_same_image_from_another_place(
    app: Path, base: Path, wheels: Path, served: IndexServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    results = [built(app, base, output=tmp_path / "one.tar")]
    other = make_app(tmp_path / "with spaces and ü" / "app", wheels)
    monkeypatch.setenv("COLAB_ENV_HOME", str(tmp_path / "other data"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "other uv"))
    for path in other.iterdir():
        os.utime(path, (10**9, 10**9))
    before = os.umask(0o077)
    try:
        results.append(built(other, base, output=tmp_path / "two.tar"))
    finally:
        os.umask(before)
    assert (results[0].image, results[0].digest) == (results[1].image, results[1].digest)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_a_source_change_makes_one_layer_of_the_projects_files(
    app: Path, base: Path, served: IndexServer, tmp_path: Path
):
    before = built(app, base, output=tmp_path / "img.tar")
    asked = len(served.asked)
    (app / "app.py").write_text("def main(): print(2)\n")
    after = built(app, base, output=tmp_path / "img.tar")
    assert [one.digest for one in after.layers[:-1]] == [one.digest for one in before.layers[:-1]]
    assert [one.is_new for one in after.layers] == [False, False, True]
    assert after.new_bytes < 64_000
    assert len(served.asked) == asked


def test_pyc_files_are_never_checked_against_their_sources(app: Path, base: Path, served: IndexServer, tmp_path: Path):
    output = tmp_path / "img.tar"
    python = f"3.{sys.version_info.minor}"  # one that is here
    directory = Image(base_files(minor=python)).write_layout(tmp_path / "own")
    members = build(app, directory, output)
    pyc = [name for name in members if name.endswith(".pyc")]
    assert pyc
    for name in pyc:
        content = file_of(output, name)
        assert int.from_bytes(content[4:8], "little") == 0b01  # PEP 552: by hash, unchecked
        assert str(tmp_path).encode() not in content
    without = build(app, directory, tmp_path / "other.tar", compile_bytecode=False)
    assert not any(name.endswith(".pyc") for name in without)


def test_what_the_base_has_in_another_version_is_hidden(
    app: Path, base: Path, wheels: Path, served: IndexServer, tmp_path: Path
):
    write_wheel(wheels, "pip", "25.0")
    lock(app, *sorted(wheels.iterdir()))
    members = build(app, base, tmp_path / "img.tar")
    site = "usr/local/lib/python3.12/site-packages"
    assert {f"{site}/.wh.pip-24.0.dist-info", f"{site}/pip/.wh.__init__.py", f"{site}/pip.py"} <= set(members)


def test_a_record_hides_nothing_but_what_its_own_wheel_has_put_there():
    files = base_files()
    site = "usr/local/lib/python3.12/site-packages"
    listed = [
        *("pip/__init__.py", "../../../bin/pip", "../../../share/pip.1", "/etc/passwd", "../../../../../bin/sh"),
        *("../../../bin/python3.12", "../os.py", "../site-packages", "other", "other/x.py", "pip/.wh..opq"),
        *("kept.dist-info", "kept.dist-info/METADATA", "shared.py"),
    ]
    files[f"{site}/pip-24.0.dist-info/RECORD"] = "".join(f"{name},,\n" for name in listed).encode()
    files[f"{site}/kept.dist-info/METADATA"] = b"Name: kept\nVersion: 1\n\n"
    files[f"{site}/kept.dist-info/RECORD"] = b"other/x.py,,\nshared.py,,\n"
    python = base_python.inspect(tree(files), name="base", path="/usr/local/bin", platform=AMD64)
    hidden = [f"/{site}/pip-24.0.dist-info", f"/{site}/pip/__init__.py"]
    hidden = sorted([*hidden, "/usr/local/bin/pip", "/usr/local/share/pip.1"])
    assert replaced_files(python, {"pip": "25.0"}) == hidden


def test_nothing_is_downloaded_where_a_package_has_no_wheel(
    app: Path, base: Path, wheels: Path, served: IndexServer, tmp_path: Path
):
    files = {"gamma.py": "", "gamma-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: gamma\nVersion: 1.0\n"}
    write_archive(wheels / "gamma-1.0-cp310-cp310-macosx_11_0_arm64.whl", files, "gamma-1.0.dist-info")
    lock(app, *sorted(wheels.iterdir()))
    with pytest.raises(errors.NoWheelError, match=r"gamma 1.0"):
        build(app, base, tmp_path / "img.tar")
    assert not any(path.endswith(".whl") for path in served.asked)
    assert not (tmp_path / "img.tar").exists()


def test_a_project_that_is_compiled_itself_is_refused(app: Path, base: Path, served: IndexServer, tmp_path: Path):
    backend = (app / "backend.py").read_text()
    renamed = """
_build = build_wheel
def build_wheel(directory, config_settings=None, metadata_directory=None):
    made = Path(directory) / _build(directory)
    return made.rename(made.with_name("app-1.0-cp312-cp312-linux_x86_64.whl")).name
"""
    (app / "backend.py").write_text(backend + renamed)
    with pytest.raises(errors.NoWheelError, match="app itself is compiled, here for this machine"):
        build(app, base, tmp_path / "img.tar")
    assert not (tmp_path / "img.tar").exists()


def test_what_was_not_used_for_the_longest_time_goes_first(tmp_path: Path):
    cache = LayerCache(tmp_path / "cache")
    digests = []
    with cache.opened():
        for number in range(3):
            with cache.writing() as out:
                out.write(bytes([number]) * 1000)
            digests.append(out.digest)
            os.utime(cache.path(out.digest), (number, number))
        assert cache.has(digests[0], 1000)  # that is a use
        assert not cache.has(digests[0], 999)
        assert cache.prune(2000) == 1000
        assert [cache.has(each, 1000) for each in digests] == [True, False, True]


def test_a_killed_build_leaves_nothing_and_the_next_one_clears_up(
    app: Path, base: Path, served: IndexServer, tmp_path: Path
):
    target = tmp_path / "target"
    target.mkdir()
    code = (
        "import os, signal; from colab_env import container; from colab_env.image.image import BuiltImage\n"
        "BuiltImage.open = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"container.build({str(app)!r}, base='oci:{base}', lock='requirements.txt', platform='linux/amd64',"
        f" output={str(target / 'img.tar')!r})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == -9
    assert list(target.iterdir()) == []
    images = Machine.detect().data / "images"
    assert list(images.glob("work-*"))
    build(app, base, target / "img.tar")
    assert not list(images.glob("work-*"))


def test_system_packages_are_refused_before_anything_is_done(app: Path, tmp_path: Path, home: Path):
    (app / "pyproject.toml").write_text(PYPROJECT + '[tool.colab-env]\napt = ["libpq5"]\n')
    with pytest.raises(errors.UsageError, match="system packages cannot be installed without an engine: libpq5"):
        built(app, "oci:/nowhere", output=tmp_path / "img.tar")


def test_a_base_with_another_python_is_refused(app: Path, base: Path, served: IndexServer, tmp_path: Path):
    text = PYPROJECT.replace(">=3.10", ">=3.13")
    (app / "pyproject.toml").write_text(text)
    with pytest.raises(errors.BaseImageError, match=r"has Python 3\.12\.7, and the project needs >=3\.13") as caught:
        build(app, base, tmp_path / "img.tar")
    assert "--python" not in caught.value.hint
    (app / "pyproject.toml").write_text(PYPROJECT)
    with pytest.raises(errors.BaseImageError, match=r"needs 3\.11") as caught:
        build(app, base, tmp_path / "img.tar", python="3.11")
    assert "or ask for its Python with --python 3.12" in caught.value.hint


def test_a_target_that_is_somebody_elses_stays(app: Path, base: Path, served: IndexServer, tmp_path: Path):
    output = tmp_path / "img.tar"
    output.write_text("mine")
    with pytest.raises(errors.NotOursError, match="is no image that colab-env wrote"):
        build(app, base, output)
    assert output.read_text() == "mine"
    with pytest.raises(errors.NotOursError, match="is no list of what is in an image"):
        build(app, base, tmp_path / "other.tar", sbom=output)
    output.unlink()
    build(app, base, output)
    build(app, base, output)  # over its own


@pytest.mark.parametrize("options", [{}, {"output": "a.tar", "platform": "linux/s390x"}, {"push": "A B"}])
def test_options_that_cannot_be_right_are_refused(app: Path, options: dict[str, str]):
    with pytest.raises(errors.UsageError):
        built(app, "base", **options)


def test_an_archive_that_is_not_finished_has_no_name(
    app: Path, base: Path, served: IndexServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(self: BuiltImage, blob: object) -> io.BytesIO:
        seen.extend(path.name for path in target.iterdir())
        raise KeyboardInterrupt

    seen: list[str] = []
    target = tmp_path / "target"
    target.mkdir()
    monkeypatch.setattr(BuiltImage, "open", fail)
    with pytest.raises(KeyboardInterrupt):
        build(app, base, target / "img.tar")
    assert seen == []
    assert list(target.iterdir()) == []
    assert not list((Machine.detect().data / "images").glob("work-*"))


def test_a_full_disk_is_named(app: Path, base: Path, served: IndexServer, small_disk: Path):
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 8192))
    with pytest.raises(errors.DiskFullError):
        build(app, base, small_disk / "img.tar")
    assert [path.name for path in small_disk.iterdir() if path.name.startswith((".img", "img"))] == []


def test_the_output_is_named_without_detours(tmp_path: Path):
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real/deep")
    assert _files.output_path(tmp_path / "real/../b.tar") == tmp_path / "b.tar"
    assert _files.output_path(tmp_path / "link/../b.tar") == tmp_path / "real/b.tar"


# --- pushing


def test_a_push_sends_what_is_not_there_and_names_it_last(app: Path, served: IndexServer, tmp_path: Path, home: Path):
    with RegistryServer(user="me", password="secret") as server:
        server.add("base", "1", [Image()])
        log_in(home, server)

        def pushed() -> container.BuildResult:
            server.asked.clear()
            return built(app, f"{server.host}/base:1", push=f"{server.host}/me/app:2")

        first = pushed()
        assert server.asked[-1] == "PUT /v2/me/app/manifests/2"
        (base_layer,) = Image().layers
        assert base_layer in server.blobs["me/app"]  # taken over, not sent
        uploads = [one for one in server.asked if one.startswith("PUT /v2/me/app/blobs")]
        assert len(uploads) == len(first.layers) + 1
        _, manifest = server.manifests["me/app", "2"]
        assert first.pushed == f"{server.host}/me/app@{digest(manifest)}"
        for blob in json.loads(manifest)["layers"]:
            assert digest(server.blobs["me/app"][blob["digest"]]) == blob["digest"]
        second = pushed()
        assert not [one for one in server.asked if one.startswith("PUT /v2/me/app/blobs")]
        assert (second.pushed, second.sent) == (first.pushed, len(manifest))


def test_a_push_that_fails_leaves_the_complete_file_and_says_so(
    app: Path, base: Path, served: IndexServer, home: Path, tmp_path: Path
):
    output, sbom = tmp_path / "img.tar", tmp_path / "sbom.json"
    with RegistryServer(user="me", password="secret") as server:
        log_in(home, server, "wrong")
        with pytest.raises(errors.RegistryLoginError) as caught:
            built(app, base, output=output, sbom=sbom, push=f"{server.host}/me/app:1")
    assert caught.value.hint.endswith(f"written all the same, and complete: {output}, {sbom}")
    assert "usr/local/bin/app" in contents(output)
    assert json.loads(sbom.read_text())["bomFormat"] == "CycloneDX"


def test_no_password_is_shown(app: Path, served: IndexServer, home: Path, capfd: pytest.CaptureFixture[str]):
    from colab_env import cli

    with RegistryServer(user="me", password="other") as server:
        server.add("base", "1", [Image()])
        log_in(home, server)
        words = [
            "container",
            "build",
            "--project",
            str(app),
            "--lock",
            "requirements.txt",
            "--base",
            f"{server.host}/base:1",
            "--push",
            f"{server.host}/a",
        ]
        assert cli.main(words) == errors.RegistryLoginError.exit_code
    shown = "".join(capfd.readouterr())
    assert "secret" not in shown
    assert base64.b64encode(b"me:secret").decode() not in shown
