"""Batch normalisation, whitening, local linear attention and MesaNet on tasks in context."""
