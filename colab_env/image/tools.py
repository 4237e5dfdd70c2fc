"""What installs the packages during a build: uv, pip or Poetry, as instructions of a Dockerfile. None of them is in the image."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from colab_env import pins
from colab_env.errors import UsageError
from colab_env.formats import pylock_toml
from colab_env.image.instructions import NEXT_LINE, Run, comment, copy, env, run

if TYPE_CHECKING:
    from colab_env.image.project import ImageProject

VENV = "/opt/venv"
BUILD = "/build"
"""The directory with what the installers read."""
FIRST_OF_1980 = 315532800
"""The time of what has one, in seconds since 1970: the first that a ZIP file can have, since build backends look at it too."""
_NOTHING_STAYS = "The installer is mounted, not copied, and writes no bytecode of the standard library into this layer."
_BY_HASH = "Every file is compared with its hash in the lock; what is downloaded stays in the build's cache."
_BY_CONTENT = "By content, not by time: the same packages are the same bytes in every build."
# uv notes the time of the inode of a wheel that is a file, which nobody can set: see "uv_cache.json" beside RECORD.
_FORGET_TIMES = f"find {VENV} -name uv_cache.json -execdir sed -i /uv_cache.json/d RECORD ';' -delete"
_SUM = "sha256sum /wheels/*.whl > /wheels.sha256"
HASHED = "container-requirements.txt"
UNHASHED = "container-unhashed.txt"
_PIP_CACHE = Run(
    mounts=(
        "type=cache,target=/root/.cache/pip",
        "type=secret,id=pip.conf,target=/etc/pip.conf",
        "type=secret,id=netrc,target=/root/.netrc",
    )
)
UV_CACHE = Run(
    mounts=(
        "type=cache,target=/root/.cache/uv",
        "type=secret,id=uv.toml,target=/etc/uv/uv.toml",
        "type=secret,id=netrc,target=/root/.netrc",
    )
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How an image is built: `exported` says where the written requirements are, relative to the build context.

    `compile_bytecode` makes `.pyc` files, which a user who is not root can never write later.
    """

    project: ImageProject
    exported: str = ""
    compile_bytecode: bool = True

    @property
    def wheels(self) -> tuple[str, ...]:
        """Return the directories in the build context that become wheels: path dependencies, and the project."""
        sources = (str(self.project.directory),) if self.project.is_package else ()
        return (*map(str, self.project.packages.directories), *sources)

    @property
    def wheel_names(self) -> tuple[str, ...]:
        """Return the names of the distributions in those wheels."""
        locals_ = [line.name for line in self.project.packages.unhashed if line.kind == "directory"]
        return (*locals_, *((self.project.name,) if self.project.is_package else ()))

    def copied(self, name: str) -> str:
        """Return the instruction that copies a written file into the working directory of a stage."""
        return copy(f"{self.exported}{name}", "./")

    def local_files(self) -> list[str]:
        """Return the instructions that copy locked archives that are files of the project."""
        files = [line.path for line in self.project.packages.unhashed if line.kind == "file" and line.path is not None]
        return [copy(path.as_posix(), f"./{path.parent.as_posix()}/".replace("/./", "/")) for path in files]


@dataclass(frozen=True, kw_only=True)
class Installation:
    """What installs packages: why, the COPY instructions of what is read, to BUILD, and the commands, which stop at a failure."""

    why: str
    files: tuple[str, ...]
    commands: tuple[str, ...]
    how: Run

    def in_stage(self) -> list[str]:
        """Return the instructions where what is read may stay: in a stage that is not the image, with BUILD as its directory."""
        return [comment(self.why), *self.files, run(self.commands, self.how)]


def mounted(installations: Sequence[Installation], tool: BuildTool, recipe: Recipe) -> list[str]:
    """Return the instructions for the image itself: what is read, and the tool, are seen by the commands alone."""
    mounts = [*tool.mounts("packages"), f"type=bind,from=packages,source={BUILD},target={BUILD}"]
    mounts += dict.fromkeys(mount for each in installations for mount in each.how.mounts)
    variables = [("PYTHONDONTWRITEBYTECODE", "1", ""), *tool.variables(recipe)]
    export = " ".join(["export", *(f"{name}={value}" for name, value, _ in variables)])
    commands = [command for each in installations for command in each.commands]
    whys = [*(each.why for each in installations), _NOTHING_STAYS]
    return [*map(comment, whys), run([export, *commands], Run(mounts=tuple(mounts)))]


