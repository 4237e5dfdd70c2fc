"""What rules ask of a Dockerfile: which tools a stage runs, which Poetry it installs, where its environments are."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from colab_env import pins
from colab_env.image import context, reading
from colab_env.image.reading import Dockerfile, Instruction, Stage
from colab_env.pyproject import Pyproject

_PIP_INSIDE = ("install.python-poetry.org", "install-poetry", "get-poetry", "get-pip", "ensurepip")
_PIP_LIKE = re.compile(
    r"(pip[\d.]*|pipx|pipenv|pip-compile|pip-sync|conda|mamba|micromamba|tox|nox|hatch|rye|pre-commit)"
)
_POETRY_WORD = re.compile(r"poetry(?:\[[^\]]*\])?(?P<spec>(?:[=~<>!@^]=?=?).*)?")
_NEWEST_ONE = "1.8.5"  # of Poetry 1
# The newest Poetry that pip finds for an old Python; a newer Python gets the newest.
_NEWEST_FOR = {"3.6": "1.1.15", "3.7": "1.5.1", "3.8": _NEWEST_ONE, "3.9": "2.2.1"}
_PYTHON_IMAGE = re.compile(r"python[:-]?(3\.\d+)")
_OLD_DISTRIBUTIONS = {
    "3.6": re.compile(r"ubuntu:(?:18\.04|bionic)"),
    "3.7": re.compile(r"debian:(?:10\b|buster)"),
    "3.8": re.compile(r"ubuntu:(?:20\.04|focal)"),
    "3.9": re.compile(r"debian:(?:11\b|bullseye)"),
}

# What a rule found: a line, what its sentence names, and how the text of the instruction would be better, or None.
Place = tuple[int, dict[str, str], Callable[[str], str] | None]


@dataclass(frozen=True, kw_only=True)
class Project:
    """What is known of the project beside a Dockerfile; None is what is not known.

    `ignored` are the patterns of its .dockerignore, `environments` the virtual environments in its directory;
    `is_for_development` says that the Dockerfile's path tells of a developer's own container.
    """

    requires_python: str | None = None
    is_package: bool | None = None
    ignored: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    has_export_plugin: bool = False
    is_for_development: bool = False


_DEVELOPMENT = re.compile(
    r"(?i)(?:^|[/._-])(?:\.?dev(?:container|elop\w*)?|local|tests?|docs|ci|notebooks?|jupyter)(?:$|[/._-])"
)


def beside(directory: Path, path: str) -> Project:
    """Read what rules ask of the project in a directory, whose Dockerfile is at `path` in it. Raises ProjectFileError."""
    pyproject, is_for_development = Pyproject.read(directory), _DEVELOPMENT.search(path) is not None
    if pyproject.content is None:
        return Project(is_for_development=is_for_development)
    # A file is missing or a table is: then nobody can say whether there is a package.
    setting = pyproject.at("tool", "uv", "package")
    is_package = "build-system" in pyproject.values if setting is None else bool(setting)
    environments = [path.parent.name for path in sorted(directory.glob("*/pyvenv.cfg"))]
    hidden = [path.parent.name for path in sorted(directory.glob(".*/pyvenv.cfg"))]
    return Project(
        requires_python=pyproject.requires_python,
        is_package=is_package and pyproject.is_poetry_package,
        ignored=tuple(context.read_ignored(directory / ".dockerignore") or ()),
        environments=(*hidden, *environments),
        is_for_development=is_for_development,
        has_export_plugin="poetry-plugin-export" in str(pyproject.at("tool", "poetry", "requires-plugins") or ""),
    )


@dataclass(frozen=True, kw_only=True)
class Command:
    """One simple command of a RUN: its words, with variables expanded, and the instruction and stage it stands in."""

    words: tuple[str, ...]
    instruction: Instruction
    stage: Stage

    @property
    def program(self) -> str:
        """Return the name of the program, that of a module for `python -m`."""
        words = [word for word in self.words if word]
        name = PurePosixPath(words[0]).name if words else ""
        if re.fullmatch(r"python[\d.]*", name) and "-m" in words[:-1]:
            return words[words.index("-m") + 1]
        return name

    @property
    def arguments(self) -> list[str]:
        """Return the words after the program that are no options."""
        words = list(self.words)
        start = words.index("-m") + 2 if self.program != PurePosixPath(words[0]).name and "-m" in words else 1
        return [word for word in words[start:] if not word.startswith("-")]

    @property
    def is_opaque(self) -> bool:
        """Say whether it starts what stands in another file."""
        words = self.words
        if not words or self.program in ("make", "just", "task", "invoke", "source", "."):
            return bool(words)
        script = next((word for word in words[1:] if not word.startswith("-")), "")
        is_shell = self.program in ("sh", "bash", "dash", "zsh", "python", "python3") and "-c" not in words
        return (
            words[0].endswith((".sh", ".py"))
            or words[0].startswith("./")
            or (is_shell and script.endswith((".sh", ".py")))
        )

    @property
    def uses_pip(self) -> bool:
        """Say whether pip runs in it, or something that runs pip."""
        return bool(_PIP_LIKE.fullmatch(self.program)) or any(
            name in word for word in self.words for name in _PIP_INSIDE
        )


@functools.lru_cache(maxsize=256)
def commands_of(file: Dockerfile, stage: Stage) -> tuple[Command, ...]:
    """Return the commands that a stage's RUN instructions give, heredocs and shells with -c included."""
    commands = []
    for instruction in stage.instructions:
        if instruction.name == "RUN" and not instruction.is_onbuild:
            variables = reading.variables_of(file, stage, until=instruction)
            for words in _all_commands(instruction.script):
                expanded = tuple(reading.expanded(word, variables) for word in words)
                commands.append(Command(words=expanded, instruction=instruction, stage=stage))
    return tuple(commands)


