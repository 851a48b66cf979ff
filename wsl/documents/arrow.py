"""Loading of pyarrow, which the extra `shards` installs."""

from __future__ import annotations

from typing import Any

from wsl.errors import UserError


def load_pyarrow(purpose: str) -> Any:
    """The module `pyarrow` with its Parquet reader and file systems.

    Raises:
        UserError: it is not installed.

    >>> load_pyarrow("reading Parquet").parquet.__name__
    'pyarrow.parquet'
    """
    try:
        import pyarrow
        import pyarrow.fs
        import pyarrow.parquet
    except ImportError as error:
        problem = f"{purpose} needs pyarrow, which is not installed"
        raise UserError(f"{problem}: pip install 'wsl-toolkit[shards]'") from error
    return pyarrow
