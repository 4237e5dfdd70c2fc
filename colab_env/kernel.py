"""A project's kernel: tried in every tier, best first, and registered in the first that works.

It is started as the notebook server would start it, before anybody depends on it, and asked whether it answers.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files, _orphans, _process, _state, venv
from colab_env.errors import MissingStepError, PreflightError
from colab_env.interpreter import OLDEST_OF_COLAB, Interpreter
from colab_env.jupyter import colab_layer, diversion, kernelspec
from colab_env.locks import registry
from colab_env.miniconda import environment_yml
from colab_env.results import suggest
from colab_env.step import Artifact

if TYPE_CHECKING:
    from colab_env.machine import Machine


_SCRIPT = Path(__file__).parent / "standalone" / "_preflight.py"
_CELL = _SCRIPT.with_name("_features.py")
_TIMEOUT = 30.0  # seconds for one check; a cold machine reads IPython from a slow disk
_FEATURES_TIMEOUT = 120.0  # pandas, matplotlib and Altair come from that disk too, all in one cell


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
    checks = ["kernel_info", "features"]
    finished = _answer(spec, environ, machine, site, checks=checks, cell=cell, timeout=_FEATURES_TIMEOUT)
    try:
        # The answer is the last line; what comes before may be anybody's output.
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
        "env": _orphans.owned(environ),
        "cwd": spec["metadata"]["colab_env"]["project"],
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


_NEEDS = "needs "  # how `_features.py` begins the reason where the project lacks packages
# The best first: the first that passes its checks is registered.
TIERS = (kernelspec.FULL, kernelspec.WITH_COLAB, kernelspec.PLAIN)


@dataclass(kw_only=True)
class ProjectKernel:
    """One project's kernel while it is checked, tried and registered."""

    name: str
    project: Path
    python: Interpreter
    machine: Machine
    notes: list[str] = field(default_factory=list)
    label: str | None = None  # what menus show beside the version; by default the project's name

    @property
    def environment(self) -> Path:
        return kernelspec.environment_of(self.project)

    @property
    def layer(self) -> Path:
        return colab_layer.of_environment(self.environment, machine=self.machine, python=self.python)

    @property
    def _untried(self) -> Path:
        return self.environment / kernelspec.UNTRIED

    def check(self) -> str | None:
        if self._untried.exists():
            return "the environment comes from a snapshot and has not been tried"
        spec = self.spec(kernelspec.PLAIN)
        return kernelspec.health_check(self.machine, self.name, spec) or self._gain()

    def _gain(self) -> str | None:
        """Return why the kernel has to be tried again: features for which it lacked packages that are there now."""
        missing = kernelspec.own(kernelspec.read(self.machine, self.name) or self.spec(kernelspec.PLAIN)).missing
        needs = {name: why.removeprefix(_NEEDS).split(", ") for name, why in missing.items() if why.startswith(_NEEDS)}
        installed = venv.versions(self.environment) if needs else {}
        gained = [name for name, packages in needs.items() if {*packages} <= installed.keys()]
        return f"packages for {', '.join(gained)} were added since it was tried" if gained else None

    def build(self) -> None:
        _files.check_writable(kernelspec.directory(self.machine, self.name))
        kernelspec.write_ipython_config(self.environment)
        outcome: Outcome | None = None
        has_colab = colab_layer.has_colab(self.machine, self.python)
        if self.machine.is_colab and not has_colab:
            self.notes.append(
                f"without Colab's features: google.colab needs Python {'.'.join(map(str, OLDEST_OF_COLAB))}"
            )
        # The best first: each tier gives up something that the one before failed on.
        for tier in TIERS if has_colab else (kernelspec.PLAIN,):
            spec = self.spec(tier)
            outcome, lack = self._tried(spec, tier)
            if outcome.failure is None:
                spec["metadata"]["colab_env"]["missing"] = dict(lack.missing)
                self.notes += _advice(lack, self.project)
                kernelspec.write(self.machine, self.name, spec)
                # A snapshot leaves this mark: its kernel counts only once it has answered here.
                _files.remove(self._untried)
                return
            self.notes.append(
                f"not {tier.name}: {outcome.failure}" + "".join(f" ({line})" for line in outcome.log[-1:])
            )
        raise _error(self.name, outcome)

    def _tried(self, spec: dict[str, Any], tier: kernelspec.Tier) -> tuple[Outcome, Lack]:
        """Try the kernel, and beside it, so that it takes no longer, another one that is asked for Colab's features."""
        if tier is not kernelspec.FULL:
            return _try(self.machine, spec, tier), Lack(missing={})
        site, environ = _surroundings(self.machine, spec)
        return _process.run_parallel(
            lambda: _try(self.machine, spec, tier),
            lambda: ask_features(spec, environ=environ, machine=self.machine, site=site),
        )

    def spec(self, tier: kernelspec.Tier) -> dict[str, Any]:
        # What environment.yml brings are programs too.
        programs = [self.python.path.parent] if environment_yml.prefix_of(self.python.path, self.machine) else []
        spec = kernelspec.spec_dict(
            tier=tier,
            python=self.python,
            project=self.project,
            launcher=colab_layer.launcher(self.layer),
            display_name=kernelspec.display_name(self.python, Path(self.label) if self.label else self.project),
            commands=[self.machine.bin, *programs],
            fingerprint={"layer": str(self.layer), "python": self.python.version},
        )
        return diversion.guarded(spec, name=self.name, machine=self.machine)

    def describe(self) -> Artifact:
        metadata = kernelspec.own(kernelspec.read(self.machine, self.name) or self.spec(kernelspec.PLAIN))
        without = f" but for {', '.join(sorted(metadata.missing))}" if metadata.missing else ""
        return Artifact(
            what=f"Kernel {self.name!r}, {metadata.tier}{without}", where=kernelspec.directory(self.machine, self.name)
        )


