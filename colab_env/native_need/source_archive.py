"""What a source archive will ask the system for, read and never run: nothing of it reaches the disk."""

from __future__ import annotations

import io
import lzma
import posixpath
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from colab_env.errors import ProjectFileError
from colab_env.native_need.missing import Kind, Missing
from colab_env.results import short

_MOST_FILES = 60_000
_MOST_BYTES = 400 << 20  # unpacked
_LARGEST = 2 << 20  # of one file: what is longer was generated, or is data
_MOST_READ = 16 << 20
_C = (".c", ".h", ".m")
_CXX = (".cc", ".cpp", ".cxx", ".c++", ".hpp", ".hh", ".hxx")
_FORTRAN = (".f", ".f90", ".f77", ".for")
_CYTHON = (".pyx", ".pxd", ".pxi")
_SETTINGS = (
    "setup.py",
    "setup.cfg",
    "pyproject.toml",
    "meson.build",
    "CMakeLists.txt",
    "Cargo.toml",
    "configure.ac",
    "build.rs",
)
_ASIDE = re.compile(
    r"(?:^|/)(?:tests?|testing|examples?|samples?|docs?|doc|benchmarks?|bench|fuzz\w*|contrib|tools|demos?|test cases|vendored-\w+"
    r"|win|win32|windows|msvc|macos|darwin"
    r"|osx|android|ios|tutorials?|\.github|ci|node_modules|packaging|site-packages)/",
    re.IGNORECASE,
)
_DAMAGES = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, NotImplementedError, ValueError, RuntimeError),
)
# Where cffi's users by habit write the C code of a module, with its includes: _build.py, build_srtp.py, curve_ffi.py.
_CFFI = re.compile(r"(?:\w*_)?(?:build|cffi|ffi)(?:_\w+)?\.py")
_TRIPLE = re.compile(r'""".*?"""|\'\'\'.*?\'\'\'', re.DOTALL)


def read(path: Path) -> dict[str, str]:
    """Return the texts of an archive that say what it needs, by their path in it; "" for files that are only there.

    Links, devices, and names that lead out of it are passed over. Raises ProjectFileError for what is no archive, and for
    one that unpacks to too much.
    """
    texts: dict[str, str] = {}
    try:
        total = read_bytes = 0
        for name, size, content in _members(path):
            total += size
            if total > _MOST_BYTES or len(texts) >= _MOST_FILES:
                raise _refusal(path, "it unpacks to too much")
            clean = posixpath.normpath(name)
            if clean.startswith(("/", "..")):
                continue
            base = posixpath.basename(clean)
            is_source = clean.endswith((*_C, *_CXX, *_CYTHON)) or base in _SETTINGS or _CFFI.fullmatch(base) is not None
            is_read = is_source and size <= _LARGEST and read_bytes < _MOST_READ and not _ASIDE.search(clean)
            texts[clean] = content().decode("utf-8", "replace") if is_read else ""
            read_bytes += size if is_read else 0
    except _DAMAGES as error:
        raise _refusal(path, f"it cannot be read as an archive: {error}") from error
    return texts


def _members(path: Path) -> Iterator[tuple[str, int, _Content]]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    yield entry.filename, entry.file_size, _Content(lambda entry=entry: archive.open(entry))
        return
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # else it keeps every one
            if member.isfile():
                yield member.name, member.size, _Content(lambda member=member: archive.extractfile(member))
            elif member.size > _LARGEST:
                yield "", member.size, _Content(io.BytesIO)


class _Content:
    """A member's bytes, read when they are asked for, and never more than a text has."""

    def __init__(self, opened) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        self._opened = opened

    def __call__(self) -> bytes:
        with self._opened() as file:
            content: bytes = file.read(_LARGEST)
        return content


def _refusal(path: Path, reason: str) -> ProjectFileError:
    msg = f"{short(path)} is not looked into: {reason}"
    return ProjectFileError(msg, hint="nothing was changed")


def needs(texts: dict[str, str], distribution: str) -> list[Missing]:
    """Return what the files of an archive ask the system for: tools first, then what is looked for and what is included."""
    top = {path.partition("/")[2] or path: text for path, text in texts.items()}  # without NAME-VERSION/
    first: dict[tuple[str, str], tuple[Kind, str, str]] = {}
    for kind, name, path in [*_declared(top), *_compilers(top), *_settings(top), *_includes(top)]:
        first.setdefault((kind, name.lower()), (kind, name, path))
    return [
        Missing(kind=kind, name=name, evidence=path, distribution=distribution) for kind, name, path in first.values()
    ]


