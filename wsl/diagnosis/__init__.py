"""Diagnosis of one image from its file to its boxes: the result of each step, and the likeliest cause of a problem."""

from wsl.diagnosis.checks import CHECKS, findings
from wsl.diagnosis.evidence import Decoded, Evidence, Hidden, Seen
from wsl.diagnosis.finding import Finding

__all__ = ["CHECKS", "Decoded", "Evidence", "Finding", "Hidden", "Seen", "findings"]
