"""Models: presets, loading, one forward, and the ranges around its modules."""
