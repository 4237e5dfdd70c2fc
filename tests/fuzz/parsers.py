"""Every parser of the package, with the inputs that it gets and the call that a command makes of it."""

# ruff: noqa: E501, PT008, PLW0108

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import strategies as st
from registry_server import base_files, layer
from requests.adapters import HTTPAdapter

from colab_env import (
    _download,
    _ledger,
    _orphans,
    _process,
    _state,
    choice,
    content,
    index,
    kernel,
    live_proof,
    native,
    notebook,
    open_in_colab,
    planning,
    poetry,
    pyproject,
    switching,
    system,
    uv,
    venv,
    wheels,
)
from colab_env._process import Finished
from colab_env.errors import ColabEnvError, CommandError
from colab_env.image import _registry, base, base_python, reference
from colab_env.image.rootfs import RootFS
from colab_env.interpreter import Interpreter, format_specifier, parse_specifier, unsupported_python_message
from colab_env.interpreter_sources import ResolvedPython
from colab_env.interpreters import uv as uv_source
from colab_env.jupyter import colab_layer, kernelspec
from colab_env.locks import registry, requirements_text, uv_install
from colab_env.locks.installing import Selection, trusting
from colab_env.locks.lock_format import reading
from colab_env.miniconda import _overlay, conda, environment_yml, faults
from colab_env.named_env import base_dirs, exporting, inventory, locking, programs, scripts, units
from colab_env.native_need import extract, source_archive, watching
from colab_env.notebook_file import jupyter_server
from colab_env.plans import distributions, keeping
from colab_env.plans.keeping import SystemPackages
from colab_env.request import InstallOptions, Request
from colab_env.snapshot import signing
from colab_env.standalone import _poetry

from . import outside, seeds
from .inputs import as_json, as_toml, free, lines, restructured, values, words, written
from .trial import Parser, Tally, World, run
from .trial import world as make_world

_BLOB = {"mediaType": "application/x", "digest": f"sha256:{0:064}", "size": 3}
_OF_AMD64 = {**_BLOB, "platform": {"os": "linux", "architecture": "amd64"}}
_MANIFESTS = [{"manifests": [_OF_AMD64]}, {"config": _BLOB, "layers": [_BLOB, _BLOB]}]
_SAVED = [[{"Config": "c.json", "RepoTags": ["a:b"], "Layers": ["l.tar"]}]]
_LOGINS = [{"auths": {"ghcr.io": {"auth": "bWU6cHc="}, "docker.io": {"identitytoken": "t"}}, "credHelpers": {"a": "b"}}]
_BASE_TEXTS = [
    'ID=debian\nVERSION_ID="12"\n',
    "Package: a\nStatus: install ok installed\nVersion: 1\n\nPackage: b\n",
    "Name: pip\nVersion: 24.0\n\ntext",
    "pip/__init__.py,sha256=x,3\n../../../bin/pip,,\n",
    '#define PY_VERSION "3.12.7"',
]
_OWN_LOCKS = [
    {
        "lock-version": "1.0",
        "requires-python": "==3.12.*",
        "packages": [
            {
                "name": "six",
                "version": "1.16.0",
                "index": "https://pypi.org/simple",
                "wheels": [{"url": "https://x.org/six-1.16.0-py2.py3-none-any.whl", "hashes": {"sha256": "0" * 64}}],
                "tool": {"colab-env": {"content": "sha256:0", "hashes": ["sha256:0"]}},
            },
            {"name": "a", "version": "1", "wheels": [{"path": "colab-env-sources/a.whl", "hashes": {"sha256": "0"}}]},
            {"name": "b", "version": "1", "vcs": {"type": "git", "url": "https://x.org/b", "commit-id": "0"}},
            {"name": "c", "version": "1", "archive": {"url": "https://x.org/c.zip", "hashes": {"sha256": "0"}}},
            {"name": "d", "version": "1", "directory": {"path": "/srv/d", "editable": True}},
        ],
    }
]
_EXPORTS = [
    {"version": 1, "name": "web", "python": "3.12.4", "packages": ["six"], "kernel": False, "keep": 2, "added": []}
]
_ENV_MANIFESTS = [
    {"environments": {"web": {"packages": ["flask", "./a.whl"], "python": ">=3.11", "keep": 3}}},
    {"environments": {"a": {"project": "~/x", "kernel": True}, "b": {"export": "b.env.zip"}}},
]
_damaged_layers = st.builds(
    lambda content, at, byte: content[: at % len(content)] + byte + content[at % len(content) + 1 :],
    st.just(layer({"a/b": b"content", "c": "a/b", "a/.wh.x": b"", "lib": None})),
    st.integers(0, 5000),
    st.binary(min_size=1, max_size=1),
)
_no_cache: Any = None  # what is wrong in an index or an archive is said before any layer is read
ABSENT = ResolvedPython(python=Interpreter(path=Path("python"), version="3.12", source="uv"), is_installed=False)
SEEN = Interpreter(path=Path("/usr/bin/python3"), version="3.12.4", source="system")


def _project(world: World, **files: bytes) -> Path:
    project = world.directory / "project"
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir(parents=True)
    for name, file in files.items():
        (project / name.replace("__", ".")).write_bytes(file)
    return project


