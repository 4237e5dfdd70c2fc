"""What the tests of the bundled notebook share: this package as a wheel, and a machine to run notebooks on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "colab_bootstrap.ipynb"


def build_wheel(directory: Path) -> Path:
    """Build this package's wheel from the working tree."""
    subprocess.run(
        [sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--out-dir", directory, ROOT], check=True
    )
    return next(directory.glob("*.whl"))


@dataclass(frozen=True)
class PreparedMachine:
    """A home directory and a Python with Jupyter, and nothing of this package."""

    home: Path
    python: Path

    @classmethod
    def make(cls, directory: Path, *packages: str) -> PreparedMachine:
        """Install a Jupyter kernel, and `packages`, into a fresh environment."""
        home, venv = directory / "home", directory / "jupyter"
        home.mkdir()
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "-q", "--seed", "--python", sys.executable, venv], check=True)
        subprocess.run(
            [*uv, "pip", "install", "-q", "--python", venv / "bin/python", "ipykernel", "nbclient", *packages],
            check=True,
        )
        return cls(home=home, python=venv / "bin/python")

    def environ(self) -> dict[str, str]:
        """Return what a person's shell on that machine would have."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("COLAB_", "XDG_", "JUPYTER_"))
        }
        kept.pop("VIRTUAL_ENV", None)
        kept.setdefault("PYENV_ROOT", str(Path.home() / ".pyenv"))
        path = f"{self.python.parent}:{Path(sys.executable).parent}:{kept['PATH']}"
        return {**kept, "HOME": str(self.home), "PATH": path}

    def run(self, argv: list[str | Path], **options) -> subprocess.CompletedProcess[str]:
        """Run a program there and return what it printed."""
        return subprocess.run(argv, env=self.environ(), text=True, capture_output=True, check=False, **options)


def with_parameters(path: Path, **values: str) -> None:
    """Fill a notebook's form fields (`name = "…"  # @param`), as a person does in the page."""
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        for name, value in values.items():
            cell.source = re.sub(rf'^{name} = ".*?"', f"{name} = {json.dumps(value)}", cell.source, flags=re.MULTILINE)
    nbformat.write(notebook, path)


def texts(path: Path) -> list[str]:
    """Return what each code cell of an executed notebook shows, as text."""
    shown = []
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "code":
            outputs = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
            shown.append("".join(outputs))
    return shown
