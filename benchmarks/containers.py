"""Build three real projects as images in four ways, and say what each change costs: `python benchmarks/containers.py BASE`.

BASE is an image with Python 3.12 and glibc, as `docker-archive:FILE` or `oci:DIR` (`python tests/base_image.py DIR` makes one).
The projects (`benchmarks/locks/`): audit, a small command-line application; science, a lock of 65 packages; pipreqs, an
application with a package that has no wheel. The sources of the applications come from the index, by their checksums.

- recipe: the published two-stage recipe: Poetry installs in the builder, `.venv` is copied
- uv: uv's own multi-stage example, with an image that has uv as its builder
- file: `container write`, built by the same engine
- plain: the same without bytecode; science alone, and its cold build alone
- direct: `container build`, without an engine

The engine is buildah with chroot isolation, as root. In every round each way starts with nothing: no layers, no cache mounts,
no downloads. Then a source file changes, then one package of the lock. The ways take turns. Everything lies below `--work DIR`,
and what is measured there already is not measured again. `--only PROJECT` and `--way WAY` (may be repeated) choose, `--quick`
is one round of audit and pipreqs. Prints Markdown tables of medians.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from colab_env import pins, system, uv  # noqa: E402
from colab_env.interpreter import parse_specifier  # noqa: E402
from colab_env.machine import Machine  # noqa: E402

LOCKS = ROOT / "benchmarks/locks"
BASE, BUILDER = "docker.io/library/python:3.12-slim-bookworm", "localhost/uv:python3.12"
WAYS = ("recipe", "uv", "file", "plain", "direct")
STEPS = {"cold": "cold build", "source": "after a source change", "lock": "after one package of the lock changed"}
CHANGED = "urllib3<2.6"  # all three locks have a newer one
_FIRST_OF_1980 = "315532800"  # ZIP files, wheels among them, begin there
_CA = Path("/etc/ssl/certs/ca-certificates.crt")
_RECIPE = """\
FROM {base} AS builder
RUN pip install {poetry}
ENV POETRY_NO_INTERACTION=1 POETRY_VIRTUALENVS_IN_PROJECT=1 POETRY_VIRTUALENVS_CREATE=1 POETRY_CACHE_DIR=/tmp/poetry_cache
WORKDIR /app
COPY pyproject.toml poetry.lock ./
RUN touch README.md
RUN poetry install --only main --no-root && rm -rf $POETRY_CACHE_DIR
{project}FROM {base} AS runtime
ENV VIRTUAL_ENV=/app/.venv PATH="/app/.venv/bin:$PATH"
WORKDIR /app
COPY --from=builder /app/.venv /app/.venv
COPY . ./
CMD ["python"]
"""
_UV = """\
FROM {builder} AS builder
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=0
WORKDIR /app
RUN --mount=type=cache,target=/root/.cache/uv \\
    --mount=type=bind,source=uv.lock,target=/app/uv.lock \\
    --mount=type=bind,source=pyproject.toml,target=/app/pyproject.toml \\
    uv sync --locked --no-install-project --no-dev
COPY . /app
RUN --mount=type=cache,target=/root/.cache/uv uv sync --locked --no-dev
FROM {base}
RUN groupadd --system --gid 999 nonroot && useradd --system --gid 999 --uid 999 --create-home nonroot
COPY --from=builder --chown=nonroot:nonroot /app /app
ENV PATH="/app/.venv/bin:$PATH"
USER nonroot
WORKDIR /app
CMD ["python"]
"""
# What no image should ship, looked for inside it.
_INSIDE = (
    "import glob, importlib.util as u, os, shutil; have = [n for n in ('poetry', 'uv', 'gcc', 'git') if shutil.which(n)];"
    "own = [n for n in ('pip', 'pytest') if (s := u.find_spec(n)) and 'venv' in (s.origin or '')];"
    "lists = {*os.listdir('/var/lib/apt/lists')} - {'lock', 'partial', 'auxfiles'};"
    "print(os.getuid(), ', '.join([*have, *own, *(['apt lists'] if lists else [])]) or 'none')"
)


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project of the table: what is imported to time its start, the file that changes, and the sdist with its sources."""

    name: str
    imports: str
    source: str
    sdist: tuple[str, str] | None = None
    """Its requirement, and the SHA-256 of the file."""


