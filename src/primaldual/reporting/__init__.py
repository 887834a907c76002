"""Figures as SVG, one look per attention, numbers in words, files written whole or not at all."""