_CMAKE_REQUIRED = re.compile(r"['\"](?:cmake|scikit[-_]build(?:[-_]core)?)\b")  # a wheel of the package index has it
_EXTERNAL = "pyproject.toml [external]"
_Need = tuple[Kind, str, str]


def _declared(texts: dict[str, str]) -> Iterator[_Need]:
    """Yield what the [external] table of PEP 725 says, where somebody wrote one."""
    from colab_env import toml_text

    try:
        external = toml_text.parsed(texts.get("pyproject.toml", "")).get("external", {})
    except ValueError:
        return
    listed = [external.get(key) for key in ("build-requires", "host-requires")] if isinstance(external, dict) else []
    for url in (url for urls in listed if isinstance(urls, list) for url in urls if isinstance(url, str)):
        match = re.match(
            r"(?:dep|pkg|virtual):(?:virtual/)?(compiler|interface|generic|github|\w+)/(?:[\w.-]+/)*([\w.+-]+)", url
        )
        if match and match[1] == "compiler":
            yield "compiler", {"cxx": "c++", "cpp": "c++"}.get(match[2].lower(), match[2].lower()), _EXTERNAL
        elif match:
            yield ("command" if match[2] in ("pkg-config", "cmake", "ninja", "make") else "words"), match[2], _EXTERNAL


def _compilers(texts: dict[str, str]) -> Iterator[_Need]:
    built = [path for path in texts if not _ASIDE.search(path)]
    setup = "".join(texts.get(name, "") for name in ("setup.py", "pyproject.toml", "setup.cfg"))
    compiles = re.search(
        r"Extension\(|ext_modules|cffi_modules|mesonpy|scikit.build|ext-modules|cmake|setuptools_dso", setup
    )
    if compiles:
        for language, suffixes in (("c", (".c", ".pyx")), ("c++", _CXX[:4]), ("fortran", _FORTRAN)):
            if path := next((path for path in built if path.lower().endswith(suffixes)), None):
                yield "compiler", language, path
    listing = next((path for path in built if path.endswith("CMakeLists.txt")), None)
    if (
        listing
        and re.search(r"['\"]cmake['\"]", texts.get("setup.py", ""))
        and not _CMAKE_REQUIRED.search(texts.get("pyproject.toml", ""))
    ):
        yield "command", "cmake", listing
    if "swig" in setup.lower() and (path := next((path for path in built if path.endswith(".i")), None)):
        yield "command", "swig", path
    crate = next((path for path in built if path.endswith("Cargo.toml")), None)
    if crate and re.search(r"maturin|setuptools[-_]rust", texts.get("pyproject.toml", "") + texts.get("setup.py", "")):
        yield "compiler", "rust", crate


_MESON = re.compile(r"\bdependency\(\s*'([\w.+-]+)'((?:[^()]|\([^()]{0,200}\)){0,200})\)")
_OPTIONAL = re.compile(r"required\s*:\s*(?:false|get_option)|disabler")
_CMAKE = re.compile(r"^[ \t]*find_package[ \t]*\(\s*([\w.+-]+)([^)]{0,300})\)", re.IGNORECASE | re.MULTILINE)
_CMAKE_PKG = re.compile(r"^[ \t]*pkg_(?:check|search)_modules?\s*\(\s*\w+([^)]{0,300})\)", re.IGNORECASE | re.MULTILINE)
_ASKED = re.compile(
    r"pkg-config['\"\s,\[\]+-]{1,8}(?:--?[\w-]+['\"\s,]{1,4}){1,4}([A-Za-z][\w.+-]{1,40})(?=['\"\s\])])"
)
_PKG_CONFIG = re.compile(r"['\"]pkg-config['\" ]|import pkgconfig")
_PKGCONFIG = re.compile(r"pkgconfig\.(?:parse|exists|installed|cflags|libs|variables|modversion)\(\s*['\"]([\w.+-]+)")
_CONFIG = re.compile(r"(?<![\w.])((?!pkg-|python|llvm-)[a-z]\w{1,30}[-_]config)(?=['\" ])(?! =)")
_NOT_CONFIGS = frozenset(
    f"{verb}_config"
    for verb in ("setup", "get", "build", "parse", "read", "log", "compiler", "has", "is", "write", "user")
)
_LIBRARIES = re.compile(r"libraries\s*=\s*\[([^\]\n]{1,300})\]")
_PARTS = frozenset({"m", "c", "dl", "rt", "pthread", "util", "stdc++", "gcc", "gcc_s", "python", "npymath", "z_static"})
_WINDOWS = re.compile(
    r"32$|^lib|[A-Z]\w*Api$|^\w+\.lib$|^(?:winscard|user|gdi|kernel|advapi|ole|shell|uuid|iphlpapi|psapi|bcrypt|crypt32)\w*$"
)
_OWN_TEXT = """
python python3 pythoninterp pythonlibs pythonextensions py pybind11 nanobind cython numpy scikitbuild skbuild f2py
threads openmp m dl git doxygen sphinx gtest
"""
_OWN = frozenset(_OWN_TEXT.split())


