"""Engines that build and run images in the tests: buildah, and Docker's daemon in a directory of its own.

Debian's `docker.io`, `containerd` and `runc` are unpacked, not installed. The daemon has neither a bridge nor rules of a
firewall, so every RUN of a build has the machine's network.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from base_image import Storage

BASE = "docker.io/library/python:3.12-slim-bookworm"
TRUSTING = "localhost/python:3.12-slim-trusting"
CA = Path("/etc/ssl/certs/ca-certificates.crt")
_DEBS = ("docker.io", "containerd", "runc", "libdevmapper1.02.1")
_START = 600.0  # seconds: on a machine with much else to do, JupyterLab takes minutes


class Engine(Protocol):
    """What the tests ask of an engine; an image runs as its own user, in a network with nothing but itself."""

    def build(self, project: Path, tag: str, scratch: Path) -> None:
        """Build the Dockerfile of a project."""

    def run(self, tag: str, *words: str, files: Mapping[str, Path] | None = None) -> str:
        """Return what a program prints in an image, in place of what the image starts."""

    def config(self, tag: str) -> dict[str, Any]:
        """Return the configuration of an image, as Docker shows it."""

    def save(self, tag: str, archive: Path) -> None:
        """Write an image as `docker save` does."""

    def pinned_base(self) -> str:
        """Return the name of the base, by its digest where the engine knows one of an image that no registry gave it."""


def secrets(directory: Path) -> list[str | Path]:
    """Return the options that tell a build this machine's index and certificates, which are in no file that is written."""
    directory.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    configured = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    url = os.environ.get("PIP_INDEX_URL") or configured
    (directory / "pip.conf").write_text(f"[global]\ncert = {CA}\n" + (f"index-url = {url}\n" if url else ""))
    index = f'[[index]]\nurl = "{url}"\ndefault = true\n' if url else ""
    (directory / "uv.toml").write_text(f"system-certs = true\n{index}")
    return [word for name in ("pip.conf", "uv.toml") for word in ("--secret", f"id={name},src={directory / name}")]


