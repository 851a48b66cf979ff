"""Heads of classifiers that localize: feature maps to class maps, and class maps to scores.

>>> import heads, torch
>>> head = heads.MapClassifier(512, 20, pooling="lse(beta=4)", maps_per_class=4)
>>> scores, maps = head(torch.zeros(1, 512, 14, 14))
"""

from heads import downsampling, encoding, pooling
from heads.adversarial_classifier import AdversarialClassifier
from heads.calibration import SpatialCalibration
from heads.classifier import HeadOutput, MapClassifier
from heads.classwise import ClasswiseMean, classwise_mean
from heads.replace import Replacement, replace_pooling
from heads.spec import (
    DOWNSAMPLINGS,
    ENCODERS,
    NECKS,
    POOLINGS,
    create_downsampling,
    create_encoder,
    create_neck,
    create_pooling,
    list_downsamplings,
    list_encoders,
    list_necks,
    list_poolings,
    names_encoder,
)
from heads.token_classifier import TokenClassifier
from heads.vector_classifier import VectorClassifier

__all__ = [
    "DOWNSAMPLINGS",
    "ENCODERS",
    "NECKS",
    "POOLINGS",
    "AdversarialClassifier",
    "ClasswiseMean",
    "HeadOutput",
    "MapClassifier",
    "Replacement",
    "SpatialCalibration",
    "TokenClassifier",
    "VectorClassifier",
    "classwise_mean",
    "create_downsampling",
    "create_encoder",
    "create_neck",
    "create_pooling",
    "downsampling",
    "encoding",
    "list_downsamplings",
    "list_encoders",
    "list_necks",
    "list_poolings",
    "names_encoder",
    "pooling",
    "replace_pooling",
]