class BuildTool(Protocol):
    """A tool that installs in the build."""

    name: str

    def mounts(self, stage: str) -> tuple[str, ...]:
        """Return how a RUN sees the tool itself, which is in `stage`."""

    def can_be_mounted(self, recipe: Recipe) -> bool:
        """Say whether it can install into the last stage, and nothing but the packages stays there."""

    def variables(self, recipe: Recipe) -> list[tuple[str, str, str]]:
        """Return its settings, as variables with their values, and the reason, which may be empty."""

    def check(self, project: ImageProject) -> None:
        """Raise UsageError for a project that it cannot install."""

    def exports(self, project: ImageProject) -> dict[str, str]:
        """Return name and text of the files that it reads beside the project's own."""

    def tools(self, recipe: Recipe) -> list[str]:
        """Return the instructions that get it."""

    cache: Run
    """What a RUN that installs with it sees: its downloads of earlier builds, and the index's secrets."""

    def create(self, environment: str) -> str:
        """Return the command that makes a virtual environment."""

    def install(self, recipe: Recipe, options: str, *, environment: str = VENV, target: str | None = None) -> str:
        """Return the command that installs into an environment, or for its Python into a directory, without dependencies."""

    def packages(self, recipe: Recipe) -> list[Installation]:
        """Return what makes the virtual environment with the locked packages."""

    def wheels(self, recipe: Recipe) -> list[str]:
        """Return the instructions that build the project's wheel, and those of path dependencies, into /wheels."""

    def install_wheels(self, recipe: Recipe) -> list[str]:
        """Return the instructions that install them in the last stage."""


class Uv:
    """uv installs, in seconds, and reads uv.lock and pylock.toml itself."""

    name = "uv"
    cache = UV_CACHE

    def mounts(self, stage: str) -> tuple[str, ...]:
        return (f"type=bind,from={stage},source=/usr/local/bin/uv,target=/usr/local/bin/uv",)

    def can_be_mounted(self, recipe: Recipe) -> bool:
        return not recipe.local_files()

    def variables(self, recipe: Recipe) -> list[tuple[str, str, str]]:
        when = "A user who is not root can never write bytecode into the environment: it is made once, here."
        compiled = [("UV_COMPILE_BYTECODE", "1", when), ("PYC_INVALIDATION_MODE", "UNCHECKED_HASH", _BY_CONTENT)]
        return [
            *(compiled if recipe.compile_bytecode else []),
            ("UV_LINK_MODE", "copy", "The cache is another file system, so nothing can be linked from it."),
            ("UV_PYTHON", "python3", "The Python of the image counts, whatever .python-version says."),
            ("UV_PYTHON_DOWNLOADS", "never", ""),
        ]

    def create(self, environment: str) -> str:
        return f"uv venv {environment}"

    def install(self, _: Recipe, options: str, *, environment: str = VENV, target: str | None = None) -> str:
        return f"uv pip install --python {environment}{f' --target {target}' if target else ''} {options}"

    def check(self, project: ImageProject) -> None:
        pass

    def exports(self, project: ImageProject) -> dict[str, str]:
        return {} if reads_lock(project) else exported(project)

    def tools(self, recipe: Recipe) -> list[str]:
        return [
            comment(
                "Compilers and installers live in this stage and those on top of it: none of them is in the image."
            ),
            run([f"pip install --disable-pip-version-check --root-user-action=ignore uv=={pins.UV}"], _PIP_CACHE),
            *env(*self.variables(recipe)),
        ]

    def packages(self, recipe: Recipe) -> list[Installation]:
        project = recipe.project
        if project.request.lock.format.name == "uv.lock":
            return [self._sync(recipe)]
        reads = reads_lock(project)
        source = project.lock_name if reads else HASHED
        request = project.request
        options = pylock_toml.options(request.lock, request.selection) if reads else ["--require-hashes", "--no-deps"]
        best = ["--index-strategy unsafe-best-match"] if project.packages.indexes else []
        forget = [_FORGET_TIMES] if recipe.local_files() else []
        words = [*options, *best, "-r", shlex.quote(f"{BUILD}/{source.rpartition('/')[2]}")]
        install = self.install(recipe, " ".join(words))
        return [
            Installation(
                why=_BY_HASH,
                files=(copy(source, "./") if reads else recipe.copied(HASHED),),
                commands=(self.create(VENV), install),
                how=UV_CACHE,
            ),
            *_unhashed(
                recipe, [self.install(recipe, f"--no-deps -r {BUILD}/{UNHASHED}"), *forget], UV_CACHE, reads=reads
            ),
        ]

    def _sync(self, recipe: Recipe) -> Installation:
        options = recipe.project.request.options
        options_argv = [
            *(f"--extra {name}" for name in options.extras),
            *(f"--group {name}" for name in options.groups or ()),
        ]
        members = sorted(f"{directory}/" for directory in recipe.wheels if directory != ".")
        words = [
            f"UV_PROJECT_ENVIRONMENT={VENV} uv sync --project {BUILD} --frozen --no-default-groups",
            "--no-install-project --no-install-workspace --no-install-local",
        ]
        project = recipe.project.directory.as_posix()
        package = f"--package {recipe.project.name}" if project != "." else ""
        return Installation(
            why="uv.lock has a hash for every file; what is downloaded stays in the build's cache.",
            files=(
                copy(["pyproject.toml", "uv.lock"], "./"),
                *(copy(f"{directory}pyproject.toml", f"./{directory}") for directory in members),
            ),
            commands=(" ".join(filter(None, [*words, package, *options_argv])),),
            how=UV_CACHE,
        )

    def wheels(self, recipe: Recipe) -> list[str]:
        build = "uv build --wheel --out-dir /wheels"
        built = [f"{build} {shlex.quote(directory)}" for directory in recipe.wheels]
        return [run([*built, _SUM], UV_CACHE)]

    def install_wheels(self, recipe: Recipe) -> list[str]:
        mounts = (*self.mounts("project"), "type=bind,from=project,source=/wheels,target=/wheels")
        compiled = "--compile-bytecode" if recipe.compile_bytecode else "--no-compile-bytecode"
        words = [f"uv pip install --python {VENV} {compiled} --no-cache --no-deps --no-index --find-links /wheels"]
        return [
            comment(_NOTHING_STAYS),
            comment(
                "uv notes when it saw the wheel: without that note, the same sources are the same bytes in every build."
            ),
            run(
                [
                    f"PYTHONDONTWRITEBYTECODE=1 PYC_INVALIDATION_MODE=UNCHECKED_HASH{NEXT_LINE}"
                    + " ".join([*words, *recipe.wheel_names]),
                    _FORGET_TIMES,
                ],
                Run(mounts=mounts),
            ),
        ]


