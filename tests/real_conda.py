"""`python -m tests.real_conda DIR`: make a real Miniconda installer, and a channel for it, from public sources.

Conda, constructor, conda-standalone and the plugins are built from their repositories, everything else from wheels of
PyPI, and the Python is a copy of one that is on this machine; no conda channel has to be reached. It takes about four
minutes, 1.5 GB and Linux with git and `strip`. With COLAB_ENV_REAL_CONDA=DIR the tests run against the result.

What differs from the published Miniconda: py-rattler solves in the place of libmamba (which PyPI does not have), and
OpenSSL and its kind are the machine's.
"""

from __future__ import annotations

import argparse
import configparser
import email
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conda_standin import builder

PYTHON = "3.12"
RESULT = "real_conda.json"  # written last: what was made
CONDA_VERSION = "26.5.3"
INSTALLER = f"Miniconda3-py{PYTHON.replace('.', '')}_{CONDA_VERSION}-1-Linux-x86_64.sh"
# By repository: the tag, and the name of the distribution that it makes (conda-standalone makes none).
SOURCES = {
    "conda/conda": (CONDA_VERSION, "conda"),
    "conda/constructor": ("3.16.3", "constructor"),
    "conda/menuinst": ("2.5.2", "menuinst"),
    "anaconda/conda-anaconda-tos": ("0.2.2", "conda-anaconda-tos"),
    # 0.2.0, which PyPI has, is for a newer conda.
    "conda-incubator/conda-rattler-solver": ("0.1.0", "conda-rattler-solver"),
    "conda/conda-standalone": ("26.5.2", None),
    # What conda-forge's build of google-colab is made from, of February 2021.
    "googlecolab/colabtools": ("1c93489a2facb465c6234beea004abcf6163b41b", None),
}
BASE = ("conda", "menuinst", "conda-rattler-solver==0.1.0", "conda-anaconda-tos", "pip", "setuptools<81", "wheel")
FORGE = ("jupyter", "ipykernel", "numpy")
_PLACEHOLDER = "/opt/" + "placeholder_" * 20  # what conda replaces with its prefix, in files of text
_PACK = """\
import json, sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from conda_package_handling import api

def pack(package):
    tree, target = package
    files = [str(path.relative_to(tree)) for path in Path(tree).rglob("*") if path.is_symlink() or not path.is_dir()]
    api.create(tree, files, target, compression_level=3)

with ProcessPoolExecutor() as pool:
    list(pool.map(pack, json.loads(sys.argv[1])))
"""
_INDEX = (
    "import asyncio, sys; from rattler.index import index_fs; asyncio.run(index_fs(sys.argv[1], write_shards=False))"
)
_OURS = {"CONDA_SOLVER": "rattler", "PYTHONDONTWRITEBYTECODE": ""}


def main() -> int:
    """Make what is not there yet."""
    parser = argparse.ArgumentParser(prog="python -m tests.real_conda", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path, help="where everything goes; outside the repository")
    parser.add_argument(
        "--git",
        default="https://github.com/{owner}/{name}",
        metavar="TEMPLATE",
        help="where the repositories are, such as /mirror/{owner}/{name}.git",
    )
    arguments = parser.parse_args()
    directory = arguments.directory.resolve()
    if (directory / RESULT).exists():
        print(f"{directory / RESULT} is there already")
        return 0
    directory.mkdir(parents=True, exist_ok=True)
    sources = clone(directory / "sources", template=arguments.git)
    python = builder.find_python(PYTHON)
    tool = build_tool(directory, sources, python)
    base = build_channel(directory, "base", BASE, tool=tool, python=python)
    forge = build_channel(directory, "conda-forge", FORGE, tool=tool, google_colab=sources["colabtools"])
    merge(base, forge, tool)
    standalone = build_standalone(directory, sources, tool)
    build_installer(directory, base, standalone, tool)
    return 0


