"""A small convolutional backbone that trains from scratch on a laptop's CPU in a minute."""

from __future__ import annotations

from torch import nn


class TinyNet(nn.Sequential):
    """Six convolutions with batch norm, stride 8: for demonstrations, tests and small pictures.

    The receptive field of a cell is 50 pixels wide and centred on the cell's own 8 pixels, because the strided layers
    have even kernels. Padded odd kernels would put every cell's centre on its upper left pixel, and boxes 3.5 pixels
    off.

    Shape:
        (N, 3, H, W) to (N, 128, H / 8, W / 8), rounded down.

    >>> import torch
    >>> TinyNet()(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 128, 8, 8])
    """

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs, kernel, stride in (
            (3, 24, 4, 2),
            (24, 48, 2, 2),
            (48, 48, 3, 1),
            (48, 96, 2, 2),
            (96, 96, 3, 1),
            (96, 128, 3, 1),
        ):
            layers += [
                nn.Conv2d(inputs, outputs, kernel, stride, padding=(kernel - 1) // 2, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)
