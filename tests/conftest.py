"""What holds for every test: a home of its own, no traces, no network unless marked; and one machine built for all."""

from __future__ import annotations

import fcntl
import gc
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import base_image
import pytest

from colab_env import _files, _report, _state, choice, content, poetry, steps, system, venv
from colab_env.interpreter import Interpreter
from colab_env.machine import Machine
from colab_env.results import StepResult

ROOT = Path(__file__).parents[1]
Made = TypeVar("Made")
# They would make the children of a test look elsewhere than a user's do.
_UNWANTED = (
    "PYTHONPATH",
    "PYTHONDONTWRITEBYTECODE",
    "VIRTUAL_ENV",
    "COLAB_RELEASE_TAG",
    "CONDA_PREFIX",
    "POETRY_PYPI_MIRROR_URL",
    "JUPYTER_PATH",
    "COLAB_ENV_SNAPSHOT_KEY",
)


def pytest_configure() -> None:
    """Hear the stop button, for the programs that tests start too: a shell's background job is started deaf to it.

    So are those that `nohup` starts, to SIGHUP.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the test modules as pytest has compiled them, also where Python is told to keep none.

    Each worker of each run would compile them all again, which is a third of the time that collecting takes. What has been
    collected stays to the end: the garbage collector does not look through six thousand tests for garbage time and again.
    """
    told, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    gc.disable()
    try:
        return (yield)
    finally:
        sys.dont_write_bytecode = told
        gc.enable()
        gc.freeze()


def pytest_sessionfinish() -> None:
    """Give back what is kept from the garbage collector: hypothesis, which is loaded for the summary, looks for it there."""
    gc.unfreeze()


@dataclass(frozen=True, kw_only=True)
class PreparedMachine:
    """A machine with Poetry and the kernel layer for `python`; `poetry` is what installing it returned."""

    data: Path
    python: Interpreter
    poetry: StepResult


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of this run that all its workers see."""
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    place.mkdir(exist_ok=True)
    return place


def made_once(place: Path, make: Callable[[Path], Made]) -> Made:
    """Return what `make(place)` returned in the worker that asked first; the others wait for it."""
    result = place.with_suffix(".pickle")
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not result.exists():
            shutil.rmtree(place, ignore_errors=True)  # of a worker that died at it
            place.mkdir()
            unfinished = place.with_suffix(".part")
            unfinished.write_bytes(pickle.dumps(make(place)))
            unfinished.rename(result)
        made: Made = pickle.loads(result.read_bytes())
        return made


@pytest.fixture(scope="session")
def caches(common: Path) -> dict[str, str]:
    """The download caches that all tests share."""
    return {name: os.environ.get(name, str(common / name.lower())) for name in ("UV_CACHE_DIR", "POETRY_CACHE_DIR")}


@pytest.fixture(autouse=True)
def no_traces() -> Iterator[None]:
    """Fail a test that leaves another working directory or other environment variables behind."""
    directory, environ = Path.cwd(), dict(os.environ)
    yield
    now = {**os.environ, "PYTEST_CURRENT_TEST": environ.get("PYTEST_CURRENT_TEST", "")}
    assert Path.cwd() == directory
    assert now == environ


@pytest.fixture(autouse=True)
def home(
    no_traces: None, caches: dict[str, str], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """An empty home directory, deleted afterwards: thousands of them fill a disk. PATH, which steps change, is put back."""
    place = tmp_path_factory.mktemp("home")
    _move_in(place, caches, monkeypatch)
    yield place
    shutil.rmtree(place, ignore_errors=True)  # what the test left running may still write to it


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections from this process to other machines, but for tests marked `network`."""
    if request.node.get_closest_marker("network"):
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"
        if self.family != socket.AF_UNIX and host not in ("localhost", "::1") and not str(host).startswith("127."):
            msg = f"a test without the marker `network` connects to {address}"
            raise AssertionError(msg)
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


def offer_only(directory: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let uv, in this test's home, find packages in a directory and nowhere else. It has no variable for that, but a setting."""
    settings = home / ".config/uv/uv.toml"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text("no-index = true\n")
    monkeypatch.setenv("UV_FIND_LINKS", str(directory))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)  # this machine may have further indexes, which uv is told of


@pytest.fixture(scope="session")
def pythons() -> list[Interpreter]:
    """The Pythons of this machine, newest first: at least two."""
    found = system.available(machine=Machine.detect())
    if len(found) < 2:
        pytest.skip("needs two Pythons (pyenv's are found)")
    return found


