"""Make virtual environments and put packages into them: with uv where there is one, else with venv and pip."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from colab_env import _files, _process, content, index, package_names
from colab_env.errors import CommandError, DiskFullError, HashMismatchError, NetworkError

_Result = TypeVar("_Result")
_TORN = re.compile(r"Failed to install: \S+ \(([\w.-]+)==")
_ODD_RECORD = "`RECORD` file is invalid"
_IN_THE_WAY = re.compile(r"(?: to |`)(/(?:(?! to /|: )[^`])+)`?: Is a directory \(os error 21\)")
# uv's words, then pip's.
_UNREACHED = re.compile(
    "Failed to fetch|Failed to download(?! and build)|error sending request|Max retries exceeded|NewConnectionError"
)
_OTHER_FILE = re.compile(r"Hash mismatch for `([^`]+)`|DO NOT MATCH THE HASHES")
_TOO_OLD = re.compile(r"^\s*error: (?:unexpected argument|unrecognized subcommand) '([^']+)'", re.MULTILINE)
UNKNOWN = re.compile(r"Because ([\w.-]+)\s+was\s+not\s+found\s+in\s+the\s+package\s+registry")  # lines are wrapped
_NO_VERSION = re.compile(
    r"Because\s+(?:there\s+(?:is\s+no\s+version|are\s+no\s+versions)\s+of|only(?:\s+the\s+following\s+versions\s+of)?)"
    r"\s+([\w.-]*\w)"
    r"|depends\s+on\s+([\w.-]+)\s+\([^)]*\)\s+which\s+doesn't\s+match\s+any\s+versions"  # Poetry's words
)
# The first sentence is the cause, those after it are what follows; each is wrapped.
_UNSATISFIABLE = re.compile(r"(Because (?:(?!,?\s+we\s+can\s+conclude).)+),?\s+we\s+can\s+conclude", re.DOTALL)
_OTHER_PYTHON = re.compile(r"current\s+Python\s+version\s+\([\d.]+\)\s+does\s+not\s+satisfy\s+Python([<>=!~]=?[\d.]+)")
# What names a compiler, a linker, or what looks for libraries: a build that fails without one needs none of them.
_COMPILER = re.compile(
    r"\b(?:gcc|g\+\+|clang|rustc|cargo|cmake|meson|gfortran|pkg-?config|swig|nvcc|linker|compiler(?!\s*[=(.,)])|headers)\b"
    r"|\w-config\b|\.h\b|cannot find -l|error: command ",
    re.IGNORECASE,
)
# What newer Pythons and setuptools have done away with: no library of the system would help.
_OLDER_PYTHON = re.compile(
    r"longintrepr\.h|has no member named|\b_?Py\w+\W undeclared"
    r"|cython_sources|'CCompiler'|customized_ccompiler|use_2to3|ImpImporter"
    r"|No module named '(?:imp|distutils|pipes|asynchat|asyncore)|meant only for Python 2|Missing parentheses in call to 'print'"
)
_BUILDS_NETWORK = re.compile(
    r"Name or service not known|failure in name resolution|Could not resolve host|Failed to connect to|URLError: <urlopen"
)
_LONGEST = 600  # characters of a cause
_SHOWN_NEEDS = 3
# The rest may be one of many lines of a build, or is said by an error of its own.
_PLAIN_CAUSES = frozenset({"driver", "memory", "build-requirement", "library-version", "scm-version"})
# uv's words, then pip's. With 403 an index may mean that it has no such package: that is said otherwise.
_REFUSED = re.compile(
    r"index\s+URL\s+\((\S+?)\)\s+could\s+not\s+be\s+queried\s+due\s+to\s+a\s+lack\s+of\s+valid\s+authentication"
    r"|401 Error, Credentials not correct for (\S+)"
)
_REMOTE_FILE = re.compile(r"Error while accessing remote requirements file: (\S+)")
_LINKS_PAGE = re.compile(r"Failed to read `--find-links` URL: (\S+)")
_OTHER_SYSTEMS = re.compile(
    r"Wheels are\s+available for `([\w.-]+)` \([^)]*\)\s+on\s+the\s+following\s+platforms?:\s+((?:`\w+`[,\s]*)+)"
)
_OTHER_ABIS = re.compile(
    r"only\s+found\s+wheels\s+for\s+`([\w.-]+)`\s+\([^)]*\)\s+with\s+the\s+following\s+Python\s+(?:ABI|version)\s+tags?:\s+((?:`\w+`[,\s]*)+)"
)
NO_ACCESS = "it does not accept the user name and password, or was given none (401 Unauthorized)"
_IF_PRIVATE = "; or, if an index wants a password, check that"
_STATUS = re.compile(r"\(4\d\d [\w ]+\)$")
_CREDENTIALS = (
    "check them where they stand: in the address, in variables such as UV_INDEX_NAME_PASSWORD, or in ~/.netrc"
)
_WHY = (
    (r"\(401 Unauthorized\)", NO_ACCESS),
    (r"\(403 Forbidden\)", "it refuses access (403 Forbidden)"),
    (r"\(404 Not Found\)", "it has no such file (404 Not Found)"),
    ("certificate", "its certificate is not trusted here"),
    ("proxy|tunnel", "the proxy does not answer, or does not let it through"),
    ("lookup address|name resolution|not known|NameResolution", "its name is not known here"),
    ("refused", "it refuses connections"),
    ("unreachable", "there is no way to it"),
    ("timed? ?out", "it does not answer in time"),
)
_NO_SUCH_PATH = (
    "check the path; `pip freeze` in an environment of conda writes paths of that machine: NAME==VERSION in their place,"
    " which `pip list --format=freeze` writes"
)
# Words of uv's sentence, and what to do.
_ADVICE = (
    ("Distribution not found at: file:", _NO_SUCH_PATH),
    (
        "target environment is not supported by the lockfile",
        "the project's lock is for other systems or Pythons: give another Python, or another of its lock files (--lock NAME)",
    ),
    ("Unsupported editable requirement", "leave out `-e`: it is then installed from there, not to be edited"),
)
_OF_UVS_COMMAND_LINE = re.compile(r"`--\w|\[tool\.uv|no-build-isolation|`uv ")  # what nobody can type here
_HOST = re.compile(r"https?://(?:[^/@\s`']*@)?([^/:\s`')]+)|host='([^']+)'")
_GIT = "Git operation failed"
_AT_ADDRESS = re.compile(r"Failed to (?:download|fetch)[^`\n]*`([\w.-]+) @ https?://[^`\s]+`")
_GIT_HOST = re.compile(r"(?:\bgit\+|\bUpdating |unable to access ')\w+://(?:[^/@\s`]*@)?([^/:\s`']+)")


@dataclass(frozen=True, kw_only=True)
class WheelInstaller:
    """How this machine installs packages: `uv`, or None for the pip of `machine_python`; children get `environ`."""

    uv: Path | None
    machine_python: Path
    environ: Mapping[str, str]

    def make_venv(
        self,
        directory: Path,
        python: Path,
        *,
        system_site_packages: bool = False,
        pip: bool = False,
        prompt: str | None = None,
    ) -> None:
        """Make an empty environment, with `pip` inside if asked for and if it can be had.

        An activated shell shows `prompt`, by default the directory's name.
        """
        visible = ["--system-site-packages"] if system_site_packages else []
        visible += ["--prompt", prompt] if prompt else []
        if self.uv is not None:
            seed = ["--seed"] if pip else []
            argv: list[str | Path] = [self.uv, "venv", "--quiet", "--no-project", *seed, *visible, "--python", python]
            self._run([*argv, directory])
            return
        argv = [python, "-m", "venv", *visible]
        try:
            self._run([*argv, *([] if pip else ["--without-pip"]), directory])
        except CommandError:
            if not pip:
                raise
            # Debian, and Colab with it, leaves ensurepip out.
            self._run([*argv, "--clear", "--without-pip", directory])

    def install(
        self,
        requirements: Sequence[str],
        *,
        python: Path,
        target: Path | None = None,
        alone: bool = False,
        constraints: Path | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Install packages for one Python or into a `target` directory; `alone` means without what they depend on.

        `constraints` is a file in pip's format that says which versions may be taken. Relative paths start at `cwd`.
        """
        into = target or python.parent.parent
        where: list[str | Path] = ["--no-deps"] if alone else []
        where += ["--target", target] if target else []
        where += ["--constraint", constraints] if constraints else []
        if self.uv is not None:
            self._run([self.uv, "pip", "install", "--python", python, *where, *requirements], cwd=cwd, into=into)
            return
        try:
            # The environment itself needs no pip: `--python` lets that of the machine work in it.
            self._run([self.machine_python, "-m", "pip", "--python", python, "install", *where, *requirements], cwd=cwd)
        except CommandError as error:
            if any("No module named pip" in line for line in error.lines):
                msg = f"{self.machine_python} has no pip, and there is no uv"
                raise CommandError(msg, hint="install uv, or pip for that Python", lines=error.lines) from error
            raise

    def forget(self, names: Collection[str]) -> None:
        """Let uv, where it installs, fetch or build these distributions anew."""
        if self.uv is not None:
            forget(names, uv=self.uv, environ=self.environ)

    def find(self, info: str, path: str, digest: str) -> Path | None:
        """Return the file of a wheel in uv's cache, if it is right there.

        `info` is the name of its .dist-info directory, `path` is beside that, `digest` as a RECORD has it. uv keeps unpacked
        files, in directories below archive-v0 as of uv 0.13; pip keeps whole wheels.
        """
        archives = cache(self.environ).glob(f"archive-v*/*/{info}") if self.uv is not None else ()
        files = (archive.parent / path for archive in archives)
        return next((file for file in files if content.digest(file) == digest), None)

    def _run(self, argv: Sequence[str | Path], *, cwd: Path | None = None, into: Path | None = None) -> None:
        try:
            healing(
                lambda: _process.run(argv, environ=self.environ, cwd=cwd), uv=self.uv, environ=self.environ, into=into
            )
        except CommandError as error:
            raise translate_error(error, self.environ) from error


