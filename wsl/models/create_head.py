"""The head of a localizer by its settings."""

from __future__ import annotations

from typing import get_args

from heads import MapClassifier, TokenClassifier, VectorClassifier, names_encoder
from heads.spec import suggestion
from wsl.config import Head
from wsl.errors import UserError
from wsl.models.gradient_head import GradientHead


def create_head(
    channels: int, num_classes: int, *, head: str | None, pooling: str, neck: str | None, maps_per_class: int
) -> MapClassifier | GradientHead:
    """A head on features of so many channels; see `Localizer` for the settings.

    Raises:
        UserError: an unknown name, or settings that do not go together.

    >>> create_head(192, 20, head="ts-cam", pooling="gap", neck=None, maps_per_class=1).conv.kernel_size
    (3, 3)
    """
    if head is not None and head not in get_args(Head):
        raise UserError(f"unknown head {head!r}: {suggestion(head, get_args(Head))}")
    try:
        if not names_encoder(pooling):
            if head is None:
                return MapClassifier(channels, num_classes, pooling, maps_per_class, neck)
            return TokenClassifier(channels, num_classes, pooling, maps_per_class, neck, calibrate=head == "scm")
        classifier = VectorClassifier(channels, num_classes, encoder=pooling, neck=neck)
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error
    except (RuntimeError, MemoryError) as error:  # torch's allocator
        raise UserError(f"a head with {pooling} takes more memory than there is: give it smaller numbers") from error
    if head is not None:
        raise UserError(f"head {head!r} pools class maps, and {pooling} has none: expected a pooling such as gap")
    if maps_per_class != 1:
        raise UserError(f"maps per class is {maps_per_class}, but {pooling} has no class maps: leave it at 1")
    if classifier.encoder.other_channels is not None:
        raise UserError(f"{pooling} takes two sources, and a backbone gives one: leave other_channels out")
    return GradientHead(classifier)