@pytest.fixture(scope="session")
def base_archive(pythons: list[Interpreter], common: Path) -> Path:
    """The stand-in for the official image, as `docker save` writes it; COLAB_ENV_TEST_BASE names one made before."""
    if reason := base_image.reason_to_skip():
        pytest.skip(reason)
    # Not Debian's own Python, which has no ensurepip.
    python = next((interpreter for interpreter in pythons if interpreter.short_version == "3.12"), None)
    if python is None:
        pytest.skip("needs a CPython 3.12 to copy")

    def make(directory: Path) -> Path:
        storage = base_image.Storage(directory=directory / "storage")
        name = base_image.make(directory, python=python.path, storage=storage)
        base_image.save(storage, name, directory / "base.tar")
        shutil.rmtree(storage.directory)
        return directory / "base.tar"

    named = os.environ.get("COLAB_ENV_TEST_BASE")
    return Path(named) if named else made_once(common / "base", make)


@pytest.fixture(scope="session")
def storage(base_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[base_image.Storage]:
    """A storage of buildah's with that image."""
    made = base_image.Storage(directory=tmp_path_factory.mktemp("images"))
    made.buildah("pull", f"docker-archive:{base_archive}")
    yield made
    made.buildah("rm", "--all")  # of a test that failed: they are mounted, and so is the directory of all of them
    subprocess.run(["umount", "--quiet", made.directory / "root/overlay"], check=False)
    shutil.rmtree(made.directory)


@pytest.fixture(scope="session")
def built_machine(pythons: list[Interpreter], caches: dict[str, str], common: Path) -> PreparedMachine:
    def build(place: Path) -> PreparedMachine:
        with pytest.MonkeyPatch.context() as patch:
            _move_in(place / "home", caches, patch)
            patch.setenv("COLAB_ENV_HOME", str(place / "data"))
            with _report.screen(_report.Silent()):
                chosen = steps.install_python(pythons[0].version, interpreter="system")
                installed = steps.install_poetry()
                steps.install_colab_packages()
        assert chosen.python is not None
        return PreparedMachine(data=place / "data", python=chosen.python, poetry=installed)

    return made_once(common / "machine", build)


@dataclass(kw_only=True)
class Layers:
    """A worker's own hard links to the layers of the shared machine: five thousand, so that a test hands them to the next.

    They are moved, and made anew after a test that changed, added or deleted one of them.
    """

    shared: Path
    spare: Path
    as_made: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def lend(self, place: Path) -> None:
        if not self.spare.is_dir():
            shutil.copytree(self.shared, self.spare, symlinks=True, copy_function=os.link)
            self.as_made = _listing(self.spare)
        self.spare.rename(place)

    def take_back(self, place: Path) -> None:
        if place.is_dir() and not place.is_symlink() and _listing(place) == self.as_made:
            place.rename(self.spare)


def _listing(directory: Path) -> dict[str, tuple[int, ...]]:
    """Return what tells whether anything in a directory was changed, added or deleted, by path."""
    found, left = {}, [str(directory)]
    while left:
        here = left.pop()
        with os.scandir(here) as entries:
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                found[entry.path.removeprefix(str(directory))] = (
                    status.st_ino,
                    status.st_mode,
                    status.st_size,
                    status.st_mtime_ns,
                )
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
    return found


@pytest.fixture(scope="session")
def layers(built_machine: PreparedMachine, tmp_path_factory: pytest.TempPathFactory) -> Layers:
    return Layers(shared=built_machine.data / "layers", spare=tmp_path_factory.mktemp("layers") / "spare")


@pytest.fixture
def machine(
    built_machine: PreparedMachine, layers: Layers, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PreparedMachine]:
    """A machine of this test's own, in which the slow things are there already.

    Poetry is a link to the shared one, so damage nothing inside it; the layers are hard links, which may be deleted.
    """
    data = home / "colab-env"
    data.mkdir()
    (data / "poetry").symlink_to(built_machine.data / "poetry")
    layers.lend(data / "layers")
    for name in ("bin", "index.json", "chosen.json"):
        source = built_machine.data / name
        if source.is_dir():
            shutil.copytree(source, data / name)
        elif source.is_file():
            shutil.copy2(source, data / name)
    monkeypatch.setenv("COLAB_ENV_HOME", str(data))
    # Whichever project was set up for all of them meanwhile.
    choice.remember(Machine.detect(), built_machine.python, project=None)
    poetry.write_command(Machine.detect())  # it remembers what the index answers, for this test alone
    yield PreparedMachine(data=data, python=built_machine.python, poetry=built_machine.poetry)
    layers.take_back(data / "layers")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty directory for a project."""
    place = tmp_path / "lesson"
    place.mkdir()
    return place


PROJECT = """\
[project]
name = "lesson"
version = "0.1.0"
requires-python = ">=3.8"
# Both are small, and neither is the newest.
dependencies = ["idna==3.6", "six==1.16.0"]

[tool.poetry]
package-mode = false
"""


@pytest.fixture(scope="session")
def built_project(built_machine: PreparedMachine, caches: dict[str, str], common: Path) -> Path:
    def build(place: Path) -> Path:
        project = place / "lesson"
        project.mkdir()
        (project / "pyproject.toml").write_text(PROJECT)
        with pytest.MonkeyPatch.context() as patch:
            _move_in(place / "home", caches, patch)
            patch.setenv("COLAB_ENV_HOME", str(built_machine.data))
            with _report.screen(_report.Silent()):
                steps.configure_venv(project, python=built_machine.python, system_site_packages=False)
        return project

    return made_once(common / "project", build)


@pytest.fixture
def filled(machine: PreparedMachine, built_project: Path, project: Path) -> Path:
    """A project with a lock file and an environment that hides the system's packages, on this test's own machine."""
    shutil.copytree(built_project, project, symlinks=True, dirs_exist_ok=True)
    # As if it had been made here: a copy would be made anew.
    environment, activate = project / ".venv", project / ".venv/bin/activate"
    activate.write_text(activate.read_text().replace(str(built_project), str(project)))
    content.write(environment, content.Survey(environment).content({}, content.read(environment)))
    receipt = venv.read_receipt(project)
    assert receipt is not None
    _state.write(environment / _files.RECEIPT, replace(receipt, path=environment))
    return project


@pytest.fixture
def offline(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose way to the package index is closed, and whose caches are empty."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("UV_CACHE_DIR", "POETRY_CACHE_DIR"):
        monkeypatch.setenv(name, str(home / name))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", place], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root mounts a small disk")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A directory in which nobody makes a file."""
    place = tmp_path / "read-only"
    place.mkdir()
    lock, unlock = (["chattr", "+i"], ["chattr", "-i"]) if os.geteuid() == 0 else (["chmod", "555"], ["chmod", "755"])
    if shutil.which(lock[0]) is None or subprocess.run([*lock, place], capture_output=True, check=False).returncode:
        pytest.skip("nothing stops root here")
    yield place
    subprocess.run([*unlock, place], check=True)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a child process ended, and what it printed."""

    returncode: int
    output: str


Stop = Callable[..., Ended]


@pytest.fixture
def stop(tmp_path: Path) -> Stop:
    """Run Python code in another process and press its stop button once Python is up and `when()` is true."""

    def stop(code: str, *, when: Callable[[], bool], how: signal.Signals = signal.SIGINT) -> Ended:
        up = tmp_path / "up"
        child = start_python(f"open({str(up)!r}, 'w').close()\n{code}")
        deadline = time.monotonic() + 300
        while not (up.exists() and when()):
            if child.poll() is not None or time.monotonic() > deadline:
                child.kill()
                pytest.fail(f"the moment never came:\n{child.communicate()[0]}")
            time.sleep(0.005)
        child.send_signal(how)
        output, _ = child.communicate(timeout=300)
        return Ended(returncode=child.returncode, output=output)

    return stop


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Press the stop button when a child prints a line that contains `text`."""

    def interrupt(text: str = "") -> None:
        def line(printed: str) -> None:
            if text in printed:
                raise KeyboardInterrupt

        monkeypatch.setattr(_report, "line", line)

    return interrupt


@pytest.fixture
def no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail on the start of any program, and on any connection."""

    def refuse(*arguments: object, **_options: object) -> None:
        msg = f"nothing was to be started, but: {arguments}"
        raise AssertionError(msg)

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def start_python(code: str) -> subprocess.Popen[str]:
    """Start Python code, which can import colab_env, in another process."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
    )


