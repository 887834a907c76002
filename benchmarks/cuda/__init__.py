"""Checks and timings on one NVIDIA GPU: ``python -m benchmarks.cuda OUT.json`` runs all of them."""
