"""Stop, kill and starve every command of colab-env at every one of its side effects, and see what becomes of it.

`python -m tests.faults` tries a seeded sample, `--all` every point; `--command NAME --kind KIND --at N` repeats one and
prints everything. After each fault the same command runs again and must succeed, then `undo` must give the machine back.
"""
