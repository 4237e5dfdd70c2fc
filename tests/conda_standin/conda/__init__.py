"""A STAND-IN for conda (tests of colab_env): the few command lines that it uses; py-rattler solves and links."""

__version__ = "26.5.3"
