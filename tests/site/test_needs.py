"""Documentation that is built without its extras names what is missing."""

from docs.site.needs import distributions, missing, refusal

EXTRAS = {
    "site": ["primaldual[all]", "sphinx>=9.0"],
    "all": ["primaldual[a,b]"],
    "a": ["timm>=1.0", "scipy"],
    "b": ["scipy>=1", "no_such[extra]>=2; python_version > '3'"],
}


def test_the_distributions_of_an_extra():
    assert distributions("site", EXTRAS) == ["timm", "scipy", "no_such", "sphinx"]


def test_what_is_missing():
    assert missing(["scipy", "no_such"]) == ["no_such"]


def test_the_refusal_names_what_is_missing_and_what_installs_it(monkeypatch):
    monkeypatch.setattr(
        "docs.site.needs.missing", lambda names: [name for name in names if name in ("timm", "sphinx")]
    )
    assert refusal() == (
        "the site documents the whole library, so it needs every extra; not installed: timm, sphinx. "
        "Run make site, or: pip install -e '.[site]'"
    )
    monkeypatch.setattr("docs.site.needs.missing", lambda names: [])
    assert refusal() is None
