"""Read a Dockerfile as BuildKit does: instructions with their lines, heredocs, stages, and what variables are where.

Of the parsers on PyPI, the one in Python (dockerfile-parse) takes the lines of a heredoc for instructions, and BuildKit's own
(dockerfile), which the tests compare this one with, is a program of 8 MB that drops the texts of heredocs.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

_DIRECTIVE = re.compile(r"#[ \t]*([a-zA-Z][a-zA-Z0-9]*)[ \t]*=[ \t]*(.+?)[ \t]*$")
_COMMENT = re.compile(r"[ \t]*#")
_HEREDOC = re.compile(r"(\d*)<<(-?)([^<\s]+)$")
_WITH_HEREDOC = {"ADD", "COPY", "RUN"}
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?([-+])([^}]*))?\})")
_LONGEST_VALUE = 131_072  # bytes of one variable that Linux gives to a program (MAX_ARG_STRLEN)
_SEPARATOR = re.compile(r"&&|\|\||[;|\n(){}]|(?<![<>])&(?!>)")
_REDIRECTION = re.compile(r"(?:\d*|&)(?:>>?|<<?)&?(.*)")


@dataclass(frozen=True, kw_only=True)
class Heredoc:
    """A text in a Dockerfile; `start` is its first line."""

    name: str
    text: str
    start: int


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction: its `name` in capitals, what follows as one line, and its first and last line, from 1.

    `is_onbuild` says that it stands after ONBUILD: it acts in an image built on this one.
    """

    name: str
    value: str
    start: int
    end: int
    heredocs: tuple[Heredoc, ...] = ()
    is_onbuild: bool = False

    @property
    def flags(self) -> dict[str, list[str]]:
        """Return the options at its begin, such as "from" and "mount", with their values."""
        options: dict[str, list[str]] = {}
        for word in self.value.split():
            if not word.startswith("--"):
                break
            name, _, value = word[2:].partition("=")
            options.setdefault(name, []).append(value.strip("\"'"))
        return options

    @property
    def body(self) -> str:
        """Return what follows the options."""
        return re.sub(r"^(?:--\S+\s+)+", "", self.value).strip()

    @property
    def words(self) -> list[str]:
        """Return the words of COPY, ADD, CMD, ENTRYPOINT or FROM, in either form."""
        if self.body.startswith("["):
            try:
                listed = json.loads(self.body)
            except (ValueError, RecursionError):
                listed = None
            if isinstance(listed, list):
                return [str(word) for word in listed]
        return split_words(self.body)

    @property
    def script(self) -> str:
        """Return what RUN gives to the shell; a heredoc without a command is the script itself."""
        if self.heredocs and self.body.startswith("<<"):
            return "\n".join(heredoc.text for heredoc in self.heredocs)
        if self.body.startswith("["):
            return shlex.join(self.words)
        return "\n".join([self.body, *(heredoc.text for heredoc in self.heredocs)])

    @functools.cached_property
    def assignments(self) -> list[tuple[str, str]]:
        """Return the names and values of ENV or ARG, in the old form without "=" too."""
        words = split_words(self.value)
        if self.name == "ENV" and words and "=" not in words[0]:
            name, _, value = self.value.partition(" ")
            return [(name, value.strip())]
        return [
            (name, value) for name, _, value in (word.partition("=") for word in words) if re.fullmatch(r"\w+", name)
        ]


@dataclass(kw_only=True, eq=False)  # each is itself: what is found out of one is kept by it
class Stage:
    """One stage: what it is built on, as written and with its ARGs, and its instructions.

    `parent` is the number of the stage it is built on, or None; `name` is in small letters.
    """

    number: int
    name: str | None
    base: str
    parent: int | None
    start: int
    instructions: list[Instruction] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dockerfile:
    """A Dockerfile: its text, all instructions in order, and its stages."""

    text: str
    instructions: tuple[Instruction, ...]
    stages: tuple[Stage, ...]

    def chain(self, stage: Stage) -> list[Stage]:
        """Return the stages that a stage is built on, and itself, the first one first."""
        stages = [stage]
        while (parent := stages[0].parent) is not None:
            stages.insert(0, self.stages[parent])
        return stages

    def descendants(self, stage: Stage) -> list[Stage]:
        """Return a stage, and those built on it."""
        return [other for other in self.stages if stage in self.chain(other)]

    def stage_named(self, name: str) -> Stage | None:
        """Return the stage of this name or number, or None: an image."""
        match = next((stage for stage in reversed(self.stages) if stage.name == name.lower()), None)
        return match or next((stage for stage in self.stages if str(stage.number) == name), None)