def _planned(world: World, **files: bytes) -> None:
    """Read a project as `plan` and `setup` do, as far as no program is needed."""
    request = Request.read(_project(world, **files), world.machine, options=InstallOptions())
    specifier = request.specifier
    unsupported_python_message("3.12.4", specifier, asking="x", is_colab=False)
    selection = replace(request.selection, accepts_stale=True)
    planning._locked_versions(request, selection, ABSENT, SystemPackages(), seeds.MARKERS)
    distributions.project_needs(request.pyproject, seeds.MARKERS, extras=["plot"])
    if request.lock.is_there:
        request.lock.format.sources(request.lock)
    _ = request.inputs, request.options_digest


def _locked(name: str, beside: dict[str, Any] | None = None) -> Callable[[World, bytes], None]:
    others = {key: as_toml(value).encode() for key, value in (beside or {}).items()}
    return lambda world, content: _planned(world, **{name: content, **others})


def _asked_uv(name: str) -> Callable[[World, bytes], None]:
    """Read a lock file that uv reads: without one, as far as to the call."""

    def call(world: World, content: bytes) -> None:
        lock = registry.find(_project(world, **{name: content, "pyproject.toml": b""}), name)
        _ = lock.digest, lock.text, lock.requires_python
        lock.format.sources(lock)
        lock.format.require_whole(lock)
        with _answered(1, "error: it is not TOML"), contextlib.suppress(CommandError):
            lock.format.export(lock, Selection(), python=Path("python"), machine=world.machine)

    return call


@contextlib.contextmanager
def _answered(returncode: int, *printed: str):
    def run(argv: Sequence[Any], *, check: bool = True, follow: Any = None, **_options: Any) -> Finished:
        for line in printed:
            if follow is not None:
                follow.on_line(line)
        finished = Finished(argv=tuple(map(str, argv)), returncode=returncode, lines=printed)
        if check and returncode:
            raise _process.failed(finished)
        return finished

    with mock.patch.object(_process, "run", run), mock.patch.object(uv, "ensure", lambda _machine: Path("uv")):
        yield


def _pylock_without(world: World, content: bytes) -> None:
    from colab_env.formats import pylock_toml

    lock = registry.find(_project(world, **{"pylock.toml": content}))
    with reading(lock):
        pylock_toml.without(lock.text, {"six"}, directory=lock.directory)


def _notebook(world: World, content: bytes) -> None:
    for old in world.directory.glob("lesson.ipynb*"):
        old.unlink()
    path = world.put("lesson.ipynb", content)
    notebook.check_notebook_kernel(path, "py312")
    repr(notebook.set_notebook_kernel(path, "py312"))
    notebook.restore_notebook(path)


def _script(name: str) -> Callable[[World, bytes], None]:
    def call(world: World, content: bytes) -> None:
        path = world.put(name, content)
        lock = registry.find(path.parent, path)
        asked = lock.requires_python
        lock.digest  # noqa: B018
        parse_specifier(asked or "*")

    return call


def _recipe(world: World, content: bytes) -> None:
    asked = scripts.recipe(world.put("script.py", content))
    if asked is not None:
        scripts.environment_name(asked, machine=world.machine)
        asked.checked()
        parse_specifier(asked.specifier(world.machine))


def _requirements(world: World, content: bytes) -> None:
    _planned(
        world, **{"requirements.txt": content, "other.txt": content, "a.txt": b"-r requirements.txt\n-r nothing/\n"}
    )
    text = content.decode("utf-8", "replace")
    requirements_text.without(text, ["six"])
    trusting(text)
    [requirements_text.pins(each) for _, each in requirements_text.requirements(text)]


def _environment_yml(world: World, content: bytes) -> None:
    project = _project(world, **{"environment.yml": content, "requirements.txt": b"six\n"})
    lock = registry.find(project, "environment.yml")
    _ = lock.digest, lock.requires_python
    environment_yml.named_channels(content.decode("utf-8", "replace"))
    environment_yml.CondaEnvironment(
        project=project, file=lock.path, digest=lock.digest, distribution="miniconda", machine=world.machine
    )._environ()


def _pyproject(world: World, content: bytes) -> None:
    _planned(world, **{"pyproject.toml": content})
    found = pyproject.Pyproject.read(world.directory / "project")
    _ = found.has_dependencies, found.poetry_groups, found.is_poetry_package
    inner = world.directory / "project/packages/one"
    inner.mkdir(parents=True, exist_ok=True)
    (inner / "pyproject.toml").write_text('[project]\nname = "one"\n')
    pyproject.uv_workspace_root(inner, pyproject.Pyproject.read(inner))
    lock = registry.find(world.directory / "project")
    if not lock.format.is_lock:
        with _answered(1, "error: no"), contextlib.suppress(CommandError):
            lock.format.export(lock, Selection(), python=Path("python"), machine=world.machine)
    pyproject.complete(world.directory / "project", python=SEEN, system_site_packages=True)


def _poetry_toml(world: World, content: bytes) -> None:
    pyproject.complete(_project(world, **{"poetry.toml": content}), python=SEEN, system_site_packages=True)


def _specifier(_world: World, text: str) -> None:
    found = parse_specifier(text)
    format_specifier(found)
    unsupported_python_message("3.12.4", found, asking="x", is_colab=True)
    system.missing(found, [SEEN], own=SEEN)


def _python_option(world: World, text: str) -> None:
    request = Request.read(_project(world), world.machine, python=text)
    _ = request.specifier, request.requested_python
    if path := request.python_path:
        with _answered(1, "no Python"):
            system.at_path(path, machine=world.machine)


