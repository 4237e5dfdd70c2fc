# ruff: noqa: E501  patterns are longer than lines
"""Find in the text of a failed build or import what it was missing, whichever tool wrote it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from colab_env.native_need import free_words, log_lines, other_causes, rules, systems
from colab_env.native_need.distributions import FRAME, distribution_at, requirement_at
from colab_env.native_need.free_words import DONE_WITHOUT, EXCEPTION, UNNAMED
from colab_env.native_need.line_kinds import is_prose
from colab_env.native_need.log_lines import Line
from colab_env.native_need.missing import Explanation, Missing, OtherCause, OtherKind
from colab_env.native_need.other_causes import OtherHit
from colab_env.native_need.rules import DRIVERS, FATAL, HINT, TRIED, WRAPPER, XCB, Hit, is_error

_NEAR = 6  # lines after a hit that tell whether its tool gave up
_ENDS = re.compile(
    r"error: command |Command '|ninja: |make(?:\[\d+\])?: \*\*\*|could not compile|non-zero exit|^FAILED|Error 1\b"
)
_MOST = 60  # hits, from the start and from the end of a log
_MOST_FINDINGS = 20
_START = 1 << 16  # characters that show what is no text
_CUT = re.compile(r""": ["'][^"']*$""")  # in the middle of a name
_BUILDS = re.compile(
    r"atal error: |error: command ['\"/\w]|build_wheel|build_meta|[Bb]uilding wheel|subprocess-exited-with-error|Failed to build|build_ext"
    r"|Getting requirements to build|RequiredDependencyException|PEP517|meson\.build|CMakeLists|^configure: |^checking (?:for|whether) |cargo|make(?:\[\d+\])?: |setup\.py|build backend|maturin"
    r"|Meson build system|^Run-time dependency |cannot find -l|custom build command|could not compile `|ninja: |rustc |bdist_wheel|egg_info|pyproject_hooks|_in_process\.py|/pip-build-env-|/pip-install-|\[end of output\]|collect2: error|CMake Error|Preparing metadata|build dependencies"
    r"|^\* installing \*source\* package |\bANTICONF\b|^\*? ?deb: |R CMD INSTALL|possibly undefined macro|^The configuration failed|m4_require'd|-- mkmf |ERROR: (?:configuration|compilation|lazy loading) failed for package|gyp ERR! |LIBCLANG_PATH|^run pkg_config fail: |this `-sys` crate|ERROR: Failed to build gem native extension"
)
# At a build, what Python raises by itself; any other exception is a message of the package's own.
_MISMATCHES = (
    "AttributeError",
    "TypeError",
    "NameError",
    "SyntaxError",
    "KeyError",
    "IndexError",
    "AssertionError",
    "FileNotFoundError",
)
# What only who compiles and links looks for, also where no other line of an excerpt shows a build.
_FOR_LINKING = frozenset({"pkg-config", "cmake", "config-program", "header", "library"})
# pkg-config would have answered for these; a header that is missing was looked for without it.
_SPOKEN = frozenset({"command", "words", "shared-object"})
_BY_PKG_CONFIG = frozenset({"pkg-config", "shared-object", "words"})


def extract(text: str) -> Explanation:
    """Return what a log says: the missing things in the order they will be met, or another cause.

    The line that ended it decides. What was tried and passed over before counts only where no such line names anything.
    """
    if text[:_START].count("\0") * 10 > min(len(text), _START):
        return Explanation(not_concluded=("this is no text",))
    lines = log_lines.read(text)
    if reason := _no_failure_here(lines):
        return Explanation(not_concluded=(reason,))
    is_build = any(_BUILDS.search(line.text) for line in lines)
    hits = [
        _settled(hit, lines)
        for hit in _few([*rules.hits(lines, is_build=is_build), *rules.listed(lines, is_build=is_build)])
    ]
    if any(_OF_NODE.search(line.text) for line in lines):
        hits = [hit for hit in hits if hit.name not in _NODES_HEADERS]
    others = [OtherHit("driver", hit.line, hit.degree) for hit in hits if DRIVERS.fullmatch(hit.name)]
    again = max((line.number for line in lines if _BUILT_AGAIN.search(line.text)), default=0)
    # What pip has tried in another way since did not end it.
    others += (
        replace(hit, degree=TRIED) if hit.line.number < again and hit.kind == "build-requirement" else hit
        for hit in other_causes.hits(lines, is_build=is_build)
    )
    if any(_WORKING.search(line.text) for line in lines):  # "C++17 support is needed" means a newer one then
        hits = [hit for hit in hits if not (hit.kind == "compiler" and hit.is_phrase)]
    hits = [
        hit for hit in hits if hit.name not in systems.FOREIGN_MANAGERS and not systems.is_condas_own(hit.kind, lines)
    ]
    if systems.is_foreign_python(lines):
        hits = [hit for hit in hits if hit.name != "Python.h"]
    others = _fitting(others, hits, lines)
    if any(hit.kind == "display" for hit in others):  # Qt says of its plugin what it says where a library is missing
        hits = [hit for hit in hits if hit.name != XCB]
    # A line that names a conflict or a wrong hash names no missing thing besides.
    unlike = {hit.line.number for hit in others if hit.kind in _SAY_ALL and hit.degree == FATAL}
    hits = [hit for hit in hits if hit.line.number not in unlike]
    hits = [hit for hit in hits if not DRIVERS.fullmatch(hit.name) and not _is_other(hit, lines, is_build=is_build)]
    others += _endings(lines, is_build=is_build)
    chosen = _chosen([hit for hit in hits if _is_cause(hit, lines, is_build=is_build)], is_build=is_build)
    raised = [line.text for line in lines if EXCEPTION.match(line.text)]
    # Of exceptions that led to each other the first is the cause: tkinter is not there, nor what is imported in its place.
    is_led = any(
        line.text.startswith("During handling") and line.number > hit.line.number for hit in chosen for line in lines
    )
    ends_with_module = bool(raised) and "No module named" in raised[-1] and not is_led
    other = _other(chosen, others, ends_with_module=ends_with_module)
    findings = () if other else tuple(_missing(hit, lines, is_build=is_build) for hit in chosen)
    notes = _passed_over(hits, chosen, other)
    if not findings and other is None and raised and UNNAMED.search(raised[-1]):
        notes += ("a shared library was not found, and its name is not in the text: explain the command itself",)
    # A name of a program or of a library that a sentence gives may be none that the distribution has.
    is_certain = any(need.kind not in _SPOKEN or ".so" in need.name for need in findings)
    is_open = not is_certain and (other is None or other.kind == "own-code")
    unconfirmed = free_words.unconfirmed(lines, is_build=is_build) if is_open else ()
    if any(hit.is_exact for hit in chosen):  # where no package has that, a word that is only mentioned is none either
        unconfirmed = tuple(need for need in unconfirmed if need.kind == "words")
    if (findings or unconfirmed) and (elsewhere := systems.other_directory(lines)):
        findings, unconfirmed, notes = (), (), (elsewhere, *notes)
    at = chosen[0].line if findings else next((line for line in lines if other and line.number == other.line), None)
    requirement, python = requirement_at(at, lines) if at and is_build else (None, None)
    return Explanation(
        findings=findings[:_MOST_FINDINGS],
        other=other,
        not_concluded=notes,
        unconfirmed=unconfirmed,
        requirement=requirement,
        python=python,
    )


def _fitting(others: Sequence[OtherHit], hits: Sequence[Hit], lines: Sequence[Line]) -> list[OtherHit]:
    """Return the other causes without those that a line names for another reason."""
    # "or pip install camb" advises the wheel of what is being built, and names no requirement.
    own = next((match[1] for line in reversed(lines) if (match := _FAILED_WHEEL.search(line.text))), None)
    own_advice = (
        re.compile(rf"(?:pip3?|conda) install (?:-\S+ )*{re.escape(own)}(?![\w-])", re.IGNORECASE) if own else None
    )
    others = [hit for hit in others if own_advice is None or not own_advice.search(hit.line.text)]
    # Where a Rust was to be fetched for want of one, and could not be, the distribution's cures it without a network.
    if any("_setup_rust.py" in hit.line.text for hit in hits):
        others = [hit for hit in others if hit.kind not in ("network", "own-code", "source-mismatch")]
    # No module of the project: who says "No module named" so says the same of that.
    split_off = {hit.line.number for hit in hits if hit.kind == "python-library" or hit.name == "_tkinter"}
    others = [hit for hit in others if hit.line.number not in split_off]
    return list(others)


_SAY_ALL = frozenset({"apt", "conflict", "credentials", "disk", "hash", "incomplete-source", "memory", "network"})
_WORKING = re.compile(
    r"^checking (?:for (?:g\+\+|c\+\+|gcc)\.\.\. (?!no)|whether the C(?:\+\+)? compiler works\.\.\. yes)|compiler identification is (?!unknown)"
)
# What node-gyp and the packages nan and node-addon-api bring to a build of theirs, in the versions of the Node.js that runs it.
_OF_NODE = re.compile(r"gyp(?: ERR!|-rebuild|$|\W)|node-pre-gyp")
_NODES_HEADERS = frozenset(
    {"nan.h", "napi.h", "node.h", "node_api.h", "node_buffer.h", "node_object_wrap.h", "uv.h", "v8.h"}
)
_BUILT_AGAIN = re.compile(r"Running setup\.py install for |falling back to legacy")
_FAILED_WHEEL = re.compile(r"Failed building wheel for ([A-Za-z][\w.-]*)")
_SUCCESS = re.compile(r"Successfully installed \S")
# Pip's own advertisement of a newer pip, "Running pip as the 'root' user".
_AFTER_SUCCESS = re.compile(r"\[notice\]|WARNING: |$")


def _no_failure_here(lines: Sequence[Line]) -> str | None:
    """Return why a log has nothing to explain: pip ended well, or it failed on another system."""
    end = next((line for line in reversed(lines) if not _AFTER_SUCCESS.match(line.text)), None)
    if end and _SUCCESS.match(end.text):
        return f"line {end.number} says that it ended well: {end.text[:80]}"
    return systems.other_system(lines)


def _few(hits: Iterable[Hit]) -> list[Hit]:
    """Return each hit of a line once, and of very many the first and the last: each is compared with all lines."""
    first: dict[tuple[str, str, int, int], Hit] = {}
    for hit in hits:
        first.setdefault((hit.kind, hit.name, hit.line.number, hit.degree), hit)
    few = list(first.values())
    return few if len(few) <= 2 * _MOST else [*few[:_MOST], *few[-_MOST:]]


# How a build says that it goes on without what did not compile: setuptools' optional extensions, PyYAML's, and others' own.
_FELL_BACK = re.compile(
    r"[Ff]all(?:ing|s)? back to|pure[- ][Pp]ython|building extension .{1,80} failed|[Ss]kipping optional|without (?:C|the) (?:extension|speed)"
)


def _settled(hit: Hit, lines: Sequence[Line]) -> Hit:
    """Return the hit with the degree, and the version, that the lines around it give it."""
    at = hit.line.number
    after = [line.text for line in lines if at < line.number]
    # A find module of a project's own says below "CMake Error at" which header it did not find.
    is_of_error = hit.is_phrase and hit.kind == "header" and _in_cmake_error(hit.line, lines)
    if (degree := FATAL if is_of_error else _degree_of_line(hit, after)) is not None:
        return replace(hit, degree=degree)
    if hit.kind == "cmake":
        return replace(hit, degree=TRIED) if hit.degree == FATAL and not _in_cmake_error(hit.line, lines) else hit
    if hit.kind == "command" and "Could NOT find PkgConfig" in hit.line.text and _in_cmake_error(hit.line, lines):
        hit = replace(hit, degree=FATAL)
    if hit.kind == "pkg-config" and hit.degree == TRIED:
        # Autoconf's PKG_CHECK_MODULES: the error, then what pkg-config said.
        before = [line.text for line in lines if at - _NEAR <= line.number < at]
        is_error_of_configure = any(is_error(text) and text.endswith("were not met:") for text in before)
        return replace(hit, degree=FATAL) if is_error_of_configure else hit
    is_of_cmake = "using the following names" in hit.line.text  # CMake's own sentence of find_library and find_program
    if is_of_cmake and any("(find_program)" in line.text for line in lines if 0 < at - line.number <= _FEW):
        hit = replace(hit, kind="command")
    if "Errno 2]" in hit.line.text and any(text.startswith("During handling") for text in after[:_NEAR]):
        later = [text for text in after if "Errno 2]" in text and hit.name not in text]
        return replace(hit, degree=TRIED) if later else hit  # the first of several that would do
    if hit.kind == "typelib" and "-" not in hit.name:
        context = " ".join(line.text for line in lines if at - 8 <= line.number < at)
        version = re.findall(rf"require_version\(['\"]{re.escape(hit.name)}['\"], ?['\"]([\d.]+)", context)
        return replace(hit, name=f"{hit.name}-{version[-1]}") if version else hit
    return hit


def _degree_of_line(hit: Hit, after: Sequence[str]) -> int | None:
    """Return the degree that the kind of its line, or how the build goes on, gives to a hit; None where neither says anything."""
    if hit.kind == "header" and any(_FELL_BACK.search(text) for text in after[:_NEAR]):
        return TRIED
    is_of_cmake = "using the following names" in hit.line.text
    if hit.kind == "library" and not is_of_cmake and after and not any(_ENDS.search(text) for text in after[:_NEAR]):
        return TRIED  # a test of a configuration
    if hit.line.text.startswith("Checking for "):  # waf's: the last test before it gives up
        words = [text for text in after if is_prose(text)]
        return FATAL if words and words[0].startswith("The configuration failed") else HINT
    return HINT if hit.line.text.startswith("cargo:warning=") else None


def _in_cmake_error(line: Line, lines: Sequence[Line]) -> bool:
    if is_error(line.text):
        return True
    context = [other.text for other in lines if line.number - 12 <= other.number < line.number]
    starts = [text for text in context if text.startswith(("CMake Error", "CMake Warning", "-- "))]
    return bool(starts) and starts[-1].startswith("CMake Error")


_FRAMES = 12  # lines of a traceback; Poetry shows it below the error


_STARTED = re.compile(r"_execute_child|subprocess\.py")


def _is_other(hit: Hit, lines: Sequence[Line], *, is_build: bool) -> bool:
    """Say whether a user's own code says so, or wanted a file where a program seems to be: nothing started it."""
    if not is_build and hit.is_phrase:
        frames = [line.text for line in lines if line.number <= hit.line.number and line.text.startswith('File "')]
        return bool(frames) and not FRAME.search(frames[-1])
    if "Errno 2]" not in hit.line.text or "bin/" in hit.line.text:
        return hit.name in ("nvcc", "nvidia-smi")
    if hit.kind in ("config-program", "compiler") or hit.name == "pkg-config":
        return False
    context = [line.text for line in lines if abs(line.number - hit.line.number) <= _FRAMES]
    is_started = hit.line.text.startswith("Command ") or any(_STARTED.search(text) for text in context)
    has_ending = re.search(r"\.[A-Za-z]\w{0,4}$", hit.name) is not None
    return not is_started and (not is_build or has_ending)


def _endings(lines: Sequence[Line], *, is_build: bool) -> list[OtherHit]:
    """Return the exception that a traceback ends with: of Python code, where nothing else explains it."""
    if not any(line.text.startswith("Traceback (most") for line in lines):
        return []
    raised = [line for line in lines if EXCEPTION.match(line.text)]
    if raised and (UNNAMED.search(raised[-1].text) or (raised[-1] == lines[-1] and _CUT.search(raised[-1].text))):
        return []
    if not raised or (is_build and not raised[-1].text.startswith(_MISMATCHES)):
        return []
    kind: OtherKind = "source-mismatch" if is_build else "own-code"
    return [OtherHit(kind, raised[-1], HINT)]


def _chosen(hits: Sequence[Hit], *, is_build: bool) -> list[Hit]:
    """Return the hits that count, in order: the most certain ones, each thing once."""
    highest = max((hit.degree for hit in hits), default=0)
    best = [hit for hit in hits if hit.degree == highest]
    if highest == TRIED:  # of tests of a configuration, the last one counts
        best = sorted(best, key=lambda hit: (hit.kind != "header", -hit.line.number if hit.kind == "header" else 0))
    if any(hit.kind != "words" for hit in best):
        best = [hit for hit in best if hit.kind != "words"]
    elif earlier := [hit for hit in hits if hit.degree == TRIED and hit.kind != "words"]:
        best = earlier  # free words explain what was tried
    # A program and a pkg-config module of one name are one thing, said twice.
    programs = {hit.name for hit in best if hit.kind in ("command", "config-program")}
    best = [hit for hit in best if not (hit.kind == "pkg-config" and hit.name in programs)]
    tool = next((hit for hit in hits if hit.name == "pkg-config"), None)
    if is_build and tool and best and best[0].kind in _BY_PKG_CONFIG:
        best = [tool, *best]
    first: dict[str, Hit] = {}
    for hit in best:
        first.setdefault(hit.name.lower(), hit)
    return list(first.values())


def _other(chosen: Sequence[Hit], others: Sequence[OtherHit], *, ends_with_module: bool) -> OtherCause | None:
    """Return the other cause, where that and not a missing thing ended it."""
    if not others:
        return None
    highest = max(hit.degree for hit in others)
    best = [hit for hit in others if hit.degree == highest]
    degree = chosen[0].degree if chosen else 0
    if highest < degree or (highest == degree and not _outweighs(best, chosen, ends_with_module=ends_with_module)):
        return None
    # The one that explains the others: a full disk the failed build, a refused key the failed download.
    hit = min(best, key=lambda hit: (_RANK.get(hit.kind, _MIDDLE), hit.line.number))
    network = next((other for other in others if other.kind == "network"), None)
    if hit.kind == "no-wheel" and network:  # nothing was found because nothing could be asked
        hit = network
    return OtherCause(kind=hit.kind, evidence=hit.line.text, line=hit.line.number, advice=other_causes.advice(hit))


_STRONGEST: tuple[OtherKind, ...] = ("disk", "memory", "hash", "driver")


_MIDDLE = 5  # of _RANK: what has no rank of its own, the first line first
_RANK: dict[str, int] = {
    "disk": 0,
    "memory": 1,
    "hash": 2,
    "driver": 3,
    "credentials": 3,
    "network": 4,
    "conflict": 7,
    "permission": 8,
}


def _outweighs(best: Sequence[OtherHit], chosen: Sequence[Hit], *, ends_with_module: bool) -> bool:
    if any(hit.kind in _STRONGEST for hit in best):
        return True
    weaker = {"source-mismatch", "own-code", "permission", "no-wheel"}
    last = max(hit.line.number for hit in chosen)
    if any(hit.line == chosen[0].line and hit.kind in ("library-version", "scm-version") for hit in best):
        return True
    weaker |= set() if ends_with_module else {"python-module", "build-requirement"}
    return any(hit.line.number > last and hit.kind not in weaker for hit in best)


# npm and yarn run what package.json names: "> name@1.0.0 build", "yarn run v1.22", and how they end.
_SCRIPT = re.compile(r"^> \S+@\S+ [\w:-]+|^yarn run v|^(?:npm )?ERR! |^error Command failed with exit code")


def _missing(hit: Hit, lines: Sequence[Line], *, is_build: bool) -> Missing:
    # A package may ask at import, too.
    is_script = hit.kind == "command" and any(_SCRIPT.search(line.text) for line in lines)
    is_script = is_script and any(re.match(rf"[>$] {re.escape(hit.name)}(?!\S)", line.text) for line in lines)
    # gcc itself says that its part for a language is not there.
    is_compiling = hit.kind == "compiler" and hit.name != "java" and "exec" in hit.line.text
    is_linking = hit.kind in _FOR_LINKING and not any(FRAME.search(line.text) for line in lines)
    return Missing(
        kind=hit.kind,
        name=hit.name,
        evidence=hit.line.text,
        line=hit.line.number,
        distribution="npm" if is_script else distribution_at(hit.line, lines, is_build=is_build),
        phase="build" if is_build or is_linking or is_compiling else "run",
    )


def _passed_over(hits: Sequence[Hit], chosen: Sequence[Hit], other: OtherCause | None) -> tuple[str, ...]:
    taken = set() if other else {hit.name.lower() for hit in chosen}
    rest: dict[str, Hit] = {}
    for hit in hits:
        if hit.name.lower() not in taken and hit.degree >= TRIED:
            rest.setdefault(hit.name, hit)
    return tuple(
        f"line {hit.line.number} names {name}, which is not what it ended with" for name, hit in [*rest.items()][:5]
    )


# --- what was tried and not there: why it ended, or passed over, and something else ended it

_FEW = 2  # lines after it, where a log is cut
_GAVE_UP = re.compile(r"error: command |make(?:\[\d+\])?: \*\*\*|ld returned")
_NO_PROGRAM = re.compile(r"(?:status|code|Error):? 127\b")
_PATH = re.compile(r"\S*/\S*")  # "./build_bundled.sh" says nothing of the build
_CONFIGURING = re.compile(
    r"CMake Error|Configuring incomplete|^(?:.{0,80}:\d+:\d+: )ERROR: |^ERROR: (?:Dep|Prog|C |Could not (?!find a v|build|inst))"
)
_ABSENCE = re.compile(
    r"not find|not found|n't find|cannot find|annot locate|missing|equired|equires|not installed|to install (?!\")|ease install|must |unavailable|not available"
    r"|need|127|unable to|specify",
    re.IGNORECASE,
)
# An error of this kind speaks of a file of its own.
_OF_ITS_OWN = re.compile(r"cannot open shared object|No such file|No module named|version|required positional|DISPLAY")
# Python's own, as where the answer of a program was empty.
_EMPTY_ANSWER = re.compile(r"(?:Index|Value|Type|Key|Attribute|Name|Syntax|Unicode\w*|Assertion)Error\b")


def _is_cause(hit: Hit, lines: Sequence[Line], *, is_build: bool) -> bool:
    """Say whether what a line names can have ended it: the line says so, or nothing else that is fatal comes after it."""
    is_last_word = is_error(hit.line.text)
    if hit.degree == FATAL and (is_build or is_last_word):
        return True
    if not is_last_word and DONE_WITHOUT.search(_PATH.sub("", hit.line.text)):
        return False
    # Advice counts only where nothing else does: see `_chosen`.
    is_advice = is_build and hit.degree < TRIED and "WARNING" not in hit.line.text
    return is_advice or _is_met_later(hit, lines, is_build=is_build)


_MESSAGE_OF_CMAKE = 6  # lines


def _is_other_error(hit: Hit, later: Sequence[str]) -> bool:
    """Say whether CMake ended with errors whose messages are there and neither name this nor speak of anything absent."""
    starts = [number for number, text in enumerate(later) if text.startswith("CMake Error at ")]
    messages = [" ".join(later[start + 1 : start + 1 + _MESSAGE_OF_CMAKE]) for start in starts]
    is_of_this = re.compile(rf"{re.escape(hit.name)}|find_package|find_dependency|{_ABSENCE.pattern}", re.IGNORECASE)
    return bool(messages) and not any(
        is_of_this.search(later[start] + message) for start, message in zip(starts, messages, strict=True)
    )


def _is_met_later(hit: Hit, lines: Sequence[Line], *, is_build: bool) -> bool:
    """Say whether the lines after it speak of it, or show what the lack of it leads to, and not another error."""
    later = [line.text for line in lines if line.number > hit.line.number and not line.text.startswith("checking ")]
    if hit.line.text.startswith(("-- ", "Run-time dependency")):
        is_end = len(later) < _NEAR and not any(is_error(text) for text in later)
        return is_end or (any(_CONFIGURING.search(text) for text in later) and not _is_other_error(hit, later))
    stem = re.sub(r"^lib(?=.*\.so)|\.so[\d.]*$|[-_]config$", "", hit.name)
    name = re.compile(rf"(?<![\w-])(?:lib)?{re.escape(stem)}(?![\w])", re.IGNORECASE)
    if any(name.search(text) or _NO_PROGRAM.search(text) for text in later):
        return True
    if any(_GAVE_UP.search(text) for text in later[:_NEAR]):
        return True
    errors = [text for text in later if is_error(text) and not WRAPPER.match(text)]
    if not errors:
        # What pip shows of a tool ends here: what stands right before it is the tool's last word.
        last_words = later[: later.index("[end of output]")] if "[end of output]" in later else later
        return hit.degree == FATAL or sum(is_prose(text) for text in last_words) < _FEW
    last = errors[-1]
    if _ABSENCE.search(last) and not _OF_ITS_OWN.search(last):
        return True
    # A build that took the empty answer of gdal-config or pkg-config for options fails in its own Python code.
    is_queried = hit.kind in ("config-program", "pkg-config") or hit.name == "pkg-config"
    return is_build and is_queried and _EMPTY_ANSWER.match(last) is not None