def _settings(texts: dict[str, str]) -> Iterator[_Need]:
    for path, text in texts.items():
        name = posixpath.basename(path)
        if not text or path.count("/") > 3 or name not in _SETTINGS:
            continue
        requests = list(_requests(name, text))
        if any(kind == "pkg-config" for kind, _ in requests) or (name == "setup.py" and _PKG_CONFIG.search(text)):
            yield "command", "pkg-config", path
        for kind, request in requests:
            if request.lower() not in _OWN and not _is_vendored(request, texts):
                yield kind, request, path


def _requests(name: str, text: str) -> Iterator[tuple[Kind, str]]:
    if name == "meson.build":
        required = (match for match in _MESON.finditer(text) if not _OPTIONAL.search(match[2]))
        yield from (("pkg-config", match[1]) for match in required)
    elif name == "CMakeLists.txt":
        yield from (("cmake", match[1]) for match in _CMAKE.finditer(text) if "REQUIRED" in match[2])
        words = (word for match in _CMAKE_PKG.finditer(text) if "REQUIRED" in match[1] for word in match[1].split())
        names = (re.split(r"[<>=]", word)[0] for word in words)
        yield from (("pkg-config", module) for module in names if re.fullmatch(r"[a-z][\w.+-]*", module))
    elif name == "setup.py":
        plain = _TRIPLE.sub("", re.sub(r"(?m)^[ \t]*#.*$", "", text))
        yield from (("pkg-config", match[1]) for match in [*_ASKED.finditer(plain), *_PKGCONFIG.finditer(plain)])
        configs = (match[1] for match in _CONFIG.finditer(plain))
        yield from (("config-program", config) for config in configs if config not in _NOT_CONFIGS)
        lists = (re.findall(r"['\"]([\w.+-]+)['\"]", match[1]) for match in _LIBRARIES.finditer(plain))
        yield from (
            ("library", library)
            for names in lists
            for library in names
            if library not in _PARTS and not _WINDOWS.search(library)
        )


_BUNDLED = "(?:subprojects|third_?party|3rdparty|vendor(?:ed)?|extern(?:al)?s?|deps|bundled)"


def _is_vendored(name: str, texts: dict[str, str]) -> bool:
    bare = name.lower().removeprefix("lib")
    pattern = re.compile(rf"{_BUNDLED}/(?:[\w.-]+/)?(?:lib)?{re.escape(bare)}")
    return any(pattern.search(path.lower()) for path in texts)


_INCLUDE = re.compile(r"""[ \t]*include[ \t]*[<"]([\w./+-]{1,200})[>"]""")
_DIRECTIVE = re.compile(r"(?m)^[ \t]*#[ \t]*(if|ifdef|ifndef|else|elif|endif|define|include)\b([^\n]{0,300})")
_EXTERN = re.compile(r"cdef[ \t]+extern[ \t]+from[ \t]+[<\"']+([\w./+-]{1,200})")


def _includes(texts: dict[str, str]) -> Iterator[_Need]:
    endings = {ending for path in texts if not _ASIDE.search(path) for ending in _endings(path)}
    directories: set[str] = set()
    for path, text in texts.items():
        is_cffi = "set_source" in text and _CFFI.fullmatch(posixpath.basename(path)) is not None
        if not text or not (is_cffi or path.lower().endswith((*_C, *_CXX, *_CYTHON))):
            continue
        if is_cffi:  # C in a string: a comment of Python would be a directive of it
            included: Iterable[str] = re.findall(r"#[ \t]*include[ \t]*<([\w./+-]{1,200})>", text)
        else:
            included = _EXTERN.findall(text) if path.endswith(_CYTHON) else _unguarded(text)
        for name in included:
            if posixpath.normpath(name) in endings or posixpath.basename(name) in endings or _is_system_header(name):
                continue
            directory, slash, _ = name.partition("/")
            if directory not in directories:  # one header stands for all of openssl/
                directories.update([directory] if slash else ())
                yield "header", name, path


def _endings(path: str) -> Iterable[str]:
    parts = path.split("/")
    return ("/".join(parts[-count:]) for count in range(1, min(5, len(parts)) + 1))