class Buildah:
    """buildah with chroot isolation."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def build(self, project: Path, tag: str, scratch: Path, *options: str) -> None:
        how = ["--format", "docker", "--layers", "--pull-never", "--network", "host", *secrets(scratch), *options]
        trust = [word for target in (CA, "/usr/lib/ssl/cert.pem") for word in ("-v", f"{CA}:{target}:ro")]
        self._storage.buildah("bud", *how, *trust, "-t", tag, project)

    def run(self, tag: str, *words: str, files: Mapping[str, Path] | None = None) -> str:
        made = self._storage.buildah("from", "--pull-never", f"localhost/{tag}").strip()
        mounts = [word for target, path in (files or {}).items() for word in ("-v", f"{path}:{target}:ro")]
        where = ["--root", self._storage.directory / "root", "--runroot", self._storage.directory / "run"]
        alone = ["unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
        engine = {**os.environ, "BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"}
        try:
            return _output([*alone, "buildah", *where, "run", *mounts, made, "--", *words], engine)
        finally:
            self._storage.buildah("rm", made)

    def config(self, tag: str) -> dict[str, Any]:
        return dict(self._inspect(tag)["Docker"]["config"])

    def image_id(self, tag: str) -> str:
        """Return the id of an image: the digest of its configuration, and so of everything in it."""
        return str(self._inspect(tag)["FromImageID"])

    def _inspect(self, tag: str) -> dict[str, Any]:
        return dict(json.loads(self._storage.buildah("inspect", "--type", "image", f"localhost/{tag}")))

    def save(self, tag: str, archive: Path) -> None:
        self._storage.buildah("push", "-q", "--format", "docker", f"localhost/{tag}", f"docker-archive:{archive}:{tag}")

    def pinned_base(self) -> str:
        shown = json.loads(self._storage.buildah("inspect", "--type", "image", BASE))
        return f"{BASE}@{shown['FromImageDigest']}"


class Docker:
    """Docker's daemon, with BuildKit as it brings it."""

    def __init__(self, programs: Path, directory: Path) -> None:
        self._directory = directory
        path = f"{programs / 'usr/bin'}:{programs / 'usr/sbin'}:{os.environ['PATH']}"
        library = str(programs / "usr/lib/x86_64-linux-gnu")
        self._environ = {**os.environ, "PATH": path, "LD_LIBRARY_PATH": library, "DOCKER_BUILDKIT": "1"}
        self._environ |= {"DOCKER_HOST": f"unix://{directory}/socket", "DOCKER_CONFIG": str(directory / "config")}

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        """Start the daemon, and end it after the block. Raises RuntimeError with its last line where it does not start."""
        log, data = self._directory / "log", self._directory / "data"
        where = ["--data-root", data, "--exec-root", self._directory / "run", "--pidfile", self._directory / "pid"]
        network = ["--bridge=none", "--iptables=false", "--ip6tables=false"]
        argv = [str(shutil.which("dockerd", path=self._environ["PATH"])), *where, *network]
        with log.open("w") as out:
            daemon = subprocess.Popen(
                [*argv, "--host", self._environ["DOCKER_HOST"]], env=self._environ, stdout=out, stderr=out
            )
        try:
            deadline = time.monotonic() + _START
            while not self._answers():
                if daemon.poll() is not None or time.monotonic() > deadline:
                    lines = log.read_text().splitlines()
                    raise RuntimeError(lines[-1] if lines else "it says nothing")
                time.sleep(0.2)
            yield
        finally:
            daemon.terminate()
            daemon.wait()

    def _answers(self) -> bool:
        asked = subprocess.run(["docker", "version"], env=self._environ, capture_output=True, check=False)
        return asked.returncode == 0

    def docker(self, *words: str | Path) -> str:
        """Run Docker's command and return what it prints."""
        return _output(["docker", *words], self._environ)

    def build(self, project: Path, tag: str, scratch: Path) -> None:
        self.docker("build", "--network", "host", *secrets(scratch), "-t", tag, project)

    def run(self, tag: str, *words: str, files: Mapping[str, Path] | None = None) -> str:
        mounts = [word for target, path in (files or {}).items() for word in ("-v", f"{path}:{target}:ro")]
        program, *arguments = words
        return self.docker("run", "--rm", "--network", "none", *mounts, "--entrypoint", program, tag, *arguments)

    @contextlib.contextmanager
    def serving(self, tag: str, *, token: str) -> Iterator[str]:
        """Start an image with JupyterLab, on a port of this machine that is free, and give its address."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        # JupyterLab refuses a second --port.
        command = [re.sub(r"^--port=.*", f"--port={port}", word) for word in self.config(tag)["Cmd"]]
        how = ["--detach", "--network", "host", "--env", f"JUPYTER_TOKEN={token}"]
        name = self.docker("run", *how, tag, *command).strip()
        try:
            deadline = time.monotonic() + _START
            while not _listens(port):
                runs = self.docker("inspect", "--format", "{{.State.Running}}", name) == "true\n"
                assert runs, self._logs(name)
                assert time.monotonic() < deadline, self._logs(name)
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            self.docker("rm", "--force", name)

    def _logs(self, name: str) -> str:
        words = ["docker", "logs", name]
        done = subprocess.run(words, env=self._environ, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def config(self, tag: str) -> dict[str, Any]:
        (shown,) = json.loads(self.docker("inspect", tag))
        return dict(shown["Config"])

    def save(self, tag: str, archive: Path) -> None:
        self.docker("save", "-o", archive, tag)

    def pinned_base(self) -> str:
        return BASE


def unpack_docker(directory: Path) -> Path:
    """Unpack Debian's packages of Docker into a directory, unless this machine has the daemon."""
    if shutil.which("dockerd") is None:
        subprocess.run(["apt-get", "download", "-qq", *_DEBS], cwd=directory, check=True, capture_output=True)
        for archive in directory.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", archive, directory], check=True)
            archive.unlink()
    return directory


def trusting_base(storage: Storage, directory: Path) -> Path:
    """Write the base with this machine's certificates, for Docker, which mounts none into a build, and for Poetry."""
    archive, made = directory / "base.tar", storage.buildah("from", "--pull-never", BASE).strip()
    if CA.is_file():
        for target in (str(CA), "/usr/lib/ssl/cert.pem"):
            storage.buildah("copy", made, CA, target)
        storage.buildah("config", "--env", f"REQUESTS_CA_BUNDLE={CA}", made)
    storage.buildah("commit", "--quiet", "--format", "docker", "--rm", made, TRUSTING)
    storage.buildah("push", "-q", "--format", "docker", TRUSTING, f"docker-archive:{archive}:{TRUSTING}")
    return archive


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _output(argv: Sequence[str | Path], environ: Mapping[str, str]) -> str:
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, f"{argv}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done.stdout
