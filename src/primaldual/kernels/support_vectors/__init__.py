"""Solve the dual of support vector regression on kernel matrices, each solution with its duality gap."""
