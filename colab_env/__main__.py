"""`python -m colab_env` is the command `colab-env`."""

import signal
import sys


def main() -> int:
    """Load the command and run it. Until it is loaded nothing is at work, and Ctrl-C ends this process without a traceback."""
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a job of nohup stays deaf to it
    if is_usual:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from colab_env import cli

    if is_usual:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
