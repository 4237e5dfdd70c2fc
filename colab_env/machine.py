"""What machine this is: a frozen description that every step gets, and the services that notebooks run on.

The table of services is data; docs/hosts.md shows it. The first host that fits is taken, so one that is built from
another stands before it. What no table knows is a plain machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Host:
    """One service.

    It is known by one of its `variables` being set (with "=", to that value) or by its `home`. `interpreter` is what
    "auto" means there; `has_colab` says that kernels get the machine's own google.colab and may replace its stock kernel.
    The other fields are for readers: whose `python` runs the notebook, where `kernels` are registered, what `survives` a
    session, how a session `switches`, what must stay `untouched`, the primary `source`, and what is `unverified`.
    """

    name: str
    title: str
    variables: tuple[str, ...] = ()
    home: str | None = None
    interpreter: str = "system"
    has_colab: bool = False
    python: str
    kernels: str
    survives: str
    switches: str
    untouched: str
    source: str
    unverified: str = ""

    def is_here(self, environ: Mapping[str, str], home: Path) -> bool:
        """Say whether a process with these variables and this home directory runs on this host."""
        if self.home is not None and str(home) == self.home:
            return True
        return any(_is_set(variable, environ) for variable in self.variables)


HOSTS = (
    # Kaggle's image is built from Colab's and has its variables.
    Host(
        name="kaggle",
        title="Kaggle",
        variables=("KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_URL_BASE", "KAGGLE_DATA_PROXY_TOKEN", "KAGGLE_DOCKER_IMAGE"),
        python="the image's, /usr/bin/python3",
        kernels="the user's Jupyter directory; the page offers no choice",
        survives="/kaggle/working, as the output of a version",
        switches="in place (exec)",
        untouched="/usr/local: the image's packages; google.colab is there, and its page is not",
        source="github.com/Kaggle/docker-python, Dockerfile.tmpl and patches",
        unverified="how the kernel is started there",
    ),
    Host(
        name="colab-enterprise",
        title="Colab Enterprise",
        variables=("VERTEX_PRODUCT=COLAB_ENTERPRISE",),
        python="the runtime's own",
        kernels="the user's Jupyter directory",
        survives="the runtime's disk, until it is deleted",
        switches="by its session, or in place",
        untouched="the stock kernel",
        source="github.com/googleapis/google-cloud-python, bigframes/session/environment.py",
        unverified="everything but the variable",
    ),
    Host(
        name="colab",
        title="Google Colab",
        variables=("COLAB_RELEASE_TAG",),
        interpreter="miniconda",
        has_colab=True,
        python="the machine's, /usr/bin/python3",
        kernels="~/.local/share/jupyter",
        survives="nothing but Drive",
        switches="by a restart",
        untouched="/usr/bin/python3, /etc/ipython, the stock kernel's specification and launcher",
        source="github.com/googlecolab/backend-info and colabtools",
        unverified="see docs/unproven.md",
    ),
    # Binder runs on JupyterHub and has its variables, too.
    Host(
        name="binder",
        title="Binder",
        variables=("BINDER_LAUNCH_HOST", "BINDER_REPO_URL"),
        python="the image's, made from the repository",
        kernels="~/.local/share/jupyter",
        survives="nothing",
        switches="by its session",
        untouched="the environment that runs Jupyter (/srv/conda/envs/notebook)",
        source="github.com/jupyterhub/binderhub, BinderSpawner",
    ),
    Host(
        name="jupyterhub",
        title="JupyterHub",
        variables=("JUPYTERHUB_API_URL", "JUPYTERHUB_USER"),
        python="the administrator's",
        kernels="~/.local/share/jupyter",
        survives="the home directory, mostly",
        switches="by its session",
        untouched="the environment that runs Jupyter; often there is no root",
        source="jupyterhub.readthedocs.io, Spawners: environment variables",
    ),
    Host(
        name="sagemaker-studio-lab",
        title="SageMaker Studio Lab",
        home="/home/studio-lab-user",
        python="conda's, ~/.conda/envs/default",
        kernels="~/.local/share/jupyter",
        survives="the home directory, 15 GB",
        switches="by its session",
        untouched="~/.conda: the service's own environments",
        source="github.com/aws/studio-lab-examples, custom-environments",
        unverified="everything but the home directory",
    ),
    Host(
        name="vscode",
        title="VS Code, remote",
        variables=("CODESPACES", "REMOTE_CONTAINERS", "VSCODE_IPC_HOOK_CLI"),
        python="the machine's",
        kernels="~/.local/share/jupyter; VS Code lists them, and .venv, itself",
        survives="the machine",
        switches="with the kernel picker",
        untouched="nothing of its own",
        source="code.visualstudio.com/docs/datascience/jupyter-kernel-management",
        unverified="whether VS Code's own kernel sees a session of a server",
    ),
)
PLAIN = Host(
    name="plain",
    title="a plain machine",
    python="the machine's, or any that is found",
    kernels="~/.local/share/jupyter",
    survives="everything",
    switches="by the notebook server's session, or in place",
    untouched="everything outside the project, the data directory and the kernels",
    source="jupyter.org",
)


def detect_host(environ: Mapping[str, str], home: Path) -> Host:
    """Return the host that these variables and this home directory belong to. Reads no files."""
    return next((host for host in HOSTS if host.is_here(environ, home)), PLAIN)


def _is_set(mark: str, environ: Mapping[str, str]) -> bool:
    name, equals, value = mark.partition("=")
    return environ.get(name) == value if equals else bool(environ.get(name))


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
        directory = self.environ.get("UV_PYTHON_INSTALL_DIR")
        return Path(directory).absolute() if directory else _xdg_data(self.environ, self.home) / "uv" / "python"

    @classmethod
    def detect(cls, environ: Mapping[str, str] | None = None) -> Machine:
        """Look at this machine. Reads a few files, starts nothing."""
        environ = dict(os.environ if environ is None else environ)
        home = Path(environ.get("HOME") or Path.home())
        host = detect_host(environ, home)
        colab_packages = _find_colab_packages() if host.has_colab else None
        if host.has_colab and colab_packages is None:
            host = PLAIN  # a variable alone makes no Colab
        override = environ.get("COLAB_ENV_HOME")
        return cls(
            home=home,
            data=Path(override).absolute() if override else _xdg_data(environ, home) / "colab-env",
            jupyter=Path(environ.get("JUPYTER_DATA_DIR") or _xdg_data(environ, home) / "jupyter"),
            environ=environ,
            machine_python=_COLAB_PYTHON if colab_packages else _machine_python(environ),
            colab_packages=colab_packages,
            host=host,
        )


def _machine_python(environ: Mapping[str, str]) -> Path:
    # A kernel of ours runs on a project's Python; the guard says which one the machine's own tools run on.
    configured = environ.get("COLAB_ENV_MACHINE_PYTHON")
    if configured and Path(configured).is_file():
        return Path(configured)
    # Whoever starts it as python, as python3 or by another link means one and the same.
    interpreters = (Path(sys.prefix) / "bin" / name for name in ("python3", "python"))
    return next((path for path in interpreters if _is_same(path, sys.executable)), Path(sys.executable))


def _is_same(one: Path, other: str) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _xdg_data(environ: Mapping[str, str], home: Path) -> Path:
    # platformdirs' rule for Linux, without its import time.
    return Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")


def _find_colab_packages() -> Path | None:
    if not _COLAB_CONFIG.is_file():
        return None
    # Should there be several, that of the newest Python.
    files = sorted(Path("/usr/local/lib").glob("python3.*/dist-packages/google/colab/__init__.py"))
    return files[-1].parents[2] if files else None
