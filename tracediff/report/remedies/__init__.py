"""What remedies buy and cost, in every format."""
