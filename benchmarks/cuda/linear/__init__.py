"""Linear attention on one GPU."""
