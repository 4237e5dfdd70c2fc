# ruff: noqa: E501  the words of other tools
"""What recorded failures name, row by row; what was tried and passed over; words that only the distribution's index confirms."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from colab_env.native_need.contents import Contents, Packages, packed
from colab_env.native_need.extract import extract
from colab_env.native_need.lookup import needs
from colab_env.native_need.missing import Answer, Missing
from colab_env.native_need.packed_index import Index
from colab_env.native_need.ranking import is_own_header, packages_for
from colab_env.native_need.sentences import absent

ROWS = [
    json.loads(line) for line in (Path(__file__).parent / "native" / "rows_learning.jsonl").read_text().splitlines()
]
NEEDS = [row for row in ROWS if row["needed_in_order"]]
OTHERS = [row for row in ROWS if not row["needed_in_order"]]
NAMED = {
    ("cerror-c", ""): "the header is named; that it is the package's own shows only in the index",
    ("lsl-a", ""): "the library is named; that no package has it shows only in the index",
    **{
        (package, ""): "the thing is named; that no package has it shows only in the index"
        for package in ("unrar", "python-terraform", "pyvisa", "sqlanydb", "canlib")
    },
    ("pangocairocffi", "pango-1.0"): "it names the product, pango",
    ("latex", "pdflatex"): "it names the product, LaTeX",
    ("glfw", "libX11.so.6"): "it ends with an error of the user's own code",
    ("selenium", "chromedriver"): "a download is tried first, and fails",
    ("pyocr", "tesseract"): "an empty list is all that shows it",
    ("PyOpenGL", "GL"): "the text says only that None has no glGetError",
    ("PyQt6", "qmake6"): "the text says only that an option is not set",
    ("pyftdi", "usb-1.0"): "no backend, and none is named",
    ("pygccxml", "castxml"): "it asks for a C++ parser before it names one",
    ("scenedetect", "ffmpeg"): "it ends with an error of the user's own code",
    ("PyUSB", "usb-1.0"): "no backend, and none is named",
    ("ethtool", "pkg-config"): "the module is named; that pkg-config itself is not there shows only on the machine",
    ("file-magic", "magic"): "the interpreter is asked for a function: the library has no name there",
    ("python-libxdo", "libxdo.so.3"): "as for file-magic",
    ("python-vlc", "vlc"): "as for file-magic",
    ("html2image", "chromium"): "it names the product, Chrome",
    ("pyclip", "xclip"): "any of several programs would do, and none is named",
    ("pythondialog", "dialog"): "it says what the program is like, and not its name",
    ("unoconv", "soffice"): "it asks for an office",
    ("konlpy", "libjvm.so"): "the Java virtual machine is named as what it is: java",
    ("openbabel", "swig"): "it says that swig failed, not that it is not there, and asks for Open Babel",
    ("pyperclip", "xclip"): "any of several programs would do, and none is named",
    ("pyswip", "swipl"): "it names the product, SWI-Prolog",
    ("python-lzo", "lzo/lzo1x.h"): "the compiler names lzo/lzo1.h, of the same package",
    ("cyvcf2", "autoreconf"): "CMake names no program that it could not start",
    ("ext-ownheader", ""): "the header is named; that it is the package's own shows only in the index",
    ("liblas", ""): "the library is named; that no package has it shows only in the index",
    ("copier", "git"): "it ends with an error about the user's own template",
    ("jaydebeapi", "libjvm.so"): "the Java virtual machine is named as what it is: java",
    ("meson-gi", "glib-compile-resources"): "pkg-config comes before what it would have looked for",
    ("scs", "OpenBLAS"): "pkg-config comes before what it would have looked for",
    ("scikit-umfpack", "umfpack"): "it ends with a KeyError after a search for many libraries that would do without",
}
COMPILERS = {
    "gcc": "c",
    "cc": "c",
    "g++": "c++",
    "javac": "java",
    "rust": "rust",
    "Rust": "rust",
    "gfortran": "fortran",
    "_tkinter": "tkinter",
}


def plain(name: str) -> str:
    """Return what the names of a library's header, its -l, its module and its shared object have in common."""
    stem = re.sub(r"\.(?:so|pc|h)\b.*$", "", COMPILERS.get(name, name).lower().rpartition("/")[2])
    return re.sub(r"-(?=\d[\d.]*$)", "", stem.removeprefix("lib"))


def row_id(row: dict[str, Any]) -> str:
    return str(row["package"])


@pytest.mark.parametrize("row", NEEDS, ids=row_id)
def test_a_recorded_failure_names_first_what_was_missing(row: dict[str, Any]) -> None:
    needed = row["needed_in_order"][0]["name"]
    if (reason := NAMED.get((row["package"], needed))) is not None:
        pytest.skip(reason)
    explanation = extract(row["log"])
    names = [plain(finding.name) for finding in (*explanation.findings, *explanation.unconfirmed)]
    assert names[:1] == [plain(needed)]


@pytest.mark.parametrize("row", OTHERS, ids=row_id)
def test_a_recorded_failure_of_another_cause_is_blamed_on_nothing(row: dict[str, Any]) -> None:
    if (reason := NAMED.get((row["package"], ""))) is not None:
        pytest.skip(reason)
    assert extract(row["log"]).findings == ()


