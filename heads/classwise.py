"""Class-wise mean: several maps per class averaged into one."""

from torch import Tensor, nn

from heads._checks import accumulation_dtype, check_maps, check_positive_int


def classwise_mean(maps: Tensor, maps_per_class: int) -> Tensor:
    """The mean of each class's maps, which are adjacent channels.

    Shape:
        (N, K * M, H, W) -> (N, K, H, W), or (K * M, H, W) -> (K, H, W), with M ``maps_per_class``.

    Raises:
        TypeError: ``maps`` or ``maps_per_class`` has the wrong type.
        ValueError: the shape is another one, M is below 1, or M does not divide the number of maps.

    Source: Durand et al., WILDCAT, CVPR 2017. The gradient is 1/M; their backward pass omits this factor.

    >>> import torch
    >>> classwise_mean(torch.tensor([1.0, 3.0, 5.0, 9.0]).reshape(4, 1, 1), maps_per_class=2).flatten()
    tensor([2., 7.])
    """
    check_maps(maps)
    maps_per_class = check_positive_int(maps_per_class, "maps_per_class")
    classes, rest = divmod(maps.shape[-3], maps_per_class)
    if rest:
        raise ValueError(
            f"{maps.shape[-3]} maps are not {maps_per_class} a class: expected a multiple of maps_per_class"
        )
    if maps_per_class == 1:
        return maps
    *batch, _, height, width = maps.shape
    grouped = maps.reshape(*batch, classes, maps_per_class, height, width)
    return grouped.mean(-3, dtype=accumulation_dtype(maps)).to(maps.dtype)


class ClasswiseMean(nn.Module):
    """The mean of each class's ``maps_per_class`` maps: (N, K * M, H, W) -> (N, K, H, W).

    >>> ClasswiseMean(maps_per_class=8)
    ClasswiseMean(maps_per_class=8)
    """

    def __init__(self, maps_per_class: int) -> None:
        super().__init__()
        self.maps_per_class = check_positive_int(maps_per_class, "maps_per_class")

    def forward(self, maps: Tensor) -> Tensor:
        """Several maps per class to class maps: see `classwise_mean`."""
        return classwise_mean(maps, self.maps_per_class)

    def extra_repr(self) -> str:
        """The arguments in the repr."""
        return f"maps_per_class={self.maps_per_class}"
