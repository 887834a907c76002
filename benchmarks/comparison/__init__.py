"""Attentions on images, short ListOps and text, with small models on one core; writes docs/comparison.md."""