def run_uv(argv: Sequence[str | Path], *, environ: Mapping[str, str], cwd: Path | None = None) -> _process.Finished:
    """Run uv for something else than an installation; what is damaged in its cache does not end it either."""
    return healing(lambda: _process.run(argv, environ=environ, cwd=cwd), uv=Path(argv[0]), environ=environ)


def healing(
    run: Callable[[], _Result], *, uv: Path | None, environ: Mapping[str, str], into: Path | None = None
) -> _Result:
    """Run uv and return what `run` does; where it finds its cache damaged, that part of it is fetched anew, once for each.

    It tells what it had unpacked of a distribution, and directories that stand where it keeps a file. `into` is the environment
    or directory that is installed into: what uv has left of a package there when it failed, it would take for all of it.
    """
    forgotten = set[str]()
    while True:
        try:
            return run()
        except CommandError as failure:
            error = failure
        text = " ".join(map(str.strip, error.lines))  # long ones are wrapped
        torn = {*_TORN.findall(text), *(_without_records(cache(environ)) if _ODD_RECORD in text else ())} - forgotten
        in_the_way = _in_the_way(text, cache(environ)) - forgotten
        if uv is None or not torn | in_the_way:
            raise error
        for path in (*map(Path, in_the_way), *_left_by_half(into, torn)):
            _files.discard(path)
        # Each name is fetched anew once: what is torn again comes so from the index.
        if torn:
            forget(torn, uv=uv, environ=environ)
        forgotten |= torn | in_the_way


