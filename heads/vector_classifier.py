"""Features to a vector to scores: an encoder and a linear layer."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from heads._checks import check_positive_int
from heads._necked import Necked
from heads.encoding import Encoder, SPPBlock
from heads.spec import create_encoder


class VectorClassifier(Necked):
    """An encoder and a linear layer: class scores, and no class maps.

    The vector has no locations, so there is no map to return; such a classifier localizes by the gradient of a score
    with respect to the features: `wsl.cam.gradient_maps`, which `wsl.Localizer` calls. Its modules are attributes:
    ``encoder`` and ``linear``. The bias is initialised to zero, the weights like torch's linear layers. A ``neck``
    (``"sppblock"``) adds context to each location before the encoder.

    Shape:
        (N, in_channels, h, w) -> (N, num_classes), or without N; with a second source if the encoder takes two.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: a size is below 1, the encoder is unknown, or features have another shape.

    >>> import torch
    >>> head = VectorClassifier(512, 20, encoder="netvlad(clusters=16)")
    >>> head(torch.zeros(2, 512, 14, 14)).shape
    torch.Size([2, 20])
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        encoder: str | Encoder = "spp",
        neck: str | SPPBlock | None = None,
    ) -> None:
        super().__init__(in_channels, neck)
        num_classes, channels = check_positive_int(num_classes, "num_classes"), self.head_channels
        self.encoder = encoder if isinstance(encoder, Encoder) else create_encoder(encoder, channels)
        if self.encoder.in_channels != channels:
            raise ValueError(
                f"an encoder of {self.encoder.in_channels} channels for features of {channels}: expected as many"
            )
        self.linear = nn.Linear(self.encoder.out_features, num_classes)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Tensor, *others: Tensor) -> Tensor:
        """Features to scores."""
        scores: Tensor = self.linear(self.encoder(self._enter(features), *map(self._through_neck, others)))
        return scores

    def initialise(self, features: Iterable[Tensor], *, generator: torch.Generator | None = None) -> None:
        """Initialise the encoder from data, after the neck: see `heads.encoding.Encoder.initialise`."""
        self.encoder.initialise(map(self._through_neck, features), generator=generator)
