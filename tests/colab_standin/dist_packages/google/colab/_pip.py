"""Stand-in for tests, written from public behaviour: recognises a pip command."""

import re


def is_pip_install_command(command, *_args, **_options):
    """Say whether a shell command installs packages."""
    return re.match(r"pip3?\s+install", command.strip())
