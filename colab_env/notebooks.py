"""One notebook file and the packages that it names itself: add, remove, lock, take back, and open it in Jupyter."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from colab_env import _files, content, ipynb
from colab_env.errors import BuildError, LockMismatchError, ScriptError, UsageError
from colab_env.locks import nearby, script_block
from colab_env.machine import Machine
from colab_env.named_env import base_dirs
from colab_env.named_env.inventory import NamedEnvironment
from colab_env.named_env.recipe import Recipe
from colab_env.notebook_file import block_cell, imported, install_lines, packages
from colab_env.results import as_word, short, suggest
from colab_env.step import changing

if TYPE_CHECKING:
    from colab_env.interpreter import Interpreter
    from colab_env.ipynb import NotebookFile


@dataclass(frozen=True, kw_only=True)
class NotebookDependencies:
    """What a notebook asks for now: its `dependencies` and `requires_python`, and how many packages are `locked` (None: no lock).

    `action` is "changed", "already there" or "restored"; `notes` are sentences that a person should read.
    """

    path: Path
    dependencies: tuple[str, ...]
    requires_python: str | None
    locked: int | None
    action: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        what = ", ".join(self.dependencies) or "no package"
        lock = f", {content.pluralize(self.locked, 'package')} locked in it" if self.locked is not None else ""
        python = f" (Python {self.requires_python}{lock})" if self.requires_python else f" ({lock[2:]})" if lock else ""
        verb = {"changed": "asks for", "already there": "already asks for", "restored": "is as it was, and asks for"}
        return "\n".join(
            [f"✓ {short(self.path)} {verb[self.action]} {what}{python}", *(f"  {note}" for note in self.notes)]
        )

    @property
    def changed(self) -> bool:
        """Say whether the file was written."""
        return self.action != "already there"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "path": str(self.path),
            "dependencies": list(self.dependencies),
            "requires_python": self.requires_python,
            "locked": self.locked,
            "action": self.action,
            "notes": list(self.notes),
            "changed": self.changed,
        }


def add(
    path: str | Path,
    *requirements: str,
    python: str | None = None,
    requirements_file: str | Path | None = None,
    from_cells: bool = False,
) -> NotebookDependencies:
    """Write packages into the block `# /// script` of a notebook, which gets one in a hidden first cell where it has none.

    `from_cells` takes over what lines such as `!pip install pandas` name, and makes comments of these lines. `python` is the
    version or specifier that a new block asks for. A notebook that is locked is locked anew. The file keeps its formatting;
    `undo` puts it back. uv edits the block. Raises NotebookError, ScriptError, UsageError, CommandError or NetworkError; then
    nothing was changed.
    """
    machine, file = Machine.detect(), _read(path)
    packages.check_requirements(requirements)
    listed = None if requirements_file is None else _files.named_path(requirements_file).absolute()
    if listed is not None and not listed.is_file():
        msg = f"there is no file {short(listed)}"
        raise UsageError(msg, hint="check the path; nothing was changed")
    earlier, lines = block_cell.read(file), install_lines.InstallLines()
    if from_cells:
        is_alone = earlier.block is None and not requirements and listed is None
        lines = install_lines.read(block_cell.code_cells(file), is_alone=is_alone)
    all_requirements = [*lines.requirements, *requirements]
    if not all_requirements and listed is None and python is None:
        if from_cells:
            notes = (*lines.notes, "no cell has a line such as `!pip install pandas`", *_import_notes(path))
            return _result(path, "already there", notes)
        msg = f"nothing to add to {short(path)}"
        raise UsageError(
            msg, hint=f"name packages: colab-env add {as_word(path)} pandas; or take those of its cells: --from-cells"
        )
    if earlier.block is not None and python is not None:
        msg = f"{short(path)} has a block, which says its Python itself"
        raise UsageError(msg, hint="change `requires-python` in that cell; nothing was changed")
    arguments: list[str | Path] = ["add", *lines.options, *all_requirements]
    if listed is not None:
        arguments += ["--requirements", listed]
    result = _edit(
        path,
        file,
        block=earlier.block or packages.empty_block(python),
        arguments=arguments if all_requirements or listed else None,
        lines=lines,
        machine=machine,
    )
    return replace(result, notes=(*result.notes, *_import_notes(path))) if from_cells else result


def remove(path: str | Path, *names: str) -> NotebookDependencies:
    """Take packages out of the block of a notebook. Raises UsageError, with near matches, for one that is not in it."""
    machine, file = Machine.detect(), _read(path)
    earlier = block_cell.read(file)
    if earlier.block is None:
        msg = f"{short(path)} has no block `# /// script`"
        raise ScriptError(msg, hint=f"there is nothing to remove; colab-env add {as_word(path)} PACKAGE makes one")
    listed_names = {install_lines.name_of(text) for text in script_block.read(earlier.block, file.path).dependencies}
    if unknown := [name for name in names if install_lines.name_of(name) not in listed_names]:
        msg = f"{short(path)} does not ask for {', '.join(unknown)}"
        raise UsageError(msg, hint=suggest(install_lines.name_of(unknown[0]), listed_names))
    return _edit(path, file, block=earlier.block, arguments=["remove", *names], machine=machine)


def lock(path: str | Path, *, upgrade: bool = False) -> NotebookDependencies:
    """Lock what the block of a notebook asks for, in the notebook's metadata, where juv reads it too.

    Versions that are locked and still fit stay, unless `upgrade`. Raises ScriptError where there is no block.
    """
    machine, file = Machine.detect(), _read(path)
    earlier = block_cell.read(file)
    if earlier.block is None:
        msg = f"{short(path)} has no block `# /// script` that says what to lock"
        raise ScriptError(msg, hint=f"write one: colab-env add {as_word(path)} PACKAGE, or --from-cells")
    script_block.read(earlier.block, file.path)
    ipynb.require_writable(file)
    with changing("lock", machine, recorded=False):
        text = packages.locked(earlier.block, lock=earlier.lock, notebook=file.path, machine=machine, upgrade=upgrade)
        block_cell.write(file, block_cell.edited(file, lock=text), machine=machine)
    return _result(path, "already there" if text == earlier.lock else "changed")


def undo(path: str | Path) -> NotebookDependencies:
    """Put a notebook back as it was before the last `add`, `remove` or `lock`, byte for byte; again for the one before that.

    Raises NotebookError where it has been edited since, which would be lost.
    """
    block_cell.put_back(ipynb.read(path), machine=Machine.detect())
    return _result(path, "restored")


def open(  # noqa: A001  (used as `notebooks.open`)
    path: str | Path,
    *,
    interface: str | None = None,
    options: Sequence[str] = (),
    ask: Callable[[str], str] | None = None,
) -> NoReturn:
    """Become a Jupyter that shows the notebook, on its own Python with its own packages; the first time makes these.

    What it needs, its block `# /// script` says, with the lock in its metadata or beside it; else the project around it, which
    is set up as `setup` does it. Where nothing does, `ask` gets one question and returns names of packages, which go into a
    block. `interface` is "lab" or "notebook": the one on PATH, else one that is installed once. `options` are Jupyter's own.
    The notebook is not written to, and no kernel is registered: this server alone finds the environment, under the name of the
    kernel that the notebook asks for. Raises ScriptError where nothing says what it needs, and as `envs.create` does.
    """
    from colab_env import _process, _report
    from colab_env.notebook_file import jupyter_server

    machine, file = Machine.detect(), ipynb.read(path)
    kernel = jupyter_server.kernel_name(file.content, Path(path))
    with changing("open", machine, recorded=False):  # not longer: what this process becomes holds no lock
        environment, python = _environment(path, file, ask=ask, machine=machine)
        kernels = jupyter_server.offer_kernel(
            kernel, label=file.path.name, environment=environment, python=python, machine=machine
        )
        program = jupyter_server.ensure(interface, machine)
    words, environ = jupyter_server.command_line(
        program, file.path, kernel=kernel, kernels=kernels, machine=machine, options=options
    )
    jupyter_server.require_program(program)
    _report.keep(f"✓ {short(path)} opens on Python {python.version}, with its own packages")
    _process.become(program, words, environ)


def _read(path: str | Path) -> NotebookFile:
    file = ipynb.read(path)
    block_cell.require_python(file.content, Path(path))
    return file


def _environment(
    path: str | Path, file: NotebookFile, *, ask: Callable[[str], str] | None, machine: Machine
) -> tuple[Path, Interpreter]:
    """Return the environment of a notebook, as a kernel's project is named, and its Python; make it where need be."""
    if block_cell.read(file).block is None:
        if project := nearby.project_around(file.path.parent):
            from colab_env import setting_up, steps

            result = setting_up.setup(project=project)
            return project, steps.chosen_python(result.steps[0])
        _ask_what_it_needs(path, file, ask)
    from colab_env.formats import script
    from colab_env.named_env import making, scripts

    recipe = (scripts.recipe(script.script_of(file.path, machine)) or Recipe()).checked()
    base = base_dirs.bases(machine)[0]
    environment = NamedEnvironment(name=scripts.environment_name(recipe, machine=machine), base=base)
    if not environment.is_complete() or environment.health_check():
        try:
            making.make(environment, recipe, machine=machine)
        except LockMismatchError as error:
            msg = f"the lock in {short(path)} does not fit its block"
            raise LockMismatchError(
                msg, hint=f"lock it anew: colab-env lock {as_word(path)}", lines=error.lines
            ) from error
        except BuildError as error:
            hint = f"{packages.unbuilt_hint(error.lines, machine)}; or build it: {error.hint}"
            raise BuildError(error.message, hint=hint, returncode=error.returncode, lines=error.lines) from error
    return environment.path, making.require_receipt(environment).python


