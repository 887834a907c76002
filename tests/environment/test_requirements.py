import pytest

from primaldual.environment import requirements as module
from primaldual.environment.requirements import Requirement, requirements

LINES = [
    "torch>=2.13",
    'scikit-learn>=1.6; extra == "timeseries"',
    'primaldual[timeseries]; extra == "experiments"',
    "typer<1,>=0.20; extra == 'experiments'",
    'primaldual[experiments,timeseries]; extra == "ray"',
    'ray[tune] >= 2.40 ; python_version < "3.15" and extra == "ray"',
    'ruff; extra == "dev"',
]


@pytest.fixture
def stated(monkeypatch):
    monkeypatch.setattr(module, "requires", lambda name: LINES)
    return requirements()


def test_extras_bring_what_they_include(stated):
    learn = Requirement("scikit-learn", ">=1.6")
    typer = Requirement("typer", "<1,>=0.20")
    assert stated == {
        "": [Requirement("torch", ">=2.13")],
        "timeseries": [learn],
        "experiments": [typer, learn],
        "ray": [Requirement("ray", ">= 2.40"), typer, learn],
    }
    assert typer.minimum == "0.20"


def test_a_source_tree_that_is_not_installed_has_no_extras():
    assert requirements("no-such-distribution") == {}
