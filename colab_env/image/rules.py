"""What is wrong with Dockerfiles of Poetry and uv projects, beyond what linters say: each rule one sentence and one source."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from colab_env.image import install_rules, reading, surroundings
from colab_env.image.reading import Dockerfile, Instruction, Stage
from colab_env.image.surroundings import Place, Project
from colab_env.results import short


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of a Dockerfile, and what is wrong with it.

    `rule` is a short name, `line` counts from 1, `text` is one sentence, `source` where it can be read. `is_fixable` says
    that `check(fix=True)` knows what would certainly be equivalent or better.
    """

    rule: str
    line: int
    text: str
    source: str
    is_fixable: bool = False


@dataclass(frozen=True, kw_only=True)
class CheckedFile:
    """One file: `stale` says in a sentence why it is not what the project says, or is None; `findings` are its lines'.

    `difference` is a unified diff of what would be better, where that was asked for; `fixed` says that it was written.
    `notes` are about the check itself.
    """

    path: Path
    stale: str | None = None
    findings: tuple[Finding, ...] = ()
    difference: str = ""
    fixed: bool = False
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Say whether nothing is wrong, or everything was mended."""
        return self.stale is None and (
            not self.findings or (self.fixed and all(finding.is_fixable for finding in self.findings))
        )

    def __repr__(self) -> str:
        name = short(self.path)
        lines = [
            f"✗ {name}:{finding.line}: {finding.text} ({finding.rule}, {finding.source})" for finding in self.findings
        ]
        last = [self.difference.rstrip("\n")] if self.difference else []
        done = [f"✓ {name}: written"] if self.fixed else []
        return "\n".join([*(lines or [f"✓ {name}: fine"]), *(f"  {note}" for note in self.notes), *last, *done])


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What a check says about every file."""

    files: tuple[CheckedFile, ...]

    @property
    def ok(self) -> bool:
        """Say whether nothing is wrong in any of them."""
        return all(file.ok for file in self.files)

    @property
    def exit_code(self) -> int:
        """Return 1 when something is wrong, else 0."""
        return 0 if self.ok else 1

    def __repr__(self) -> str:
        causes = dict.fromkeys(file.stale for file in self.files if file.stale)
        stale = [(cause, [file.path for file in self.files if file.stale == cause]) for cause in causes]
        lines = [f"✗ {', '.join(map(short, paths))}: {cause}" for cause, paths in stale]
        return "\n".join([*lines, *(repr(file) for file in self.files if not file.stale)])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "ok": self.ok,
            "files": [{**asdict(file), "path": str(file.path), "ok": file.ok} for file in self.files],
        }


_NO_SUCH = {"POETRY_NO_INTERACTION", "POETRY_NO_ANSI", "POETRY_NO_DEV"}
_PIP_CACHE = re.compile(r"=/root/\.cache(?:/pip)?/?(?:,|$)")
_FALSE = {"off", "0", "false", "no", "f", "n"}


def _variables(file: Dockerfile) -> Iterator[tuple[Stage, Instruction, str, str]]:
    for stage in file.stages:
        for instruction in stage.instructions:
            if instruction.name in ("ENV", "ARG") and not instruction.is_onbuild:
                for name, value in instruction.assignments:
                    yield stage, instruction, name, value


def _is_referenced(file: Dockerfile, name: str) -> bool:
    return re.search(rf"\$\{{?{re.escape(name)}\b", file.text) is not None


