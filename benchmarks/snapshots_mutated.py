"""Restore thousands of mutated snapshots, each with right checksums and a right signature: what do they reach?

    python benchmarks/snapshots_mutated.py --count 10000

Each mutant is a snapshot of a small project, taken apart, changed in one to three ways (its description, its members, its
project files, the bytes of its archive, its frame) and put together again: every checksum is computed anew and the end is
signed with this machine's own key, so that what stands behind the signature is what is tried. `cache_list`, `cache_verify`
and `restore` each get it. What they do is seen by an audit hook of Python's, and by comparing what lies around the project
before and after. Counted are writes outside of a snapshot's places, programs started, errors that are none of colab-env's,
mutants that verify well and are refused as damaged, and the peak of memory of the whole process. Linux only.
"""

# ruff: noqa: ARG001, PTH100, PTH115, PTH118, PTH119, PTH120
# Every mutation takes the same three words; headers are written as the product does not; paths are as the system has them.

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import zstandard  # noqa: E402

import colab_env  # noqa: E402
from colab_env import _files, _report, choice, content, venv  # noqa: E402
from colab_env.errors import ColabEnvError  # noqa: E402
from colab_env.interpreter import Interpreter  # noqa: E402
from colab_env.jupyter import colab_layer  # noqa: E402
from colab_env.machine import Machine  # noqa: E402
from colab_env.request import InstallOptions, Request  # noqa: E402
from colab_env.snapshot import _archive, manifest, signing  # noqa: E402
from colab_env.snapshots import _NothingFitsError  # noqa: E402

SECONDS = 20  # for one mutant
_STARTING = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.system")
_WRITING = {  # audit events, and which of their arguments are paths that they change
    "os.mkdir": (0,), "os.rmdir": (0,), "os.remove": (0,), "os.rename": (0, 1), "os.link": (1,), "os.symlink": (1,),
    "os.chmod": (0,), "os.chown": (0,), "os.truncate": (0,), "os.utime": (0,), "shutil.rmtree": (0,),
    "os.setxattr": (0,),
}  # fmt: skip
_OPEN_TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


# --- the machine


@dataclasses.dataclass(frozen=True)
class World:
    """A home, a project in it, a cache, and files of the user's that nobody may touch."""

    root: Path
    name: str = "home"

    @property
    def home(self) -> Path:
        return self.root / self.name

    @property
    def project(self) -> Path:
        return self.home / "lesson"

    @property
    def cache(self) -> Path:
        return self.root / "drive"

    @property
    def evil(self) -> Path:
        """Return a program that leaves a trace when it is started."""
        return self.root / "evil" / "bin" / "python3"

    def make(self) -> None:
        for path in (self.project, self.cache, self.evil.parent, self.home / ".ssh", self.root / "prefix"):
            path.mkdir(parents=True, exist_ok=True)
        self.evil.write_text(f"#!/bin/sh\necho started >> {self.root}/evil/trace\necho '\"3.12.0\"'\n")
        self.evil.chmod(0o755)
        (self.home / ".ssh" / "authorized_keys").write_text("mine\n")
        (self.project / "main.py").write_text("mine\n")
        (self.project / "pyproject.toml").write_text('[project]\nname = "lesson"\nversion = "1"\n')
        (self.project / "poetry.lock").write_text("[metadata]\n# locked\n")

    def enter(self) -> None:
        """Let this process live there, with no Python on PATH but its own."""
        for name in [name for name in os.environ if name.startswith(("COLAB_", "XDG_", "UV_", "PYENV", "JUPYTER"))]:
            del os.environ[name]
        os.environ.update(HOME=str(self.home), PATH=str(self.root / "empty"))
        os.environ[signing.VARIABLE] = "5e" * 32

    def allowed(self) -> tuple[str, ...]:
        """Return the beginnings of all paths that a restore may change."""
        data, project = Machine.detect().data, self.project
        files = [project / name for name in ("pyproject.toml", "poetry.lock", "poetry.toml", ".venv")]
        beside = [f"{project}/.{path.name}.colab-env-" for path in files]
        lock = data.with_name(f".{data.name}.lock")
        own = [*map(str, files), *beside, str(data), str(lock), str(Machine.detect().uv_pythons)]
        return (*own, str(self.home / ".local/share/uv"), os.devnull)

    def around(self) -> dict[str, tuple[int, str]]:
        """Return what lies outside of what a restore may change: modes, contents, what links name."""
        allowed, found = self.allowed(), {}
        for top, directories, names in os.walk(self.root):
            directories[:] = [
                name for name in directories if not f"{top}/{name}".startswith((*allowed, str(self.cache)))
            ]
            for name in (*directories, *names):
                path = f"{top}/{name}"
                if path.startswith(allowed):
                    continue
                status = os.lstat(path)
                content = Path(path).read_text(errors="replace") if stat.S_ISREG(status.st_mode) else ""
                found[path] = (status.st_mode, os.readlink(path) if stat.S_ISLNK(status.st_mode) else content)
        # Parents of what is restored come and go.
        return {path: each for path, each in found.items() if not any(one.startswith(path + "/") for one in allowed)}

    def forget(self) -> None:
        """Leave what a new machine has: the project's files."""
        for path in (self.project / ".venv", self.home / ".local"):
            shutil.rmtree(path, ignore_errors=True)
        for name in ("poetry.toml",):
            (self.project / name).unlink(missing_ok=True)
        for path in (*self.project.glob(".*.colab-env-*"), *self.home.glob(".*.colab-env-*")):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        (self.project / "pyproject.toml").write_text('[project]\nname = "lesson"\nversion = "1"\n')
        (self.project / "poetry.lock").write_text("[metadata]\n# locked\n")


