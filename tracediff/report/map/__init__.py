"""A map of row counts, in every format."""
