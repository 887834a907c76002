"""Kernels in Triton. Nothing imports them before a call that they serve: importing Triton takes time."""
