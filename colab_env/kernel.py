"""A project's kernel: tried in every tier, best first, and registered in the first that works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import _files, _process, venv
from colab_env.errors import MissingStepError, PreflightError
from colab_env.interpreter import OLDEST_OF_COLAB, Interpreter
from colab_env.jupyter import colab_layer, guard, kernelspec, preflight
from colab_env.miniconda import environment_yml
from colab_env.results import suggest
from colab_env.step import Artifact

if TYPE_CHECKING:
    from colab_env.machine import Machine

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
        outcome: preflight.Outcome | None = None
        has_colab = colab_layer.has_colab(self.machine, self.python)
        if self.machine.is_colab and not has_colab:
            self.notes.append(
                f"without Colab's features: google.colab needs Python {'.'.join(map(str, OLDEST_OF_COLAB))}"
            )
        for tier in TIERS if has_colab else (kernelspec.PLAIN,):
            spec = self.spec(tier)
            outcome, lack = self._tried(spec, tier)
            if outcome.failure is None:
                spec["metadata"]["colab_env"]["missing"] = dict(lack.missing)
                self.notes += _advice(lack, self.project)
                kernelspec.write(self.machine, self.name, spec)
                _files.remove(self._untried)
                return
            self.notes.append(
                f"not {tier.name}: {outcome.failure}" + "".join(f" ({line})" for line in outcome.log[-1:])
            )
        raise _error(self.name, outcome)

    def _tried(self, spec: dict[str, Any], tier: kernelspec.Tier) -> tuple[preflight.Outcome, preflight.Lack]:
        """Try the kernel, and beside it, so that it takes no longer, another one that is asked for Colab's features."""
        if tier is not kernelspec.FULL:
            return _try(self.machine, spec, tier), preflight.Lack(missing={})
        site, environ = _surroundings(self.machine, spec)
        return _process.run_parallel(
            lambda: _try(self.machine, spec, tier),
            lambda: preflight.ask_features(spec, environ=environ, machine=self.machine, site=site),
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
        return guard.guarded(spec, name=self.name, machine=self.machine)

    def describe(self) -> Artifact:
        own = kernelspec.own(kernelspec.read(self.machine, self.name) or self.spec(kernelspec.PLAIN))
        without = f" but for {', '.join(sorted(own.missing))}" if own.missing else ""
        return Artifact(
            what=f"Kernel {self.name!r}, {own.tier}{without}", where=kernelspec.directory(self.machine, self.name)
        )


def try_registered(machine: Machine, name: str) -> preflight.Outcome:
    """Start a registered kernel as the notebook server would. Raises MissingStepError when it is not one of ours."""
    spec = kernelspec.read(machine, name)
    if spec is None:
        names = [kernel.name for kernel in kernelspec.registered(machine) if kernel.ours]
        msg = f"colab-env has registered no kernel {name!r}"
        raise MissingStepError(msg, hint=suggest(name, names))
    return _try(machine, spec, _tier(spec))


def try_argv(machine: Machine, spec: Mapping[str, Any], argv: list[str], **variables: str) -> preflight.Outcome:
    """Start a kernel of ours in another way than its kernelspec says, with `variables` set, and ask for the same."""
    changed = {**spec, "argv": argv, "env": {**spec["env"], **variables}}
    return _try(machine, changed, _tier(spec))


def _tier(spec: Mapping[str, Any]) -> kernelspec.Tier:
    return next(tier for tier in TIERS if tier.name == kernelspec.own(spec).tier)


def _surroundings(machine: Machine, spec: Mapping[str, Any]) -> tuple[Path, dict[str, str]]:
    site = colab_layer.site(kernelspec.own(spec).layer)
    return site, {**kernelspec.started_environ(spec, machine.environ), **guard.TRIAL}


def _advice(lack: preflight.Lack, project: Path) -> list[str]:
    """Return the lines that say why features are missing, and what adds them."""
    failed = [f"no {name}: {why}" for name, why in lack.missing.items() if not why.startswith(_NEEDS)]
    if not lack.packages:
        return failed
    packages, names = " ".join(lack.packages), [name for name, why in lack.missing.items() if why.startswith(_NEEDS)]
    tool = "uv add" if (project / "uv.lock").is_file() else "poetry add"
    how = f"{tool} {packages}" if (project / "pyproject.toml").is_file() else f"lines in requirements.txt: {packages}"
    return [*failed, f"what adds {', '.join(names)}: {how}"]


def _try(machine: Machine, spec: dict[str, Any], tier: kernelspec.Tier) -> preflight.Outcome:
    site, environ = _surroundings(machine, spec)
    return preflight.try_kernel(
        spec, environ=environ, checks=tier.checks, structured=tier.structured, machine=machine, site=site
    )


def _error(name: str, outcome: preflight.Outcome | None) -> PreflightError:
    log = outcome.log if outcome else ()
    failure = outcome.failure if outcome else "it was not tried"
    text = "\n".join([f"the kernel {name!r} does not work: {failure}", *(f"    {line}" for line in log)])
    return PreflightError(text, hint="nothing was registered; the lines above are the kernel's own last words")