def read(text: str) -> Dockerfile:
    """Read a Dockerfile. What is no instruction is passed over: a builder says what is wrong with it."""
    instructions = tuple(_instructions(text))
    return Dockerfile(text=text, instructions=instructions, stages=tuple(_stages(instructions)))


def split_words(text: str) -> list[str]:
    """Split as a shell does; where its quotes do not end, at spaces."""
    try:
        return shlex.split(text, posix=True)
    except ValueError:
        return text.split()


def commands(script: str) -> Iterator[list[str]]:
    """Yield the words of each simple command of a shell script, without redirections and variables before it."""
    for part in _split_commands(script):
        words = _without_redirections(split_words(part))
        while words and re.match(r"\w+=", words[0]):
            words.pop(0)
        while words and words[0] in ("if", "then", "else", "do", "exec", "time", "sudo", "set", "!"):
            words.pop(0)
        if words:
            yield words


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """Return a text with its variables, those that are not known as they are written."""
    room = _LONGEST_VALUE

    def value(variable: re.Match[str]) -> str:
        nonlocal room
        name = variable[1] or variable[2]
        if variable[3] == "+":
            chosen = variable[4] if variables.get(name) else ""
        else:
            chosen = variables.get(name) or (variable[4] if variable[3] == "-" else variables.get(name, variable[0]))
        room -= len(chosen)
        # Forty lines of ENV A=$A$A are a terabyte.
        return chosen if room >= 0 else variable[0]

    return _VARIABLE.sub(value, text)


def variables_of(file: Dockerfile, stage: Stage, *, until: Instruction | None = None) -> dict[str, str]:
    """Return the ENV and ARG values that hold in a stage, at its end or before an instruction."""
    globals_ = _global_arguments(file.instructions)
    values: dict[str, str] = {}
    for origin in file.chain(stage):
        arguments: dict[str, str] = {}
        for instruction in origin.instructions:
            if instruction is until:
                return {**values, **arguments}
            if instruction.name == "ENV":
                values.update(
                    (name, expanded(value, {**values, **arguments})) for name, value in instruction.assignments
                )
            elif instruction.name == "ARG":
                for name, value in instruction.assignments:
                    arguments[name] = expanded(value, {**values, **arguments}) if value else globals_.get(name, "")
        if origin is stage:
            values.update(arguments)
    return values


def workdir(file: Dockerfile, stage: Stage, *, until: Instruction | None = None) -> str:
    """Return the working directory of a stage, at its end or before an instruction."""
    variables, current = variables_of(file, stage), PurePosixPath("/")
    for origin in file.chain(stage):
        for instruction in origin.instructions:
            if instruction is until:
                return str(current)
            if instruction.name == "WORKDIR":
                current = current / expanded(instruction.value.strip("\"'"), variables)
    return str(current)


def _without_redirections(words: list[str]) -> list[str]:
    remaining: list[str] = []
    is_target = False
    for word in words:
        redirection = _REDIRECTION.fullmatch(word)
        if not redirection and not is_target:
            remaining.append(word)
        is_target = bool(redirection and not redirection[1])
    return remaining