def set_up(world: World, python: Interpreter) -> None:
    """Leave what `setup` leaves, with files of a few lines in the place of packages."""
    machine, project = Machine.detect(), world.project
    environment = project / ".venv"
    site = environment / "lib" / f"python{python.short_version}" / "site-packages"
    (site / "six-1.16.0.dist-info").mkdir(parents=True)
    (site / "six.py").write_text("version = 1\n")
    os.link(site / "six.py", site / "seven.py")
    (environment / "bin").mkdir()
    (environment / "bin" / "python").symlink_to(python.path)
    (environment / "lib64").symlink_to("lib")
    settings = f"home = {python.path.parent}\nversion_info = {python.version}\ninclude-system-site-packages = true\n"
    (environment / "pyvenv.cfg").write_text(settings)
    options = InstallOptions()
    request = Request.read(project, machine, options=options)
    venv.write_receipt(project, python=python, inputs=request.inputs, wanted=options.recorded())
    layer = colab_layer.directory(machine, python)
    (layer / "site" / "ipykernel").mkdir(parents=True)
    colab_layer.launcher(layer).write_text("# starts a kernel\n")
    (layer / "site" / "colab_env").mkdir()
    known = {"python": str(machine.machine_python), "path": str(ROOT)}
    (layer / "site" / "colab_env" / "machine.json").write_text(json.dumps(known))
    _files.write_receipt(layer, {"inputs": {}, "entries": ["ipykernel"]})
    (environment / "bin" / "six").write_text(f"#!{environment}/bin/python\n")
    (site / "lesson.pth").write_text(f"{project}\n")
    for place in (environment, layer):
        content.write(place, content.Survey(place).content({}))
    choice.remember(machine, python, project=project)


