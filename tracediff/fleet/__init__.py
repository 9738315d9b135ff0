"""Many traces at once: kernel tables as one Parquet dataset, and which traces run other kernels than the rest."""

from tracediff.fleet.groups import Difference, Fleet, TraceGroup, group_traces
from tracediff.fleet.ingest import Outcome, ingest

__all__ = ["Difference", "Fleet", "Outcome", "TraceGroup", "group_traces", "ingest"]
