"""One image followed from its file to its boxes: what each step made of it, and the first thing that looks wrong."""

from wsl.doctor.checks import CHECKS, findings
from wsl.doctor.evidence import Decoded, Evidence, Hidden, Seen
from wsl.doctor.finding import Finding

__all__ = ["CHECKS", "Decoded", "Evidence", "Finding", "Hidden", "Seen", "findings"]
