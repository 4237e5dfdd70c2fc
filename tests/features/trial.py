"""Try every feature in every way that a notebook's cells can run: on the machine's own Python, switched, and beside it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from boot_faults import ENVIRONMENT, ROOT, PreparedMachine, ask_to_switch, next_cell
from colab_standin import ColabRoot, Page, PageError, Slow

from tests.features.catalogue import FEATURES, Feature
from tests.features.notebook import Notebook

SLOW = 7.0  # seconds: longer than any limit that a feature has by default, shorter than that of a secret
WAYS = ("stock", "switched", "exec", "inside")
_OWN_PLACE = "import os, tempfile\nos.chdir(tempfile.mkdtemp(prefix='features-'))"
_LOAD = f"import sys; sys.path.append({str(ROOT)!r})\n%load_ext colab_env"
_FIND = """\
import importlib, importlib.util, json
def there(name):
    module, _, member = name.partition(':')
    try:
        return importlib.util.find_spec(module) is not None and (not member or hasattr(importlib.import_module(module), member))
    except ImportError:
        return False
print(json.dumps({name: there(name) for name in %r}))
"""
# What only Google has: the program that mounts Drive.
_DRIVE = """\
mkdir -p /var/colab /opt/google/drive; echo colab > /var/colab/hostname
cat > /opt/google/drive/drive << 'END'
#!/bin/bash
place=$(echo "$*" | grep -o 'mount_point_path:[^ ]*'); mkdir -p "${place#*:}/My Drive"; sleep 60
END
chmod +x /opt/google/drive/drive
"""


@dataclass(kw_only=True)
class Outcome:
    """What became of the features in one way: by name and answer, None if it works, else why not."""

    way: str
    problems: dict[str, dict[str, str | None]] = field(default_factory=dict)
    seconds: float = 0.0

    def holds(self, feature: Feature) -> bool | None:
        """Say whether a feature works with every answer; None where it was not tried."""
        found = self.problems.get(feature.name)
        return None if found is None else not any(found.values())


def furnish(root: ColabRoot) -> None:
    """Give a machine what only Google's have."""
    done = root.run(["sh", "-ec", _DRIVE])
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def opened(machine: PreparedMachine, way: str) -> Iterator[Notebook]:
    """Open a notebook whose cells run in one of the ways."""
    with Page(machine.server.url, name=f"{way}.ipynb") as page:
        page.open()
        if way in ("switched", "exec"):
            ask_to_switch(page, machine.kernel, how="restart" if way == "switched" else "exec")
            next_cell(page, on=ENVIRONMENT)
        notebook = Notebook(page=page, prefix=f"%%colab_env {machine.kernel}\n" if way == "inside" else "")
        yield notebook


def outcome(notebook: Notebook, way: str, *, slow: float = SLOW, features: tuple[Feature, ...] = FEATURES) -> Outcome:
    """Try the features one after the other, each with every answer of the page's."""
    began, result = time.monotonic(), Outcome(way=way)
    _begin(notebook)
    there = json.loads(
        notebook.run(_FIND % sorted({name for each in features for name in each.needs})).stdout.splitlines()[-1]
    )
    for feature in features:
        if all(there[name] for name in feature.needs):
            result.problems[feature.name] = {
                name: _problem(notebook, feature, Slow(data=answer, seconds=slow) if name == "slow" else answer, wants)
                for name, (answer, wants) in (feature.asks.answers if feature.asks else {"": (None, None)}).items()
            }
    result.seconds = time.monotonic() - began
    return result


def _begin(notebook: Notebook) -> None:
    if notebook.prefix:
        notebook.page.execute(_LOAD)
    notebook.run(_OWN_PLACE)


def _problem(notebook: Notebook, feature: Feature, answer: object, wants: object) -> str | None:
    try:
        return feature.works(notebook, answer, wants)  # type: ignore[arg-type]
    except PageError as error:
        notebook.recover()
        _begin(notebook)
        return str(error)
    except (LookupError, StopIteration, AttributeError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def table(outcomes: Mapping[str, Outcome], features: tuple[Feature, ...] = FEATURES) -> list[str]:
    """Return the lines of a table with a row for each feature and a column for each way."""
    lines = [f"| feature | {' | '.join(outcomes)} |", f"|---|{'---|' * len(outcomes)}"]
    group = ""
    for feature in features:
        if all(outcome.holds(feature) is None for outcome in outcomes.values()):
            continue
        if feature.group != group:
            group = feature.group
            lines.append(f"| **{group}** |{' |' * len(outcomes)}")
        cells = [_cell(outcome.problems.get(feature.name)) for outcome in outcomes.values()]
        lines.append(f"| {feature.name} | {' | '.join(cells)} |")
    counts = [sum(outcome.holds(each) is True for each in features) for outcome in outcomes.values()]
    tried = [sum(outcome.holds(each) is not None for each in features) for outcome in outcomes.values()]
    lines.append(
        f"| **together** | {' | '.join(f'{count} of {of}' for count, of in zip(counts, tried, strict=True))} |"
    )
    return lines


def _cell(found: Mapping[str, str | None] | None) -> str:
    if found is None:
        return "-"
    failed = [answer or "no" for answer, problem in found.items() if problem]
    return "yes" if not failed else "no" if len(failed) == len(found) else f"not {', '.join(failed)}"
