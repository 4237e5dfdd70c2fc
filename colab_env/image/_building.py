"""Build an image without an engine: the base's layers, some of the locked packages, one of the project, a configuration."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files, _process, _report, content, system, uv
from colab_env.errors import (
    BaseImageError,
    ColabEnvError,
    CommandError,
    MissingStepError,
    NotOursError,
    NoWheelError,
    UsageError,
)
from colab_env.image import _delivery, _layers, _registry, _wheelhouse, base_python, shared_libraries
from colab_env.image._layers import LayerCache, LayerFile, key_of
from colab_env.image._wheelhouse import InstalledDistribution, LockedWheel, Wheelhouse
from colab_env.image.base import BaseImage, open_base
from colab_env.image.image import (
    BuiltImage,
    OwnLayer,
    PackageLayer,
    Settings,
    bill_of_materials,
    configuration,
    grouped,
    home_files,
    replaced_files,
    timestamp,
)
from colab_env.image.reference import ARCHITECTURES, ImageReference, Platform
from colab_env.image.shared_libraries import MissingLibrary
from colab_env.interpreter import Interpreter, format_specifier, parse_specifier
from colab_env.locks import installing
from colab_env.locks.uv_install import UvInstaller, translate_error
from colab_env.results import short

if TYPE_CHECKING:
    from colab_env.image.project import ImageProject
    from colab_env.machine import Machine

_FORMAT = 3  # of layers and their records: one that is made in another way has another key
# Their wheels are made of the sources alone; others leave files beside them, and are built from an sdist.
_CLEAN_BACKENDS = ("poetry", "hatchling", "uv_build", "flit_core")
_EPOCH = "SOURCE_DATE_EPOCH"


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What is to become of an image: a file, a name in a registry, or both; `tag` is its name in the file."""

    platform: Platform
    tag: str
    output: Path | None = None
    push: ImageReference | None = None
    sbom: Path | None = None
    compile: bool = True
    fresh: bool = False
    limit: int = 10**10
    """Bytes of layers that are kept for later builds."""


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """An image that was built: its id, as engines show it, the digest of its manifest, and its own layers.

    `new_bytes` are those of layers that no earlier build had made, without compression; `sent` what a push sent;
    `missing_libraries` what compiled files of packages load, and the base lacks.
    """

    image: str
    digest: str
    tag: str
    platform: str
    base: str
    python: str
    packages: int
    layers: tuple[OwnLayer, ...] = field(repr=False)
    size: int
    new_bytes: int
    seconds: float
    output: str | None = None
    pushed: str | None = None
    sent: int | None = None
    missing_libraries: tuple[MissingLibrary, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        where = " and ".join(filter(None, (self.output, self.pushed)))
        number, new = content.pluralize(self.packages, "package"), _report.megabytes(self.new_bytes)
        facts = f"{number}, Python {self.python}, {self.platform}, {new} new"
        line = f"✓ Image {self.tag} in {where} ({facts}, {self.seconds:.1f} s), id {self.image[:19]}"
        return "\n".join([line, *(f"  {note}" for note in self.notes)])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def build(project: ImageProject, options: BuildOptions, *, machine: Machine) -> BuildResult:
    """Build the image of a project, and write or push it. Raises what its parts raise; what was written before a push stays."""
    began = time.monotonic()
    _require_buildable(project)
    if options.output is not None:
        _delivery.require_free(options.output)
    if options.sbom is not None:
        _require_list(options.sbom)
    cache = LayerCache(machine.data / "images", fresh=options.fresh)
    with cache.opened() as work:
        image = open_base(project.base, options.platform, machine=machine, cache=cache)
        building = _Building(project, options, machine, cache, image, work)
        result = building.run(began)
        cache.prune(options.limit)
        return result


def _require_buildable(project: ImageProject) -> None:
    """Raise for what a build without an engine cannot do, before anything is downloaded."""
    way_out = "`colab-env container write` makes a Dockerfile that does; nothing was downloaded"
    if project.apt:
        msg = f"system packages cannot be installed without an engine: {', '.join(project.apt)} in [tool.colab-env] apt"
        raise UsageError(msg, hint=way_out)
    _wheelhouse.require_buildless(project.packages)


class _Building:
    """One build: what was read at its beginning, and what its steps have in common."""

    def __init__(
        self,
        project: ImageProject,
        options: BuildOptions,
        machine: Machine,
        cache: LayerCache,
        image: BaseImage,
        work: Path,
    ) -> None:
        self._project, self._options, self._machine = project, options, machine
        self._cache, self._image, self._work = cache, image, work
        self._epoch = _epoch(machine)
        with _report.activity(f"Reading {image.name}"):
            self._base = base_python.of_image(image, options.platform, cache)
        self._require_python()
        self.notes: list[str] = []
        self._libraries: dict[str, dict[str, list[str]]] = {}  # by distribution
        installer = installing.installer(machine, pyproject=project.request.pyproject)
        self._compiler = self._find_compiler(installer) if options.compile else None
        python = self._compiler.path if self._compiler else machine.machine_python
        self._house = Wheelhouse(
            base=self._base,
            installer=installer,
            python=python,
            compiler=self._compiler.path if self._compiler else None,
        )

    def run(self, began: float) -> BuildResult:
        """Make what is missing, and put the image together."""
        options = self._options
        wheels = self._wheels()
        # Only now: a package without a wheel stops a build before anything is downloaded, its build backend too.
        packages, of_project = _process.run_parallel(lambda: self._packages(wheels), self._of_project)
        layers = [self._home(), *self._replaced(wheels), *packages, *of_project]
        missing = tuple(shared_libraries.missing(self._libraries, self._base.libraries))
        self.notes += shared_libraries.notes(missing)
        config = configuration(self._image, layers, self._settings())
        image = BuiltImage(tag=options.tag, base=self._image, own=layers, config=config, cache=self._cache)
        pushed, sent = self._deliver(image, wheels)
        return BuildResult(
            image=image.config.digest,
            digest=image.manifest.digest,
            tag=options.tag,
            platform=str(options.platform),
            base=f"{self._image.name} ({self._image.manifest.digest})",
            python=self._base.version,
            packages=len(wheels),
            layers=tuple(layers),
            size=sum(layer.size for layer in layers),
            new_bytes=sum(layer.size for layer in layers if layer.is_new),
            seconds=time.monotonic() - began,
            output=short(options.output) if options.output else None,
            pushed=pushed,
            sent=sent,
            missing_libraries=missing,
            notes=tuple(self.notes),
        )

    def _deliver(self, image: BuiltImage, wheels: list[LockedWheel]) -> tuple[str | None, int | None]:
        """Write what was asked for, and push last; return the image's name there, and the bytes that were sent.

        When the push fails, the hint says which files are there: building them again takes time.
        """
        options, target = self._options, self._options.push
        if options.output is not None:
            with _report.activity(f"Writing {short(options.output)}"):
                _delivery.write_archive(image, options.output)
        if options.sbom is not None:
            self._write_sbom(options.sbom, image, wheels)
        if target is None:
            return None, None
        try:
            digest, sent = _delivery.push(image, target, _registry.find_login(target, self._machine), self._cache)
        except ColabEnvError as error:
            if paths := [short(path) for path in (options.output, options.sbom) if path is not None]:
                complete = f"written all the same, and complete: {', '.join(paths)}"
                error.hint = f"{error.hint}; {complete}" if error.hint else complete
            raise
        return f"{target.registry}/{target.repository}@{digest}", sent

    def _require_python(self) -> None:
        request = self._project.request
        if not request.specifier.contains(self._base.version, prereleases=True):
            needed = format_specifier(request.specifier)
            msg = f"{self._image.name} has Python {self._base.version}, and the project needs {needed}"
            # Another Python may have been asked for, such as by .python-version, which --python goes before.
            allowed = request.pyproject.requires_python
            is_wish = allowed is None or parse_specifier(allowed).contains(self._base.version, prereleases=True)
            other = f", or ask for its Python with --python {self._base.minor}" if is_wish else ""
            raise BaseImageError(msg, hint=f"give another base with --base{other}; nothing was downloaded for it")

    def _find_compiler(self, installer: UvInstaller) -> Interpreter | None:
        """Return a Python that writes `.pyc` as the base reads them: of the same minor version, or None."""
        minor = self._base.minor
        recorded = self._project.request.recorded_python
        if recorded is not None and recorded.short_version == minor and recorded.path.is_file():
            return recorded
        specifier = parse_specifier(f"=={minor}.*")
        try:
            return system.find(specifier, machine=self._machine)
        except ColabEnvError:
            pass
        try:
            from colab_env import index

            return uv.install_python(
                installer.program, specifier, machine=self._machine, index=index.settings(self._machine)
            )
        except ColabEnvError:
            self.notes.append(f"without .pyc: no Python {minor} could be had here to make them with")
            return None

    def _wheels(self) -> list[LockedWheel]:
        packages = self._project.packages
        text = packages.requirements + packages.unhashed_requirements
        if not text.strip():
            return []
        where = self._house.installer.environ
        indexes = {name: value for name, value in where.items() if name.startswith("UV_") and "CACHE" not in name}
        key = key_of("wheels", _FORMAT, text, _wheelhouse.platform_arguments(self._base), self._base.glibc, indexes)
        if (record := self._cache.record(key)) is None:
            with _report.activity(f"Looking for the wheels of {short(self._project.request.project)}"):
                wheels = self._house.resolve(packages, directory=self._project.context, work=self._work)
            self._cache.remember(key, record := [asdict(wheel) for wheel in wheels])
        loose = sorted(line.name for line in packages.unhashed)
        if loose:
            self.notes.append(f"the lock file has no hash of {', '.join(loose)}: the index's was taken")
        return [LockedWheel(**wheel) for wheel in record]

    def _packages(self, wheels: list[LockedWheel]) -> list[OwnLayer]:
        """Return the layers of the packages, installing those that no earlier build has made."""
        groups = grouped(wheels, taken=len(self._image.manifest.layers) + 3)
        cached = [self._cached_layer(self._key([wheel.requirement for wheel in group.wheels])) for group in groups]
        missing = [group for group, layer in zip(groups, cached, strict=True) if layer is None]
        layers: dict[str, OwnLayer] = {}
        if missing:
            new = [wheel for group in missing for wheel in group.wheels]
            with _report.activity(f"Installing {content.pluralize(len(new), 'package')} for {self._options.platform}"):
                lines = [wheel.requirement for wheel in new]
                installed = self._house.install(lines, self._work / "packages", hashed=True)
            self._require_all(new, installed)
            with _report.activity(f"Packing {len(missing)} layers"):
                by_name = {one.name: one for one in installed}
                half = len(missing[::2])
                ordered = [*missing[::2], *missing[1::2]]
                one, other = _process.run_parallel(
                    lambda: [self._packed(group, by_name) for group in ordered[:half]],
                    lambda: [self._packed(group, by_name) for group in ordered[half:]],
                )
                layers = {layer.title: layer for layer in (*one, *other)}
        return [layer or layers[group.title] for group, layer in zip(groups, cached, strict=True)]

    def _packed(self, group: PackageLayer, installed: dict[str, InstalledDistribution]) -> OwnLayer:
        files: dict[str, LayerFile] = {}
        machine = ARCHITECTURES[self._options.platform.architecture][1]
        libraries = {}
        for wheel in group.wheels:
            files |= installed[wheel.name].files
            libraries[wheel.name] = shared_libraries.of_files(installed[wheel.name].files, machine)
        key = self._key([wheel.requirement for wheel in group.wheels])
        return self._written(files, title=group.title, key=key, libraries=libraries)

    def _require_all(self, wheels: list[LockedWheel], installed: list[InstalledDistribution]) -> None:
        missing = sorted({wheel.name for wheel in wheels} - {one.name for one in installed})
        if missing:
            msg = f"uv has not installed {', '.join(missing)}, which the lock file names"
            raise MissingStepError(msg, hint="run it again with --no-cache; if it stays so, please report it")

    def _of_project(self) -> list[OwnLayer]:
        project = self._project
        if not project.is_package:
            return []
        with _report.activity(f"Building {project.name}"):
            wheel = self._built_wheel()
            line = f"{project.name} @ {wheel.as_uri()}"
            installed = self._house.install([line], self._work / "project", hashed=False)
        files: dict[str, LayerFile] = {}
        for one in installed:
            files |= one.files
        return [self._written(files, title=f"{project.name} {project.version or ''}".strip(), key=None)]

    def _built_wheel(self) -> Path:
        backend = str(self._project.request.pyproject.at("build-system", "build-backend") or "")
        direct = ["--wheel"] if backend.startswith(_CLEAN_BACKENDS) else []
        out, installer = self._work / "dist", self._house.installer
        environ = {**installer.environ, _EPOCH: str(max(self._epoch, 315532800))}  # ZIP files begin in 1980
        argv: list[str | Path] = [installer.program, "build", *direct, "--no-create-gitignore", "--python"]
        argv += [self._house.python, "--out-dir", out, self._project.request.project]
        try:
            _process.run(argv, environ=environ, cwd=self._project.request.project)
        except CommandError as error:
            raise translate_error(error, installer.environ) from error
        wheel = next(out.glob("*.whl"))
        if not wheel.name.endswith("-none-any.whl"):
            msg = f"{self._project.name} itself is compiled, here for this machine ({wheel.name}), and not for the base"
            hint = "`colab-env container write` makes a Dockerfile that builds it on the base; nothing was written"
            raise NoWheelError(msg, hint=hint)
        return wheel

    def _home(self) -> OwnLayer:
        files, owners = home_files(self._base.accounts)
        with self._cache.writing() as out:
            _layers.write_layer(out, files, directories={**self._base.directories, **owners}, epoch=self._epoch)
        return OwnLayer(digest=out.digest, size=out.size, title="the user's home and name", is_new=out.is_new)

    def _replaced(self, wheels: list[LockedWheel]) -> list[OwnLayer]:
        """Return a layer that hides what the base has in another version, or none."""
        gone = replaced_files(self._base, {wheel.name: wheel.version for wheel in wheels})
        if not gone:
            return []
        hidden = {
            f"{parent}/.wh.{name}": LayerFile(content=b"") for parent, _, name in (p.rpartition("/") for p in gone)
        }
        return [self._written(hidden, title="what the base has in other versions is hidden", key=None)]

    def _key(self, requirements: Sequence[str]) -> str:
        base = self._base
        where = [base.executable, base.site, base.scripts, base.prefix, sorted(base.directories.items())]
        compiler = self._compiler.version if self._compiler else None
        arguments = _wheelhouse.platform_arguments(base)
        return key_of("layer", _FORMAT, list(requirements), arguments, where, compiler, self._epoch)

    def _cached_layer(self, key: str) -> OwnLayer | None:
        record = self._cache.record(key)
        if not record or not self._cache.has(record["digest"], record["size"]):
            return None
        self._libraries |= record["libraries"]
        return OwnLayer(digest=record["digest"], size=record["size"], title=record["title"], is_new=False)

    def _written(
        self,
        files: dict[str, LayerFile],
        *,
        title: str,
        key: str | None,
        libraries: dict[str, dict[str, list[str]]] | None = None,
    ) -> OwnLayer:
        with self._cache.writing() as out:
            _layers.write_layer(out, files, directories=self._base.directories, epoch=self._epoch)
        layer = OwnLayer(digest=out.digest, size=out.size, title=title, is_new=out.is_new)
        self._libraries |= libraries or {}
        if key is not None:
            record = {"digest": layer.digest, "size": layer.size, "title": title, "libraries": libraries or {}}
            self._cache.remember(key, record)
        return layer

    def _settings(self) -> Settings:
        project, base = self._project, self._base
        script = project.name if project.name in project.scripts else next(iter(project.scripts), None)
        labels = {
            "org.opencontainers.image.title": project.name,
            "org.opencontainers.image.base.digest": self._image.manifest.digest,
            "org.opencontainers.image.created": timestamp(self._epoch),
            "io.github.colab-env.digest": project.digest,
        }
        if project.version:
            labels["org.opencontainers.image.version"] = project.version
        return Settings(command=(f"{base.scripts}/{script}",) if script else (), labels=labels, epoch=self._epoch)

    def _write_sbom(self, path: Path, image: BuiltImage, wheels: list[LockedWheel]) -> None:
        project = self._project
        document = bill_of_materials(
            name=project.name,
            version=project.version,
            digest=image.config.digest,
            base=self._base,
            wheels=wheels,
            is_package=project.is_package,
            epoch=self._epoch,
        )
        _files.write_json(path, document)


def _require_list(path: Path) -> None:
    """Raise NotOursError where something else is than an older list of what is in an image."""
    values = _files.read_json(path)
    if os.path.lexists(path) and not (isinstance(values, dict) and values.get("bomFormat") == "CycloneDX"):
        msg = f"{short(path)} exists, and is no list of what is in an image"
        raise NotOursError(msg, hint="move it away, or give another file with --sbom; nothing was changed")


def _epoch(machine: Machine) -> int:
    text = machine.environ.get(_EPOCH) or "0"
    if not (text.isascii() and text.isdecimal() and len(text) < 12):
        msg = f"{_EPOCH}={text!r} is no number of seconds since 1970"
        raise UsageError(msg, hint="unset it, or set it as `git log -1 --format=%ct` prints it")
    return int(text)
