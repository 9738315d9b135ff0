"""Run-to-run repeats, in every format."""
