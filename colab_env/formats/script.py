"""A Python file or a notebook with a block `# /// script` (PEP 723): uv reads the block."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from colab_env import _files
from colab_env.errors import ScriptError
from colab_env.locks import installing, requirements_text, script_block
from colab_env.locks.lock_format import LockFile, LockFormat
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.locks.installing import PoetrySource, Selection, Target
    from colab_env.machine import Machine


class Script(LockFormat):
    """The block of a script or of a notebook; what `uv lock --script` says of it counts, beside the file or in the notebook."""

    name = "script"
    rank = 80
    file_names = ()
    suffixes = (".py", ".ipynb")
    options = frozenset({"keep", "isolated"})
    names_python = True

    def described(self, lock: LockFile) -> str:
        return f"the block in {lock.path.name}"

    def requires_python(self, lock: LockFile) -> str | None:
        return script_block.read(script_block.block(lock.path), lock.path).requires_python

    def digest(self, lock: LockFile) -> str:
        return _digest(script_block.block(lock.path) + (script_block.lock(lock.path) or ""))

    def export(
        self, lock: LockFile, selection: Selection, *, python: Path, machine: Machine, editable: bool = True
    ) -> str:
        path = lock.path if lock.path.suffix == ".py" else script_of(lock.path, machine)
        return installing.installer(machine, pyproject=lock.pyproject).script(path, python=python)

    def install(self, lock: LockFile, selection: Selection, *, target: Target) -> Mapping[str, Collection[str]]:
        self.require_uv(lock, target)
        text = self.export(lock, selection, python=target.python, machine=target.machine)
        uv = script_block.settings(script_block.block(lock.path)).get("uv")
        values: Mapping[str, Any] = uv if isinstance(uv, dict) else {}
        installer = target.installer(lock.pyproject)
        # uv's answer does not say where packages come from.
        indexes = [] if "--no-index" in target.options else _indexes(values, target.machine.environ)
        environ = {**_index_variables(indexes), **installer.environ}
        return installing.install_text(
            replace(installer, environ=environ),
            text,
            selection,
            target=target,
            directory=lock.directory,
            sources=_sources(values, indexes, text),
        )


def _indexes(uv: Mapping[str, Any], environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the indexes that a block names, with the user names and passwords that variables have for them."""
    listed = uv.get("index")
    tables = [table for table in listed if isinstance(table, dict)] if isinstance(listed, list) else []
    indexes = [dict(table) for table in tables if isinstance(table.get("url"), str)]
    for each in indexes:
        name = f"UV_INDEX_{re.sub(r'[^A-Z0-9]', '_', str(each.get('name', '')).upper())}"
        user, password = (quote(environ.get(f"{name}_{part}", ""), safe="") for part in ("USERNAME", "PASSWORD"))
        if (user or password) and "@" not in each["url"]:
            each["url"] = each["url"].replace("://", f"://{user}:{password}@", 1)
    return indexes


def _index_variables(indexes: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return how uv is told of the indexes that serve for every package."""
    default = next((each["url"] for each in indexes if each.get("default") is True), None)
    further = [each["url"] for each in indexes if not (each.get("default") is True or each.get("explicit") is True)]
    variables = {"UV_DEFAULT_INDEX": default, "UV_INDEX": " ".join(further)}
    return {name: value for name, value in variables.items() if value}


def _sources(uv: Mapping[str, Any], indexes: Sequence[Mapping[str, Any]], text: str) -> list[PoetrySource]:
    """Return which of the packages in uv's answer come from an index that the block names for them."""
    listed = uv.get("sources")
    sources = listed.items() if isinstance(listed, dict) else ()
    named = {name: source["index"] for name, source in sources if isinstance(source, dict) and "index" in source}
    urls = {str(each.get("name")): each["url"] for each in indexes}
    chosen = {requirements_text.normalized(name): urls[str(to)] for name, to in named.items() if str(to) in urls}
    hashes = requirements_text.hashes(text)
    found = [
        (requirements_text.normalized(requirement.name), pin)
        for _, requirement in requirements_text.requirements(text)
        for pin in requirements_text.pins(requirement)
    ]
    return [
        installing.PoetrySource(name=name, version=pin, hashes=hashes.get(name, frozenset()), url=chosen[name])
        for name, pin in found
        if name in chosen
    ]


def script_of(notebook: Path, machine: Machine) -> Path:
    """Write the block of a notebook, and its lock, where uv can read them, and return the path. Raises ScriptError.

    uv looks for relative paths beside the script, which is not beside the notebook: they are refused.
    """
    block = script_block.block(notebook)
    script_block.read(block, notebook)
    sources = script_block.settings(block).get("uv", {})
    sources = sources.get("sources", {}) if isinstance(sources, dict) else {}
    for name, source in sources.items() if isinstance(sources, dict) else ():
        path = source.get("path", "/") if isinstance(source, dict) else "/"
        if isinstance(path, str) and not path.startswith("/"):
            msg = f"the block in {short(notebook)} takes {name} from {path!r}, a path that is not absolute"
            raise ScriptError(msg, hint=f"write it out: {(notebook.absolute().parent / path).resolve()}")
    return write_block(block, machine, lock=script_block.lock(notebook))


def write_block(block: str, machine: Machine, *, lock: str | None = None) -> Path:
    """Write the block of a notebook, and its lock, where uv can read them, and return the path: one for each content."""
    path = machine.data / "scripts" / f"{_digest(block + (lock or ''))[:16]}.py"
    for file, text in ((path, block), (path.with_name(f"{path.name}.lock"), lock)):
        if text is not None and not file.is_file():
            _files.write_text(file, text, mode=0o600)  # an address in it may hold a password
    return path


def _digest(block: str) -> str:
    return hashlib.sha256(block.encode("utf-8", "surrogatepass")).hexdigest()
