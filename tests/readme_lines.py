"""Type every line of README on bare machines that have nothing but a Python: `python -m tests.readme_lines 3.10 3.13`.

Each is a fresh Debian with one CPython: of this machine, copied to /usr/local, or else Debian's own of that version (`sid`).
Needs root, mmdebstrap and a network; five minutes a version. What README cannot mean here is replaced, and printed: the name on
PyPI becomes the sources, and the Python of its first cell the one that the machine has.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent)]

import base_image

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_PATH = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENTER = 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" bash -e -o pipefail -c "$1"'
_SERVER = re.compile(r"http://\S+token=\w+")
_PATIENCE = 1500  # seconds for one line
_RUN_CELLS = (
    "import sys, nbformat; from nbclient import NotebookClient; notebook = nbformat.read(sys.argv[1], 4); "
    "NotebookClient(notebook, timeout=900, kernel_name='python3').execute(); "
    "print(notebook.cells[-1].outputs[-1].text)"
)
# What README's lines speak of, and a visitor has in their own directory.
_FILES = {
    "shop.py": "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'ok']\n",
    "build.log": "fatal error: graphviz/cgraph.h: No such file or directory\n",
    "requirements.txt": "six==1.17.0\n",
    "lesson.ipynb": json.dumps(
        {
            "cells": [
                {
                    "cell_type": "code",
                    "execution_count": None,
                    "metadata": {},
                    "outputs": [],
                    "source": '# /// script\n# requires-python = ">=3.10"\n# dependencies = ["six"]\n# ///',
                }
            ],
            "metadata": {},
            "nbformat": 4,
            "nbformat_minor": 4,
        }
    ),
}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A root directory with a Python, and the sources in /root/colab-bootstrap."""

    root: Path

    def type(self, line: str, *, cwd: str) -> subprocess.CompletedProcess[str]:
        """Type a line in a shell; a line that starts a server ends once that has printed its address."""
        return _end_with_address(self._argv(line, cwd), self._environ())

    def _argv(self, line: str, cwd: str) -> list[str | Path]:
        return [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            _ENTER,
            self.root,
            f"cd {cwd}\n{line}",
        ]

    @staticmethod
    def _environ() -> dict[str, str]:
        # What stands between this machine and the network; nothing else of it.
        kept = {name: value for name, value in os.environ.items() if "CERT" in name or name.lower().endswith("_proxy")}
        names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_DEFAULT_TIMEOUT", "PIP_INDEX_URL", "UV_DEFAULT_INDEX")
        kept |= {name: os.environ[name] for name in names if name in os.environ}
        return {**kept, "PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8"}


def main() -> int:
    """Return 1 if a line does not work on one of the Pythons."""
    parser = argparse.ArgumentParser(prog="python -m tests.readme_lines", description=__doc__)
    parser.add_argument("versions", nargs="+", metavar="VERSION")
    arguments = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="readme-") as directory:
        for version in arguments.versions:
            machine = make(Path(directory) / version, version)
            count = 0
            for line, cwd in lines():
                began = time.monotonic()
                done = machine.type(line, cwd=cwd)
                works = done.returncode == 0 and "Traceback" not in done.stdout
                count, failed = count + 1, failed + (not works)
                mark, seconds = "✓" if works else "✗", time.monotonic() - began
                print(f"{mark} {version} {seconds:4.0f} s  {line.splitlines()[-1]}", flush=True)
                if not works:
                    print("\n".join(f"    {text}" for text in done.stdout.splitlines()[-25:]), flush=True)
            print(f"Python {version}: {count} lines typed", flush=True)
            shutil.rmtree(machine.root)
    return int(bool(failed))


