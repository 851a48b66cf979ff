"""The web page: drop an image, see where its classes are, move the threshold, take the boxes along.

>>> from wsl.page import look
"""

from wsl.page.looking import Look, draw, look
from wsl.page.server import serve

__all__ = ["Look", "draw", "look", "serve"]
