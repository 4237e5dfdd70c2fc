"""What the package's page on PyPI shows: README without a dead link, and the project's addresses, where they are known."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_REMOTE = re.compile(r"github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\]\([^)]*\))*)\]\(([^)\s]+)\)")


def repository(root: Path) -> str | None:
    """Return OWNER/NAME on GitHub: what COLAB_BOOTSTRAP_REPOSITORY says, else git's remote `origin`, else None."""
    if named := os.environ.get("COLAB_BOOTSTRAP_REPOSITORY"):
        return named
    argv = ["git", "-C", str(root), "config", "--get", "remote.origin.url"]
    try:
        remote = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # no git: an archive of the sources
        return None
    match = _REMOTE.search(remote)
    return match[1] if match else None


def with_absolute_links(text: str, owner_and_name: str | None, *, tag: str = "main") -> str:
    """Return README's text with links that work anywhere; without an address, what they stood on stays as text."""
    if owner_and_name is None:
        text = "".join(line for line in text.splitlines(keepends=True) if "OWNER/REPO" not in line)
    else:
        text = text.replace("OWNER/REPO", owner_and_name)

    def absolute(match: re.Match[str]) -> str:
        mark, words, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        if owner_and_name is None:
            return "" if mark else words
        kind = "raw" if mark else "blob"
        return f"{mark}[{words}](https://github.com/{owner_and_name}/{kind}/{tag}/{target})"

    return _LINK.sub(absolute, text)


class ReadmeAndAddresses(MetadataHookInterface):
    """Hatchling calls it when it builds from a checkout; from an sdist it takes what the sdist says already."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in `readme`, `authors` and `urls`, which pyproject.toml declares as dynamic."""
        root = Path(self.root)
        owner_and_name = repository(root)
        readme = (root / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": with_absolute_links(readme, owner_and_name),
        }
        metadata["authors"] = [{"name": "The colab-bootstrap authors"}]
        if owner_and_name is not None:
            owner = owner_and_name.partition("/")[0]
            metadata["authors"][0]["email"] = f"{owner}@users.noreply.github.com"
            address = f"https://github.com/{owner_and_name}"
            metadata["urls"] = {
                "Homepage": address,
                "Documentation": f"{address}/tree/main/docs",
                "Changelog": f"{address}/blob/main/CHANGELOG.md",
                "Issues": f"{address}/issues",
            }