RUN = 'Traceback (most recent call last):\n  File "/v/lib/python3.11/site-packages/x/__init__.py", line 1, in f\n'
PROCESS = (
    'Traceback (most recent call last):\n  File "/usr/lib/python3.11/subprocess.py", line 1955, in _execute_child\n'
)
SENTENCES = [
    (f"{RUN}sh.CommandNotFound: jq", "command jq"),
    (f"{RUN}plumbum.CommandNotFound: (CommandNotFound(...), 'rsync', [<LocalPath /usr/bin>])", "command rsync"),
    (f"{RUN}a.b.ExecutableNotFoundError: Executable 'dot' not found", "command dot"),
    (f"{RUN}x.ExecError: The command was not found or was not executable: ssh.", "command ssh"),
    (f"{RUN}FileNotFoundError: [Errno 2] No such file or directory: '/usr/bin/crontab'", "command crontab"),
    (f"{PROCESS}FileNotFoundError: [Errno 2] No such file or directory: ‘Xvfb’", "command Xvfb"),  # noqa: RUF001
    (f'{RUN}OSError: "tidy" is not found, on path or as absolute path', "command tidy"),
    (f"{RUN}PatoolError: could not find an executable program to extract format 7z; candidates are (7z,7za,7zr),", "command 7z"),
    (f"{RUN}OSError: ctypes.util.find_library() did not manage to locate a library called 'sndfile'", "shared-object sndfile"),
    ("running build_ext\nERROR: The 'make' utility is missing from PATH", "command make"),
    ("running build_ext\nerror: flex binary is required to compile the parser", "command flex"),
    ("running build_ext\nRuntimeError: failed to find headers for libxml2", "words libxml2"),
    ("running build_ext\nCan't find a local Berkeley DB installation.", "words Berkeley DB"),
    ("running build_ext\ngcc: error: krb5-config:: linker input file not found", "config-program krb5-config"),
    ("Building wheel for x\nerror: can't find Rust compiler\n\nTo update pip, run:\n\n    pip install --upgrade pip\n", "compiler rust"),
    ("running build_ext\nRuntimeError: The 'apxs' command appears not to be installed or is not executable.", "command apxs"),
    ("running build_ext\nFailed to query pkg-config --cflags-only-I libnl-3.0\n[end of output]\nnote: a\nerror: legacy-install-failure", "pkg-config libnl-3.0"),
    (f"{RUN}RuntimeError: Could not locate METIS dll. Please set the METIS_DLL environment variable.", "shared-object METIS"),
    (f"{RUN}Exception: The location of Firebird Client Library could not be determined.", "shared-object Firebird"),
    (f"{RUN}RuntimeError: command not found: initdb", "command initdb"),
    (f'{RUN}ValueError: gdb executable could not be resolved from "gdb"', "command gdb"),
    (f"{RUN}RuntimeError: The Vagrant executable cannot be found. Please check the path.", "command Vagrant"),
    ("setup.py\nValueError: unable to locate include directory containing header files ['nss.h', 'pk11pub.h']", "header nss.h"),
    ("running build_ext\ncannot execute pkg-config: No such file or directory\nerror: cannot determine DjVuLibre version", "command pkg-config"),
    ("setup.py\nerror: cannot find an installation of PARI/GP: make sure that the 'gp' program is in your $PATH", "command gp"),
    ("running build_ext\n*** Can not locate liberasurecode.so.1\n***   Debian/Ubuntu variants: liberasurecode-dev", "library erasurecode"),
    ("running build\nRuntimeError: Please install the proto buffer compiler.", "command protoc"),
    ("setup.py\nRuntimeError:\n\nJava JDK directory '/usr/lib/jvm/temurin-17-jdk-amd64' does not exist.", "compiler java"),
    ("setup.py\nno version: [Errno 2] No such file or directory: 'tesseract'\na.c:1:1: fatal error: b/all.h: No such file or directory\nerror: command 'gcc' failed", "header b/all.h"),
    # A name that shows what it is needs no phrase.
    ("Failed to import '/usr/lib/libfrob.so'\nimport frob\nreturn dlopen(name)", "shared-object libfrob.so"),
    ("/snap/x/usr/bin/ld: cannot find /usr/lib/aarch64-linux-gnu/libc_nonshared.a.", "library c_nonshared"),
    ("collect2: fatal error: cannot find ‘ld’", "command ld"),  # noqa: RUF001
    ("/bin/sh: 1: file: not found", "command file"),
    ("FileNotFoundError\n[Errno 2] No such file or directory: 'python'\nat /usr/lib/python3.8/subprocess.py:1704 in _execute_child", "command python"),
    ("running build_ext\nerror: we cannot go on without frob/grob.h", "header frob/grob.h"),
    ("running build_ext\nerror: the build requires frob-config", "config-program frob-config"),
    # R, Perl, and a shell's "missing" of automake; who runs a line is there.
    ("* installing *source* package 'frob' ...\n-----Error: frob2.h not found-----\n  If frob is not installed, please install it.\nERROR: configuration failed for package 'frob'", "header frob2.h"),
    ('$ ./autogen.sh\nCan\'t exec "aclocal": No such file or directory at /usr/share/autoconf/Autom4te/FileUtils.pm line 3.\nautoreconf: failed to run aclocal', "command aclocal"),
    ("/bin/sh ../aux/ylwrap a.l .c a.c -- /bin/sh '/x/aux/missing' flex\n/x/aux/missing: line 81: flex: command not found\nmake: *** [Makefile:1: a.c] Error 127", "command flex"),
    ("configure: error: could not find GNU frob >= 1.5.26", "words frob"),
    ("* installing *source* package 'frob' ...\nNo package 'libfrob' found\nConfiguration failed because libfrob was not found.\nIf libfrob is already installed, check that 'pkg-config' is in your\nPATH\nERROR: configuration failed for package 'frob'", "pkg-config libfrob"),
    ("CMake Error at /x/FindPackageHandleStandardArgs.cmake:146 (message):\n  Could NOT find PkgConfig (missing: PKG_CONFIG_EXECUTABLE)\nCall Stack (most recent call first):\n  /x/FindPkgConfig.cmake:41 (f)\n  CMakeLists.txt:8 (g)", "command pkg-config"),
    ('run pkg_config fail: "Could not run `pkg-config --libs frob`\\nThe pkg-config command could not be found.\\nor disable features"\n--- stderr\nCould not find directory of Frob installation, and this `-sys` crate cannot', "command pkg-config"),
    # CMake's find_path, find_library and find_program with REQUIRED; a directory of headers.
    ("CMake Error at CMakeLists.txt:11 (find_path):\n  Could not find FROB_INCLUDE_DIR using the following files: frob_c.h", "header frob_c.h"),
    ("CMake Error at CMakeLists.txt:11 (find_library):\n  Could not find FROB_LIBRARY using the following names: frob, frob2\n\n\n-- Configuring incomplete, errors occurred!\n\n*** CMake configuration failed\n[end of output]\n\nnote: a\nerror: b", "library frob"),
    ("CMake Error at CMakeLists.txt:11 (find_program):\n  Could not find FROB using the following names: frob", "command frob"),
    ("setup.py\nFileNotFoundError: [Errno 2] No such file or directory: '/usr/local/include/frob'\n[end of output]", "words frob"),
    ("$ meson setup build\nRun-time dependency fmt found: NO (tried pkgconfig and cmake)\n$ which fmt\n/usr/bin/fmt", "pkg-config fmt"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), SENTENCES, ids=[expected for _, expected in SENTENCES])
