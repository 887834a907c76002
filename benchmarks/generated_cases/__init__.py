"""Attentions, tensors and masks drawn at random, each compared with the definition."""
