"""`python tools/info.py` is the same as `wsl-info`; run it with --help for examples."""

import sys

from wsl.cli import info

if __name__ == "__main__":
    sys.exit(info())