def _named(_world: World, text: str) -> None:
    keeping.names([text])
    InstallOptions.from_arguments(lock=text, keep=[text], extras=[text])
    kernelspec.check_kernel_name(text)
    base_dirs.check_environment_name(text)


def _lock_option(world: World, text: str) -> None:
    _ = Request.read(
        _project(world, **{"requirements.txt": b"six\n"}),
        world.machine,
        options=InstallOptions.from_arguments(lock=text),
    ).inputs


def _project_option(world: World, text: str) -> None:
    from colab_env.request import project_directory

    project_directory(text)


def _pyvenv(world: World, content: bytes) -> None:
    project = _project(world)
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/python").touch()
    (project / ".venv/pyvenv.cfg").write_bytes(content)
    venv.mismatch(project, python=SEEN, system_site_packages=True, receipt=None)
    venv.sees_system(project)
    venv.health_check(project, python=SEEN, system_site_packages=False, inputs="x", receipt=None)


def _read_state(kind: Any) -> Callable[[World, bytes], None]:
    def call(world: World, content: bytes) -> None:
        path = world.put("state.json", content)
        found = _state.read(path, kind)
        if found is None:
            _state.fault(path, kind)
        else:
            _state.write(path, found)
            assert _state.read(path, kind) == found
            repr(found).encode("utf-8", "surrogateescape")

    return call


def _chosen(world: World, content: bytes) -> None:
    world.machine.data.mkdir(exist_ok=True)
    (world.machine.data / "chosen.json").write_bytes(content)
    _ = choice.python(world.machine), choice.fault(world.machine), choice.path(world.machine, "project")


def _journal(world: World, content: bytes) -> None:
    ledger = _ledger.Ledger(world.directory / "data")
    ledger.directory.mkdir(parents=True, exist_ok=True)
    (ledger.directory / "journal.jsonl").write_bytes(content)
    record = ledger.read()
    for entry in record.entries:
        _ = (
            os.path.lexists(entry.path),
            entry.sha256_before,
            [os.path.lexists(each) for each in entry.made],
            hash(entry.path),
        )
    for path in _ledger.swept(record):
        os.path.lexists(path)


def _kernel(world: World, content: bytes) -> None:
    place = world.machine.jupyter / "kernels/py312"
    place.mkdir(parents=True, exist_ok=True)
    (place / "kernel.json").write_bytes(content)
    for each in kernelspec.registered(world.machine):
        json.dumps(each.as_dict(), default=str)
    found = kernelspec.read(world.machine, "py312")
    if found is not None:
        kernelspec.own(found)
        kernelspec.health_check(world.machine, "py312", found)
        kernelspec.started_environ(found, {})
    kernelspec.is_ours(place)


def _metadata(world: World, value: tuple[bytes, bytes, bytes, bytes]) -> None:
    info = world.directory / "site/six-1.16.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    for name, file in zip(("METADATA", "RECORD", "WHEEL", "top_level.txt"), value, strict=True):
        (info / name).write_bytes(file)
    for each in distributions.read([info.parent]).values():
        list(each.needs(seeds.MARKERS, ["a"]))
        each.files()
        each.size()


def _conda_meta(world: World, value: tuple[str, bytes]) -> None:
    name, content = value
    meta = world.directory / "prefix/conda-meta"
    shutil.rmtree(meta, ignore_errors=True)
    meta.mkdir(parents=True)
    with contextlib.suppress(OSError, ValueError):  # no file has such a name
        (meta / name.replace("/", "_")).write_bytes(content)
    (meta / "google-colab-1-0.json").write_bytes(content)
    conda.hides_google(meta.parent)
    conda.packages_missing(meta.parent, [name, "six"])
    with contextlib.suppress(OSError, ValueError):
        (meta.parent / "colab-env.json").write_bytes(content)
    conda.health_check(meta.parent, specifier=parse_specifier("*"))


def _settings(world: World, value: tuple[bytes, bytes, dict[str, str]]) -> None:
    pip, uv_toml, environ = value
    (world.machine.home / ".config/pip").mkdir(parents=True, exist_ok=True)
    (world.machine.home / ".config/uv").mkdir(parents=True, exist_ok=True)
    (world.machine.home / ".config/pip/pip.conf").write_bytes(pip)
    (world.machine.home / ".config/uv/uv.toml").write_bytes(uv_toml)
    machine = _with_environ(world, environ)
    found = index.settings(machine)
    uv.environ(machine, found)
    found.poetry_environ(machine.environ)
    for url in (found.url, *found.extra):
        index.is_default(url or "")


def _with_environ(world: World, environ: dict[str, str]) -> Any:
    from dataclasses import replace

    return replace(world.machine, environ={**world.machine.environ, **environ})


def _base(world: World, content: bytes) -> None:
    (world.machine.home / ".config").mkdir(parents=True, exist_ok=True)
    (world.machine.home / ".config/colab-env.toml").write_bytes(content)
    base_dirs.bases(world.machine)


def _image_name(_: World, text: str) -> None:
    with contextlib.suppress(ValueError):
        assert reference.ImageReference.parsed(text).url


def _image_manifest(_: World, content: bytes) -> None:
    wanted = reference.Platform.parsed("linux/amd64")
    if reference.chosen(content, wanted, name="base") is None:
        reference.manifest(content, digest="sha256:0", name="base")


def _image_layout(world: World, content: bytes) -> None:
    world.put("layout/index.json", content)
    place = world.directory / "layout"
    base.open_base(f"oci:{place}", reference.Platform.parsed("linux/amd64"), machine=world.machine, cache=_no_cache)


