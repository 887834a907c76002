"""Damaged files, models and specs on the command line: each must end in a result or in one line."""
