"""Layers with weights: multi-head attention, encoder layers, folding."""
