"""What the neurons of a trained neck specialized in: figures, film strips and one page."""

from .collect import Record, collect
from .report import write_report
from .statistics import mutual_information

__all__ = ['Record', 'collect', 'mutual_information', 'write_report']
