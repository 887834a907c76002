"""Make a trained model cheaper: fewer heads, or fewer training pairs for every head."""
