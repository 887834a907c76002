"""Compute attention on tensors: softmax, linear, windowed and pooled, with masks."""
