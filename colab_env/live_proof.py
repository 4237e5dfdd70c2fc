"""What works on a live Colab machine, tried from the cells of docs/live_proof.ipynb and printed as one report.

What was tried is kept in `live-proof.json` beside the notebook, since a switch starts another Python between two cells. It
holds no secrets: names of features, versions, and the first line of an error.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from colab_env import _report, _state
from colab_env.errors import MissingStepError
from colab_env.machine import Machine

_QUICK = Path(__file__).parent / "standalone" / "_features.py"
_SLOW = "new Promise(done => setTimeout(() => done(42), 7000))"
_VERSIONS = ("ipython", "ipykernel", "pandas", "ipywidgets", "numpy")
_STOCK, _OWN = "the machine's Python", "this notebook's own"


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One feature in one kernel: `problem` is None when it works."""

    feature: str
    kernel: str
    problem: str | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Proof:
    """All that was tried so far, and the versions in each kernel."""

    schema: ClassVar[str] = "live-proof"
    version: ClassVar[int] = 1

    tried: tuple[Tried, ...] = ()
    versions: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        """Return Markdown, to paste into an issue."""
        kernels = [kernel for kernel in (_STOCK, _OWN) if any(trial.kernel == kernel for trial in self.tried)]
        rows = {
            trial.feature: {other.kernel: other for other in self.tried if other.feature == trial.feature}
            for trial in self.tried
        }
        lines = ["### Live proof", ""]
        lines += [f"- {kernel}: {text}" for kernel, text in (self.versions or {}).items()]
        lines += ["", f"| feature | {' | '.join(kernels)} |", f"|---|{'---|' * len(kernels)}"]
        for feature, trials in rows.items():
            lines.append(f"| {feature} | {' | '.join(_cell(trials.get(kernel)) for kernel in kernels)} |")
        good = [sum(trial.problem is None for trial in self.tried if trial.kernel == kernel) for kernel in kernels]
        return "\n".join([*lines, f"| **together** | {' | '.join(f'{count} of {len(rows)}' for count in good)} |"])

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def begin() -> None:
    """Forget what was tried before."""
    _state.write(_file(), Proof())


def quick() -> Proof:
    """Try the features that a kernel's trial asks for, in the kernel of this cell."""
    output = io.StringIO()
    began = time.monotonic()
    with contextlib.redirect_stdout(output):
        names: dict[str, Any] = {"__name__": "features"}
        exec(compile(_QUICK.read_text(encoding="utf-8"), str(_QUICK), "exec"), names)  # noqa: S102  our own file
    missing: dict[str, str] = json.loads(output.getvalue().splitlines()[-1])["missing"]
    seconds = (time.monotonic() - began) / len(names["FEATURES"])
    return _saved([(feature, missing.get(feature), seconds) for feature, *_ in names["FEATURES"]])


def page() -> Proof:
    """Try what only a page can answer, in the kernel of this cell: JavaScript, secrets, callbacks, downloads."""
    return _saved([(feature, *_attempt(check)) for feature, check in _PAGE.items()])


def person() -> Proof:
    """Try what a person has to answer: a line of input, an upload, and the consent to mount Drive."""
    return _saved([(feature, *_attempt(check)) for feature, check in _PERSON.items()])


def report() -> Proof:
    """Return the report, as Markdown when it is shown. Raises MissingStepError when nothing was tried."""
    proof = _state.read(_file(), Proof)
    if proof is None or not proof.tried:
        msg = "nothing has been tried yet"
        raise MissingStepError(msg, hint="run the cells of docs/live_proof.ipynb from the top")
    return proof


