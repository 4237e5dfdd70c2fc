"""A stand-in for a Colab machine: its layout, its server and its page, for tests."""

from .namespace import NamespaceError, Share, stop, unavailable
from .page import Cell, CrashError, Page, PageError, SilenceError
from .root import PYTHONS, ColabRoot, Options, real_google_colab
from .server import Server, ServerError, serving

__all__ = [
    "PYTHONS",
    "Cell",
    "ColabRoot",
    "CrashError",
    "NamespaceError",
    "Options",
    "Page",
    "PageError",
    "Server",
    "ServerError",
    "Share",
    "SilenceError",
    "real_google_colab",
    "serving",
    "stop",
    "unavailable",
]
