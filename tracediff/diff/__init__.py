"""Align kernel tables by module and phase, compare them, and say what each change means."""
