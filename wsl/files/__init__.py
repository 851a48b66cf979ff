"""Files: portable names, atomic writing, and locks on folders."""

from wsl.files.locks import LOCK, check_folder, locked
from wsl.files.names import UniqueNames, caseless, cut, is_left_over, leads_out
from wsl.files.whole import (
    created_folder,
    remove_litter,
    replacing,
    sync,
    sync_folder,
    synced_together,
    write_text,
    writer_is_gone,
)

__all__ = [
    "LOCK",
    "UniqueNames",
    "caseless",
    "check_folder",
    "created_folder",
    "cut",
    "is_left_over",
    "leads_out",
    "locked",
    "remove_litter",
    "replacing",
    "sync",
    "sync_folder",
    "synced_together",
    "write_text",
    "writer_is_gone",
]
