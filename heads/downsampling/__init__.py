"""Windowed poolings for backbones: each window of a map (N, C, H, W) or (C, H, W) becomes a value.

Each is a function with a corresponding `torch.nn.Module`, with the arguments of torch's own pooling layers;
`heads.create_downsampling` makes modules from spec strings, `heads.replace_pooling` inserts them into a network.
"""

from heads.downsampling._downsampling import Downsampling
from heads.downsampling.adapool import AdaPool2d, adapool2d
from heads.downsampling.avgpool import AvgPool2d, avgpool2d
from heads.downsampling.maxpool import MaxPool2d, maxpool2d
from heads.downsampling.medianpool import MedianPool2d, medianpool2d
from heads.downsampling.mixedpool import MixedPool2d, mixedpool2d
from heads.downsampling.powerpool import PowerPool2d, powerpool2d
from heads.downsampling.softpool import SoftPool1d, SoftPool2d, SoftPool3d, softpool1d, softpool2d, softpool3d
from heads.downsampling.stochasticpool import StochasticPool2d, stochasticpool2d

__all__ = [
    "AdaPool2d",
    "AvgPool2d",
    "Downsampling",
    "MaxPool2d",
    "MedianPool2d",
    "MixedPool2d",
    "PowerPool2d",
    "SoftPool1d",
    "SoftPool2d",
    "SoftPool3d",
    "StochasticPool2d",
    "adapool2d",
    "avgpool2d",
    "maxpool2d",
    "medianpool2d",
    "mixedpool2d",
    "powerpool2d",
    "softpool1d",
    "softpool2d",
    "softpool3d",
    "stochasticpool2d",
]
