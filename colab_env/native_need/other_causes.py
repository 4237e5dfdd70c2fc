# ruff: noqa: E501  the words of other tools
"""Which lines say that it failed for something that no package of the system cures, and what does."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from colab_env.native_need.line_kinds import is_shown
from colab_env.native_need.log_lines import Line
from colab_env.native_need.missing import OtherKind
from colab_env.native_need.names import NEWER_CPP
from colab_env.native_need.rules import FATAL, HINT, TRIED

ADVICE: dict[OtherKind, str] = {
    "no-wheel": "take a version of the package that has a file for this Python and machine, or another Python",
    "build-requirement": "its build needs a Python package: add it to [build-system] requires, or install it and turn build isolation off",
    "scm-version": "its version is in the tags of its repository, which are not here: build it from a clone with its tags, or give the version by the variable that its build backend reads (SETUPTOOLS_SCM_PRETEND_VERSION, PDM_BUILD_SCM_VERSION, PBR_VERSION)",
    "source-mismatch": "its source does not fit this Python, compiler or build tool: take a newer version of it, or an older Python",
    "library-version": "the library is there in a version that does not fit: take the version of the package that fits it",
    "hash": "a file is not the one that was locked: lock anew, or empty the cache and the mirror that gave it",
    "incomplete-source": "files of the source itself are not there: git submodule update --init --recursive, or the whole archive of a release",
    "apt": "apt's lists have no such package or version: apt-get update, then its name in this release",
    "damaged": "a downloaded file or archive is damaged: empty the cache, and fetch it once more",
    "conflict": "the versions that are asked for exclude each other: loosen one of them, or lock anew",
    "network": "the network, a proxy or the index failed: try again, or check the address and the proxy",
    "memory": "there was not enough memory: use fewer jobs at once (MAX_JOBS=1, MAKEFLAGS=-j1), or a larger machine",
    "disk": "the disk is full: free some space, then run it again",
    "driver": "this comes with the driver of the graphics card or with its vendor's packages, not with the distribution",
    "display": "there is no screen here: choose a backend without one (MPLBACKEND=Agg, QT_QPA_PLATFORM=offscreen), or run it under xvfb-run",
    "credentials": "the server did not accept who asked: check the token, the key or the rights",
    "permission": "this account may not write or run that: choose another directory, or another account",
    "tests": "a test failed: what it tests is the cause",
    "python-module": "a Python package is not installed: put it into the project's dependencies",
    "own-code": "the error is raised by Python code, not by a missing part of the system: read the last lines of the traceback",
}  # fmt: skip


# What conda says of the same causes has other remedies: its packages come from channels, and bring their libraries along.
_CONDA = re.compile(
    r"(?i)conda|channel|libmamba|ResolvePackageNotFound|nothing provides|none of the providers|is uninstallable"
)
_CONDA_ADVICE: dict[OtherKind, str] = {
    "no-wheel": "no channel that was asked has it for this machine: check its name, add -c conda-forge, or take it from the package index with pip",
    "conflict": "the versions that are asked for exclude each other in these channels: loosen a version, use one channel with --override-channels, or make a new environment",
    "network": "a channel could not be reached: try again, or check its address and the proxy in .condarc",
    "damaged": "a package in conda's cache is damaged: conda clean --packages --tarballs, and install it once more",
}  # fmt: skip
_TERMS = "the channel's terms are not accepted yet: conda tos accept, or a channel without terms such as conda-forge"


# Modules that the library of Python no longer has, by the version that dropped them: What's New in Python 3.12, 3.13 (PEP 594).
_DROPPED = {
    **dict.fromkeys(("asynchat", "asyncore", "distutils", "imp", "smtpd"), "3.12"),
    **dict.fromkeys(
        ("aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "lib2to3", "mailcap", "nntplib"), "3.13"
    ),
    **dict.fromkeys(("pipes", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib"), "3.13"),
}


def _advice_on_library(module: str) -> str | None:
    """Return what to do about a module that is, or was, a part of Python itself; None where it is another's."""
    if (version := _DROPPED.get(module)) is not None:
        return f"{module} is no part of Python {version} and newer: take a newer version of what imports it, or an older Python"
    if module == "pip":
        return (
            "this Python has no pip: python -m ensurepip brings it, uv pip needs none in an environment, and Debian's own"
            " Python has it in python3-pip"
        )
    if module in ("ensurepip", "venv"):
        return f"{module} is a part of Python that Debian has in python3-venv; a Python of uv's or conda's brings it"
    if module in sys.stdlib_module_names:
        return f"{module} is a part of Python, and this one was built without it: take a Python of uv's or conda's"
    return None