def _image_archive(world: World, content: bytes) -> None:
    path = world.put("base.tar", layer({"manifest.json": content, "c.json": content, "l.tar": b""}))
    base.open_base(
        f"docker-archive:{path}", reference.Platform.parsed("linux/amd64"), machine=world.machine, cache=_no_cache
    )


def _base_layer(world: World, content: bytes) -> None:
    tree = RootFS("base")
    tree.add(io.BytesIO(content))


def _base_file(world: World, content: bytes) -> None:
    names = ("etc/os-release", "var/lib/dpkg/status", "usr/local/include/python3.12/patchlevel.h")
    info = "usr/local/lib/python3.12/site-packages/pip-24.0.dist-info"
    every = {**base_files(), **dict.fromkeys((*names, f"{info}/METADATA", f"{info}/RECORD"), content)}
    tree = RootFS("base")
    tree.add(io.BytesIO(layer(every)))
    wanted = reference.Platform.parsed("linux/amd64")
    base_python.inspect(tree, name="base", path="/usr/local/bin", platform=wanted)


def _login_file(world: World, content: bytes) -> None:
    (world.machine.home / ".docker").mkdir(parents=True, exist_ok=True)
    (world.machine.home / ".docker/config.json").write_bytes(content)
    for name in ("python:3", "ghcr.io/me/app"):
        repr(_registry.find_login(reference.ImageReference.parsed(name), world.machine))


def _base_variable(world: World, text: str) -> None:
    base_dirs.bases(_with_environ(world, {"COLAB_ENV_BASE": text}))


def _inspected(world: World, text: str) -> None:
    with _answered(0, "a warning", *text.splitlines()[-2:]):
        system.inspect(Path("/usr/bin/python3"), machine=world.machine)


def _queried(world: World, text: str) -> None:
    with _answered(0, "a warning", *text.splitlines()[-2:]):
        list(system.query_interpreter(SEEN, machine=world.machine).directories)


def _listed(world: World, text: str) -> None:
    with _answered(0, "warning: x", *text.splitlines()):
        uv_source._listed(Path("uv"), parse_specifier("*"), world.machine)
        uv._version(Path("uv"), Path("/usr/bin/python3"), {})


def _preflight(_world: World, text: str) -> None:
    kernel._outcome(Finished(argv=("x",), returncode=1, lines=tuple(text.splitlines())))


def _uv_output(world: World, text: str) -> None:
    printed = tuple(text.splitlines()[-400:])  # as many as are kept
    follower, added = uv_install.Follower(world.directory), uv_install._Added()
    for line in printed:
        follower.on_line(line)
        added.on_line(line)
    follower._share(1, 1)
    error = _process.failed(Finished(argv=("uv",), returncode=1, lines=printed))
    with _offline():
        str(uv_install.translate_error(error, {}))
        str(wheels.translate_error(error, {}))
    str(uv._translate_error(error, "3.12"))


def _conda_output(_world: World, text: str) -> None:
    printed = text.splitlines()[-400:]
    faults.recognise(faults.CONDA_FAULTS, printed)
    faults.recognise(faults.INSTALLER_FAULTS, printed)
    faults.channels_with_terms(printed)
    "\n".join(faults.cause_lines(printed)).encode("utf-8", "replace")


def _poetry_output(world: World, text: str) -> None:
    str(
        poetry._translate_error(
            Finished(argv=("poetry",), returncode=1, lines=tuple(text.splitlines()[-400:])), world.directory
        )
    )


@contextlib.contextmanager
def _offline():
    with mock.patch.object(_download, "sign_in_page", lambda _url: None):
        yield


