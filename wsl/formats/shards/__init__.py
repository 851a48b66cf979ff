"""The files of a run in shards: the manifest of its images, the parts of its results, and their storage."""
