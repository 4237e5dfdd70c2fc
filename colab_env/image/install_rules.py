"""Rules about how Dockerfiles install packages, and what they copy from stage to stage."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from colab_env.image import reading, surroundings
from colab_env.image.context import is_ignored
from colab_env.image.reading import Dockerfile, Instruction, Stage
from colab_env.image.surroundings import Command, Place, Project

# By (Poetry's command, option): what to write instead, as Poetry 1.8 has it too; None where it is not the same.
_GONE = {
    ("install", "--no-dev"): "--only main",
    ("update", "--no-dev"): "--only main",
    ("install", "--remove-untracked"): "--sync",
    ("install", "--dev-only"): None,
    ("install", "--default"): None,
    ("lock", "--no-update"): "",
    ("lock", "--check"): None,
}
_GONE_SETTINGS = ("virtualenvs.prefer-active-python", "installer.modern-installation", "experimental.new-installer")
_BUILDERS = {"build-essential", "build-base", "gcc", "g++"}
# Of the -dev packages, those that only a compiler reads; ctypes loads others by the name that they alone bring.
_HEADERS = re.compile(
    r"(?:lib(?:pq|ffi|ssl|mysqlclient|mariadb|xml2|xslt1?|jpeg|zlib|sqlite3|bz2|lzma|readline|ncurses5?|boost)"
    r"|python3(?:\.\d+)?|zlib1g|linux-headers|musl|postgresql|default-libmysqlclient)-dev"
)
_HOME_TARGET = re.compile(r"((?:target|dst|destination)=)~/")
_INTERACTIVE = re.compile(r"(?i)jupyter|notebook|kaggle|colab")
# What is copied for the packages alone; anything else may hold the project's sources.
_NO_SOURCES = re.compile(
    r"(?i).*\.(?:toml|txt|md|rst|cfg|ini|in|sh|crt|pem|conf)\*?|.*lock\*?|LICEN[CS]E.*|README.*|\.python-version"
)


def _replaced(word: str, by: str) -> Callable[[str], str]:
    """Return what writes `by` for a word; a line that has nothing else goes with the word."""
    alone = re.compile(rf"^[ \t]*{re.escape(word)}[ \t]*[\\`][ \t]*\r?\n", re.MULTILINE)
    inside = re.compile(rf"[ \t]*(?<!\S){re.escape(word)}(?!\S)")
    return lambda text: inside.sub(f" {by}", text) if by else inside.sub("", alone.sub("", text))


def cache_mount_unused(file: Dockerfile, _: Project) -> Iterator[Place]:
    for stage in file.stages:
        for command in surroundings.commands_of(file, stage):
            tool = "pip" if re.fullmatch(r"pip[\d.]*", command.program) else command.program
            option = {"pip": ("--no-cache-dir", "PIP_NO_CACHE_DIR"), "uv": ("--no-cache", "UV_NO_CACHE")}.get(tool)
            mounts = [
                mount
                for mount in command.instruction.flags.get("mount", [])
                if "type=cache" in mount and re.search(rf"\.cache(?:/{re.escape(tool)}\b|/?(?:,|$))", mount)
            ]
            if option is None or not mounts or not {"install", "sync"} & set(command.words):
                continue
            # The whole of .cache is for the others too that the instruction starts.
            others = {
                other.program
                for other in surroundings.commands_of(file, stage)
                if other.instruction is command.instruction
            }
            if not re.search(rf"\.cache/{re.escape(tool)}\b", mounts[0]) and others & {
                "poetry",
                "pdm",
                "pipenv",
                "uv",
            } - {tool}:
                continue
            variables = reading.variables_of(file, stage, until=command.instruction)
            user = surroundings.user(file, stage, until=command.instruction)
            instruction, mount = command.instruction, mounts[0]
            if option[0] in command.words or option[1] in variables:
                word = option[0] if option[0] in command.words else option[1]
                # The variable stays: other instructions may have no mount, and their cache would ship.
                fix = _replaced(word, "") if word == option[0] and option[1] not in variables else None
                why = {"why": f"{word} switches the cache off"}
                yield surroundings.line_of(file, instruction, option[0]), why, fix
            elif _HOME_TARGET.search(mount):
                fix = (lambda text: _HOME_TARGET.sub(r"\1/root/", text)) if user == "root" else None
                yield surroundings.line_of(file, instruction, mount), {"why": "nobody expands the ~ in its target"}, fix
            elif (
                "=/root/" in mount
                and user not in (None, "root")
                and not {f"{tool.upper()}_CACHE_DIR", "HOME"} & {*variables}
            ):
                why = {"why": f"{tool} runs as {user}, whose cache is not in /root"}
                yield surroundings.line_of(file, instruction, mount), why, None


def _poetry_commands(file: Dockerfile) -> Iterator[tuple[Command, list[str], str | None]]:
    for stage in file.stages:
        version = surroundings.poetry_version(file, stage)
        for command in surroundings.commands_of(file, stage):
            if command.program == "poetry" and command.arguments:
                yield command, command.arguments, version


def export_without_plugin(file: Dockerfile, project: Project) -> Iterator[Place]:
    if "poetry-plugin-export" in file.text or project.has_export_plugin:
        return
    for command, arguments, version in _poetry_commands(file):
        if arguments[0] == "export" and version is not None and not surroundings.is_older(version, (2, 0)):
            yield surroundings.line_of(file, command.instruction, "export"), {"version": version}, None


def option_gone(file: Dockerfile, _: Project) -> Iterator[Place]:
    for command, arguments, version in _poetry_commands(file):
        if version is None or surroundings.is_older(version, (2, 0)):
            continue
        for (verb, option), better in _GONE.items():
            if arguments[0] == verb and option in command.words:
                fix = None if better is None else _replaced(option, better)
                yield (
                    surroundings.line_of(file, command.instruction, option),
                    {"what": f"{verb} {option}", "version": version},
                    fix,
                )
        for setting in _GONE_SETTINGS:
            if arguments[0] == "config" and setting in command.words:
                yield (
                    surroundings.line_of(file, command.instruction, setting),
                    {"what": f"config {setting}", "version": version},
                    None,
                )


def option_to_come(file: Dockerfile, _: Project) -> Iterator[Place]:
    for command, arguments, version in _poetry_commands(file):
        if version is None:
            continue
        if arguments[0] == "sync" and surroundings.is_older(version, (2, 0)):
            fix = lambda text: re.sub(r"\bpoetry sync\b", "poetry install --sync", text)  # noqa: E731
            yield (
                surroundings.line_of(file, command.instruction, "sync"),
                {"what": "sync", "version": version, "since": "2.0"},
                fix,
            )
        for option in ("--only", "--with", "--without"):
            is_used = any(word == option or word.startswith(f"{option}=") for word in command.words)
            if arguments[0] == "install" and is_used and surroundings.is_older(version, (1, 2)):
                names = {"what": f"install {option}", "version": version, "since": "1.2"}
                yield surroundings.line_of(file, command.instruction, option), names, None


def _copies_from(file: Dockerfile) -> Iterator[tuple[Stage, Stage, Instruction, list[str], str]]:
    """Yield the copies from one stage to another, with sources and target as absolute paths."""
    for stage in file.stages:
        for instruction in stage.instructions:
            origin = instruction.flags.get("from", [""])[0] if instruction.name == "COPY" else ""
            source = file.stage_named(reading.expanded(origin, reading.variables_of(file, stage))) if origin else None
            words = [
                reading.expanded(word, reading.variables_of(file, stage, until=instruction))
                for word in instruction.words
            ]
            if source is None or source is stage or len(words) < 2:
                continue
            workdir = reading.workdir(file, stage, until=instruction)
            target = surroundings.absolute(words[-1], workdir)
            sources = [surroundings.absolute(word, "/") for word in words[:-1]]
            yield stage, source, instruction, sources, target


def environment_moved(file: Dockerfile, _: Project) -> Iterator[Place]:
    for _stage, source, instruction, sources, target in _copies_from(file):
        if any("--relocatable" in command.words for command in surroundings.chain_commands(file, source)):
            continue  # the programs of such an environment look beside themselves
        environments = surroundings.environments(file, source)
        for path in sources:
            into = instruction.words[-1].endswith("/") and len(sources) > 1
            if path in environments and target != path and not into:
                yield instruction.start, {"source": path, "target": target}, None


def editable_left_behind(file: Dockerfile, project: Project) -> Iterator[Place]:
    if project.is_package is False:
        return
    copies = list(_copies_from(file))
    for stage, source, instruction, sources, _target in copies:
        if stage is not file.stages[-1] or not set(sources) & surroundings.environments(file, source):
            continue
        commands = surroundings.chain_commands(file, source)
        editable = [
            command for command in commands if _installs_editable(file, command) and _has_sources(file, command)
        ]
        if not editable or project.is_package is None or _is_replaced(commands, editable[-1]):
            continue
        home = reading.workdir(file, editable[-1].stage, until=editable[-1].instruction)
        brought = [
            path
            for to, _from, _what, paths, path in copies
            if to is stage and not set(paths) <= surroundings.environments(file, source)
        ]
        brought += _context_targets(file, stage)
        if not any(_covers(path, home) or _covers(home, path) for path in brought):
            yield instruction.start, {"command": " ".join(editable[-1].words[:3]), "place": home}, None


def _installs_editable(file: Dockerfile, command: Command) -> bool:
    words, arguments = command.words, command.arguments
    if command.program == "uv" and arguments[:1] == ["sync"]:
        variables = reading.variables_of(file, command.stage, until=command.instruction)
        options = {"--no-editable", "--no-install-project", "--no-install-workspace", "--only-group", "--only-dev"}
        return not options & set(words) and "UV_NO_EDITABLE" not in variables
    if command.program == "poetry" and arguments[:1] in (["install"], ["sync"]):
        return "--no-root" not in words and not any(word == "--only" or word.startswith("--only=") for word in words)
    return bool(re.fullmatch(r"pip[\d.]*", command.program)) and ("-e" in words or "--editable" in words)


def _is_replaced(commands: list[Command], editable: Command) -> bool:
    """Say whether the project is installed once more after an editable install, as a copy."""
    later = commands[commands.index(editable) + 1 :]
    return any(
        "install" in command.words and "." in command.words and not {"-e", "--editable"} & {*command.words}
        for command in later
    )


def _has_sources(file: Dockerfile, command: Command) -> bool:
    """Say whether the project's sources are there when a command runs: without them Poetry passes over the project."""
    for stage in file.chain(command.stage):
        for instruction in stage.instructions:
            if instruction is command.instruction:
                mounts = (mount for mount in instruction.flags.get("mount", []) if "type=bind" in mount)
                return any(not re.search("from=|lock|toml", mount) for mount in mounts)
            is_copy = instruction.name in ("COPY", "ADD") and "from" not in instruction.flags
            names = [word.rpartition("/")[2] or word for word in instruction.words[:-1]] if is_copy else []
            if any(not _NO_SOURCES.fullmatch(name) for name in names):
                return True
    return False


