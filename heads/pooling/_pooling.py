"""What all poolings share."""

from torch import Tensor

from heads._specified import Specified


class Pooling(Specified):
    """A class map becomes a score: (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    `weights` says where the score came from. `heads.MapClassifier` reads from the attributes what a pooling needs
    besides the maps: ``values_per_map`` (above 1 where a map becomes several values, None where that depends on its
    size), ``branches`` (the number of convolutions, each with maps of its own), ``unit_norm`` (whether their weights
    have norm 1 and no bias), ``reads_features`` (whether ``forward`` and ``weights`` also take the features),
    ``for_signed_maps`` (the argument without which maps with signs are refused).

    >>> from heads.pooling import WELDON
    >>> WELDON(k_max=0.2)
    weldon(k_max=0.2, k_min=0.2)
    """

    unit_norm: bool = False
    reads_features: bool = False

    @property
    def values_per_map(self) -> int | None:
        """How many values a map becomes."""
        return 1

    @property
    def branches(self) -> int:
        """How many convolutions a head has for it."""
        return 1

    @property
    def for_signed_maps(self) -> str | None:
        """The argument to give where maps have signs; None where there is no need."""
        return None

    def weights(self, maps: Tensor) -> Tensor:
        """The weight of each location in each score, of the shape of the maps.

        Where the score is piecewise linear in the map this is its gradient; elsewhere each pooling says what it is.
        What is drawn at random in training is here its expectation.

        Raises:
            TypeError, ValueError: as ``forward``.

        >>> import torch
        >>> from heads.pooling import KMax
        >>> KMax(k=2).weights(torch.tensor([[[1.0, 2.0], [3.0, 6.0]]]))
        tensor([[[0.0000, 0.0000],
                 [0.5000, 0.5000]]])
        """
        raise NotImplementedError(f"{type(self).__name__} does not say where its scores come from")

    def values(self, maps: Tensor) -> Tensor:
        """The values of each map side by side, (..., C, H, W) -> (..., C, values_per_map)."""
        scores: Tensor = self(maps)
        return scores.unsqueeze(-1)

    def combine(self, maps: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and class maps from a head's features and the maps of all `branches`, (..., branches * C, H, W)."""
        return self.values(maps).squeeze(-1), maps
