"""Rules about variables in Dockerfiles that do nothing, or not what their author thinks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from colab_env.image import reading, surroundings
from colab_env.image.reading import Dockerfile, Instruction, Stage
from colab_env.image.surroundings import Place, Project

_NO_SUCH = {"POETRY_NO_INTERACTION", "POETRY_NO_ANSI", "POETRY_NO_DEV"}
_FALSE = {"off", "0", "false", "no", "f", "n"}


def _variables(file: Dockerfile) -> Iterator[tuple[Stage, Instruction, str, str]]:
    for stage in file.stages:
        for instruction in stage.instructions:
            if instruction.name in ("ENV", "ARG") and not instruction.is_onbuild:
                for name, value in instruction.assignments():
                    yield stage, instruction, name, value


def _is_referenced(file: Dockerfile, name: str) -> bool:
    return re.search(rf"\$\{{?{name}\b", file.text) is not None


def without_variable(name: str) -> Callable[[str], str]:
    """Return what takes a variable out of the text of an ENV or ARG."""

    def fix(text: str) -> str:
        value = r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^\s\\]*)"""
        head, _, rest = text.partition(" ")
        rest = re.sub(rf"(?<!\S){name}(?:={value}|[ \t]+[^\n]*)", "", rest, count=1)
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
    for _stage, instruction, name, value in _variables(file):
        if name == "PIP_NO_CACHE_DIR" and value.lower() in _FALSE:
            fix = lambda text: re.sub(r"(PIP_NO_CACHE_DIR[= ][\"']?)\w+", r"\g<1>1", text)  # noqa: E731
            yield surroundings.line_of(file, instruction, name), {"value": value}, fix


def pip_variable_unread(file: Dockerfile, _: Project) -> Iterator[Place]:
    for stage, instruction, name, _value in _variables(file):
        if not name.startswith("PIP_") or _is_referenced(file, name) or name in ("PIP_VERSION", "PIP_TOOLS_VERSION"):
            continue
        below = file.descendants(stage)
        commands = [command for each in below for command in surroundings.commands_of(file, each)]
        tools = {command.program for command in commands} & {"poetry", "uv"}
        by_uv = any(command.program == "uv" and "pip" in command.words for command in commands)  # it is not pip
        is_read = any(command.uses_pip or command.is_opaque for command in commands)
        is_read = is_read or (surroundings.mentions(below, "pip") and not by_uv) or surroundings.starts_unknown(below)
        if tools and not is_read:
            names = {
                "name": name,
                "tool": " and ".join(sorted({"poetry": "Poetry", "uv": "uv"}[each] for each in tools)),
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
        if any(command.is_opaque for each in below for command in surroundings.commands_of(file, each)):
            continue
        users = [
            each
            for each in file.stages
            if any(command.program == tool for command in surroundings.commands_of(file, each))
            and name not in reading.variables_of(file, each)
        ]
        if users:
            names = {"name": name, "tool": tool, "user": users[0].name or str(users[0].number)}
            yield surroundings.line_of(file, instruction, name), names, None


def poetry_version_unread(file: Dockerfile, _: Project) -> Iterator[Place]:
    for stage, instruction, name, _value in _variables(file):
        if name != "POETRY_VERSION" or _is_referenced(file, name):
            continue
        commands = [command for each in file.stages for command in surroundings.commands_of(file, each)]
        reads = any(
            "poetry" in word and ("install" in word or "get-" in word) for command in commands for word in command.words
        )
        by_pip = [
            command
            for each in file.descendants(stage)
            for command in surroundings.commands_of(file, each)
            if command.program in ("pip", "pip3", "pipx") and "poetry" in command.words
        ]
        if by_pip and not reads and not any(command.is_opaque for command in commands):
            yield surroundings.line_of(file, instruction, name), {"program": by_pip[0].program}, None


def system_python(file: Dockerfile, project: Project) -> Iterator[Place]:
    if project.is_for_development:  # what its developer runs, nobody knows
        return
    commands = [command for each in file.stages for command in surroundings.commands_of(file, each)]
    is_read = any(
        command.is_opaque or (command.program == "uv" and command.arguments[:1] == ["pip"]) for command in commands
    )
    for _stage, instruction, name, _value in _variables(file):
        if name != "UV_SYSTEM_PYTHON" or is_read or "uv pip" in file.text or surroundings.starts_unknown(file.stages):
            continue
        if any(command.program == "uv" for command in commands):
            yield surroundings.line_of(file, instruction, name), {}, without_variable(name)