def pythons(world: World) -> Iterator[Interpreter]:
    """Yield a Python of the machine's, which no snapshot holds, and one as uv brings it, which is in the snapshot."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Interpreter(path=Path(sys.executable), version=version, source="system")
    base = Machine.detect().uv_pythons
    real, named = (base / f"cpython-{word}-linux-x86_64-gnu" for word in (version, version.rpartition(".")[0]))
    (real / "bin").mkdir(parents=True)
    (real / "bin/python3").write_text("#!/bin/sh\nexit 1\n")
    (real / "bin/python3").chmod(0o755)
    named.symlink_to(real.name)
    yield Interpreter(path=named / "bin/python3", version=version, source="uv")


# --- a snapshot, taken apart


@dataclasses.dataclass
class Part:
    """One member of the archive."""

    name: bytes
    kind: bytes
    mode: int
    mtime: bytes
    link: bytes
    content: bytes
    size: bytes | None = None  # where it says another one than its content has

    def blocks(self) -> bytes:
        size = len(self.content)
        records = [(b"path", self.name), (b"linkpath", self.link), (b"mtime", self.mtime)]
        if self.size is not None:
            records.append((b"size", self.size))
        extended = b"".join(_archive._record(key, value) for key, value in records if value)
        first = _archive._block(b"././@PaxHeader", b"x", 0o644, len(extended), 0, b"")
        own = _archive._block(self.name[:100], self.kind, self.mode & 0o7777777, size, 0, self.link[:100])
        return b"".join([first, extended, _archive.padding(len(extended)), own, self.content, _archive.padding(size)])


@dataclasses.dataclass
class Taken:
    """A snapshot in its parts; `description` and the two checksums are made of them when it is put together."""

    name: str
    manifest: dict[str, Any]
    parts: list[Part]
    description: dict[str, Any]
    raw: list[Callable[[bytearray, random.Random], None]] = dataclasses.field(default_factory=list)
    level: int = 1
    manifest_text: bytes | None = None
    is_agreeing: bool = True

    def bytes(self, chance: random.Random, key: signing.Key) -> bytes:
        text = json.dumps(self.manifest).encode() if self.manifest_text is None else self.manifest_text
        if self.is_agreeing:
            for part in self.parts:
                if part.name == b"manifest.json":
                    part.content = text
        archive = bytearray(b"".join(part.blocks() for part in self.parts) + _archive.END)
        for change in self.raw:
            change(archive, chance)
        body = zstandard.ZstdCompressor(level=self.level, write_checksum=True).compress(bytes(archive))
        said = {
            "sha256": hashlib.sha256(body).hexdigest(),
            "size": len(body),
            "members": len(self.parts),
            "unpacked": len(archive),
            **self.description,
        }
        end = b'{"manifest": ' + text + b", " + json.dumps(said).encode()[1:]
        return body + manifest.footer_bytes(end, key.sign(end))


def take_apart(path: Path) -> Taken:
    with path.open("rb") as file:
        footer = manifest.read_footer(file)
    archive = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()[: footer.size])
    stream, parts = io.BytesIO(archive), []
    while (block := stream.read(512)).count(0) != 512:
        size = _archive.extended_size(block)
        extended = stream.read(size + -size % 512)[:size] if size is not None else b""
        member = _archive.parse(stream.read(512) if size is not None else block, extended)
        content = stream.read(member.size + -member.size % 512)[: member.size]
        seconds, fraction = divmod(member.mtime_ns, 10**9)
        parts.append(
            Part(
                os.fsencode(member.name), member.kind, member.mode, b"%d.%09d" % (seconds, fraction),
                os.fsencode(member.link), content,
            )
        )  # fmt: skip
    return Taken(name=path.name, manifest=dict(footer.manifest), parts=parts, description={})


# --- mutations


def odd_values(world: World) -> list[Any]:
    """Return what a description does not expect."""
    deep: Any = 0
    for _ in range(400):
        deep = [deep]
    return [
        None, True, 0, -1, 2**63, 2**200, 1.5, float("nan"), float("inf"), "", "\0", "..", ".", "/", "a" * 5000, "\ud800",
        "\udcff", "~root/x", [], {}, [None], {"": ""}, deep, str(world.evil), str(world.home / ".ssh"), "../../.ssh",
        f"{world.project}/../x", "/etc/passwd", "\x1b[31m", "é" * 300, str(world.root / "prefix"), "system", "uv",
        "miniconda", "3.12.1", "9" * 4000, str(world.evil.parents[1]), str(world.home / ".ssh" / "authorized_keys"),
    ]  # fmt: skip


def spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value in a JSON value."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in items:
        yield from spots(each, (*path, name))


def change_manifest(taken: Taken, world: World, chance: random.Random) -> None:
    path = chance.choice(list(spots(taken.manifest)))
    at: Any = taken.manifest
    for step in path[:-1]:
        at = at[step]
    how = chance.randrange(4)
    if how == 0:
        del at[path[-1]]
    elif how == 1 and isinstance(at, dict):
        at[chance.choice([str(each) for each in odd_values(world) if isinstance(each, str)])] = at.pop(path[-1])
    else:
        at[path[-1]] = copy.deepcopy(chance.choice(odd_values(world)))


def _digest_of(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def plant_file(taken: Taken, world: World, chance: random.Random) -> None:
    """A project file that no format declares, described as it has to be."""
    name = chance.choice(
        ["main.py", "../.ssh/authorized_keys", ".git/hooks/x", "pyproject.toml", "poetry.toml", "a\0b"]
    )
    content = chance.choice([b"planted\n", b"\xff\xfe", b"x" * 1000, b""])
    taken.manifest["left"][name] = _digest_of(content)
    if chance.random() < 0.5:
        taken.manifest["given"][name] = None
    taken.parts = [part for part in taken.parts if part.name != f"files/{name}".encode()]
    taken.parts.insert(1, Part(f"files/{name}".encode(), b"0", 0o644, b"1", b"", content))


def change_texts(taken: Taken, world: World, chance: random.Random) -> None:
    """Other files, or other paths in them, that are to be rewritten where a snapshot moves."""
    names = [part.name.decode(errors="replace") for part in taken.parts] + [
        "../../x",
        "/etc/passwd",
        "",
        ".",
        "a\0b",
        "bin/python",
    ]
    listed = [name.partition("/")[2] or name for name in chance.sample(names, min(len(names), 4))]
    if chance.random() < 0.6:
        taken.manifest["texts"][chance.choice(["venv", "layer", "python", "poetry", "x"])] = listed * chance.choice(
            [1, 1, 2]
        )
    else:
        paths = ["/", "/e", "", str(world.home), str(world.evil), str(world.root), "/" + "n" * 5000, "a", "\udcff"]
        taken.manifest["inputs"][chance.choice(["project", "data", "pythons", "package"])] = chance.choice(paths)


def name_program(taken: Taken, world: World, chance: random.Random) -> None:
    """Another interpreter, described as it has to be for it to be started or linked to."""
    path = chance.choice([
        world.evil, world.evil.parents[1] / "cpython-3.12-x/bin/python3", Path("/bin/sh"), world.project / "main.py",
        Machine.detect().uv_pythons / "../x/bin/python3", world.root / "prefix/bin/python3.12", world.root / "x/y/python3",
        Path(sys.executable).parent / "../bin/python3",
    ])  # fmt: skip
    taken.manifest["python"] = {
        "path": str(path),
        "version": chance.choice(["3.12.1", taken.manifest["python"]["version"]]),
        "source": chance.choice(["system", "uv", "miniconda", "miniforge", "none"]),
    }
    python = Interpreter(path=path, version=taken.manifest["python"]["version"], source="system")
    layer = colab_layer.directory(Machine.detect(), python)
    taken.manifest["layer"] = layer.name
    if "layer" in taken.manifest["trees"]:
        taken.manifest["trees"]["layer"] = str(layer)
    if chance.random() < 0.5:
        taken.manifest["trees"]["python"] = str(path.parents[1])
        taken.parts.append(Part(b"python", b"5", 0o7777, b"1", b"", b""))


def name_place(taken: Taken, world: World, chance: random.Random) -> None:
    """A tree or a link that goes where nothing of a snapshot's goes."""
    place = str(
        chance.choice([world.home / ".ssh2", world.root / "prefix" / "new", world.home / ".ssh", world.project])
    )
    if chance.random() < 0.4:
        taken.manifest["links"][place] = chance.choice(["x", "/etc", "..", "a\0b", str(world.evil)])
    else:
        tree = chance.choice(["venv", "layer", "poetry", "uv", "python", "more", "../up"])
        taken.manifest["trees"][tree] = place
        if chance.random() < 0.7:
            taken.parts.append(Part(tree.encode(), b"5", 0o7777, b"1", b"", b""))


