"""State a primal, get an attention."""
