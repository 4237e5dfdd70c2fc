"""Run ten of ipywidgets' own examples in JupyterLab and Notebook 7, natively and through `%%colab_env`, and compare the pages.

`python -m tests.widget_examples DIR` takes docs/source/examples of a checkout of ipywidgets; it needs Debian's chromium and
chromium-driver, and a network. Every cell is run, then everything in its output is used: sliders are moved, buttons pressed,
texts typed. What the page shows before and after has to be the same in both ways.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from selenium.common.exceptions import WebDriverException

sys.path[:0] = [str(Path(__file__).parent)]

import browser

ROOT = Path(__file__).resolve().parents[1]
INTERFACES = {"JupyterLab": ("jupyterlab", "lab/tree"), "Notebook 7": ("notebook", "notebooks")}
_JUPYTER = ("jupyterlab>=4.2,<5", "notebook>=7.2,<8", "ipywidgets>=8,<9", "ipykernel", "uv")
_PROJECT = (
    *("ipywidgets>=8,<9", "matplotlib", "networkx", "sympy", "scikit-learn", "scikit-image", "scipy", "pandas"),
    *("bqplot", "ipyleaflet", "pip"),
)
# Chosen before the first run: each kind of widget, outputs, threads, asyncio, plots; `--all` runs every notebook.
_TEN = (
    *("Exploring Graphs", "Factoring", "Lorenz Differential Equations", "Output Widget", "Using Interact"),
    *("Widget Asynchronous", "Widget Basics", "Widget Events", "Widget List", "Widget Styling"),
)
_PATIENCE = 300  # seconds for all cells of a notebook
# What differs between two runs of the same cell on the same kernel.
_CHANGING = re.compile(
    r"0x[0-9a-f]+|\b[0-9a-f]{32}\b|(?:CPU times|Wall time|total): .*|\d+(?:\.\d+)? [mµn]?s\b|\d{4}-\d\d-\d\d[ T][\d:.]+"
)
_RUN = """
const done = arguments[arguments.length - 1];
window.jupyterapp.commands.execute('notebook:run-all-cells').then(() => done('ran'), error => done(String(error)));
"""
_STATUS = """
const panel = window.jupyterapp && window.jupyterapp.shell.currentWidget;
const session = panel && panel.sessionContext && panel.sessionContext.session;
return session && session.kernel ? [session.kernel.name, session.kernel.status, session.kernel.connectionStatus] : [];
"""
_CELLS = """
const panel = window.jupyterapp.shell.currentWidget;
return panel.content.widgets.filter(cell => cell.model.type === 'code').map(cell => {
  const all = selector => [...cell.outputArea.node.querySelectorAll(selector)];
  const kinds = element => [...element.classList].filter(name => /^(widget|jupyter)-/.test(name)).sort().join(' ');
  return {
    source: cell.model.sharedModel.getSource(),
    waits: (cell.promptNode || cell.node).innerText.includes('*'),
    text: all('.jp-OutputArea-output').map(element => element.innerText.trim()).filter(text => text).join('\\n'),
    widgets: all('.jupyter-widgets').map(kinds),
    values: all('input, textarea, select').map(element => element.type === 'checkbox' ? element.checked : element.value),
    pictures: all('.jp-OutputArea-output :is(img, canvas, svg, video, audio)').length,
    errors: all('[data-mime-type*="stderr"], [data-mime-type*="jupyter.error"]').length,
  };
});
"""
# Not a player, which goes on by itself, and no file to upload, for which a dialog opens.
_USE = """
const done = arguments[arguments.length - 1], pause = () => new Promise(go => setTimeout(go, 150));
const send = (element, kind, options) => element.dispatchEvent(new options.type(kind, {bubbles: true, ...options.with}));
const use = {
  '.noUi-handle': element => send(element, 'keydown', {type: KeyboardEvent, with: {key: 'ArrowRight'}}),
  '.widget-checkbox input': element => element.click(),
  '.widget-text input, .widget-textarea textarea': element => {
    element.value = '7'; send(element, 'input', {type: Event}); send(element, 'change', {type: Event});
    send(element, 'keypress', {type: KeyboardEvent, with: {key: 'Enter', keyCode: 13}});
  },
  '.widget-dropdown select': element => {
    element.selectedIndex = element.options.length - 1; send(element, 'change', {type: Event});
  },
  '.widget-button, .widget-toggle-button': element => element.click(),
};
(async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  let used = 0;
  for (const cell of panel.content.widgets.filter(cell => cell.model.type === 'code'))
    for (const [selector, act] of Object.entries(use))
      for (const element of [...cell.outputArea.node.querySelectorAll(selector)].slice(0, 6))
        if (!element.closest('.widget-play, .widget-upload') && !element.disabled) { act(element); used += 1; await pause(); }
  done(used);
})();
"""


@dataclass(frozen=True, kw_only=True)
class Pages:
    """What the cells of a notebook show once they have run, and once all in their outputs was used; `used` is how much that is."""

    ran: list[dict[str, Any]]
    after: list[dict[str, Any]]
    used: int


@dataclass(kw_only=True)
class Outcome:
    """What became of one notebook in one interface: the differences, and how many widgets were used."""

    notebook: str
    interface: str
    used: int = 0
    differences: list[str] = field(default_factory=list)


def main() -> int:
    """Return 1 if a page differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.widget_examples", description=__doc__)
    parser.add_argument("directory", type=Path)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", metavar="TEXT", action="append", help="notebooks whose names have TEXT")
    which.add_argument("--all", action="store_true", help="every notebook that has code, not the ten")
    parser.add_argument("--interface", choices=INTERFACES, action="append", help="one of the two; by default both")
    parser.add_argument(
        "--workspace", type=Path, help="a directory that keeps the Jupyter and the project for another run"
    )
    parser.add_argument("--pictures", type=Path, help="where pictures of pages that differ go")
    arguments = parser.parse_args()
    names = [""] if arguments.all else arguments.only or _TEN
    files = [path for path in sorted(arguments.directory.glob("*.ipynb")) if any(name in path.stem for name in names)]
    files = [path for path in files if any(cell.cell_type == "code" for cell in nbformat.read(path, 4).cells)]
    with tempfile.TemporaryDirectory() as directory:
        workspace, interfaces = arguments.workspace or Path(directory), arguments.interface or list(INTERFACES)
        outcomes = list(_outcomes(files, workspace, interfaces, arguments.pictures))
    for interface in interfaces:
        mine = [outcome for outcome in outcomes if outcome.interface == interface]
        same, used = sum(not outcome.differences for outcome in mine), sum(outcome.used for outcome in mine)
        print(f"{interface}: {same} of {len(mine)} as on the kernel itself, {used} widgets used")
    return int(any(outcome.differences for outcome in outcomes))


