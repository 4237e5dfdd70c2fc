"""A stand-in for a Colab machine: its layout, its server and its page, for tests."""

from .namespace import NamespaceError, Share, stop, unavailable
from .page import Cell, CrashError, Page, PageError, Refusal, SilenceError, Slow
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
    "Refusal",
    "Server",
    "ServerError",
    "Share",
    "SilenceError",
    "Slow",
    "real_google_colab",
    "serving",
    "stop",
    "unavailable",
]