def _ask_what_it_needs(path: str | Path, file: NotebookFile, ask: Callable[[str], str] | None) -> None:
    named = install_lines.read(block_cell.code_cells(file)).requirements
    also = _imported(file, asked=named)
    if ask is None:
        words = ["--from-cells"] if named else also or ["PACKAGE ..."]
        msg = f"{short(path)} does not say which packages it needs, and there is no project around it"
        hint = f"write them into it: colab-env add {as_word(path)} {' '.join(words)}; then open it again"
        raise ScriptError(msg, hint=hint)
    offers = [f"{' '.join(named)}, from its cells"] if named else []
    offers += [f"{' '.join(also)}, which its cells import"] if also else []
    answer = ask(
        f"{short(path)} does not say which packages it needs. Write them into it, divided by spaces "
        f"(Enter: {'; '.join(offers) or 'none'}): "
    ).split()
    if answer or not named:
        add(path, *(answer or also), python=f"{sys.version_info.major}.{sys.version_info.minor}")
    else:
        add(path, from_cells=True)
        if also:
            add(path, *also)


def _imported(file: NotebookFile, *, asked: Sequence[str]) -> tuple[str, ...]:
    names = {install_lines.name_of(text) for text in asked}
    return imported.packages(block_cell.code_cells(file), asked=names, directory=file.path.parent)


