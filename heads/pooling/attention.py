"""Gated attention pooling: the weights of locations are learnt from the features."""

import torch
from torch import Tensor, nn

from heads._checks import check_flag, check_maps, check_positive_int, check_size
from heads.pooling._pooling import Pooling
from heads.pooling._weighting import softmax_weights, weighted_sum


def attention(maps: Tensor, logits: Tensor) -> Tensor:
    """The mean of each map, weighted by the softmax over locations of the attention logits.

    Shape:
        maps (N, C, H, W) and logits (N, 1, H, W) or (N, C, H, W) -> (N, C); or all without N.

    Raises:
        TypeError, ValueError: ``maps`` or ``logits`` of the wrong type or shape.

    Source: Ilse et al., Attention-based deep multiple instance learning, ICML 2018, equation 7.

    >>> attention(torch.tensor([[[1.0, 3.0]]]), torch.zeros(1, 1, 2))
    tensor([2.])
    """
    check_maps(maps)
    check_maps(logits, "logits")
    if logits.shape[-2:] != maps.shape[-2:] or logits.shape[-3] not in (1, maps.shape[-3]):
        raise ValueError(f"logits have shape {tuple(logits.shape)} for maps of {tuple(maps.shape)}, expected 1 per map")
    return weighted_sum(maps, softmax_weights(logits)).to(maps.dtype)


class Attention(Pooling):
    """Gated attention pooling: the mean of each map, weighted by attention computed from the features.

    The weights are the softmax over locations of w . (tanh(V f) * sigmoid(U f)), where f are the ``channels`` features
    of a location ("auto": the head's number), and V and U have ``hidden`` rows. The paper pools *features* and
    classifies their mean; because the weights sum to one, it is equivalent to apply them after a linear classifier, to
    its class maps, which all share them. Without features, attention is computed from the maps themselves, of which
    there must be ``channels``. ``gated=False`` leaves the sigmoid out.

    Source: Ilse et al., Attention-based deep multiple instance learning, ICML 2018, equations 7 to 9.

    >>> Attention(hidden=16, channels=3)
    attention(hidden=16, channels=3)
    >>> Attention(channels=3)(torch.zeros(2, 3, 7, 7)).shape
    torch.Size([2, 3])
    """

    reads_features = True

    def __init__(self, hidden: int = 128, *, channels: int | str = "auto", gated: bool = True) -> None:
        super().__init__()
        self.hidden = check_positive_int(hidden, "hidden")
        self.channels = check_size(channels, "channels")
        self.gated = check_flag(gated, "gated")
        self.content = nn.Conv2d(self.channels, self.hidden, 1)
        self.gate = nn.Conv2d(self.channels, self.hidden, 1) if gated else None
        self.score = nn.Conv2d(self.hidden, 1, 1)

    def forward(self, maps: Tensor, features: Tensor | None = None) -> Tensor:
        """Class maps to scores, attending to the features, or to the maps themselves."""
        check_maps(maps)
        return attention(maps, self.logits(maps if features is None else features))

    def logits(self, features: Tensor) -> Tensor:
        """The input of the softmax, (N, channels, H, W) -> (N, 1, H, W).

        Raises:
            TypeError, ValueError: features have the wrong type, shape or number of channels.
        """
        check_maps(features, "features")
        if features.shape[-3] != self.channels:
            raise ValueError(
                f"features have shape {tuple(features.shape)}, expected {self.channels} channels: give the number "
                f"of these, channels={features.shape[-3]}"
            )
        features = features.to(self.score.weight.dtype)
        hidden = torch.tanh(self.content(features))
        if self.gate is not None:
            hidden = hidden * torch.sigmoid(self.gate(features))
        logits: Tensor = self.score(hidden)
        return logits

    def combine(self, maps: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Scores by attending to the features, and the maps unchanged."""
        return self(maps, features), maps

    def weights(self, maps: Tensor, features: Tensor | None = None) -> Tensor:
        """The attention, the same for all maps: the score is the map's sum with these weights.

        If attention is computed from features, this is the gradient with respect to the map.
        """
        check_maps(maps)
        logits = self.logits(maps if features is None else features)
        return softmax_weights(logits).to(maps.dtype).expand_as(maps)
