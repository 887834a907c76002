"""Attention token by token: what is kept of the tokens so far, and the output for new ones."""

from primaldual.primal.decoding import convolutions  # with it their incremental forms are there

__all__ = ["convolutions"]
