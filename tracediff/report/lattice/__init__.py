"""A lattice of logits, in every format."""
