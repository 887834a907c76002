"""What competes in a grid: classifiers with all their settings."""

from primaldual.experiments.methods.attention import AttentionMethod
from primaldual.experiments.methods.method import Hear, Method
from primaldual.experiments.methods.names import OTHERS, method_named

__all__ = ["OTHERS", "AttentionMethod", "Hear", "Method", "method_named"]
