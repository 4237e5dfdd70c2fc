"""docs/hosts.md, made of `colab_env/machine.py`: `python -m tests.hosts_page --write`."""

from __future__ import annotations

import sys
from pathlib import Path

from colab_env.machine import HOSTS, PLAIN, Host

PAGE = Path(__file__).parents[1] / "docs/hosts.md"
_COLUMNS = {
    "Python of the notebook": "python",
    "kernels are registered in": "kernels",
    "survives a session": "survives",
    "changes kernels": "switches",
    "is left alone": "untouched",
    "source": "source",
    "unverified": "unverified",
}
_HEAD = """\
# Hosts

What colab-env knows of the services that notebooks run on: `colab_env/machine.py`, of which this page is made
(`python -m tests.hosts_page --write`). A host that is not here is a plain machine. What *unverified* names was never seen on the
service itself.
"""


def text() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *(_section(host) for host in (*HOSTS, PLAIN))])


def _section(host: Host) -> str:
    marks = [f"`{name}`" for name in host.variables] + ([f"home directory `{host.home}`"] if host.home else [])
    rows = [("known by", ", ".join(marks) or "none of the above"), ('`interpreter="auto"`', host.interpreter)]
    rows += [(title, getattr(host, name) or "nothing") for title, name in _COLUMNS.items()]
    lines = [f"| {title} | {said} |" for title, said in rows]
    return "\n".join([f"## {host.title[0].upper()}{host.title[1:]}", "", "| | |", "|---|---|", *lines, ""])


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(text(), encoding="utf-8")
    else:
        print(text())
