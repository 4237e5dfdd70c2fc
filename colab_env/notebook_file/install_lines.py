"""Lines such as `!pip install pandas` in a notebook's cells: which packages they name, and the cells without them. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

# `!pip`, `%pip`, `!pip3`, `!python -m pip`, `!uv pip`; Colab and Kaggle have notebooks with each of them. A bare `pip install`
# is a magic as well (IPython's automagic), and what a `%%bash` cell has.
_INSTALL = re.compile(
    r"(?P<indent>[ \t]*)(?P<line>(?:[!%]\s*)?(?:(?:sudo\s+)?(?:python[\d.]*|\{sys\.executable\})\s+-m\s+|uv\s+)?"
    r"pip[\d.]*(?P<flags>(?:\s+-[\w=-]+)*)\s+install(?=\s)(?P<words>.*))",
    re.DOTALL,
)
# Commands that install in a way that no block can say; `x = !pip ...` keeps what pip prints.
_OTHER_INSTALL = re.compile(
    r"\s*(?:\w+\s*=\s*)?[!%].*\b(?:pip[\d.]*|conda|mamba|micromamba|uv|poetry)\b.*\s(?:install|add)\b.*", re.DOTALL
)
_SHELL_INSTALL = re.compile(
    r"(?!\s*#).*\b(?:pip[\d.]*|conda|mamba|micromamba|uv|poetry)\b.*\s(?:install|add)\b.*", re.DOTALL
)
_CALL = re.compile(
    r"\b(?:os\.(?:system|popen)|(?:subprocess\.)?(?:run|call|check_call|check_output|Popen|getoutput)|pip\.main"
    r"|get_ipython\(\)\.\w+)\((?:[^()]|\([^()]*\))*?\b(?:pip[\d.]*|conda|mamba)\b(?:[^()]|\([^()]*\))*?\binstall\b"
)
# What Python reads as one piece: a command for the shell or a magic, a comment, and strings, by which lines may go on.
_PIECES = re.compile(
    r"^[ \t]*(?:!|%[\w%])(?:\\\n|[^\n])*"
    r"|\#[^\n]*"
    r"|(?P<string>\"\"\"(?:\\.|[^\\])*?(?:\"\"\"|\Z)|'''(?:\\.|[^\\])*?(?:'''|\Z)"
    r"|\"(?:\\.|[^\"\\\n])*\"?|'(?:\\.|[^'\\\n])*'?)",
    re.MULTILINE | re.DOTALL,
)
_PYTHON_CELLS = re.compile(r"(?:[ \t]*(?:%%(?:capture|time)\b[^\n]*)?\n)+")  # a line with a magic that Python follows
_SHELL_CELL = re.compile(r"%%(?:bash|sh|shell|script\s+(?:ba)?sh)\b")
# In a cell of the shell, a line after one of these may run under a condition, often, or be no command at all.
_SHELL_BLOCK = re.compile(r"<<|^\s*(?:if|for|while|until|case|select|function|\w+\s*\(\))(?!\w)|[({]\s*$", re.MULTILINE)
# Python or the shell puts something else in these places: what is installed is known only when the cell runs. A `>` inside
# a word is taken for the comparison that its author meant, although a shell without quotes writes a file of that name.
_DYNAMIC = re.compile(r"[$`{}|;&]|(?<!\S)\d?[<>]")
_CREDENTIALS = re.compile(r"(?<=://)(?:(?<=http://)[^/\s@]+|(?<=https://)[^/\s@]+|[^/\s@:]+:[^/\s@]*)(?=@)")
_WITHOUT_VALUE = frozenset(
    (
        *("--quiet", "--verbose", "--upgrade", "--user", "--no-cache-dir", "--no-cache", "--force-reinstall", "--yes"),
        *("--ignore-installed", "--no-warn-script-location", "--break-system-packages", "--system"),
        *("--disable-pip-version-check", "--no-input", "--prefer-binary", "--no-color"),
    )
)
_SHORT_FLAGS = re.compile(r"-[qvUIy]+")  # they may be joined: `-qU`
# With a value, and of no meaning for a block either.
_WITH_VALUE = frozenset(
    ("--progress-bar", "--timeout", "--default-timeout", "--retries", "--root-user-action", "--cache-dir")
)
# What uv writes into the block under `[[tool.uv.index]]`.
_INDEXES = {"-i": "--default-index", "--index-url": "--default-index", "--extra-index-url": "--index"}


@dataclass(frozen=True, kw_only=True)
class InstallLines:
    """What the install lines of a notebook come to.

    `requirements` are in the order of the cells, and a package that is named twice keeps its position and takes the words of
    the later line; `options` are for `uv add`; `sources` are the texts of the cells that change, by their numbers from 0;
    `notes` name the lines that stay, and why.
    """

    requirements: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    sources: dict[int, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A line of a cell, with those that a backslash joins to it; `command` is what installs in it, `reason` why it stays."""

    cell: int
    text: str
    command: str | None = None
    indent: str = ""
    requirements: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    reason: str | None = None


