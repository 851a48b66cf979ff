"""Self-contained HTML report of localizations: metrics, and a gallery with a threshold slider, filters and sorting.

>>> from wsl.report import write_report
"""

from wsl.report.pages import Head, ReportSummary, write_report

__all__ = ["Head", "ReportSummary", "write_report"]
