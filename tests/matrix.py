"""Switch a notebook to other Pythons with several IPythons in each of the three ways, and note what works there.

`python -m tests.matrix docs/matrix.md` writes rows of the table of ways, `--features DIR` of that of all features with old and
new packages (DIR is a google/colab source tree); what was not tried again stays. test_matrix.py holds a sample of it.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from boot_faults import ROOT, WHERE, colab, set_up
from colab_standin import ColabRoot, Page, PageError, Server, serving

from tests.features.catalogue import FEATURES as EVERY_FEATURE
from tests.features.notebook import Notebook
from tests.features.trial import furnish, outcome

WAYS = ("restart", "session", "exec")
# By Python: the newest IPython of each line that runs there; None is what the kernel layer brings.
IPYTHONS: dict[str, tuple[str | None, ...]] = {
    "3.6": (None,),
    "3.7": (None,),
    "3.8": (None, "7.34.0", "8.12.3"),
    "3.9": (None, "7.34.0", "8.18.1"),
    "3.10": (None, "7.34.0", "8.39.0"),
    "3.11": (None, "7.34.0", "8.39.0", "9.18.1"),
    "3.12": (None, "7.34.0", "8.39.0", "9.18.1"),
    "3.13": (None, "7.34.0", "8.39.0", "9.18.1"),
}
LAYER = "layer"  # the option's word for None
MISSING = {
    "3.6": "none of 7.17 and later, which need Python 3.7; and no google.colab, which needs 3.8",
    "3.7": "none of 8, which needs Python 3.8; and no google.colab, which needs 3.8",
    "3.8": "none of 8.13 and later, which need Python 3.9, none of 9, which needs 3.11",
    "3.9": "none of 8.19 and later, which need Python 3.10, none of 9, which needs 3.11",
    "3.10": "none of 9, which needs Python 3.11",
}
# What a project may bring: the oldest pandas and ipywidgets of which each Python has wheels, the newest, and nothing.
_PLOTS = ("matplotlib", "altair", "seaborn", "tqdm", "bokeh", "jinja2", "anywidget")
PACKAGES: dict[str, tuple[str, ...]] = {
    "old": (
        "pandas<2; python_version<'3.12'",
        "numpy<2; python_version<'3.12'",  # which that pandas was compiled for
        "pandas<3; python_version>='3.12'",
        "ipywidgets<8",
        *_PLOTS,
    ),
    "newest": ("pandas", "ipywidgets", *_PLOTS),
    "none": (),
}
_PATIENCE = 180.0  # seconds
SECRET = {"exists": True, "access": True, "payload": "open sesame"}
_SWITCH = f"import sys; sys.path.append({str(ROOT)!r}); import colab_env; colab_env.switch({{name!r}}, how={{how!r}})"


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A registered kernel: its name, its interpreter's path, and the tier that its trial reached."""

    name: str
    interpreter: str
    tier: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One switch: seconds from its cell to the end of the next one, that kernel's IPython, the features that fail."""

    seconds: float
    ipython: str
    failed: tuple[str, ...]


def prepare(root: ColabRoot, python: str, ipython: str | None, packages: Sequence[str] = ()) -> Kernel:
    """Set up a project whose lock file names this IPython (None: no IPython) and these packages, and its kernel."""
    name = f"py{python}-ipython{ipython or ''}-{len(list(root.path('/content').iterdir()))}".replace(".", "")
    project = root.path(f"/content/{name}")
    project.mkdir()
    lines = [*([f"ipython=={ipython}"] if ipython else []), *packages]
    (project / "requirements.txt").write_text("".join(f"{line}\n" for line in lines))
    shown = set_up(root, python, "--project", f"/content/{name}", "--kernel", name)
    tier = shown.partition(f"Kernel '{name}', ")[2].partition(" in ")[0]
    return Kernel(name=name, interpreter=f"/content/{name}/.venv/bin/python", tier=tier)


def switched(page: Page, kernel: Kernel, how: str) -> Outcome:
    """Switch an open page, and try what a notebook needs in its next cells."""
    began = time.monotonic()
    cell = page.execute(_SWITCH.format(name=kernel.name, how=how), timeout=_PATIENCE)
    assert not cell.error, cell.error
    _next_cell_on(page, kernel.interpreter)
    seconds = time.monotonic() - began
    ipython = page.execute("import IPython; print(IPython.__version__)").stdout.strip()
    features = {**FEATURES, SETUP_AGAIN: functools.partial(_finds_everything_there, kernel)}
    failed = tuple(name for name, works in features.items() if not _holds(works, page))
    return Outcome(seconds=seconds, ipython=ipython, failed=failed)