def _outcomes(files: list[Path], directory: Path, interfaces: list[str], pictures: Path | None) -> Iterator[Outcome]:
    home, project = directory / "home", directory / "lesson"
    project.mkdir(exist_ok=True, parents=True)
    python = directory / "jupyter/bin/python"
    if not (project / ".venv").exists():
        _prepare(python, home, project)
    if not (project / "images").exists():
        shutil.copytree(files[0].parent / "images", project / "images")  # which cells read
    for path in files:
        for way in ("native", "magic"):
            _write(path, project / f"{way} {path.name}", way)
    for interface in interfaces:
        with _serving(interface, python, project, home) as url, browser.chromium(directory / interface) as driver:
            driver.set_script_timeout(_PATIENCE)
            driver.command_executor.client_config.timeout = 2 * _PATIENCE
            driver.set_window_size(1200, 4000)
            for path in files:
                outcome = _compare(driver, url, path, interface, pictures)
                mark = "✗" if outcome.differences else "✓"
                print(f"{mark} {interface}, {path.name}: {outcome.used} widgets used", flush=True)
                for line in outcome.differences:
                    print(f"    {line}", flush=True)
                yield outcome


def _compare(driver: Any, url: str, path: Path, interface: str, pictures: Path | None) -> Outcome:
    """Run a notebook in both ways; where pages differ, once more in both, and count what differs again."""
    outcome = Outcome(notebook=path.name, interface=interface)
    try:
        native, magic = (_visit(driver, url, f"{way} {path.name}") for way in ("native", "magic"))
        outcome.used, outcome.differences = magic.used, _differences(native, magic)
        if outcome.differences:
            if pictures is not None:
                pictures.mkdir(exist_ok=True)
                driver.save_screenshot(str(pictures / f"{interface} {path.stem}.png"))
            # What two runs on the kernel itself do not have in common is no difference; nor is what depends on whether the page
            # was quicker with telling a slider's rounded value than the next cell, which then does not come again.
            native_again, magic_again = (_visit(driver, url, f"{way} {path.name}") for way in ("native", "magic"))
            chance = _where(_differences(native, native_again))
            lasting = _where(_differences(native_again, magic_again)) - chance
            for line in outcome.differences:
                if line.partition(" |")[0] not in lasting:
                    print(f"    by chance: {line}", flush=True)
            outcome.differences = [line for line in outcome.differences if line.partition(" |")[0] in lasting]
    except (TimeoutError, WebDriverException) as error:
        outcome.differences.append(f"it did not end: {error}")
        _end_kernels(url)
    return outcome


def _prepare(python: Path, home: Path, project: Path) -> None:
    """Install a Jupyter for that Python, and set a project up with this package."""
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, python.parents[1]], check=True)
    subprocess.run([*uv, "pip", "install", "-q", "--python", python, *_JUPYTER, ROOT], check=True)
    settings = home / ".jupyter/lab/user-settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"windowingMode": "none"}')  # cells out of sight are on the page, too
    (project / "requirements.txt").write_text("\n".join(_PROJECT))
    argv = [python, "-m", "colab_env", "setup", "--interpreter", "system", "--kernel", "mine", "--quiet"]
    subprocess.run(argv, check=True, cwd=project, env=_environ(home))