def _left_by_half(root: Path | None, names: Collection[str]) -> list[Path]:
    """Return the .dist-info directories of these distributions that uv has begun: the last file names the installer."""
    if root is None:
        return []
    infos = (*root.glob("*.dist-info"), *root.glob("lib/python3*/site-packages/*.dist-info"))
    wanted = {content.name_of(f"{name}.dist-info") for name in names}
    return [info for info in infos if content.name_of(info.name) in wanted and not (info / "INSTALLER").exists()]


def _without_records(directory: Path) -> set[str]:
    """Return the distributions whose RECORD in uv's cache is none: uv does not say which of them it could not read."""
    return {
        content.name_of(path.parent.name)
        for path in directory.glob("archive-v*/*/*.dist-info/RECORD")
        if not content.is_record(path)
    }


def _in_the_way(text: str, directory: Path) -> set[str]:
    """Return the directories in uv's cache that it says it cannot use as files."""
    top = os.path.realpath(directory)
    paths = _IN_THE_WAY.findall(text)
    return {path for path in paths if os.path.realpath(path).startswith(f"{top}/") and Path(path).is_dir()}


def cache(environ: Mapping[str, str]) -> Path:
    """Return uv's cache directory."""
    home = environ.get("HOME") or str(Path.home())
    base = environ.get("XDG_CACHE_HOME") or f"{home}/.cache"
    return Path(environ.get("UV_CACHE_DIR") or f"{base}/uv")


