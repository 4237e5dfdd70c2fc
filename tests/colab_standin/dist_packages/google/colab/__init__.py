"""Stand-in for tests, written from public behaviour: the package that Colab's kernels load."""

from google.colab import _shell_customizations, userdata

__all__ = ["userdata"]


def load_ipython_extension(shell):
    """Prepare a shell the way the extension does."""
    _shell_customizations.initialize(shell)