def advice(hit: OtherHit) -> str:
    """Return what to do about a cause, in the words of the tool that named it."""
    match = (
        _NO_MODULE.search(hit.line.text)
        if hit.kind in ("python-module", "build-requirement", "source-mismatch")
        else None
    )
    if match and (of_library := _advice_on_library((match[1] or "").partition(".")[0])) is not None:
        return of_library
    if any(needle in hit.line.text for needle in _NO_SSL) and (of_library := _advice_on_library("ssl")) is not None:
        return of_library
    if "CondaToS" in hit.line.text or "Terms of Service" in hit.line.text:
        return _TERMS
    is_condas = _CONDA.search(hit.line.text) is not None
    return (_CONDA_ADVICE.get(hit.kind) if is_condas else None) or ADVICE[hit.kind]


@dataclass(frozen=True)
class OtherHit:
    """One line that names another cause."""

    kind: OtherKind
    line: Line
    degree: int


_PANIC = "panicked at"  # of a build script of Rust: its own lines say for what
# How pip says that no index can be asked; what follows it then, no version found, is no fault of a package.
_NO_SSL = ("ssl module in Python is not available", "SSL module is not available")
# What a line has, as plain strings, by the kind of the cause: the first kind of which a line has one counts.
_NEEDLES: dict[OtherKind, tuple[str, ...]] = {
    "disk": (
        "No space left on device", "Disk quota exceeded", "ENOSPC", "disk is full", "File too large",
    ),
    "memory": (
        "Killed signal terminated program", "internal compiler error: Killed", "virtual memory exhausted",
        "Cannot allocate memory", "signal: 9, SIGKILL", "std::bad_alloc", "<Signals.SIGKILL: 9>",
        "CUDA out of memory", "OutOfMemoryError", "out of memory", "MemoryError", "can't allocate memory",
        "Unable to allocate ", "exit code 137", "exit code: 137", "exit status 137", "code: 137", "Out of memory",
        "OOMKilled", "Error 137", "LLVM ERROR: out of memory",
    ),
    "hash": (
        "DO NOT MATCH THE HASHES", "Hash mismatch for", "hash mismatch", "Hash mismatch", "Invalid hashes (",
        "--require-hashes mode", "checksum mismatch", "Hash Sum mismatch", "Got        ", "HashMismatch",
        "hashes are invalid", "not match any of the archive hashes", "checksum for ", "wrong checksum",
    ),
    "no-wheel": (
        "PackagesNotFoundError", "not available from current channels", "ResolvePackageNotFound",
        "No matching distribution found", "Could not find a version that satisfies",
        "is not a supported wheel on this platform", "requires a different Python", "has no wheels with a matching",
        "doesn't have a source distribution or wheel", "no source distribution",
        "Unable to find installation candidates", "no wheels are available", "Requires-Python", "no usable wheels",
        "No interpreter found for Python", "and newer are not supported", "or newer is not supported",
        "does not satisfy Python", "current Python version", "Cannot install on Python version", "requires Python",
        "is not supported on Python", "Python version not supported", "not support Python", "only supports Python",
        "download links found for", "You need Python 3", "need Python 3",
    ),
    "conflict": (
        "following specifications were found to be incompatible", "nothing provides ", "Could not solve for environment", "none of the providers can be installed", "is uninstallable because", "Found conflicts!",
        "ResolutionImpossible", "conflicting dependencies", "No solution found when resolving",
        "version solving failed", "UnsatisfiableError", "changed significantly since", "needs to be updated",
        "dependency resolver does not currently", "requirements are unsatisfiable", "which is incompatible",
        "ResolutionTooDeep", "is incompatible with", "SolverProblemError", ") not found.",
        "not found in the package registry", "there is no version of", "conflicts with the following",
        "unsatisfiable requirements", "conflict with the backend dependencies", "is installed but",
    ),
    "credentials": (
        "HTTP 401 ", "HTTP 403 ", "HTTP Error 401", "HTTP Error 403", "HTTPError 403",
        "Authentication failed", "could not read Username", "Permission denied (publickey)",
        "Host key verification failed", "401 Unauthorized", "401 Client Error", "403 Forbidden", "403 Client Error",
        "Invalid username or password", "Bad credentials", "terminal prompts disabled", "401 Error", "403 Error",
        "HTTP status client error (401", "HTTP status client error (403", "401, message", "GatedRepoError",
        "NoCredentialsError", "authentication required", "could not read Password",
    ),
    "damaged": (
        "CondaVerificationError", "ChecksumMismatchError", "CorruptedEnvironmentError", "InvalidArchiveError", "SafetyError: ",
        "Failed to extract archive", "Invalid gzip header", "BadZipFile", "is not a zip file", "not a gzip file",
        "' located at ", "unexpected end of data", "Bad magic number for", "CRC check failed", "ReadError: ",
        "has an invalid wheel", "is corrupt", "corrupted archive", "file is corrupted", "seems corrupted",
    ),
    "network": (
        "without a reply from the server", "connected to the Internet", "CondaHTTPError", "CondaSSLError", "UnavailableInvalidChannel", "CONNECTION FAILED for url",
        "Temporary failure in name resolution", "Name or service not known", "Could not resolve host",
        "Connection refused", "Network is unreachable", "Max retries exceeded",
        "Failed to establish a new connection", "CERTIFICATE_VERIFY_FAILED", "Failed to fetch",
        "error sending request for url", "Read timed out", "ConnectTimeout", "ReadTimeout", "ProxyError", "dns error",
        "502 Bad Gateway", "503 Service Unavailable", "504 Gateway", "failed to download from",
        "Connection reset by peer", "Connection aborted", "Connection timed out", "getaddrinfo", "RemoteDisconnected",
        "IncompleteRead", "unable to access 'http", "Tunnel connection failed", *_NO_SSL, "certificate verify failed", "SSL: ",
        "Could not fetch URL", "unable to resolve host", "No address associated with hostname", "an't connect to local MySQL", "an't connect to MySQL", "could not connect to server",
        "HTTP Error 50", "ERROR 404", "All attempts to connect to", "HTTP error 404", "404 Client Error", "HTTP Error 404",
        "HTTP error 5", "429 Too Many", "spurious network error", "Could not connect", "timed out",
        "No route to host", "failed to lookup address", "Failed to download", "peer closed connection", "URLError",
    ),
    "driver": (
        "NVIDIA driver", "CUDA driver", "CUDA_ERROR_NO_DEVICE",
        "no CUDA-capable device", "NVML Shared Library Not Found", "CUDA_HOME environment variable is not set",
        "not compiled with CUDA enabled", "nvidia-smi", "CUDA_HOME", "nvcc", "PLATFORM_NOT_FOUND_KHR",
        "No CUDA GPUs are available", "CUDA error", "No CUDA runtime is found", "Failed to find CUDA",
        "Could NOT find CUDA", "CUDA_TOOLKIT_ROOT_DIR", "No CMAKE_CUDA_COMPILER", "CUDA Toolkit not found",
        "cudaErrorInsufficientDriver", "cudaGetDeviceCount", "ROCM_HOME", "No supported GPU",
        "CUDAToolkit",
    ),
    "display": (
        "couldn't connect to display", "could not connect to display", "no display name and no $DISPLAY",
        "cannot connect to X server", "NoSuchDisplayException", 'Cannot connect to "None"',
        "DISPLAY environment variable is missing", "no $DISPLAY", "cannot open display", "Can't connect to display",
        "Cannot load backend", "headless is running", "Can't open display", "unable to open display", "XOpenDisplay",
        "Could not initialize GLX", "DisplayNameError", "Authorization required, but no auth", "video device",
        "no available video", "Unable to open X display", "Missing X server", "DISPLAY variable",
        "Failed to connect to Mir",
    ),
    "tests": (
        "short test summary info", "FAILED (failures=", "FAILED (errors=", "FAILED tests/", "FAILED test_",
        "= FAILURES =",
    ),
    "incomplete-source": (
        *(f".{ending}: No such file or directory" for ending in ("c", "cc", "cpp", "cxx", "f90")),
        "does not contain a CMakeLists.txt", "No rule to make target", "which is not an existing directory", "no makefile found",
        "submodule directory is missing", "submodule is not", "submodules are not", "does not appear to contain CMakeLists.txt",
        "neither 'setup.py' nor 'pyproject.toml' found", "does not appear to be a Python project", "can't open file '",
    ),
    "scm-version": (
        "unable to detect version for", "version from SCM", "version from source `vcs`", "determine version from VCS",
        "Versioning for this project requires either an sdist tarball",
    ),
    "library-version": (
        "GLIBCXX_", "GLIBC_", "CXXABI_", "Invalid version, need", "has version '", "' but version of ", "but need: ",
        "is too old", "is required, but only", "only found unsuitable version", "or newer is required",
        "or higher is required", "version mismatch", "or later is required", "could not be satisfied",
        "Unsupported version of", "requires GDAL version", "at least version", "required version is",
        "is not compatible with", "incompatible version", "or greater is required", "version from '", "Please upgrade ",
    ),
    "build-requirement": (
        "BackendUnavailable", "numpy/arrayobject.h: No such", "numpy/ndarrayobject.h: No such",
        "pybind11/pybind11.h: No such", "Cannot import 'setuptools", "Cannot import '",
        "invalid command 'bdist_wheel'", "Missing build dependencies", "build dependencies for",
        "No module named pip", "could not import build backend", "Failed to resolve requirements from",
        "Failed to install requirements from `build-system", "Cannot import `",
        "Failed to import the 'pkg_resources' Python module",
    ),
    "source-mismatch": (
        "Cython.Compiler", "Error compiling Cython file", "has no member named", "implicit declaration of function",
        "unknown type name", "incompatible pointer", "too few arguments to function",
        "too many arguments to function", "undeclared", "was not declared in", "static assertion failed",
        "conflicting types for", "incomplete typedef", "incomplete type", "use_2to3 is invalid", "setup command:",
        "numpy.dtype size changed", "needs NumPy", "longintrepr.h", "structmember.h", "compiled using NumPy 1.x",
        "_ARRAY_API not found", "undefined symbol", "error[E", "could not compile `", "newer than PyO3's maximum",
        "PyO3's minimum", "does not match extension requirement", "cannot be built because it requires rustc", "is required to use feature", "edition2024",
        "edition2021", "requires rustc", "older version of Rust", "newer version of Cargo",
        "unrecognized command-line option", "unrecognized command line option", "CMake < 3.5 has been removed",
        "Compatibility with CMake", "no member named", "invalid conversion from", "no matching function for call",
        "expected '", "lvalue required", "redefinition of", "undefined reference to", "multiple definition of",
        "incompatible types", "error: expected", "invalid use of", "cannot convert", "has no attribute",
        "is not a member of", "Missing parentheses in call", "pyproject.toml` is not valid", "invalid pyproject.toml",
        "undefined type", "assignment to expression", "No module named 'numpy.distutils", "invalid mode: 'U'", "SyntaxError:", "cannot import name",
        "template argument", "binary incompatibility", "invalid command", "Microsoft Visual C++",
        "No module named 'distutils'", "No module named 'imp'", "not a valid", "Python 2", "no member '", "PyObject",
        "feature has been removed", _PANIC, "has been removed in", "support for C++", "language features is required",
        *(f"fatal error: {name}: No such file" for name in sorted(NEWER_CPP)),
    ),
    "permission": (
        "EnvironmentNotWritableError", "NoWritableEnvsDirError", "NoWritablePkgsDirError", "CondaToSNonInteractiveError", "Terms of Service have not been accepted",
        "Permission denied", "Operation not permitted", "Read-only file system", "externally-managed-environment",
        "PermissionError",
    ),
}  # fmt: skip
_OF_APT = re.compile(
    r"E: (?:Unable to locate package|Version '[^']{1,80}' for|Package '[^']{1,80}' has no installation candidate|Couldn't find any package)"
)
_KILLED = re.compile(r"^(?:.{0,60}: line \d+: +\d+ )?Killed(?:$|\s)|\bsignal 9\b|\bSIGKILL\b")
_UNLOADED = re.compile(r"(?:/|^AttributeError: )python[\d.]*: undefined symbol: ")
_NO_MODULE = re.compile(
    r"(?:ModuleNotFoundError|ImportError|^\S*python[\d.]*): No module named '?([\w.]+)|Missing optional dependency|DistributionNotFound: |distribution was not found and is required by|(?:pip|conda) install "
)
_ONLY_AT_BUILD = frozenset({"source-mismatch", "build-requirement"})
_RETRIED = frozenset({"network", "no-wheel", "conflict", "memory", "disk", "tests", "damaged"})
_ANYWHERE = re.compile(
    r"numpy|undefined symbol|NumPy|_ARRAY_API|cannot import name|dtype size|setuptools|pkg_resources|Cython|rustc|binary incomp"
)
_MILD = re.compile(
    r"^W: |which is incompatible|but you(?:'ll)? have |^(?:WARNING|warning|INFO|DEBUG|note|hint|Retrying|Could not fetch URL)|DeprecationWarning|: warning: |UserWarning|retrying|Retrying"
)