def forget(names: Collection[str], *, uv: Path, environ: Mapping[str, str]) -> None:
    """Take what uv has unpacked of these distributions out of its cache."""
    _process.run([uv, "cache", "clean", *sorted(names)], environ=environ, check=False)


def build_hint(text: str) -> str:  # noqa: PLR0911  (one for each cause)
    """Return what to do about a build that failed with these lines: what of the system it was missing, if they say so."""
    from colab_env.native_need import extract  # only when something has failed

    if "No module named 'pkg_resources'" in text:
        return (
            "setuptools had pkg_resources up to version 81: write `setuptools<82` into a file, let UV_BUILD_CONSTRAINT name"
            " that file, and run the same call again"
        )
    if "valid project/version requirement specifiers" in text:
        return "what it says that it needs is not in a form that today's tools read: another version of it may be"
    if _BUILDS_NETWORK.search(text):
        return "its build asks the network for something that cannot be reached, see above: check the network or proxy"
    explanation = extract.extract(text)
    if explanation.findings:
        needs = "; ".join(map(repr, explanation.findings[:_SHOWN_NEEDS]))
        return f"{needs}: a package of the system, see `colab-env native`; a wheel for this Python avoids building"
    if explanation.other and explanation.other.kind in _PLAIN_CAUSES:
        return explanation.other.advice
    if _OLDER_PYTHON.search(text):
        return "it was written for an older Python, or older build tools: another version, or another Python, may have a wheel"
    if _COMPILER.search(text):
        return "a compiler or a system library may be missing, see above; a wheel for this Python avoids building"
    return "its own build failed, see above: another version, or another Python, may have a wheel"


