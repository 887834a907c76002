import pytest

from primaldual.images.recipes import DEIT, RECIPES


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_recipe_gives_settings(recipe):
    settings = recipe.settings(seed=3, batch_size=2 * recipe.batch_size, steps=7)
    assert settings.learning_rate == pytest.approx(2 * recipe.learning_rate)
    assert (settings.seed, settings.steps, settings.ema_decay) == (3, 7, recipe.ema_decay)


def test_deit_is_that_of_its_paper():
    assert (DEIT.epochs, DEIT.batch_size, DEIT.learning_rate, DEIT.weight_decay) == (300, 1024, 1e-3, 0.05)
    assert (DEIT.mixup, DEIT.cutmix, DEIT.erasing, DEIT.label_smoothing) == (0.8, 1.0, 0.25, 0.1)
    assert (DEIT.drop_path, DEIT.warmup_epochs) == (0.1, 5)