PROJECTS = {
    project.name: project
    for project in (
        Project(
            name="audit",
            imports="pip_audit._cli",
            source="pip_audit/_util.py",
            sdist=("pip-audit==2.7.3", "08891bbf179bffe478521f150818112bae998424f58bf9285c0078965aef38bc"),
        ),
        Project(name="science", imports="numpy, pandas, scipy.stats, sklearn.ensemble", source="main.py"),
        Project(
            name="pipreqs",
            imports="pipreqs.pipreqs",
            source="pipreqs/__init__.py",
            sdist=("pipreqs==0.5.0", "f33298d235ff76def369cb9a3594d084d9badc70cebba1e8cb271fcd4fdc0183"),
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Built:
    """One build: seconds by the clock and of the processor, and the layers above the base with their sizes in bytes."""

    seconds: float
    processor: float
    layers: dict[str, int]
    image: str = ""

    def cell(self, before: Built | None) -> dict[str, Any]:
        new = sum(size for digest, size in self.layers.items() if before is None or digest not in before.layers)
        return {"seconds": self.seconds, "processor": self.processor, "new": new, "weight": sum(self.layers.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="docker-archive:FILE or oci:DIR, with Python 3.12")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/colab-env-containers"), metavar="DIR")
    parser.add_argument("--only", action="append", choices=PROJECTS, help="these projects alone")
    parser.add_argument("--way", action="append", choices=WAYS, help="these ways alone")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--quick", action="store_true", help="one round of audit and pipreqs")
    arguments = parser.parse_args()
    names = arguments.only or (("audit", "pipreqs") if arguments.quick else tuple(PROJECTS))
    bench = Bench(arguments.work.absolute(), arguments.base)
    for name in names:
        for number in range(1 if arguments.quick else arguments.rounds):
            # Every round begins with another way: what the first one warms, it does not warm for the same ones each time.
            for way in [*WAYS[number % len(WAYS) :], *WAYS[: number % len(WAYS)]]:
                if way in (arguments.way or WAYS) and (way != "plain" or name == "science"):
                    bench.measure(PROJECTS[name], way, number)
        if name == "audit" and not arguments.way:
            bench.compare_two_builds(PROJECTS[name])
    print(
        f"\n{time.strftime('%Y-%m-%d')}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.0f}, "
        f"{subprocess.run(['buildah', '--version'], capture_output=True, text=True, check=True).stdout.strip()}\n"
    )
    for name in names:
        print(bench.table(name))


class Bench:
    """The directory with everything: buildah's storage, projects, and results.json, which grows by each way of each round."""

    def __init__(self, work: Path, base: str) -> None:
        self.work, self.base = work, base
        self.results_file = work / "results.json"
        work.mkdir(parents=True, exist_ok=True)
        self.results: dict[str, Any] = json.loads(self.results_file.read_text()) if self.results_file.is_file() else {}
        machine = Machine.detect()
        self.uv = uv.ensure(machine)
        self.python = system.find(parse_specifier("==3.12.*"), machine=machine).path
        if BUILDER not in self.buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
            self.load_base()
            (self.work / "builder").mkdir(exist_ok=True)
            text = f"FROM {BASE}\nRUN pip install --no-cache-dir uv=={pins.UV}\n"
            (self.work / "builder/Dockerfile").write_text(text)
            self.bud(self.work / "builder", BUILDER, cached=False)

    def load_base(self) -> None:
        """Take the base under the name that all Dockerfiles have; where this machine has certificates, Poetry is told so."""
        image = self.buildah("pull", "--quiet", self.base).strip()
        name = self.buildah("from", "--pull-never", image).strip()
        if _CA.is_file():
            self.buildah("config", "--env", f"REQUESTS_CA_BUNDLE={_CA}", name)
        self.buildah("commit", "--quiet", "--format", "docker", "--rm", name, BASE)

    # --- the engine

    def buildah(self, *words: str | Path) -> str:
        """Run buildah and return what it prints; its cache mounts are below the work directory too."""
        return self.timed("buildah", *self.storage(), *words)[0]

    def storage(self) -> list[str | Path]:
        return ["--root", self.work / "storage/root", "--runroot", self.work / "storage/run"]

    def timed(self, *argv: str | Path, **variables: str) -> tuple[str, float, float]:
        """Run a program; return what it prints, seconds by the clock, and seconds of the processor with its children."""
        (self.work / "tmp").mkdir(exist_ok=True)
        engine = {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "overlay", "TMPDIR": str(self.work / "tmp")}
        began, log = time.monotonic(), self.work / "log"
        with log.open("w+") as errors, (self.work / "out").open("w+") as out:
            child = subprocess.Popen(argv, stdout=out, stderr=errors, env={**os.environ, **engine, **variables})
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        text = (self.work / "out").read_text()
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, argv, text, log.read_text())
        return text, seconds, usage.ru_utime + usage.ru_stime

    def bud(self, context: Path, tag: str, *options: str, cached: bool) -> Built:
        """Build a Dockerfile. The index and the certificates of this machine are told to it, the same to every way."""
        settings = self.work / "settings"
        settings.mkdir(exist_ok=True)
        url = os.environ.get("PIP_INDEX_URL") or self.pip_index()
        cert = f"cert = {_CA}\n" if _CA.is_file() else ""
        index = f'[[index]]\nurl = "{url}"\ndefault = true\n' if url else ""
        (settings / "pip.conf").write_text(f"[global]\n{cert}" + (f"index-url = {url}\n" if url else ""))
        (settings / "uv.toml").write_text(f"system-certs = true\n{index}")
        mounts = {settings / "pip.conf": "/etc/pip.conf", settings / "uv.toml": "/etc/uv/uv.toml"}
        words = [word for source, target in mounts.items() for word in ("-v", f"{source}:{target}:ro")]
        words += ["-v", f"{_CA}:{_CA}:ro"] if cert else []
        how = ["--format", "docker", "--layers", "--pull-never", "--network", "host", *options]
        argv: list[str | Path] = ["bud", *how, *([] if cached else ["--no-cache"]), *words, "-t", tag, context]
        _, seconds, processor = self.timed("buildah", *self.storage(), *argv)
        layers, image = self.layers_of(tag)
        return Built(seconds=seconds, processor=processor, layers=layers, image=image)

    def pip_index(self) -> str:
        words = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()

    def poetry(self) -> str:
        """Return what the recipe installs: with a plugin where the index lacks what Poetry's own source asks for."""
        try:
            urllib.request.urlopen("https://pypi.org/pypi/six/1.17.0/json", timeout=30).close()
        except OSError:
            return f"poetry=={pins.POETRY} {pins.POETRY_MIRROR_PLUGIN}\nENV POETRY_PYPI_MIRROR_URL=https://pypi.org/simple/"
        return f"poetry=={pins.POETRY}"

    def layers_of(self, tag: str) -> tuple[dict[str, int], str]:
        """Return the layers of an image above the base by digest, with their sizes in bytes, and its id."""
        listed = json.loads((self.work / "storage/root/overlay-layers/layers.json").read_text())
        sizes = {layer.get("diff-digest"): layer.get("diff-size", 0) for layer in listed}
        diffs = [
            json.loads(self.buildah("inspect", "--type", "image", name))["OCIv1"]["rootfs"]["diff_ids"]
            for name in (tag, BASE)
        ]
        image = json.loads(self.buildah("inspect", "--type", "image", tag))["FromImageID"]
        return {digest: sizes[digest] for digest in diffs[0] if digest not in diffs[1]}, image

    def run(self, tag: str, code: str) -> str:
        """Run Python code in an image as its own user, without a network."""
        name = self.buildah("from", "--pull-never", tag).strip()
        try:
            return self.buildah("run", "--network", "none", name, "--", "python", "-c", code).strip()
        finally:
            self.buildah("rm", name)

    def clean(self) -> None:
        """Forget all images but the base and uv's, all layers that builds have kept, cache mounts and downloads."""
        self.buildah("rm", "--all")
        for name in self.buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
            if name not in (BASE, BUILDER) and "<none>" not in name:
                self.buildah("rmi", name)
        self.buildah("rmi", "--prune")
        for path in (self.work / "tmp", self.work / "data", self.work / "downloads"):
            shutil.rmtree(path, ignore_errors=True)

    # --- one way of one round

    def measure(self, project: Project, way: str, number: int) -> None:
        """Measure a way from nothing, unless that is in the results already."""
        key = f"{project.name}/{way}/{number}"
        if key in self.results:
            return
        print(key, end=" ", flush=True)
        self.clean()
        directory = self.prepared(project, way)
        try:
            cells = self.direct(project, directory) if way == "direct" else self.by_engine(project, directory, way)
        except subprocess.CalledProcessError as error:
            print("\n".join([*error.stdout.splitlines()[-5:], *error.stderr.splitlines()[-20:]]), file=sys.stderr)
            if '"NoWheelError"' not in error.stdout:
                raise
            cells = {"refused": " ".join(json.loads(error.stdout)["message"].split())}
        self.results[key] = cells
        part = self.results_file.with_suffix(".part")
        part.write_text(json.dumps(self.results, indent=1))
        part.replace(self.results_file)
        print(" ".join(f"{step} {cells[step]['seconds']:.1f}" for step in STEPS if step in cells) or cells, flush=True)

    def by_engine(self, project: Project, directory: Path, way: str) -> dict[str, Any]:
        tag = "localhost/bench"
        cold = self.bud(directory, tag, cached=False)
        cells: dict[str, Any] = {"cold": cold.cell(None), **self.facts_inside(project, tag)}
        if way == "plain":
            return cells
        for step in ("source", "lock"):
            self.change(project, directory, step, way)
            after = self.bud(directory, tag, cached=True)
            cells[step] = after.cell(cold)
            cold = after
        return cells

    def direct(self, project: Project, directory: Path) -> dict[str, Any]:
        cells: dict[str, Any] = {}
        before: Built | None = None
        for step in STEPS:
            if step != "cold":
                self.change(project, directory, step, "direct")
            built = self.built(directory, self.work / "data")
            cells[step] = built.cell(before)
            if before is None:
                tag = self.buildah("pull", "-q", f"docker-archive:{self.work / 'img.tar'}").strip()
                cells |= self.facts_inside(project, tag)
            before = built
        return cells

    def built(self, directory: Path, data: Path) -> Built:
        """Build without an engine, with downloads and layers kept in a directory."""
        words: list[str | Path] = [
            "container",
            "build",
            "--json",
            "--project",
            directory,
            "--base",
            self.base,
            "-o",
            self.work / "img.tar",
        ]
        variables = {
            "COLAB_ENV_HOME": str(data),
            "UV_CACHE_DIR": str(data.with_name("downloads")),
            "PYTHONPATH": str(ROOT),
        }
        text, seconds, processor = self.timed(sys.executable, "-m", "colab_env", *words, **variables)
        result = json.loads(text)
        layers = {layer["digest"]: layer["size"] for layer in result["layers"]}
        return Built(seconds=seconds, processor=processor, layers=layers, image=result["image"])

    def facts_inside(self, project: Project, tag: str) -> dict[str, Any]:
        """Return who runs, what it ships, and the seconds of the first import and of the next one."""
        user, _, ships = self.run(tag, _INSIDE).partition(" ")
        code = f"import time; began = time.perf_counter(); import {project.imports}; print(time.perf_counter() - began)"
        return {"user": user, "ships": ships, "start": float(self.run(tag, code))}

    def compare_two_builds(self, project: Project) -> None:
        """Build every way twice without any cache, from two directories, and count the files that differ."""
        for way in ("recipe", "uv", "file", "direct"):
            key = f"{project.name}/{way}/twice"
            if key in self.results or "refused" in self.results.get(f"{project.name}/{way}/0", {}):
                continue
            self.clean()
            images, contents = [], []
            for number in (1, 2):
                directory = self.prepared(
                    project, way, name=f"other {number}" if way == "direct" else f"other-{number}"
                )
                for path in (self.work / "data", self.work / "downloads"):
                    shutil.rmtree(path, ignore_errors=True)
                if way == "direct":
                    built = self.built(directory, self.work / "data")
                    tag = self.buildah("pull", "-q", f"docker-archive:{self.work / 'img.tar'}").strip()
                else:
                    tag = f"localhost/twice{number}"
                    # The builder clamps the times of all files: what is left differs in content. In Docker's format, it
                    # notes the names of its containers too, which are drawn.
                    built = self.bud(directory, tag, "--timestamp", _FIRST_OF_1980, "--format", "oci", cached=False)
                images.append(built.image)
                contents.append(self.contents(tag))
            paths = contents[0].keys() | contents[1].keys()
            differing = sorted(path for path in paths if contents[0].get(path) != contents[1].get(path))
            self.results[key] = {"same": images[0] == images[1], "differing": differing[:20], "count": len(differing)}
            self.results_file.write_text(json.dumps(self.results, indent=1))
            print(key, self.results[key], flush=True)

    def contents(self, tag: str) -> dict[str, str]:
        name = self.buildah("from", "--pull-never", tag).strip()
        root = Path(self.buildah("mount", name).strip())
        files = (path for top in ("opt", "app", "home", "usr/local", "etc") for path in (root / top).rglob("*"))
        digests = {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
            if path.is_file() and not path.is_symlink()
        }
        self.buildah("umount", name)
        self.buildah("rm", name)
        return digests

    # --- projects

    def prepared(self, project: Project, way: str, *, name: str = "project") -> Path:
        """Return a fresh directory with the sources, the lock that a way reads, and its Dockerfile."""
        first = self.sources(project)
        directory = self.work / "projects" / name / project.name
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(first, directory)
        for other in ({"uv.lock"} if way == "recipe" else {"poetry.lock"}) | {"before.lock"}:
            (directory / other).unlink(missing_ok=True)
        if way in ("recipe", "uv"):
            own = "COPY . ./\nRUN poetry install --only main\n" if project.sdist else ""
            text = (_RECIPE if way == "recipe" else _UV).format(
                base=BASE, builder=BUILDER, poetry=self.poetry(), project=own
            )
            (directory / "Dockerfile").write_text(text)
        elif way != "direct":
            self.write(directory, way)
        return directory

    def write(self, directory: Path, way: str) -> None:
        words: list[str | Path] = [
            "container",
            "write",
            "--project",
            directory,
            *(["--no-compile"] if way == "plain" else []),
        ]
        variables = {"COLAB_ENV_HOME": str(self.work / "home"), "PYTHONPATH": str(ROOT)}
        self.timed(sys.executable, "-m", "colab_env", *words, **variables)

    def sources(self, project: Project) -> Path:
        """Return a directory with a project and both its locks, of the same versions, and those after the change."""
        directory = self.work / "sources" / project.name
        if (directory / "after/uv.lock").is_file():
            return directory / "now"
        shutil.rmtree(directory, ignore_errors=True)
        now, after = directory / "now", directory / "after"
        now.mkdir(parents=True)
        after.mkdir()
        if project.sdist:
            unpack(self.downloaded(*project.sdist), now)
        else:
            (now / "main.py").write_text("print('hello')\n")
        for path in (LOCKS / project.name).iterdir():
            shutil.copy(path, now / path.name)
        text = (now / "poetry.lock").read_text()
        pinned = re.findall(r'(?m)^\[\[package\]\]\nname = "([^"]+)"\nversion = "([^"]+)"', text)
        for target, limit in ((after, CHANGED), (now, "")):
            constraints = [f"{name}=={version}" for name, version in pinned if not limit.startswith(name)]
            self.lock(now, [*constraints, *([limit] if limit else [])])
            shutil.copy(now / "uv.lock", target / "uv.lock") if target != now else None
        (after / "poetry.lock").write_text(with_package_of(text, (after / "uv.lock").read_text()))
        return now

    def lock(self, directory: Path, constraints: Iterable[str]) -> None:
        """Make a uv.lock of exactly these versions; they are no part of the project."""
        pyproject = directory / "pyproject.toml"
        text = pyproject.read_text()
        listed = ", ".join(json.dumps(line) for line in constraints)
        pyproject.write_text(f"{text}\n[tool.uv]\nconstraint-dependencies = [{listed}]\n")
        (directory / "uv.lock").unlink(missing_ok=True)
        self.timed(self.uv, "lock", "--quiet", "--python", self.python, "--project", directory)
        # uv writes the constraints into the lock: without them in the project, `--locked` would refuse it.
        lock = directory / "uv.lock"
        lock.write_text(re.sub(r"(?ms)^\[manifest\]\n.*?^\]\n\n", "", lock.read_text()))
        pyproject.write_text(text)

    def downloaded(self, requirement: str, sha256: str) -> Path:
        target = self.work / "sdists"
        words: list[str | Path] = [
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            ":all:",
            "--dest",
            target,
            requirement,
        ]
        self.timed(sys.executable, "-m", "pip", *words)
        path = next(target.glob(f"{requirement.partition('==')[0].replace('-', '[-_]')}-*.tar.gz"))
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256, path
        return path

    def change(self, project: Project, directory: Path, step: str, way: str) -> None:
        """Change a source file, or put the lock with another version of one package in place."""
        if step == "source":
            with (directory / project.source).open("a") as file:
                file.write(f"\nCHANGED = {time.time()}\n")
            return
        name = "poetry.lock" if way == "recipe" else "uv.lock"
        shutil.copy(self.work / "sources" / project.name / "after" / name, directory / name)
        if way == "file":
            self.write(directory, way)

    # --- tables

    def values(self, name: str, way: str, read: Callable[[dict[str, Any]], Any]) -> list[Any]:
        rounds = [cells for key, cells in self.results.items() if re.fullmatch(rf"{name}/{way}/\d+", key)]
        with_value = (cells for cells in rounds if "refused" not in cells)
        return [value for cells in with_value if (value := read(cells)) is not None]

    def table(self, name: str) -> str:
        """Return the table of a project: medians of the rounds that are there."""
        ways = [way for way in WAYS if f"{name}/{way}/0" in self.results]
        rows = [f"| {name} | {' | '.join(ways)} |", f"|---|{'---|' * len(ways)}"]
        for step, title in STEPS.items():
            for what, number in (("s", "seconds"), ("s of the processor", "processor"), ("new MB", "new")):
                scale = 1e6 if number == "new" else 1

                def median(way: str, step: str = step, number: str = number, scale: float = scale) -> str:
                    values = self.values(name, way, lambda cells: cells.get(step, {}).get(number))
                    return f"{statistics.median(values) / scale:.{2 if scale > 1 else 1}f}" if values else "-"

                rows.append(f"| {title}, {what} | {' | '.join(map(median, ways))} |")
        for title, read in (
            ("weight over the base, MB", lambda cells: cells["cold"]["weight"] / 1e6),
            ("first import, s", lambda cells: cells["start"]),
        ):
            medians = [statistics.median(v) if (v := self.values(name, way, read)) else None for way in ways]
            rows.append(f"| {title} | {' | '.join('-' if m is None else f'{m:.2f}' for m in medians)} |")
        facts = [
            self.values(name, way, lambda cells: f"{cells['user']}; {cells['ships']}")[:1] or ["-"] for way in ways
        ]
        rows.append(f"| user; what nobody needs there | {' | '.join(fact for (fact,) in facts)} |")
        twice = [self.results.get(f"{name}/{way}/twice") for way in ways]
        answers = ["-" if t is None else "the same image" if t["same"] else f"{t['count']} files differ" for t in twice]
        rows.append(f"| two builds from two directories | {' | '.join(answers)} |")
        refused = (
            f"{way}: {cells['refused']}" for way in ways if "refused" in (cells := self.results[f"{name}/{way}/0"])
        )
        return "\n".join([*rows, "", *refused, ""])


def unpack(archive: Path, directory: Path) -> None:
    """Put the files of an sdist, without its first directory, into a directory."""
    with tarfile.open(archive) as opened:
        for member in opened.getmembers():
            _, _, member.name = member.name.partition("/")
            if member.isfile():
                opened.extract(member, directory, filter="data")


def with_package_of(poetry_lock: str, uv_lock: str) -> str:
    """Return a poetry.lock with the version and files that a uv.lock has of the package that changes."""
    name = re.split("[<>=]", CHANGED)[0]
    entry = next(part for part in re.split(r"(?m)^\[\[package\]\]\n", uv_lock) if part.startswith(f'name = "{name}"'))
    version = re.findall(r'(?m)^version = "([^"]+)"', entry)[0]
    files = re.findall(r'url = "[^"]*/([^"/]+)", hash = "([^"]+)"', entry)
    listed = "".join(f'    {{file = "{file}", hash = "{digest}"}},\n' for file, digest in files)
    pattern = rf'(\[\[package\]\]\nname = "{name}"\nversion = ")[^"]+(".*?\nfiles = \[\n).*?(\n?\]\n)'
    text, count = re.subn(
        pattern, lambda part: f"{part[1]}{version}{part[2]}{listed}]\n", poetry_lock, count=1, flags=re.DOTALL
    )
    assert count == 1
    return text


if __name__ == "__main__":
    main()
