"""The checker of links finds what is broken, and nothing else."""

from docs.site.check_links import check, main


def write(folder, **pages):
    for name, body in pages.items():
        (folder / f"{name}.html").write_text(f"<html><body>{body}</body></html>")


def test_links_that_hold(tmp_path):
    write(
        tmp_path,
        one='<a href="two.html#there">x</a> <a href="#top">y</a> <p id="top"></p> <img src="a%20b.png?v=1">',
        two='<p id="there"></p> <a href="https://example.org/#none">z</a> <a href="mailto:a@example.org">m</a>',
    )
    (tmp_path / "a b.png").touch()
    assert check(tmp_path) == ([], 3, 2)
    assert main([str(tmp_path)]) == 0


def test_a_missing_file_and_a_missing_anchor(tmp_path, capsys):
    write(
        tmp_path, one='<a href="gone.html">x</a> <a href="two.html#gone">y</a> <a href="#gone">z</a>', two=""
    )
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "one.html: gone.html: no such file",
        "one.html: two.html#gone: no such anchor",
        "one.html: #gone: no such anchor",
        "3 links within the site, 3 broken; 0 links out of it",
    ]


def test_a_page_that_needs_the_network(tmp_path):
    write(
        tmp_path,
        one='<script src="https://cdn.example.org/x.js"></script> <img src="data:image/png;base64,AA">',
    )
    assert check(tmp_path)[0] == ["one.html: https://cdn.example.org/x.js: loaded from another host"]


def test_templates_of_the_theme_are_no_pages(tmp_path):
    (tmp_path / "_static").mkdir()
    write(tmp_path / "_static", macros='<script src="{{ path }}"></script>')
    assert check(tmp_path) == ([], 0, 0)
    assert main([str(tmp_path)]) == 1