def _all_commands(script: str, depth: int = 0) -> Iterator[list[str]]:
    for words in reading.commands(script):
        yield words
        if depth < 3 and PurePosixPath(words[0]).name in ("sh", "bash", "dash") and "-c" in words[:-1]:
            yield from _all_commands(words[words.index("-c") + 1], depth + 1)


def chain_commands(file: Dockerfile, stage: Stage) -> list[Command]:
    """Return the commands of a stage and of those it is built on, in order."""
    return [command for origin in file.chain(stage) for command in commands_of(file, origin)]


def mentions(stages: Sequence[Stage], word: str) -> bool:
    """Say whether anything but ENV and ARG names a word in some stages."""
    texts = (
        f"{instruction.value}\n{instruction.script if instruction.name == 'RUN' else ''}"
        for stage in stages
        for instruction in stage.instructions
        if instruction.name not in ("ENV", "ARG", "LABEL")
    )
    pattern = re.compile(rf"(?<![\w]){word}(?![\w])", re.IGNORECASE)
    return any(pattern.search(text) for text in texts) or any(word in stage.base.lower() for stage in stages)


def starts_unknown(stages: Sequence[Stage]) -> bool:
    """Say whether what a container starts, or a RUN does, stands in another file."""
    for stage in stages:
        for instruction in stage.instructions:
            if instruction.name in ("CMD", "ENTRYPOINT", "HEALTHCHECK") and re.search(
                r"\.sh\b|\bmake\b|/(?:start|run|entrypoint)\b", instruction.value
            ):
                return True
    return False


def user(file: Dockerfile, stage: Stage, *, until: Instruction) -> str | None:
    """Return who runs an instruction, "root" where nothing says another; None: nobody knows."""
    current = "root"
    for origin in file.chain(stage):
        for instruction in origin.instructions:
            if instruction is until:
                break
            if instruction.name == "USER":
                named = reading.expanded(instruction.value, reading.variables_of(file, origin, until=instruction))
                current = named.strip("\"'").partition(":")[0]
    return None if "$" in current else "root" if current == "0" else current


def poetry_version(file: Dockerfile, stage: Stage) -> str | None:
    """Return the Poetry that a stage installs: the version it pins, the newest where it pins none; None: nobody knows."""
    version = None
    base = file.chain(stage)[0].base
    by_distribution = (python for python, pattern in _OLD_DISTRIBUTIONS.items() if pattern.search(base))
    newest = _NEWEST_FOR.get(python_of(base) or next(by_distribution, ""), pins.POETRY)
    for command in chain_commands(file, stage):
        words = command.words
        if command.program in ("pip", "pip3", "pipx", "uv") and "install" in words:
            matches = [match for word in words if (match := _POETRY_WORD.fullmatch(word.strip("\"'")))]
            version = _version(matches[0]["spec"] or "", newest) if matches else version
        elif any("install.python-poetry.org" in word or "install-poetry" in word for word in words):
            variables = reading.variables_of(file, stage, until=command.instruction)
            script = reading.expanded(command.instruction.script, variables)
            pin = re.search(r"(?:POETRY_VERSION=|--version[ =])[\"']?([\d.]+[\w.]*)", script)
            pinned = pin[1] if pin else variables.get("POETRY_VERSION")
            version = pinned if pinned and re.fullmatch(r"[\d.]+\w*", pinned) else None if pinned else pins.POETRY
    return version


