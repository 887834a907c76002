from primaldual.environment.doctor import Diagnosis
from primaldual.environment.forms import FormHere
from primaldual.environment.packages import Package
from primaldual.environment.plugins import Plugin
from primaldual.environment.report import MOST, WIDTH, report
from primaldual.environment.requirements import Requirement

TIMM, VISION = Requirement("timm", ">=1.0"), Requirement("torchvision", ">=0.28")


def found(columns=WIDTH, **changes):
    facts = {
        "version": "1.2.3",
        "system": {"python": "3.11"},
        "torch": {"devices": "cpu"},
        "extras": {
            "vision": [Package(TIMM, "missing"), Package(VISION, "broken", "0.28", "RuntimeError: nms")]
        },
        "triton": Package(Requirement("triton"), "missing"),
        "forms": [FormHere("softmax", {"cpu": ["bn"] * (MOST + 3)}), FormHere("band", {}, "needs a window")],
        "plugins": [Plugin("mine", "my-package 1.0", "no module")],
        "troubles": {},
    }
    return report(Diagnosis(**{**facts, **changes}), columns)


def test_it_says_what_to_install_and_what_is_wrong():
    text = found()
    assert "timm MISSING, torchvision BROKEN" in text
    assert '\n                        pip install "timm>=1.0"\n' in text
    assert 'pip install --force-reinstall "torchvision>=0.28"' in text
    assert "cpu: bn, bn" in text
    assert "and 3 more" in text
    assert "none: needs a window" in text
    assert "my-package 1.0: no module" in text
    assert max(len(line) for line in text.splitlines() if "pip install" not in line) <= WIDTH


def test_nothing_to_report_is_said():
    whole = found(extras={"": [Package(Requirement("torch"), "works", "2.14")]}, forms=[], plugins=[])
    assert "No problems." in whole
    assert "Forms" not in whole
    assert "unknown, since primaldual runs from its source tree" in found(extras={})


def test_rows_fit_a_narrow_terminal():
    specs = {"cpu": ["causal sh(1,2,3,4)"] * MOST}
    text = found(columns=80, forms=[FormHere("softmax", specs)])
    rows = [line for line in text.splitlines() if "sh(" in line]
    assert len(rows) > 1
    assert all(row.count("causal sh(") == row.count("sh(") for row in rows)
    assert max(map(len, rows)) <= 80
