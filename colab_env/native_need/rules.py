# ruff: noqa: E501, RUF001  one pattern a line, with the quotation marks of compilers
"""Which lines say that something of the system is missing, and how sure that is: one pattern a row.

Three degrees: what ends a build or an import (`FATAL`), what was tried and may have been passed over (`TRIED`), and words
that name something without saying that it is missing (`HINT`). No pattern takes longer than linear time: each token starts
where no other does, and `native_need.log_lines` cuts the lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from colab_env.native_need import autoconf
from colab_env.native_need.line_kinds import is_prose, is_shown
from colab_env.native_need.log_lines import Line
from colab_env.native_need.missing import Kind
from colab_env.native_need.names import BUILTINS, COMPILERS, ESSENTIAL, NEWER_CPP, OLDEST_CPP, PYTHONS_HEADERS
from colab_env.native_need.sentences import MESSAGE_WORDS, absent

FATAL, TRIED, HINT = 3, 2, 1
_Q = r"""['"`‘’“”]*"""
_T = r"(?<![\w.+/%-])([A-Za-z_][\w.+/-]*)"  # a token, from its start
_NOT = r"(?:could not|could ?n[o']?t|cannot|can ?not|can't|unable to|failed to|did not|didn't|was not able to)"
_GONE = r"(?:(?:is|are|was|were|has|have|could|can) ?(?:not|n't) (?:been |be )?(?:found|installed|available|present|located|resolved|determined|detected)|not found|(?:is|are) missing|wasn't found|not installed|(?:appears?|seems?) (?:not to be|to be not|to be) (?:installed|missing|available)|(?:do|does)(?: not|n't) (?:appear|seem) to be (?:installed|available|present))"
_PROGRAM = r"(?:executable|program|command|binary|script|exe|compiler|tool|utility)s?"
_LIBRARY = r"(?:shared |dynamic |native |system |client |C |development )*(?:librar(?:y|ies)(?: files?)?|dll)"


# "command not found" of bash's translations: German, French, Spanish, Portuguese, Italian, Dutch, Polish, Swedish, Czech,
# Turkish, Russian, Ukrainian, Chinese, Japanese, Korean.
_NOT_FOUND_ABROAD = (
    "Kommando nicht gefunden|Befehl nicht gefunden|commande introuvable|orden no encontrada|no se encontró la orden|comando não encontrado"
    "|comando non trovato|opdracht niet gevonden|nie znaleziono polecenia|polecenie nie odnalezione|kommandot finns inte|kommando hittades inte"
    "|příkaz nenalezen|komut bulunamadı|команда не найдена|команду не знайдено|未找到命令|找不到命令|コマンドが見つかりません|명령어를 찾을 수 없음|명령을 찾을 수 없음"
)


@dataclass(frozen=True)
class Hit:
    """One line that names a missing thing."""

    kind: Kind
    name: str
    line: Line
    degree: int
    is_phrase: bool = False
    is_exact: bool = False  # a system's error, which names the thing itself


@dataclass(frozen=True)
class _Rule:
    needle: str  # a plain string that the line must have: most lines end here
    pattern: re.Pattern[str]
    kind: Kind | Literal["macro"]
    degree: int = FATAL
    name: str = ""  # where the pattern has no group for it
    # Whatever stands there is the name, were it "python" or "file": no sentence, but a system's error.
    is_exact: bool = False


def _rule(
    needle: str,
    pattern: str,
    kind: Kind | Literal["macro"],
    degree: int = FATAL,
    name: str = "",
    *,
    is_exact: bool = False,
) -> _Rule:
    return _Rule(needle, re.compile(pattern, re.IGNORECASE), kind, degree, name, is_exact)


# Qt's plugin for X is there and misses one of X's libraries, most often this one: "Qt for X11 Requirements" in Qt's documentation.
XCB = "libxcb-xinerama.so.0"
_RULES = (
    # Compilers and what they include.
    _rule("atal error", rf"fatal error: {_Q}([\w./+-]+){_Q}(?:: No such file or directory| file not found)", "header"),
    _rule(".h", r"^[^\s:]+:\d+(?::\d+)?: [^:：]{3,40}[:：] ?([\w./+-]+\.h(?:h|pp|xx)?)\s?[:：]", "header"),
    _rule("Unable to find", rf": Error: Unable to find {_Q}([\w./+-]+\.h(?:pp)?){_Q}", "header"),
    _rule("include", rf"Can't open included file {_Q}([\w./+-]+){_Q}", "header"),
    _rule("Header", rf"ERROR: .{{0,30}}Header {_Q}([\w./+-]+){_Q} (?:could )?not (?:be )?found", "header"),
    _rule("header files [", r"(?:header files \[|(?<=\.h', ))'([\w./+-]+\.h(?:pp)?)'", "header"),
    _rule("include file", r"'([\w./+-]+\.h)'(?: and '[\w./+-]+\.h')* include files", "header"),
    _rule("annot ", r"fatal error: cannot (?:find|execute|run) ['‘\"](?!cc1|f951)([\w.+-]+)['’\"]", "command", is_exact=True),
    _rule("annot find /", r"ld(?:\.\w+)?: cannot find /[\w./+-]*/lib([\w.+-]+?)\.(?:a|so)(?![\w])", "library"),
    _rule("cc1", r"(?:exec|execute|program) ['‘]?cc1['’]?(?!\w)", "compiler", name="c"),
    _rule("cc1plus", r"(?:exec|execute|program) ['‘]?cc1plus", "compiler", name="c++"),
    _rule("f951", r"(?:exec|execute|program) ['‘]?f951", "compiler", name="fortran"),
    _rule("crt1.o", r"(?:cannot|unable to) find S?crt1\.o", "compiler", name="c"),
    _rule("Unknown compiler", r"Unknown compiler\(s\): \[\[?'(?:cc|gcc|clang)'", "compiler", name="c"),
    _rule("Unknown compiler", r"Unknown compiler\(s\): \[\[?'(?:c\+\+|g\+\+)'", "compiler", name="c++"),
    _rule("Unknown compiler", r"Unknown compiler\(s\): \[\[?'gfortran'", "compiler", name="fortran"),
    _rule("Unknown compiler", r"Unknown compiler\(s\): \[\[?'rustc'", "compiler", name="rust"),
    _rule("CMAKE_C", r"No CMAKE_C_COMPILER could be found|CMAKE_C_COMPILER not set", "compiler", name="c"),
    _rule("CMAKE_CXX", r"No CMAKE_CXX_COMPILER could be found|CMAKE_CXX_COMPILER not set", "compiler", name="c++"),
    _rule("CMAKE_Fortran", r"No CMAKE_Fortran_COMPILER could be found|CMAKE_Fortran_COMPILER not set", "compiler", name="fortran"),
    _rule("compiler", r"no acceptable C compiler found|C compiler cannot create executables|no working C compiler", "compiler", name="c"),
    _rule("compiler", r"C\+\+ compiler (?:cannot create|not found)|no acceptable C\+\+ compiler", "compiler", name="c++"),
    _rule("ortran", rf"(?:no|(?:{_NOT} find(?: a| any)?)) (?:acceptable |working |suitable )?fortran(?: 77| 90)? compiler|fortran compiler {_GONE}", "compiler", name="fortran"),
    _rule("ust", r"can't find Rust compiler|requires? (?:a )?Rust (?:and Cargo )?to (?:build|compile)|rust compiler, is not installed|Rust toolchain (?:is )?not|Cargo, the Rust package manager, is not installed", "compiler", name="rust"),
    # Maturin's helper, which fetches a Rust where there is none: a frame of it shows that this failed.
    _rule("_setup_rust.py", r"/puccinialin/_setup_rust\.py", "compiler", name="rust"),
    _rule("linker", r"error: linker `(?:cc|gcc|clang)` not found", "compiler", name="c"),
    _rule("ailed to find tool", rf"ailed to find tool\.? \W*(?:Is )?{_Q}([\w+.-]+)", "command"),
    _rule("JVM", r"No JVM shared library file|Unable to find (?:a )?JVM|JVMNotFound", "compiler", name="java"),
    _rule("ava", r"(?:rror finding|find|locate|determine) (?:the )?java_?home", "compiler", name="java"),
    _rule("JDK", r"(?:Java JDK|JDK)(?: directory)? [^.]{0,80}(?:does not exist|not found|could not be found|is missing)|No JDK (?:was )?found", "compiler", name="java"),
    _rule("JAVA_HOME", r"JAVA_HOME (?:is )?not (?:set|found)|Unable to find JAVA_HOME|JAVA_HOME environment variable|(?:set|define) (?:the )?(?:environment variable )?JAVA_HOME to", "compiler", name="java"),
    _rule("ava", r"Java gateway process exited before|Java (?:is not installed|not found)|No Java runtime", "compiler", name="java"),
    # Linkers and loaders.
    _rule("-l", r"(?:cannot find|unable to find library|library not found for) -l([\w.+-]+)", "library"),
    _rule("library not found", r"mold: .{0,20}library not found: ([\w.+-]+)", "library"),
    _rule("ibrary", r"ERROR: (?:C|C\+\+) (?:shared or static )?library '([\w.+-]+)' not found", "library"),
    _rule("cannot load library", r"cannot load library '?([\w.+/-]+)'?", "shared-object"),
    _rule("cannot open shared object", r"(?<![\w./+-])([\w.+/-]+): cannot open shared object file", "shared-object"),
    _rule(".so", r"(?:nable to|ould not|annot|ailed to|an't) (?:load|find|open|locate)[^'\"]{0,60}?[:'\" \[(](lib[\w+-]+\.so(?:\.\d+)*)", "shared-object"),
    _rule("that provides `", r"need to install a library that provides `([\w./+-]+)` for", "header"),
    _rule("valid shared libraries matching", r"valid shared libraries matching: \['([\w.+-]+\.so)", "shared-object"),
    _rule("library called", rf"locate a library called {_Q}([\w.+-]+)", "shared-object"),
    _rule("libxcb-cursor", r"(libxcb-cursor)0 is needed", "shared-object"),
    _rule("tkinter", r"(?:ModuleNotFoundError|ImportError): No module named '?_?tkinter\b", "shared-object", name="_tkinter"),
    # Debian's perl lists its directories, which are no conda's and no Fedora's.
    _rule("in @INC", r"Can't locate ([A-Za-z_][\w/]{0,200}\.pm) in @INC(?![^\n]*(?:/lib64/|/perlbrew/|conda|/Library/|/Users/|[A-Za-z]:[/\\]))", "perl-module", is_exact=True),
    _rule("::", rf"{_Q}([A-Z]\w*(?:::\w+)+){_Q} perl module (?:is required|is needed|{_GONE})", "perl-module"),
    _rule("erl module", rf"(?:{_NOT} (?:find|locate|load)|missing|requires?|needs?|install)(?: the)? perl module {_Q}([A-Z]\w*(?:::\w+)*)", "perl-module"),
    _rule("erl module", rf"perl module {_Q}([A-Z]\w*(?:::\w+)+){_Q} (?:is required|is needed|{_GONE})", "perl-module"),
    # Parts of Python's library that Debian splits off; `ranking` has them. distutils itself stays, without its modules.
    _rule("No module named", r"No module named '?(distutils)\.\w", "python-library", is_exact=True),
    _rule("No module named", r"No module named '?(_gdbm|lib2to3|idlelib)(?!\w)", "python-library", is_exact=True),
    _rule("No module named pip", r"^/usr/bin/python3?[\d.]*: No module named (pip)$", "python-library", is_exact=True),
    _rule("ensurepip is not", r"because (ensurepip) is not", "python-library", is_exact=True),
    _rule("amespace", r"Namespace (\w+) not available(?: for version ([\d.]+))?", "typelib"),
    _rule("ypelib", r"Typelib file for namespace '(\w+)', version '([\d.]+)' not found", "typelib"),
    _rule("ypelib", r"cannot import name '?(\w+)'?, introspection typelib not found", "typelib"),
    _rule("config", r"^(?:(?:OSError|EnvironmentError|error): (?!pkg-)([\w.+-]{1,60}[-_]config)|(?!pkg-)([\w.+-]{1,60}[-_]config):(?: command)?) (?:was |is )?not found", "config-program", TRIED),
    _rule("ath to ", r"provide (?:a |the )?path to ([\w.+-]{1,60}[-_]config)", "config-program"),
    # Autoconf without the m4 file of a macro; `_hit` says who brings that.
    _rule("undefined macro", r"possibly undefined macro: (\w+)", "macro"),
    _rule("not m4_defun", r"(\w+) is m4_require'd but not m4_defun'd", "macro"),
    _rule("command not found", r"configure: line \d+: ([A-Z]{2,}_\w+): command not found", "macro"),
    _rule("line ", r"configure: line \d+: [`'](PKG_\w+|AX_\w+|LT_\w+|AM_\w+)", "macro"),
    _rule("mkmf", r"(?:cannot load such file|no such file to load) -- mkmf", "header", name="ruby.h"),  # Ruby's maker of Makefiles
    _rule("platform plugin", r"Could not (?:find or )?load the Qt platform plugin \"xcb\"(?! in \"[^\"]*cv2)", "shared-object", name=XCB),
    _rule("deb: ", r"^\*? ?deb: ([a-z0-9][a-z0-9.+-]+)", "words"),  # advice of R's packages, by the name in Debian
    _rule("Checking for ", r"^Checking for (?:program |library |header )?'?([\w.+-]+)'?(?: \([^)]*\))?\s*: not found$", "words", TRIED),  # waf
    _rule("RequiredDependency", r"RequiredDependencyException: ([\w-]+)$", "words"),  # Pillow's setup.py
    _rule("Python dependency", r"ERROR: Python dependency not found", "header", name="Python.h"),  # Meson's extension_module
    _rule("eader", rf"python(?:[\d.]+)? (?:development )?headers?(?: files?)? (?:were |was )?{_GONE}", "header", name="Python.h"),
    _rule("development version of the Python", r"install the development version of the Python package", "header", name="Python.h"),  # ax_python_devel.m4
    _rule("Could NOT find Python", r"Could NOT find Python\w* \(missing: [^)]{0,200}(?:Development|INCLUDE_DIR|LIBRAR)", "header", name="Python.h"),
    _rule("linker input file", r"error: ([\w.+-]+[-_]config):", "config-program"),
    # pkg-config and what it is asked for; the first row is its own absence.
    _rule("kg-config", r"pkg-config(?:\.exe)?['\")’]? ?(?:executable |command |script |tool |program |binary )?(?:is required|is not installed|not found|could not be found|probably not installed|for machine (?:host|build) machine not found|was not found|not available|missing)|(?:unable to|could ?n[o']t|cannot|can't|failed to|did not) (?:invoke|run|find|locate|execute|start|call) ['\"`]?pkg-config['\"`]?(?! name| module)|Could not run .{0,60}pkg-config|Failed to run .{0,200}pkg-config.{1,200}: No such file|pkg-config script could not be found or is too old|pkg-config must be installed", "command", name="pkg-config"),
    _rule("PkgConfig", r"Could NOT find PkgConfig", "command", TRIED, name="pkg-config"),
    _rule("ackage", r"(?:No package|Package) '([^'\s]+)'(?:, required by '[^']*',)?(?: not)? found", "pkg-config", TRIED),
    _rule("pkg-config search path", r"Package ([\w.+-]+) was not found in the pkg-config search path", "pkg-config", TRIED),
    _rule("system library", r"The system library `([\w.+-]+)` required by crate", "pkg-config"),
    _rule("system library", r"could not find system library '([\w.+-]+)' required by the", "pkg-config"),  # Rust's pkg-config, older
    _rule("Dependency", r"ERROR: .{0,80}Dependency ['\"]?([\w.+-]+)['\"]? (?:not found|is required but not found)", "pkg-config"),
    _rule("Dependency lookup", r"Dependency lookup for ([\w.+-]+) with method '(?:pkg-config|pkgconfig)' failed", "pkg-config"),
    _rule("Run-time dependency", r"Run-time dependency ([\w.+-]+)(?: \(.{0,80}\))? found: NO", "pkg-config", TRIED),
    _rule("PackageNotFoundError", r"PackageNotFoundError: ([\w.+-]+) not found", "pkg-config"),
    # CMake.
    _rule("package configuration file", r"configuration file provided by \"([\w.+-]+)\"", "cmake"),
    _rule("Find", r"By not providing \"Find([\w.+-]+)\.cmake\"", "cmake"),
    _rule("Could NOT find", r"Could NOT find (?!PkgConfig|Python)([\w.+-]+)", "cmake"),
    # "The following variables are used in this project, but they are set to NOTFOUND": `_settled` asks for the error around them.
    _rule("_", r"^\s*([A-Za-z]\w*?)_(?:INCLUDE_DIRS?|INCLUDE_PATH|LIBRAR(?:Y|IES)(?:_RELEASE|_DEBUG)?)(?: \(ADVANCED\))?$", "cmake"),
    # find_path, find_library and find_program with REQUIRED: which of them, the line above says.
    _rule("using the following files", r"Could not find \w+ using the following files: ([\w./+-]+)", "header"),
    _rule("using the following names", r"Could not find \w+ using the following names: ([\w.+-]+)", "library"),
    _rule("build program", r"unable to find a build program corresponding to \"Unix Makefiles\"", "command", name="make"),
    _rule("build program", r"unable to find a build program corresponding to \"Ninja\"", "command", name="ninja"),
    _rule("ake", r"cmake must be installed|CMake (?:is not installed|not found|is required)|Problem with the CMake installation|is `cmake` not installed", "command", name="cmake"),
    # Programs.
    _rule("not found", r"^(?:/\S*/)?(?:sh|bash|dash|zsh|\S+\.sh)(?:: (?:line )?\d+)?: (?:exec: )?([\w.+/-]+): (?:command )?not found$", "command", TRIED, is_exact=True),
    # As dash writes it of a script, with the script's name once more; and with "exec", and "line" before the number.
    _rule("not found", r"^\S{1,200}: (?:exec: )?(?:line )?\d+: (?:exec: |\S{1,200}: )?([\w.+/-]+): (?:command )?not found$", "command", TRIED, is_exact=True),
    _rule("command not found", r"^(?:[\w./-]+: (?:line )?\d+: |)(?!\w*(?:Error|Exception):)([\w.+-]+): command not found(?!: )", "command", TRIED, is_exact=True),
    # Bash's sentence in the languages that it has; French sets a space before its colon.
    _rule("", rf"^(?:\S{{1,200}}? ?[:：] ?)?(?:[^:：]{{1,20}}[:：] ?)?([\w.+-]+) ?[:：] ?(?:{_NOT_FOUND_ABROAD})\.?$", "command", TRIED, is_exact=True),
    _rule("command not found: ", r"^zsh:(?:\d+:)? command not found: ([\w.+-]+)$", "command", TRIED, is_exact=True),
    _rule("Unknown command", r"fish: Unknown command:? ['\"]?([\w.+-]+)", "command", TRIED, is_exact=True),
    _rule("ENOENT", r"(?:^|Error: |Uncaught )spawn ([\w.+-]+) ENOENT", "command", is_exact=True),  # Node.js
    _rule("execvp", r"(?:^|[\s(])execvpe?\(?\)?:? ['‘]?([\w.+-]+)['’]?: No such file", "command", is_exact=True),
    _rule("Cannot exec", r": ([\w.+-]+): Cannot exec: No such file", "command", is_exact=True),  # tar
    _rule("an't exec", r"Can't exec \"([\w.+-]+)\": No such file", "command", is_exact=True),  # Perl's own, and so autoreconf's
    _rule("/env:", r"/env: ['‘“«„]?\s?([\w.+-]+)\s?['’”»“]? ?: (?!Permission|Exec format)\S", "command", is_exact=True),
    _rule("make", r"make(?:\[\d+\])?: ([\w.+-]+): (?:No such file or directory|Command not found|not found)", "command", is_exact=True),
    _rule("Errno 2", r"\[Errno 2\] No such file or directory: b?['\"]([\w.+-]+)['\"]", "command", is_exact=True),
    _rule("Errno 2", r"\[Errno 2\] No such file or directory: b?['\"]/(?:usr/)?(?:local/)?s?bin/([\w.+-]+)['\"]", "command", is_exact=True),
    _rule("status 127", r"(?:^|Command |: )['\"]\(?\[?['\"]?([\w.+-]+)[^\n]{0,400} (?:returned )?non-zero exit status 127", "command"),
    _rule("failed: No such file", rf"error: command {_Q}([\w.+/-]+){_Q} failed: No such file", "command"),
    _rule("nable to execute", rf"unable to execute {_Q}([\w.+/-]+){_Q}: No such file", "command"),
    _rule("to execute", r"ailed to execute (?:\w*Path\()?['\"`\[]+([\w.+-]+)['\"]\)?", "command"),
    _rule("Program", r"ERROR: Program '?([\w.+-]+)[^']{0,60}'? not found", "command"),
    _rule("compiler", rf"(?:{_NOT} find|install|requires?|need|missing)(?: the| a)? proto(?:col)? ?buf(?:fer)?s? compiler|proto(?:col)? ?buf(?:fer)?s? compiler (?:\(?protoc\)? )?{_GONE}", "command", name="protoc"),
    _rule("rotoc", rf"{_NOT} find `?protoc`?|protoc` (?:failed|not found)", "command", name="protoc"),
    _rule("argo ", r"Cargo metadata failed(?:: No such file or directory|\. Do you have cargo in your PATH)", "command", name="cargo"),
    _rule("failed: ", r"^Command ['\"]([\w.+-]+) [^'\"]{0,400}['\"].{0,20}failed: (?:\[Errno 2\] )?No such file or directory$", "command"),
    _rule("git executable", r"Bad (git) executable", "command"),
    _rule("xecutable", rf"{_Q}{_T}{_Q} executable {_GONE}|No {_T} executable (?:was |could be )?found|{_T} executable needs to be", "command"),
    _rule("was found", rf"No {_T} was found: (?:either )?install", "command"),
    _rule("Not", r"^(?:\w{1,60}\.){0,9}\w{0,40}(?:Command|Executable|Program|Binary|Tool)(?:Is)?Not(?:Found|Installed)\w{0,20}: (?:\([^']{0,60})?['\"`]?([\w+-][\w.+-]*)['\"`]?(?=[,.)]|$)", "command"),
    _rule("not found", rf"(?:command|program|executable) was not found[^:]{{0,60}}: {_Q}{_T}{_Q}\.?$", "command"),
    _rule("executable file not found", r"exec: ['\"]([\w.+-]+)['\"]: executable file not found", "command", is_exact=True),  # Docker's runc
    _rule("annot find command", rf"annot find command {_Q}([\w.+-]+)", "command"),
    _rule("candidates are", r"executable program .{0,60}candidates are \(([\w.+-]+)", "command"),
)  # fmt: skip
_PKG_CONFIG_QUERY = re.compile(
    r"pkg-config['\",]{0,3} ([^\n]{1,300}?)['\"\])]{1,3} (?:returned non-zero exit status [1-9]|failed|did not exit)"
    r"|(?:[Ff]ailed to|[Cc]ould not|[Cc]annot|[Uu]nable to|[Ee]rror) (?:query|querying|run|running|call|calling) pkg-config ((?:--?[\w-]+ )[^\n]{1,300})"
)
# Who could not have, open or use a file; "No such file" of a source says nothing about the system.
_OF_FILE = re.compile(
    r"(?<![\w/-])(?:not|no|none|cannot|unable|without|missing|absent|unavailable|fail(?:s|ed)?|lacks?|requires?|required|needs?|needed)(?![\w-])"
    r"|\w'?n't\b|(?<![\w-])can't\b|(?<![\w-])errors? (?:while |when |on )?(?:loading|opening|locating|finding)(?!\w)",
    re.IGNORECASE,
)
_NO_NAMES_TEXT = """
can could cannot unable
a all an binary branch tag and any are at be command compiler correct dependencies dependency development directory
environment executable file files following for from has have header headers if in input install installed is it its
library libraries libs lib local module modules name no not of on one option or output package packages path pip
pip3 platform program python python3 required requirements script setup setuptools shared source specified suitable
system that the them these this to tool valid version wheel with you your conda cython numpy pyproject.toml setup.py
requirement distribution
include includes installation installations proto directory directories existing working proper recent newer
"""
_NO_NAMES = frozenset(_NO_NAMES_TEXT.split())
# Python's own words for what was looked for in data: "KeyError: 'sox' is required".
OF_DATA = re.compile(
    r"(?:\w{1,60}\.){0,9}(?:(?:Key|Value|Index|Syntax|Lookup|Attribute|Type|Name|Module\w*|Unicode\w*|Validation|Argument|HTTP|NodeNotFound)Error|\w*Improperly\w+):(?: |$)"
)

# What wraps the message of another program, and has none of its own.
WRAPPER = re.compile(
    r"tar: (?:Child returned status|Error is not recoverable)|error: (?:Failed to build|subprocess-exited|metadata-generation|failed-wheel|command |legacy-install|can't copy|failed to run custom build)"
    r"|(?:(?:\w{1,60}\.){0,9}\w{0,40}Error: ){1,3}command '|ERROR: (?:Failed|Could not build|Command errored|\"[\w:.-]+\" exited with)|(?:. )?.{0,80} did not run successfully|(?:\w+\.)*CalledProcessError|SystemExit|Command '|BuildBackendException"
)


def hits(lines: list[Line], *, is_build: bool) -> Iterator[Hit]:
    """Yield what each line names, most certain first where one says it in several ways."""
    for line in lines:
        if is_shown(line.text):
            continue
        candidates = list(_named(line, is_build=is_build))
        yield from candidates
        if not candidates:
            literals = list(_literals(line, is_build=is_build))
            yield from literals or _phrased(line, is_build=is_build)


def _named(line: Line, *, is_build: bool) -> Iterator[Hit]:
    for rule in _RULES:
        if rule.needle not in line.text:
            continue
        for match in rule.pattern.finditer(line.text):
            groups = [group for group in match.groups() if group]
            name = rule.name or "-".join(groups if rule.kind == "typelib" else groups[-1:])
            if rule.kind == "macro":
                if of_macro := autoconf.brings(name):
                    yield Hit(*of_macro, line, rule.degree)
            elif hit := _hit(rule.kind, name, line, rule.degree, is_build=is_build, is_exact=rule.is_exact):
                yield hit
    if "pkg-config" in line.text and (query := _PKG_CONFIG_QUERY.search(line.text)):
        for word in re.split(r"[\s'\",]+", query[1] or query[2]):
            if re.fullmatch(r"[A-Za-z][\w.+-]*", word):
                yield Hit("pkg-config", word, line, TRIED)


# Names that say by themselves what they are: a file where the system has its own, or one that only building uses.
_LITERAL = re.compile(
    r"(?<![\w./+%<=-])(?:"
    r"/(?:usr/)?(?:local/)?s?bin/(?P<command>[\w.+-]+)"
    r"|(?:/usr|/lib)[\w./+-]{0,80}/lib(?P<library>[\w+-][\w.+-]*?)\.(?:so(?:\.[\d.]*\d)?|a)"
    r"|/usr/(?:local/)?include/(?P<words>[A-Za-z][\w+-]*)(?!\.)"
    r"|(?P<object>lib[\w+-][\w.+-]*?\.so(?:\.[\d.]*\d)?)"
    r"|(?P<header>[A-Za-z][\w+-]*(?:/[\w+-]+){0,4}\.h(?:pp|xx|h)?)"
    r"|(?P<module>[A-Za-z][\w.+-]*)\.pc"
    r"|(?P<config>(?!pkg-)[A-Za-z][\w.+]*[-_]config)"
    r")(?![\w/+:-]|\.\w)",
)
_OF_LITERAL: dict[str, Kind] = {
    "command": "command",
    "library": "library",
    "object": "shared-object",
    "header": "header",
    "module": "pkg-config",
    "config": "config-program",
    "words": "words",  # a directory of headers
}


_AS_IT_RUNS = re.compile(
    r" (?:[-/.\w]+[/.-]|\((?:exit|return)|(?:has )?(?:failed|returned|exited|terminated|crashed|died))"
)


def _literals(line: Line, *, is_build: bool) -> Iterator[Hit]:
    """Yield the files that a line names in a sentence that denies or demands something, by the form of their names."""
    if not _OF_FILE.search(line.text) or WRAPPER.match(line.text) or OF_DATA.match(line.text):
        return
    for match in _LITERAL.finditer(line.text):
        which = match.lastgroup or ""
        if not is_build and which in ("header", "module"):
            continue
        # A command line that is shown as it is run, or with its arguments, or that ran and failed.
        rest = line.text[match.end() :]
        if which == "command" and (not match.start() or _AS_IT_RUNS.match(rest)):
            continue
        kind: Kind = "shared-object" if which == "library" and not is_build else _OF_LITERAL[which]
        name = match[0] if kind == "shared-object" else match[which]
        if hit := _hit(kind, name, line, FATAL if is_error(line.text) else TRIED, is_build=is_build):
            yield replace(hit, is_phrase=True)


def _phrased(line: Line, *, is_build: bool) -> Iterator[Hit]:
    """Yield what a sentence calls absent, as far as it says by itself what kind of thing that is; at a build, all of it."""
    is_of_data = OF_DATA.match(line.text) is not None
    for item in absent(line.text) if is_prose(line.text) and not WRAPPER.match(line.text) else ():
        is_library = item.noun == "library" or item.name.lower().startswith("lib")
        if (is_of_data and not item.noun and not is_library) or not (is_build or item.noun or is_library):
            continue
        kind: Kind = (
            "command" if item.noun == "program" else "words" if is_build else "shared-object" if is_library else "words"
        )
        is_certain = is_error(line.text) and (item.is_stated or item.noun != "")
        hit = _hit(kind, item.name, line, FATAL if is_certain else HINT, is_build=is_build)
        if hit:
            yield replace(hit, is_phrase=True)


# A path to a program that is none of the system's: "./configure", "/opt/conda/bin/conda", "node_modules/.bin/x".
_OWN_PROGRAM = re.compile(r"\.{1,2}/|(?!/(?:usr/)?(?:local/)?(?:s?bin|games)/|/usr/lib/jvm/)\S*/")


def _is_no_program(name: str) -> bool:
    """Say whether what a shell did not find is a path of somebody's own, a word of a shell or of a sentence, or Docker's RUN."""
    is_word = name.lower() in MESSAGE_WORDS and not name.islower()
    return bool(_OWN_PROGRAM.match(name)) or name in BUILTINS or is_word or (len(name) > 1 and name.isupper())


def _hit(kind: Kind, name: str, line: Line, degree: int, *, is_build: bool, is_exact: bool = False) -> Hit | None:
    """Return a hit of the kind that the name itself shows, or None for what is no name."""
    if kind == "command" and ((is_exact and _is_no_program(name)) or name.rpartition("/")[2] in ESSENTIAL):
        return None
    name = name.rstrip(".,:;-").removeprefix("./")
    if not name or (not is_exact and not _is_name(name)) or (kind == "pkg-config" and "/" in name):
        return None
    if kind in ("command", "words"):
        kind, name = _kind_of(kind, name)
    if (
        kind == "shared-object"
        and is_build
        and "cannot open shared object" not in line.text
        and re.match(r"lib.+\.so\.", name)
    ):
        # What a build looks for itself it links; what a loader misses there is a program's that the build started.
        kind, name = "library", re.sub(r"^lib|\.so.*$", "", name)
    if kind == "shared-object":
        return _shared_object(name, line, degree)
    if kind == "header":
        return _header(name, line, degree, is_build=is_build)
    is_log = kind == "command" and line.text.startswith(("WARNING", "DEBUG", "INFO"))
    is_status = kind == "cmake" and not is_error(line.text) and line.text.startswith("-- ")
    degree = TRIED if is_log or is_status or _is_caught(line.text, is_build=is_build) else degree
    return Hit(kind, name, line, degree, is_exact=is_exact) if is_build or kind != "words" else None


def _is_caught(text: str, *, is_build: bool) -> bool:
    """Say whether a build wrote an error of the system down, and went on."""
    return "Errno 2]" in text and is_build and not is_error(text)


def _header(name: str, line: Line, degree: int, *, is_build: bool) -> Hit | None:
    if re.search(r"\.(?:c|cc|cpp|cxx|f|f90|s|m)$", name, re.IGNORECASE):
        return None  # a source that the archive lacks
    # NumPy's, or what newer Pythons have no longer, older compilers not yet: see `other_causes`
    if name.startswith(PYTHONS_HEADERS) or name in NEWER_CPP or _is_beside(name, line.text):
        return None
    if name in OLDEST_CPP:
        return Hit("compiler", "c++", line, degree)
    is_trial = _TRIALS.search(line.text[:300]) is not None  # of a configuration
    return Hit("header", name, line, TRIED if is_trial or _is_caught(line.text, is_build=is_build) else degree)


_HEAD_OF_LIST = re.compile(
    r"(?<!\w)(?:missing|required|not found|not installed|unavailable|(?:could|can|were|are) ?not (?:be )?(?:found|built|located|loaded|installed))(?!\w).*:$",
    re.IGNORECASE,
)
_ITEM = re.compile(r"[-*•o]? ?([A-Za-z][\w+-]*(?:[./][\w+-]+)*)(?: \([^)]*\))?[\s║│|]*")
_LONGEST_LIST = 12  # lines


def listed(lines: list[Line], *, is_build: bool) -> Iterator[Hit]:
    """Yield the items of a list whose head calls them absent: "Missing libraries:", "The following packages were not found:"."""
    for number, line in enumerate(lines):
        text = line.text.rstrip(" ║│|")
        if not text.endswith(":") or "no longer" in text or not _HEAD_OF_LIST.search(text) or not is_prose(text):
            continue
        for item in lines[number + 1 : number + 1 + _LONGEST_LIST]:
            match = _ITEM.fullmatch(item.text)
            if match is None:
                break
            if hit := _hit("words", match[1], item, FATAL, is_build=is_build):
                yield hit


def _is_name(word: str) -> bool:
    """Say whether a word can be the name of a thing, not one that messages are made of."""
    return 0 < len(word) <= 100 and word.lower() not in _NO_NAMES


def _is_beside(name: str, text: str) -> bool:
    """Say whether the file that includes a header lies in a directory of that name itself: it is a part of the same source."""
    directory = name.rpartition("/")[0]
    including = re.match(r"(?:In file included from )?(\S{1,300})/[^/\s:]{1,100}:\d+", text)
    return (
        "/" in directory
        and including is not None
        and not including[1].startswith("/usr/")
        and f"/{including[1]}".endswith(f"/{directory}")
    )


_FOREIGN = (".dylib", ".dll", ".exe")


def kind_of_program(name: str) -> tuple[Kind, str]:
    """Return what a program is, and its name: a compiler is that of a language."""
    return _kind_of("command", name)


def _kind_of(kind: Kind, name: str) -> tuple[Kind, str]:
    base = name.rpartition("/")[2] if kind == "command" else name
    base = re.sub(
        r"^(?:x86_64|aarch64|i\d86)-[\w-]*?(?=(?:gcc|g\+\+|gfortran)(?:-\d+)?$)|(?<=gcc|g\+\+)-\d+$", "", base
    )
    language = re.sub(r"^c\+\+\d\d$", "c++", base.lower())  # a standard of it: "C++17 support is needed"
    if language in COMPILERS:
        return "compiler", COMPILERS[language]
    if re.fullmatch(r"[\w+.-]*[-_]config", base) and base != "pkg-config":
        return "config-program", base
    if re.search(r"\.h(?:h|pp|xx)?$", base):
        return "header", name
    return ("shared-object", base) if re.search(r"\.so(?:\.[\d.]+)?$", base) else (kind, base)


def _shared_object(name: str, line: Line, degree: int) -> Hit | None:
    if name.endswith(_FOREIGN) or "site-packages/" in name or "dist-packages/" in name:
        return None
    if name.startswith("/") and not name.startswith(("/usr/lib", "/lib")):
        return None  # a file of somebody's own
    if ": undefined symbol: " in line.text:
        return None  # it is there, and does not fit
    base = name.rpartition("/")[2]
    if base.startswith("."):
        return None  # what a shell would have made a name of
    # cffi's users ask for Windows' names too: "libpango-1.0-0" is "pango-1.0" there.
    windows = re.fullmatch(r"lib([\w+.-]+-\d+\.\d+)-\d+", base)
    return Hit("shared-object", windows[1] if windows else base, line, degree)


# NVIDIA's and AMD's: the driver's own, whose part in the kernel Debian's copy would not fit (NVIDIA's installation guide),
# and the toolkit's, which wheels such as nvidia-cublas-cu12 bring.
DRIVERS = re.compile(
    r"lib(?:cuda|cudart|cublas|cublasLt|cudnn\w*|cufft\w*|curand|cusolver\w*|cusparse\w*|cupti|nccl|nvrtc\S*|nvToolsExt|nvinfer\w*|nvJitLink"
    r"|nvidia[\w-]*|nvcuvid|nvparsers|nvonnxparser|amdhip64|hip\w+|rocblas|roc\w+|hsa-runtime64|MIOpen|tpu|cufile|nvvm)\.so[\w.]*"
)


def is_error(text: str) -> bool:
    """Say whether a line is the last word of a tool or an exception's own, not one of its steps."""
    return _ERROR.match(text) is not None


_ERROR = re.compile(
    r"thread '[^']{1,80}'(?: \(\d+\))? panicked at |(?:[-*#=!]{1,80} ?)?(?:\S{1,80}:\d+(?::\d+)?: )?(?:configure: |fatal |\w{0,20}: )?(?:error|fatal|critical|cmake error)\b[:! ]"
    r"|(?:[A-Za-z_][\w.]{0,100})?(?:Error|Exception|Exit|NotFound|NotInstalled|Failure)\w{0,20}: |(?:system)?exit: ",
    re.IGNORECASE,
)
_TRIALS = re.compile(
    r"(?:^|/)(?:conftest|_configtest|None|testfile|\w{0,40}_?configtest|tmp\w{0,20}|test_?\w{0,20})\.\w{1,4}:\d"
)
