"""State a problem as four choices, choose the form that computes it, decode it token by token."""
