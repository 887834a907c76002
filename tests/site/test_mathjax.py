"""One file of MathJax goes into the site."""

from pathlib import Path

from docs.site import mathjax


class Carried:
    """A file of an installed package."""

    def __init__(self, path):
        self.path = path

    def match(self, pattern):
        return Path(self.path).match(pattern)

    def locate(self):
        return self.path


def test_the_script_is_copied(tmp_path, monkeypatch):
    source = tmp_path / "package" / "static" / mathjax.SCRIPT
    source.parent.mkdir(parents=True)
    source.write_text("MathJax")
    carried = [Carried(tmp_path / "package" / "other.js"), Carried(source)]
    monkeypatch.setattr(mathjax, "files", lambda name: carried)
    mathjax.copy_script(tmp_path / "site")
    assert (tmp_path / "site" / mathjax.SCRIPT).read_text() == "MathJax"
