"""What a notebook on Colab can do, as one list, tried on a kernel of any Python and compared with the machine's own.

`python -m tests.features` prints the table of feature and way; see `catalogue.py` for how to add a feature.
"""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]  # the tests' own modules
