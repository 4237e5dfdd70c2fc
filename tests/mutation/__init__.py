"""Change one thing in a module and look whether its tests notice: `python -m tests.mutation`."""
