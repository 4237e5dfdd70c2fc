"""Feed every parser what somebody else, or a damaged disk, may have written: `python -m tests.fuzz --count 10000`.

A parser either accepts an input or refuses it with an error of this package's own, in bounded time and memory. What has a
parser is in `parsers.py`, how inputs are made in `inputs.py`, how they are counted in `trial.py`.
"""
