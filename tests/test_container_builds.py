"""The written files, built by buildah and by Docker on a stand-in for the official image, and run without a network."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import base_image
import browser
import container_golden
import container_projects
import engines
import nbformat
import pytest
from base_image import Storage
from conftest import made_once
from engines import Engine

from colab_env import container

pytestmark = [
    pytest.mark.machine,
    pytest.mark.network,
    pytest.mark.skipif(base_image.reason_to_skip() is not None, reason=base_image.reason_to_skip() or ""),
]
UV = Path(sys.executable).with_name("uv")
_DISTRIBUTIONS = (
    "import importlib.metadata as m, json, os, socket; import hello_app, six;"
    "print(json.dumps({'names': sorted((d.name, d.version) for d in m.distributions()), 'user': os.getuid(),"
    " 'pyc': open(six.__cached__, 'rb').read(8)[4] & 1 == 1, 'network': len(socket.if_nameindex())}))"
)
_SERVER = """\
import json, os, subprocess, sys, time, urllib.error, urllib.request
server = subprocess.Popen(json.loads(sys.argv[1]), env={**os.environ, "JUPYTER_TOKEN": "t0ken"})
def ask(path, method="GET", **headers):
    request = urllib.request.Request("http://127.0.0.1:8888" + path, method=method,
        headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), ""
while True:
    try:
        ask("/api")
        break
    except OSError:
        assert server.poll() is None, "the server has ended"
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
client.wait_for_ready(timeout=600)
client.execute("import sys, hello_app; print(sys.executable)")
text = ""
while True:
    message = client.get_iopub_msg(timeout=600)
    text += message["content"].get("text", "") + message["content"].get("evalue", "")
    if message["content"].get("execution_state") == "idle" and text:
        break
manager.shutdown_kernel(now=True)
server.terminate()
server.wait()
print("ANSWER" + json.dumps({"without": without, "headers": preflight[1], "name": name, "text": text}))
"""


@pytest.fixture(scope="session")
def trusting(storage: Storage, common: Path) -> Path:
    """The base as `docker save` writes it, with this machine's certificates, which Docker mounts into no build."""
    return made_once(common / "trusting", functools.partial(engines.trusting_base, storage))


@pytest.fixture(scope="session")
def docker(trusting: Path, common: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[engines.Docker]:
    """Docker's daemon; the base is there by its official name, and by one that tells Poetry where the certificates are."""
    try:
        programs = made_once(common / "docker", engines.unpack_docker)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"Debian's docker.io cannot be had: {error}")
    daemon = engines.Docker(programs, tmp_path_factory.mktemp("docker"))
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(daemon.started())
        except RuntimeError as error:
            pytest.skip(f"Docker does not start: {error}")
        daemon.docker("load", "-q", "-i", trusting)
        daemon.docker("tag", engines.TRUSTING, engines.BASE)
        yield daemon


@pytest.fixture(params=["buildah", "docker"])
def engine(request: pytest.FixtureRequest, storage: Storage, trusting: Path) -> Engine:
    """Both builders, one after the other."""
    if request.param == "docker":
        daemon: engines.Docker = request.getfixturevalue("docker")
        return daemon
    storage.buildah("pull", "-q", f"docker-archive:{trusting}")
    return engines.Buildah(storage)


def layers(engine: Engine, tag: str, scratch: Path) -> list[list[str]]:
    """Return the names of the files in each layer above the base."""
    scratch.mkdir()
    engine.save(tag, scratch / "image.tar")
    subprocess.run(["tar", "-xf", scratch / "image.tar", "-C", scratch], check=True)
    (manifest,) = json.loads((scratch / "manifest.json").read_text())
    return [base_image.names_in(scratch / layer) for layer in manifest["Layers"][1:]]


