"""From an image to a `Localization`, in memory: the one way that everything takes."""

from wsl.inference.inputs import Input, Source
from wsl.inference.predictor import Predictor
from wsl.inference.reading import boxes_of_class
from wsl.inference.short_form import localize
from wsl.inference.stream import Errors, Stream

__all__ = ["Errors", "Input", "Predictor", "Source", "Stream", "boxes_of_class", "localize"]
