"""Encoders: feature maps (N, C, H, W) or (C, H, W) become vectors (N, D) or (D,), whatever H and W are.

Each is a function and its `torch.nn.Module` twin; `heads.create_encoder` makes modules from spec strings, and
`heads.VectorClassifier` puts a linear layer on them. `SPPBlock` gives maps: a neck, which either head takes.
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
