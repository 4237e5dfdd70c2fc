"""Parsers of what stands beside a project and comes from elsewhere: container files, apt's lists, wheels, cells, snapshots."""

# ruff: noqa: E501

from __future__ import annotations

import contextlib
import io
import itertools
import shutil
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

from hypothesis import strategies as st
from registry_server import layer

from colab_env import _download, caches, container, content, ipynb, machine_report, magics, native
from colab_env._process import Finished
from colab_env.errors import ColabEnvError
from colab_env.formats import uv_project
from colab_env.image import _delivery, _wheelhouse, context, jupyter, project, shared_libraries, surroundings, writing
from colab_env.image.rootfs import RootFS
from colab_env.jupyter import diversion, kernelspec
from colab_env.locks import registry
from colab_env.named_env import programs, repacking, scripts
from colab_env.native_need import apt, contents, locked_files, packed_index, published
from colab_env.notebook_file import block_cell, install_lines, jupyter_server
from colab_env.snapshot import _archive, _cache, manifest, signing

from . import seeds
from .inputs import as_json, as_toml, damaged, lines, words, written
from .trial import Parser, World

_CONTAINERS = Path(__file__).parents[1] / "containers"
_DOCKERFILES = [path.read_text(encoding="utf-8") for path in sorted(_CONTAINERS.glob("*Dockerfile"))]
_DOCKERFILE_LINES = (
    *(
        "# escape=`",
        "ENV A=$A$A",
        "ENV A=${A:-b}${A:+c} B='c d'",
        "ARG V=3.12",
        "FROM python:${V} AS base",
        "FROM base",
    ),
    *(
        "COPY --from=² a b",
        "COPY --from=0 --chown=1:1 a b",
        'CMD ["a"',
        "CMD [[[",
        "RUN <<EOF",
        "EOF",
        "RUN a \\",
        "ONBUILD",
    ),
    *(
        "RUN --mount=type=cache,target=/root/.cache pip install -r requirements.txt && rm -rf /x",
        "WORKDIR $A/b",
        "USER",
    ),
    *(
        "RUN poetry export -f requirements.txt | pip install -r /dev/stdin",
        'RUN bash -c "bash -c \\"uv pip install x\\""',
    ),
)
_IGNORED = ["# a\n*.pyc\n**/node_modules\n!keep\n/dist\n[a-z]?.txt\n", "**/a*/**/b*/**\n[!a]\n[\n*\\\n"]
_HEAD = "# Written by colab-env: container write --base 'python:3.12'\n# lock sha256:{}, this text sha256:{}\nFROM x\n"
_CONTENTS = [
    "usr/include/zlib.h    libdevel/zlib1g-dev\nusr/lib/x86_64-linux-gnu/libz.so.1.2.13    libs/zlib1g,libs/lib32z1\n",
    "usr/include/graphviz/cgraph.h\tuniverse/libdevel/libgraphviz-dev\nusr/lib/x86_64-linux-gnu/pkgconfig/zlib.pc libdevel/zlib1g-dev\n",
    "usr/share/cmake/Modules/FindX.cmake devel/cmake\nusr/bin/pkg-config devel/pkgconf\n",
]
_PACKAGES = [
    "Package: zlib1g-dev\nSource: zlib (1:1.3)\nDepends: zlib1g (= 1:1.3), libc6-dev | libc-dev\nRecommends: x:any [amd64]\n\n",
    "Package: libboost1.74-dev\nPre-Depends: python3\nDepends: ,|(\n\n",
]
_STATUS = [
    "Package: zlib1g-dev\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:1.3.dfsg-3\n\nPackage: b\nStatus: deinstall ok config-files\n",
]
_APT_LINES = [
    (
        "Reading package lists...\nThe following NEW packages will be installed:\n  libpq-dev libpq5:amd64 x*\nThe following packages will be REMOVED:\n  y\n"
        "After this operation, 1,234.5 kB of additional disk space will be used.\n"
        "After this operation, 12 MB disk space will be freed.\n"
    ),
    (
        "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1 (apt)\nE: Unable to locate package nope\n"
        "W: Failed to fetch http://host/x  Temporary failure resolving 'host'\nE: Unable to correct problems, you have held broken packages.\n"
    ),
]
_WHEEL_PAGE = [
    {
        "files": [
            {"filename": "x-1.0-cp312-cp312-manylinux_2_17_x86_64.whl", "requires-python": ">=3.9", "yanked": False},
            {"filename": "x-0.9.tar.gz", "requires-python": "bogus", "yanked": "bad"},
            {"filename": "x-9!1.0rc1+local-1-py3-none-any.whl"},
        ]
    }
]
_HTML_PAGE = [
    (
        '<a href="x-1.0.tar.gz#sha256=0" data-requires-python="&gt;=3.8">x-1.0.tar.gz</a>\n'
        "<a data-yanked=''>x-1-py3-none-any.whl</a>\n<A HREF='/x'>x-2.0-cp313-cp313-musllinux_1_2_aarch64.whl</A>\n"
    )
]
_CELLS = [
    "!pip install -q numpy==1.26 'pandas>=2' --extra-index-url https://user:pw@host/simple\nimport numpy\n",
    "%%bash\npip install x \\\n  y\nif true; then\n  pip3 install z\nfi\n",
    "%pip install -r requirements.txt\n! python3 -m pip install git+https://host/x.git@abc\n",
    "%%capture\n!apt-get install -y graphviz\n!pip install 'x[a]; python_version < \"4\"' ./y -e . {name} $X\n",
    "get_ipython().system('pip install x')\n'''\n!pip install inside\n'''\n",
    "%%javascript\nalert(1)\n",
]
_DIVERTED = (
    "# Made by colab-env: x\nTABLE = {'notebooks': [{'name': \"py312\", 'kernel': \"/k/kernel.json\", 'kernel_id': \"a\", 'session': None}], "
    "'default': None}\nGUARD = 'x'\n"
)
_FOOTER = {"manifest": {"format": 1}, "sha256": "0" * 64, "size": 8, "members": 3, "unpacked": 100}
_LOCK_FILES = {"poetry.lock": seeds.POETRY_LOCKS, "pdm.lock": seeds.PDM_LOCKS, "pylock.toml": seeds.PYLOCKS}
_AMD64 = locked_files.Target(python=(3, 12), machine="x86_64")


