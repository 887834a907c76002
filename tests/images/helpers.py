"""Small pictures in files and in memory."""

import numpy as np
from PIL import Image

from primaldual.images import PixelSet


def pixels(count, size=8, seed=0):
    """Bright and dark noise in turn, uint8, and their labels."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    shades = 60 + 120 * labels[:, None, None] + generator.integers(-40, 40, (count, size, size))
    return shades.astype(np.uint8), labels


def pixel_set(count=12, size=8, seed=0):
    shades, labels = pixels(count, size, seed)
    return PixelSet("shades", ("dark", "bright"), labels, shades)


def write_images(folder, classes=("dark", "bright"), count=8, size=8, ending=".png", seed=0):
    shades, labels = pixels(count, size, seed)
    for number, (shade, label) in enumerate(zip(shades, labels, strict=True)):
        place = folder / classes[label % len(classes)]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shade).save(place / f"{number}{ending}")
    return folder
