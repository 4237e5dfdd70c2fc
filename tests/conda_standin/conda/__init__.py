"""A STAND-IN for conda (tests of colab_env): the few command lines that colab_env uses, solved and linked by py-rattler."""

__version__ = "26.5.3"
