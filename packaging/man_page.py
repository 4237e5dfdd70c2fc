"""Writes the manual page of `colab-env` from its own parser while the wheel is built, so that the two cannot differ."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


def man_page(root: Path, version: str) -> str:
    """Return the page's troff source."""
    from argparse_manpage.manpage import Manpage

    sys.path.insert(0, str(root))
    try:
        from colab_env import cli

        parser = cli._parser()
    finally:
        sys.path.remove(str(root))
    parser.man_short_description = "give a notebook its own Python and its own locked packages"
    page = Manpage(parser, format="single-commands-section")
    page.source, page.manual = f"colab-bootstrap {version}", "colab-env"
    return str(page)


class ManPage(BuildHookInterface):
    """Hatchling calls it for each wheel; an editable install has no manual page."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add `share/man/man1/colab-env.1`, which `man` finds beside the `bin` directory that is on PATH."""
        if self.target_name != "wheel" or version == "editable":
            return
        self.temporary = tempfile.TemporaryDirectory()
        page = Path(self.temporary.name) / "colab-env.1"
        page.write_text(man_page(Path(self.root), self.metadata.version), encoding="utf-8")
        build_data["shared_data"][str(page)] = "share/man/man1/colab-env.1"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Remove the page again: the wheel has it."""
        if hasattr(self, "temporary"):
            self.temporary.cleanup()
