"""Stand-in for tests, written from public behaviour: the namespace package that holds google.colab."""

import pkgutil

__path__ = pkgutil.extend_path(__path__, __name__)
