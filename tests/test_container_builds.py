"""The written files, built for real by buildah on the stand-in for the official image, and run as their user without a network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import base_image
import container_projects
import pytest
from base_image import Storage

from colab_env import container
from colab_env.interpreter import Interpreter

pytestmark = [
    pytest.mark.machine,
    pytest.mark.network,
    pytest.mark.skipif(base_image.reason_to_skip() is not None, reason=base_image.reason_to_skip() or ""),
]
_CA = Path("/etc/ssl/certs/ca-certificates.crt")
_DISTRIBUTIONS = (
    "import importlib.metadata as m, json, os, socket; import hello_app, six;"
    "print(json.dumps({'names': sorted((d.name, d.version) for d in m.distributions()), 'user': os.getuid(),"
    " 'pyc': six.__cached__ and os.path.exists(six.__cached__), 'network': len(socket.if_nameindex())}))"
)
_SERVER = """\
import json, os, subprocess, sys, time, urllib.error, urllib.request
server = subprocess.Popen(json.loads(sys.argv[1]), env={**os.environ, "JUPYTER_TOKEN": "t0ken"})
def ask(path, method="GET", **headers):
    request = urllib.request.Request("http://127.0.0.1:8888" + path, method=method,
        headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), ""
for _ in range(300):
    try:
        ask("/api")
        break
    except OSError:
        time.sleep(0.2)
colab = "https://colab.research.google.com"
preflight = ask("/api/kernels?token=t0ken", "OPTIONS", Origin=colab, Access_Control_Request_Private_Network="true")
without = ask("/api/kernelspecs")[0]
names = json.loads(ask("/api/kernelspecs?token=t0ken", Origin=colab)[2])["kernelspecs"]
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpecManager
(name,) = names
manager = KernelManager(kernel_name=name, kernel_spec_manager=KernelSpecManager(ensure_native_kernel=False))
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=120)
client.execute("import sys, hello_app; print(sys.executable)")
text = ""
while True:
    message = client.get_iopub_msg(timeout=60)
    text += message["content"].get("text", "") + message["content"].get("evalue", "")
    if message["content"].get("execution_state") == "idle" and text:
        break
manager.shutdown_kernel(now=True)
server.terminate()
server.wait()
print("ANSWER" + json.dumps({"without": without, "headers": preflight[1], "name": name, "text": text}))
"""


@pytest.fixture(scope="session")
def storage(pythons: list[Interpreter], common: Path) -> Iterator[Storage]:
    """The stand-in for the official image, in a storage of its own; COLAB_ENV_TEST_BASE names an archive made before."""
    python = next((each for each in pythons if each.short_version == "3.12"), None)
    if python is None:
        pytest.skip("needs a CPython 3.12 to copy")
    made = Storage(directory=common / "images")
    made.directory.mkdir()
    if archive := os.environ.get("COLAB_ENV_TEST_BASE"):
        made.buildah("pull", f"docker-archive:{archive}")
    else:
        (common / "base").mkdir()
        base_image.make(common / "base", python=python.path, storage=made)
    yield made
    shutil.rmtree(made.directory)


def secrets(directory: Path) -> list[str | Path]:
    """Return the options that tell the build this machine's index and certificates, which are in no file that is written."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    ).stdout.strip()
    url = os.environ.get("PIP_INDEX_URL") or told
    (directory / "pip.conf").write_text(f"[global]\ncert = {_CA}\n" + (f"index-url = {url}\n" if url else ""))
    index = f'[[index]]\nurl = "{url}"\ndefault = true\n' if url else ""
    (directory / "uv.toml").write_text(f"system-certs = true\n{index}")
    named = [f"id={name},src={directory / name}" for name in ("pip.conf", "uv.toml")]
    return [*(word for each in named for word in ("--secret", each)), "-v", f"{_CA}:{_CA}:ro"]


def build(project: Path, tag: str, storage: Storage, scratch: Path) -> None:
    scratch.mkdir(exist_ok=True)
    how = ["--format", "docker", "--layers", "--pull-never", "--network", "host"]
    storage.buildah("bud", *how, *secrets(scratch), "-t", tag, project)


def run(storage: Storage, tag: str, *words: str, files: dict[str, Path] | None = None) -> str:
    """Run a program in an image as its user, in a network with nothing but itself."""
    made = storage.buildah("from", "--pull-never", f"localhost/{tag}").strip()
    mounts = [word for target, path in (files or {}).items() for word in ("-v", f"{path}:{target}:ro")]
    base = [
        "buildah",
        "--root",
        storage.directory / "root",
        "--runroot",
        storage.directory / "run",
        "run",
        *mounts,
        made,
    ]
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", *base, "--", *words],
        env={**os.environ, "BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay"},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    storage.buildah("rm", made)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def layers(storage: Storage, tag: str, scratch: Path) -> list[list[str]]:
    """Return the names of the files in each layer above the base."""
    archive = scratch / "image.tar"
    storage.buildah("push", "-q", "--format", "docker", f"localhost/{tag}", f"docker-archive:{archive}:{tag}")
    subprocess.run(["tar", "-xf", archive, "-C", scratch], check=True)
    (manifest,) = json.loads((scratch / "manifest.json").read_text())
    return [base_image.names_in(scratch / layer) for layer in manifest["Layers"][1:]]


