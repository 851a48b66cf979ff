"""Label Studio's machine-learning backend: a model that draws boxes ahead while people annotate."""