def change_member(taken: Taken, world: World, chance: random.Random) -> None:
    part = chance.choice(taken.parts)
    field = chance.choice(["name", "kind", "mode", "mtime", "link", "content", "size"])
    values: dict[str, list[Any]] = {
        "name": [
            b"", b".", b"..", b"/", b"venv", b"venv/..", b"venv/../x", b"venv/lib64/x", b"/etc/x", b"venv/a\0b", b"files/x",
            b"venv/" + b"n" * 256, b"venv/" + b"n/" * 2500, b"venv/\xff", b"venv/bin/python", b"python", b"manifest.json",
            b"venv/colab-env-untried", b"venv/colab-env.json", b"venv/pyvenv.cfg", b"other/x", b"venv//x", b"venv/./x",
        ],
        "kind": [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"x", b"g", b"L", b"S", b"\0"],
        "mode": [0, 0o7777, 0o4755, 0o2755, 0o1777, 0o222, 0o777, 0o7777777],
        "mtime": [
            b"", b"-1", b"99999999999999", b"9" * 300, b"nan", b"1e9", b"0.-1", b"8589934592", b"-62135596801", b"1." + b"9" * 60,
        ],
        "link": [
            b"", b"..", b"/etc/passwd", b"../../../x", b"a\0b", b"x" * 5000, b"venv/pyvenv.cfg", b"venv/lib64", b"files/x",
            bytes(world.evil), bytes(world.home / ".ssh" / "authorized_keys"), b"layer/launch.py", b"\xff", b".",
        ],
        "content": [b"", b"x" * 700, b"\xff\xfe", bytes(3000), b"[" * 900, b"{}"],
        "size": [b"0", b"-1", b"9" * 12, b"9" * 50, b"x", b"512", b"1_0"],
    }  # fmt: skip
    setattr(part, field, chance.choice(values[field]))


