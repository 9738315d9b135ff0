"""An explanation, in every format."""