def make(directory: Path, version: str) -> Machine:
    """Make a machine with this version."""
    root, archive = directory / "root", directory.parent / "debian.tar"
    root.mkdir(parents=True)
    found = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*"))
    if found:
        if not archive.exists():
            base_image._debian(archive)
        subprocess.run(["tar", "-xf", archive, "-C", root], check=True)
        base_image._copy_python(found[-1], root / "usr/local", version)
        base_image._finish_python(root, version)
    else:
        packages = f"python{version},python{version}-venv,ca-certificates"
        sources = Path("/etc/apt/sources.list.d/debian.sources").read_text(encoding="utf-8")
        mirror = re.findall(r"^URIs: (\S+)", sources, re.MULTILINE)[0]
        # A mirror may be weeks behind, and sid's signature is valid for one.
        words = ["--quiet", "--variant=minbase", '--aptopt=Acquire::Check-Valid-Until "false"', f"--include={packages}"]
        subprocess.run(["mmdebstrap", *words, "sid", root, mirror], check=True)
        for name in ("python3", "python"):
            (root / "usr/local/bin" / name).symlink_to(f"/usr/bin/python{version}")
    for name in ("resolv.conf", "hosts", "ssl/certs/ca-certificates.crt"):
        shutil.copy(Path("/etc", name), root / "etc" / name)
    for path in ("root/colab-bootstrap", "root/shop"):
        (root / path).mkdir(parents=True)
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        target = root / "root/colab-bootstrap" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    for name, text in _FILES.items():
        (root / "root/shop" / name).write_text(text)
    return Machine(root=root)


def lines() -> list[tuple[str, str]]:
    """Return what is typed, with the directory: the cells in a notebook of Jupyter's, then every line of the shell."""
    typed = [("python3 -m venv /opt/jupyter && /opt/jupyter/bin/pip install -q ipykernel nbclient nbformat", "/root")]
    first, steps = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    first = first.replace("-q colab-bootstrap", "-q /root/colab-bootstrap").replace('python="3.12"', "")
    first = first.replace("colab_env.setup(", "name = colab_env.setup(").replace('"py312"', "name.kernel")
    steps = re.sub(r"install_miniconda\(.*", "install_python()", steps)
    steps = steps.replace('"/content"', '"/root/steps"').replace('"py312"', '"steps"')
    code = first.strip().splitlines()
    cells = [
        "\n".join(code[:2]),
        "import os; os.makedirs('/root/steps')",
        steps,
        *code[2:],
        "import sys; print(sys.prefix)",
    ]
    notebook = json.dumps(
        {"cells": [_cell(text) for text in cells], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    )
    run = f"/opt/jupyter/bin/python -c {json.dumps(_RUN_CELLS)} cells.ipynb | grep /root/.*/.venv"
    typed.append((f"cat > cells.ipynb << 'END'\n{notebook}\nEND\n{run}", "/root/shop"))
    for block in re.findall(r"^```console\n(.*?)^```$", README, re.DOTALL | re.MULTILINE):
        typed += [_command(line) for line in block.splitlines()]
    return typed


def _cell(source: str) -> dict[str, object]:
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}


def _command(line: str) -> tuple[str, str]:
    line = line.partition("#")[0].strip()
    if "build/venv" in line:
        # The suite takes minutes, and other commands run it; here it is typed for one file.
        return line.replace("-m pytest", "-m pytest -q tests/test_readme.py"), "/root/colab-bootstrap"
    # A browser would have to be there, and gunicorn serves until it is stopped.
    line = line.replace("colab-env open", "colab-env open --no-browser")
    line += " --check-config" if "gunicorn shop:app" in line else ""
    return f". /root/colab-bootstrap/build/venv/bin/activate\n{line}", "/root/shop"


def _end_with_address(argv: list[str | Path], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    process = subprocess.Popen(
        argv, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    shown, serves = "", False
    for text in process.stdout or ():
        shown += text
        if _SERVER.search(text):
            serves = True
            process.kill()  # the namespace's first process: all in it ends with it
    code = process.wait(timeout=_PATIENCE)
    return subprocess.CompletedProcess(argv, 0 if serves else code, shown)


if __name__ == "__main__":
    sys.exit(main())
