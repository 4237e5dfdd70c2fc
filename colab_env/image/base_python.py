"""Which Python a base image has, and what is installed in it: read from its files, and refused where nothing can be added."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from colab_env.errors import BaseImageError
from colab_env.image import shared_libraries
from colab_env.image.reference import ARCHITECTURES
from colab_env.image.rootfs import RootFS
from colab_env.locks.requirements_text import normalized

if TYPE_CHECKING:
    from colab_env.image._layers import LayerCache
    from colab_env.image.base import BaseImage
    from colab_env.image.reference import Platform

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_GLIBC = re.compile(rb"(?:stable|development) release version 2\.(\d+)")
_PROGRAM = re.compile(r"python(3\.\d+)")
_PATCHLEVEL = re.compile(rb'#define\s+PY_VERSION\s+"(3\.\d+\.\d+)')
_MUSL = re.compile(r"ld-musl-.*\.so\.1")
_FORMAT = 4  # of the record in the cache


@dataclass(frozen=True, kw_only=True)
class BaseDistribution:
    """A Python distribution that the base brings: its files, as its RECORD names them, are paths in the image."""

    name: str
    version: str
    info: str
    files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DebianPackage:
    """An installed package of Debian's, or of a system made from it."""

    name: str
    version: str
    architecture: str


@dataclass(frozen=True, kw_only=True)
class BasePython:
    """The Python of a base image; paths are those in the image, `glibc` is the minor version, such as 36 of 2.36.

    `directories` are mode, user and group of those that a layer may go into; `distribution` is "debian-12"; `libraries` are the
    names of the shared libraries that its loader finds; `accounts` are the texts of /etc/passwd and /etc/group.
    """

    executable: str
    version: str
    machine: str
    glibc: int
    site: str
    scripts: str
    prefix: str
    distribution: str
    directories: dict[str, tuple[int, int, int]]
    distributions: tuple[BaseDistribution, ...]
    packages: tuple[DebianPackage, ...]
    libraries: tuple[str, ...]
    accounts: dict[str, str]

    @property
    def minor(self) -> str:
        """Return its version without the last part, such as "3.12"."""
        return ".".join(self.version.split(".")[:2])


def of_image(image: BaseImage, platform: Platform, cache: LayerCache) -> BasePython:
    """Return the Python of a base image, reading its layers only once. Raises BaseImageError, HashMismatchError."""
    from colab_env.image._layers import key_of

    path = search_path(image.config)
    environ = [str(line) for line in (image.config.get("config") or {}).get("Env") or []]
    layers = [blob.digest for blob in image.manifest.layers]  # in an archive, the manifest's digest does not say them
    key = key_of("base", _FORMAT, image.manifest.digest, layers, environ, path, str(platform))
    image.verify(cache)
    if (record := cache.record(key)) is not None:
        return _from_record(record)
    base = inspect(RootFS.read(image), name=image.name, path=path, platform=platform, environ=environ)
    cache.remember(key, asdict(base))
    return base


def search_path(config: dict[str, Any]) -> str:
    """Return the PATH of an image's configuration."""
    environ = (config.get("config") or {}).get("Env") or []
    return next((str(line)[5:] for line in environ if str(line).startswith("PATH=")), _PATH)


def inspect(tree: RootFS, *, name: str, path: str, platform: Platform, environ: Sequence[str] = ()) -> BasePython:
    """Find the Python that an image's PATH leads to. Raises BaseImageError where no wheels can be put beside it."""
    program = _python(tree, name, path)
    real = tree.real(program) or program
    minor = _require_cpython(tree, real, name, platform)
    glibc = _glibc(tree, name)
    venv, own = (posixpath.dirname(posixpath.dirname(path)) for path in (program, real))
    is_venv = tree.get(f"{venv}/pyvenv.cfg") is not None
    sites = {f"{own}/lib/python{minor}/site-packages"}
    # Debian's own Python leaves what others install to /usr/local, in a directory of another name.
    is_debians = not is_venv and b"dist-packages" in (tree.content(f"{own}/lib/python{minor}/site.py") or b"")
    if is_debians:
        prefix, site = "usr/local", f"usr/local/lib/python{minor}/dist-packages"
        sites.add("usr/lib/python3/dist-packages")
    else:
        prefix = venv if is_venv else own
        site = f"{prefix}/lib/python{minor}/site-packages"
    real_prefix, real_site = _real_parent(tree, prefix), _real_parent(tree, site)
    directories = tree.directories(real_prefix, real_site)
    accounts = {path: tree.content(path) or b"" for path in ("etc/passwd", "etc/group")}
    return BasePython(
        executable=f"/{program if is_venv else real}",
        version=_version(tree, own, minor),
        machine=platform.machine,
        glibc=glibc,
        site=f"/{real_site}",
        scripts=f"/{_real_parent(tree, f'{prefix}/bin')}",
        prefix=f"/{real_prefix}",
        distribution=_distribution(tree),
        directories={f"/{path}": (entry.mode, entry.uid, entry.gid) for path, entry in directories},
        distributions=tuple(one for path in sorted({site, *sites}) for one in _distributions(tree, path)),
        packages=tuple(_packages(tree)),
        libraries=shared_libraries.in_base(tree, f"{platform.machine}-linux-gnu", environ),
        accounts={f"/{path}": text.decode("utf-8", "surrogateescape") for path, text in accounts.items()},
    )


