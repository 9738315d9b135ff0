"""Record a program that somebody else wrote, without changing it."""
