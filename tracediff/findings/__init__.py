"""What was found, as pure results: flips, determinism, a lattice, an explanation. No torch."""