def add_link(taken: Taken, world: World, chance: random.Random) -> None:
    """A link where a later step writes, or that leads out."""
    name = chance.choice([
        b"venv/colab-env-untried", b"venv/colab-env.json", b"venv/pyvenv.cfg", b"venv/out", b"venv/bin/python9",
        b"venv/bin/other", b"layer/launch.py", b"layer/link", b"venv/lib/link",
    ])  # fmt: skip
    target = chance.choice([
        taken.manifest["python"]["path"] if isinstance(taken.manifest.get("python"), dict) else "x",
        str(world.home / ".ssh" / "authorized_keys"), "../../main.py", "../main.py", "pyvenv.cfg", str(world.evil), "/", "..",
        str(world.project / "main.py"),
    ])  # fmt: skip
    taken.parts = [part for part in taken.parts if part.name != name]
    taken.parts.append(Part(name, chance.choice([b"2", b"1"]), 0o777, b"1", os.fsencode(str(target)), b""))


def move_members(taken: Taken, world: World, chance: random.Random) -> None:
    how = chance.randrange(4)
    at = chance.randrange(len(taken.parts))
    if how == 0:
        del taken.parts[at]
    elif how == 1:
        taken.parts.insert(chance.randrange(len(taken.parts)), copy.deepcopy(taken.parts[at]))
    elif how == 2:
        chance.shuffle(taken.parts)
    else:
        del taken.parts[at:]


def change_description(taken: Taken, world: World, chance: random.Random) -> None:
    name = chance.choice(["members", "unpacked", "sha256", "size", "more", "manifest"])
    taken.description[name] = copy.deepcopy(chance.choice(odd_values(world)))


def change_text(taken: Taken, world: World, chance: random.Random) -> None:
    """A description that is no JSON, or a strange one."""
    taken.manifest_text = chance.choice([
        b"[" * 100_000, b'{"a":' * 50_000, b"[" * 900 + b"]" * 900, b"", b"\xff", b"null", b"[" + b"{}," * 80_000 + b"0]",
        b"1" * 5000, b'"' + b"a" * 200_000 + b'"', b'"' + b"a" * 300_000 + b'"', json.dumps(taken.manifest).encode("utf-16"),
    ])  # fmt: skip


def disagree(taken: Taken, world: World, chance: random.Random) -> None:
    taken.is_agreeing = False
    change_manifest(taken, world, chance)