def translate_error(  # noqa: PLR0911  (one for each cause)
    error: CommandError, environ: Mapping[str, str]
) -> CommandError | DiskFullError | HashMismatchError | NetworkError:
    """Return the error for what uv or pip with this `environ` died of: the disk, the network, or what they say themselves."""
    text = "\n".join(error.lines)
    # A full disk comes first: everything else that is said then follows from it.
    if "No space left on device" in text:
        return DiskFullError(
            "no space left on the disk while packages were installed",
            hint="free some space, then run the same call again",
        )
    if match := _OTHER_FILE.search(text):
        msg = f"{match[1] or 'a package'} is not what its hashes promise:\n{text[match.start() :][:_LONGEST]}"
        hint = "nothing was changed; if the hashes are right, do not use this file: it is another one"
        return HashMismatchError(msg, hint=hint)
    if _GIT in text and (match := _GIT_HOST.search(text)):
        why = next((line.strip() for line in error.lines if line.strip().startswith(("fatal:", "ssh:"))), "it failed")
        msg = f"git cannot fetch from {match[1]}: {why}"
        return NetworkError(msg, hint="check the address, your access to that repository, and the network or proxy")
    if match := _REFUSED.search(text):
        # Said first: what it would not show looks like a package that is not there.
        return refused(match[1] or match[2])
    if match := UNKNOWN.search(text):
        msg = f"the package index has no package {match[1]!r}"
        fetched = (page.stem for page in cache(environ).glob("simple-v*/**/*.rkyv"))
        hint = package_names.hint(match[1], fetched=fetched)
        is_open = hint.endswith(package_names.ELSEWHERE)
        if is_open and environ.get("UV_INDEX_STRATEGY") == index.BEST:  # of several, uv does not say that one refused
            hint += _IF_PRIVATE
        return CommandError(msg, hint=hint, lines=error.lines)
    if match := _TOO_OLD.search(text):
        msg = f"the uv that is on PATH is too old: it does not know {match[1]}"
        hint = "upgrade it (`uv self update`), or take it off PATH: colab-env then installs one of its own"
        return CommandError(msg, hint=hint, returncode=error.returncode, lines=error.lines)
    if unreached := _unreached(text):
        return unreached
    return (
        _of_another_system(error)
        or index.not_an_index(environ, error.lines)
        or _unsatisfiable(error, environ)
        or _in_one_sentence(error)
        or error
    )


def refused(url: str) -> NetworkError:
    """Return the error for an index that wants another user name and password."""
    return NetworkError(f"the package index {url}: {NO_ACCESS}", hint=_CREDENTIALS)


def blamed(lines: Sequence[str]) -> str | None:
    """Return the package that a resolver says is not there, or not in a version that is asked for, or None."""
    text = "\n".join(lines)
    match = UNKNOWN.search(text) or _NO_VERSION.search(text)
    return match and next(filter(None, match.groups()))


def without_advice(lines: Sequence[str]) -> tuple[str, ...]:
    """Return a tool's lines without its hints about its own command line, such as "provide the `--frozen` flag"."""
    text = "".join(f"{line}\n" for line in lines)
    message, *hints = re.split(r"^(?=[ \t]*(?:hint|help): )", text, flags=re.MULTILINE)  # uv prints them last
    return tuple("".join([message, *(hint for hint in hints if not _OF_UVS_COMMAND_LINE.search(hint))]).splitlines())


def _in_one_sentence(error: CommandError) -> CommandError | None:
    """Return what a tool says in its only sentence, without the words that it was called with: nobody typed these.

    uv may add one that begins with "hint:", such as which Pythons a package has wheels for; long ones are wrapped.
    """
    sentences = [line.strip() for line in error.lines if line.strip() and not line.lstrip().startswith("warning:")]
    message, *more = " ".join(sentences).split(" hint: ")
    advice = next((words for cause, words in _ADVICE if cause in message), None)
    if advice:
        message = message.removeprefix("error: ")
        return CommandError(
            message, hint=f"{advice}; nothing was changed", returncode=error.returncode, lines=error.lines
        )
    if not message.startswith("error: ") or len(more) > 1 or (len(sentences) != 1 and not more):
        return None
    hint = (
        next((hint for hint in more if not _OF_UVS_COMMAND_LINE.search(hint)), None)
        or error.hint
        or "change what is asked for; nothing was changed"
    )
    return CommandError(message.removeprefix("error: "), hint=hint, returncode=error.returncode, lines=error.lines)


