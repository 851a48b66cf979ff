"""NetVLAD: residuals of a map's descriptors from learnt centres."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from heads._checks import accumulation_dtype, check_flag, check_maps, check_positive_int
from heads.encoding._encoder import Encoder
from heads.encoding._kmeans import kmeans, squared_distances
from heads.encoding._normalisation import unit_length

# The (geometric) mean ratio of the largest to the second largest assignment of a descriptor.
_SHARPNESS = 100.0
_DESCRIPTORS = 20_000
_DESCRIPTORS_OF_AN_IMAGE = 64


def netvlad(features: Tensor, weight: Tensor, bias: Tensor, centres: Tensor, *, normalise_input: bool = True) -> Tensor:
    """The sums of residuals from K centres, with soft assignment of locations to centres, as one vector.

    Location x is assigned to centre k with weight a_k(x), the softmax of ``weight @ x + bias``. Centre k's part of the
    vector is the sum over locations of a_k(x) * (x - c_k), divided by its L2 norm (intra-normalisation); the whole is
    divided by its norm again. Rows of ``weight`` beyond the K centres are ghosts: they receive assignments but do not
    appear in the vector. ``normalise_input`` first divides each location's features by their L2 norm.

    Shape:
        (N, C, H, W) -> (N, K * C), or (C, H, W) -> (K * C,). ``weight`` is (K + G, C), ``bias`` (K + G,), ``centres``
        (K, C), with G ghosts. The output is ordered by centre, then by channel.

    Raises:
        TypeError, ValueError: ``features`` of the wrong type or shape.

    Source: Arandjelović et al., NetVLAD, CVPR 2016, equation 4; Zhong et al., GhostVLAD, ACCV 2018.

    >>> features = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])  # two locations, each on one of the axes
    >>> centres = torch.tensor([[0.5, 0.0], [0.0, 0.5]])
    >>> netvlad(features, 50 * torch.eye(2), torch.zeros(2), centres).round(decimals=4)
    tensor([0.7071, 0.0000, 0.0000, 0.7071])
    """
    check_maps(features, "features")
    dtype = accumulation_dtype(features)
    weight, bias, centres = (parameter.to(dtype) for parameter in (weight, bias, centres))
    descriptors = features.flatten(-2).to(dtype)
    if normalise_input:
        descriptors = unit_length(descriptors, dim=-2)
    assigned = (weight @ descriptors + bias.unsqueeze(-1)).softmax(-2)[..., : len(centres), :]
    # The sum of residuals without storing the residuals, which take K times the memory of the features.
    residuals = assigned @ descriptors.mT - assigned.sum(-1, keepdim=True) * centres
    return unit_length(unit_length(residuals).flatten(-2)).to(features.dtype)


class NetVLAD(Encoder):
    """NetVLAD: residuals from learnt centres, ``clusters`` * C outputs.

    Call `initialise` with features of the training images before training, as ``wsl-train`` does: centres far from all
    features get no assignments and learn little. Until then the centres are random points on the unit sphere.

    ``ghosts`` clusters absorb useless descriptors (blur, background) and are left out of the vector.

    >>> NetVLAD(512, clusters=16, ghosts=2), NetVLAD(512, clusters=16).out_features
    (netvlad(clusters=16, ghosts=2), 8192)
    """

    initialised: Tensor

    def __init__(self, in_channels: int, clusters: int = 64, *, ghosts: int = 0, normalise_input: bool = True) -> None:
        super().__init__(in_channels)
        self.clusters = check_positive_int(clusters, "clusters")
        if isinstance(ghosts, bool) or not isinstance(ghosts, int):
            raise TypeError(f"ghosts is {ghosts!r}, expected an integer of 0 or more")
        if ghosts < 0:
            raise ValueError(f"ghosts is {ghosts}, expected 0 or more: try ghosts=0")
        self.ghosts = ghosts
        self.normalise_input = check_flag(normalise_input, "normalise_input")
        self.out_features = self.clusters * self.in_channels
        self.weight = nn.Parameter(torch.empty(self.clusters + ghosts, self.in_channels))
        self.bias = nn.Parameter(torch.empty(self.clusters + ghosts))
        self.centres = nn.Parameter(torch.empty(self.clusters, self.in_channels))
        self.register_buffer("initialised", torch.tensor(False))
        points = unit_length(torch.randn(self.clusters + ghosts, self.in_channels))
        # With this sharpness the logits of random directions have a standard deviation of 2.
        self._place(points, math.sqrt(self.in_channels))

    def needs_fit(self) -> bool:
        """Whether the centres are still random; stored in the state dict."""
        return not bool(self.initialised)

    @torch.no_grad()
    def initialise(self, features: Iterable[Tensor], *, generator: torch.Generator | None = None) -> None:
        """Initialise the centres by k-means of descriptors, and the sharpness of assignment from its distances.

        ``features`` are batches of feature maps (N, C, H, W), such as ``(backbone(images) for images, labels in
        loader)``, or one batch; they are read until 20,000 descriptors have been drawn, at most 64 from each map. The
        sharpness alpha makes the largest assignment of a descriptor 100 times the second on average: it is log(100)
        over the mean difference of the two squared distances; then weight = 2 alpha c and bias = -alpha |c|^2. Ghosts
        get the clusters with the fewest descriptors. The same generator gives the same centres.

        Raises:
            TypeError, ValueError: features of the wrong type or shape, not finite, or with too few descriptors.

        Source: Arandjelović et al., NetVLAD, CVPR 2016, section 3.1 and appendix A.

        >>> encoder = NetVLAD(8, clusters=4)
        >>> encoder.initialise([torch.rand(2, 8, 7, 7)], generator=torch.Generator().manual_seed(0))
        """
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        descriptors = self._draw([features] if isinstance(features, Tensor) else features, generator)
        count = self.clusters + self.ghosts
        if len(descriptors) < count:
            raise ValueError(
                f"{len(descriptors)} descriptors for {count} clusters, expected more: give more or larger feature maps"
            )
        if not bool(descriptors.isfinite().all()):
            raise ValueError("a feature is not finite, expected numbers: look at the backbone's weights")
        points = kmeans(descriptors, count, generator)
        self._place(points, _sharpness(descriptors, points))
        self.initialised.fill_(True)

    def _draw(self, features: Iterable[Tensor], generator: torch.Generator) -> Tensor:
        """Descriptors of random locations, (n, C)."""
        drawn: list[Tensor] = []
        count = 0
        for batch in features:
            self._check(batch)
            descriptors = batch.detach().to(accumulation_dtype(batch)).flatten(-2).mT
            for image in descriptors if descriptors.ndim == 3 else descriptors.unsqueeze(0):
                chosen = torch.randperm(len(image), generator=generator)[:_DESCRIPTORS_OF_AN_IMAGE]
                drawn.append(image[chosen.to(image.device)])
                count += len(chosen)
            if count >= _DESCRIPTORS:
                break
        if not drawn:
            raise ValueError("no features, expected batches (N, C, H, W): is the loader empty or used up?")
        descriptors = torch.cat(drawn)
        return unit_length(descriptors) if self.normalise_input else descriptors

    @torch.no_grad()
    def _place(self, points: Tensor, alpha: float) -> None:
        """Place the centres at these points: softmax(weight @ x + bias) becomes the softmax of -alpha * |x - c|^2."""
        self.weight.copy_(2 * alpha * points)
        self.bias.copy_(-alpha * points.square().sum(1))
        self.centres.copy_(points[: self.clusters])

    def forward(self, features: Tensor) -> Tensor:
        """Features to vectors: see `netvlad`."""
        self._check(features)
        return netvlad(features, self.weight, self.bias, self.centres, normalise_input=self.normalise_input)


def _sharpness(descriptors: Tensor, points: Tensor) -> float:
    if len(points) == 1:
        return 1.0  # with a single centre, sharpness has no effect
    nearest = squared_distances(descriptors, points).topk(2, largest=False).values.double()
    gap = float((nearest[:, 1] - nearest[:, 0]).mean())
    spacing = torch.finfo(descriptors.dtype).eps * float(descriptors.square().sum(1).mean())
    return math.log(_SHARPNESS) / max(gap, spacing, 1e-12)
