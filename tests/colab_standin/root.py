"""A root directory like Colab's, in which tests run programs without touching the real machine."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from . import layers
from .environment import colab_environment
from .namespace import Namespace, Share, new_scratch_directory, stop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

PYTHONS = "/opt/pythons"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a stand-in has beyond the plain machine."""

    google_colab: Path | None = None
    """A real google/colab source tree, in place of the stand-in package."""
    pythons: Path | None = None
    """A directory of other CPythons, shown read-only at /opt/pythons.

    It is shown at its own place as well, for CPythons whose libraries are looked for there.
    """
    shares: tuple[Share, ...] = ()


class ColabRoot:
    """A fresh stand-in for a Colab machine; no other one sees its writes."""

    def __init__(self, namespace: Namespace) -> None:
        """Take over a mounted namespace; use build()."""
        self._namespace = namespace
        self.ip = _loopback_address()
        """The address of this machine's server; of its own, so that each server can have Colab's port 9000."""

    @classmethod
    def build(cls, cache: Path | None = None, *, options: Options | None = None) -> ColabRoot:
        """Mount a fresh stand-in; the first call for a cache directory installs Colab's packages: network, a minute."""
        options = options or Options()
        scratch = new_scratch_directory()
        try:
            return cls(_mount(scratch, cache or default_cache(), options))
        except BaseException:
            shutil.rmtree(scratch)
            raise

    def __enter__(self) -> Self:
        """Return the stand-in itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the stand-in."""
        self.close()

    def close(self) -> None:
        """End every process inside, unmount, and delete what was written."""
        self._namespace.close()
        # Absent after an earlier close().
        shutil.rmtree(self._namespace.scratch.parent, ignore_errors=True)

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the variables of a process on this machine."""
        return {**colab_environment(ip=self.ip), **(extra or {})}

    def path(self, inside: str) -> Path:
        """Return where the real machine finds a file of the stand-in, until close().

        An absolute symlink on the way leads into the real machine: resolve it with run() first.
        """
        return self._namespace.merged / inside.lstrip("/")

    def changes(self) -> list[str]:
        """Return the absolute paths of all files written or deleted inside, without directories and bytecode."""
        upper = self._namespace.upper
        files = (path for path in upper.rglob("*") if path.is_symlink() or not path.is_dir())
        return sorted(f"/{path.relative_to(upper)}" for path in files if path.suffix != ".pyc")

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/content",
        timeout: float = 120,
        input: str | None = None,  # noqa: A002 -- subprocess.run's own name
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, with `env` over Colab's variables; after `timeout` seconds kill it and raise."""
        pipe = subprocess.PIPE
        process = self.popen(argv, env=env, cwd=cwd, stdin=pipe, stdout=pipe, stderr=pipe)
        try:
            out, err = process.communicate(input or "", timeout=timeout)
        except BaseException:
            stop(process, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(list(argv), process.returncode, out, err)

    def popen(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/content",
        stdin: IO[str] | int | None = subprocess.DEVNULL,
        stdout: IO[str] | int | None = None,
        stderr: IO[str] | int | None = None,
    ) -> subprocess.Popen[str]:
        """Start a program that stop() ends."""
        return subprocess.Popen(
            self._namespace.argv(argv, cwd=cwd),
            env=self.environment(env),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
        )


def default_cache() -> Path:
    """Return the directory of $COLAB_ENV_STANDIN_CACHE, or one beside the temporary files."""
    return Path(os.environ.get("COLAB_ENV_STANDIN_CACHE") or Path(tempfile.gettempdir(), "colab_standin_cache"))


def real_google_colab() -> Path | None:
    """Return the real google/colab tree that $COLAB_ENV_REAL_GOOGLE_COLAB names, or None."""
    named = os.environ.get("COLAB_ENV_REAL_GOOGLE_COLAB")
    return Path(named) if named else None


def _mount(scratch: Path, cache: Path, options: Options) -> Namespace:
    base = layers.base_layer(scratch / "base")
    packages = layers.packages_layer(cache, base=base)
    colab = layers.colab_layer(scratch / "colab", google_colab=options.google_colab)
    shares = options.shares
    if options.pythons is not None:
        shares = (*shares, *(Share(source=options.pythons, target=place) for place in (PYTHONS, str(options.pythons))))
    return Namespace([colab, packages, base], scratch=scratch / "writes", shares=shares)


def _loopback_address() -> str:
    # All of 127.0.0.0/8 is this machine; by chance, since parallel test processes share it.
    return ".".join(["127", *(str(random.randint(1, 254)) for _ in range(3))])
