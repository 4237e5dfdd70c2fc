"""Conda, in a prefix that the machine may share: installers, runs, and what was there before."""
