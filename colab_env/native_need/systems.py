# ruff: noqa: E501  the words of other tools
"""Which system a log is from, where that is none with Debian's packages: what failed there is not missing from Debian."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from colab_env.native_need.log_lines import Line

_NO_HELP = "no package of a Linux distribution helps there"
_NOT_DEBIAN = "its packages have other names than Debian's"
_ERRORS = {
    # How cffi writes an error of LoadLibrary (0x7e is ERROR_MOD_NOT_FOUND, dlopen has sentences), and Microsoft's compiler its own.
    "Windows": re.compile(
        r"cannot load library .{1,300}: error 0x[0-9a-f]+|fatal error C1083: |\[WinError \d|^[\w.@-]+(?:\\[\w.@-]+){2,}:\d+|/mingw(?:32|64)/|-w64-mingw32|executable file not found in %PATH%|valid shared libraries matching: \['[\w.-]+\.dll'"
    ),
    # dyld's words, ld's of Apple, and where distutils puts what it compiles.
    "macOS": re.compile(
        r"dlopen\(.{1,300}\): tried: |^dyld(?:\[\d+\])?: |dlsym\(RTLD_\w+, \w+\): symbol not found"
        r"|^ld: library (?:not found for -l|'[^']+' not found)|/(?:temp|lib|bdist)\.macosx-"
    ),
    "Haiku": re.compile(r"/(?:temp|lib|bdist)\.haiku-"),
    "Android": re.compile(r"/data/data/com\.termux/"),
}
# Directories that only one system has, where no other line shows Linux: a container on a Mac names its own, too.
_DIRECTORIES = {
    "Windows": re.compile(
        r"(?<![\w/])[A-Za-z]:(?:\\{1,2}|/(?!/))\w|\\(?:site-packages|AppData|Scripts)\\", re.IGNORECASE
    ),
    "macOS": re.compile(
        r"(?:^|[^\w.-]|-[IL])/(?:Users/[\w.-]+/|opt/homebrew/|usr/local/Cellar/|private/var/folders/|(?:System/)?Library/(?:Frameworks|Developer)/)"
        r"|^(?:npm|gyp) ERR! (?:System )?Darwin |^\[(?:Clang|GCC) [^\]]{1,80}\] on darwin$"
    ),
}
_LINUX = re.compile(
    r"(?<![\w.-])/(?:home|root)/|/usr/lib/(?:python3|x86_64|aarch64)|[-_.]linux[-_]|linux-gnu|manylinux|apt-get|dist-packages/|[Dd]ocker"
)
# How Docker, BuildKit, and buildah and Podman show an instruction, before it is run and where it failed.
_INSTRUCTION = (
    r"^(?:(?:\[\d+/\d+\] )?(?:Step|STEP) \d+/\d+ ?: |#\d+ \[[^\]]{1,60}\] |The command '|.{0,60}process \"/bin/sh -c )"
)
# What the package managers of other distributions print as they run; that a message advises one of them says nothing.
_DISTRIBUTIONS = {
    # The last one: BusyBox's shell, unlike dash and bash, gives no line number.
    "Alpine Linux": re.compile(
        r"^fetch https?://\S{1,200}/APKINDEX|^\(\d+/\d+\) (?:Installing|Upgrading|Purging) \S+ \([^ )]+-r\d+|^OK: \d+ MiB in \d+ packages"
        r"|unsatisfiable constraints|/ld-musl|-alpine-linux-musl|^(?:/bin/)?sh: [\w./+-]+: not found$|^env: can't execute '"
        rf"|{_INSTRUCTION}.{{0,200}}(?<![\w-])apk (?:-\S+ )*(?:add|update|upgrade)(?!\w)"
    ),
    "Fedora or a relative of it": re.compile(
        r"^Last metadata expiration check|^Loaded plugins: |/usr/lib/rpm/redhat|-redhat-linux[/-]|/usr/lib64/(?:python|perl|gems|ruby|R/)"
        r"|^--> Processing Dependency: |^Error: Unable to find a match: |^No match for argument: |^Requires: \S+\(\)|sh: .{0,20}(?:apt|apt-get|dpkg): (?:command )?not found$"
        rf"|{_INSTRUCTION}.{{0,200}}(?<![\w-])(?:yum|dnf|microdnf|zypper) (?:-\S+ )*(?:install|update|in)(?!\w)"
    ),
    "Arch Linux": re.compile(
        r"^==> ERROR: A failure occurred in |^:: Synchronizing package databases|"
        rf"{_INSTRUCTION}.{{0,200}}(?<![\w-])pacman -S"
    ),
    # Debian's has the version: /usr/share/cmake-3.25/Modules.
    "a distribution that is not Debian": re.compile(r"(?<![\w.-])/usr/share/cmake/Modules/"),
}
# Who looks for one of these runs what was written for another distribution.
FOREIGN_MANAGERS = frozenset(
    {"apk", "brew", "dnf", "emerge", "microdnf", "pacman", "rpm-ostree", "xbps-install", "yum", "zypper"}
)
_DEBIAN = re.compile(
    r"^(?:Get|Hit|Ign|Err):\d+ https?://|^(?:Setting up|Unpacking|Selecting previously) |/dist-packages/|/x86_64-linux-gnu/|(?<![\w.-])x86_64-linux-gnu-"
    r"|\((?:Debian|Ubuntu) \d|^E: Unable to locate package "
)


def other_system(lines: Sequence[Line]) -> str | None:
    """Return which line shows another system than a Linux with Debian's packages, and which; or None."""
    for system, words in _ERRORS.items():
        if line := next((line for line in lines if words.search(line.text)), None):
            return f"line {line.number} is an error of {system}: {_NO_HELP}"
    if found := _first(_DISTRIBUTIONS, lines, unless=_DEBIAN):
        return f"line {found[1]} shows {found[0]}: {_NOT_DEBIAN}"
    return None