def shadow(engine: Engine, tag: str, scratch: Path) -> dict[str, str]:
    """Return the lines of an image's /etc/shadow by the user, which only root can read inside."""
    layers(engine, tag, scratch)
    (manifest,) = json.loads((scratch / "manifest.json").read_text())
    lines: list[str] = []
    for layer in manifest["Layers"]:
        with tarfile.open(scratch / layer) as archive:
            for member in archive:
                if member.name == "etc/shadow" and (file := archive.extractfile(member)):
                    lines = file.read().decode().splitlines()
    return {line.partition(":")[0]: line for line in lines}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A package with a uv.lock that is made with this machine's index."""
    place = container_projects.write(tmp_path / "hello", "uv.lock")
    (place / "uv.lock").unlink()
    subprocess.run([UV, "lock", "-q", "--no-config"], cwd=place, check=True)
    return place


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_an_app_runs_as_its_user_with_what_is_locked(project, engine, tmp_path, tool):
    container.write(project, tool=tool)
    tag = f"app-{tool}"
    engine.build(project, tag, tmp_path / "secrets")
    assert engine.run(tag, "hello") == "hello\n"
    answer = json.loads(engine.run(tag, "python", "-c", _DISTRIBUTIONS))
    version = re.search(r'name = "six"\nversion = "([^"]+)"', (project / "uv.lock").read_text())
    assert version is not None
    assert answer == {"names": [["Hello_App", "1.2"], ["six", version[1]]], "user": 1000, "pyc": True, "network": 1}
    names = layers(engine, tag, tmp_path / "layers")
    last = [name for name in names[-1] if name.count("/") > 2]
    assert last
    assert all("hello_app" in name.lower() or name.endswith("bin/hello") for name in last), last
    assert not [
        name for layer in names for name in layer if re.search(r"bin/(uv|poetry|gcc)$|var/lib/apt/lists/.", name)
    ]


_SAYS = "import importlib.metadata as m, hello_app; print(m.version('six'), hello_app.SAYS)"


@pytest.mark.parametrize("apt", [(), ("zlib1g-dev",)], ids=["mounted", "copied"])
def test_a_second_build_has_the_new_sources_and_after_that_the_new_lock(project, engine, tmp_path, apt):
    pyproject = project / "pyproject.toml"
    before = pyproject.read_text() + (f"[tool.colab-env]\napt = {json.dumps(apt)}\n" if apt else "")
    tag = f"again-{len(apt)}"

    def built(says: str, constraint: str) -> str:
        (project / "hello_app/__init__.py").write_text(f"SAYS = {says!r}\ndef main():\n    print(SAYS)\n")
        pyproject.write_text(before.replace('"six', f'"six{constraint}'))
        subprocess.run([UV, "lock", "-q", "--no-config"], cwd=project, check=True)
        container.write(project)
        engine.build(project, tag, tmp_path / "secrets")
        return engine.run(tag, "python", "-c", _SAYS)

    assert [built("one", "==1.16.0"), built("two", "==1.16.0"), built("two", "==1.17.0")] == [
        "1.16.0 one\n",
        "1.16.0 two\n",
        "1.17.0 two\n",
    ]


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_two_builds_without_a_cache_from_two_directories_are_one_image(project, storage, trusting, tmp_path, tool):
    storage.buildah("pull", "-q", f"docker-archive:{trusting}")
    container.write(project, tool=tool)
    # In Docker's format buildah notes the names of its containers, which are drawn.
    engine, clamped = engines.Buildah(storage), ("--no-cache", "--timestamp", "315532800", "--format", "oci")
    engine.build(project, "here", tmp_path / "secrets", *clamped)
    engine.build(shutil.copytree(project, tmp_path / "another place"), "there", tmp_path / "secrets", *clamped)
    assert engine.image_id("here") == engine.image_id("there")
    # Of tomorrow too: the only date in it is when the user's password was changed, in days.
    assert shadow(engine, "here", tmp_path / "layers")["app"].split(":")[2] == "3652"


def test_two_builds_at_once_wait_for_each_others_apt(engine, tmp_path):
    projects = [container_projects.write(tmp_path / name, "uv.lock") for name in ("one", "other")]
    for project, package in zip(projects, ("libpq-dev", "zlib1g-dev"), strict=True):
        (project / "uv.lock").unlink()
        with (project / "pyproject.toml").open("a") as file:
            file.write(f'[tool.colab-env]\napt = ["{package}"]\n')
        subprocess.run([UV, "lock", "-q", "--no-config"], cwd=project, check=True)
        container.write(project)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        builds = [
            pool.submit(engine.build, project, f"apt-{project.name}", tmp_path / f"secrets-{project.name}")
            for project in projects
        ]
        for each in builds:
            each.result()


