"""What machine this is: a frozen description that every step gets."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from colab_env.hosts import PLAIN, Host, detect

_COLAB_CONFIG = Path("/etc/ipython/ipython_config.py")
_COLAB_PYTHON = Path("/usr/bin/python3")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine as one call finds it.

    `data` holds everything this package builds (default `~/.local/share/colab-env`, or `COLAB_ENV_HOME`), `jupyter` is
    the user's own Jupyter data directory, `colab_packages` the directory that holds Colab's own `google.colab`, or None
    on a machine that is not Colab. `machine_python` is the interpreter that the machine's own tools run on; `host` is what
    is known of the service.
    """

    home: Path
    data: Path
    jupyter: Path
    environ: Mapping[str, str]
    machine_python: Path
    colab_packages: Path | None = None
    host: Host = PLAIN

    @property
    def is_colab(self) -> bool:
        return self.colab_packages is not None

    @property
    def bin(self) -> Path:
        """Return the directory of commands that this package puts on the notebook's PATH."""
        return self.data / "bin"

    @property
    def uv_pythons(self) -> Path:
        """Return the directory of the Pythons that uv installs (uv's documentation, "Storage")."""
        named = self.environ.get("UV_PYTHON_INSTALL_DIR")
        return Path(named).absolute() if named else _xdg_data(self.environ, self.home) / "uv" / "python"

    @classmethod
    def detect(cls, environ: Mapping[str, str] | None = None) -> Machine:
        """Look at this machine. Reads a few files, starts nothing."""
        environ = dict(os.environ if environ is None else environ)
        home = Path(environ.get("HOME") or Path.home())
        host = detect(environ, home)
        colab_packages = _find_colab_packages() if host.has_colab else None
        if host.has_colab and colab_packages is None:
            host = PLAIN  # a variable alone makes no Colab
        return cls(
            home=home,
            data=_data_directory(environ, home),
            jupyter=Path(environ.get("JUPYTER_DATA_DIR") or _xdg_data(environ, home) / "jupyter"),
            environ=environ,
            machine_python=_COLAB_PYTHON if colab_packages else _machine_python(environ),
            colab_packages=colab_packages,
            host=host,
        )


def _machine_python(environ: Mapping[str, str]) -> Path:
    # A kernel of ours runs on a project's Python; the guard says which one the machine's own tools run on.
    named = environ.get("COLAB_ENV_MACHINE_PYTHON")
    if named and Path(named).is_file():
        return Path(named)
    # Whoever starts it as python, as python3 or by another link means one and the same.
    own = (Path(sys.prefix) / "bin" / name for name in ("python3", "python"))
    return next((path for path in own if _is_same(path, sys.executable)), Path(sys.executable))


def _is_same(one: Path, other: str) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _xdg_data(environ: Mapping[str, str], home: Path) -> Path:
    # platformdirs' rule for Linux, without its import time.
    return Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")


def _data_directory(environ: Mapping[str, str], home: Path) -> Path:
    override = environ.get("COLAB_ENV_HOME")
    return Path(override).absolute() if override else _xdg_data(environ, home) / "colab-env"


def _find_colab_packages() -> Path | None:
    if not _COLAB_CONFIG.is_file():
        return None
    files = sorted(Path("/usr/local/lib").glob("python3.*/dist-packages/google/colab/__init__.py"))
    return files[-1].parents[2] if files else None