def hits(lines: list[Line], *, is_build: bool) -> Iterator[OtherHit]:
    """Yield the first other cause that each line names."""
    for line in lines:
        if hit := _hit(line, is_build=is_build):
            yield hit


_ONLY_IF_SAID_OUTRIGHT = frozenset(
    {"source-mismatch", "permission", "library-version", "driver", "display", "build-requirement"}
)


def _hit(line: Line, *, is_build: bool) -> OtherHit | None:
    if _OF_APT.match(line.text):
        return OtherHit("apt", line, FATAL)
    is_test = line.text.startswith("checking ") and "error: " not in line.text  # of a configuration
    # A library that was asked for by no name at all, so that nothing was loaded, is missing.
    if is_test or is_shown(line.text) or _UNLOADED.search(line.text):
        return None
    if _KILLED.search(line.text):
        return OtherHit("memory", line, FATAL)
    is_mild = _MILD.search(line.text) is not None
    for kind, needles in _NEEDLES.items():
        if any(needle in line.text for needle in needles) and _is_of_kind(kind, line.text, is_build=is_build):
            is_hint = _PANIC in line.text
            return OtherHit(kind, line, HINT if is_hint else TRIED if is_mild and kind in _RETRIED else FATAL)
    if _NO_MODULE.search(line.text) and not is_mild:
        return OtherHit("build-requirement" if is_build else "python-module", line, FATAL)
    return None


def _is_of_kind(kind: OtherKind, text: str, *, is_build: bool) -> bool:
    """Say whether a line that has the words of a kind speaks of such a cause."""
    if _MILD.search(text) and kind in _ONLY_IF_SAID_OUTRIGHT:
        return False
    if kind == "no-wheel" and "Warning: " in text:
        return False
    # CMake's "(Required is at least version "1.2")" of a library that is not there at all, also where it breaks the line;
    # Autoconf's of pkg-config; "Require tss2-esapi to be installed and at least version 2.4.0"
    is_of_absent = any(words in text for words in ("(missing:", "not be found or", "to be installed and"))
    if kind == "library-version" and (is_of_absent or text.startswith('at least version "')):
        return False
    return is_build or kind not in _ONLY_AT_BUILD or _ANYWHERE.search(text) is not None