def test_compiled_packages_run_without_what_compiled_them(engine, tmp_path):
    # psycopg2 has no wheel: pg_config and a compiler build it, and it loads libpq.so.5. Without it first: what the builder
    # has kept of that image is not what runs psycopg2.
    project = tmp_path / "query"
    project.mkdir()
    (project / "main.py").write_text("import psycopg2; print(psycopg2.__libpq_version__ > 150000)\n")
    for dependency in ("six", "psycopg2"):
        (project / "pyproject.toml").write_text(
            f'[project]\nname = "query"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = ["{dependency}"]\n'
            '[tool.colab-env]\napt = ["libpq-dev", "gcc", "libc6-dev"]\n'
        )
        subprocess.run([UV, "lock", "-q", "--no-config"], cwd=project, check=True)
        container.write(project, base=engine.pinned_base())
        engine.build(project, "query", tmp_path / "secrets")
    code = "import runpy, sys; sys.argv = ['main.py']; runpy.run_path('main.py')"
    assert engine.run("query", "python", "-c", code) == "True\n"
    installed = engine.run("query", "dpkg-query", "-W", "-f", "${Package}\\n").split()
    assert "libpq5" in installed
    assert not [
        name for name in installed if name.endswith("-dev") or (name.startswith("gcc-") and name != "gcc-12-base")
    ]
    assert engine.run("query", "sh", "-c", "ls /var/lib/apt/lists; id -u") == "1000\n"


def test_a_version_of_git_tags_is_built_and_neither_git_nor_its_directory_is_shipped(engine, tmp_path):
    project = container_projects.write(tmp_path / "tagged", "uv.lock")
    text = container_projects.PYPROJECT.replace('version = "1.2"', 'dynamic = ["version"]')
    text = text.replace('requires = ["hatchling"]', 'requires = ["hatchling", "hatch-vcs"]')
    (project / "pyproject.toml").write_text(text + '[tool.hatch.version]\nsource = "vcs"\n')
    (project / "uv.lock").unlink()
    git = ["git", "-c", "user.name=me", "-c", "user.email=me@example.org"]
    subprocess.run([*git, "init", "-q"], cwd=project, check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], cwd=project, check=True)
    subprocess.run([UV, "lock", "-q", "--no-config"], cwd=project, check=True)
    container.write(project, tool="pip")
    for words in (["add", "."], ["commit", "-qm", "with its image"], ["tag", "v4.7"]):
        subprocess.run([*git, *words], cwd=project, check=True)
    engine.build(project, "tagged", tmp_path / "secrets")
    code = "import importlib.metadata as m, shutil; print(m.version('hello_app'), shutil.which('git'))"
    assert engine.run("tagged", "python", "-c", code) == "4.7 None\n"
    assert not [name for layer in layers(engine, "tagged", tmp_path / "layers") for name in layer if "/.git/" in name]


def test_poetry_builds_an_app_and_is_not_in_it(machine, engine, tmp_path):
    project = container_projects.write(tmp_path / "hello", "poetry.lock")
    (project / "pyproject.toml").write_text(
        container_projects.PYPROJECT.replace('"hatchling"', '"poetry-core"').replace(
            "hatchling.build", "poetry.core.masonry.api"
        )
        # By its pages: not every index answers what Poetry's own source asks for.
        + '[[tool.poetry.source]]\nname = "pages"\nurl = "https://pypi.org/simple/"\npriority = "primary"\n'
    )
    (project / "poetry.lock").unlink()
    subprocess.run([machine.data / "bin/poetry", "lock", "--no-interaction"], cwd=project, check=True)
    # Poetry reads neither of the secrets: who signs the index's certificate, only a variable of the base tells it.
    container.write(project, tool="poetry", base=engines.TRUSTING)
    engine.build(project, "poetry", tmp_path / "secrets")
    assert engine.run("poetry", "hello") == "hello\n"
    answer = json.loads(engine.run("poetry", "python", "-c", _DISTRIBUTIONS))
    version = re.search(r'name = "six"\nversion = "([^"]+)"', (project / "poetry.lock").read_text())
    assert version is not None
    assert answer == {"names": [["Hello_App", "1.2"], ["six", version[1]]], "user": 1000, "pyc": True, "network": 1}
    names = [name for layer in layers(engine, "poetry", tmp_path / "layers") for name in layer]
    assert not [name for name in names if re.search("bin/poetry$|opt/poetry/", name)]


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_jupyter_answers_colabs_page_and_its_kernel_executes(project, engine, tmp_path, tool):
    notebook = {"nbformat": 4, "nbformat_minor": 5, "cells": [], "metadata": {"kernelspec": {"name": "lesson-kernel"}}}
    (project / "lesson.ipynb").write_text(json.dumps(notebook))
    container.write(project, kind="jupyter", tool=tool)
    engine.build(project, tag := f"lab-{tool}", tmp_path / "secrets")
    image = engine.config(tag)
    assert image["User"] == "1000:1000"
    assert image["Healthcheck"]["Test"][0] == "CMD"
    script = tmp_path / "server.py"
    script.write_text(_SERVER)
    words = ["/opt/jupyter/bin/python", "/tmp/server.py", json.dumps(image["Cmd"])]
    output = engine.run(tag, *words, files={"/tmp/server.py": script})
    answer = json.loads(output.rpartition("ANSWER")[2])
    assert answer["without"] == 403
    assert answer["name"] == "lesson-kernel"
    assert answer["text"] == "/opt/venv/bin/python\n"
    headers = {name: value for name, value in answer["headers"].items() if name.startswith("Access-Control-Allow")}
    assert headers["Access-Control-Allow-Origin"] == "https://colab.research.google.com"
    assert headers["Access-Control-Allow-Credentials"] == "true"
    assert headers["Access-Control-Allow-Private-Network"] == "true"