class _ByPip:
    """What the base image's own pip does."""

    cache = _PIP_CACHE

    def mounts(self, _: str) -> tuple[str, ...]:
        return ()

    def create(self, environment: str) -> str:
        return f"python3 -m venv --without-pip {environment}"

    def install(self, recipe: Recipe, options: str, *, environment: str = VENV, target: str | None = None) -> str:
        pip = f"pip --python {environment}/bin/python install {_compiled(recipe)}"
        return f"{pip}{f' --target {target}' if target else ''} {options}"

    def install_wheels(self, recipe: Recipe) -> list[str]:
        options = "--disable-pip-version-check --root-user-action=ignore --no-cache-dir --no-deps --no-index"
        words = [self.install(recipe, options), "--find-links /wheels", *recipe.wheel_names]
        variables = [("PYTHONDONTWRITEBYTECODE", "1", ""), *_by_content(recipe)]
        named = " ".join(f"{name}={value}" for name, value, _ in variables)
        return [
            comment(
                "pip itself writes no bytecode of the standard library into this layer: it holds the project's files alone."
            ),
            run(
                [f"{named}{NEXT_LINE}{' '.join(words)}"],
                Run(mounts=("type=bind,from=project,source=/wheels,target=/wheels",)),
            ),
        ]


class Pip(_ByPip):
    """pip installs the hashed requirements; the project comes as a wheel without its dependencies."""

    name = "pip"

    def can_be_mounted(self, recipe: Recipe) -> bool:
        return not recipe.local_files()

    def variables(self, recipe: Recipe) -> list[tuple[str, str, str]]:
        return [*_by_content(recipe), ("PIP_DISABLE_PIP_VERSION_CHECK", "1", "")]

    def check(self, project: ImageProject) -> None:
        pass

    def exports(self, project: ImageProject) -> dict[str, str]:
        return exported(project)

    def tools(self, recipe: Recipe) -> list[str]:
        return [
            comment("Compilers live in this stage and those on top of it; pip is the base image's own."),
            *env(*self.variables(recipe)),
        ]

    def packages(self, recipe: Recipe) -> list[Installation]:
        install = self.install(recipe, f"--no-deps --require-hashes -r {BUILD}/{HASHED}")
        return [
            Installation(
                why=_BY_HASH,
                files=(recipe.copied(HASHED),),
                commands=(self.create(VENV), install),
                how=_PIP_CACHE,
            ),
            *_unhashed(recipe, [self.install(recipe, f"--no-deps -r {BUILD}/{UNHASHED}")], _PIP_CACHE, reads=False),
        ]

    def wheels(self, recipe: Recipe) -> list[str]:
        words = " ".join(
            shlex.quote(f"./{directory}" if directory != "." else directory) for directory in recipe.wheels
        )
        return [run([f"pip wheel --no-deps --wheel-dir /wheels {words}", _SUM], _PIP_CACHE)]


