"""Measure what the trace predicts: bits of modules, logits and tokens."""
