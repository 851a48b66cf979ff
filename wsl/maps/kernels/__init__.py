"""Compiled loops over one map: its boxes, its peak, and the boxes that survive non-maximum suppression.

Importing one of these modules loads numba (half a second), so callers import them on first use. The first call of a
function compiles it, and the compiled code is cached on disk. A compiled function never calls one of another file,
because the cache does not notice when another file changes.
"""
