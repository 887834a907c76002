"""Kernels in Triton, which nothing imports before a call that they serve, as importing Triton takes time."""