def test_a_line_names_what_is_missing(text: str, expected: str) -> None:
    explanation = extract(text)
    assert [f"{finding.kind} {finding.name}" for finding in explanation.findings[:1]] == [expected]


TRIED = [
    "/bin/sh: 1: git: not found",
    "-- Could NOT find Doxygen (missing: DOXYGEN_EXECUTABLE)",
    "Run-time dependency gtest found: NO (tried pkgconfig and cmake)",
    "ccache: command not found, compiling without it",
    "WARNING: libfoo.so.1 not found, falling back to the slow path",
    "/usr/bin/ld: cannot find -lqux: No such file or directory",
    "_configtest.c:1:10: fatal error: x.h: No such file or directory",
    "configure: WARNING: libbar not found, disabling support",
]
OWN = "\n".join([*("line" for _ in range(8)), RUN + "RuntimeError: matrix is singular"])
BUILD = "\n".join(["Building wheel for x (pyproject.toml)", *("compiling" for _ in range(8)), RUN + "RuntimeError: this works on Windows only"])  # fmt: skip


@pytest.mark.parametrize("log", [OWN, BUILD], ids=["run", "build"])
@pytest.mark.parametrize("line", TRIED)
def test_what_was_tried_is_not_blamed_where_something_else_ended_it(line: str, log: str) -> None:
    assert extract(f"{line}\n{log}").findings == ()


@pytest.mark.parametrize("line", TRIED[:1] + TRIED[3:4])
def test_what_was_tried_is_the_cause_where_its_own_tool_gave_up(line: str) -> None:
    log = line.replace(", compiling without it", "") + "\n" + "building\n" * 9 + "make: *** [Makefile:3: all] Error 127"
    assert len(extract(log).findings) == 1


@pytest.mark.parametrize("text", ["\x7fELF" + "\0a" * 3000 + "GLIBC_2.14", f"{PROCESS}FileNotFoundError: [Errno 2] No such file or directory: 'Xv"])  # fmt: skip
def test_no_text_and_a_name_that_is_cut_are_not_concluded_from(text: str) -> None:
    explanation = extract(text)
    assert (explanation.findings, explanation.other) == ((), None)


@pytest.mark.parametrize(
    "disturb", [lambda name: f"\0{name}", lambda name: f"{name}\udc80", lambda name: f"\ufffd{name}\0"]
)
def test_bytes_that_are_no_text_change_nothing(disturb: Callable[[str], str]) -> None:
    other = extract(f"{RUN}{disturb('ValueError')}: x").other
    assert other is not None
    assert other.kind == "own-code"