def _saved(results: list[tuple[str, str | None, float]]) -> Proof:
    earlier, kernel = _state.read(_file(), Proof) or Proof(), _kernel(Machine.detect())
    names = {feature for feature, *_ in results}
    others = tuple(trial for trial in earlier.tried if trial.kernel != kernel or trial.feature not in names)
    tried = tuple(
        Tried(feature=feature, kernel=kernel, problem=problem and _report.clean(problem), seconds=seconds)
        for feature, problem, seconds in results
    )
    proof = Proof(tried=(*others, *tried), versions={**(earlier.versions or {}), kernel: _versions()})
    _state.write(_file(), proof)
    return proof


def _file() -> Path:
    return Path.cwd() / "live-proof.json"


def _kernel(machine: Machine) -> str:
    # By the environment: its Python may be a link to the machine's.
    is_stock = os.path.realpath(sys.prefix) == os.path.realpath(machine.machine_python.parents[1])
    return _STOCK if is_stock else _OWN


def _versions() -> str:
    versions = [f"Python {platform.python_version()}"]
    for name in _VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    release = os.environ.get("COLAB_RELEASE_TAG")
    return ", ".join([*versions, *([f"Colab {release}"] if release else [])])


def _attempt(check: Callable[[], object]) -> tuple[str | None, float]:
    began = time.monotonic()
    try:
        check()
    except Exception as error:  # noqa: BLE001  whatever it is, the feature does not work
        return f"{type(error).__name__}: {error}".partition("\n")[0], time.monotonic() - began
    return None, time.monotonic() - began


def _cell(one: Tried | None) -> str:
    if one is None:
        return "-"
    return f"no: {one.problem}".replace("|", "\\|") if one.problem else f"yes ({one.seconds:.1f} s)"


def _require(condition: object, problem: str) -> None:
    if not condition:
        raise ValueError(problem)


def _raises(name: str, attempt: Callable[[], object]) -> None:
    """Hold that an attempt ends with an error of this name."""
    try:
        attempt()
    except Exception as error:
        # By name: google.colab's classes exist on Colab alone.
        if type(error).__name__ != name:
            raise
        return
    msg = f"no {name}"
    raise ValueError(msg)


def _eval(code: str) -> Any:
    from google.colab import output  # type: ignore[import-not-found]

    return output.eval_js(code)


def _secret() -> None:
    from google.colab import userdata

    _raises("SecretNotFoundError", lambda: userdata.get("a secret that nobody has"))


def _callback() -> None:
    from google.colab import output

    heard: list[int] = []
    output.register_callback("live_proof", lambda *numbers: heard.append(sum(numbers)))
    output.eval_js("google.colab.kernel.invokeFunction('live_proof', [20, 22], {}).then(() => 1)")
    _require(heard == [42], f"the callback heard {heard}")


def _tags() -> None:
    from google.colab import output

    with output.use_tags("live proof"):
        sys.stdout.write("this line goes at once\n")
    output.clear(output_tags="live proof")


def _download() -> None:
    from google.colab import files

    with tempfile.NamedTemporaryFile("w", prefix="live-proof-", suffix=".txt") as file:
        file.write("downloaded\n")
        file.flush()
        files.download(file.name)


def _upload() -> None:
    from google.colab import files

    _require(files.upload(), "no file arrived")


def _drive() -> None:
    from google.colab import drive

    drive.mount("/content/drive")
    _require(Path("/content/drive/MyDrive").is_dir(), "no MyDrive")


_PAGE: dict[str, Callable[[], object]] = {
    "JavaScript answers": lambda: _require(_eval("6 * 7") == 42, "another number"),
    "JavaScript answers after seven seconds": lambda: _require(_eval(_SLOW) == 42, "another number"),
    "an error of the page can be caught": lambda: _raises("MessageError", lambda: _eval("nothing.of.this.name")),
    "a secret that nobody has": _secret,
    "the page calls Python": _callback,
    "output is tagged and cleared": _tags,
    "a download begins": _download,
}
_PERSON: dict[str, Callable[[], object]] = {
    "a line of input": lambda: _require(input("Type anything: "), "nothing was typed"),
    "an upload": _upload,
    "Drive": _drive,
}