@pytest.fixture
def project(tmp_path: Path, storage: Storage) -> Path:
    """A package with a uv.lock that is made with this machine's index."""
    place = container_projects.write(tmp_path / "hello", "uv.lock")
    uv = Path(sys.executable).with_name("uv")
    (place / "uv.lock").unlink()
    subprocess.run([uv, "lock", "-q", "--no-config"], cwd=place, check=True)
    return place


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_an_app_runs_as_its_user_with_what_is_locked(project, storage, tmp_path, tool):
    container.write(project, tool=tool)
    tag = f"app-{tool}"
    build(project, tag, storage, tmp_path / "secrets")
    assert run(storage, tag, "hello") == "hello\n"
    answer = json.loads(run(storage, tag, "python", "-c", _DISTRIBUTIONS))
    version = re.search(r'name = "six"\nversion = "([^"]+)"', (project / "uv.lock").read_text())
    assert version is not None
    assert answer == {"names": [["Hello_App", "1.2"], ["six", version[1]]], "user": 1000, "pyc": True, "network": 1}
    (tmp_path / "layers").mkdir()
    names = layers(storage, tag, tmp_path / "layers")
    last = [name for name in names[-1] if name.count("/") > 2]
    assert last
    assert all("hello_app" in name.lower() or name.endswith("bin/hello") for name in last), last
    assert not [
        name for layer in names for name in layer if re.search(r"bin/(uv|poetry|gcc)$|var/lib/apt/lists/.", name)
    ]


def test_jupyter_answers_colabs_page_and_its_kernel_executes(project, storage, tmp_path):
    notebook = {"nbformat": 4, "nbformat_minor": 5, "cells": [], "metadata": {"kernelspec": {"name": "lesson-kernel"}}}
    (project / "lesson.ipynb").write_text(json.dumps(notebook))
    container.write(project, kind="jupyter")
    build(project, "lab", storage, tmp_path / "secrets")
    image = json.loads(storage.buildah("inspect", "--type", "image", "localhost/lab"))["Docker"]["config"]
    assert image["User"] == "1000:1000"
    assert image["Healthcheck"]["Test"][0] == "CMD"
    script = tmp_path / "server.py"
    script.write_text(_SERVER)
    words = ["/opt/jupyter/bin/python", "/tmp/server.py", json.dumps(image["Cmd"])]
    output = run(storage, "lab", *words, files={"/tmp/server.py": script})
    answer = json.loads(output.rpartition("ANSWER")[2])
    assert answer["without"] == 403
    assert answer["name"] == "lesson-kernel"
    assert answer["text"] == "/opt/venv/bin/python\n"
    headers = {name: value for name, value in answer["headers"].items() if name.startswith("Access-Control-Allow")}
    assert headers["Access-Control-Allow-Origin"] == "https://colab.research.google.com"
    assert headers["Access-Control-Allow-Credentials"] == "true"
    assert headers["Access-Control-Allow-Private-Network"] == "true"


def test_apptainers_definition_file_in_a_chroot(project, storage, tmp_path):
    # Apptainer itself is not here: its %files are copied, and %post, %test and %runscript run, by buildah.
    container.write(project, also=["apptainer"])
    text = (project / "apptainer.def").read_text()
    sections = dict(re.findall(r"(?ms)^%(\w+)\n(.*?)(?=^%|\Z)", text))
    made = storage.buildah("from", "--pull-never", re.search(r"From: (\S+)", text)[1]).strip()
    for line in sections["files"].split("\n"):
        if line.strip():
            source, target = line.split()
            storage.buildah(
                "copy", made, project / source, f"{target}{source}" if (project / source).is_dir() else target
            )
    secrets(tmp_path)
    # As variables: here is no build that takes secrets.
    url = re.search(r"index-url = (\S+)", (tmp_path / "pip.conf").read_text())
    index = {"PIP_INDEX_URL": url[1], "UV_DEFAULT_INDEX": url[1]} if url else {}
    told = {"PIP_CERT": str(_CA), "SSL_CERT_FILE": str(_CA), **index}
    environ = [word for name, value in told.items() for word in ("--env", f"{name}={value}")]
    storage.buildah(
        "run", "-v", f"{_CA}:{_CA}:ro", *environ, "--network", "host", made, "--", "sh", "-c", sections["post"]
    )
    inside = f"{sections['environment']}\n{sections['test']}\n{sections['runscript']}"
    said = storage.buildah("run", "--user", "1000:1000", made, "--", "sh", "-c", inside)
    left = storage.buildah("run", made, "--", "sh", "-c", "ls -d /build /opt/* /root/.cache 2>/dev/null; true")
    storage.buildah("rm", made)
    assert said == "hello\n"
    assert left.split() == ["/opt/venv"]