def without_variable(name: str) -> Callable[[str], str]:
    """Return what takes a variable out of the text of an ENV or ARG."""

    def fix(text: str) -> str:
        value = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\s\\]*)"""
        head, _, rest = text.partition(" ")
        rest = re.sub(rf"(?<!\S){re.escape(name)}(?:={value}[ \t]*|[ \t]+[^\n]*)", "", rest, count=1)
        lines = [line for line in f"{head} {rest}".split("\n") if line.strip() not in ("", "\\")]
        if not lines or lines[0].split() in ([head], [head, "\\"]):
            lines = [f"{head} {lines[1].lstrip()}", *lines[2:]] if len(lines) > 1 else []
        if lines:
            lines[-1] = re.sub(r"[ \t]*\\[ \t]*$", "", lines[-1])
        return "\n".join(line.rstrip() for line in lines)

    return fix


def no_such_variable(file: Dockerfile, _: Project) -> Iterator[Place]:
    for _stage, instruction, name, _value in _variables(file):
        if name in _NO_SUCH and not _is_referenced(file, name):
            yield surroundings.line_of(file, instruction, name), {"name": name}, without_variable(name)


def pip_cache_off(file: Dockerfile, _: Project) -> Iterator[Place]:
    for stage, instruction, name, value in _variables(file):
        if name == "PIP_NO_CACHE_DIR" and value.lower() in _FALSE:
            # With the cache on, as its author means it, none of it may get into the image.
            is_in_mounts = _keeps_cache_in_mounts(file, stage) and not _is_referenced(file, name)
            fix = without_variable(name) if is_in_mounts else _with_cache_off
            yield surroundings.line_of(file, instruction, name), {"value": value}, fix


def _with_cache_off(text: str) -> str:
    return re.sub(r"(PIP_NO_CACHE_DIR[= ][\"']?)\w+", r"\g<1>1", text)


def _keeps_cache_in_mounts(file: Dockerfile, stage: Stage) -> bool:
    """Say whether each command of a stage, and of those on top of it, that could fill pip's cache has it in a cache mount."""
    below = file.descendants(stage)
    if surroundings.starts_unknown(below):
        return False
    commands = [(other, command) for other in below for command in surroundings.commands_of(file, other)]
    filling = [(other, command) for other, command in commands if command.uses_pip or command.is_opaque]
    return bool(filling) and all(
        surroundings.user(file, other, until=command.instruction) == "root"
        and any(
            _PIP_CACHE.search(mount) for mount in command.instruction.flags.get("mount", []) if "type=cache" in mount
        )
        for other, command in filling
    )


def pip_variable_unread(file: Dockerfile, _: Project) -> Iterator[Place]:
    for stage, instruction, name, _value in _variables(file):
        if not name.startswith("PIP_") or _is_referenced(file, name) or name in ("PIP_VERSION", "PIP_TOOLS_VERSION"):
            continue
        below = file.descendants(stage)
        commands = [command for other in below for command in surroundings.commands_of(file, other)]
        tools = {command.program for command in commands} & {"poetry", "uv"}
        by_uv = any(command.program == "uv" and "pip" in command.words for command in commands)  # it is not pip
        is_read = any(command.uses_pip or command.is_opaque for command in commands)
        is_read = is_read or (surroundings.mentions(below, "pip") and not by_uv) or surroundings.starts_unknown(below)
        if tools and not is_read:
            names = {
                "name": name,
                "tool": " and ".join(sorted({"poetry": "Poetry", "uv": "uv"}[name] for name in tools)),
            }
            yield surroundings.line_of(file, instruction, name), names, without_variable(name)


def variable_elsewhere(file: Dockerfile, _: Project) -> Iterator[Place]:
    for stage, instruction, name, _value in _variables(file):
        tool = {"POETRY": "poetry", "UV": "uv"}.get(name.partition("_")[0])
        if tool is None or _is_referenced(file, name) or name in _NO_SUCH:
            continue
        below = file.descendants(stage)
        if surroundings.mentions(below, tool) or surroundings.starts_unknown(below):
            continue
        if any(command.is_opaque for other in below for command in surroundings.commands_of(file, other)):
            continue
        users = [
            other
            for other in file.stages
            if any(command.program == tool for command in surroundings.commands_of(file, other))
            and name not in reading.variables_of(file, other)
        ]
        if users:
            names = {"name": name, "tool": tool, "user": users[0].name or str(users[0].number)}
            yield surroundings.line_of(file, instruction, name), names, None