@browser.needs_browser
def test_a_notebook_of_the_image_opens_in_a_browser_and_its_cell_runs(project, docker, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import sys; print(sys.executable)")])
    notebook.metadata["kernelspec"] = {"name": "lesson-kernel", "display_name": "Lesson", "language": "python"}
    nbformat.write(notebook, project / "lesson.ipynb")
    container.write(project, kind="jupyter")
    docker.build(project, "page", tmp_path / "secrets")
    with docker.serving("page", token="t0ken") as address, browser.chromium(tmp_path / "profile") as driver:
        driver.get(f"{address}/lab/tree/lesson.ipynb?token=t0ken&reset")
        browser.wait_until_idle(driver, "(hello-app)")
        assert "/opt/venv/bin/python" in browser.run_cell_until(driver, 0, "/bin/python")


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
    engines.secrets(tmp_path)
    # As variables: here is no build that takes secrets.
    url = re.search(r"index-url = (\S+)", (tmp_path / "pip.conf").read_text())
    index = {"PIP_INDEX_URL": url[1], "UV_DEFAULT_INDEX": url[1]} if url else {}
    told = {"PIP_CERT": str(engines.CA), "SSL_CERT_FILE": str(engines.CA), **index}
    environ = [word for name, value in told.items() for word in ("--env", f"{name}={value}")]
    storage.buildah(
        "run",
        "-v",
        f"{engines.CA}:{engines.CA}:ro",
        *environ,
        "--network",
        "host",
        made,
        "--",
        "sh",
        "-c",
        sections["post"],
    )
    inside = f"{sections['environment']}\n{sections['test']}\n{sections['runscript']}"
    said = storage.buildah("run", "--user", "1000:1000", made, "--", "sh", "-c", inside)
    left = storage.buildah("run", made, "--", "sh", "-c", "ls -d /build /opt/* /root/.cache 2>/dev/null; true")
    storage.buildah("rm", made)
    assert said == "hello\n"
    assert left.split() == ["/opt/venv"]


def test_the_packages_whose_libraries_run_are_found(storage):
    # With the standard library's own compiled files in the place of compiled packages.
    text = (container_golden.HERE / "packages-apt.Dockerfile").read_text()
    (script,) = re.findall(r"(?ms)^RUN (\(find /opt/venv.*?)\n\n", text)
    made = storage.buildah("from", "--pull-never", "python:3.12-slim-bookworm").strip()
    copied = "mkdir -p /opt/venv && cp /usr/local/lib/python3.12/lib-dynload/_s[sq]l*.so /opt/venv"
    said = storage.buildah("run", made, "--", "sh", "-c", f"{copied} && {script} && cat /opt/run-time-packages.txt")
    storage.buildah("rm", made)
    assert {"libssl3", "libsqlite3-0", "libc6"} <= set(said.split())
