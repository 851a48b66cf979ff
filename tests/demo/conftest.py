"""The demo's modules import each other by name, as when one of them is run as a script."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "demo"))
