"""Tables and pictures of finished runs, beside the published figures."""

from cfmr.report.comparison import Comparison
from cfmr.report.writing import write_report

__all__ = ["Comparison", "write_report"]
