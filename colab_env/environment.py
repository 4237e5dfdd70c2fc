"""A project's environment: its `.venv`, made or mended, filled by Poetry, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from colab_env import _files, index, kernelspec, poetry, pyproject, simple_index, uv, venv
from colab_env.errors import NoSuchPythonError, PoetryError
from colab_env.interpreter import Interpreter, parse_specifier
from colab_env.results import short
from colab_env.step import Found

if TYPE_CHECKING:
    from colab_env.runtime import Runtime


class Environment:
    """One project's virtual environment while it is checked and built."""

    def __init__(self, project: Path, python: Interpreter, runtime: Runtime, *, system_site_packages: bool) -> None:
        self.project = project
        self.python = python
        self.runtime = runtime
        self.visible = system_site_packages
        self.notes: list[str] = []

    def check(self) -> str | None:
        return venv.health_check(self.project, python=self.python, system_site_packages=self.visible)

    def build(self) -> None:
        asked = pyproject.requires_python(self.project)
        if asked and not parse_specifier(asked).contains(self.python.version):
            asking = short(self.project / "pyproject.toml")
            msg = f"{asking} asks for Python {asked!r}, but {self.python.version} was chosen"
            raise NoSuchPythonError(msg, hint=f"choose another Python: setup(python={asked!r})")
        _files.recover(self.project / venv.NAME)
        with _files.restoring(*(self.project / name for name in ("pyproject.toml", "poetry.toml", "poetry.lock"))):
            written = pyproject.complete(self.project, python=self.python, system_site_packages=self.visible)
            self.notes.extend(f"{name} was written" for name in written)
            self._fill() if self._fits() else self._rebuild()

    def describe(self) -> Found:
        count = venv.packages(self.project)
        what = f"Virtual environment with Python {self.python.version} and {count} package{'' if count == 1 else 's'}"
        return Found(what=what, where=self.project / venv.NAME, python=self.python)

    def _fits(self) -> bool:
        ours = venv.recorded_python(self.project) is not None
        return ours and venv.misfit(self.project, python=self.python, system_site_packages=self.visible) is None

    def _fill(self) -> None:
        with _files.updating(self.project / venv.NAME):
            self._install()

    def _rebuild(self) -> None:
        kept = venv.set_aside_foreign(self.project)
        try:
            with _files.replacing(self.project / venv.NAME):
                self._create()
                self._install()
        except BaseException:
            if kept is not None:
                _files.move(kept, self.project / venv.NAME)
            raise
        if kept is not None:
            self.notes.append(f"the virtual environment that was there is now {kept.name}")

    def _create(self) -> None:
        installer = uv.installer(self.runtime, index.settings(self.runtime))
        target = self.project / venv.NAME
        installer.make_venv(target, self.python.path, system_site_packages=self.visible, pip=True)

    def _install(self) -> None:
        self._poetry_install()
        kernelspec.write_ipython_config(self.project / venv.NAME)
        venv.write_receipt(self.project, python=self.python)

    def _poetry_install(self) -> None:
        try:
            self._poetry_install_once()
        except PoetryError as error:
            healed = simple_index.heal(self.runtime) if poetry.is_simple_only(error) else None
            if healed is None:
                raise
            self.notes.append(healed)
            self._poetry_install_once()

    def _poetry_install_once(self) -> None:
        poetry.install_project(self.project, runtime=self.runtime, index=index.settings(self.runtime))