def back(page: Page) -> None:
    """Return to the machine's own kernel."""
    page.execute("import colab_env; colab_env.switch(None)", timeout=_PATIENCE)
    _next_cell_on(page, "/usr/bin/python3")


def _next_cell_on(page: Page, interpreter: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            page.session = page.api("GET", f"sessions/{page.session['id']}")
            page.connect(timeout=10)
            # What is sent in the moment of the restart is lost: do not wait long for it.
            if page.execute(WHERE, timeout=5).stdout.strip() == interpreter:
                return
        except PageError:
            pass
        time.sleep(0.1)
    msg = f"no cell runs on {interpreter}"
    raise AssertionError(msg)


def _holds(works: Callable[[Page], bool], page: Page) -> bool:
    try:
        return works(page)
    except PageError:
        return False


def _finds_everything_there(kernel: Kernel, page: Page) -> bool:
    project = f"/content/{kernel.name}"
    call = f"colab_env.setup(interpreter='system', project={project!r}, kernel={kernel.name!r})"
    cell = page.execute(f"import colab_env\n{call}", timeout=_PATIENCE)
    # Each step is there, and the last line says that all of it is ready.
    return 4 <= f"{cell.stdout}{cell.text}".count("already there") == f"{cell.stdout}{cell.text}".count("✓") - 1


def _completes(page: Page) -> bool:
    page.execute("import os")
    reply = page.complete("os.pat")
    types = reply["metadata"].get("colab_types_experimental") or [{}]
    return "os.path" in reply["matches"] and bool(types[0].get("type_name"))


def _inspects(page: Page) -> bool:
    page.execute("def add(a, b=1): return a + b")
    return bool(page.inspect("add")["data"].get("application/json", {}).get("argspec"))


def _stops(page: Page) -> bool:
    message = page.submit_until_output("print('asleep', flush=True)\nimport time; time.sleep(300)")
    return page.stop(message, timeout=300).error.get("ename") == "KeyboardInterrupt"


def _shows_a_traceback(page: Page) -> bool:
    error = page.execute("def divide():\n    1 / 0\ndivide()").error
    return error.get("ename") == "ZeroDivisionError" and "divide" in "\n".join(error["traceback"])


SETUP_AGAIN = "`setup()` that finds everything there"
FEATURES: dict[str, Callable[[Page], bool]] = {
    "value": lambda page: page.execute("6 * 7").text == "42",
    "secret": lambda page: (
        page.execute("from google.colab import userdata; userdata.get('KEY')").text == "'open sesame'"
    ),
    "completion with types": _completes,
    "structured inspection": _inspects,
    "`!cmd`": lambda page: page.execute("!echo on'e'").stdout.strip() == "one",
    "`x = !cmd`": lambda page: page.execute("x = !echo one; echo two\nx == ['one', 'two']").text == "True",
    "`%pip`": lambda page: "pip" in page.execute("%pip --version", timeout=_PATIENCE).stdout,
    "`input()`": lambda page: page.execute("print(input('?') + '!')", inputs=["Ada"]).stdout == "Ada!\n",
    "`await`": lambda page: page.execute("import asyncio; await asyncio.sleep(0, 'slept')").text == "'slept'",
    "traceback": _shows_a_traceback,
    "stop button": _stops,
}


def outcomes(server: Server, kernel: Kernel, ways: tuple[str, ...] = WAYS) -> Iterator[tuple[str, Outcome]]:
    """Switch to a kernel in each way, each on a fresh page, and go back."""
    for how in ways:
        with Page(server.url, answers={"GetSecret": SECRET}) as page:
            page.open()
            yield how, switched(page, kernel, how)
            back(page)


def rows(python: str) -> Iterator[str]:
    """Try every IPython of a Python in every way; name those that there are not."""
    if reason := MISSING.get(python):
        yield f"| {python} | {reason} | | | | |"
    with colab() as root:
        kernels = [(ipython, prepare(root, python, ipython)) for ipython in IPYTHONS[python]]
        with serving(root) as server:
            for asked, kernel in kernels:
                for how, outcome in outcomes(server, kernel):
                    source = "project" if asked else "layer"
                    failed = "all but " + ", ".join(outcome.failed) if outcome.failed else "all"
                    cells = (
                        python,
                        f"{outcome.ipython} ({source})",
                        how,
                        kernel.tier,
                        f"{outcome.seconds:.1f}",
                        failed,
                    )
                    yield f"| {' | '.join(cells)} |"


def feature_rows(python: str, ages: Collection[str] = tuple(PACKAGES), ipythons: Collection[str] = ()) -> Iterator[str]:
    """Try every feature with these IPythons and the packages of each age, on a notebook that was switched by a restart."""
    with colab() as root:
        furnish(root)
        for ipython in (each for each in IPYTHONS[python] if not ipythons or (each or LAYER) in ipythons):
            # ipywidgets brings an IPython; a project without packages has none of its own.
            for age in (age for age in ages if bool(PACKAGES[age]) == bool(ipython)):
                kernel = prepare(root, python, ipython, PACKAGES[age])
                with serving(root) as server, Page(server.url) as page:
                    page.open()
                    page.execute(_SWITCH.format(name=kernel.name, how="restart"), timeout=_PATIENCE)
                    _next_cell_on(page, kernel.interpreter)
                    versions = page.execute(_VERSIONS).stdout.strip().split("\t")
                    result = outcome(Notebook(page=page), "switched", slow=_SLOW)
                tried = [feature for feature in EVERY_FEATURE if result.holds(feature) is not None]
                failed = [feature.name for feature in tried if not result.holds(feature)]
                for name in failed:
                    print(python, kernel.name, name, result.problems[name], file=sys.stderr, flush=True)
                cells = (
                    python,
                    versions[0],
                    age,
                    *versions[1:],
                    f"{len(tried) - len(failed)} of {len(tried)}",
                    ", ".join(failed),
                    kernel.tier,
                )
                yield f"| {' | '.join(cells)} |"


_NO_COLAB = ("3.6", "3.7")  # google.colab does not run there
_SLOW = 0.3  # seconds; the slow answers are not what packages differ in
_VERSIONS = """
import importlib.metadata
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return '-'
import IPython
source = 'project' if '/.venv/' in IPython.__file__ else 'layer'
print(f"{version('ipython')} ({source})", version('pandas'), version('ipywidgets'), sep="\\t")
"""
_FEATURES = "## Every feature"  # how the second part of the page begins


def _key(row: str) -> tuple[str, ...]:
    """Return what a row is about: the Python, the IPython, and the way to switch or the age of the packages."""
    return tuple(cell.strip() for cell in row.split("|")[1:4])


def with_rows(text: str, rows: Sequence[str]) -> str:
    """Return a text with these rows in its one table, in the place of those about the same; the others stay."""
    head, separator, table = re.split(r"(?m)^(\|---.*\n)", text)
    body = re.match(r"(\|.*\n)*", table)[0]  # type: ignore[index]
    found = {_key(row): row for row in (*body.splitlines(), *rows)}
    ordered = sorted(found.values(), key=lambda row: int(_key(row)[0].partition(".")[2]))
    return head + separator + "".join(f"{row}\n" for row in ordered) + table.removeprefix(body)


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--python", action="append", choices=IPYTHONS)
    parser.add_argument("--packages", action="append", choices=PACKAGES, help="of which age; all, if none is named")
    parser.add_argument(
        "--ipython",
        action="append",
        choices=sorted({each or LAYER for every in IPYTHONS.values() for each in every}),
        help="with --features: which, of those that a Python has; all, if none is named",
    )
    parser.add_argument("--features", type=Path, help="the table of all features, with this google/colab source tree")
    arguments = parser.parse_args()
    pythons = arguments.python or [python for python in IPYTHONS if not arguments.features or python not in _NO_COLAB]
    if arguments.features:
        os.environ["COLAB_ENV_REAL_GOOGLE_COLAB"] = str(arguments.features.resolve())
    for python in pythons:
        if arguments.features:
            found = feature_rows(python, arguments.packages or PACKAGES, arguments.ipython or ())
        else:
            found = rows(python)
        for row in found:
            print(row, flush=True)
            if arguments.file:  # at once: a run that is ended keeps the rows that it has
                ways, mark, features = arguments.file.read_text(encoding="utf-8").partition(_FEATURES)
                if arguments.features:
                    features = with_rows(features, [row])
                else:
                    ways = with_rows(ways, [row])
                arguments.file.write_text(ways + mark + features, encoding="utf-8")


if __name__ == "__main__":
    main()
