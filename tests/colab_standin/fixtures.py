"""Fixtures for tests: a fresh machine, and a fresh machine's running server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import ColabRoot, Options, Server, real_google_colab, serving, unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def standin_is_available() -> None:
    """Skip where no stand-in can be."""
    reason = unavailable()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def colab_root(standin_is_available: None) -> Iterator[ColabRoot]:
    """Give a fresh machine."""
    with ColabRoot.build(options=Options(google_colab=real_google_colab())) as root:
        yield root


@pytest.fixture
def colab_server(colab_root: ColabRoot) -> Iterator[Server]:
    """Give a fresh machine's running server."""
    with serving(colab_root) as server:
        yield server
