"""What a build sees of a project's directory: the .dockerignore, and what should not be copied into an image."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from colab_env import _files
from colab_env.errors import UsageError
from colab_env.pyproject import Pyproject
from colab_env.results import short

# Lower case: names are compared without case.
_SECRETS = (
    *(".env", ".env.*", "*.env", ".envs", ".envrc", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.kdbx", "*.ppk"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".netrc", "_netrc", ".pypirc", ".pgpass", ".npmrc"),
    *(".git-credentials", ".aws", ".azure", ".docker", ".gnupg", ".kaggle", ".kube", ".ssh", "kaggle.json"),
    *("credentials.json", "application_default_credentials.json", "client_secret*.json", "service-account*.json"),
    *("service_account*.json", "token.json", "*-key.json", "auth.toml", "secrets.toml", "secrets.json", "secrets.y*ml"),
    *("*.tfstate", "*.tfstate.backup", "*.tfvars"),
)
_HARMLESS = (
    *(".env.example", ".env.sample", ".env.template", ".env.dist", "example.env", "sample.env", "template.env"),
    "*.pub",
)
# What of a .pem nobody may have: that of a certificate authority, such as certifi's cacert.pem, is a part of the program.
_PRIVATE = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY")
_PUBLIC = re.compile(rb"-----BEGIN (?:TRUSTED |X509 |NEW )?(?:CERTIFICATE|PUBLIC KEY|DH PARAMETERS|X509 CRL)")
_BULK = (
    *(".git", ".hg", ".svn", ".venv", "node_modules", "__pycache__", "*.py[cod]", "*.egg-info", ".tox", ".nox"),
    *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints", ".coverage", "htmlcov"),
    *(".idea", ".vscode", ".DS_Store", "*.colab-env-*"),
)
# At the top only: somewhere below, it may be a package of that name. At the top it may be one too: see `_is_source`.
_TOP = ("build", "dist", "venv", "env")
# What setuptools writes to build/, copies of the sources among it.
_OUTPUT = ("lib", "lib.*", "bdist.*", "temp.*")
_BUILD_TABLES = ("setuptools", "hatch", "poetry", "uv", "flit", "pdm")
_FILES = ("Dockerfile*", "*.dockerignore", "compose.yaml", ".devcontainer", ".binder", "*.def")
_MOST = 200_000  # entries that are looked at
_PIECE = re.compile(r"\*\*/|\*\*|\*|\?|\[.[^\]]*\]|.", re.DOTALL)
_PIECE_WITHOUT_BRACKETS = re.compile(r"\*\*/|\*\*|\*|\?|.", re.DOTALL)
_WILD = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
_FEW = 3  # wildcards that a regular expression matches in no time


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What of a build context should not, or cannot, be in an image; paths are relative to it.

    `sources` are directories at its top that are named as what a build makes, and hold the project's code; `certificates` are
    files that are named as keys, and hold none.
    """

    secrets: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    sockets: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()


def survey(context: Path, ignored: Sequence[str] | None = None) -> Survey:
    """Look at the files of a build context, without those that are never sent or that `ignored` lines leave out."""
    names_by_kind: dict[str, list[str]] = {"secrets": [], "certificates": [], "sockets": [], "outside": []}
    for name, path in _walk(context):
        if ignored is not None and is_ignored(name, ignored):
            continue
        if (is_secret(path.name) or _is_secret_directory(path)) and f"!{name}" not in (ignored or ()):
            names_by_kind["certificates" if _is_certificate(path) else "secrets"].append(name)
        mode = path.lstat().st_mode
        if stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode):
            names_by_kind["sockets"].append(name)
        elif stat.S_ISLNK(mode) and not path.resolve().is_relative_to(context.resolve()):
            names_by_kind["outside"].append(name)
    sources = tuple(name for name in _TOP if _is_source(context / name))
    return Survey(sources=sources, **{key: tuple(sorted(names)) for key, names in names_by_kind.items()})


def is_secret(name: str) -> bool:
    """Say whether a file's name is one that secrets usually have."""
    return _fits(name.lower(), _SECRETS) and not _fits(name.lower(), _HARMLESS)


def text(survey_: Survey, *, needs_git: bool = False) -> str:
    """Return the .dockerignore of a project; `needs_git` says that its wheel gets its version from git tags."""
    patterns = [f"**/{pattern}" for pattern in _SECRETS]
    lines = [
        "# Never in an image: secrets.",
        *patterns,
        *(name for name in survey_.secrets if not is_ignored(name, patterns)),
        *(f"!**/{pattern}" for pattern in _HARMLESS),
        *(f"!{name}" for name in survey_.certificates),
        "# Made anew in the image, or of no use there: without them, the cache of a build lasts longer.",
        *(f"**/{pattern}" for pattern in _BULK),
        *(
            [
                "# The version of the wheel is in git's tags; the stage that reads them is no part of the image.",
                "!/.git",
            ]
            if needs_git
            else []
        ),
        *(f"/{name}" for name in _TOP if name not in survey_.sources),
        "# What builds the image is no part of it.",
        *_FILES,
        *(["# No file that can be copied."] if survey_.sockets else []),
        *survey_.sockets,
    ]
    return "".join(f"{line}\n" for line in lines)