class Poetry(_ByPip):
    """Poetry installs what poetry.lock says; its environment is copied into the last stage."""

    name = "poetry"

    def can_be_mounted(self, recipe: Recipe) -> bool:
        return False  # its environment is copied, as in the recipe that teams know

    def variables(self, recipe: Recipe) -> list[tuple[str, str, str]]:
        return _by_content(recipe)

    def check(self, project: ImageProject) -> None:
        if project.request.lock.format.name != "poetry.lock":
            msg = f"Poetry does not install {project.lock_name}"
            raise UsageError(msg, hint="leave tool='poetry' out, --tool poetry: uv installs it; nothing was written")

    def exports(self, project: ImageProject) -> dict[str, str]:
        return {}

    def tools(self, recipe: Recipe) -> list[str]:
        install = f"/opt/poetry/bin/pip install --disable-pip-version-check poetry=={pins.POETRY}"
        return [
            comment("Poetry has an environment of its own, apart from what it installs; none of it is in the image."),
            run(["python3 -m venv /opt/poetry", install], _PIP_CACHE),
            *env(*self.variables(recipe)),
        ]

    def packages(self, recipe: Recipe) -> list[Installation]:
        options = recipe.project.request.options
        options_argv = [
            *(f"--extras {name}" for name in options.extras),
            *(f"--with {name}" for name in options.groups or ()),
        ]
        compiled = ["--compile"] if recipe.compile_bytecode else []
        words = [f"VIRTUAL_ENV={VENV} /opt/poetry/bin/poetry sync --no-interaction --only main --no-root", *compiled]
        if options.groups:
            words[0] = words[0].replace("--only main", "--only main," + ",".join(options.groups))
            options_argv = [option for option in options_argv if not option.startswith("--with")]
        cache = Run(mounts=("type=cache,target=/root/.cache/pypoetry", "type=secret,id=netrc,target=/root/.netrc"))
        return [
            Installation(
                why="Poetry fills the environment that is active, so that it is made at the path where it stays.",
                files=(
                    copy(["pyproject.toml", "poetry.lock"], "./"),
                    *(
                        copy(directory, f"./{directory}/")
                        for directory in map(str, recipe.project.packages.directories)
                    ),
                ),
                commands=(self.create(VENV), " ".join([*words, *options_argv])),
                how=cache,
            )
        ]

    def wheels(self, recipe: Recipe) -> list[str]:
        build = "/opt/poetry/bin/poetry build --no-interaction --format wheel --output /wheels"
        return [run([*(f"{build} --directory {shlex.quote(directory)}" for directory in recipe.wheels), _SUM])]


TOOLS: dict[str, BuildTool] = {tool.name: tool for tool in (Uv(), Pip(), Poetry())}


def reads_lock(project: ImageProject) -> bool:
    """Say whether uv reads the lock file as it is."""
    return project.request.lock.format.name in ("uv.lock", "pylock.toml")


def exported(project: ImageProject) -> dict[str, str]:
    """Return the files with the locked packages in pip's format."""
    files = {HASHED: project.packages.requirements}
    if unhashed := project.packages.unhashed_requirements:
        files[UNHASHED] = unhashed
    return files


def _unhashed(recipe: Recipe, install: list[str], how: Run, *, reads: bool) -> list[Installation]:
    rest = [line for line in recipe.project.packages.unhashed if line.kind != "directory"]
    if reads or not rest:
        return []
    names = ", ".join(f"{line.name} ({line.kind})" for line in rest)
    return [
        Installation(
            why=f"Without a hash in the lock, so the check stays on for the others: {names}.",
            files=(*recipe.local_files(), recipe.copied(UNHASHED)),
            commands=tuple(install),
            how=how,
        )
    ]


def _by_content(recipe: Recipe) -> list[tuple[str, str, str]]:
    """Return what makes pip's and Poetry's `.pyc` hold, whatever times a builder gives to files: py_compile looks at it."""
    return [("SOURCE_DATE_EPOCH", str(FIRST_OF_1980), _BY_CONTENT)] if recipe.compile_bytecode else []


def _compiled(recipe: Recipe) -> str:
    return "--compile" if recipe.compile_bytecode else "--no-compile"