def _require_cpython(tree: RootFS, real: str, name: str, platform: Platform) -> str:
    """Return the minor version of a Python by the name of its program. Raises BaseImageError for what cannot be used."""
    minor = _PROGRAM.fullmatch(posixpath.basename(real))
    head = tree.content(real) or b""
    if minor is None or not head.startswith(b"\x7fELF"):
        msg = f"the Python of {name}, /{real}, does not say which one it is"
        raise BaseImageError(msg, hint="give a base with CPython 3, such as python:3.12-slim")
    # Bytes 18 and 19 of an ELF header are the processor's number.
    if int.from_bytes(head[18:20], "little") != ARCHITECTURES[platform.architecture][1]:
        msg = f"the Python of {name} is for another processor than {platform}, which the image says it is for"
        raise BaseImageError(msg, hint="get the image anew, or give another with --base")
    return minor[1]


def _python(tree: RootFS, name: str, path: str) -> str:
    """Return the path of the program that PATH leads to, which may be a link. Raises BaseImageError."""
    for directory in path.split(":"):
        for program in ("python3", "python"):
            candidate = posixpath.join(directory.strip("/"), program)
            if (entry := tree.get(candidate)) is not None and entry.kind == "file":
                return candidate
    if any(_MUSL.fullmatch(posixpath.basename(entry)) for entry in tree.children("lib")):
        raise _musl(name)
    msg = f"{name} has no Python on its PATH ({path})"
    raise BaseImageError(msg, hint="give a base with Python, such as python:3.12-slim")


def _musl(name: str) -> BaseImageError:
    msg = f"{name} is made with musl, as Alpine is, and this way installs wheels for glibc only"
    return BaseImageError(msg, hint="give a base of Debian or Ubuntu, such as python:3.12-slim")


def _glibc(tree: RootFS, name: str) -> int:
    triplets = [f"{triplet}-linux-gnu" for triplet, _ in ARCHITECTURES.values()]
    directories = [*(f"lib/{triplet}" for triplet in triplets), "lib64", "usr/lib64", "lib", "usr/lib"]
    for directory in directories:
        content = tree.content(f"{directory}/libc.so.6") or b""
        if version := _GLIBC.search(content):
            return int(version[1])
    real = tree.real("lib") or "lib"
    if any(_MUSL.fullmatch(posixpath.basename(path)) for path in tree.children(real)):
        raise _musl(name)
    msg = f"{name} has no glibc that says its version"
    raise BaseImageError(msg, hint="give a base of Debian or Ubuntu, such as python:3.12-slim")


def _version(tree: RootFS, prefix: str, minor: str) -> str:
    header = tree.content(f"{prefix}/include/python{minor}/patchlevel.h") or b""
    if version := _PATCHLEVEL.search(header):
        return version[1].decode()
    debian_version = next((one.version for one in _packages(tree) if one.name == f"python{minor}-minimal"), "")
    version_of_debian = re.match(r"3\.\d+\.\d+", debian_version)
    return version_of_debian[0] if version_of_debian else f"{minor}.0"


def _real_parent(tree: RootFS, path: str) -> str:
    """Return a path without links, as far as it is there."""
    parts: list[str] = []
    top = path
    while top and tree.real(top) is None:
        top, _, part = top.rpartition("/")
        parts.insert(0, part)
    return posixpath.join(tree.real(top) or "" if top else "", *parts)


def _distribution(tree: RootFS) -> str:
    text = (tree.content("etc/os-release") or b"").decode("utf-8", "replace")
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    names = [values.get(name, "").strip("\"'") for name in ("ID", "VERSION_ID")]
    return "-".join(filter(None, names))


def _distributions(tree: RootFS, site: str) -> list[BaseDistribution]:
    real = tree.real(site)
    infos = [path for path in tree.children(real) if path.endswith(".dist-info")] if real else []
    done = []
    for info in infos:
        fields = _fields((tree.content(f"{info}/METADATA") or b"").decode("utf-8", "replace").partition("\n\n")[0])
        record = (tree.content(f"{info}/RECORD") or b"").decode("utf-8", "replace")
        files = [line.rsplit(",", 2)[0].strip('"') for line in record.splitlines() if line.strip()]
        paths = sorted({posixpath.normpath(posixpath.join("/", real or "", file)) for file in files})
        if "Name" in fields and "Version" in fields:
            name = normalized(fields["Name"])
            done.append(BaseDistribution(name=name, version=fields["Version"], info=f"/{info}", files=tuple(paths)))
    return done


def _packages(tree: RootFS) -> list[DebianPackage]:
    paths = ["var/lib/dpkg/status", *tree.children("var/lib/dpkg/status.d")]  # the second in images without a shell
    text = "\n\n".join((tree.content(path) or b"").decode("utf-8", "replace") for path in paths)
    blocks = [_fields(block) for block in re.split(r"\n\n+", text) if block.strip()]
    installed = [
        block
        for block in blocks
        if {"Package", "Version"} <= set(block) and block.get("Status", "install ok installed").endswith(" installed")
    ]
    packages = {
        (block["Package"], block.get("Architecture", "")): DebianPackage(
            name=block["Package"], version=block["Version"], architecture=block.get("Architecture", "")
        )
        for block in installed
    }
    return [packages[key] for key in sorted(packages)]


def _fields(block: str) -> dict[str, str]:
    lines = [line.split(":", 1) for line in block.splitlines() if ":" in line and not line.startswith((" ", "\t"))]
    return {name: value.strip() for name, value in lines}


def _from_record(values: dict[str, Any]) -> BasePython:
    parts = {
        "directories": {path: tuple(entry) for path, entry in values["directories"].items()},
        "distributions": tuple(
            BaseDistribution(**{**one, "files": tuple(one["files"])}) for one in values["distributions"]
        ),
        "packages": tuple(DebianPackage(**one) for one in values["packages"]),
        "libraries": tuple(values["libraries"]),
    }
    return BasePython(**{**values, **parts})