def test_a_library_that_is_asked_for_without_a_name_is_no_error_of_own_code() -> None:
    explanation = extract(f"{RUN}AttributeError: /opt/v/bin/python: undefined symbol: archive_version_number")
    assert explanation.other is None
    assert "a shared library was not found" in explanation.not_concluded[0]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    contents, packages = Contents(), Packages()
    files = b"""\
usr/bin/sox sound/sox
usr/bin/gs text/ghostscript
usr/bin/black python/python3-black
usr/lib/x86_64-linux-gnu/libusb.so libdevel/libusb-dev
usr/lib/x86_64-linux-gnu/libfrob.so.2 libs/libfrob2
usr/include/frob.h libdevel/libfrob-dev
"""
    contents.read([files])
    stanzas = (
        *("sox", "python3-black", "libusb-dev", "ghostscript", "libfrob2\nSource: frob"),
        *(
            "libfrob-dev\nSource: frob\nDepends: libfrob2",
            "python3-pyfrob\nDepends: python3, none | libfrob2 (>= 2), libc6",
        ),
    )
    packages.read(["".join(f"Package: {stanza}\n\n" for stanza in stanzas).encode()])
    path = tmp_path_factory.mktemp("index") / "small.index"
    path.write_bytes(packed(contents, packages, {"release": "small"}))
    return Index(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("RuntimeError: sox unavailable, build terminated", ["command sox"]),
        ("OSError: usb not installed on your system", ["shared-object libusb.so"]),
        ("OSError: ghostscript is not installed", ["words ghostscript"]),
        ("RuntimeError: Cannot determine path to sox, is it installed?", ["command sox"]),
        ("AssertionError: Cannot find installation of real SoX (which comes with play).", ["command sox"]),
        ("ImportError: black is not installed", []),
        ("ImportError: pandas is not installed", []),
        ("KeyError: sox is required", []),
    ],
)
def test_a_word_is_a_need_only_where_the_index_has_such_a_file(text: str, expected: list[str], index: Index) -> None:
    explanation = extract(RUN + text)
    assert explanation.findings == ()
    assert [f"{missing.kind} {missing.name}" for missing in needs(explanation, index)] == expected


ABSENT = [
    ("Could not find the frob executable, is it in your PATH?", ["frob program"]),
    ("The frob and libgrob development headers are required to build this", ["libgrob header", "frob header"]),
    ("ImportError: Unable to load the native frob library (libfrob)", ["frob library", "libfrob library"]),
    ("frob doesn't seem to be installed", ["frob "]),
    ("Is Frob Grob installed?", ["Frob Grob "]),
    ("the FROB frob/grob.h header could not be located", ["frob/grob.h header"]),
    ("Cannot find ['frob']", ["frob "]),
    ("libfrob.exc.FrobCommandNotFound", ["Frob program"]),
    ("Have you installed Frob?", ["Frob "]),
    ("Frob's executables not found", ["Frob program"]),
    ("Command frob doesn't exist!", ["frob program"]),
    ("Error: Cant find required binary frob", ["frob program"]),
    ("Neither frob and grobdriver nor another are available on system PATH", ["frob program", "grobdriver program"]),
    ("please install frob, grob or brob", ["frob ", "grob ", "brob "]),
    # What a program looks for among its own things.
    ("fixture 'frob' not found", []),
    ("Could not find a version that satisfies the requirement frob", []),
    ("Table or view not found: frob", []),
    ("frob requires grob 1.70 or newer", []),
    ("Cannot find file data/frob.json, see https://frob.example/install", []),
    ("the server could not be found", []),
    ("Neither frob nor grob were given", []),
    ("x.FrobNotFoundError: Could not find an installation of NI-Frobmx.", ["NI-Frobmx "]),
    ("Driver for frob was not found", []),
    ("the headers for frob were not found", ["frob "]),
    ("the file frob does not exist", []),
    ("ModuleNotFoundError: No module named 'frob'", []),
]


@pytest.mark.parametrize(("sentence", "expected"), ABSENT, ids=[sentence[:30] for sentence, _ in ABSENT])
def test_a_sentence_in_any_words_says_what_is_absent(sentence: str, expected: list[str]) -> None:
    assert [f"{item.name} {item.noun}" for item in absent(sentence)] == expected


def test_a_word_of_a_build_is_the_program_before_a_package_without_it(tmp_path: Path) -> None:
    contents, packages = Contents(), Packages()
    contents.read([b"usr/bin/frob devel/frob-bin\nusr/lib/R/bin/frob math/r-base-core\n"])
    packages.read(["".join(f"Package: {name}\n\n" for name in ("frob", "frob-bin", "r-base-core")).encode()])
    (tmp_path / "small.index").write_bytes(packed(contents, packages, {"release": "small"}))
    (missing,) = extract("checking for GNU frob... no\nconfigure: error: could not find GNU frob >= 1.5").findings
    assert packages_for(missing, Index(tmp_path / "small.index")).package == "frob-bin"


def test_cmake_s_name_of_a_package_may_lack_its_number(tmp_path: Path) -> None:
    contents, packages = Contents(), Packages()
    contents.read([b"usr/share/frob3/cmake/Frob3Config.cmake libdevel/libfrob3-dev\n"])
    packages.read([b"Package: libfrob3-dev\n\n"])
    (tmp_path / "small.index").write_bytes(packed(contents, packages, {"release": "small"}))
    assert packages_for(Missing(kind="cmake", name="Frob"), Index(tmp_path / "small.index")).package == "libfrob3-dev"