def _split_commands(script: str) -> list[str]:
    parts, quote, start, index = [], "", 0, 0
    while index < len(script):
        character = script[index]
        if character == "\\":
            index += 2
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character == "#" and (index == 0 or script[index - 1].isspace()):
            end = script.find("\n", index)
            script = script[:index] + (script[end:] if end >= 0 else "")
            continue
        elif script.startswith("${", index):
            end = script.find("}", index)
            index = end if end > 0 else index
        elif separator := _SEPARATOR.match(script, index):
            parts.append(script[start:index])
            start = index = separator.end()
            continue
        index += 1
    return [*parts, script[start:]]


def _instructions(text: str) -> Iterator[Instruction]:
    lines = text.removeprefix("\ufeff").splitlines()
    escape = _escape(lines)
    ends = re.compile(rf"(?:(?<=[^{re.escape(escape)}])|^){re.escape(escape)}[ \t]*$")
    index = 0
    while index < len(lines):
        start = index
        line, index = lines[index].lstrip(" \t"), index + 1
        if not line.strip() or _COMMENT.match(line):
            continue
        while (continuation := ends.search(line)) and index <= len(lines):
            line = line[: continuation.start()]
            while index < len(lines) and (_COMMENT.match(lines[index]) or not lines[index].strip()):
                index += 1
            if index >= len(lines):
                break
            line, index = line + lines[index], index + 1
        if not line.strip():
            continue
        heredocs, index = _heredocs(line, lines, index)
        if instruction := _instruction(line, start=start + 1, end=index, heredocs=tuple(heredocs)):
            yield instruction


def _escape(lines: list[str]) -> str:
    """Return the character that continues a line, as the directives at the top say."""
    for line in lines:
        directive = _DIRECTIVE.match(line.strip())
        if directive is None:
            break
        if directive[1].lower() == "escape":
            return directive[2] if directive[2] in ("\\", "`") else "\\"
    return "\\"


def _heredocs(line: str, lines: list[str], index: int) -> tuple[list[Heredoc], int]:
    heredocs: list[Heredoc] = []
    first = line.split(None, 2)[:2]
    name = (first[1] if len(first) > 1 and first[0].upper() == "ONBUILD" else first[0]).upper()
    if name not in _WITH_HEREDOC or "<<" not in line:
        return heredocs, index
    for word in re.findall(r"""(?:"[^"]*"|'[^']*'|\S)+""", line):
        match = _HEREDOC.match(word)
        if match is None:
            continue
        end, content, start = match[3].strip("\"'"), [], index + 1
        while index < len(lines):
            current, index = lines[index], index + 1
            if (current.lstrip("\t") if match[2] else current) == end:
                break
            content.append(current)
        heredocs.append(Heredoc(name=end, text="\n".join(content), start=start))
    return heredocs, index


def _instruction(line: str, **where: object) -> Instruction | None:
    name, _, value = line.strip().partition(" ")
    if "\t" in name:
        name, _, value = line.strip().partition("\t")
    is_onbuild = name.upper() == "ONBUILD"
    if is_onbuild:
        name, _, value = value.strip().partition(" ")
    if not name.isalpha():
        return None
    return Instruction(name=name.upper(), value=value.strip(), is_onbuild=is_onbuild, **where)  # type: ignore[arg-type]


def _global_arguments(instructions: tuple[Instruction, ...]) -> dict[str, str]:
    values: dict[str, str] = {}
    for instruction in instructions:
        if instruction.name == "FROM":
            break
        if instruction.name == "ARG":
            values.update((name, expanded(value, values)) for name, value in instruction.assignments)
    return values


def _stages(instructions: tuple[Instruction, ...]) -> Iterator[Stage]:
    values, stages = _global_arguments(instructions), list[Stage]()
    for instruction in instructions:
        if instruction.name == "FROM" and not instruction.is_onbuild:
            words = instruction.words or [""]
            base = expanded(words[0], values)
            name = words[2].lower() if len(words) > 2 and words[1].lower() == "as" else None
            parent = next((stage.number for stage in reversed(stages) if stage.name == base.lower()), None)
            stages.append(Stage(number=len(stages), name=name, base=base, parent=parent, start=instruction.start))
        elif stages:
            stages[-1].instructions.append(instruction)
    yield from stages