def clone(directory: Path, *, template: str) -> dict[str, Path]:
    """Check the tag of each repository out; return where, by distribution or by the repository's name."""
    places = {}
    for repository, (tag, _) in SOURCES.items():
        owner, _, name = repository.partition("/")
        places[name] = directory / name
        if not places[name].exists():
            url = template.format(owner=owner, name=name)
            part = directory / f"{name}.part"
            shutil.rmtree(part, ignore_errors=True)
            run("git", "init", "-q", part)
            run("git", "fetch", "-q", "--depth", "1", url, tag, cwd=part)
            # Without its tests: they are large, and some copies of a repository lack large files.
            run("git", "checkout", "-q", "FETCH_HEAD", "--", ".", ":!tests", cwd=part)
            part.rename(places[name])
    return places


def build_tool(directory: Path, sources: Mapping[str, Path], python: Path) -> Path:
    """Make a virtual environment with all the programs that are needed, and wheels of what was cloned; return its Python."""
    program = directory / "tool/bin/python"
    if not program.exists():
        run(python / f"bin/python{PYTHON}", "-m", "venv", directory / "tool")
    wheels = directory / "wheels"
    for repository, (tag, distribution) in SOURCES.items():
        if distribution is not None and not [*wheels.glob(f"{distribution.replace('-', '_')}-*.whl")]:
            place = sources[repository.partition("/")[2]]
            # Their versions come from tags, which a snapshot of a repository may not have.
            run(
                program,
                "-m",
                "pip",
                "wheel",
                "-q",
                "--no-deps",
                "-w",
                wheels,
                place,
                SETUPTOOLS_SCM_PRETEND_VERSION=tag,
            )
    run(program, "-m", "pip", "install", "-q", "--find-links", wheels, *BASE, "constructor", "pyinstaller", "zstandard")
    return program


def build_channel(
    directory: Path,
    name: str,
    wanted: Sequence[str],
    *,
    tool: Path,
    python: Path | None = None,
    google_colab: Path | None = None,
) -> Path:
    """Make a channel of what `wanted` needs, of a Python and of what a repository has; return its directory."""
    channel, downloads = directory / "channels" / name, directory / "downloads" / name
    if channel.exists():
        return channel
    own = ["--find-links", directory / "wheels"]
    run(tool, "-m", "pip", "wheel", "-q", *own, "-w", downloads, *wanted)
    part = directory / "channels" / f"{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    packages: list[tuple[str, str]] = []
    if python is not None:
        packages.append(package_python(part, python))
    if google_colab is not None:
        run(tool, "-m", "pip", "wheel", "-q", "--no-deps", "-w", downloads / "no-deps", google_colab)
    # The feedstock of google-colab pins nothing either, so that it goes beside every IPython.
    wheels = sorted(downloads.rglob("*.whl"))
    packages += [package_wheel(part, wheel, with_requirements=wheel.parent == downloads) for wheel in wheels]
    for subdir in ("linux-64", "noarch"):
        (part / subdir).mkdir(parents=True, exist_ok=True)
    run(tool, "-c", _PACK, json.dumps(packages))
    shutil.rmtree(part / "trees")
    run(tool, "-c", _INDEX, part)
    part.rename(channel)
    return channel


def merge(base: Path, channel: Path, tool: Path) -> None:
    """Add what the installer brings to a channel, as on conda-forge: the solver takes nothing that is in no channel."""
    for package in base.glob("*/*.conda"):
        target = channel / package.relative_to(base)
        if not target.exists():
            target.hardlink_to(package)
    run(tool, "-c", _INDEX, channel)


def package_python(channel: Path, prefix: Path) -> tuple[str, str]:
    """Lay out the package `python` of one that is on this machine."""
    short, version = builder.python_version(prefix)
    tree = channel / "trees/python"
    tree.mkdir(parents=True)
    archive = channel / "python.tar"
    with tarfile.open(archive, "w") as tar:
        builder.tar_python(tar, prefix, short)
        tar.add(prefix / "include" / f"python{short}", f"include/python{short}")
    with tarfile.open(archive) as tar:
        tar.extractall(tree, filter="tar")
    archive.unlink()
    return lay_out(channel, tree, {"name": "python", "version": version, "build": "h0_0_cpython"})


