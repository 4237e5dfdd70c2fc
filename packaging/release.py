"""Make a release: `python packaging/release.py 0.1.0 --repository OWNER/NAME`. It publishes nothing by itself.

In order: the working tree is clean, the version is newer than every tag; the version, the day and the repository's address
are written where they belong; `.ci/run` passes; sdist and wheel are built into dist/; a commit and a tag `vVERSION`. What is
left to type is printed: the push and the upload. If a check fails, the files are as they were.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import re
import subprocess
import sys
from pathlib import Path

from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
PLACEHOLDER = "OWNER/REPO"
# Where a reader follows the address: the two badges, the notebook's spare source, how to clone.
WITH_ADDRESS = ("README.md", "CONTRIBUTING.md", "colab_bootstrap.ipynb", "docs/live_proof.ipynb")


def git(*words: str) -> str:
    """Run git in the checkout and return what it prints."""
    done = subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def require_ready(version: str) -> None:
    """End with one sentence where nothing can be released."""
    try:
        number = Version(version)
    except InvalidVersion:
        sys.exit(f"{version!r} is not a version; write it as 0.2.0")
    if git("status", "--porcelain"):
        sys.exit("the working tree has changes; commit or stash them first")
    tags = [tag.removeprefix("v") for tag in git("tag", "--list", "v*").split()]
    if not_newer := [tag for tag in tags if Version(tag) >= number]:
        sys.exit(f"{version} is not newer than {max(not_newer, key=Version)}, which is released")


def changed_files(version: str, repository: str | None, today: str) -> dict[str, str]:
    """Return the new text of every file that a release changes."""
    texts = {
        name: (ROOT / name).read_text(encoding="utf-8") for name in (*WITH_ADDRESS, "pyproject.toml", "CHANGELOG.md")
    }
    if "## [Unreleased]\n" not in texts["CHANGELOG.md"]:
        sys.exit("CHANGELOG.md has no section [Unreleased]")
    section = f"## [Unreleased]\n\n## [{version}] - {today}\n"
    # Written until there is a first release.
    texts["README.md"] = re.sub(r"^Not on PyPI yet: .*\n\n", "", texts["README.md"], flags=re.MULTILINE)
    after = {
        **{name: texts[name].replace(PLACEHOLDER, repository or PLACEHOLDER) for name in WITH_ADDRESS},
        "pyproject.toml": re.sub(
            r'^version = ".*"', f'version = "{version}"', texts["pyproject.toml"], count=1, flags=re.MULTILINE
        ),
        "CHANGELOG.md": texts["CHANGELOG.md"].replace("## [Unreleased]\n", section, 1),
    }
    if repository is None and (open_ones := [name for name in WITH_ADDRESS if PLACEHOLDER in texts[name]]):
        sys.exit(f"{', '.join(open_ones)} name no repository yet; add --repository OWNER/NAME")
    return {name: text for name, text in after.items() if text != (ROOT / name).read_text(encoding="utf-8")}


def main() -> None:
    """Do what the first lines of this file say."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("version")
    parser.add_argument("--repository", metavar="OWNER/NAME", help="on GitHub; once, for the first release")
    parser.add_argument("--no-checks", action="store_true", help="do not run .ci/run: it has just passed")
    parser.add_argument("--dry-run", action="store_true", help="show which files would change")
    arguments = parser.parse_args()
    require_ready(arguments.version)
    changed = changed_files(
        arguments.version, arguments.repository, dt.datetime.now(tz=dt.timezone.utc).date().isoformat()
    )
    print("changed:", ", ".join(changed))
    if arguments.dry_run:
        return
    for name, text in changed.items():
        (ROOT / name).write_text(text, encoding="utf-8")
    try:
        if not arguments.no_checks:
            subprocess.run([ROOT / ".ci/run"], check=True)
        environ = (
            {**os.environ, "COLAB_BOOTSTRAP_REPOSITORY": arguments.repository} if arguments.repository else os.environ
        )
        subprocess.run(
            [sys.executable, "-m", "uv", "build", "--quiet", "--out-dir", ROOT / "dist", ROOT], check=True, env=environ
        )
    except BaseException:
        git("checkout", "--", *changed)
        raise
    git("commit", "--all", "--message", f"Version {arguments.version}")
    git("tag", f"v{arguments.version}")
    print(f"now: git push --follow-tags && uv publish dist/colab_bootstrap-{arguments.version}*")


if __name__ == "__main__":
    main()
