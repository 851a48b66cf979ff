"""Patch tokens to class maps to scores, with maps weighted by the attention of the class token."""

from torch import Tensor, nn

from heads._checks import check_attention
from heads.calibration import SpatialCalibration
from heads.classifier import HeadOutput, MapClassifier
from heads.encoding import SPPBlock


class TokenClassifier(MapClassifier):
    """The head of TS-CAM, or of SCM with `calibrate`: a 3x3 convolution on the patch tokens of a vision transformer.

    The convolution makes one semantic map per class, and the pooling its score; both are as in `MapClassifier`. The map
    of a class is its semantic map times the attention of the class token, which is independent of the class and
    separates objects from background. Nothing is clipped or normalised. Attention does not affect the scores, with one
    exception: with `calibrate`, the scores *in training* are those of maps from `SpatialCalibration`. In evaluation the
    two heads are the same.

    Shape:
        Patch tokens as a grid (N, in_channels, h, w) and attention (N, h, w) or None -> scores (N, num_classes) and
        maps (N, num_classes, h, w), which are the semantic maps if there is no attention.

    Raises:
        ValueError: as for `MapClassifier`, or attention has another shape or is missing for calibration.

    Source: Gao et al., TS-CAM: Token semantic coupled attention map for weakly supervised object localization, ICCV
    2021, with attention summed over the blocks as in the authors' code; the paper has the mean. SCM: see
    `SpatialCalibration`.

    >>> import torch
    >>> head = TokenClassifier(192, 20).eval()
    >>> tokens, attention = torch.randn(2, 192, 14, 10), torch.rand(2, 14, 10)
    >>> scores, maps = head(tokens, attention)
    >>> torch.allclose(maps, attention[:, None] * head(tokens).maps), torch.equal(scores, head(tokens).scores)
    (True, True)
    """

    kernel_size = 3

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        pooling: str | nn.Module = "gap",
        maps_per_class: int = 1,
        neck: str | SPPBlock | None = None,
        calibrate: bool = False,
    ) -> None:
        super().__init__(in_channels, num_classes, pooling, maps_per_class, neck)
        self.calibration = SpatialCalibration() if calibrate else None

    @property
    def needs_attention(self) -> bool:
        """Whether attention is used in this mode of the head: for maps, or for the scores of calibrated maps."""
        return not self.training or self.calibration is not None

    def forward(self, features: Tensor, attention: Tensor | None = None) -> HeadOutput:
        """Tokens and the attention of the class token to scores and class maps."""
        features = self._enter(features)
        maps = self.class_maps(features)
        if self.training and self.calibration is not None:
            if attention is None:
                raise ValueError("calibration (SCM) reads attention in training, but there is none: pass attention")
            return self.pool(self.calibration(maps, attention), features)
        scores, maps = self.pool(maps, features)
        if attention is not None:
            check_attention(attention, maps)
            maps = attention[..., None, :, :] * maps
        return HeadOutput(scores, maps)
