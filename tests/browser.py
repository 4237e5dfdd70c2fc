"""A real JupyterLab, looked at through headless Chromium."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=1280,1000",
)  # fmt: skip
needs_browser = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")


@contextlib.contextmanager
def jupyterlab(directory: Path, home: Path) -> Iterator[str]:
    """Serve JupyterLab for a directory, as a person with that home would; yields its address with the token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [f"--ServerApp.port={port}", "--ServerApp.open_browser=False", "--IdentityProvider.token=secret"]
    options += [f"--ServerApp.root_dir={directory}", "--ServerApp.allow_root=True", "--LabApp.news_url=None"]
    options += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    environ = {**os.environ, "HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[1])}
    with (directory / "server.log").open("w") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=environ, stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api?token=secret", server)
        yield f"http://127.0.0.1:{port}/lab/tree/{{path}}?token=secret&reset"
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(60)
        server.kill()
        server.wait()


@contextlib.contextmanager
def chromium(profile: Path):
    """Start Chromium with an empty profile; yields selenium's driver."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def choose_kernel(driver, display_name: str) -> None:
    """Pick a kernel in JupyterLab's dialog, as a person does."""
    from selenium.webdriver.support.ui import Select

    _click(driver, ".jp-NotebookPanel-toolbar .jp-KernelName, .jp-Toolbar-kernelName")
    Select(there(driver, ".jp-Dialog select")[0]).select_by_visible_text(display_name)
    _click(driver, ".jp-Dialog button.jp-mod-accept")
    wait_until_idle(driver, display_name)


def wait_until_idle(driver, display_name: str) -> None:
    """Wait until the status bar says that this kernel is there and has nothing to do."""
    _wait_until(lambda: f"{display_name} | Idle" in _text(driver, "#jp-main-statusbar"))


def run_cell(driver, number: int = 0) -> None:
    """Click into a cell and press Shift+Enter; before a kernel is there, Lab may ask which one is meant."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    _click(driver, ".jp-CodeCell .cm-content", number)
    ActionChains(driver).key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(Keys.SHIFT).perform()


def run_cell_until(driver, number: int, text: str) -> str:
    """Run a cell again until its output shows `text`: Lab names a new kernel before it has connected to it."""
    for _ in range(15):
        run_cell(driver, number)
        with contextlib.suppress(pytest.fail.Exception):
            return wait_for_text(driver, text, seconds=8)
    return wait_for_text(driver, text, seconds=0.1)


def wait_for_text(driver, text: str, *, seconds: float = 180) -> str:
    """Return what the cells' outputs show once `text` is among it."""
    deadline = time.monotonic() + seconds
    shown = ""
    while time.monotonic() < deadline:
        shown = _text(driver, ".jp-OutputArea-output")
        if text in shown:
            return shown
        time.sleep(0.2)
    pytest.fail(f"{text!r} did not appear; the outputs show {shown!r}")


def there(driver, selector: str) -> list:
    """Return what the page shows for a CSS selector, once there is something."""
    _wait_until(lambda: driver.find_elements("css selector", selector))
    return driver.find_elements("css selector", selector)


def _text(driver, selector: str) -> str:
    from selenium.common.exceptions import StaleElementReferenceException

    while True:
        # Lab draws anew what is just being read.
        with contextlib.suppress(StaleElementReferenceException):
            return "\n".join(each.text for each in driver.find_elements("css selector", selector))


def _click(driver, selector: str, number: int = 0) -> None:
    from selenium.common.exceptions import WebDriverException

    problem: WebDriverException | None = None

    def clicked() -> bool:
        nonlocal problem
        # Something may still lie above it, or it is being drawn anew.
        try:
            there(driver, selector)[number].click()
        except WebDriverException as error:
            problem = error
            return False
        return True

    _wait_until(clicked, why=lambda: f"{problem}\n{_text(driver, 'body')}")


def _wait_until(is_true, *, seconds: float = 180, why=lambda: "") -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            pytest.fail(f"the page did not get there: {why()}")
        time.sleep(0.1)


def _wait_for(url: str, server: subprocess.Popen) -> None:
    for _ in range(1200):
        assert server.poll() is None, "the server ended"
        with contextlib.suppress(OSError):
            json.load(urllib.request.urlopen(url))
            return
        time.sleep(0.1)
    pytest.fail("the server did not come up")
