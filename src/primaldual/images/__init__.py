"""Train image classifiers of timm with any attention: data, recipes, one run, its tests and its report."""

from primaldual.images.classifier import ImageClassifier
from primaldual.images.folders import read_folder
from primaldual.images.image_sets import FileSet, ImageParts, ImageSet, PixelSet
from primaldual.images.recipes import RECIPES, Recipe
from primaldual.images.run_settings import RunSettings
from primaldual.images.runs import ImageRun, PreparedRun

__all__ = [
    "RECIPES",
    "FileSet",
    "ImageClassifier",
    "ImageParts",
    "ImageRun",
    "ImageSet",
    "PixelSet",
    "PreparedRun",
    "Recipe",
    "RunSettings",
    "read_folder",
]
