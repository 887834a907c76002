"""Attention token by token: what is kept of the tokens so far, and the output for new ones."""
