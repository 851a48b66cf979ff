"""Encoders: feature maps (N, C, H, W) or (C, H, W) to vectors (N, D) or (D,), for any H and W.

Each is a function with a corresponding `torch.nn.Module`; `heads.create_encoder` makes modules from spec strings, and
`heads.VectorClassifier` adds a linear layer. `SPPBlock` gives maps: it is a neck for either kind of head.
"""

from heads.encoding._encoder import Encoder
from heads.encoding._normalisation import signed_sqrt
from heads.encoding.bilinear import Bilinear, bilinear
from heads.encoding.compactbilinear import CompactBilinear, compactbilinear
from heads.encoding.netvlad import NetVLAD, netvlad
from heads.encoding.spp import SPP, spp
from heads.encoding.sppblock import SPPBlock, sppblock

__all__ = [
    "SPP",
    "Bilinear",
    "CompactBilinear",
    "Encoder",
    "NetVLAD",
    "SPPBlock",
    "bilinear",
    "compactbilinear",
    "netvlad",
    "signed_sqrt",
    "spp",
    "sppblock",
]
