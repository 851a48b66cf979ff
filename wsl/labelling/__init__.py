"""Machine-learning backend for Label Studio: a model that proposes boxes to annotators."""
