"""A fleet of traces, in every format."""
