# ruff: noqa: E501  patterns are longer than lines
"""What an error calls absent in free words, or speaks of without a name: a need only where the distribution's index confirms it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from colab_env.native_need.distributions import FRAME, distribution_at
from colab_env.native_need.line_kinds import is_prose
from colab_env.native_need.log_lines import Line
from colab_env.native_need.missing import Missing, Phase
from colab_env.native_need.rules import OF_DATA, WRAPPER, is_error
from colab_env.native_need.sentences import absent, is_name, mentioned, speaks_of_absence

# The interpreter itself was asked for a function of a library, for that library was not found.
UNNAMED = re.compile(r"(?:/|^AttributeError: )python[\d.]*: undefined symbol: (\w+)|NameError: no function '(\w+)")
# A name that find_library has not found is None, and so are the functions of what was loaded by it.
_UNLOADED = re.compile(r"^AttributeError: 'NoneType' object has no attribute ")
_STANDARD = re.compile(r"/lib(?:64)?/python3[\d.]*/(?!(?:site|dist)-packages)|^File \"<frozen ")
EXCEPTION = re.compile(
    r"^(?:[A-Za-z_]\w*\.)*(?:[A-Z]\w*)?(?:Error|Exception|Exit|Interrupt|Failure|NotFound)\w*:?(?: |$)"
    r"|^(?:[A-Za-z_]\w*\.)+[A-Z]\w*: "  # Python writes whose it is before every exception that is not its own
)
DONE_WITHOUT = re.compile(
    r"optional|disabl|from source|bundled|built-in|local copy|falling back|fall back|without (?:it|them)\b|skipp|ignor|will not be (?:built|used|available)",
    re.IGNORECASE,
)

_LAST = 40  # lines of a log


def unconfirmed(lines: Sequence[Line], *, is_build: bool) -> tuple[Missing, ...]:
    """Return what the last lines of a log call absent, "X is not installed", the last one first: a need only where `confirmed`."""
    frames = [line.text for line in lines if line.text.startswith('File "') and not _STANDARD.search(line.text)]
    if not is_build and frames and not FRAME.search(frames[-1]):
        return ()  # a user's own code looks for something of its own
    # "ValueError: pngquant not found" in the package pngquant, which is called after what it runs, speaks of no data.
    own = {match[1].casefold() for text in frames if (match := FRAME.search(text))}
    subjects: dict[str, Missing] = {}
    for line in reversed(lines[-_LAST:]):
        is_of_data = OF_DATA.match(line.text) is not None and "installed" not in line.text
        names = [item.name for item in absent(line.text) if item.noun or not is_of_data or item.name.casefold() in own]
        if symbol := UNNAMED.search(
            line.text
        ):  # libraries begin their functions' names with their own: archive_read_new
            names = [f"lib{(symbol[1] or symbol[2]).partition('_')[0].lower().removeprefix('lib')}"]
        is_said = is_prose(line.text) and not WRAPPER.match(line.text) and not DONE_WITHOUT.search(line.text)
        for name in names if is_said else ():
            phase: Phase = "build" if is_build and not symbol else "run"
            missing = Missing(kind="words", name=name, evidence=line.text, line=line.number, phase=phase)
            subjects.setdefault(name.lower(), missing)
    subjects |= {need.name.lower(): need for need in _sought(lines)} if not is_build and not subjects else {}
    for line in lines[-_LAST:]:
        for name in _advised(line, lines):
            subjects.setdefault(
                name,
                Missing(
                    kind="words",
                    name=name,
                    evidence=line.text,
                    line=line.number,
                    phase="build" if name.endswith("-dev") else "run",
                ),
            )
    mentions = (need for need in _mentions(lines, is_build=is_build) if need.name.lower() not in subjects)
    return (*subjects.values(), *mentions)


# What a traceback shows of the code that took the answer of `which` or `find_library` for a name: the answer was None.
_OF_NONE = re.compile(r"^(?:Type|Attribute)Error: .*(?:NoneType|not None)")
_SOUGHT = re.compile(r"(?:which|find_executable|find_library)\(\s*['\"]([\w.+-]+)['\"]\s*[,)]")


def _sought(lines: Sequence[Line]) -> Iterator[Missing]:
    """Yield what the code that a traceback ends with has looked for, where the error is that there was no answer."""
    last = next((line for line in reversed(lines) if EXCEPTION.match(line.text)), None)
    if last is None or not _OF_NONE.match(last.text):
        return
    for line in lines:
        if 0 < last.number - line.number <= _OF_FRAMES and (match := _SOUGHT.search(line.text)):
            yield Missing(kind="words", name=match[1], evidence=line.text, line=line.number, phase="run")


_OF_FRAMES = 9  # lines of the deepest frames, with the marks below their code


# "Alternatively, use apt: sudo apt-get install libnss3", but not the command alone, which may be one that was run.
_BY_APT = re.compile(r"(?:apt|apt-get|aptitude) (?:-\S+ )*install (?:-\S+ )*([a-z0-9][a-z0-9.+-]+)")
_BEFORE_APT = re.compile(r"(?<!\w)(?:apt|Debian|Ubuntu|following command)(?!\w).*:$")


def _advised(line: Line, lines: Sequence[Line]) -> Iterator[str]:
    """Yield the package that a line advises to install by apt."""
    match = _BY_APT.search(line.text)
    before = max((other for other in lines if other.number < line.number), default=None)
    if match is None:
        return
    text = before.text.rstrip(" ║│|") if before is not None else ""
    is_alone = re.match(r"(?:sudo )?apt", line.text) is not None
    if (is_alone and _BEFORE_APT.search(text)) or (not is_alone and is_prose(line.text)):
        yield match[1]


_WORD = re.compile(r"[A-Za-z][a-z0-9]+|[A-Z]+(?![a-z])")  # of snake_case and of CamelCase
_OF_SURROUNDINGS = re.compile(r"\[Errno|nvironment variable|(?<![\w-])[Tt]imed? ?out|[Pp]ermission|[Cc]onnection")
_LONG = 4  # letters of a name that stands among those of a program's own things
_PACKAGE_FRAME = re.compile(r"site-packages/([A-Za-z]\w*)(?:/\S*)?/(\w+)\.py\", line \d+, in (\w+)")
_MESSAGE = 4  # lines of an exception's message


# A program that could not be started or a file that could not be opened: the index knows which programs there are.
_BARE = re.compile(r"\[Errno 2\] No such file or directory: b?'([A-Za-z][\w+-]*)'")
# What a program was given, and not what it rests on: a file, a path, an argument, a repository, a setting.
_OF_INPUT = re.compile(
    r"(?<!\w)(?:argument|repository|setting|attribute|option|field|column|key)s?(?!\w)|: \S*/\w|\w\.(?:txt|csv|json|ya?ml|png|jpe?g|dat|ini|cfg|toml|xml|html|py)(?!\w)|NoSuchPath|(?<!\w)file ['\"][^'\"]+['\"] (?:does not|doesn't) exist",
    re.IGNORECASE,
)
_VARIABLE = re.compile(
    r"(?<!\w)([A-Z][A-Z0-9]+)_(?:CFLAGS|LDFLAGS|LIBS)(?!\w)"
)  # of pkg-config and autoconf, by the name of what it is for


def _mentions(lines: Sequence[Line], *, is_build: bool) -> Iterator[Missing]:
    """Yield the words of the last error, where that speaks of something absent, and the Python package that raised it."""
    last = next((line for line in reversed(lines) if _is_last_word(line.text) or _BARE.search(line.text)), None)
    if last is not None and (bare := _BARE.search(last.text)) and not any("open(" in line.text for line in lines):
        yield Missing(kind="mention", name=bare[1], evidence=last.text, line=last.number, phase="run")
        return
    if last is None or not is_prose(last.text):
        return
    # An exception's message may begin on the line after it.
    is_open = last.text.endswith(":")
    message = [line for line in lines if 0 <= line.number - last.number < (_MESSAGE if is_open else 1)]
    is_unloaded = _UNLOADED.search(last.text) is not None or UNNAMED.search(last.text) is not None
    if not is_unloaded and not any(speaks_of_absence(line.text) for line in message):
        return
    if any(_OF_SURROUNDINGS.search(line.text) for line in message):
        return
    phase: Phase = "build" if is_build and not is_unloaded else "run"
    need = Missing(kind="mention", name="", evidence=last.text, line=last.number, phase=phase)
    following = [line for line in lines if 0 <= line.number - last.number < _MESSAGE]
    yield from (
        replace(need, name=match[1].lower(), phase="build")
        for line in following
        for match in _VARIABLE.finditer(line.text)
    )
    if not OF_DATA.match(last.text) and EXCEPTION.match(last.text):
        yield from (replace(need, name=name) for line in message for name in mentioned(line.text))
    if is_unloaded or not (OF_DATA.match(last.text) or _OF_INPUT.search(last.text)):
        if name := distribution_at(last, lines, is_build=is_build):
            yield replace(need, kind="python-package", name=name)
        yield from _framed(lines, need)


_DEEPEST = 3  # frames of a traceback


def _framed(lines: Sequence[Line], need: Missing) -> Iterator[Missing]:
    """Yield what files, functions and code of the deepest frames have in common: xclip of XclipClipboard() and xclip_clip.py."""
    frames = [(number, match) for number, line in enumerate(lines) if (match := _PACKAGE_FRAME.search(line.text))]
    own = {match[1].casefold() for _, match in frames}
    uses: Counter[str] = Counter()
    for number, match in frames[-_DEEPEST:]:
        parts = (match[2], match[3], lines[number + 1].text if number + 1 < len(lines) else "")
        uses.update(word for part in parts for word in sorted({word.casefold() for word in _WORD.findall(part)}))
    for word, count in uses.most_common():
        if count > 1 and word not in own and len(word) >= _LONG and is_name(word):
            yield replace(need, name=word)


def _is_last_word(text: str) -> bool:
    return (is_error(text) or EXCEPTION.match(text) is not None) and not WRAPPER.match(text)