def package_wheel(channel: Path, wheel: Path, *, with_requirements: bool) -> tuple[str, str]:
    """Lay out a conda package of a wheel: `noarch: python` where it is pure, else for this Python."""
    name, version, *_, platform = wheel.stem.split("-")
    is_pure = platform == "any"
    site = Path("site-packages" if is_pure else f"lib/python{PYTHON}/site-packages")
    tree = channel / "trees" / wheel.stem
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tree / site)
    (info,) = (tree / site).glob("*.dist-info")
    metadata = email.message_from_string((info / "METADATA").read_text(encoding="utf-8"))
    (info / "INSTALLER").write_text("conda\n")
    for place in (tree / site).glob("*.data"):
        _move_scheme(place, tree, site)
    index = {
        "name": canonicalize_name(name),
        "version": version,
        "build": "py_0" if is_pure else f"py{PYTHON.replace('.', '')}_0",
        "depends": [f"python >={PYTHON},<3.13.0a0", *(_requirements(metadata) if with_requirements else [])],
    }
    scripts = _entry_points(info)
    if is_pure:
        index["noarch"] = "python"
        link = {"noarch": {"type": "python", "entry_points": scripts}, "package_metadata_version": 1}
        (tree / "info").mkdir()
        (tree / "info/link.json").write_text(json.dumps(link))
    else:
        _write_scripts(tree, scripts)
    return lay_out(channel, tree, index)


def _move_scheme(place: Path, tree: Path, site: Path) -> None:
    targets = {"data": ".", "purelib": site, "platlib": site, "headers": "include", "scripts": "python-scripts"}
    if site.parts[0] == "lib":
        targets["scripts"] = "bin"
    for scheme in place.iterdir():
        shutil.copytree(scheme, tree / targets[scheme.name], dirs_exist_ok=True)
    for script in (tree / targets["scripts"]).glob("*"):
        script.chmod(0o755)
    shutil.rmtree(place)


def _requirements(metadata: email.message.Message) -> list[str]:
    found = []
    for line in metadata.get_all("Requires-Dist") or []:
        requirement = Requirement(line)
        environment = {"extra": "", "python_version": PYTHON, "python_full_version": f"{PYTHON}.0"}
        if requirement.marker is None or requirement.marker.evaluate(environment):
            found.append(f"{canonicalize_name(requirement.name)} {requirement.specifier}".strip())
    return found


def _entry_points(info: Path) -> list[str]:
    parser = configparser.ConfigParser(delimiters=["="])
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(info / "entry_points.txt")
    return [f"{name} = {call}" for name, call in parser.items("console_scripts")] if "console_scripts" in parser else []