def _context_targets(file: Dockerfile, stage: Stage) -> Iterator[str]:
    for origin in file.chain(stage):
        for instruction in origin.instructions:
            if instruction.name in ("COPY", "ADD") and "from" not in instruction.flags and instruction.words:
                yield surroundings.absolute(instruction.words[-1], reading.workdir(file, origin, until=instruction))


def _covers(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def other_python(file: Dockerfile, project: Project) -> Iterator[Place]:
    if project.requires_python is None:
        return
    from colab_env.interpreter import fits_short_version, parse_specifier

    specifier = parse_specifier(project.requires_python)
    for stage in file.stages:
        version = surroundings.python_of(stage.base)
        installs = any(map(surroundings.installs_dependencies, surroundings.chain_commands(file, stage)))
        if version and installs and not fits_short_version(specifier, version):
            yield stage.start, {"version": version, "specifier": project.requires_python}, None


def into_system_python(file: Dockerfile, _: Project) -> Iterator[Place]:
    for stage in file.stages:
        root = file.chain(stage)[0].base
        if not re.match(r"(?:docker\.io/(?:library/)?)?(debian|ubuntu)(?::|$)", root):
            continue
        commands = surroundings.chain_commands(file, stage)
        if not any(
            command.program == "poetry" and command.arguments[:1] in (["install"], ["sync"]) for command in commands
        ):
            continue
        if not any(
            command.program.startswith("apt") and any(word.startswith("python3") for word in command.words)
            for command in commands
        ):
            continue
        for origin in file.chain(stage):
            for instruction in origin.instructions:
                pattern = r"POETRY_VIRTUALENVS_CREATE[= ][\"']?(?:false|0)|virtualenvs\.create +false"
                if re.search(pattern, instruction.value, re.IGNORECASE):
                    yield instruction.start, {"base": root}, None


def compilers_shipped(file: Dockerfile, project: Project) -> Iterator[Place]:
    if not file.stages or project.is_for_development or re.search("dev|test", file.stages[-1].name or ""):
        return
    if any(_INTERACTIVE.search(text) for text in _what_runs(file)):
        return  # who works in it installs packages, and may have to build them
    commands = surroundings.chain_commands(file, file.stages[-1])
    removed = {
        word
        for command in commands
        if {"purge", "remove", "autoremove", "del"} & set(command.words)
        for word in command.words
    }
    for command in commands:
        if command.program not in ("apt-get", "apt", "apk", "aptitude") or not {"install", "add"} & set(command.words):
            continue
        if (
            "--virtual" in command.words
            or "-t" in command.words
            or any(word.startswith("--virtual=") for word in command.words)
        ):
            continue
        names = [word for word in command.arguments if _HEADERS.fullmatch(word) or word in _BUILDERS]
        if shipped := [name for name in names if name not in removed]:
            yield surroundings.line_of(file, command.instruction, shipped[0]), {"names": ", ".join(shipped)}, None


def _what_runs(file: Dockerfile) -> Iterator[str]:
    for stage in file.chain(file.stages[-1]):
        yield stage.base
        yield from (
            instruction.value
            for instruction in stage.instructions
            if instruction.name in ("CMD", "ENTRYPOINT")
            or (instruction.name == "RUN" and "jupyter" in instruction.value)
        )


def copied_before_install(file: Dockerfile, _: Project) -> Iterator[Place]:
    for stage in file.stages:
        commands = surroundings.commands_of(file, stage)
        installs = [command for command in commands if surroundings.installs_dependencies(command)]
        parents = [parent for parent in file.chain(stage) if parent is not stage]
        if not installs or any(
            surroundings.installs_dependencies(command)
            for parent in parents
            for command in surroundings.commands_of(file, parent)
        ):
            continue
        if not surroundings.reads_list(installs[0]):
            continue  # nothing to copy first: what is needed stands in the project alone
        for instruction in stage.instructions:
            if instruction is installs[0].instruction:
                break
            words = instruction.words if instruction.name in ("COPY", "ADD") and "from" not in instruction.flags else []
            if len(words) == 2 and words[0] in (".", "./"):
                yield instruction.start, {"install": str(installs[0].instruction.start)}, None


def environment_in_context(file: Dockerfile, project: Project) -> Iterator[Place]:
    sent = [name for name in project.environments if not is_ignored(name, project.ignored)]
    for stage in file.stages if sent else ():
        for instruction in stage.instructions:
            is_copy = instruction.name in ("COPY", "ADD") and "from" not in instruction.flags
            if is_copy and instruction.words[:1] in (["."], ["./"]):
                yield instruction.start, {"name": sent[0]}, None