def read(cells: Sequence[tuple[int, str]], *, is_alone: bool = True) -> InstallLines:
    """Read the code cells, each with its number from 0. A line that cannot be taken over whole stays as it is.

    `is_alone` says that nothing else goes into the block: an index that every line names is then the notebook's.
    """
    lines = [line for number, source in cells for line in _cell_lines(number, source)]
    indexes = {line.options for line in lines if line.command is not None and line.reason is None}
    if not is_alone or len(indexes) > 1:
        reason = "its index would be asked for all packages of the notebook (write it under [[tool.uv.index]] yourself)"
        lines = [replace(line, reason=line.reason or reason) if line.options else line for line in lines]
    accepted = [line for line in lines if line.command is not None and line.reason is None]
    texts: dict[int, list[str]] = {}
    for line in lines:
        is_taken = line.command is not None and line.reason is None
        texts.setdefault(line.cell, []).append(_commented(line.indent, line.command or "") if is_taken else line.text)
    return InstallLines(
        requirements=tuple({name_of(text): text for line in accepted for text in line.requirements}.values()),
        options=tuple(dict.fromkeys(option for line in accepted for option in line.options)),
        sources={number: text for number, source in cells if (text := "\n".join(texts[number])) != source},
        notes=tuple(
            f"cell {line.cell + 1}: `{_one_line(line.command or line.text)}` stays: {line.reason}"
            for line in lines
            if line.reason is not None
        ),
    )


def _cell_lines(number: int, source: str) -> Iterator[_Line]:
    head = _PYTHON_CELLS.match(source)
    body = source[head.end() if head else 0 :].lstrip()
    is_shell = _SHELL_CELL.match(body) is not None
    if body.startswith("%%") and not is_shell and not re.match(r"%%(?:capture|time)\b", body):
        yield _Line(cell=number, text=source)  # another language's cell
        return
    is_block = is_shell and (_SHELL_BLOCK.search(source) is not None or not _is_balanced(source))
    calls = {} if is_shell else _calls(source)
    for row, text in _logical_lines(source, is_shell=is_shell):
        match = _INSTALL.fullmatch(text) if row is not None else None
        if match is not None and is_shell and match["line"].startswith(("!", "%")):
            match = None
        if match is not None:
            line = _Line(cell=number, text=text, command=match["line"], indent=match["indent"])
            if is_block or (is_shell and match["indent"]):
                reason = "the cell is a program of the shell, in which it may be one step of several"
                yield replace(line, reason=reason)
                continue
            try:
                requirements, options = _packages(f"{match['flags']} {match['words']}")
                yield replace(line, requirements=tuple(requirements), options=tuple(options))
            except ValueError as error:
                yield replace(line, reason=str(error))
        elif row is not None and (_SHELL_INSTALL if is_shell else _OTHER_INSTALL).fullmatch(text):
            yield _Line(
                cell=number, text=text, command=text.strip(), reason="only a plain `pip install` can be taken over"
            )
        elif row in calls:
            yield _Line(
                cell=number, text=text, command=calls[row], reason="Python runs it: write its packages yourself"
            )
        else:
            yield _Line(cell=number, text=text)


