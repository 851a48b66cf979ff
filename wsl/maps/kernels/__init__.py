"""Compiled loops over one map: its boxes, its peak, and the boxes that survive non-maximum suppression.

Importing one of these modules loads numba (half a second), so their callers import them on first use. The first call
of a function compiles it, and the compiled code is kept on disk. A compiled function calls none of another file,
because a cached function does not notice that another file has changed.
"""
