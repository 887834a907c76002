"""Attention of this library inside models of torch, timm and transformers."""
