"""Spatial poolings: class maps (N, C, H, W) or (C, H, W) become scores (N, C) or (C,).

Each is a function and its `torch.nn.Module` twin; `heads.create_pooling` makes modules from spec strings.
"""

from heads.pooling._pooling import Pooling
from heads.pooling.gap import GAP, gap
from heads.pooling.gmp import GMP, gmp
from heads.pooling.kmax import KMax, kmax
from heads.pooling.lse import LSE, lse
from heads.pooling.weldon import WELDON, weldon
from heads.pooling.wildcat import WILDCAT, wildcat

__all__ = [
    "GAP",
    "GMP",
    "LSE",
    "WELDON",
    "WILDCAT",
    "KMax",
    "Pooling",
    "gap",
    "gmp",
    "kmax",
    "lse",
    "weldon",
    "wildcat",
]
