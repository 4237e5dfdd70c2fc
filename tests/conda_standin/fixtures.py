"""Fixtures: a stand-in channel and installer for the session; a machine's directory and a runtime for each test.

With COLAB_ENV_REAL_CONDA=DIR, the directory that `python -m tests.real_conda DIR` filled, the installer and the conda
are real ones, with the stand-in's small packages in a channel.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from colab_env.machine import Machine

from .builder import Standin, build_channel, build_installer, find_python
from .server import Server

REAL = os.environ.get("COLAB_ENV_REAL_CONDA")
standin_only = pytest.mark.skipif(bool(REAL), reason="a real installer does not fail when it is asked to")


@pytest.fixture(scope="session")
def standin_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="session")
def standin(standin_site: Path) -> Standin:
    if REAL:
        return _real(Path(REAL), standin_site)
    python = find_python("3.12")
    channel = build_channel(standin_site / "channel-3.12", short="3.12")
    return build_installer(standin_site / "www", channel=channel, python=python)


def _real(made: Path, site: Path) -> Standin:
    """Return the real installer; its conda knows `conda-forge` as a channel of what it needs and of small packages."""
    build_channel(site / "channels/conda-forge", short="3.12", also=made / "channels/base")
    terms = {"version": "2026-01-01T00:00:00+00:00", "text": "Agree?", "support": "https://support.invalid"}
    for name in ("main", "r"):
        shutil.copytree(site / "channels/conda-forge", site / "www/pkgs" / name, copy_function=os.link)
        (site / "www/pkgs" / name / "terms.json").write_text(json.dumps(terms))
    said = json.loads((made / "real_conda.json").read_text())
    installer = site / "www" / said["installer"]
    installer.symlink_to(made / said["installer"])
    return Standin(path=installer, sha256=said["sha256"], python=said["python"])


@pytest.fixture(scope="session")
def other_standin(standin_site: Path) -> Standin:
    channel = build_channel(standin_site / "channel-3.11", short="3.11")
    name = "Miniconda3-py311_26.5.3-1-Linux-x86_64.sh"
    return build_installer(standin_site / "www", channel=channel, python=find_python("3.11"), name=name)


@pytest.fixture
def server(standin_site: Path) -> Iterator[Server]:
    with Server(standin_site / "www") as server:
        yield server


@pytest.fixture
def defaults(server: Server) -> str:
    """Return where the two channels that want their terms accepted are."""
    return f"{server.url}/pkgs" if REAL else "https://repo.anaconda.com/pkgs"


@pytest.fixture
def runtime(tmp_path: Path, standin_site: Path, defaults: str) -> Machine:
    home = tmp_path / "home"
    home.mkdir()
    machine = tmp_path / "usr"
    path = f"{machine}/local/bin:{machine}/bin:{os.environ['PATH']}"
    environ = {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "PYTHONPATH": "/env/python"}
    if REAL:
        environ["CONDA_CHANNEL_ALIAS"] = (standin_site / "channels").as_uri()
        environ["CONDA_DEFAULT_CHANNELS"] = f"{defaults}/main,{defaults}/r"
    return Machine(
        home=home,
        data=home / ".local/share/colab-env",
        jupyter=home / ".local/share/jupyter",
        environ=environ,
        machine_python=Path(sys.executable),
    )


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Make a directory like /usr/local on Colab, in use: commands, settings, libraries, the stock kernelspec."""
    prefix = tmp_path / "usr" / "local"
    python = tmp_path / "usr" / "bin" / "python3"
    texts = {
        python: f'#!/bin/sh\nexec {sys.executable} "$@"\n',
        prefix / "bin/pip": f"#!{python}\nprint('pip of the machine')\n",
        prefix / "bin/jupyter": f"#!{python}\nprint('jupyter of the machine')\n",
        prefix / "bin/ipython": f"#!{python}\nprint('ipython of the machine')\n",
        prefix / "bin/uv": "#!/bin/sh\necho uv of the machine\n",
        prefix / "etc/jupyter/jupyter_config.json": '{"machine": true}\n',
        prefix / "lib/libstandin.so.1": "the machine's library\n",
        prefix / "lib/python3.12/dist-packages/pandas.py": "version = 2\n",
        prefix / "include/machine.h": "",
        prefix / "share/jupyter/kernels/python3/kernel.json": json.dumps(
            {
                "argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                "display_name": "Python 3",
                "language": "python",
            }
        ),
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if path.parent.name == "bin" else 0o644)
        os.utime(path, ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
    (prefix / "bin" / "python").symlink_to(python)
    (prefix / "man").symlink_to("share/man")
    return prefix


def state(prefix: Path, *, without: str = "\0") -> dict[str, object]:
    """Return everything that can be seen of a tree: kinds, modes, times, content, links."""
    found: dict[str, object] = {}
    for path in sorted(prefix.rglob("*")):
        name = str(path.relative_to(prefix))
        status = path.lstat()
        if name.startswith(without):
            continue
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = ("directory", status.st_mode)
        else:
            found[name] = (status.st_mode, status.st_mtime_ns, path.read_bytes())
    return found
