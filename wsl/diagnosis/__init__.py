"""One image followed from its file to its boxes: what each step made of it, and the first thing that looks wrong."""

from wsl.diagnosis.checks import CHECKS, findings
from wsl.diagnosis.evidence import Decoded, Evidence, Hidden, Seen
from wsl.diagnosis.finding import Finding

__all__ = ["CHECKS", "Decoded", "Evidence", "Finding", "Hidden", "Seen", "findings"]