def test_a_function_that_ctypes_did_not_find_names_its_library(index: Index) -> None:
    explanation = extract(f"{RUN}AttributeError: /opt/v/bin/python: undefined symbol: usb_get_busses")
    assert [f"{missing.kind} {missing.name}" for missing in needs(explanation, index)] == ["shared-object libusb.so"]


FROB = RUN.replace("/x/", "/frob/")
BUILD_OF_FROB = "Building wheel for pyfrob (setup.py): started\n"
CODE = 'File "/v/lib/python3.11/site-packages/x/{}.py", line 3, in {}\n{}\n'


@pytest.mark.parametrize(
    ("text", "expected", "package"),
    [
        # The error speaks of something absent; a word of it is a program of the distribution.
        (f"{RUN}x.Trouble: no way to play this without the help of 'sox'", "command sox", "sox"),
        # It names nothing: what the distribution's own copy of that Python package rests on.
        (f"{FROB}frob.core.NoBackendError: No backend available", "python-package python3-pyfrob", "libfrob2"),
        (f"{FROB}AttributeError: 'NoneType' object has no attribute 'frob_open'", "python-package python3-pyfrob", "libfrob2"),
        (f"{FROB}AttributeError: /opt/v/bin/python: undefined symbol: Error_Get", "python-package python3-pyfrob", "libfrob2"),
        (f"{BUILD_OF_FROB}Exception: the build is not possible", "python-package python3-pyfrob", "libfrob-dev"),
        # What the frames have in common.
        (RUN + CODE.format("sox_player", "__init__", "raise SetupError(") + CODE.format("x", "start", "return SoxPlayer()") + "x.SetupError: could not set up playing", "", ""),
        (RUN + CODE.format("ghostscript_player", "__init__", "raise SetupError(") + CODE.format("x", "start", "return GhostscriptPlayer()") + "x.SetupError: could not set up playing", "mention ghostscript", "ghostscript"),
        # A name that a sentence gives and that the distribution does not have is no answer.
        (f"{FROB}frob.ExecutableNotFound: can't find the executable for the frob-like program", "python-package python3-pyfrob", "libfrob2"),
        # Data of a program's own, and a file of one's own.
        (f"{FROB}KeyError: 'no sox'", "", ""),
        (f"{FROB}FileNotFoundError: [Errno 2] No such file or directory: 'missing.png'", "", ""),
        (f"{FROB}ValueError: the matrix is singular", "", ""),
        # Words that are programs, too; what another package only recommends; a variable that is not set.
        (f"{RUN}x.SoxSyntaxError: the trailer is not a sox", "", ""),
        (f"{FROB}frob.ServiceNotAvailable: Environment variable FROB_ADDRESS is unset", "", ""),
    ],
)  # fmt: skip
def test_an_error_that_names_nothing_is_answered_by_the_distribution(
    text: str, expected: str, package: str, index: Index
) -> None:
    found = needs(extract(text), index)
    assert [f"{missing.kind} {missing.name}" for missing in found[:1]] == ([expected] if expected else [])
    assert [packages_for(missing, index).package for missing in found[:1]] == ([package] if package else [])


def test_a_program_that_no_package_has_is_not_answered_by_a_word_of_the_frames(index: Index) -> None:
    system = 'File "/usr/lib/python3.11/subprocess.py", line 1901, in _execute_child\n'
    cause = f"{RUN}{system}FileNotFoundError: [Errno 2] No such file or directory: 'grob'\n"
    frames = CODE.format("ghostscript_a", "start", "run()") + CODE.format("x", "start", "return Ghostscript()")
    found = needs(extract(f"{cause}{RUN}{frames}x.Trouble: Cannot find grob in PATH"), index)
    assert [(missing.name, packages_for(missing, index).package) for missing in found] == [("grob", None)]


def test_what_a_python_package_rests_on_is_no_answer_where_it_is_installed(index: Index) -> None:
    explanation = extract(f"{FROB}frob.core.NoBackendError: No backend available")
    assert needs(explanation, index, installed={"libfrob2"}) == ()


def test_what_code_of_one_s_own_calls_absent_is_no_need(index: Index) -> None:
    explanation = extract(
        'Traceback (most recent call last):\n  File "/root/app.py", line 1, in f\nRuntimeError: sox is not installed'
    )
    assert needs(explanation, index) == ()


def test_a_header_that_no_package_has_and_that_bears_its_own_packages_name_is_its_own() -> None:
    missing = Missing(kind="header", name="cerr_internal_config.h", distribution="cerr")
    assert is_own_header(Answer(missing=missing))
    assert not is_own_header(Answer(missing=replace(missing, name="zlib.h")))


