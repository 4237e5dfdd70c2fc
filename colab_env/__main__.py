"""`python -m colab_env` is the command `colab-env`."""

import sys

from colab_env.cli import main

sys.exit(main())
