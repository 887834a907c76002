"""Parameters for the checks that aeon runs over estimators."""

from typing import Any


def tiny_parameter_sets() -> list[dict[str, Any]]:
    """Parameters for aeon's checks: small enough that a fit takes a blink."""
    tiny = {
        "embed_dim": 8,
        "num_heads": 2,
        "num_layers": 1,
        "feedforward_dim": 8,
        "epochs": 2,
        "batch_size": 8,
    }
    return [tiny, {**tiny, "attention": "bn+sh(1,2)", "head": "flatten"}]
