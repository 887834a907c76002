"""Tasks, one family a module."""
