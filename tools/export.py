"""`python tools/export.py` is the same as `wsl-export`; run it with --help for examples."""

import sys

from wsl.cli import export

if __name__ == "__main__":
    sys.exit(export())
