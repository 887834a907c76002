"""The gallery shows the scripts that there are, in an order that teaches."""

from docs.site.gallery import FIRST, order, remove_stale, scripts, write_empty_page


def test_order():
    names = ["plot_zebra.py", f"plot_{FIRST[1]}.py", "plot_apple.py", f"plot_{FIRST[0]}.py"]
    assert sorted(names, key=order) == [names[3], names[1], names[2], names[0]]


def test_scripts_of_a_folder(tmp_path):
    assert scripts(tmp_path / "absent") == []
    (tmp_path / "plot_b.py").touch()
    (tmp_path / "plot_a.py").touch()
    (tmp_path / "helper.py").touch()
    assert [path.name for path in scripts(tmp_path)] == ["plot_a.py", "plot_b.py"]


def test_a_gallery_without_scripts_has_a_page(tmp_path):
    write_empty_page(tmp_path)
    assert (tmp_path / "gallery" / "index.rst").read_text().startswith("Gallery\n=======")


def test_pages_of_scripts_that_are_gone_are_removed(tmp_path):
    folder = tmp_path / "scripts"
    for place in (folder, tmp_path / "gallery"):
        place.mkdir()
    (folder / "plot_here.py").touch()
    for name in ("plot_here", "plot_gone", "index"):
        (tmp_path / "gallery" / f"{name}.rst").touch()
    remove_stale(tmp_path, folder)
    assert sorted(page.stem for page in (tmp_path / "gallery").iterdir()) == ["index", "plot_here"]
