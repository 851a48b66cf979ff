"""One self-contained HTML report of localizations: a gallery to look, slide and filter.

>>> from wsl.report import write_report
"""

from wsl.report.pages import Head, ReportSummary, write_report

__all__ = ["Head", "ReportSummary", "write_report"]