def poetry_version_unread(file: Dockerfile, _: Project) -> Iterator[Place]:
    for stage, instruction, name, _value in _variables(file):
        if name != "POETRY_VERSION" or _is_referenced(file, name):
            continue
        commands = [command for other in file.stages for command in surroundings.commands_of(file, other)]
        reads = any(
            "poetry" in word and ("install" in word or "get-" in word) for command in commands for word in command.words
        )
        by_pip = [
            command
            for other in file.descendants(stage)
            for command in surroundings.commands_of(file, other)
            if command.program in ("pip", "pip3", "pipx") and "poetry" in command.words
        ]
        if by_pip and not reads and not any(command.is_opaque for command in commands):
            yield surroundings.line_of(file, instruction, name), {"program": by_pip[0].program}, None


def system_python(file: Dockerfile, project: Project) -> Iterator[Place]:
    if project.is_for_development:  # what its developer runs, nobody knows
        return
    commands = [command for stage in file.stages for command in surroundings.commands_of(file, stage)]
    is_read = any(
        command.is_opaque or (command.program == "uv" and command.arguments[:1] == ["pip"]) for command in commands
    )
    for _stage, instruction, name, _value in _variables(file):
        if name != "UV_SYSTEM_PYTHON" or is_read or "uv pip" in file.text or surroundings.starts_unknown(file.stages):
            continue
        if any(command.program == "uv" for command in commands):
            yield surroundings.line_of(file, instruction, name), {}, without_variable(name)


Fix = Callable[[str], str]
_TABLE = Path(__file__).with_name("dockerfile_rules.tsv")  # name, sentence, source
FINDERS: dict[str, Callable[[Dockerfile, Project], Iterator[Place]]] = {
    "no-such-variable": no_such_variable,
    "pip-cache-off": pip_cache_off,
    "pip-variable-unread": pip_variable_unread,
    "variable-elsewhere": variable_elsewhere,
    "poetry-version-unread": poetry_version_unread,
    "uv-system-python": system_python,
    "cache-mount-unused": install_rules.cache_mount_unused,
    "export-without-plugin": install_rules.export_without_plugin,
    "option-gone": install_rules.option_gone,
    "option-to-come": install_rules.option_to_come,
    "environment-moved": install_rules.environment_moved,
    "editable-left-behind": install_rules.editable_left_behind,
    "other-python": install_rules.other_python,
    "into-system-python": install_rules.into_system_python,
    "compilers-shipped": install_rules.compilers_shipped,
    "copied-before-install": install_rules.copied_before_install,
    "environment-in-context": install_rules.environment_in_context,
}


def table() -> dict[str, tuple[str, str]]:
    """Return the rules' sentences, with {names} in them, and sources, by name."""
    rows = (line.split("\t") for line in _TABLE.read_text(encoding="utf-8").splitlines())
    return {name: (text, source) for name, text, source in rows}


def check(file: Dockerfile, project: Project) -> list[tuple[Finding, Fix | None]]:
    """Return what is wrong, by line, each with how its instruction would be better, or None."""
    findings: dict[Finding, Fix | None] = {}
    for name, (text, source) in table().items():
        for line, names, fix in FINDERS[name](file, project):
            finding = Finding(
                rule=name, line=line, text=text.format(**names), source=source, is_fixable=fix is not None
            )
            findings.setdefault(finding, fix)
    return sorted(findings.items(), key=lambda pair: (pair[0].line, pair[0].rule))


def fixed(file: Dockerfile, findings: list[tuple[Finding, Fix | None]]) -> str:
    """Return the text with everything that is certainly equivalent or better done."""
    lines = file.text.splitlines(keepends=True)
    for instruction in reversed(file.instructions):
        fixes = [fix for finding, fix in findings if fix and instruction.start <= finding.line <= instruction.end]
        if not fixes:
            continue
        old = "".join(lines[instruction.start - 1 : instruction.end])
        end = re.search(r"\r?\n?$", old)
        newline = "\r\n" if "\r\n" in old else "\n"
        text = old.replace("\r\n", "\n").rstrip("\n")
        for fix in fixes:
            text = fix(text)
        after = text.replace("\n", newline) + (end[0] if end and text else "")
        lines[instruction.start - 1 : instruction.end] = [after] if text else []
    return "".join(lines)