def _import_notes(path: str | Path) -> tuple[str, ...]:
    """Return the sentence about packages that a notebook's cells import and its block does not name."""
    file = ipynb.read(path)
    block = block_cell.read(file).block
    names = _imported(file, asked=script_block.read(block, file.path).dependencies if block else ())
    if not names:
        return ()
    return (f"its cells import {', '.join(names)}: colab-env add {as_word(path)} {' '.join(names)}",)


def _edit(
    path: str | Path,
    file: NotebookFile,
    *,
    block: str,
    arguments: Sequence[str | Path] | None,
    machine: Machine,
    lines: install_lines.InstallLines | None = None,
) -> NotebookDependencies:
    earlier = block_cell.read(file)
    script_block.read(block, file.path)  # what is wrong in it is said before uv sees it
    ipynb.require_writable(file)
    locked = earlier.lock
    with changing("add", machine, recorded=False):
        if arguments is not None:
            block, locked = packages.with_packages(
                block, arguments, lock=earlier.lock, notebook=file.path, machine=machine
            )
        text = block_cell.edited(file, block=block, lock=locked, sources=lines.sources if lines else None)
        block_cell.write(file, text, machine=machine)
    action = "already there" if text == file.text else "changed"
    return _result(path, action, lines.notes if lines else ())


def _result(path: str | Path, action: str, notes: Sequence[str] = ()) -> NotebookDependencies:
    dependencies = block_cell.read(ipynb.read(path))
    values = script_block.read(dependencies.block, Path(path)) if dependencies.block else None
    return NotebookDependencies(
        path=Path(path),
        dependencies=values.dependencies if values else (),
        requires_python=values.requires_python if values else None,
        locked=len(re.findall(r"^\[\[package\]\]", dependencies.lock, re.MULTILINE)) if dependencies.lock else None,
        action=action,
        notes=tuple(notes),
    )