CONDA = [
    ("Collecting package metadata (current_repodata.json): done\nSolving environment: failed\n\nPackagesNotFoundError: The following packages are not available from current channels:\n\n  - no-such-tool\n\nCurrent channels:\n\n  - https://conda.example/main/linux-64\n", "no-wheel", "-c conda-forge"),
    ("Solving environment: failed\n\nLibMambaUnsatisfiableError: Encountered problems while solving:\n  - package fiona-1.9.5-py312 requires libgdal >=3.8.1,<3.9.0a0, but none of the providers can be installed\n\nCould not solve for environment specs\n", "conflict", "channel"),
    ("Solving environment: failed\nInitial quick solve with frozen env failed.  Unfreezing env and trying again.\n\nUnsatisfiableError: The following specifications were found to be incompatible with each other:\n\nPackage python conflicts for:\npython=3.6\n", "conflict", "exclude each other"),
    ("error    libmamba Could not solve for environment specs\n    The following packages are incompatible\n    └─ nothing provides __cuda needed by pytorch-2.1-cuda\ncritical libmamba Could not solve for environment specs\n", "conflict", "channels"),
    ("Collecting package metadata (repodata.json): failed\n\nCondaHTTPError: HTTP 000 CONNECTION FAILED for url <https://conda.example/main/linux-64/repodata.json>\nElapsed: -\n\nAn HTTP error occurred when trying to retrieve this URL.\n", "network", "channel"),
    ("UnavailableInvalidChannel: HTTP 404 NOT FOUND for channel nosuch <https://conda.example/nosuch>\n\nThe channel is not accessible or is invalid.\n", "network", ".condarc"),
    ("CondaHTTPError: HTTP 403 FORBIDDEN for url <https://conda.example/t/x/private/linux-64/repodata.json>\n", "credentials", "token"),
    ("EnvironmentNotWritableError: The current user does not have write permissions to the target environment.\n  environment location: /opt/conda\n", "permission", "another directory"),
    ("CondaToSNonInteractiveError: Terms of Service have not been accepted for the following channels.\n    - https://conda.example/main\n", "permission", "conda tos accept"),
    ('InvalidArchiveError("Error with archive /opt/conda/pkgs/x.conda.  You probably need to delete and re-download or re-create this file.")\n', "damaged", "conda clean"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "words"), CONDA, ids=[f"{kind} {number}" for number, (_, kind, _) in enumerate(CONDA)])  # fmt: skip
def test_what_conda_says_is_another_cause_with_conda_s_remedy(text: str, kind: str, words: str) -> None:
    explanation = extract(text)
    assert explanation.findings == ()
    assert explanation.other is not None
    assert explanation.other.kind == kind
    assert words in explanation.other.advice


def test_what_failed_to_build_is_named_with_its_version_and_python() -> None:
    log = "Collecting fiona==1.9.5\n  Building wheel for fiona (pyproject.toml): started\n  gcc -I/usr/include/python3.12 -c x.c\n  x.c:1:10: fatal error: gdal.h: No such file or directory\nerror: command 'gcc' failed"
    explanation = extract(log)
    assert (explanation.requirement, explanation.python) == ("fiona==1.9.5", "3.12")


@pytest.mark.parametrize("line", ["Processing ./poke", "Obtaining file:///root/poke", "Processing /root/poke"])
def test_the_project_s_own_build_is_no_distribution_of_the_index(line: str) -> None:
    log = f"{line}\n  Building wheel for poke (pyproject.toml): started\n  x.c:1:10: fatal error: gdal.h: No such file or directory\nerror: command 'gcc' failed"
    assert extract(log).requirement is None
    assert extract(f"Collecting poke==1.0\n{log}").requirement == "poke==1.0"


EXCERPTS = [
    ("Package libavformat was not found in the pkg-config search path.", "pkg-config libavformat"),
    ("Could not run curl-config: [Errno 2] No such file or directory: 'curl-config'", "config-program curl-config"),
    ("mysql_config: not found", "config-program mysql_config"),
    ("Could NOT find Boost (missing: Boost_INCLUDE_DIR)", "cmake Boost"),
    ('CMake Error at x:230 (message):\n  Could NOT find ZLIB (missing: ZLIB_LIBRARY) (Required is at least version "1.2")', "cmake ZLIB"),
    ("A GDAL API version must be specified. Provide a path to gdal-config using a GDAL_CONFIG environment variable or use a GDAL_VERSION environment variable.", "config-program gdal-config"),
    ("../meson.build:10:0: ERROR: Python dependency not found", "header Python.h"),
    ("configure: error: *** python headers not found", "header Python.h"),
    ("CMake Error at x.cmake:230 (message):\n  Could NOT find Python (missing: Python_INCLUDE_DIRS Development.Module)", "header Python.h"),
    ("__main__.RequiredDependencyException: jpeg", "words jpeg"),
    ("Package cairo was not found in the pkg-config search path.\nNo package 'cairo' found\nerror: subprocess-exited-with-error\n  31 | >>> RUN pip install --no-cache-dir -r requirements.txt", "pkg-config cairo"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), EXCERPTS)
def test_a_pasted_line_of_a_build_names_what_is_needed_for_building(text: str, expected: str) -> None:
    explanation = extract(text)
    (finding,) = explanation.findings
    assert (f"{finding.kind} {finding.name}", finding.phase, explanation.other) == (expected, "build", None)