def _unsatisfiable(error: CommandError, environ: Mapping[str, str]) -> CommandError | None:
    text = "\n".join(error.lines)
    match = _UNSATISFIABLE.search(text)
    if match is None:
        return None
    msg = f"no versions fit what is asked for: {' '.join(match[1].split())[:_LONGEST]}"
    if other := _OTHER_PYTHON.search(match[1]):
        hint = f"take a Python that fits, such as with --python '{other[1]}'; nothing was changed"
        return CommandError(msg, hint=hint, lines=error.lines)
    if (wheels := _OTHER_ABIS.search(text)) and (minors := sorted(set(map(int, re.findall(r"`cp3(\d+)", wheels[2]))))):
        pythons = ", ".join(f"3.{minor}" for minor in minors)
        hint = f"{wheels[1]} has wheels for Python {pythons}: take one, such as with --python 3.{minors[-1]}"
        return CommandError(msg, hint=f"{hint}; nothing was changed", lines=error.lines)
    password = _NO_VERSION.search(text) and environ.get("UV_INDEX_STRATEGY") == index.BEST  # uv says less of several
    hint = f"change the versions that are asked for{_IF_PRIVATE if password else ''}; nothing was changed"
    return CommandError(msg, hint=hint, lines=error.lines)


def _of_another_system(error: CommandError) -> CommandError | None:
    """Return the error for a package that has wheels for one system alone, which is not this one."""
    text = "\n".join(error.lines)
    cause, match = _UNSATISFIABLE.search(text), _OTHER_SYSTEMS.search(text)
    systems = {_system(platform) for platform in re.findall(r"`(\w+)`", match[2])} if match else {None}
    system = next(iter(systems))
    if cause is None or match is None or len(systems) > 1 or system in (None, sys.platform):
        return None
    msg = f"no versions fit what is asked for: {' '.join(cause[1].split())[:_LONGEST]}"
    hint = f"{match[1]} has wheels for {system} alone: add `; sys_platform == '{system}'` to its line, or leave it out"
    return CommandError(msg, hint=f"{hint}; nothing was changed", lines=error.lines)


def _system(platform: str) -> str | None:
    """Return the `sys.platform` that a wheel's platform is of, or None."""
    systems = {"win": "win32", "macosx": "darwin", "manylinux": "linux", "musllinux": "linux", "linux": "linux"}
    return next((system for start, system in systems.items() if platform.startswith(start)), None)


def _unreached(text: str) -> NetworkError | None:
    """Return the error for an index or an address that was not reached, or did not give what it was asked for."""
    if match := _REMOTE_FILE.search(text):
        why = _why_unreached(text)
        msg = f"{match[1]}, which a requirements file includes, cannot be fetched{f': {why}' if why else ''}"
        return NetworkError(msg, hint="open the address in a browser; check it, its password, and the network or proxy")
    if _UNREACHED.search(text):
        match, why = _AT_ADDRESS.search(text), _why_unreached(text)
        if match:  # no index has any part in that
            what = f"{match[1]} cannot be fetched from its address"
        elif page := _LINKS_PAGE.search(text):
            match, what = page, f"the page of links {page[1]} (--find-links) cannot be fetched"
        else:
            what = "a file cannot be fetched" if _STATUS.search(why) else "the package index cannot be reached"
        hint = f"check the {'address, and the ' if match else ''}network or proxy, then run it again"
        return NetworkError(f"{what}: {why}", hint=_CREDENTIALS if why.endswith(NO_ACCESS) else hint)
    return None


def _why_unreached(text: str) -> str:
    """Return the host and what is wrong with it, in words of our own where that is known."""
    # Of the line that says so: others name what was asked meanwhile.
    lines = [line for line in text.splitlines() if _UNREACHED.search(line)]
    match = next(filter(None, map(_HOST.search, (*lines, text))), None)
    host = (match[1] or match[2]) if match else ""
    why = next((words for pattern, words in _WHY if re.search(pattern, text, re.IGNORECASE)), "")
    if not (host and why):
        return lines[0].strip() if lines else ""
    return f"{host}: {why}"
