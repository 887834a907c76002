from __future__ import annotations

import pytest

from primaldual.errors import PrimalDualError
from primaldual.experiments.places import Limits
from primaldual.experiments.planning import Grid, read_grid
from primaldual.experiments.tuning import Tuning

WHOLE = """
data = ["BasicMotions", "mine.csv"]
data_dir = "uea"
attentions = ["softmax", "sh(1, 2)"]
methods = ["QUANT"]
seeds = 2
protocol = "paper"
threads = 2
baseline = "QUANT"
[settings.default]
[settings.wide]
embed_dim = 128
[options.QUANT]
interval_depth = 4
[limits]
seconds = 60
memory = "2 GB"
[tuning]
trials = 3
space = { num_layers = [1, 2] }
"""


def _read(folder, text):
    path = folder / "grid.toml"
    path.write_text(text)
    return read_grid(path)


def test_every_key_is_read(tmp_path):
    assert _read(tmp_path, WHOLE) == Grid(
        data=("BasicMotions", str(tmp_path / "mine.csv")),
        attentions=("softmax", "sh(1,2)"),
        methods=("QUANT",),
        seeds=(0, 1),
        settings={"default": {}, "wide": {"embed_dim": 128}},
        options={"QUANT": {"interval_depth": 4}},
        data_dir=str(tmp_path / "uea"),
        protocol="paper",
        threads=2,
        baseline="QUANT",
        limits=Limits(60, 2 * 10**9),
        tuning=Tuning({"num_layers": [1, 2]}, trials=3),
    )


def test_labels_and_the_baseline_come_first(tmp_path):
    labels = [method.label for method in _read(tmp_path, WHOLE).competitors()]
    assert labels == ["QUANT", "softmax", "sh(1,2)", "softmax [wide]", "sh(1,2) [wide]"]


def test_defaults_contain_baselines(tmp_path):
    grid = _read(tmp_path, 'data = ["BasicMotions"]\nseeds = [3, 4]')
    assert grid == Grid(("BasicMotions",), seeds=(3, 4))
    assert grid.methods == ("MultiRocketHydra", "QUANT", "1-NN")


START = 'data = ["BasicMotions"]\n'
BAD = {
    "toml": ("data = [", "is not TOML"),
    "no data": ("seeds = 1", "data is missing"),
    "empty data": ("data = []", "data is empty"),
    "key": (START + "sedes = 1", "unknown key sedes; did you mean seeds"),
    "kind": ("data = 3", "data must be a list of texts; got 3"),
    "spec": (START + 'attentions = ["sofmax"]', "sofmax"),
    "twice": (START + 'attentions = ["bn", "bn"]', "attentions must differ"),
    "method": (START + 'methods = ["QANT"]', "did you mean QUANT"),
    "seeds": (START + "seeds = 0", "seeds is empty|positive number"),
    "seed": (START + "seeds = [-1]", "must not be negative"),
    "bool": (START + "threads = true", "threads must be a whole number; got True"),
    "threads": (START + "threads = 0", "threads must be at least 1"),
    "protocol": (START + 'protocol = "honst"', "did you mean honest"),
    "baseline": (START + 'baseline = "QANT"', "baseline is 'QANT'; did you mean QUANT"),
    "settings": (START + "[settings]\nepochs = 3", r"\[settings.NAME\]"),
    "argument": (START + "[settings.a]\nepoch = 3", "no argument 'epoch'; did you mean epochs"),
    "options": (START + "[options.QUANT]\ndepth = 3", "QUANT has no argument 'depth'"),
    "other": (START + "[options.ROCKET]\nx = 3", "options.ROCKET is for no method"),
    "limits": (START + "[limits]\nsecs = 3", "unknown key limits.secs"),
    "negative": (START + "[limits]\nseconds = -3", "limits.seconds must be positive"),
    "memory": (START + '[limits]\nmemory = "much"', "limits.memory must be bytes"),
    "space": (START + "[tuning]\ntrials = 3", "tuning.space is missing"),
    "range": (START + "[tuning.space]\nx = {low = 3, high = 1}", "must have low < high"),
    "trials": (START + "[tuning]\ntrials = 0\nspace = {x = [1]}", "tuning.trials must be"),
    "folds": (START + "[tuning]\nfolds = 1\nspace = {x = [1]}", "tuning.folds must be"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line_that_names_the_file(tmp_path, name):
    text, message = BAD[name]
    with pytest.raises(PrimalDualError, match=message) as caught:
        _read(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "grid.toml"))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(PrimalDualError, match="No such file"):
        read_grid(tmp_path / "none.toml")