def _clean(world: World, **files: bytes) -> Path:
    """Give an empty directory with these files, whose names have two underscores for a point."""
    directory = world.directory / "outside"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name, written_bytes in files.items():
        (directory / name.replace("__", ".")).write_bytes(written_bytes)
    return directory


def _each(*readers: Callable[[], object]) -> None:
    """Give every one of them its turn; each may refuse."""
    for read in readers:
        with contextlib.suppress(ColabEnvError):
            read()


def _text(file: bytes) -> str:
    return file.decode("utf-8", "replace")


def _dockerfile(world: World, file: bytes) -> None:
    directory = _clean(world, Dockerfile=file, requirements__txt=b"six==1.16.0\n")
    repr(container.check(directory / "Dockerfile", project=directory, fix=True)).encode("utf-8", "replace")


def _ignore_file(world: World, file: bytes) -> None:
    directory = _clean(world, **{"__dockerignore": file, "key.pem": b"", "a" * 60: b""})
    (directory / "secrets").mkdir()
    survey = context.survey(directory, context.read_ignored(directory / ".dockerignore"))
    context.text(survey)
    _each(
        lambda: context.require_no_secrets(directory, survey),
        lambda: context.require_visible(directory / ".dockerignore", ["a"]),
    )


def _head(_world: World, file: bytes) -> None:
    head = writing.Head.of(_text(file))
    if head is not None:
        head.values("--base")


def _exported(world: World, file: bytes) -> None:
    directory = _clean(world, y__whl=b"")
    project.parse_packages(_text(file), directory=directory, context=directory, project=directory)


def _notebooks_kernel(world: World, file: bytes) -> None:
    jupyter.kernel_name(_clean(world, a__ipynb=file))


