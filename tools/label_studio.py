"""`python tools/label_studio.py` is the same as `wsl-label-studio`; run it with --help for examples."""

import sys

from wsl.cli import label_studio

if __name__ == "__main__":
    sys.exit(label_studio())
