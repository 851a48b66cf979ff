"""Drawing of localizations: functions from images to new images, which never modify the caller's array.

>>> import numpy as np
>>> from wsl import Boxes, draw
>>> photo = np.zeros((120, 160, 3), np.uint8)
>>> picture = draw.draw_boxes(draw.overlay(photo, [[0, 1], [0, 0]]), Boxes(xyxy=[[80, 0, 160, 60]], labels=["dog"]))
>>> picture.shape, photo.any()
((120, 160, 3), np.False_)
"""

from wsl.draw.boxes import class_color, draw_boxes, draw_comparison
from wsl.draw.comparison import plot_comparison
from wsl.draw.heatmaps import draw_heatmaps
from wsl.draw.overlays import overlay, palette
from wsl.draw.plots import plot_classes, plot_curves, plot_groups, plot_over_rates, plot_overlaps
from wsl.draw.sheets import cell_of, contact_sheet, fit_into, save_image, save_sheets

__all__ = [
    "cell_of",
    "class_color",
    "contact_sheet",
    "draw_boxes",
    "draw_comparison",
    "draw_heatmaps",
    "fit_into",
    "overlay",
    "palette",
    "plot_classes",
    "plot_comparison",
    "plot_curves",
    "plot_groups",
    "plot_over_rates",
    "plot_overlaps",
    "save_image",
    "save_sheets",
]
