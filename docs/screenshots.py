"""Take the pictures in docs/images: python docs/screenshots.py [NAME...], with Debian's chromium and chromium-driver.

Everything in them is real: a set-up in a terminal of its own, and cells of a notebook in JupyterLab, light and dark. Homes and
projects are temporary directories.
"""

from __future__ import annotations

import collections
import contextlib
import html
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
import browser  # noqa: E402  it is beside the tests

IMAGES = ROOT / "docs" / "images"
LARGEST = 60_000  # bytes of one picture
CELLS = {
    "setup": ("import colab_env\ncolab_env.setup(interpreter='system')", "Ready in"),
    "status": ("colab_env.status()", "healthy"),
    "check-kernel": ("colab_env.check_kernel()", "works"),
    "plan": ("colab_env.plan(interpreter='system', keep=['pyyaml', 'pygments'])", "nothing was changed"),
    "undo": ("colab_env.undo(dry_run=True)", "would take back"),
    "doctor": ("colab_env.doctor()", "Temporary"),
}
LOCK = "attrs==24.2.0\nidna==3.7\npygments==2.18.0\npyyaml==6.0\nsix==1.17.0\ntyping-extensions==4.12.2\n"
_STYLES = {
    "1": "font-weight:bold",
    "2": "opacity:.6",
    "31": "color:#ff7b72",
    "32": "color:#56d364",
    "36": "color:#79c0ff",
    "34": "color:#3d8bd4",
}


def main(names: list[str]) -> None:
    """Take the pictures that are named, or all."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        if not names or "terminal" in names:
            take_terminal(home / "terminal")
        if not names or {*names} - {"terminal"}:
            for theme in ("light", "dark"):
                take_notebook(home / theme, theme, names)
    for picture in sorted(IMAGES.glob("*.png")):
        size = picture.stat().st_size
        sys.stdout.write(f"{picture.name} {size}{' is too large' if size > LARGEST else ''}\n")


def take_terminal(home: Path) -> None:
    """Run a set-up in a terminal of 80 columns, and draw what it shows at its end, and in the middle of its work."""
    project = a_project(home)
    environ = {**an_environ(home), "TERM": "xterm-256color", "COLUMNS": "80", "PWD": str(project)}
    argv = [sys.executable, "-m", "colab_env", "setup", "--interpreter", "system"]
    text = "\r\n".join(
        [
            "\x1b[1m$\x1b[0m colab-env setup",
            shown(argv, environ, project),
            "\x1b[1m$\x1b[0m colab-env status",
            shown([*argv[:3], "status"], environ, project),
        ]
    )
    lines = "".join(f"<div>{to_html(line)}</div>" for line in re.split(r"\r?\n", text.strip()))
    page = home / "terminal.html"
    style = "body{margin:0;background:#0d1117;color:#e6edf3}pre{font:14px/1.45 'DejaVu Sans Mono',monospace;margin:0;padding:12px}"
    page.write_text(f"<meta charset=utf-8><style>{style}div{{min-height:1.45em}}</style><pre id=all>{lines}</pre>")
    with browser.chromium(home / "profile") as driver:
        driver.set_window_size(760, 1200)
        driver.get(page.as_uri())
        save(driver.find_element("css selector", "pre"), "terminal")


def take_notebook(home: Path, theme: str, names: list[str]) -> None:
    """Run the cells in JupyterLab, and draw each one's output."""
    project = a_project(home)
    settings = home / ".jupyter/lab/user-settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(f'{{"theme": "JupyterLab {theme.capitalize()}"}}')
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code, _ in CELLS.values()])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    nbformat.write(notebook, project / "a.ipynb")
    with (
        changed_environ(an_environ(home)),
        browser.jupyterlab(project, home) as url,
        browser.chromium(home / "p") as driver,
    ):
        driver.set_window_size(1100, 2600)
        driver.get(url.format(path="a.ipynb"))
        browser.wait_until_idle(driver, "Python 3 (ipykernel)")
        for number, (name, (_, text)) in enumerate(CELLS.items()):
            browser.run_cell(driver, number)
            browser.wait_for_text(driver, text)
            if not names or name in names or "notebook" in names:
                outputs = driver.find_elements("css selector", ".jp-Cell-outputWrapper")
                save(outputs[number], f"{name}-{theme}")


