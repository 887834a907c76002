"""State a problem by its choices, choose the form that computes it, decode it token by token."""
