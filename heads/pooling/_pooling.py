"""What all poolings share."""

from heads._specified import Specified


class Pooling(Specified):
    """A class map becomes a score: (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    >>> from heads.pooling import WELDON
    >>> WELDON(k_max=0.2)
    weldon(k_max=0.2, k_min=0.2)
    """