def save(element: object, name: str) -> None:
    """Write what an element shows with its 256 commonest colours, and the nearest of these for others: half of the bytes."""
    picture = element.screenshot_as_png  # type: ignore[attr-defined]
    header, width, height, rows = pixels(picture)
    step = 4 if header[9] == 6 else 3
    # Four bits of each channel: the edges of letters differ by less than an eye sees.
    reduced = [bytes((value & 0xF0) | (value >> 4) for value in row) for row in rows]
    lines = [[row[start : start + 3] for start in range(0, len(row), step)] for row in reduced]
    counts = collections.Counter(colour for line in lines for colour in line)
    palette = [colour for colour, _ in counts.most_common(256)]
    index = {
        colour: min(
            range(len(palette)), key=lambda at: sum((a - b) ** 2 for a, b in zip(palette[at], colour, strict=True))
        )
        for colour in counts
    }
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0),
        b"PLTE": b"".join(palette),
        b"IDAT": zlib.compress(b"".join(b"\0" + bytes(index[colour] for colour in line) for line in lines), 9),
        b"IEND": b"",
    }
    IMAGES.mkdir(exist_ok=True)
    written = b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks.items()
    )
    (IMAGES / f"{name}.png").write_bytes(picture[:8] + written)


def pixels(picture: bytes) -> tuple[bytes, int, int, list[bytearray]]:
    """Return a PNG's header, its width and height, and the values of each row of pixels (8 bits, not interlaced)."""
    header, packed, start = b"", b"", 8
    while start < len(picture):
        (length,) = struct.unpack(">I", picture[start : start + 4])
        kind, content = picture[start + 4 : start + 8], picture[start + 8 : start + 8 + length]
        header, packed = (content if kind == b"IHDR" else header), packed + (content if kind == b"IDAT" else b"")
        start += length + 12
    width, height = struct.unpack(">II", header[:8])
    step = 4 if header[9] == 6 else 3
    flat, rows, size = zlib.decompress(packed), list[bytearray](), width * step
    above = bytearray(size)
    for number in range(height):
        begin = number * (size + 1)
        rows.append(unfiltered(flat[begin], bytearray(flat[begin + 1 : begin + 1 + size]), above, step))
        above = rows[-1]
    return header, width, height, rows


def unfiltered(kind: int, row: bytearray, above: bytearray, step: int) -> bytearray:
    """Undo one of PNG's five filters (its specification, chapter 9)."""
    for at in range(len(row)):
        left, up = (row[at - step] if at >= step else 0), above[at]
        corner = above[at - step] if at >= step else 0
        nearest = min((left, up, corner), key=lambda value: abs(left + up - corner - value))
        row[at] = (row[at] + (0, left, up, (left + up) // 2, nearest)[kind]) & 255
    return row


def a_project(home: Path) -> Path:
    """Make a project below a home."""
    project = home / "lesson"
    project.mkdir(parents=True)
    (project / "requirements.txt").write_text(LOCK)
    return project


def an_environ(home: Path) -> dict[str, str]:
    """Return the environment of a person with this home; the caches are this machine's."""
    unwanted = {"PYTHONDONTWRITEBYTECODE", "NO_COLOR", "CI", "XDG_DATA_HOME", "COLAB_ENV_HOME", "VIRTUAL_ENV"}
    own = {name: value for name, value in os.environ.items() if name not in unwanted}
    cache = {"UV_CACHE_DIR": str(Path.home() / ".cache" / "uv")}
    return {**own, **cache, "HOME": str(home), "PYTHONPATH": str(ROOT)}


@contextlib.contextmanager
def changed_environ(environ: dict[str, str]) -> Iterator[None]:
    """Let children that inherit this process's environment have another one."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def shown(argv: list[str], environ: dict[str, str], cwd: Path) -> str:
    """Return what a terminal shows when a program has ended there: of a moving line, its last state."""
    master, slave = pty.openpty()
    with subprocess.Popen(argv, env=environ, cwd=cwd, stdout=slave, stderr=slave) as process:
        os.close(slave)
        text = b""
        with contextlib.suppress(OSError):
            while chunk := os.read(master, 4096):
                text += chunk
        process.wait()
    os.close(master)
    lines = text.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    return "\n".join(line.rpartition("\x1b[2K")[2] for line in lines).strip("\n")


def to_html(line: str) -> str:
    """Return a line with its colours as HTML."""
    parts = re.split(r"\x1b\[(\d+)m", line)
    drawn = html.escape(parts[0])
    for code, text in zip(parts[1::2], parts[2::2], strict=True):
        drawn += f"<span style='{_STYLES.get(code, '')}'>{html.escape(text)}</span>"
    return drawn


if __name__ == "__main__":
    if not shutil.which("chromium"):
        sys.exit("docs/screenshots.py needs chromium and chromium-driver: apt-get install chromium chromium-driver")
    main(sys.argv[1:])