def _write_scripts(tree: Path, entry_points: Iterable[str]) -> None:
    for entry in entry_points:
        name, call = entry.split(" = ")
        module, function = call.split("[")[0].strip().split(":")
        script = tree / "bin" / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(
            f"#!{_PLACEHOLDER}/bin/python\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        )
        script.chmod(0o755)


def lay_out(channel: Path, tree: Path, index: Mapping[str, object]) -> tuple[str, str]:
    """Write what conda wants to know of a package beside its files; return its tree, and the name of the archive."""
    subdir = "noarch" if "noarch" in index else "linux-64"
    files = sorted(path for path in tree.rglob("*") if not path.is_dir() or path.is_symlink())
    files = [path for path in files if path.relative_to(tree).parts[0] != "info"]
    paths = [_path_entry(path, tree) for path in files]
    info = tree / "info"
    info.mkdir(exist_ok=True)
    said = {"build_number": 0, "depends": [], "subdir": subdir, "license": "see its metadata", **index}
    (info / "index.json").write_text(json.dumps(said))
    (info / "paths.json").write_text(json.dumps({"paths": paths, "paths_version": 1}))
    (info / "files").write_text("".join(f"{entry['_path']}\n" for entry in paths))
    (info / "about.json").write_text("{}")
    target = channel / subdir / f"{index['name']}-{index['version']}-{index['build']}.conda"
    return str(tree), str(target)


def _path_entry(path: Path, tree: Path) -> dict[str, object]:
    entry: dict[str, object] = {
        "_path": str(path.relative_to(tree)),
        "path_type": "softlink" if path.is_symlink() else "hardlink",
    }
    content = path.read_bytes()
    if _PLACEHOLDER.encode() in content and not path.is_symlink():
        entry |= {"prefix_placeholder": _PLACEHOLDER, "file_mode": "text"}
    return entry | {"sha256": hashlib.sha256(content).hexdigest(), "size_in_bytes": len(content)}


def build_standalone(directory: Path, sources: Mapping[str, Path], tool: Path) -> Path:
    """Make `conda.exe`, the program inside the installer, as conda-standalone's recipe does."""
    program = directory / "conda.exe"
    if program.exists():
        return program
    source = sources["conda-standalone"]
    site = directory / f"tool/lib/python{PYTHON}/site-packages"
    patched = directory / "tool/conda_src"
    shutil.rmtree(patched, ignore_errors=True)
    shutil.copytree(sources["conda"], patched)
    patches = source / "src/conda_patches"
    for patch in sorted(patches.glob("*.patch")):  # as `patch` does, with less context than they give
        run("git", "apply", "-C1", "--include=conda/*", patch, cwd=patched)
    words = ["--patch-source", patches, "--site-packages", site, "--conda-source", patched]
    run(tool, source / "recipe/copy_patches.py", *words)
    places = ["--distpath", directory / "dist", "--workpath", directory / "pyinstaller"]
    run(tool, "-m", "PyInstaller", "--log-level=ERROR", *places, source / "src/conda.exe.spec",
        cwd=source, SP_DIR=str(site), PYINSTALLER_CONDARC_DIR=str(source / "recipe"), PKG_VERSION=CONDA_VERSION)  # fmt: skip
    (directory / "dist/conda.exe").rename(program)
    return program


def build_installer(directory: Path, base: Path, standalone: Path, tool: Path) -> None:
    """Let constructor make the installer, and write down what was made."""
    said = {
        "name": "Miniconda3",
        "version": INSTALLER.split("-")[1] + "-1",
        "installer_type": "sh",
        "installer_filename": INSTALLER,
        "channels": [base.as_uri()],
        "specs": [f"python {PYTHON}.*", *(re.split("[<>=]", name)[0] for name in BASE)],
        "condarc": {"channels": ["defaults"], "solver": "rattler"},
        "initialize_conda": False,
        "keep_pkgs": True,
        "license_file": str(directory / "sources/constructor/LICENSE.txt"),
    }
    recipe = directory / "recipe"
    recipe.mkdir(exist_ok=True)
    (recipe / "construct.yaml").write_text(json.dumps(said))  # JSON is YAML
    options = ["--conda-exe", standalone, "--output-dir", directory, "--cache-dir", directory / "constructor-cache"]
    run(tool, "-m", "constructor", *options, "--platform", "linux-64", recipe, HOME=str(directory))
    installer = directory / INSTALLER
    made = {
        "installer": INSTALLER,
        "sha256": hashlib.sha256(installer.read_bytes()).hexdigest(),
        "python": builder.python_version(builder.find_python(PYTHON))[1],
        "sources": {repository: tag for repository, (tag, _) in SOURCES.items()},
    }
    (directory / RESULT).write_text(json.dumps(made, indent=2))
    print(f"{installer}: {installer.stat().st_size // 1_000_000} MB")


def run(*argv: object, cwd: Path | None = None, **variables: str) -> None:
    """Run a program; say which, and end if it fails."""
    words = [str(word) for word in argv]
    print("$", " ".join(words)[:160], flush=True)
    left = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and not name.startswith("CONDA")}
    subprocess.run(words, check=True, cwd=cwd, env={**left, **_OURS, **variables})


if __name__ == "__main__":
    sys.exit(main())
