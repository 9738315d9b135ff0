"""Token flips, in every format."""
