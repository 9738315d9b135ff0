"""Measure on a model: replay, repair, controls, flips, determinism. Needs torch."""