def try_registered(machine: Machine, name: str) -> Outcome:
    """Start a registered kernel as the notebook server would. Raises MissingStepError when it is not one of ours."""
    spec = kernelspec.read(machine, name)
    if spec is None:
        names = [kernel.name for kernel in kernelspec.registered(machine) if kernel.ours]
        msg = f"colab-env has registered no kernel {name!r}"
        raise MissingStepError(msg, hint=suggest(name, names, empty="none is there yet: setup() makes one"))
    return _try(machine, spec, _tier(spec))


def try_argv(machine: Machine, spec: Mapping[str, Any], argv: list[str], **variables: str) -> Outcome:
    """Start a kernel of ours in another way than its kernelspec says, with `variables` set, and ask for the same."""
    changed = {**spec, "argv": argv, "env": {**spec["env"], **variables}}
    return _try(machine, changed, _tier(spec))


def _tier(spec: Mapping[str, Any]) -> kernelspec.Tier:
    return next(tier for tier in TIERS if tier.name == kernelspec.own(spec).tier)


def _surroundings(machine: Machine, spec: Mapping[str, Any]) -> tuple[Path, dict[str, str]]:
    site = colab_layer.site(kernelspec.own(spec).layer)
    return site, {**kernelspec.started_environ(spec, machine.environ), **diversion.TRIAL}


def _advice(lack: Lack, project: Path) -> list[str]:
    """Return the lines that say why features are missing, and what adds them."""
    failed = [f"no {name}: {why}" for name, why in lack.missing.items() if not why.startswith(_NEEDS)]
    if not lack.packages:
        return failed
    packages, names = " ".join(lack.packages), [name for name, why in lack.missing.items() if why.startswith(_NEEDS)]
    if (project / "pyvenv.cfg").is_file():  # a named environment
        how = f"colab-env env add {project.name} {packages}"
    else:
        receipt = venv.read_receipt(project)
        lock = registry.find(project, receipt.wanted.lock if receipt else None)
        how = f"{lock.format.adding} {packages}" if lock.format.adding else f"lines in {lock.path.name}: {packages}"
    return [*failed, f"what adds {', '.join(names)}: {how}"]


def _try(machine: Machine, spec: dict[str, Any], tier: kernelspec.Tier) -> Outcome:
    site, environ = _surroundings(machine, spec)
    return try_kernel(spec, environ=environ, checks=tier.checks, structured=tier.structured, machine=machine, site=site)


def _error(name: str, outcome: Outcome | None) -> PreflightError:
    log = outcome.log if outcome else ()
    failure = outcome.failure if outcome else "it was not tried"
    text = "\n".join([f"the kernel {name!r} does not work: {failure}", *(f"    {line}" for line in log)])
    return PreflightError(text, hint="nothing was registered; the lines above are the kernel's own last words")
