"""Wheels of a few lines in the place of what is large or needs a network: the kernel's packages, Poetry, pip."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import ipykernel

from colab_env import pins
from colab_env.jupyter import colab_layer
from tests.small_wheels import write_archive, write_wheel

_SITE = str(Path(ipykernel.__file__).parents[1])
# The kernel is a real one: it runs on the modules of the environment that runs the tests.
_LENT = """\
import sys
sys.path.append({site!r})
__file__ = {site!r} + "/{name}/__init__.py"
__path__ = [{site!r} + "/{name}"]
exec(compile(open(__file__, encoding="utf-8").read(), __file__, "exec"))
"""
_KERNEL = {
    **{f"{name}/__init__.py": _LENT.format(site=_SITE, name=name) for name in ("IPython", "ipykernel")},
    "ipykernel_launcher.py": "from ipykernel import kernelapp as app\napp.launch_new_instance()\n",
}
_LOCK = """\
# This file stands in for what Poetry writes.

[[package]]
name = "demo"
version = "1.0"
optional = false
python-versions = "*"
groups = ["main"]
files = []

[metadata]
lock-version = "2.1"
python-versions = ">=3.8"
content-hash = "0"
"""
# It knows what colab-env asks of it: its version, and `export`, which makes a lock file where there is none.
_POETRY = f"""\
import sys
from pathlib import Path

def main():
    words = sys.argv[1:]
    if "--version" in words:
        print("Poetry (version {pins.POETRY})")
    else:
        Path("poetry.lock").exists() or Path("poetry.lock").write_text({_LOCK!r})
        Path(words[words.index("--output") + 1]).write_text("demo==1.0\\nother==1.0\\n")
"""


def write_wheels(directory: Path) -> None:
    """Write all wheels that the machine's index has."""
    for version in ("1.0", "2.0"):
        code = "\ndef main():\n    print(version)\n"
        write_wheel(directory, "demo", version, code=code, programs=["demo"], needs=["other"])
    write_wheel(directory, "other", "1.0")
    write_wheel(directory, "pip", "99.0")
    for requirements in colab_layer.kernel_requirements("{}.{}".format(*sys.version_info), colab=False):
        for name in requirements.names:
            _write(directory, name, _KERNEL)
    poetry = {"poetry/__init__.py": "", "poetry/console/__init__.py": "", "poetry/console/application.py": _POETRY}
    _write(directory, f"poetry=={pins.POETRY}", poetry, program="poetry = poetry.console.application:main")
    for plugin in (pins.POETRY_MIRROR_PLUGIN, pins.POETRY_EXPORT_PLUGIN):
        _write(directory, plugin, {f"{plugin.partition('==')[0].replace('-', '_')}/__init__.py": ""})


def _write(directory: Path, pinned: str, modules: Mapping[str, str], *, program: str = "") -> None:
    name, _, version = pinned.replace("-", "_").partition("==")
    info = f"{name}-{version}.dist-info"
    files = {
        **modules,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{program}\n",
    }
    write_archive(directory / f"{name}-{version}-py3-none-any.whl", files, info)
