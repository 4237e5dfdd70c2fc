"""What a named environment gains, and which go: packages added to one, and scripts' environments that nothing uses."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colab_env import envs
from colab_env.errors import ColabEnvError, UsageError
from colab_env.machine import Machine
from colab_env.named_env import base_dirs, inventory, processes, scripts
from colab_env.results import StepResult

if TYPE_CHECKING:
    from colab_env.named_env.inventory import NamedEnvironment

Base = str | Path | None
DAYS = 30
_DAY = 86400  # seconds


@dataclass(frozen=True, kw_only=True)
class PrunedEnvironment:
    """A script's environment that was not used for `days`: removed, or left for the `reason`."""

    name: str
    days: int
    size: int
    """In bytes."""
    reason: str | None = None
    error: ColabEnvError | None = None

    def __repr__(self) -> str:
        line = f"{self.name}  {self.size / 1e6:.1f} MB, not used for {self.days} days"
        return f"{'✗' if self.error else '-'} {line}{f': {self.error or self.reason}' if self.error or self.reason else ''}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        error = self.error and {"error": type(self.error).__name__, "message": self.error.message}
        return {**asdict(replace(self, error=None)), "error": error}


def add(name: str, *packages: str, base: Base = None) -> StepResult:
    """Put more packages into an environment, for `upgrade` to know of; what is there stays at its version where they allow it.

    It is the next build, verified, as `upgrade` makes it: what runs goes on, and `rollback` leads back. Raises UsageError for
    what is no package, and as `create` does.
    """
    machine = Machine.detect()
    place = inventory.find(name, base_dirs.bases(machine, base))
    if not packages:
        msg = "no package is named"
        raise UsageError(msg, hint=f"colab-env env add {name} flask, for example")
    return envs.extend(place, packages, machine=machine)


def prune(*, older_than: float = DAYS, dry_run: bool = False, base: Base = None) -> list[PrunedEnvironment]:
    """Remove the environments of scripts (`run --script`) that no script has used for `older_than` days.

    The next start of such a script makes its environment again. Used means that its Python has started: the file system keeps
    that to the day. On one that keeps no times of reading, what counts is when it was made. With `dry_run`, nothing is removed.
    """
    if older_than < 0:
        msg = f"{older_than} is not a number of days"
        raise UsageError(msg, hint="say how many days, such as 30")
    machine = Machine.detect()
    bases = base_dirs.bases(machine, base)
    running, found = processes.users(bases), []
    for place in inventory.everything(bases):
        days = _unused_days(place) if place.name.startswith(scripts.PREFIX) else -1
        if days >= older_than and not processes.of(place, running) and os.access(place.base, os.W_OK):
            found.append(_pruned(place, days=int(days), dry_run=dry_run))
    if not dry_run:
        for each in bases:
            scripts.forget_gone(each)
    return found


def _unused_days(place: NamedEnvironment) -> float:
    receipt = place.receipt
    times = [receipt.created if receipt else 0.0]
    with contextlib.suppress(OSError):
        times.append((place.path / "pyvenv.cfg").stat().st_atime)  # which Python reads when it starts
    return (time.time() - max(times)) / _DAY


def _pruned(place: NamedEnvironment, *, days: int, dry_run: bool) -> PrunedEnvironment:
    receipt = place.receipt
    size = receipt.size if receipt else 0
    try:
        if not dry_run:
            envs.purge(place.name, base=place.base)
    except ColabEnvError as error:
        return PrunedEnvironment(name=place.name, days=days, size=size, error=error)
    return PrunedEnvironment(name=place.name, days=days, size=size, reason="it would go" if dry_run else None)
