"""The parts of `notebooks`: the block and the lock in a notebook file, its `!pip install` lines, and the Jupyter that opens it."""