def _image_file(world: World, file: bytes) -> None:
    path = _clean(world) / "app.tar"
    for archive in (file, layer({"oci-layout": file}), layer({"index.json": file})):
        path.write_bytes(archive)
        _each(lambda: _delivery.require_free(path))


def _loader_settings(_world: World, file: bytes) -> None:
    tree = RootFS("base")
    tree.add(io.BytesIO(layer({"etc/ld.so.conf": file, "etc/ld.so.conf.d/a.conf": file, "usr/lib/liba.so.1": b""})))
    shared_libraries.in_base(tree, "x86_64-linux-gnu", [f"LD_LIBRARY_PATH={_text(file)}"])


def _elf() -> bytes:
    """Return the least of a shared library: a header, two segments, and a dynamic section that names one other."""
    names = b"\0libz.so.1\0liba.so\0"
    section = b"".join(struct.pack("<QQ", *entry) for entry in ((1, 1), (14, 11), (5, 0x1000), (0, 0)))
    at, segments = 64 + 2 * 56, []
    for kind, offset, address, size in ((1, at, 0x1000, len(names)), (2, at + len(names), 0x2000, len(section))):
        segments.append(struct.pack("<IIQQQQQQ", kind, 4, offset, address, address, size, size, 8))
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0
    )
    return head + b"".join(segments) + names + section


def _library(_world: World, file: bytes) -> None:
    shared_libraries.read_dynamic(io.BytesIO(file), 62)


def _damaged_index(world: World, file: bytes) -> None:
    index = packed_index.Index(world.put("packages.index", file))
    _looked_up(index)


def _index_of_lists(world: World, value: tuple[bytes, bytes]) -> None:
    files, packages = contents.Contents(), contents.Packages()
    files.read([value[0][:50], value[0][50:]])
    packages.read([value[1][:50], value[1][50:]])
    packed = contents.packed(files, packages, {"note": None})
    _looked_up(packed_index.Index(world.put("packages.index", packed)))


def _foreign_index(world: World, value: tuple[list[bytes], list[bytes], list[bytes]]) -> None:
    """Read an index with right checksums whose lines nobody here would write."""
    names, locations, packages = (sorted(each) for each in value)
    pairs = [line.partition(b"\t")[::2] for line in names]
    _looked_up(packed_index.Index(world.put("packages.index", packed_index.pack({}, pairs, locations, packages))))


def _looked_up(index: packed_index.Index) -> None:
    for name in ("zlib.h", "cgraph.h", "libz.so.1", ""):
        list(itertools.chain(index.locations(name), index.starting(name[:3]), index.package_names(name)))
    for package in ("zlib1g-dev", "libgraphviz-dev"):
        index.package(package)


def _dpkg(world: World, file: bytes) -> None:
    system = apt.Apt(machine=world.machine, status=world.put("status", file))
    system.absent(["zlib1g-dev=1"])
    system.version("zlib1g-dev")


def _apt_output(world: World, text: str) -> None:
    apt._listed(text, "The following NEW packages will be installed:")
    apt._disk(text)
    finished = Finished(argv=("apt-get",), returncode=100, lines=tuple(text.splitlines()))
    str(apt.Apt(machine=world.machine)._problem(finished, ["x"]))


def _published(_world: World, value: tuple[bytes, str]) -> None:
    files = published.read_page(_text(value[0]))
    published.fitting_version(files, value[1])
    for version in (None, "1.0", value[1]):
        list(published.wheel_advice(files, "x", version, _AMD64))


def _cells(_world: World, value: list[bytes]) -> None:
    install_lines.read(list(enumerate(map(_text, value))), is_alone=len(value) < 2)


def _opened_notebook(world: World, file: bytes) -> None:
    opened = ipynb.read(world.put("lesson.ipynb", file))
    block_cell.read(opened)
    jupyter_server.kernel_name(opened.content, opened.path)


