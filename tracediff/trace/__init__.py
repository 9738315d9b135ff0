"""Read a trace file into a kernel table: columns, not rows."""

from tracediff.trace.naming import Naming
from tracediff.trace.reader import read_trace
from tracediff.trace.table import Coverage, KernelTable, RangeKey, TraceInfo

__all__ = ["Coverage", "KernelTable", "Naming", "RangeKey", "TraceInfo", "read_trace"]