def _environ(home: Path) -> dict[str, str]:
    unwanted = ("COLAB_", "XDG_", "JUPYTER", "IPYTHON", "PYTHONPATH", "VIRTUAL_ENV")
    own = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {**own, "HOME": str(home), "UV_CACHE_DIR": str(Path.home() / ".cache/uv")}


def _write(path: Path, target: Path, way: str) -> None:
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if way == "magic" and cell.source.strip():
                cell.source = f"%%colab_env mine\n{cell.source}"
    name = {"native": "mine", "magic": "python3"}[way]
    notebook.metadata = {"kernelspec": {"name": name, "display_name": name, "language": "python"}}
    if way == "magic":
        first = nbformat.v4.new_code_cell("%load_ext colab_env")
        if notebook.nbformat_minor < 5:
            del first["id"]
        notebook.cells.insert(0, first)
    nbformat.write(notebook, target, version=nbformat.NO_CONVERT)


@contextlib.contextmanager
def _serving(interface: str, python: Path, project: Path, home: Path) -> Iterator[str]:
    """Serve the project; yields the address of its notebooks up to the name, and with the token behind."""
    module, path = INTERFACES[interface]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--ServerApp.port={port}", "--ServerApp.open_browser=False", "--IdentityProvider.token=secret"]
    options += [f"--ServerApp.root_dir={project}", "--ServerApp.allow_root=True", "--LabApp.news_url=None"]
    options += ["--expose-app-in-browser", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    with (home / f"{module}.log").open("w") as log:
        server = subprocess.Popen(
            [python, "-m", module, *options], env=_environ(home), stdout=log, stderr=log, cwd=project
        )
    try:
        browser._wait_for(f"http://127.0.0.1:{port}/api?token=secret", server)
        yield f"http://127.0.0.1:{port}/{path}/{{}}?token=secret&reset"  # Lab would open the notebooks of before, too
    finally:
        server.terminate()
        server.wait(60)


def _visit(driver: Any, url: str, name: str) -> Pages:
    """Open a notebook, run all of its cells, use what they show, and end its kernels."""
    driver.get(url.format(urllib.parse.quote(name)))
    kernel = "mine" if name.startswith("native") else "python3"
    _wait(lambda: driver.execute_script(_STATUS) == [kernel, "idle", "connected"], f"{name}: a kernel")
    ran = driver.execute_async_script(_RUN)
    assert ran == "ran", ran
    before = _settled(driver, name)
    used = driver.execute_async_script(_USE)
    after = _settled(driver, name)
    _end_kernels(url)
    skipped = name.startswith("magic")  # its first cell loads the extension
    return Pages(ran=before[skipped:], after=after[skipped:], used=used)


def _settled(driver: Any, name: str) -> list[dict[str, Any]]:
    """Return what the cells show once that has not changed for two seconds."""
    deadline, since, last = time.monotonic() + _PATIENCE, time.monotonic(), None
    while time.monotonic() < deadline:
        shown = driver.execute_script(_CELLS)
        is_busy = driver.execute_script(_STATUS)[1:2] != ["idle"] or any(cell["waits"] for cell in shown)
        if shown != last or is_busy:
            last, since = shown, time.monotonic()
        elif time.monotonic() - since > 2:
            break
        time.sleep(0.3)
    else:
        print(f"    {name}: still changes after {_PATIENCE} s", flush=True)
    return shown


def _differences(native: Pages, magic: Pages) -> list[str]:
    """Return what differs, a line for each cell and property: "cell 3, after use, text | on the kernel | through the magic"."""
    lines = []
    for moment in ("ran", "after"):
        one, other = getattr(native, moment), getattr(magic, moment)
        if len(one) != len(other):
            lines.append(f"{moment}, cells | {len(one)} | {len(other)}")
        for number, (cell, twin) in enumerate(zip(one, other, strict=False), 1):
            for key in ("text", "widgets", "values", "pictures", "errors"):
                left, right = (_CHANGING.sub("…", json.dumps(each[key], ensure_ascii=False)) for each in (cell, twin))
                if left != right:
                    lines.append(f"cell {number}, {moment}, {key} | {left[-300:]} | {right[-300:]}")
    return lines


def _where(differences: list[str]) -> set[str]:
    return {line.partition(" |")[0] for line in differences}


def _end_kernels(url: str) -> None:
    address = "/".join(url.split("/")[:3])
    sessions = json.load(urllib.request.urlopen(f"{address}/api/sessions?token=secret"))
    for session in sessions:
        request = urllib.request.Request(f"{address}/api/sessions/{session['id']}?token=secret", method="DELETE")
        urllib.request.urlopen(request)


def _wait(is_true: Any, what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not is_true():
        if time.monotonic() > deadline:
            msg = f"{what} did not come"
            raise TimeoutError(msg)
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