def _switched(world: World, value: tuple[bytes, bytes]) -> None:
    directory = world.directory / "colab/lib/python3.12/dist-packages"
    directory.mkdir(parents=True, exist_ok=True)
    for name, file in zip(("usercustomize.py", "colab_kernel_launcher.py"), value, strict=True):
        (directory / name).write_bytes(file)
    choices = diversion.read(replace(world.machine, colab_packages=directory))
    choices.of(diversion.Notebook(kernel_id="a", session="s"))
    repr(diversion._plain(choices))


def _snapshot_end(_world: World, file: bytes) -> None:
    footer = manifest.read_footer(io.BytesIO(file))
    _ = footer.most_members, footer.most_unpacked


def _snapshot_with_end(_world: World, value: tuple[bytes, bytes | None]) -> None:
    text, signature = value
    end = manifest.footer_bytes(text, signature)
    manifest.Manifest.read(manifest.read_footer(io.BytesIO(b"archive." + end)).manifest)


def _member(_world: World, value: tuple[bytes, bytes]) -> None:
    block, extended = value[0].ljust(512, b"\0")[:512], value[1]
    if _archive.extended_size(block) is None:
        _archive.parse(block, extended)


def _listing(world: World, value: tuple[bytes, bytes]) -> None:
    answers = {_cache.INDEX: _text(value[0])}
    with mock.patch.object(_download, "read_text", lambda url: answers.get(url.rpartition("/")[2], _text(value[1]))):
        for entry in _cache.WebStore("https://host/envs", world.directory).entries(required=True):
            _ = manifest.Name.parsed(entry.name), entry.is_leftover


def _written_words(world: World, text: str) -> None:
    _each(
        lambda: signing.Key.parsed(text, origin="x"),
        lambda: signing.Trust.parsed(text),
        lambda: caches.limit(replace(world.machine, environ={**world.machine.environ, caches.LIMIT: text})),
        lambda: locked_files.parse_target(text, "3.12"),
        lambda: locked_files.parse_target(None, text),
        lambda: magics._options(text.split()),
        lambda: apt.check_name(text),
        lambda: surroundings.is_older(text, (1, 2)),
        lambda: repacking.pinned(text),
    )


def _locked_files(name: str) -> Callable[[World, bytes], None]:
    def call(world: World, file: bytes) -> None:
        directory = _clean(world, **{name: file, "pyproject.toml": as_toml(seeds.PYPROJECTS[0]).encode()})
        native.check(directory, lock=name, platform="linux/arm64-musl", python="3.11")

    return call


def _wheels_files(world: World, value: tuple[bytes, bytes, bytes, bytes]) -> None:
    """Read an installed wheel's own files, as `verify`, `env export` and an image do."""
    directory = _clean(world)
    info = directory / "lib/python3.12/site-packages/six-1.16.0.dist-info"
    info.mkdir(parents=True)
    for name, file in zip(("entry_points.txt", "WHEEL", "direct_url.json", "RECORD"), value, strict=True):
        (info / name).write_bytes(file)
    survey = content.Survey(directory)
    survey.broken()
    survey.differences(survey.content({}))
    programs._programs(info)
    for found, promised in survey.records.items():
        repacking.content_hash(found, survey)
        repacking.KeptWheels(directory, world.directory / "kept").files(found, promised, [])
    _wheelhouse._is_of_this_machine(info / "direct_url.json")


def _described_package(name: str) -> Callable[[World, bytes], None]:
    def call(world: World, file: bytes) -> None:
        lock = registry.find(_clean(world, **{name: file}))
        _ = lock.digest, lock.requires_python, lock.format.inputs(lock)

    return call


def _resolution(world: World, file: bytes) -> None:
    lock = registry.find(_clean(world, pyproject__toml=b"[tool.uv]\n[project]\nname='x'\nversion='1'\n"))
    path = uv_project._file(lock, world.machine)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file)
    uv_project._last_resolution(lock, world.machine)


def _scripts_lock(world: World, file: bytes) -> None:
    directory = _clean(world, script__py=seeds.SCRIPTS[0].encode(), **{"script.py.lock": file})
    recipe = scripts.recipe(directory / "script.py")
    assert recipe is not None
    scripts.environment_name(recipe, machine=world.machine)