def _packages(words: str) -> tuple[list[str], list[str]]:
    """Return the requirements and the index options of one line. Raises ValueError, which says what is in the way."""
    if dynamic := _DYNAMIC.search(words.replace("\\\n", " ")):
        msg = f"{dynamic[0]} in it means something only when the cell runs"
        raise ValueError(msg)
    if _CREDENTIALS.search(words):
        msg = "it has a user or a password, which are never written into a block (uv reads them from ~/.netrc)"
        raise ValueError(msg)
    requirements: list[str] = []
    options: list[str] = []
    rest = iter(shlex.split(words.replace("\\\n", " "), comments=True))
    for word in rest:
        option, equals, value = word.partition("=")
        if option in _INDEXES:
            options.append(f"{_INDEXES[option]}={value if equals else next(rest, '')}")
        elif option in _WITH_VALUE:
            _ = equals or next(rest, "")
        elif word.startswith("-"):
            if word not in _WITHOUT_VALUE and not _SHORT_FLAGS.fullmatch(word):
                msg = f"{option} has no equal in a block"
                raise ValueError(msg)
        else:
            _require_requirement(word)
            requirements.append(word)
    if not requirements:
        msg = "it names no package"
        raise ValueError(msg)
    return requirements, options


def _require_requirement(word: str) -> None:
    """Raise ValueError for a file, a directory, and what else pip takes and a block does not."""
    from packaging.requirements import InvalidRequirement, Requirement

    if "://" in word.partition(" @ ")[0]:
        return  # an address, whose name uv finds out
    is_path = word.startswith((".", "/", "~")) or "/" in re.split("[@:]", word)[0]
    if is_path or word.endswith((".whl", ".txt", ".tar.gz", ".zip")):
        msg = f"{word} is a file or a directory"
        raise ValueError(msg)
    try:
        Requirement(word)
    except InvalidRequirement as error:
        msg = f"{word} is not a package as pip writes it"
        raise ValueError(msg) from error


def _logical_lines(source: str, *, is_shell: bool) -> list[tuple[int | None, str]]:
    r"""Return the lines with their numbers, those that a `\` continues as one; None as number of a line inside a string."""
    inside: set[int] = set()
    for piece in () if is_shell else _PIECES.finditer(source):
        if piece["string"] is not None:
            first = source.count("\n", 0, piece.start())
            inside |= set(range(first + 1, first + 1 + piece[0].count("\n")))
    lines: list[tuple[int | None, str]] = []
    for number, line in enumerate(source.split("\n")):
        opener, text = lines[-1] if lines else (None, "")
        is_command = is_shell or text.lstrip().startswith(("!", "%", "pip", "uv "))
        if number in inside:
            lines.append((None, line))
        elif opener is not None and is_command and text.endswith("\\"):
            lines[-1] = (opener, f"{text}\n{line}")
        else:
            lines.append((number, line))
    return lines


def _calls(source: str) -> dict[int | None, str]:
    """Return what Python itself calls to install something, such as `os.system("pip install x")`, by the number of its line."""
    spans = [piece.span() for piece in _PIECES.finditer(source)]
    matches = [
        match for match in _CALL.finditer(source) if not any(start <= match.start() < end for start, end in spans)
    ]
    rows = source.split("\n")
    numbers = [source.count("\n", 0, match.start()) for match in matches]
    return {number: rows[number].strip() for number in numbers}


def _is_balanced(source: str) -> bool:
    """Say whether no quoted text goes over several lines of a shell's cell."""
    try:
        for line in source.replace("\\\n", " ").split("\n"):
            shlex.split(line, comments=True)
    except ValueError:
        return False
    return True


def _commented(indent: str, line: str) -> str:
    first, *more = line.split("\n")
    # What is indented may be all there is below an `if`.
    return "\n".join(
        [f"{indent}{'pass  ' if indent else ''}# {first}", *(f"{indent}# {text.lstrip()}" for text in more)]
    )


def _one_line(line: str) -> str:
    return _CREDENTIALS.sub("***", " ".join(line.replace("\\\n", " ").split()))


def name_of(requirement: str) -> str:
    """Return the normalized name of a requirement, or all of it where it is an address alone."""
    name = re.match(r"[\w.-]+", requirement) if "://" not in requirement.partition("@")[0] else None
    return re.sub(r"[-_.]+", "-", name[0]).lower() if name else requirement
