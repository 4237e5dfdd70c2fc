"""Start a kernel as the notebook server would, before anybody depends on it, and hear whether it answers."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _process, _state
from colab_env.jupyter import kernelspec

if TYPE_CHECKING:
    from colab_env.machine import Machine

_SCRIPT = Path(__file__).parents[1] / "standalone" / "_preflight.py"
_CELL = _SCRIPT.with_name("_features.py")
_TIMEOUT = 30.0  # seconds for one check; a cold machine reads IPython from a slow disk


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a kernel answered: `failure` is the first check that failed, with its reason, or None; `log` its last lines."""

    failure: str | None
    seconds: Mapping[str, float]
    log: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Lack:
    """What a kernel lacks of the machine's own: the features, each with the reason, and the packages that would bring them."""

    missing: Mapping[str, str]
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Check:
    name: str
    ok: bool
    detail: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class _Answer:
    """What `_preflight.py` prints."""

    ok: bool
    checks: tuple[_Check, ...]
    log: tuple[str, ...]


def try_kernel(
    spec: Mapping[str, Any],
    *,
    environ: Mapping[str, str],
    checks: tuple[str, ...],
    structured: bool,
    machine: Machine,
    site: Path,
) -> Outcome:
    """Start the kernel of a kernelspec once, over ipc and unsigned like Colab's server, run the checks, and end it.

    `environ` is the kernel's whole environment, `site` the layer that lends jupyter_client where this Python has none.
    """
    return _outcome(_answer(spec, environ, machine, site, checks=list(checks), structured=structured))


def ask_features(spec: Mapping[str, Any], *, environ: Mapping[str, str], machine: Machine, site: Path) -> Lack:
    """Start the kernel of a kernelspec as `try_kernel` does, and return which of Colab's features it lacks."""
    cell = _CELL.read_text(encoding="utf-8")
    finished = _answer(spec, environ, machine, site, checks=["kernel_info", "features"], cell=cell)
    try:
        answer: _Answer = _state.from_json(finished.lines[-1], _Answer)
        lack: Lack = _state.from_json(answer.checks[-1].detail, Lack)
    except (ValueError, IndexError):
        reason = _outcome(finished).failure or "they did not answer"
        return Lack(missing={"features that could not be tried": reason})
    return lack


def _answer(
    spec: Mapping[str, Any], environ: Mapping[str, str], machine: Machine, site: Path, **more: Any
) -> _process.Finished:
    question = {
        "argv": list(spec["argv"]),
        "env": _process.owned(environ),
        "cwd": spec["metadata"]["colab_env"]["project"],
        "transport": "ipc",
        "timeout": _TIMEOUT,
        **more,
    }
    client, client_environ = _client(machine, spec, site)
    return _process.run([client, _SCRIPT], environ=client_environ, check=False, stdin=json.dumps(question))


def _client(machine: Machine, spec: Mapping[str, Any], site: Path) -> tuple[Path, dict[str, str]]:
    environ = _process.child_environ(machine.environ)
    if importlib.util.find_spec("jupyter_client") is not None:
        return Path(sys.executable), environ
    environment = kernelspec.environment_of(Path(spec["metadata"]["colab_env"]["project"]))
    return environment / "bin" / "python", {**environ, "PYTHONPATH": str(site)}


def _outcome(finished: _process.Finished) -> Outcome:
    try:
        answer: _Answer = _state.from_json(finished.lines[-1], _Answer)
    except (ValueError, IndexError):
        return Outcome(failure="the kernel could not be tried", seconds={}, log=finished.lines[-12:])
    failed = [f"{check.name}: {check.detail}" for check in answer.checks if not check.ok]
    seconds = {check.name: check.seconds for check in answer.checks}
    failure = None if answer.ok else (failed or ["it did not start"])[0]
    return Outcome(failure=failure, seconds=seconds, log=answer.log)
