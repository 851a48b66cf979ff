"""`python tools/demo.py` is `wsl-demo`; run it with --help for examples."""

import sys

from wsl.cli import demo

if __name__ == "__main__":
    sys.exit(demo())
