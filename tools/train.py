"""`python tools/train.py` is the same as `wsl-train`; run it with --help for examples."""

import sys

from wsl.cli import train

if __name__ == "__main__":
    sys.exit(train())
