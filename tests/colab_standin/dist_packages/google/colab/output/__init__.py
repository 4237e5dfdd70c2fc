"""Stand-in for tests, written from public behaviour: output, and functions that the page may call."""

from google.colab.output._js import eval_js, register_callback

__all__ = ["eval_js", "register_callback"]