def other_directory(lines: Sequence[Line]) -> str | None:
    """Return why nothing is missing from a Linux distribution: directories are another system's, and none is Linux's."""
    found = _first(_DIRECTORIES, lines, unless=_LINUX)
    return f"line {found[1]} has a directory of {found[0]}: {_NO_HELP}" if found else None


def _first(
    systems: Mapping[str, re.Pattern[str]], lines: Sequence[Line], *, unless: re.Pattern[str]
) -> tuple[str, int] | None:
    """Return the first system that a line shows, and the line's number, unless any line shows the other one."""
    if any(unless.search(line.text) for line in lines):
        return None
    return next(
        ((system, line.number) for system, words in systems.items() for line in lines if words.search(line.text)), None
    )


# Frames of conda's Python, and conda's own compilers, which look below their prefix and not in /usr/include.
_CONDAS_PYTHON = re.compile(r"/(?:ana|mini)?(?:conda|forge)3?/(?:envs/[^/\s]+/)?lib/python3?[\d.]*/")
_CONDAS_COMPILER = re.compile(r"-conda(?:_cos\d)?-linux-gnu-(?:cc|gcc|g\+\+|c\+\+|clang|ld)(?!\w)")


def is_condas_own(kind: str, lines: Sequence[Line]) -> bool:
    """Say whether such a thing is looked for in conda's prefix alone, where no package of the distribution puts it."""
    words = _CONDAS_PYTHON if kind == "typelib" else _CONDAS_COMPILER if kind in ("header", "library") else None
    return words is not None and any(words.search(line.text) for line in lines)


_PYTHON_THERE = re.compile(r"(?:-I|Found Python\w*: |Python3?_EXECUTABLE[=:] ?)(/\S+?)/(?:include/python3|bin/python)")


def is_foreign_python(lines: Sequence[Line]) -> bool:
    """Say whether the Python that was built for is none of Debian's: its headers come with it, and are in no package."""
    prefixes = {match[1] for line in lines for match in _PYTHON_THERE.finditer(line.text)}
    return bool(prefixes) and "/usr" not in prefixes
