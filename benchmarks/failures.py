"""Set up projects that cannot be installed, and print each message, to be read by hand: `python benchmarks/failures.py`.

Each line of `LISTED` is a requirements.txt of its own: releases that no longer build, libraries that few machines have,
names and lines that are misspelt, addresses that nobody reaches. Needs uv and Python 3.11; what is built runs code of these
packages: use a machine that may be thrown away. `--only TEXT` takes those that contain it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETUP = [sys.executable, "-m", "colab_env", "setup", "--interpreter", "system", "--python", "3.11", "--quiet"]
LIMIT = 600  # seconds for one set-up
LISTED = r"""
python-ldap==3.4.4
mysqlclient==2.2.4
pycairo==1.26.0
pygraphviz==1.12
psycopg2==2.9.9
dbus-python==1.3.2
PyAudio==0.2.14
xmlsec==1.3.14
numpy==1.16.4
scipy==1.2.1
lxml==4.2.1
PyYAML==5.4.1
cryptography==2.8
grpcio==1.20.1
uWSGI==2.0.24
PyGObject==3.48.2
pycups==2.0.4
pylibmc==1.6.3
M2Crypto==0.38.0
rpy2==3.5.1
mpi4py==3.1.5
python-snappy==0.6.1
pystan==2.19.1.1
fbprophet==0.7.1
GDAL==3.6.2
psycopg2==2.7.3
sklearn==0.0.post12
tensorflow==1.15.0
torch==1.0.0
pygame==1.9.6
pywin32==306
pyobjc==10.3
backports.zoneinfo==0.2.1
pandas==0.24.2
pillow==6.0.0
gevent==1.4.0
dlib==19.24.2
cartopy==0.17.0
pyenchantt
nunpy
django==2.2\nDjango>=3
requests==99.0
git+https://github.com/psf/requests.git@main
foo @ https://example.invalid/foo-1.0-py3-none-any.whl
-r missing.txt
numpy=1.26
scikit learn
-e ./nothere
./nothere.whl
torch==2.1.0+cu118
PyQt5==5.12.3
h5py==2.10.0
spacy==2.1.0
tokenizers==0.8.1
matplotlib==2.2.2
uvloop==0.12.0
Jinja2==2.10\nmarkupsafe==2.1.0\nflask==3.0.0
jupyter-client==5.0.0\nipykernel==6.29.5
pipfile==0.0
distribute==0.7.3
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="failures-") as scratch:
        for number, line in enumerate(LISTED.split("\n")):
            if line and arguments.only in line:
                print(f"=== {line}\n{message(line, Path(scratch), number)}\n", flush=True)


def message(line: str, scratch: Path, number: int) -> str:
    """Return what a set-up of this requirements.txt says, or that it works."""
    home, project = scratch / "home", scratch / str(number)
    project.mkdir()
    home.mkdir(exist_ok=True)
    (project / "requirements.txt").write_text(line.replace("\\n", "\n") + "\n", encoding="utf-8")
    environ = {
        **{name: value for name, value in os.environ.items() if name not in ("CI", "XDG_DATA_HOME")},
        "HOME": str(home),
        "COLAB_ENV_HOME": str(home / "colab-env"),
        "PYTHONPATH": str(ROOT),
        "PYENV_ROOT": os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv"),
    }
    try:
        done = subprocess.run(
            SETUP, cwd=project, env=environ, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return f"stopped after {LIMIT} s"
    return done.stderr if done.returncode else "installed"


if __name__ == "__main__":
    main()
