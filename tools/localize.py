"""`python tools/localize.py` is the same as `wsl-localize`; run it with --help for examples."""

import sys

from wsl.cli import localize

if __name__ == "__main__":
    sys.exit(localize())
