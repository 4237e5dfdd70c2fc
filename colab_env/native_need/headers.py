"""Which headers come with a compiler, the C library, Python, or another system than Linux: nobody's need."""

from __future__ import annotations

import re

# ISO C, POSIX and glibc, without the directories below.
_C_NAMES = """
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
_C = frozenset(_C_NAMES.split())
_DIRECTORIES = (
    *("sys/", "linux/", "asm/", "asm-generic/", "net/", "netinet/", "arpa/"),
    *("bits/", "gnu/", "netpacket/", "netipx/", "scsi/", "rpc/", "numpy/"),
    *("ext/", "tr1/", "experimental/", "cython/", "internal/pycore", "cpython/", "pybind11/"),
    *("nanobind/", "netatalk/", "mach/", "mach-o/", "CoreFoundation/", "Carbon/", "IOKit/"),
    *("Security/", "Availability", "libkern/", "Foundation/", "AppKit/", "CoreServices/", "ApplicationServices/"),
    *("machine/", "os/", "Accelerate/", "vecLib/", "Cocoa/", "SystemConfiguration/", "AudioToolbox/"),
)
_PYTHON = re.compile(
    r"(?:Python|structmember|structseq|pythread|\w*object|py3cairo|etree\w*|lxml-version|pygobject|config|\w+[-_]config|code|compile|eval|datetime|pyconfig|node|marshal|bytesobject|unicodeobject"
    r"|longintrepr|patchlevel|modsupport|opcode|pymem|pyport|object|pycore_\w+|greenlet/\w+|methodobject|import|ceval|tupleobject)\.h"
)
_WINDOWS = re.compile(
    r"(?:win\w*|ws2\w*|mswsock|io|direct|process|conio|tchar|crtdbg|intrin|shlobj|shlwapi|psapi|tlhelp32|iphlpapi|mmsystem|objbase|share"
    r"|sdkddkver|versionhelpers|ntstatus|bcrypt|wincrypt|wtypes|ole2|dbghelp|rpc|basetsd|TargetConditionals|AvailabilityMacros|libproc|kvm"
    r"|unixlib|OS|be\w+|synch|atlbase|comdef|oleauto|ocidl|dsound|dshow|d3d\w*|setupapi|hidsdi|initguid|malloc_np|pthread_np|stdbool_compat)\.h",
    re.IGNORECASE,
)


def is_systems(name: str) -> bool:
    """Say whether a header is there wherever something can be compiled, or is nowhere on Linux."""
    if name.startswith(_DIRECTORIES) or _PYTHON.fullmatch(name) or _WINDOWS.fullmatch(name):
        return True
    if "." not in name:
        return "/" not in name  # <vector>; but not <Eigen/Dense>
    return (
        name.endswith((".c", ".cpp", ".inc", ".cc", ".def", ".inl", ".tpp", ".ipp", ".pxi", ".i"))
        or name.removesuffix(".h") in _C
    )
