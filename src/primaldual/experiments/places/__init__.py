"""Where the cells of a grid run: this process, worker processes of this machine, or a Ray cluster."""

from primaldual.experiments.places.here import Here
from primaldual.experiments.places.limits import NO_LIMITS, Limits
from primaldual.experiments.places.place import Done, Epoch, Place
from primaldual.experiments.places.workers import Workers

__all__ = ["NO_LIMITS", "Done", "Epoch", "Here", "Limits", "Place", "Workers"]
