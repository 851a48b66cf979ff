"""Readers and writers of files that carry localizations."""

from wsl.formats.localizations import LocalizationWriter, MapStore, find_localizations, read_localizations

__all__ = ["LocalizationWriter", "MapStore", "find_localizations", "read_localizations"]
