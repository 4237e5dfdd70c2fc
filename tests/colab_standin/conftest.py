"""The stand-in's fixtures, for its own tests."""

from .fixtures import colab_root, colab_server, standin_is_available

__all__ = ["colab_root", "colab_server", "standin_is_available"]
