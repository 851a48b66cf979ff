"""Spatial poolings: class maps (N, C, H, W) or (C, H, W) to scores (N, C) or (C,).

Each is a function with a corresponding `torch.nn.Module`; `heads.create_pooling` makes modules from spec strings, and
`Pooling.weights` says where a score came from. ``cat`` and ``adaptive`` give several values per map.

Sums are computed in float32, or in float64 for float64 maps: scores of bfloat16 and float16 maps agree with those of
double precision to their last digit.
"""

from heads.pooling._pooling import Pooling
from heads.pooling.adaptive import Adaptive, adaptive
from heads.pooling.add import Add, add
from heads.pooling.attention import Attention, attention
from heads.pooling.cat import Cat, cat
from heads.pooling.csra import CSRA, csra
from heads.pooling.exp import Exp, exp
from heads.pooling.gap import GAP, gap
from heads.pooling.gmp import GMP, gmp
from heads.pooling.gndp import GNDP, gndp
from heads.pooling.kmax import KMax, kmax
from heads.pooling.linear import Linear, linear
from heads.pooling.lse import LSE, lse
from heads.pooling.median import Median, median
from heads.pooling.mixed import Mixed, mixed
from heads.pooling.pcam import PCAM, pcam
from heads.pooling.power import GeM, gem
from heads.pooling.softpool import SoftPool, softpool
from heads.pooling.stochastic import Stochastic, stochastic
from heads.pooling.weldon import WELDON, weldon
from heads.pooling.wildcat import WILDCAT, wildcat

__all__ = [
    "CSRA",
    "GAP",
    "GMP",
    "GNDP",
    "LSE",
    "PCAM",
    "WELDON",
    "WILDCAT",
    "Adaptive",
    "Add",
    "Attention",
    "Cat",
    "Exp",
    "GeM",
    "KMax",
    "Linear",
    "Median",
    "Mixed",
    "Pooling",
    "SoftPool",
    "Stochastic",
    "adaptive",
    "add",
    "attention",
    "cat",
    "csra",
    "exp",
    "gap",
    "gem",
    "gmp",
    "gndp",
    "kmax",
    "linear",
    "lse",
    "median",
    "mixed",
    "pcam",
    "softpool",
    "stochastic",
    "weldon",
    "wildcat",
]