CRATE = """error: failed to run custom build command for `openssl-sys v0.9.102`
process didn't exit successfully: `target/release/build/openssl-sys-4b85/build-script-main` (exit status: 101)
--- stdout
cargo:rerun-if-env-changed=OPENSSL_NO_PKG_CONFIG
{}
--- stderr
thread 'main' panicked at openssl-sys-0.9.102/build/find_normal.rs:190:5:

Could not find directory of OpenSSL installation, and this `-sys` crate cannot
proceed without this knowledge. If OpenSSL is installed and this crate had
trouble finding it,  you can set the `OPENSSL_DIR` environment variable for the
compilation process.
{}"""
QUERY = r'"pkg-config\" \"--libs\" \"--cflags\" \"openssl\"`'
CRATE_END = """note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
warning: build failed, waiting for other jobs to finish...
💥 maturin failed
  Caused by: Failed to build a native library through cargo"""


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            f'run pkg_config fail: "Failed to run `\\{QUERY}: No such file or directory (os error 2)"',
            "command pkg-config",
        ),
        (
            rf'run pkg_config fail: "`\{QUERY} did not exit successfully: exit code: 1\n--- stderr\nPackage openssl was not found in the pkg-config search path.\nPerhaps"',
            "pkg-config openssl",
        ),
        ("error: could not find system library 'openssl' required by the 'openssl-sys' crate", "pkg-config openssl"),
    ],
)
@pytest.mark.parametrize("end", ["", CRATE_END])
def test_a_build_script_of_rust_that_panics_says_what_it_did_not_find(query: str, expected: str, end: str) -> None:
    (finding,) = extract(CRATE.format(query, end)).findings
    assert (f"{finding.kind} {finding.name}", finding.distribution) == (expected, None)


@pytest.mark.parametrize(
    "text",
    [
        "pdm.backend.exceptions.ConfigError: Cannot find the version from SCM or SCM isn't detected.",
        "LookupError: setuptools-scm was unable to detect version for /io/src.",
        "ValueError: Error getting the version from source `vcs`: setuptools-scm was unable to detect version for /io.",
        "RuntimeError: Unable to determine version from VCS",
    ],
)
def test_a_version_that_git_does_not_tell_is_no_package_of_the_system(text: str, index: Index) -> None:
    explanation = extract(f"Getting requirements to build wheel did not run successfully.\n{text}\n[end of output]")
    assert explanation.other is not None
    assert (explanation.other.kind, needs(explanation, index)) == ("scm-version", ())


def test_a_python_without_ssl_is_not_the_package_s_fault() -> None:
    explanation = extract(
        "WARNING: pip is configured with locations that require TLS/SSL, however the ssl module in Python is not available.\n"
        "WARNING: Retrying after connection broken by 'SSLError(\"Can't connect to HTTPS URL because the SSL module is not"
        " available.\")': /simple/numpy/\nERROR: No matching distribution found for numpy\n"
    )
    assert explanation.other is not None
    assert explanation.other.advice.startswith("ssl is a part of Python, and this one was built without it")


def test_what_configure_did_not_find_by_pkg_config_is_what_ended_it() -> None:
    text = """checking for dbus-1 >= 1.8 dbus-glib-1 ... no
configure: error: Package requirements (dbus-1 >= 1.8 dbus-glib-1) were not met:

No package 'dbus-1' found
Package 'dbus-glib-1', required by 'virtual:world', not found

Consider adjusting the PKG_CONFIG_PATH environment variable if you
installed software in a non-standard prefix.

Alternatively, you may set the environment variables DBUS_CFLAGS
and DBUS_LIBS to avoid the need to call pkg-config.
See the pkg-config man page for more details.
"""
    explanation = extract(text)
    assert [(each.kind, each.name) for each in explanation.findings] == [
        ("pkg-config", "dbus-1"),
        ("pkg-config", "dbus-glib-1"),
    ]


def test_the_directory_of_a_build_shows_that_it_is_one() -> None:
    explanation = extract("""File "/tmp/pip-build-env-x1/overlay/lib/python3.12/site-packages/pkg_resources/__init__.py", line 2172
AttributeError: module 'pkgutil' has no attribute 'ImpImporter'. Did you mean: 'zipimporter'?
[end of output]""")
    assert explanation.other is not None
    assert explanation.other.kind == "source-mismatch"


def test_a_distribution_that_is_not_installed_is_a_python_package() -> None:
    text = "pkg_resources.DistributionNotFound: The 'jinja2>=2.7' distribution was not found and is required by the application"
    explanation = extract(text)
    assert explanation.other is not None
    assert explanation.other.kind == "python-module"


def test_a_query_of_pkg_config_in_the_frames_of_a_build_is_for_building() -> None:
    text = """Command 'pkg-config --exists mysqlclient' returned non-zero exit status 1.
  File "/usr/lib/python3/site-packages/pip/_vendor/pyproject_hooks/_in_process/_in_process.py", line 353, in <module>
Exception: Can not find valid pkg-config name."""
    (finding,) = extract(text).findings
    assert (finding.name, finding.phase) == ("mysqlclient", "build")


@pytest.mark.parametrize(
    "text",
    [
        "ERROR: Cannot find command 'git' - do you have 'git' installed and in your PATH?",
        'docker: failed to create task for container: exec: "git": executable file not found in $PATH: unknown.',
    ],
)
def test_a_program_that_is_started_is_needed_for_running(text: str) -> None:
    (finding,) = extract(text).findings
    assert (finding.kind, finding.name, finding.phase) == ("command", "git", "run")


def test_a_library_that_is_there_and_does_not_fit_is_not_missing() -> None:
    explanation = extract(
        f"{RUN}OSError: cannot load library 'libfrob.so.2': /opt/libfrob.so.2: undefined symbol: grob"
    )
    assert explanation.findings == ()
    assert explanation.other is not None
    assert explanation.other.kind == "source-mismatch"


