import sys

import pytest

from primaldual.cli.own_parts import import_parts
from primaldual.primal.words import PARTS
from tests.cli.helpers import run

PART = '''
import primaldual as pdl


@pdl.register
class Doubled(pdl.Transform):
    """Twice the inputs."""

    name = "doubled"

    def dense(self, query, keys, valid, heads):
        return 2 * query, 2 * keys
'''


@pytest.fixture
def module(tmp_path, monkeypatch, words_as_before):
    (tmp_path / "doubling_parts.py").write_text(PART)
    (tmp_path / "broken_parts.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "doubling_parts"
    sys.modules.pop("doubling_parts", None)


def test_a_part_of_the_users_own_is_a_word_for_every_command(capsys, module):
    code, out, err = run(capsys, "equation", "doubled", "--import", module)
    assert (code, err) == (0, "")
    assert "doubled" in out
    assert "Twice the inputs" in run(capsys, "presets", "--import", module)[1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "doubling_parts.py",
            "--import takes the name of a module, such as my_parts; got 'doubling_parts.py'",
        ),
        ("no_such_parts", "--import no_such_parts failed: ModuleNotFoundError"),
        ("broken_parts", "--import broken_parts failed: ZeroDivisionError: division by zero"),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line(capsys, module, given, message):
    code, out, err = run(capsys, "equation", "softmax", "--import", given)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_saved_model_loads_again_once_its_part_is_imported(module, tmp_path):
    import numpy as np

    from primaldual import AttentionClassifier
    from primaldual.errors import CheckpointError

    import_parts([module])
    tiny = AttentionClassifier("doubled", epochs=1, embed_dim=8, num_heads=2, num_layers=1, random_state=0)
    cases = np.random.default_rng(0).normal(size=(8, 1, 6))
    tiny.fit(cases, list("ab") * 4).save(tmp_path / "model")
    del PARTS["doubled"]
    with pytest.raises(CheckpointError, match=r"one of your own needs primaldual\.register"):
        AttentionClassifier.load(tmp_path / "model")
    sys.modules.pop(module)
    import_parts([module])
    assert (AttentionClassifier.load(tmp_path / "model").predict(cases) == tiny.predict(cases)).all()


def test_results_depend_on_the_source_of_own_parts(module, tmp_path):
    from primaldual.experiments.methods import AttentionMethod

    import_parts([module])
    plain, own = AttentionMethod("bn").code(), AttentionMethod("doubled+bn").code()
    assert own.startswith(f"{plain}, {module} ")
    (tmp_path / f"{module}.py").write_text(PART.replace("2 * keys", "3 * keys"))
    assert AttentionMethod("doubled+bn").code() != own
    assert AttentionMethod("bn").code() == plain
