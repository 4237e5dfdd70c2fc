"""Mistakes that people make, as data, and what must then be said: `python -m tests.mistakes`."""
