"""Poetry where only PyPI's simple index is served, as company and classroom proxies do: recognised and healed.

Poetry's built-in source needs PyPI's JSON answers and dies without them ("Expecting value: line 1 column 1"). The
plugin poetry-plugin-pypi-mirror, installed beside Poetry, lets it read the simple index of the same address instead;
project and lock file stay as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from colab_env import _download, index, poetry

if TYPE_CHECKING:
    from colab_env.runtime import Runtime

NOTE = "This network serves only PyPI's simple index; Poetry now reads that one."


def is_all_there_is(runtime: Runtime, *, url: str | None = None) -> bool | None:
    """Ask the index whether it fails to answer in JSON; `url` is its address, by default pip's own.

    None means that there is no pip here to name it. A machine whose own settings name an index keeps it, and one that is
    offline is left alone: False.
    """
    if index.settings(runtime).url is not None:
        return False
    url = url or index.default_simple_index()
    return None if url is None else _download.answers_json(f"{url}/pip/") is False


def heal(runtime: Runtime) -> str | None:
    """Heal Poetry after it died of the missing answers. Returns the line to say, or None with nothing to heal."""
    if index.settings(runtime).url is not None:
        return None
    return _heal(runtime, index.default_simple_index() or poetry.default_index(runtime))


def _heal(runtime: Runtime, url: str) -> str:
    index.remember(runtime, url)
    poetry.write_command(runtime, index.settings(runtime))
    return NOTE
