# ruff: noqa: E501  the words of other tools
"""What a log says without saying that anything is missing: shown commands, other systems, a project's own files, other managers."""

from __future__ import annotations

import pytest

from colab_env.native_need import autoconf
from colab_env.native_need.contents import Contents, Packages, packed
from colab_env.native_need.extract import extract
from colab_env.native_need.line_kinds import is_prose, is_shown
from colab_env.native_need.lookup import needs
from colab_env.native_need.missing import Explanation, Missing
from colab_env.native_need.packed_index import Index
from colab_env.native_need.ranking import packages_for
from colab_env.native_need.sentences import absent

RUN = 'Traceback (most recent call last):\n  File "/v/lib/python3.11/site-packages/x/__init__.py", line 1, in f\n'
GYP = "> frob@1.0.0 install /app/node_modules/frob\n> node-gyp rebuild\n"
FILES = b"""\
usr/bin/apt-tool admin/apt-tool
usr/bin/cargo rust/cargo
usr/bin/cmake devel/cmake
usr/bin/configure devel/configure-debian
usr/bin/curl web/curl
usr/bin/frob devel/frob
usr/bin/g++ devel/g++
usr/bin/git vcs/git
usr/bin/gulp javascript/gulp
usr/bin/ng physics/ng-common
usr/bin/ld devel/binutils
usr/bin/ld.so libs/libc-bin
usr/bin/not devel/llvm-tools
usr/bin/npm javascript/npm
usr/bin/protoc devel/protobuf-compiler
usr/bin/rsync net/rsync
usr/bin/sed utils/sed
usr/bin/sox sound/sox
usr/bin/source devel/source-highlight
usr/bin/stack haskell/haskell-stack
usr/bin/tree utils/tree
usr/bin/xvfb x11/xvfb
usr/games/cowsay games/cowsay
usr/include/deep/inner/xlocale.h libdevel/libdeep-dev
usr/include/frob/frob.h libdevel/libfrob-dev
usr/include/node/node_api.h libdevel/libnode-dev
usr/include/yaml.h libdevel/libyaml-dev
usr/lib/libsoxr.so.0 libs/libsoxr0
usr/lib/x86_64-linux-gnu/girepository-1.0/Gtk-3.0.typelib introspection/gir1.2-gtk-3.0
usr/lib/x86_64-linux-gnu/libfrob.so libdevel/libfrob-dev
usr/lib/x86_64-linux-gnu/libfrob.so.2 libs/libfrob2
usr/lib/x86_64-linux-gnu/pkgconfig/frob.pc libdevel/libfrob-dev
usr/lib/x86_64-linux-gnu/perl/5.36/CORE/EXTERN.h libdevel/libperl-dev
"""
STANZAS = """\
Package: sed
Essential: yes

Package: libc-bin
Essential: yes

Package: gulp
Depends: nodejs, node-semver

Package: npm
Depends: nodejs, node-semver

Package: libfrob-dev
Depends: libfrob2

"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    contents, packages = Contents(), Packages()
    contents.read([FILES])
    packages.read([STANZAS.encode()])
    path = tmp_path_factory.mktemp("index") / "small.index"
    path.write_bytes(packed(contents, packages, {"release": "small"}))
    return Index(path)


def first_package(text: str, index: Index) -> str | None:
    """Return the package that `mend` would take first for a text."""
    answers = (packages_for(missing, index) for missing in needs(extract(text), index))
    return next((answer.package for answer in answers if answer.package), None)


SILENT = [
    "FROB_INCLUDE_DIR (ADVANCED)\nError: the build did not end well",
    # A command that is shown: by Docker, by a shell with -x, by an installer.
    "Step 5/9 : RUN apt-get install -y --no-install-recommends git sox\n ---> Running in 0a1b2c\nfrob: bad magic\nThe command '/bin/sh -c apt-get install -y git' returned a non-zero code: 1",
    "+ echo please install sox\n+ false",
    "sudo apt-get install sox frob\nfrob: bad magic",
    # A long one is cut, and its middle looks like a sentence.
    f"Step 2/3 : RUN {'true && ' * 90} please install sox && {'true && ' * 90} true\nfrob: bad magic",
    # buildah shows the instruction, and the one that failed.
    'STEP 2/3: COPY sox.sh .\nSTEP 3/3: RUN sh sox.sh\nsox.sh: 2: ./bin/vite: not found\nError: building at STEP "RUN sh sox.sh": exit status 127',
    # apt on names that its lists do not have; dpkg at work; coreutils on files.
    "Reading package lists...\nE: Unable to locate package git\nE: Unable to locate package sox",
    "E: Version '4:7.3' for 'g++' was not found",
    "debconf: (TERM is not set, so the sox frontend is not usable.)\nfrob: bad magic",
    "/var/lib/dpkg/info/libssl.postinst: 179: /var/lib/dpkg/info/libssl.postinst: sox: not found\nfrob: bad magic",
    "ln: failed to create symbolic link '/usr/bin/sox': File exists",
    "mv: cannot stat '/usr/bin/sox': No such file or directory\nmake: *** [all] Error 1",
    # Files and programs of the project's own, words of a shell, what Docker took for a command.
    "/bin/sh: 1: ./configure: not found",
    "/bin/sh: 1: /opt/conda/bin/frob: not found",
    "/bin/sh: 1: /etc/init.d/xvfb: not found",
    "/bin/sh: 1: source: not found",
    "/usr/local/bin/tool: 1: /usr/local/bin/tool: Not: not found",
    "/bin/sh: 1: GIT: not found",
    "/bin/sh: 2: -DX=frob: not found",
    # What runs on every Debian, and what no Debian runs.
    "configure: line 3: sed: command not found\nmake: *** [all] Error 127",
    "/bin/sh: 1: apk: not found",
    # Programs of a Node.js project.
    "> app@1.0.0 build /app\n> gulp build\n\nsh: 1: gulp: not found\nnpm ERR! code ELIFECYCLE",
    "> app@1.0.0 build /app\n> ng build\n\nsh: 1: ng: not found\nnpm ERR! code ELIFECYCLE",
    f"{GYP}../src/x.c:3:22: fatal error: node_api.h: No such file or directory\ngyp ERR! build error\nnpm ERR! code ELIFECYCLE",
    # Other package managers bring it.
    "Install missing frob executables with `bundle install`",
    "Don't run sox as root. sox can ask for git if it is needed, and installing your bundle as root will break this",
    "ERROR:  Could not find a valid gem 'frob' (>= 0) in any repository\nextconf.rb failed",
    "error: frob 1.11 is installed but frob<2,>=1.13 is required by {'google-frob'}\nrunning build_ext",
    "error: The 'frob>=3.5' distribution was not found and is required by importlib-frob\nrunning build_ext",
    # A compiler on a line of a source file; the speaker of a line; a probe; a question; other languages' names.
    "store/store.go:97:27: cannot use sox (type func(string)) as type string\nmake: *** [all] Error 2",
    "frob: 'configure.ac' or 'configure.in' is required\nmake: *** [all] Error 2",
    "Shall I install sox? (if running non-interactively, use --force)\nmake: *** [all] Error 2",
    "Configuring Frob ... ! Installing the dependencies failed: Module 'Bio::sox' is not installed\nmake: *** [all] Error 2",
    "No .tree directory found. Create a file at the top of your project\nmake: *** [all] Error 2",
    "[error] unresolved dependency: org.frob#sox;3.16.1-GA: not found",
    "[  5%] Running C++ protocol buffer compiler on proto/config.proto\nmake: *** [all] Error 2",
    "The frob submodule directory is missing! You probably did not clone it\nmake: *** [all] Error 2",
    f"{RUN}UnicodeDecodeError: 'sox' codec can't decode byte 0xe2 in position 4461: ordinal not in range",
    "cc: note: 'Session' has been explicitly marked unavailable here: sox: note: not available\nmake: *** [all] Error 2",
    "External Program Failed: /usr/bin/sox (return code was 1)",
    "autoreconf: /usr/bin/frob failed with exit status: 1\nmake: *** [all] Error 2",
    "ERROR: `/tmp/x/configure --with-frob=/usr/bin/frob' failed\nmake: *** [all] Error 2",
    "error: CompileError: command 'sox' failed with exit status 1\nrunning build_ext",
    # What a tool logs as it goes on; pip on what is not installed at all.
    "[INFO]:    sox is missing, the build will not be optimized.\n[ERROR]: Build failed\nmake: *** [all] Error 2",
    "UninstallationError: Cannot uninstall requirement sox, not installed\nrunning egg_info",
    # Passed over by the build itself.
    "ext/_yaml.h:2:10: fatal error: yaml.h: No such file or directory\ncompilation terminated.\nError compiling module, falling back to pure Python\nerror: the disk is upside down\nrunning build_ext",
    "CMake Error at CMakeLists.txt:3 (message):\n  This does not work at night\n-- Could NOT find Frob (missing: FROB_LIBRARY)\nCMake Error at pack.cmake:395 (message):\n  CPack is tired\n-- Configuring incomplete, errors occurred!",
    # A compiler that is too old; a header of the same source; one that no -I leads to.
    "x.cpp:6:22: fatal error: filesystem: No such file or directory\nmake: *** [all] Error 2",
    "checking for g++... g++\nconfigure: error: *** A compiler with support for C++11 language features is required.",
    "../include/frob/inner/a.h:74:38: fatal error: frob/inner/b.inc: No such file or directory\nmake: *** [all] Error 2",
    "x.c:18:10: fatal error: xlocale.h: No such file or directory\nmake: *** [all] Error 2",
]  # fmt: skip


@pytest.mark.parametrize("text", SILENT, ids=[text[:40] for text in SILENT])
def test_what_says_nothing_of_a_missing_package_is_blamed_on_none(text: str, index: Index) -> None:
    assert first_package(text, index) is None


ELSEWHERE = [
    "fetch http://dl-cdn.alpinelinux.org/alpine/v3.12/main/x86_64/APKINDEX.tar.gz\nx.c:1:10: fatal error: yaml.h: No such file or directory",
    "/bin/sh: sox: not found",
    "Step 3/9 : RUN apk add --no-cache build-base\nx.c:1:10: fatal error: yaml.h: No such file or directory",
    "STEP 3/9: RUN apk add --no-cache build-base\nx.c:1:10: fatal error: yaml.h: No such file or directory",
    "#7 [base 2/5] RUN apk add --no-cache build-base\n#7 3.12 x.c:1:10: fatal error: yaml.h: No such file or directory",
    "#7 [2/5] RUN dnf install -y gcc\n#7 3.12 x.c:1:10: fatal error: yaml.h: No such file or directory",
    "Last metadata expiration check: 0:00:01 ago\nx.c:1:10: fatal error: yaml.h: No such file or directory",
    "/usr/lib64/python3.6/x.c:1:10: fatal error: yaml.h: No such file or directory",
    "==> ERROR: A failure occurred in build().\nx.c:1:10: fatal error: yaml.h: No such file or directory",
    "creating build/temp.haiku-1-x86_64-cpython-313/x\nx.c:1:10: fatal error: yaml.h: No such file or directory",
    "Stored in directory: /data/data/com.termux/files/home/.cache\nx.c:1:10: fatal error: yaml.h: No such file or directory",
    'File "C:/msys64/mingw64/lib/python3.11/site-packages/gi/__init__.py", line 122, in require_version\nValueError: Namespace Gtk not available',
    "go\\src\\github.com\\x\\y.go:8:10: fatal error: yaml.h: No such file or directory",
    "CMake Error at /usr/share/cmake/Modules/FindPackageHandleStandardArgs.cmake:137 (message):\n  Could NOT find FROB (missing: FROB_INCLUDE_DIRS)",
    "gyp ERR! System Darwin 13.4.0\n./util/has_lib.sh: line 30: sox: command not found",
]


@pytest.mark.parametrize("text", ELSEWHERE, ids=[text[:40] for text in ELSEWHERE])
def test_what_fails_on_another_system_is_missing_from_no_debian(text: str, index: Index) -> None:
    assert first_package(text, index) is None
    assert any("line 1" in note or "line 2" in note for note in extract(text).not_concluded)


def test_a_debian_that_builds_for_another_system_is_a_debian(index: Index) -> None:
    text = "Setting up gcc (4:12.2.0-3) ...\n(1/2) Installing musl (1.2-r0)\nx.c:1:10: fatal error: yaml.h: No such file or directory\nmake: *** [all] Error 1"
    assert first_package(text, index) == "libyaml-dev"


CONDA = 'File "/home/me/anaconda3/lib/python3.7/site-packages/gi/__init__.py", line 129, in require_version\nValueError: Namespace Gtk not available'


def test_what_conda_s_python_and_compilers_look_for_is_in_no_package_of_the_distribution(index: Index) -> None:
    debians = CONDA.replace("/home/me/anaconda3/lib/python3.7/site-packages", "/usr/lib/python3/dist-packages")
    assert first_package(CONDA, index) is None
    assert first_package(debians, index) == "gir1.2-gtk-3.0"
    compiled = "{}gcc -c x.c\nx.c:1:10: fatal error: yaml.h: No such file or directory\nerror: command 'gcc' failed"
    assert first_package(compiled.format("x86_64-conda-linux-gnu-"), index) is None
    assert first_package(compiled.format("x86_64-linux-gnu-"), index) == "libyaml-dev"


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("gcc -I/usr/local/include/python3.12 -c x.c", []),
        ("gcc -I/v/include -I/usr/include/python3.11 -c x.c", ["Python.h"]),
        ("-- Found PythonInterp: /opt/cpython-3.9.5/bin/python3 (found version 3.9.5)", []),
    ],
)
def test_headers_of_a_python_that_is_none_of_debian_s_are_in_no_package(line: str, names: list[str]) -> None:
    text = f"{line}\nx.c:1:10: fatal error: Python.h: No such file or directory\nerror: command 'gcc' failed with exit code 1"
    assert [missing.name for missing in extract(text).findings] == names


NAMED = [
    # Lists under a head that calls them absent.
    ("Host system is missing dependencies to run browsers. ║\n║ Missing libraries:      ║\n║     libfrob.so.2        ║\n║     libsoxr.so.0       ║", "libfrob2"),
    ("CMake Error at x/FindPkgConfig.cmake:645 (message):\n  The following required packages were not found:\n\n   - frob\n\nCall Stack (most recent call first):\n  x.cmake:873 (f)", "libfrob-dev"),
    # Shells say it in several ways.
    ("./build.sh: 12: ./build.sh: cmake: not found\n+ exit 1\n===> Hook failed!", "cmake"),
    ("/usr/local/bin/tool: exec: line 127: frob: not found", "frob"),
    ("> app@1.0.0 build /app\n> node build.js\n\nError: Command failed: /bin/sh -c rsync -a\n/bin/sh: 1: rsync: not found\n    at makeError (/app/index.js:174:9)\nnpm ERR! code ELIFECYCLE", "rsync"),
    # Autoconf's error on the line of its test, and what it calls by itself.
    ("checking for the location of frob... configure: error: no frob detected in the system", "libfrob-dev"),
    ("checking for frob... not found\nconfigure: error: Please reinstall the frob distribution", "libfrob-dev"),
    ("Checking for 'g++' (C++ compiler) : not found\nChecking for 'gcc' (C compiler) : /usr/bin/gcc\nChecking for 'frob'     : not found\nThe configuration failed", "libfrob-dev"),
    # Advice in Debian's own name; the variables of a library.
    ("------- ANTICONF ERROR -------\nConfiguration failed to find libraries. Try installing:\n * deb: libfrob2-dev (Debian, Ubuntu)\n * rpm: frob-devel (Fedora)", "libfrob-dev"),
    ("Host system is not ready.\nAlternatively, use apt:\n    sudo apt-get install libfrob2\\\n        sox", "libfrob2"),
    ("Exception: Can not find a valid name.\nSpecify FROB_CFLAGS and FROB_LDFLAGS env vars manually\nrunning build_ext", "libfrob-dev"),
    ("exception: [Errno 2] No such file or directory: 'sox'.", "sox"),
    ("W: Failed to fetch http://deb.example/x  404  Not Found\n/install.sh: 12: /install.sh: curl: not found", "curl"),
    # A program, not another one that begins as it does: binutils' ld, libc's ld.so.
    ("collect2: fatal error: cannot find \u2018ld\u2019", "binutils"),
    ("💥 maturin failed\nCargo metadata failed: No such file or directory (os error 2)", "cargo"),
    ('Command "sox /tmp/a.wav -n" > failed: [Errno 2] No such file or directory\n' + RUN + "RuntimeError", "sox"),
    # CMake's list of variables, one a line.
    ("CMake Error: The following variables are used in this project, but they are set to NOTFOUND.\nPlease set them or make sure they are set and tested correctly in the CMake files:\nFROB_INCLUDE_DIR (ADVANCED)\n   used as include directory in directory /var/www/x", "libfrob-dev"),
    ("./build_bundled.sh: 18: cmake: not found\nsubprocess.CalledProcessError: Command './build_bundled.sh' returned non-zero exit status 127.\nrunning build_ext", "cmake"),
    ('CMake Error at /v/FindPackageHandleStandardArgs.cmake:290 (message):\n  Could NOT find FROB (missing: FROB_DIR python) (Required is\n  at least version "3.0")\n-- Configuring incomplete, errors occurred!', "libfrob-dev"),
    ("ERROR: sox backend sox requested but not installed.", "sox"),
    ("RuntimeError: Require frob to be installed and at least version 2.4.0\nrunning build_ext", "libfrob-dev"),
    # Perl's own headers, and a warning of an old setuptools before the error.
    ("x.c:1:10: fatal error: EXTERN.h: No such file or directory\nmake: *** [all] Error 1", "libperl-dev"),
    ("ERROR: botocore 1.17 has requirement docutils<0.16, but you'll have docutils 0.16 which is incompatible.\nx.c:1:10: fatal error: yaml.h: No such file or directory\nerror: command 'gcc' failed with exit status 1", "libyaml-dev"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "package"), NAMED, ids=[package + text[:30] for text, package in NAMED])
def test_what_a_log_names_in_other_ways_is_found(text: str, package: str, index: Index) -> None:
    assert first_package(text, index) == package


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("configure.ac:33: error: possibly undefined macro: AC_PROG_LIBTOOL\nautoreconf: /usr/bin/autoconf failed with exit status: 1", "command libtoolize"),
        ("./configure: line 3902: PKG_PROG_PKG_CONFIG: command not found\n./configure: line 4410: syntax error near unexpected token `ZLIB,'", "command pkg-config"),
        ("Error:\nPlease set the environment variable JAVA_HOME to a path containing the JDK.\nrunning build_ext", "compiler java"),
        ("configure: error: The pkg-config script could not be found or is too old.  Make sure it", "command pkg-config"),
        ("ERROR: Failed to build gem native extension.\nextconf.rb:1:in `require': cannot load such file -- mkmf (LoadError)", "header ruby.h"),
        ('qt.qpa.plugin: Could not load the Qt platform plugin "xcb" in "" even though it was found.', "shared-object libxcb-xinerama.so.0"),
        ('qt.qpa.xcb: could not connect to display\nqt.qpa.plugin: Could not load the Qt platform plugin "xcb" in "" even though it was found.', ""),
        ('qt.qpa.plugin: Could not load the Qt platform plugin "xcb" in "/v/cv2/qt/plugins" even though it was found.', ""),
        ("x.cc:1:10: fatal error: 'iostream' file not found\nmake: *** [all] Error 1", "compiler c++"),
        ("cargo:warning=couldn't execute `llvm-config --prefix` (error: No such file or directory (os error 2))\nthread 'main' panicked at 'Unable to find libclang: \"couldn't find any valid shared libraries matching: ['libclang.so', 'libclang-*.so']\"'", "shared-object libclang.so"),
    ],
)  # fmt: skip
def test_what_tools_say_in_words_of_their_own_names_the_thing(text: str, expected: str) -> None:
    assert [f"{missing.kind} {missing.name}" for missing in extract(text).findings[:1]] == (
        [expected] if expected else []
    )


@pytest.mark.parametrize(
    ("macro", "expected"),
    [
        ("AM_INIT_AUTOMAKE", ("command", "automake")),
        ("AM_PATH_PYTHON", ("command", "automake")),
        ("AM_PATH_SDL2", ("words", "sdl")),
        ("AM_GLIB_GNU_GETTEXT", ("pkg-config", "glib-2.0")),
        ("AX_BOOST_BASE", ("words", "autoconf-archive")),
        ("AC_CHECK_HEADER", None),
    ],
)
def test_a_macro_is_brought_by_the_tool_whose_letters_it_begins_with(
    macro: str, expected: tuple[str, str] | None
) -> None:
    assert autoconf.brings(macro) == expected


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("E: Unable to locate package frob", "apt"),
        ("CMake Error at CMakeLists.txt:3 (add_subdirectory):\n  The source directory\n    /app/lib/frob\n  does not contain a CMakeLists.txt file.", "incomplete-source"),
        ("make: *** No rule to make target 'frob'.  Stop.", "incomplete-source"),
        ("wget: unable to resolve host address 'frob.example'", "network"),
        ("x.cpp:6:22: fatal error: filesystem: No such file or directory\nmake: *** [all] Error 2", "source-mismatch"),
        ("Error: could not determine PostgreSQL version from '11.7'\nrunning build_ext", "library-version"),
    ],
)  # fmt: skip
def test_other_causes_are_called_what_they_are(text: str, kind: str) -> None:
    other = extract(text).other
    assert other is not None
    assert other.kind == kind


def test_lines_that_show_and_lines_that_say() -> None:
    assert is_shown("$ pip install frob")
    assert not is_shown("find: command not found")
    assert is_prose("frob requires sox")
    assert not is_prose("x.go:97:27: cannot use sox")
    assert [item.name for item in absent("frob: the sox library was not found")] == ["sox"]
    assert [item.name for item in absent("sox: not found")] == ["sox"]


def test_what_was_watched_is_of_no_line() -> None:
    seen = Missing(kind="command", name="sox", evidence="it could not start sox")
    said = Missing(kind="command", name="sox", evidence="sox: not found", line=3)
    assert "\n  watched: it could not start sox" in repr(Explanation(findings=(seen,)))
    assert "\n  line 3: sox: not found" in repr(Explanation(findings=(said,)))


def test_an_installed_program_outside_the_usual_path_is_missing_from_path(index: Index) -> None:
    missing = Missing(kind="command", name="cowsay", line=1)
    assert packages_for(missing, index).package == "cowsay"
    answer = packages_for(missing, index, installed={"cowsay"})
    assert answer.note == "cowsay has it, and is installed: /usr/games is missing from PATH"
