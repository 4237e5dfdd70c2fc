"""Import the modules of distributions, so that what was built is known to work: `_import_proof.py fiona module:fiona.ogrext`.

Runs under the Python that they were installed for.
"""

from __future__ import annotations

import importlib
import sys


def modules_of(distribution: str) -> list[str]:
    """Return the names of a distribution's own top-level modules."""
    try:
        from importlib import metadata
    except ImportError:  # Python 3.7 and older
        return [distribution.replace("-", "_")]
    top_level = metadata.distribution(distribution).read_text("top_level.txt")
    if top_level:
        names = [name.replace("/", ".") for name in top_level.split()]  # some name their extensions: systemd/_daemon
        return [name for name in names if not name.startswith("_")] or names
    files = metadata.distribution(distribution).files or []
    modules = {file.parts[0].split(".")[0] for file in files if file.suffix in (".py", ".so")}
    return sorted(name for name in modules if name.isidentifier() and name not in ("tests", "test"))


def main() -> None:
    """Import all of them; the first failure is the traceback that Python shows."""
    sys.path.pop(0)  # the directory of this file
    for word in sys.argv[1:]:
        for module in [word[7:]] if word.startswith("module:") else modules_of(word):
            importlib.import_module(module)
            sys.stdout.write(f"imported {module}\n")


if __name__ == "__main__":
    main()
