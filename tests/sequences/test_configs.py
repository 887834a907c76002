from __future__ import annotations

from primaldual.sequences.configs import CONFIGS
from primaldual.sequences.tasks import TASKS


def test_the_families_are_as_published():
    pytorch, jax = CONFIGS["pytorch"], CONFIGS["jax"]
    assert (pytorch.num_layers, pytorch.embed_dim, pytorch.num_heads) == (2, 64, 2)
    assert (jax.num_layers, jax.embed_dim) == (4, 512)
    for config in (pytorch, jax):
        assert config.training.keys() == TASKS.keys()


def test_fewer_steps_keep_the_share_of_the_warm_up():
    settings = CONFIGS["pytorch"].settings("listops", 96_000, seed=3, steps=500)
    assert (settings.steps, settings.warmup_steps, settings.epochs, settings.seed) == (500, 100, 1, 3)
    assert CONFIGS["pytorch"].settings("pixels", 45_000, seed=0).epochs == 199
