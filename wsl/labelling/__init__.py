"""Label Studio's machine-learning backend: a model that draws boxes ahead while people annotate.

>>> from wsl.labelling import Interface
"""

from wsl.labelling.answers import Annotator
from wsl.labelling.interface import Interface
from wsl.labelling.server import serve

__all__ = ["Annotator", "Interface", "serve"]
