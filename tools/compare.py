"""`python tools/compare.py` is the same as `wsl-compare`; run it with --help for examples."""

import sys

from wsl.cli import compare

if __name__ == "__main__":
    sys.exit(compare())
