"""Images: which files are meant, their pixels, and their way onto the network's input and back.

>>> from wsl.images import Geometry, find_images, read_image
"""

from wsl.images.decode import decode_image, image_size, read_image
from wsl.images.geometry import Geometry
from wsl.images.memory import ImageLike, to_rgb
from wsl.images.sources import IMAGE_SUFFIXES, find_images
from wsl.images.transforms import augment, fit, place

__all__ = [
    "IMAGE_SUFFIXES",
    "Geometry",
    "ImageLike",
    "augment",
    "decode_image",
    "find_images",
    "fit",
    "image_size",
    "place",
    "read_image",
    "to_rgb",
]