def _unguarded(text: str) -> Iterator[str]:
    """Yield what a file includes whatever is defined; the guard around a whole header does not count."""
    depth = 0
    guard: str | None = None
    for directive, rest in _DIRECTIVE.findall(text):
        if directive in ("if", "ifdef", "ifndef"):
            depth += 1
            guard = rest.strip() if directive == "ifndef" and depth == 1 and guard is None else guard
        elif directive == "define" and depth == 1 and guard and rest.split()[:1] == [guard]:
            depth, guard = 0, ""
        elif directive == "endif":
            depth = max(0, depth - 1)
        elif directive == "include" and depth == 0:
            match = _INCLUDE.match(f"include{rest}")
            if match:
                yield match[1]


# --- which headers come with a compiler, the C library, Python, or another system than Linux: nobody's need

# ISO C, POSIX and glibc, without the directories below.
_SYSTEM_NAMES = """
assert ctype errno fenv float inttypes iso646 limits locale math complex setjmp signal stdalign stdarg stdatomic
stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype aio cpio dirent dlfcn
fcntl fmtmsg fnmatch ftw glob grp iconv langinfo libgen monetary mqueue ndbm netdb nl_types poll pthread pwd regex
sched search semaphore spawn strings stropts syslog tar termios trace ulimit unistd utime utmpx wordexp alloca ar
argp argz byteswap elf endian envz err error execinfo features fstab getopt gnu-versions gshadow ifaddrs malloc
mcheck memory mntent obstack paths printf pty resolv shadow stab stdio_ext sysexits termio thread_db ttyent ucontext
unwind utmp values wait xlocale link libintl crypt sgtty lastlog re_comp regexp nss cpuid omp mm_malloc tmmintrin
emmintrin immintrin smmintrin xmmintrin pmmintrin nmmintrin wmmintrin x86intrin arm_neon arm_sve arm_acle quadmath
varargs dispatch
"""
_SYSTEM_HEADERS = frozenset(_SYSTEM_NAMES.split())
_SYSTEM_DIRECTORIES = (
    *("sys/", "linux/", "asm/", "asm-generic/", "net/", "netinet/", "arpa/"),
    *("bits/", "gnu/", "netpacket/", "netipx/", "scsi/", "rpc/", "numpy/"),
    *("ext/", "tr1/", "experimental/", "cython/", "internal/pycore", "cpython/", "pybind11/"),
    *("nanobind/", "netatalk/", "mach/", "mach-o/", "CoreFoundation/", "Carbon/", "IOKit/"),
    *("Security/", "Availability", "libkern/", "Foundation/", "AppKit/", "CoreServices/", "ApplicationServices/"),
    *("machine/", "os/", "Accelerate/", "vecLib/", "Cocoa/", "SystemConfiguration/", "AudioToolbox/"),
)
_PYTHON_HEADERS = re.compile(
    r"(?:Python|structmember|structseq|pythread|\w*object|py3cairo|etree\w*|lxml-version|pygobject|config|\w+[-_]config|code|compile|eval|datetime|pyconfig|node|marshal|bytesobject|unicodeobject"
    r"|longintrepr|patchlevel|modsupport|opcode|pymem|pyport|object|pycore_\w+|greenlet/\w+|methodobject|import|ceval|tupleobject)\.h"
)
_WINDOWS_HEADERS = re.compile(
    r"(?:win\w*|ws2\w*|mswsock|io|direct|process|conio|tchar|crtdbg|intrin|shlobj|shlwapi|psapi|tlhelp32|iphlpapi|mmsystem|objbase|share"
    r"|sdkddkver|versionhelpers|ntstatus|bcrypt|wincrypt|wtypes|ole2|dbghelp|rpc|basetsd|TargetConditionals|AvailabilityMacros|libproc|kvm"
    r"|unixlib|OS|be\w+|synch|atlbase|comdef|oleauto|ocidl|dsound|dshow|d3d\w*|setupapi|hidsdi|initguid|malloc_np|pthread_np|stdbool_compat)\.h",
    re.IGNORECASE,
)


def _is_system_header(name: str) -> bool:
    """Say whether a header is there wherever something can be compiled, or is nowhere on Linux."""
    if name.startswith(_SYSTEM_DIRECTORIES) or _PYTHON_HEADERS.fullmatch(name) or _WINDOWS_HEADERS.fullmatch(name):
        return True
    if "." not in name:
        return "/" not in name  # <vector>; but not <Eigen/Dense>
    return (
        name.endswith((".c", ".cpp", ".inc", ".cc", ".def", ".inl", ".tpp", ".ipp", ".pxi", ".i"))
        or name.removesuffix(".h") in _SYSTEM_HEADERS
    )
