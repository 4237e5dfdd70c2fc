"""Names that are known: of shells, of every Debian, of compilers and the headers that they bring."""

from __future__ import annotations

# bash(1), "Shell builtin commands" and "Reserved words", as far as dash has none of them.
BUILTINS = frozenset(
    [
        "compgen",
        "complete",
        "declare",
        "enable",
        "function",
        "let",
        "mapfile",
        "popd",
        "pushd",
        "readarray",
        "select",
        "shopt",
        "source",
        "typeset",
    ]
)

# Programs of packages that every Debian has ("Essential: yes"): a line that denies one of these denies something else.
ESSENTIAL = frozenset(
    [
        "awk",
        "basename",
        "bash",
        "cat",
        "chmod",
        "chown",
        "cp",
        "cut",
        "dash",
        "date",
        "dd",
        "diff",
        "dirname",
        "dpkg",
        "env",
        "expr",
        "false",
        "find",
        "grep",
        "gzip",
        "head",
        "hostname",
        "id",
        "install",
        "ln",
        "login",
        "ls",
        "mkdir",
        "mktemp",
        "mv",
        "perl",
        "printf",
        "pwd",
        "readlink",
        "rm",
        "rmdir",
        "sed",
        "sh",
        "sleep",
        "sort",
        "stat",
        "su",
        "tail",
        "tar",
        "tee",
        "test",
        "touch",
        "tr",
        "true",
        "uname",
        "uniq",
        "wc",
        "which",
        "xargs",
    ]
)

# Of the C++ standards of 2017 and later: a compiler that lacks one is too old for the source.
NEWER_CPP = frozenset(
    [
        "any",
        "barrier",
        "bit",
        "charconv",
        "compare",
        "concepts",
        "coroutine",
        "execution",
        "expected",
        "filesystem",
        "format",
        "latch",
        "mdspan",
        "memory_resource",
        "numbers",
        "optional",
        "print",
        "ranges",
        "semaphore",
        "source_location",
        "span",
        "stop_token",
        "string_view",
        "syncstream",
        "variant",
    ]
)

# What clang does not find where GCC's library for C++ is not installed: it comes with the compiler.
OLDEST_CPP = frozenset(
    [
        "algorithm",
        "cassert",
        "cstddef",
        "cstdint",
        "cstdlib",
        "cstring",
        "iostream",
        "limits",
        "map",
        "memory",
        "new",
        "string",
        "type_traits",
        "utility",
        "vector",
    ]
)

PYTHONS_HEADERS = (
    "numpy/",
    "pybind11/",
    "longintrepr.h",
    "structmember.h",
    "frameobject.h",
    "code.h",
    "eval.h",
    "internal/pycore",
)

COMPILERS = {
    **dict.fromkeys(("cc", "gcc", "clang", "c89", "c99"), "c"),
    **dict.fromkeys(("c++", "g++", "clang++"), "c++"),
    **dict.fromkeys(("gfortran", "f77", "f90", "f95", "fc"), "fortran"),
    **dict.fromkeys(("rustc", "cargo", "rustup"), "rust"),
    **dict.fromkeys(("java", "javac"), "java"),
}