def test_a_rust_that_is_too_old_is_there() -> None:
    other = extract("running bdist_wheel\nerror: Rust 1.44.0 does not match extension requirement >=1.45.0").other
    assert other is not None
    assert other.kind == "source-mismatch"


def test_a_command_at_a_prompt_is_no_advice() -> None:
    assert extract("[me@there frob]$ pip install ./frob\nMaybe try: apt-get install grob").other is None


@pytest.mark.parametrize(
    "text",
    [
        "Getting requirements to build wheel did not run successfully.\nModuleNotFoundError: No module named 'torch'",
        "Failed to import the 'pkg_resources' Python module",
    ],
)
def test_a_python_package_that_a_build_lacks_is_a_requirement_of_the_build(text: str) -> None:
    explanation = extract(text)
    assert explanation.other is not None
    assert explanation.other.kind == "build-requirement"


def test_a_sentence_about_the_build_names_no_distribution() -> None:
    text = "Building without Cython.\na.c:1:10: fatal error: zlib.h: No such file or directory\nerror: command 'gcc' failed"
    assert extract(text).requirement is None


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("OSError: cannot load library 'libcairo.so.2': error 0x7e", "line 1 is an error of Windows"),
        ('pkg-config: exec: "pkg-config": executable file not found in %PATH%', "line 1 is an error of Windows"),
        (
            "Unable to find libclang: couldn't find any valid shared libraries matching: ['clang.dll']",
            "line 1 is an error of Windows",
        ),
        (
            "common.h(15): fatal error C1083: Cannot open include file: 'lber.h': No such file",
            "line 1 is an error of Windows",
        ),
        (
            "cc -c a.c -o build/temp.macosx-11-arm64-3.12/a.o\na.c:1:10: fatal error: 'gmp.h' file not found",
            "line 1 is an error of macOS",
        ),
        (
            "OSError: dlopen(gobject-2.0-0, 0x0002): tried: 'gobject-2.0-0' (no such file)",
            "line 1 is an error of macOS",
        ),
        (
            "copying frob.py -> build/lib.macosx-11-arm64\nsh: autoconf: command not found",
            "line 1 is an error of macOS",
        ),
        (
            "cc -I/Users/me/frob -c a.c\na.c:1:10: fatal error: 'gmp.h' file not found",
            "line 1 has a directory of macOS",
        ),
        (
            "cc -I/System/Library/Frameworks/Python.framework/include\na.c:1:10: fatal error: 'gmp.h' file not found",
            "line 1 has a directory of macOS",
        ),
        ("[Clang 9.1.0 (clang-902)] on darwin\nOSError: frob library not found", "line 1 has a directory of macOS"),
        (
            "setup.py egg_info in C:\\Temp\\frob\nerror: pkg-config is not installed",
            "line 1 has a directory of Windows",
        ),
        (
            "a.c:1:10: fatal error: ffi.h: No such file or directory\nSuccessfully installed x-1\n[notice] A new release of pip",
            "line 2 says that it ended well",
        ),
    ],
)
def test_what_did_not_fail_on_linux_has_no_finding(text: str, note: str) -> None:
    explanation = extract(text)
    assert (explanation.findings, explanation.other) == ((), None)
    assert explanation.not_concluded[0].startswith(note)


def test_a_container_on_a_mac_fails_on_linux() -> None:
    text = "docker build /Users/me/frob\n#9 12.3 a.c:1:10: fatal error: gmp.h: No such file or directory\nerror: command 'gcc' failed"
    assert [missing.name for missing in extract(text).findings] == ["gmp.h"]


def test_another_cause_on_another_system_is_still_said() -> None:
    other = extract("C:\\Python\\python.exe setup.py\nERROR: No matching distribution found for frob").other
    assert other is not None
    assert other.kind == "no-wheel"


@pytest.mark.parametrize(
    ("module", "advice"),
    [
        ("distutils", "distutils is no part of Python 3.12 and newer: "),
        ("telnetlib", "telnetlib is no part of Python 3.13 and newer: "),
        ("_ctypes", "_ctypes is a part of Python, and this one was built without it: "),
        ("ensurepip", "ensurepip is a part of Python that Debian has in python3-venv; "),
        ("yaml", "a Python package is not installed: "),
    ],
)
def test_a_part_of_python_itself_is_not_looked_for_among_packages(module: str, advice: str) -> None:
    explanation = extract(f"Traceback (most recent call last):\nModuleNotFoundError: No module named '{module}'\n")
    assert explanation.other is not None
    assert explanation.other.advice.startswith(advice)


def test_of_errors_that_led_to_each_other_the_first_is_the_cause() -> None:
    chain = "ModuleNotFoundError: No module named 'tkinter'\n\nDuring handling of the above exception, another exception occurred:\n"
    text = f"{RUN}{chain}{RUN}ModuleNotFoundError: No module named 'other_place'"
    assert [missing.name for missing in extract(text).findings] == ["_tkinter"]


def test_tkinter_is_debians_own_package_for_debians_python() -> None:
    explanation = extract("Traceback (most recent call last):\nModuleNotFoundError: No module named '_tkinter'\n")
    (missing,) = explanation.findings
    assert (missing.kind, missing.name, missing.phase) == ("shared-object", "_tkinter", "run")
