"""`python tools/evaluate.py` is the same as `wsl-evaluate`; run it with --help for examples."""

import sys

from wsl.cli import evaluate

if __name__ == "__main__":
    sys.exit(evaluate())
