"""The few needs that no file name answers: reviewed by hand, with a source each.

A name is that of a language (kind "compiler") or of a command. What is here stays short: whatever lies in a package
under its own name is found in the distribution's index.
"""

from __future__ import annotations

# Debian's build-essential is what building from source takes for granted: Debian policy 4.2, "Package relationships".
_C = "build-essential"
BUILD: dict[str, tuple[str, ...]] = {
    "c": (_C,),
    "c++": (_C,),
    # update-alternatives names of gcc-defaults: gcc(1) and g++(1) of Debian's packages gcc and g++, postinst.
    "cc": (_C,),
    "c99": (_C,),
    "c89": (_C,),
    "gcc": (_C,),
    "g++": (_C,),
    "cpp": (_C,),
    "make": (_C,),
    "fortran": ("gfortran",),  # packages.debian.org/gfortran; f77 and f95 are its update-alternatives names
    "f77": ("gfortran",),
    "f95": ("gfortran",),
    # rustc and cargo are of one version in a release; PyO3 and setuptools-rust need both. cargo depends on rustc.
    "rust": ("cargo",),
    "rustc": ("rustc",),
    "cargo": ("cargo",),
    # Debian Java policy 2.2: programs and builds depend on the default-* packages.
    "java": ("default-jdk-headless",),
    "javac": ("default-jdk-headless",),
    "jni": ("default-jdk-headless",),
    "jni.h": ("default-jdk-headless",),
    "mpi": ("libopenmpi-dev", "mpich"),  # mpi-default-dev depends on the first, debian/README of mpi-defaults
    # pkgconf has provided pkg-config's program since Debian 12 and Ubuntu 23.04: release notes, "pkg-config".
    "pkg-config": ("pkgconf", "pkg-config"),
}
RUN: dict[str, tuple[str, ...]] = {
    "java": ("default-jre-headless",),  # Debian Java policy 2.2
    "libjvm.so": ("default-jre-headless",),
    "fortran": ("libgfortran5",),  # gcc's manual, "Fortran ABI": libgfortran.so.5 since gcc 8
}
# CMake's Find modules whose name is neither a pkg-config module nor a library's: cmake-modules(7).
CMAKE: dict[str, str] = {
    "pkgconfig": "pkg-config",
    "pythonlibs": "python",
    "java": "java",
    "jni": "jni",
    "mpi": "mpi",
    "threads": "c",
    "openmp": "c",
    "fortran": "fortran",
    "rust": "rust",
}
# What a message or a CMake module calls by another name than its library has: the library's own documentation.
ALIASES: dict[str, str] = {
    "bzip2": "bz2",
    "postgresql": "pq",
    "postgres": "pq",
    "mysql": "mysqlclient",
    "mariadb": "libmariadb",
    "ffmpeg": "libavcodec",
    "kerberos": "krb5",
    "rabbitmq-c": "rabbitmq",
    "xz": "lzma",
    "liblzma": "lzma",
    "libusb": "usb-1.0",
    "imagemagick": "MagickWand",
    "berkeley": "db",
    "berkeleydb": "db",
    "swi-prolog": "swipl",
}
# The kernel's part of a driver comes with it, and Debian's copy would not fit: NVIDIA's and CUDA's installation guides.
DRIVERS = (
    "libcuda.so",
    "libnvidia-",
    "libnvcuvid.so",
    "libcudart.so",
    "libcublas",
    "libcudnn",
    "libnvrtc",
    "libamdhip64",
)