def python_of(base: str) -> str | None:
    """Return the Python of an image by its name, such as "3.12", or None where that does not say it."""
    match = _PYTHON_IMAGE.search(base)
    return match[1] if match else None


def _version(spec: str, newest: str) -> str | None:
    if not spec:
        return newest
    if exact := re.fullmatch(r"(?:===?|@)v?([\d.]+\w*)", spec):
        return exact[1]
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        allowed = SpecifierSet(spec)
    except InvalidSpecifier:
        return None
    return next((release for release in (newest, _NEWEST_ONE) if allowed.contains(release)), None)


def is_older(version: str, than: tuple[int, int]) -> bool:
    """Say whether a version such as "1.8.5" is older than one such as (2, 0)."""
    numbers = [int(number) for number in re.findall(r"\d{1,9}", version)[:2]]
    return tuple(numbers + [0] * (2 - len(numbers))) < than


def installs_dependencies(command: Command) -> bool:
    """Say whether a command installs a project's dependencies: those of a lock or requirements file, or the project's."""
    words, arguments = command.words, command.arguments
    if command.program in ("poetry", "pdm"):
        return bool(arguments) and arguments[0] in ("install", "sync") and "--only-root" not in words
    if command.program == "pipenv":
        return arguments in (["install"], ["sync"])
    if command.program == "uv":
        installs = arguments[:2] == ["pip", "install"] or arguments[:2] == ["pip", "sync"]
        return arguments[:1] == ["sync"] or (installs and _names_files(words))
    return bool(re.fullmatch(r"pip[\d.]*", command.program)) and arguments[:1] == ["install"] and _names_files(words)


def reads_list(command: Command) -> bool:
    """Say whether what a command installs stands in a file of its own, and not in the project: `pip install .` has none."""
    by_project = command.program in ("poetry", "pdm", "pipenv") or command.arguments[:1] == ["sync"]
    return by_project or _names_requirements(command.words)


def _names_files(words: Sequence[str]) -> bool:
    return _names_requirements(words) or any(
        word in (".", "-e", "--editable") or word.startswith(".[") for word in words
    )


def _names_requirements(words: Sequence[str]) -> bool:
    return any(word in ("-r", "--requirement") or word.startswith(("-r", "--requirement=")) for word in words)


def absolute(path: str, directory: str) -> str:
    """Return a path in an image, without "." and "..", from a working directory."""
    parts: list[str] = []
    for part in PurePosixPath(directory, path).parts[1:]:
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return "/" + "/".join(parts)


def environments(file: Dockerfile, stage: Stage) -> set[str]:
    """Return where a stage makes virtual environments: as it says, or as uv and Poetry do in the working directory."""
    directories: set[str] = set()
    for command in chain_commands(file, stage):
        directory = reading.workdir(file, command.stage, until=command.instruction)
        variables = reading.variables_of(file, command.stage, until=command.instruction)
        arguments = command.arguments
        if command.program in ("venv", "virtualenv") and arguments:
            directories.add(absolute(arguments[-1], directory))
        elif command.program == "uv" and arguments[:1] == ["venv"]:
            directories.add(absolute(arguments[1] if len(arguments) > 1 else ".venv", directory))
        elif command.program == "uv" and arguments[:1] == ["sync"]:
            directories.add(absolute(variables.get("UV_PROJECT_ENVIRONMENT", ".venv"), directory))
        elif command.program == "poetry" and arguments[:1] in (["install"], ["sync"]):
            in_project = variables.get("POETRY_VIRTUALENVS_IN_PROJECT", "").lower() in ("1", "true")
            directories |= (
                {absolute(".venv", directory)} if in_project or _configures_in_project(file, stage) else set()
            )
    return directories


def _configures_in_project(file: Dockerfile, stage: Stage) -> bool:
    return any(
        command.program == "poetry"
        and command.arguments[:1] == ["config"]
        and "virtualenvs.in-project" in command.words
        for command in chain_commands(file, stage)
    )


def line_of(file: Dockerfile, instruction: Instruction, word: str) -> int:
    """Return the line of an instruction that a word stands on."""
    lines = file.text.splitlines()[instruction.start - 1 : instruction.end]
    pattern = re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])")
    offset = next(
        (number for number, line in enumerate(lines) if pattern.search(line) and not line.lstrip().startswith("#")), 0
    )
    return instruction.start + offset