def _move_in(home: Path, caches: dict[str, str], patch: pytest.MonkeyPatch) -> None:
    real = Path.home()
    pip = next((path for path in (real / ".config/pip/pip.conf", real / ".pip/pip.conf") if path.is_file()), None)
    for name in _UNWANTED:
        patch.delenv(name, raising=False)
    places = {
        "HOME": home,
        "XDG_DATA_HOME": home / ".local/share",
        "XDG_CONFIG_HOME": home / ".config",
        "XDG_CACHE_HOME": home / ".cache",
        "XDG_STATE_HOME": home / ".local/state",
        "JUPYTER_DATA_DIR": home / ".local/share/jupyter",
        "JUPYTER_CONFIG_DIR": home / ".jupyter",
        "JUPYTER_RUNTIME_DIR": home / ".local/share/jupyter/runtime",
        "IPYTHONDIR": home / ".ipython",
        "COLAB_ENV_HOME": home / ".local/share/colab-env",
        "PYENV_ROOT": os.environ.get("PYENV_ROOT", real / ".pyenv"),
        **({"PIP_CONFIG_FILE": pip} if pip and "PIP_CONFIG_FILE" not in os.environ else {}),
    }
    for name, place in {**caches, **places, "PATH": os.environ["PATH"]}.items():
        patch.setenv(name, str(place))
