"""`python tools/evaluate.py` is `wsl-evaluate`; run it with --help for examples."""

import sys

from wsl.cli import evaluate

if __name__ == "__main__":
    sys.exit(evaluate())
