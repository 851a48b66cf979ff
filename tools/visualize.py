"""`python tools/visualize.py` is the same as `wsl-visualize`; run it with --help for examples."""

import sys

from wsl.cli import visualize

if __name__ == "__main__":
    sys.exit(visualize())