def bomb(taken: Taken, world: World, chance: random.Random) -> None:
    """Much out of little: zeros, in one member, in many, in the small files, or after the end."""
    how, size = chance.randrange(5), chance.choice([1 << 24, 1 << 26, 1 << 28])
    if how == 0:
        taken.parts.append(Part(b"venv/zeros", b"0", 0o644, b"1", b"", bytes(size)))
    elif how == 1:
        taken.parts[1:1] = [
            Part(b"files/" + name, b"0", 0o644, b"1", b"", bytes(size // 4)) for name in (b"a", b"b", b"pyproject.toml")
        ]
    elif how == 2:
        taken.parts += [Part(b"venv/d%d" % number, b"5", 0o755, b"1", b"", b"") for number in range(2000)]
    elif how == 3:
        taken.raw.append(lambda archive, _: archive.extend(bytes(size)))
    else:
        long = b"n" * 250
        names = [b"/".join([b"venv", *([long] * depth)]) for depth in range(1, 14)]
        taken.parts += [Part(name, b"5", 0o755, b"1", b"", b"") for name in names]
    if chance.random() < 0.5:
        taken.description |= {
            "unpacked": chance.choice([1000, None, 2**40]),
            "members": chance.choice([3, None, 10**9]),
        }


def flip_bytes(taken: Taken, world: World, chance: random.Random) -> None:
    def flip(archive: bytearray, chance: random.Random) -> None:
        for _ in range(chance.choice([1, 1, 3, 20])):
            archive[chance.randrange(len(archive))] = chance.randrange(256)

    taken.raw.append(flip)


def cut(taken: Taken, world: World, chance: random.Random) -> None:
    taken.raw.append(lambda archive, chance: archive.__delitem__(slice(chance.randrange(len(archive)), None)))


def change_frame(taken: Taken, world: World, chance: random.Random) -> None:
    taken.level = chance.choice([-5, 1, 19, 22])


MUTATIONS: tuple[Callable[[Taken, World, random.Random], None], ...] = (
    *([change_manifest] * 4), *([change_member] * 6), *([plant_file] * 2), *([name_program] * 2), *([name_place] * 2),
    *([add_link] * 3), *([change_texts] * 3),
    *([move_members] * 2), *([flip_bytes] * 3), change_description, change_text, disagree, cut,
    change_frame, bomb,
)  # fmt: skip


def mutant(base: Taken, world: World, chance: random.Random, key: signing.Key) -> tuple[str, bytes]:
    """Return which mutations were made, and the file."""
    taken, done = copy.deepcopy(base), []
    for mutation in chance.choices(MUTATIONS, k=chance.choice([1, 1, 1, 2, 3])):
        done.append(mutation.__name__)
        try:
            mutation(taken, world, chance)
        except (LookupError, TypeError, AttributeError):  # an earlier one took away what this one changes
            done[-1] += "?"
    try:
        return "+".join(done), taken.bytes(chance, key)
    except (ValueError, TypeError, RecursionError, OverflowError):  # nothing that can be written down
        return mutant(base, world, chance, key)


# --- watching


class Watch:
    """What this process does, as Python's own audit events have it."""

    def __init__(self) -> None:
        self.allowed: tuple[str, ...] = ()
        self.is_on = False
        self.writes: list[str] = []
        self.starts: list[str] = []
        self.in_hook = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on or self.in_hook:
            return
        if event.startswith(_STARTING):
            self.starts.append(f"{event} {arguments[0]!r}")
        elif event == "open" and (arguments[2] or 0) & _OPEN_TO_WRITE:
            self._see(event, arguments[0])
        elif event in _WRITING:
            beside = [each for each in arguments[1:] if isinstance(each, int) and event != "os.chown"]
            directory = beside[-1] if beside and event in ("os.remove", "os.rmdir", "os.mkdir", "os.utime") else -1
            for position in _WRITING[event]:
                self._see(event, arguments[position], directory)

    def _see(self, event: str, path: Any, directory: int = -1) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):  # a descriptor: what it is open for was seen
            return
        self.in_hook = True
        base = os.readlink(f"/proc/self/fd/{directory}") if directory >= 0 else ""
        text = os.path.abspath(os.path.join(base, os.fsdecode(path)))
        # The links that a write would follow: all but the last part, and that one too where a file is opened or changed.
        follows = event in ("open", "os.chmod", "os.truncate")
        real = (
            os.path.realpath(text) if follows else f"{os.path.realpath(os.path.dirname(text))}/{os.path.basename(text)}"
        )
        self.in_hook = False
        is_parent = event in ("os.mkdir", "os.rmdir") and any(each.startswith(f"{real}/") for each in self.allowed)
        if not is_parent and not real.startswith(self.allowed):
            self.writes.append(f"{event} {real}")


@dataclasses.dataclass
class Result:
    """What the mutants did, and how many calls ended how."""

    count: int = 0
    restored: int = 0
    outside: list[str] = dataclasses.field(default_factory=list)
    started: list[str] = dataclasses.field(default_factory=list)
    untyped: list[str] = dataclasses.field(default_factory=list)
    lied: list[str] = dataclasses.field(default_factory=list)
    ends: Counter[str] = dataclasses.field(default_factory=Counter)
    peak: int = 0  # bytes
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        return not (self.outside or self.started or self.untyped or self.lied) and self.peak <= 200_000_000


class TooLongError(Exception):
    """A call that does not end."""


def _too_long(*_: object) -> None:
    raise TooLongError


def attempt(call: Callable[[], Any], label: str, result: Result) -> tuple[Any, BaseException | None]:
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        return call(), None
    except ColabEnvError as error:
        return None, error
    except BaseException as error:  # noqa: BLE001  (what is counted)
        result.untyped.append(f"{label}: {type(error).__name__}: {error}"[:300])
        return None, error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def forget_peak() -> None:
    """Let the peak of memory be that of what follows: to make a mutant takes more than to read it may."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Return the most memory that this process has had since then, in bytes. Not ru_maxrss, which nobody resets."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def try_mutant(world: World, watch: Watch, result: Result, label: str) -> None:
    before = world.around()
    forget_peak()
    watch.is_on = True
    attempt(lambda: colab_env.cache_list(world.cache), f"{label} list", result)
    verified, _ = attempt(lambda: colab_env.cache_verify(world.cache), f"{label} verify", result)
    restored, error = attempt(lambda: colab_env.restore(world.cache, project=world.project), f"{label} restore", result)
    watch.is_on = False
    result.peak = max(result.peak, peak())
    if verified is not None and verified.ok and error is not None and not isinstance(error, _NothingFitsError):
        result.lied.append(f"{label}: {error}"[:300])
    after = world.around()
    changed = [path for path in {*before, *after} if before.get(path) != after.get(path)]
    result.outside += [f"{label}: {each}" for each in (*watch.writes, *changed)]
    result.started += [f"{label}: {each}" for each in watch.starts]
    if (world.root / "evil" / "trace").exists():
        result.started.append(f"{label}: the program that leaves a trace")
        (world.root / "evil" / "trace").unlink()
    watch.writes.clear()
    watch.starts.clear()
    reason = re.sub(r"[/'\"].*|\S+\.tar\.zst\S*", "…", str(getattr(error, "message", error)))[:60]
    result.ends["restored" if restored else f"{type(error).__name__}: {reason}"] += 1
    result.count += 1
    result.restored += restored is not None
    world.forget()


def measure(count: int, seed: int, *, scratch: Path | None = None, show: bool = False) -> Result:
    """Try so many mutants, half of each kind of Python, and half of them made in another home.

    Changes this process's environment: give it one of its own.
    """
    result, began = Result(), time.monotonic()
    signal.signal(signal.SIGALRM, _too_long)
    with tempfile.TemporaryDirectory(dir=scratch) as place, _report.screen(_report.Silent()):
        world = World(Path(os.path.realpath(place)))
        elsewhere = dataclasses.replace(world, name="ada")  # where half of them were made
        for each in (elsewhere, world):
            each.make()
            each.enter()
        key = signing.Key.parsed(os.environ[signing.VARIABLE], origin="this benchmark")
        watch = Watch()
        watch.allowed = world.allowed()
        bases = []
        for maker in (world, elsewhere):
            maker.enter()
            for python in pythons(maker):
                set_up(maker, python)
                colab_env.save(world.cache, project=maker.project)
                (path,) = world.cache.glob("*.tar.zst")
                bases.append(take_apart(path))
                world.enter()
                colab_env.restore(world.cache, project=world.project)  # what was not changed is restored
                path.unlink()
                world.forget()
                maker.forget()
                maker.enter()
        world.enter()
        chance = random.Random(seed)
        for number in range(count):
            base = bases[number % len(bases)]
            label, content = mutant(base, world, chance, key)
            (world.cache / base.name).write_bytes(content)
            del content
            try_mutant(world, watch, result, f"{number} {label}")
            (world.cache / base.name).unlink()
            if show and number % 500 == 499:
                print(f"{number + 1} of {count}, {time.monotonic() - began:.0f} s", file=sys.stderr)
    result.seconds = time.monotonic() - began
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    memory = Path("/dev/shm")
    parser.add_argument("--scratch", type=Path, default=memory if memory.is_dir() else None, help="where to unpack")
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    arguments = parser.parse_args()
    result = measure(arguments.count, arguments.seed, scratch=arguments.scratch, show=not arguments.json)
    if arguments.json:
        print(json.dumps({**vars(result), "ok": result.is_good}))
        return 0 if result.is_good else 1
    for each in (*result.outside, *result.started, *result.untyped, *result.lied)[:50]:
        print(each)
    for end, number in result.ends.most_common(25):
        print(f"{number:6} {end}")
    print(f"{result.count} mutated snapshots, {result.restored} of them restored, in {result.seconds:.0f} s")
    print(f"writes outside: {len(result.outside)}; programs started: {len(result.started)}; ", end="")
    print(f"untyped errors: {len(result.untyped)}; verified and then refused as damaged: {len(result.lied)}")
    print(f"peak memory: {result.peak / 1e6:.0f} MB")
    return 0 if result.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