def _examined_kernel(world: World, file: bytes) -> None:
    directory = world.machine.jupyter / "kernels/other"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "kernel.json").write_bytes(file)
    for entry in kernelspec.registered(world.machine):
        with mock.patch.object(machine_report.kernel, "try_kernel", side_effect=ColabEnvError("x")):
            repr(machine_report._kernel(entry, world.machine))
        machine_report._masked("a secret", entry.directory)


def _rows(seed: Sequence[bytes]) -> st.SearchStrategy[list[bytes]]:
    known = st.sampled_from(seed)
    changed = damaged(known).map(lambda line: line.replace(b"\n", b""))
    return st.lists(st.one_of(known, known, changed), max_size=6)


_INDEX = packed_index.pack(
    {"note": None},
    [(b"cgraph.h", b"0"), (b"zlib.h", b"1 0")],
    [b"usr/include/graphviz\tlibgraphviz-dev", b"usr/include\tzlib1g-dev"],
    [b"libgraphviz-dev\t38\t-\tlibcgraph6\t", b"zlib1g-dev\t9\td\tzlib1g\t"],
)
_signatures = st.none() | st.binary(min_size=32, max_size=32)

PARSERS = (
    Parser(name="Dockerfile", inputs=lines(_DOCKERFILES, *_DOCKERFILE_LINES), call=_dockerfile),
    Parser(
        name=".dockerignore",
        inputs=lines(_IGNORED, "**a**a**a**a**a**a**a**a**a**b", "*" * 30 + "b"),
        call=_ignore_file,
    ),
    Parser(name="head of a written file", inputs=lines([_HEAD.format("0" * 64, "0" * 16)]), call=_head),
    Parser(
        name="exported requirements",
        inputs=lines(seeds.REQUIREMENTS, "x @ file:///y", "../z", "x===1", "-e"),
        call=_exported,
    ),
    Parser(name="notebooks of an image", inputs=written(seeds.NOTEBOOKS, as_json), call=_notebooks_kernel),
    Parser(
        name="a file in an image's place",
        inputs=written([{"annotations": {"org.colab-env": "1"}}], as_json),
        call=_image_file,
    ),
    Parser(
        name="ld.so.conf",
        inputs=lines(["/usr/lib/x\ninclude /etc/ld.so.conf.d/*.conf\n# a\nhwcap 1 x\n"]),
        call=_loader_settings,
    ),
    Parser(name="a shared library", inputs=damaged(st.just(_elf())), call=_library),
    Parser(name="index of packages", inputs=damaged(st.just(_INDEX)), call=_damaged_index),
    Parser(name="apt's lists", inputs=st.tuples(lines(_CONTENTS), lines(_PACKAGES)), call=_index_of_lists),
    Parser(
        name="index with checksums",
        inputs=st.tuples(
            _rows([b"zlib.h\t0", b"zlib.h\t1 x", b"cgraph.h", b"libz.so.1\t99", b"a\t-1"]),
            _rows([b"usr/include\tzlib1g-dev", b"usr", b"\t", b"a\tb\tc"]),
            _rows([b"zlib1g-dev\t3\td\tzlib1g\t", b"zlib1g-dev", b"libgraphviz-dev\tx\t\t\t", b"a\t1"]),
        ),
        call=_foreign_index,
    ),
    Parser(name="dpkg's status", inputs=lines(_STATUS), call=_dpkg),
    Parser(
        name="apt's output",
        inputs=lines(_APT_LINES, "After this operation, 1.2.3 MB disk").map(_text),
        call=_apt_output,
    ),
    Parser(
        name="an index's page of files",
        inputs=st.tuples(
            written(_WHEEL_PAGE, as_json) | lines(_HTML_PAGE, "<a x=" + "'" * 50, "<a " + "a" * 4000),
            words(("1.0", "3.6.2", "9" * 50)),
        ),
        call=_published,
    ),
    Parser(name="install lines of cells", inputs=st.lists(lines(_CELLS), max_size=3), call=_cells),
    Parser(name="notebook that is opened", inputs=written(seeds.NOTEBOOKS, as_json), call=_opened_notebook),
    Parser(
        name="what a start is diverted by",
        inputs=st.tuples(
            lines([_DIVERTED], "TABLE = {}", "TABLE = " + "[" * 200),
            lines(["# Made by colab-env\n# 0\nKERNEL = '/k/kernel.json'\n"]),
        ),
        call=_switched,
    ),
    Parser(
        name="end of a snapshot",
        inputs=damaged(
            written([_FOOTER], as_json).map(lambda text: b"archive." + manifest.footer_bytes(text, bytes(32)))
        ),
        call=_snapshot_end,
    ),
    Parser(
        name="description of a snapshot",
        inputs=st.tuples(written([_FOOTER], as_json), _signatures),
        call=_snapshot_with_end,
    ),
    Parser(
        name="member of a snapshot",
        inputs=st.tuples(
            damaged(st.just(_archive.header(_archive.Member("a/b", b"0", 0o644, 3, 10**18))[-512:])),
            damaged(st.sampled_from((b"", b"19 path=aaaaaaaaaa\n", b"20 mtime=1.000000001\n", b"13 size=99999\n"))),
        ),
        call=_member,
    ),
    Parser(
        name="listing of a web cache",
        inputs=st.tuples(
            written([[{"name": f"a-{'0' * 12}-{'1' * 12}-{'2' * 8}.tar.zst", "size": 3, "modified": 1.5}]], as_json),
            lines(['<a href="a.tar.zst">a</a> <a href=./b-0.tar.zst?x>\n']),
        ),
        call=_listing,
    ),
    Parser(
        name="words of a person",
        inputs=words(
            (
                "5e" * 32,
                "sha256:",
                "a.tar.zst",
                "20 GB",
                "linux/amd64",
                "-musl",
                "3.12",
                "py312 --push x,y",
                "libpq-dev",
                "1.8",
            )
        ),
        call=_written_words,
    ),
    *(
        Parser(name=f"files in {name}", inputs=written(documents, as_toml), call=_locked_files(name))
        for name, documents in _LOCK_FILES.items()
    ),
    Parser(
        name="files of a wheel",
        inputs=st.tuples(
            lines(["[console_scripts]\nsix = six:main\n[gui_scripts]\n"], "[", "=", "a: b", "  x"),
            lines(["Wheel-Version: 1.0\nTag: py2-none-any\nTag: py3-none-any\n"]),
            written(
                [
                    {"url": "file:///y/x.whl", "archive_info": {"hash": "sha256=0", "hashes": {"sha256": "0"}}},
                    {"url": "https://user:pw@host/x.git", "vcs_info": {"vcs": "git", "commit_id": "0"}},
                    {"url": "file:///y", "dir_info": {"editable": True}},
                ],
                as_json,
            ),
            lines(
                seeds.RECORDS,
                "x,,abc",
                "/x,,1",
                '"',
                "six.py,md5=abc,1",
                "six.py,shake_128=abc,1",
                "../../../x,sha256=a,1",
            ),
        ),
        call=_wheels_files,
    ),
    Parser(
        name="setup.py",
        inputs=lines(["from setuptools import setup\nsetup(name='x', python_requires='>=3.8')\n"]),
        call=_described_package("setup.py"),
    ),
    Parser(
        name="setup.cfg",
        inputs=lines(["[metadata]\nname = x\n[options]\npython_requires = >=3.8\n"]),
        call=_described_package("setup.cfg"),
    ),
    Parser(name="a kept resolution", inputs=lines(seeds.REQUIREMENTS, "# 0"), call=_resolution),
    Parser(name="lock of a script", inputs=written(seeds.UV_LOCKS, as_toml), call=_scripts_lock),
    Parser(name="a kernel that is examined", inputs=written(seeds.KERNELS, as_json), call=_examined_kernel),
)
