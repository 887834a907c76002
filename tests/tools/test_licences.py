from email.message import Message

import pytest
from tools.licences import closure, licence, verdict


def metadata(**fields):
    found = Message()
    for name, values in fields.items():
        for value in [values] if isinstance(values, str) else values:
            found[name.replace("_", "-")] = value
    return found


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"License_Expression": "MIT", "License": "see file"}, "MIT"),
        ({"Classifier": ["Typing :: Typed", "License :: OSI Approved :: BSD License"]}, "BSD License"),
        ({"License": "Apache 2.0\n\nlong text"}, "Apache 2.0"),
        ({}, ""),
    ],
)
def test_a_licence_is_read_from_wherever_it_is_stated(fields, expected):
    assert licence(metadata(**fields)) == expected


@pytest.mark.parametrize(
    "stated", ["MIT", "BSD License", "GPL-2.0-only OR MIT", "MPL-2.0 AND MIT", "PSF-2.0"]
)
def test_licences_that_are_accepted(stated):
    assert verdict("some", stated) is None


@pytest.mark.parametrize(
    "stated",
    ["", "OSI Approved", "GPL-3.0-only", "MIT AND LGPL-2.1-only", "GNU Affero", "Other/Proprietary License"],
)
def test_licences_that_are_not(stated):
    assert verdict("some", stated)


def test_needs_are_followed_through_extras():
    core, everything = set(closure([])), set(closure(["all"]))
    assert {"torch", "sympy"} <= core
    assert "timm" not in core
    assert {"timm", "aeon", "numba", "scikit-learn"} | core <= everything
