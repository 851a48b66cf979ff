"""Reports of evaluations as tables, for reading on a screen and pasting into a text or a paper."""

from wsl.tables.comparison import comparison_table
from wsl.tables.report import key_metrics, report_table
from wsl.tables.styles import TableStyle, format_table

__all__ = ["TableStyle", "comparison_table", "format_table", "key_metrics", "report_table"]
