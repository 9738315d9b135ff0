"""A diff of traces, in every format."""
