"""A backbone's tokens together with the attention of its class token."""

from __future__ import annotations

from typing import NamedTuple

import torch

from wsl.cam.class_attention import ClassAttentionMode, class_attention
from wsl.errors import UserError
from wsl.models.backbone import Backbone, evaluating, zeros

# Names of the parameter in timm, torchvision and transformers.
_CLASS_TOKENS = ("cls_token", "class_token")


class Attended(NamedTuple):
    """Feature maps (N, C, h, w), and the attention (N, h, w) of the class token to them, summed over the blocks."""

    features: torch.Tensor
    attention: torch.Tensor


def attended(backbone: Backbone, images: torch.Tensor) -> Attended:
    """Run a backbone with a class token on normalised images, and read the attention of all its blocks.

    Raises:
        UserError: the backbone does not take images of this size, or has no attention over all of its tokens.

    >>> from wsl.models import create_backbone
    >>> tokens, attention = attended(create_backbone("vit_b_32", "none"), torch.zeros(1, 3, 224, 224))
    >>> tokens.shape, attention.shape
    (torch.Size([1, 768, 7, 7]), torch.Size([1, 7, 7]))
    """
    rows: list[torch.Tensor] = []
    with ClassAttentionMode(rows.append):
        features = backbone(images)
    height, width = features.shape[-2:]
    tokens = backbone.prefix + height * width
    # Attention in windows, or over channels, has other shapes. len(images) would become a constant in an export.
    own = [row for row in rows if row.shape[0] == images.shape[0] and row.shape[-1] == tokens]
    return Attended(features, class_attention(own, backbone.prefix, (height, width)))


def check_class_token(backbone: Backbone, head: str) -> None:
    """Check that a backbone has the class token whose attention a head reads.

    Raises:
        UserError: the backbone has no class token, or it does not attend to the patches.

    >>> from wsl.models import create_backbone
    >>> check_class_token(create_backbone("tinynet", "none"), "ts-cam")
    Traceback (most recent call last):
    wsl.errors.UserError: head 'ts-cam' reads what a class token attends to, and tinynet has no class token: ...
    """
    name = backbone.name or type(backbone.net).__name__
    instead = "expected a vision transformer with one, such as timm/deit_small_patch16_224 or vit_b_16"
    named = any(parameter.rpartition(".")[2] in _CLASS_TOKENS for parameter, _ in backbone.named_parameters())
    if not (backbone.prefix and named):
        raise UserError(f"head {head!r} reads what a class token attends to, and {name} has no class token: {instead}")
    try:
        with evaluating(backbone), torch.no_grad():
            attended(backbone, zeros(backbone.net, (backbone.side, backbone.side)))
    except UserError as error:
        raise UserError(
            f"head {head!r} reads what a class token attends to, and that of {name} attends to no patches in the "
            f"network's blocks: {instead}"
        ) from error
