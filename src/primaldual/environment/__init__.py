"""Say what is installed, what this machine can compute and what is broken, whatever is missing."""
