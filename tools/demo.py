"""`python tools/demo.py` is the same as `wsl-demo`; run it with --help for examples."""

import sys

from wsl.cli import demo

if __name__ == "__main__":
    sys.exit(demo())
