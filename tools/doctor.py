"""`python tools/doctor.py` is the same as `wsl-doctor`; run it with --help for examples."""

import sys

from wsl.cli import doctor

if __name__ == "__main__":
    sys.exit(doctor())