def read_ignored(path: Path) -> list[str] | None:
    """Return the patterns of a .dockerignore, or None where there is none."""
    content = _files.content(path)
    if content is None:
        return None
    lines = (line.strip() for line in content.decode("utf-8", "replace").removeprefix("\ufeff").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def is_ignored(name: str, patterns: Sequence[str]) -> bool:
    """Say whether a path is left out by the lines of a .dockerignore: the last one that fits it, or a parent, counts."""
    ignored = False
    parts = name.split("/")
    paths = ["/".join(parts[:number]) for number in range(1, len(parts) + 1)]
    for pattern in patterns:
        is_match = _matcher(pattern.lstrip("!").strip().lstrip("/").rstrip("/"))
        if any(map(is_match, paths)):
            ignored = not pattern.startswith("!")
    return ignored


def unneeded(context: Path, ignored: Sequence[str]) -> tuple[str, ...]:
    """Return what lies at the top of a context and no image needs: git's directory, and virtual environments."""
    candidates = [".git/config", *(f"{path.parent.name}/pyvenv.cfg" for path in sorted(context.glob("*/pyvenv.cfg")))]
    return tuple(
        name.partition("/")[0] for name in candidates if (context / name).is_file() and not is_ignored(name, ignored)
    )


def require_visible(ignore_file: Path, needed: Sequence[str]) -> None:
    """Raise UsageError where a .dockerignore hides a file that the build reads."""
    patterns = read_ignored(ignore_file)
    if patterns and (hidden := [name for name in needed if is_ignored(name, patterns)]):
        msg = f"{short(ignore_file)} hides {hidden[0]}, which the build reads"
        raise UsageError(msg, hint=f"add the line !{hidden[0]} at its end; nothing was written")


def require_no_secrets(ignore_file: Path, survey_: Survey) -> None:
    """Raise UsageError where a .dockerignore of the user's lets secrets into the image."""
    if survey_.secrets:
        listed = ", ".join(survey_.secrets[:5]) + (" ..." if len(survey_.secrets) > 5 else "")
        msg = f"{short(ignore_file)} lets what looks like secrets into the image: {listed}"
        lines = ", ".join(survey_.secrets[:5])
        raise UsageError(
            msg, hint=f"add to it a line for each ({lines}); or !NAME for what is no secret; nothing was written"
        )


@functools.cache
def _matcher(pattern: str) -> Callable[[str], object]:
    """Return what a line of a .dockerignore means: Go's filepath.Match, and ** for any number of directories."""
    # After the last "]" none closes: from each "[" there, the whole rest would be searched for one.
    head, closing, rest = pattern.rpartition("]")
    found = [*_PIECE.findall(head + closing), *_PIECE_WITHOUT_BRACKETS.findall(rest)]
    pieces = [_WILD.get(piece) or _character(piece) for piece in found]
    if sum(piece in _WILD.values() for piece in pieces) <= _FEW:
        return re.compile("".join(pieces)).fullmatch
    return functools.partial(_reaches_end, tuple(pieces))


def _character(piece: str) -> str:
    """Return a regular expression for one character of a path."""
    if piece == "?":
        return "[^/]"
    if len(piece) > 1:
        inner = re.sub(r"[\[&~|]|--", r"\\\g<0>", piece[1:-1])  # Python means to give these a meaning inside brackets
        with contextlib.suppress(re.error):
            return re.compile(f"[{re.sub('^!', '^', inner)}]").pattern
    return re.escape(piece)


def _reaches_end(pieces: Sequence[str], path: str) -> bool:
    """Match by the set of positions that are reached: a regular expression would try every way to divide the path."""
    reached = {0}
    for piece in pieces:
        if piece == _WILD["**/"]:
            reached |= {at + 1 for at in range(min(reached), len(path)) if path[at] == "/"}
        elif piece == _WILD["**"]:
            reached = set(range(min(reached), len(path) + 1))
        elif piece == _WILD["*"]:
            for at in range(min(reached), len(path)):
                if at in reached and path[at] != "/":
                    reached.add(at + 1)
        else:
            reached = {match.end() for at in reached if (match := re.compile(piece).match(path, at))}
        if not reached:
            return False
    return len(path) in reached


def _is_secret_directory(path: Path) -> bool:
    """Say whether a directory is one of secrets: with Python files in it, it is a package of that name."""
    return path.name.lower() == "secrets" and path.is_dir() and next(path.rglob("*.py"), None) is None


def _is_certificate(path: Path) -> bool:
    """Say whether a .pem has certificates or public keys alone."""
    content = (_files.content(path) or b"") if path.suffix.lower() == ".pem" and path.is_file() else b""
    return _PUBLIC.search(content) is not None and _PRIVATE.search(content) is None


def _is_source(directory: Path) -> bool:
    """Say whether a directory that is named as what a build makes holds the project's code."""
    if not directory.is_dir() or (directory / "pyvenv.cfg").is_file():
        return False
    modules = (path.relative_to(directory).parts[0] for path in directory.rglob("*.py"))
    if any(not _fits(name, _OUTPUT) for name in modules):
        return True
    pyproject = Pyproject.read(directory.parent)
    tables = [pyproject.at("project"), *(pyproject.at("tool", name) for name in _BUILD_TABLES)]
    # A value, not a key: hatch has tables that are named env and build.
    return re.search(rf'"(?:\./)?{directory.name}(?:/[^"]*)?"(?!:)', json.dumps(tables, default=str)) is not None


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _walk(context: Path) -> Iterator[tuple[str, Path]]:
    count = 0
    for directory, names, files in os.walk(context):
        names[:] = sorted(name for name in names if not _fits(name, _BULK))
        for name in (*names, *sorted(files)):
            path = Path(directory) / name
            count += 1
            if count > _MOST:
                return
            yield path.relative_to(context).as_posix(), path