class _Web:
    """A web server in memory: the first answer is what is drawn, every other one an empty page."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.answers = [(status, headers, body)]

    def send(self, adapter: HTTPAdapter, request: Any, **_options: Any) -> Any:
        import io

        import urllib3

        status, headers, body = self.answers.pop() if self.answers else (200, {}, b"")
        raw = urllib3.HTTPResponse(
            body=io.BytesIO(body),
            headers=headers,
            status=status,
            preload_content=False,
            reason="x",
            request_url=request.url,
        )
        return adapter.build_response(request, raw)


def _downloaded(world: World, value: tuple[str, int, dict[str, str], bytes, bytes]) -> None:
    url, status, headers, body, part = value
    for old in world.directory.glob("file*"):
        old.unlink()
    if part:
        world.put("file.part", part)
    web = _Web(status, headers, body)
    with mock.patch.object(
        HTTPAdapter, "send", lambda adapter, request, **options: web.send(adapter, request, **options)
    ):
        _download.fetch(
            url, world.directory / "file", sha256=hashlib.sha256(b"12345").hexdigest(), sleep=lambda _seconds: None
        )


def _read_from_web(_world: World, value: tuple[str, int, dict[str, str], bytes, bytes]) -> None:
    url, status, headers, body, _part = value
    for read in (lambda: _download.read_text(url, sleep=lambda _seconds: None), lambda: _download.sign_in_page(url)):
        web = _Web(status, headers, body)
        with mock.patch.object(
            HTTPAdapter, "send", lambda adapter, request, web=web, **options: web.send(adapter, request, **options)
        ):
            read()


def _index_answer(_world: World, value: tuple[int, bytes]) -> None:
    import requests

    status, body = value
    answer = requests.Response()
    answer.status_code, answer._content = status, body
    with mock.patch.object(_poetry, "_get", lambda _address, accept="": answer):
        _poetry._ask("https://host")
        _poetry._files(answer)


def _remembered(world: World, content: bytes) -> None:
    path = world.put("index.json", content)
    _poetry._read(path)
    with (
        mock.patch.object(_poetry, "_ask", lambda _index: (None, False)),
        mock.patch.dict(
            "sys.modules",
            {"poetry": mock.Mock(), "poetry.console": mock.Mock(), "poetry.console.application": mock.Mock()},
        ),
    ):
        _poetry._is_complete("https://host", path, ["-q"])


def _server_note(world: World, value: tuple[bytes, Any]) -> None:
    content, listed = value
    directory = world.machine.jupyter / "runtime"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "jpserver-1.json").write_bytes(content)
    with (
        mock.patch("colab_env.standalone._leave.call", lambda *_arguments, **_options: listed),
        mock.patch("colab_env.standalone._leave.cookie", lambda *_arguments: {}),
    ):
        list(switching.running(world.machine))


def _mark(_world: World, text: str) -> None:
    _orphans._is_alive(text)


def _stat(_world: World, content: bytes) -> None:
    real = Path.read_text
    with mock.patch.object(
        Path,
        "read_text",
        lambda path, **options: (
            content.decode(errors="replace") if str(path).startswith("/proc/") else real(path, **options)
        ),
    ):
        _orphans._identity(1)


def _proc(world: World, content: bytes) -> None:
    entry = world.directory / "proc/1"
    entry.mkdir(parents=True, exist_ok=True)
    for name in ("cmdline", "environ", "maps"):
        (entry / name).write_bytes(content)
    list(programs._traces(entry))
    programs._process(entry).command.encode()


def _own_lock(world: World, content: bytes) -> None:
    lock = world.put("pylock.toml", content)
    for package in locking.read(content.decode("utf-8", "replace"), path=lock):
        _ = package.requirement, package.is_hashed, package.is_bundled


def _export(world: World, contents: tuple[bytes, bytes, bytes]) -> None:
    """Read an archive of these two texts, and one whose bytes are damaged."""
    description, lock, damage = contents
    target, file = world.directory / "unpacked", world.put("web.env.zip", b"")
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (
            ("environment.json", description),
            ("pylock.toml", lock),
            ("colab-env-sources/a.whl", b""),
        ):
            archive.writestr(name, content)
    archives = (file.read_bytes(), file.read_bytes()[: len(damage)] + damage + file.read_bytes()[len(damage) :], damage)
    for content in archives:
        shutil.rmtree(target, ignore_errors=True)
        file.write_bytes(content)
        with contextlib.suppress(ColabEnvError):
            exported, own_lock = exporting.unpack(file, target)
            exported.recipe(own_lock)


def _env_manifest(world: World, content: bytes) -> None:
    for entry in exporting.read_manifest(world.put("envs.toml", content)):
        if "export" not in entry.options:
            entry.contents(world.directory)


def _unit(_world: World, text: str) -> None:
    units.unit_text(name="x", program=text, arguments=[text], path=Path("/base/x"), command=Path("/usr/bin/colab-env"))


def _native_output(_world: World, text: str) -> None:
    repr(extract.extract(text)).encode("utf-8", "replace")
    watching.looked_for(text.splitlines(), text, phase="build")
    watching.looked_for(text.splitlines(), text, phase="run")


def _native_source(world: World, content: bytes) -> None:
    text = content.decode("utf-8", "replace")
    names = ("p/setup.py", "p/a.c", "p/b.pyx", "p/meson.build", "p/CMakeLists.txt", "p/pyproject.toml", "p/Cargo.toml")
    source_archive.needs(dict.fromkeys(names, text), "p")
    source_archive.read(world.put("p.tar.gz", content))


def _native_check(world: World, content: bytes) -> None:
    path = world.put("uv.lock", content)
    native.check(path.parent, platform="linux/amd64", python="3.12")


def _remote(_world: World, text: str) -> None:
    open_in_colab._owner_and_name(text)


def _state_parser(name: str, kind: Any, *documents: Any) -> Parser:
    full = [{"schema": kind.schema, "version": kind.version, **each} for each in documents]
    return Parser(name=name, inputs=written([*full, *documents], as_json), call=_read_state(kind))


_texts = st.one_of(free.map(lambda content: content.decode("utf-8", "replace")))


def _printed(seed: Sequence[str]) -> st.SearchStrategy[str]:
    return lines(["\n".join(seed)]).map(lambda content: content.decode("utf-8", "replace"))


def _json_text(documents: Sequence[Any]) -> st.SearchStrategy[str]:
    # A child's output has been decoded before anybody reads it.
    return written(documents, lambda value: as_json(value).replace("\n", " ")).map(
        lambda content: content.decode("utf-8", "replace")
    )


def _rewritten(entry: dict[str, Any]) -> st.SearchStrategy[bytes]:
    def line(value: Any) -> bytes:
        try:
            return _ledger._line(value)
        except (TypeError, ValueError, RecursionError):
            return b"{}\n"

    return restructured([entry]).map(line)


_headers = st.dictionaries(
    st.sampled_from(
        ("Content-Length", "Content-Range", "Location", "Content-Encoding", "Transfer-Encoding", "Content-Type")
    ),
    st.one_of(
        st.sampled_from(
            (
                "abc",
                "-1",
                "0",
                "5",
                "1" * 5000,
                "5, 5",
                "bytes */3",
                "bytes 0-1/2",
                "http://[::1",
                "https://host/",
                "/x",
                "//",
                "http://\0",
                "ftp://x",
                "gzip",
                "chunked",
                "text/html; charset=\ud800",
                "text/html; charset=nope",
                "²",
            )
        ),
        words(("5", "http://host/")),
    ).map(lambda text: text.encode("latin-1", "replace").decode("latin-1").replace("\r", "").replace("\n", "")),
    max_size=3,
)
_web = st.tuples(
    st.one_of(
        st.just("https://host/file"),
        words(("https://", "http://", "host", "[::1]", ":80", "/", "user:pw@", "?a=b", "#c", "ftp://")),
    ),
    st.sampled_from((200, 206, 416, 301, 302, 304, 307, 404, 500, 100, 999)),
    _headers,
    st.sampled_from((b"", b"12345", b"<title>x</title><form>", b"\xff\x00")),
    st.sampled_from((b"", b"abc")),
)
_environ_names = (
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_CERT",
    "PIP_CONFIG_FILE",
    "XDG_CONFIG_HOME",
    "UV_INDEX_STRATEGY",
    "PIP_FIND_LINKS",
    "UV_CONFIG_FILE",
)
_environs = st.dictionaries(
    st.sampled_from(_environ_names),
    words(("https://host/simple", "https://user:pw@host/simple", "/dev/null", "/", "first-index")).map(
        lambda text: (
            text.replace("\0", "")
            .encode("utf-8", "surrogateescape" if text.isprintable() else "replace")
            .decode("utf-8", "surrogateescape")
        )
    ),
    max_size=2,
)
_recipe_seed = {
    "python": "3.12",
    "packages": ["six"],
    "project": None,
    "requirements": None,
    "wheels": None,
    "system_site_packages": False,
    "kernel": True,
}

PARSERS = (
    Parser(name="notebook", inputs=written(seeds.NOTEBOOKS, as_json), call=_notebook),
    Parser(
        name="script block",
        inputs=lines(seeds.SCRIPTS, "# ///", "# /// script", "#", "# dependencies = 1.5", "# requires-python = 3"),
        call=_recipe,
    ),
    Parser(name="block in a script", inputs=lines(seeds.SCRIPTS, "# ///", "# /// script"), call=_script("script.py")),
    Parser(name="block in a notebook", inputs=written(seeds.NOTEBOOKS, as_json), call=_script("lesson.ipynb")),
    Parser(name="pyproject.toml", inputs=written(seeds.PYPROJECTS, as_toml), call=_pyproject),
    Parser(name="poetry.toml", inputs=written(seeds.POETRY_TOMLS, as_toml), call=_poetry_toml),
    Parser(
        name="poetry.lock",
        inputs=written(seeds.POETRY_LOCKS, as_toml),
        call=_locked("poetry.lock", {"pyproject.toml": seeds.PYPROJECTS[0]}),
    ),
    Parser(name="uv.lock", inputs=written(seeds.UV_LOCKS, as_toml), call=_asked_uv("uv.lock")),
    Parser(name="pylock.toml", inputs=written(seeds.PYLOCKS, as_toml), call=_locked("pylock.toml")),
    Parser(name="pylock.toml, kept", inputs=written(seeds.PYLOCKS, as_toml), call=_pylock_without),
    Parser(
        name="pdm.lock",
        inputs=written(seeds.PDM_LOCKS, as_toml),
        call=_locked("pdm.lock", {"pyproject.toml": seeds.PYPROJECTS[2]}),
    ),
    Parser(
        name="pdm.lock's pyproject.toml",
        inputs=written(seeds.PYPROJECTS[2:3], as_toml),
        call=lambda world, content: _planned(
            world, **{"pyproject.toml": content, "pdm.lock": as_toml(seeds.PDM_LOCKS[0]).encode()}
        ),
    ),
    Parser(name="Pipfile.lock", inputs=written(seeds.PIPFILE_LOCKS, as_json), call=_locked("Pipfile.lock")),
    Parser(
        name="Pipfile",
        inputs=written(seeds.PIPFILES, as_toml),
        call=lambda world, content: _planned(
            world, **{"Pipfile": content, "Pipfile.lock": as_json(seeds.PIPFILE_LOCKS[0]).encode()}
        ),
    ),
    Parser(
        name="requirements.txt",
        inputs=lines(seeds.REQUIREMENTS, "\\", "-r requirements.txt", "six ; 'a' < 'b'", "six ; bogus == '1'", "-e ."),
        call=_requirements,
    ),
    Parser(name="environment.yml", inputs=lines(seeds.ENVIRONMENT_YMLS), call=_environment_yml),
    Parser(name="version specifier", inputs=words(seeds.SPECIFIERS), call=_specifier),
    Parser(
        name="python option",
        inputs=words((*seeds.SPECIFIERS, "/usr/bin/python3", "~/x", "~nobody/", "python3.12", "/", "3")),
        call=_python_option,
    ),
    Parser(
        name="lock option",
        inputs=words(("requirements.txt", "pyproject.toml", ".", "..", "/", ".py", "x.txt", "~")),
        call=_lock_option,
    ),
    Parser(name="project option", inputs=words(("~", "/", "x", "..", ".")), call=_project_option),
    Parser(name="names", inputs=words(("torch", "py312", "a.b", "web-1")), call=_named),
    Parser(
        name="pyvenv.cfg",
        inputs=lines(
            [
                "home = /usr/bin\nimplementation = CPython\nversion_info = 3.12.4\ninclude-system-site-packages = true\nprompt = x\n"
            ]
        ),
        call=_pyvenv,
    ),
    Parser(
        name="chosen.json",
        inputs=written(
            [{"schema": "chosen", "version": 1, "python": seeds.PYTHON, "prefix": "/usr/local", "project": "/p"}],
            as_json,
        ),
        call=_chosen,
    ),
    _state_parser(
        "receipt of a .venv",
        venv.Receipt,
        {
            "python": seeds.PYTHON,
            "inputs": "x",
            "wanted": {"lock": None, "installer": "uv", "extras": ["a"], "groups": ["dev"], "keep": [], "kept": []},
            "packages": ["six-1.16.0"],
        },
    ),
    _state_parser(
        "receipt of an environment",
        inventory.Receipt,
        {
            "python": {**seeds.PYTHON, "real": "/usr/bin/python3.12"},
            "recipe": _recipe_seed,
            "inputs": "x",
            "packages": ["six-1"],
            "size": 1,
            "created": 1.5,
            "moved_from": None,
            "moved_id": None,
        },
    ),
    _state_parser("receipt of a layer", colab_layer.Receipt, {"inputs": {"a": [1]}, "entries": ["x"]}),
    _state_parser(
        "receipt of conda",
        conda.Receipt,
        {
            "kind": "conda",
            "distribution": "miniconda",
            "installer": "x",
            "sha256": "0",
            "overlay": True,
            "python": "3.12.4",
            "interpreter": "bin/python3.12",
            "print": [1, 2],
        },
    ),
    _state_parser(
        "receipt of conda's env",
        environment_yml.Receipt,
        {
            "kind": "conda environment",
            "project": "/p",
            "file": "/p/environment.yml",
            "python": "3.12.4",
            "interpreter": "bin/python",
            "packages": ["six"],
        },
    ),
    _state_parser("receipt of uv", uv.Receipt, {"uv": "0.9.1"}),
    _state_parser("receipt of Jupyter", jupyter_server.Receipt, {"requirement": "jupyterlab>=4.2,<5"}),
    _state_parser("receipt of a kernel", kernelspec.Receipt, {"project": "/p", "tier": "full"}),
    _state_parser("origin of a layer", colab_layer.Origin, {"python": "/usr/bin/python3", "path": "/p"}),
    _state_parser("key of snapshots", signing.KeyFile, {"key": "5e" * 32}),
    _state_parser(
        "proof of features",
        live_proof.Proof,
        {
            "tried": [{"feature": "a", "kernel": "stock", "problem": None, "seconds": 0.5}],
            "versions": {"stock": "3.12"},
        },
    ),
    _state_parser(
        "content file",
        content.Content,
        {
            "proven": 1.5,
            "distributions": {"lib/six-1.dist-info": {"record": "sha256=0", "source": None, "hashes": ["sha256:0"]}},
            "others": {"bin/six": "sha256=0", "lib64": "link=lib"},
            "programs": ["bin/six"],
        },
    ),
    _state_parser("receipt of Poetry", poetry.Receipt, {"poetry": "2.1.0"}),
    _state_parser(
        "overlay's manifest",
        _overlay.Manifest,
        {
            "new": ["bin/x"],
            "put_back": [],
            "overwritten": {"bin/y": [33188, 1, 2, 3, [0, 0], None, 5]},
            "last": {"bin/x": [33188, 1, 2, 3, [0, 0], "l", "s"]},
        },
    ),
    _state_parser(
        "overlay's transaction",
        _overlay.Transaction,
        {
            "prefix": "/usr/local",
            "existed": True,
            "closed": ["pkgs"],
            "manifest": None,
            "before": {"bin/y": [33188, 1, 2, 3, [0, 0], None, 5]},
            "downloads": ["a"],
            "began": 1.5,
            "taken": None,
        },
    ),
    Parser(
        name="journal",
        inputs=st.lists(written(seeds.JOURNAL, lambda value: as_json(value).replace("\n", " ")), max_size=4).map(
            b"\n".join
        ),
        call=_journal,
    ),
    Parser(
        name="journal with checksums",
        inputs=st.lists(st.sampled_from(seeds.JOURNAL).flatmap(_rewritten), max_size=4).map(b"".join),
        call=_journal,
    ),
    Parser(name="kernel.json", inputs=written(seeds.KERNELS, as_json), call=_kernel),
    Parser(
        name="METADATA and RECORD",
        inputs=st.tuples(
            lines(seeds.METADATA, "Name: x", "Version: \xff", "Requires-Dist: x ; 'a' < 'b'"),
            lines(seeds.RECORDS, "x,,abc", "/x,,1", '"'),
            free,
            free,
        ),
        call=_metadata,
    ),
    Parser(
        name="conda-meta",
        inputs=st.tuples(
            words(("python-3.12.4-h_0.json", "numpy-1-0.json", "numpy=1.0", "a::b>=1")),
            written([{"name": "google-colab", "files": ["lib/python3.12/site-packages/google/__init__.py"]}], as_json),
        ),
        call=_conda_meta,
    ),
    Parser(
        name="pip.conf and uv.toml",
        inputs=st.tuples(
            lines(seeds.PIP_CONFS, "[", "[global]", "index-url", " x", "%(x)s"),
            written(seeds.UV_TOMLS, as_toml),
            _environs,
        ),
        call=_settings,
    ),
    Parser(name="an image's name", inputs=words(("python:3.12", "host:5000/a@sha256:0", "a/b")), call=_image_name),
    Parser(name="an image's manifest", inputs=written(_MANIFESTS, as_json), call=_image_manifest),
    Parser(name="index.json of images", inputs=written(_MANIFESTS, as_json), call=_image_layout),
    Parser(name="manifest.json of images", inputs=written(_SAVED, as_json), call=_image_archive),
    Parser(name="a layer", inputs=st.binary(max_size=600) | _damaged_layers, call=_base_layer),
    Parser(name="files of a base image", inputs=lines(_BASE_TEXTS), call=_base_file),
    Parser(name="a login file", inputs=written(_LOGINS, as_json), call=_login_file),
    Parser(name="an environment's lock", inputs=written(_OWN_LOCKS, as_toml), call=_own_lock),
    Parser(
        name="an exported environment",
        inputs=st.tuples(written(_EXPORTS, as_json), written(_OWN_LOCKS, as_toml), st.binary(max_size=60)),
        call=_export,
    ),
    Parser(name="a manifest of environments", inputs=written(_ENV_MANIFESTS, as_toml), call=_env_manifest),
    Parser(name="colab-env.toml", inputs=written([{"base": "/envs"}, {"base": ["/a", "~/b"]}], as_toml), call=_base),
    Parser(
        name="COLAB_ENV_BASE",
        inputs=words(("/a", ":", "~", "/")).map(lambda text: text.replace("\0", "")),
        call=_base_variable,
    ),
    Parser(
        name="which Python it is",
        inputs=_json_text([["cpython", "3.12.4", "/usr/bin/python3.12", "final"]]),
        call=_inspected,
    ),
    Parser(
        name="what a Python sees",
        inputs=_json_text([{"directories": ["/usr/lib/python3/dist-packages"], "markers": seeds.MARKERS}]),
        call=_queried,
    ),
    Parser(
        name="uv's list of Pythons",
        inputs=_json_text(
            [
                [
                    {
                        "key": "x",
                        "version": "3.12.4",
                        "path": "/usr/bin/python3",
                        "implementation": "cpython",
                        "variant": "default",
                    },
                    {"version": "3.13.0", "path": None, "implementation": "cpython"},
                ]
            ]
        ),
        call=_listed,
    ),
    Parser(
        name="a kernel's trial",
        inputs=_json_text(
            [{"ok": False, "checks": [{"name": "execute", "ok": False, "detail": "x", "seconds": 0.1}], "log": ["a"]}]
        ),
        call=_preflight,
    ),
    Parser(name="uv's output", inputs=_printed(seeds.UV_LINES), call=_uv_output),
    Parser(
        name="conda's output",
        inputs=st.one_of(
            _printed(seeds.CONDA_LINES), _json_text([{"exception_name": "X", "message": "m", "error": "e"}])
        ),
        call=_conda_output,
    ),
    Parser(name="Poetry's output", inputs=_printed(seeds.POETRY_LINES), call=_poetry_output),
    Parser(name="a failed build's output", inputs=_printed(seeds.NATIVE_LINES), call=_native_output),
    Parser(name="a source archive", inputs=lines(seeds.NATIVE_SOURCES), call=_native_source),
    Parser(name="a lock file's files", inputs=written(seeds.UV_LOCKS, as_toml), call=_native_check),
    Parser(name="a download", inputs=_web, call=_downloaded),
    Parser(name="a page", inputs=_web, call=_read_from_web),
    Parser(
        name="an index's answer",
        inputs=st.tuples(
            st.sampled_from((200, 200, 200, 404, 500)), st.one_of(written(seeds.SIMPLE, as_json), lines(seeds.PAGES))
        ),
        call=_index_answer,
    ),
    Parser(name="index.json", inputs=written(seeds.REMEMBERED, as_json), call=_remembered),
    Parser(
        name="a notebook server's note",
        inputs=st.tuples(
            written([{"url": "http://localhost:8888/", "token": "t", "pid": 1}], as_json),
            values | st.just([{"id": "s", "kernel": {"id": "abc", "name": "py312"}}]) | st.lists(values),
        ),
        call=_server_note,
    ),
    Parser(
        name="a run's mark", inputs=words(("123:456:pid:[4026531836]", f"{os.getpid()}:", ":", "1", "²")), call=_mark
    ),
    Parser(name="/proc/PID/stat", inputs=lines(seeds.STAT), call=_stat),
    Parser(name="/proc of a user", inputs=lines(["/envs/web/bin/python\0-m\0x\0VIRTUAL_ENV=/envs/web\0"]), call=_proc),
    Parser(name="a unit's words", inputs=words(("gunicorn", "--bind", "%h", "$X", '"')), call=_unit),
    Parser(
        name="a git remote",
        inputs=words(
            (
                "https://github.com/owner/name.git",
                "owner/name",
                "git@github.com:owner/name",
                "https://user:pw@github.com/owner/name",
                "https://host/x",
            )
        ),
        call=_remote,
    ),
    *outside.PARSERS,
)


def tally_of(name: str, count: int, number: int) -> Tally:
    """Give one parser its inputs, in a process of its own."""
    parser = next(parser for parser in PARSERS if parser.name == name)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory) as directory, make_world(Path(directory)) as world:
        return run(parser, world, count=count, number=number)
