"""The web page: drop an image, see where its classes are, move the threshold, download the boxes."""
