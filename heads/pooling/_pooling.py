"""The base class of poolings."""

from torch import Tensor

from heads._specified import Specified


class Pooling(Specified):
    """A pooling of class maps to scores: (N, C, H, W) -> (N, C), or (C, H, W) -> (C,).

    `weights` says where the score came from. Attributes tell `heads.MapClassifier` what a pooling needs besides the
    maps: ``values_per_map`` (above 1 if there are several values per map, None if their number depends on its size),
    ``branches`` (the number of convolutions, each with its own maps), ``unit_norm`` (whether their weights have norm 1
    and no bias), ``reads_features`` (whether ``forward`` and ``weights`` also take the features), ``for_signed_maps``
    (the argument that is required for signed maps).

    >>> from heads.pooling import WELDON
    >>> WELDON(k_max=0.2)
    weldon(k_max=0.2, k_min=0.2)
    """

    unit_norm: bool = False
    reads_features: bool = False

    @property
    def values_per_map(self) -> int | None:
        """The number of values per map."""
        return 1

    @property
    def branches(self) -> int:
        """The number of convolutions in a head with this pooling."""
        return 1

    @property
    def for_signed_maps(self) -> str | None:
        """The argument that is required for signed maps; None if there is none."""
        return None

    def weights(self, maps: Tensor) -> Tensor:
        """The weight of each location in each score, in the shape of the maps.

        If the score is piecewise linear in the map, this is its gradient; otherwise see each pooling. Values that are
        drawn at random in training are replaced by their expectation.

        Raises:
            TypeError, ValueError: as for ``forward``.

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
