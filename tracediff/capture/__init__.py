"""Run a model under a profiler and write clean traces."""
