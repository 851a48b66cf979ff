"""Heads of classifiers that localize: feature maps become class maps, and class maps become scores.

>>> import heads, torch
>>> head = heads.MapClassifier(512, 20, pooling="lse(beta=4)", maps_per_class=4)
>>> scores, maps = head(torch.zeros(1, 512, 14, 14))
"""

from heads import pooling
from heads.classifier import HeadOutput, MapClassifier
from heads.classwise import ClasswiseMean, classwise_mean
from heads.spec import POOLINGS, create_pooling, list_poolings

__all__ = [
    "POOLINGS",
    "ClasswiseMean",
    "HeadOutput",
    "MapClassifier",
    "classwise_mean",
    "create_pooling",
    "list_poolings",
    "pooling",
]
