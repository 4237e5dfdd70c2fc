"""Record a set-up in a terminal as a moving picture: `uv run --with pyte docs/recording.py` writes docs/images/setup.svg.

The command runs for real, in a pseudo-terminal of 84 columns and an empty home. Waiting is shortened to a second at most.
"""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import tempfile
import time
from html import escape
from pathlib import Path

import pyte
from screenshots import a_project, an_environ

COLUMNS, LINES = 84, 12
TARGET = Path(__file__).parent / "images/setup.svg"
_WIDTH, _HEIGHT = 8.4, 19  # of a character, in the picture's units
_COLOURS = {"green": "#3fb950", "red": "#f85149", "brown": "#d29922", "cyan": "#56d4dd", "blue": "#58a6ff"}
_LONGEST = 1.0  # seconds that one frame stays, but for the last
_LAST = 4.0
_RATE = 0.25  # seconds between two frames at least


def record(argv: list[str], *, environ: dict[str, str], cwd: Path) -> list[tuple[float, bytes]]:
    """Run a program in a pseudo-terminal, and return what it wrote, with the seconds since its start."""
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    began, parts = time.monotonic(), []
    with subprocess.Popen(argv, env=environ, cwd=cwd, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        while process.poll() is None or select.select([master], [], [], 0)[0]:
            if select.select([master], [], [], 0.05)[0]:
                try:
                    parts.append((time.monotonic() - began, os.read(master, 65536)))
                except OSError:  # Linux's way to say that the other side is closed
                    break
    os.close(master)
    return parts


def frames(parts: list[tuple[float, bytes]], typed: str) -> list[tuple[float, str]]:
    """Return what the screen shows, as lines of SVG, with the seconds that it stays."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    stream.feed(f"\x1b[1m$\x1b[0m {typed}\r\n".encode())
    pictures = [(0.0, drawn(screen))]
    for moment, data in parts:
        stream.feed(data)
        if moment - pictures[-1][0] >= _RATE or (moment, data) == parts[-1]:
            pictures.append((moment, drawn(screen)))
    different = [
        picture for number, picture in enumerate(pictures) if not number or picture[1] != pictures[number - 1][1]
    ]
    ends = [moment for moment, _ in different[1:]]
    lasts = [min(end - moment, _LONGEST) for (moment, _), end in zip(different, ends, strict=False)]
    return list(zip([*lasts, _LAST], [text for _, text in different], strict=True))


def drawn(screen: pyte.Screen) -> str:
    """Return the lines of a screen as SVG, one element for each run of characters that look alike."""
    lines = []
    for row in range(LINES):
        spans, cells = [], screen.buffer[row]
        for column in range(COLUMNS):
            cell = cells[column]
            look = (_COLOURS.get(cell.fg, "#8b949e" if "bright" in cell.fg else ""), cell.bold)
            if spans and spans[-1][0] == look:
                spans[-1][1].append(cell.data)
            else:
                spans.append((look, [cell.data]))
        text = "".join(tspan(look, "".join(run)) for look, run in spans).rstrip()
        if "".join(cells[column].data for column in range(COLUMNS)).strip():
            lines.append(f'<text y="{(row + 1) * _HEIGHT}">{text}</text>')
    return "".join(lines)


def tspan(look: tuple[str, bool], text: str) -> str:
    """Return a run of characters in its colour."""
    colour, is_bold = look
    style = (f' fill="{colour}"' if colour else "") + (' font-weight="bold"' if is_bold else "")
    return f"<tspan{style}>{escape(text)}</tspan>" if style else escape(text)


def picture(shown: list[tuple[float, str]]) -> str:
    """Return the moving picture: each frame is visible during its part of the whole, again and again."""
    total = sum(seconds for seconds, _ in shown)
    rules, groups, begin = [], [], 0.0
    for number, (seconds, text) in enumerate(shown):
        start, end = 100 * begin / total, 100 * (begin + seconds) / total
        steps = (
            f"0%,{max(start - 0.01, 0):.2f}%{{opacity:{int(not start)}}}{start:.2f}%,{end - 0.01:.2f}%{{opacity:1}}"
            f"{end:.2f}%,100%{{opacity:{int(end > 99.99)}}}"
        )
        rules.append(f"@keyframes f{number}{{{steps}}}#f{number}{{animation:f{number} {total:.2f}s step-end infinite}}")
        groups.append(f'<g id="f{number}" opacity="0">{text}</g>')
        begin += seconds
    width, height = COLUMNS * _WIDTH + 24, LINES * _HEIGHT + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img" '
        'aria-label="A set-up in a terminal: Python, packages, environment and kernel, then Ready.">'
        f"<style>text{{white-space:pre;font:14px ui-monospace,Menlo,Consolas,monospace;fill:#e6edf3}}{''.join(rules)}</style>"
        f'<rect width="100%" height="100%" rx="8" fill="#0d1117"/><g transform="translate(12,4)">{"".join(groups)}</g></svg>\n'
    )


def main() -> None:
    """Record, and write the picture."""
    with tempfile.TemporaryDirectory(prefix="colab-env-recording-") as directory:
        home = Path(directory)
        project = a_project(home)
        environ = {**an_environ(home), "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(LINES)}
        parts = record([sys.executable, "-m", "colab_env", "setup"], environ=environ, cwd=project)
    TARGET.write_text(picture(frames(parts, "colab-env setup")), encoding="utf-8")


if __name__ == "__main__":
    main()
