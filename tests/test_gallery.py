"""The scripts of the gallery are well formed and use public names; the quickest ones run."""

import ast
import importlib
import inspect
import itertools
import re

import pytest
from examples.draw_gallery import SCRIPTS, draw, main

QUICK = ("bn_scores", "local_linear_edges", "new_attention")
"""``make gallery`` runs all of them."""


def name(script):
    return script.stem.removeprefix("plot_")


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_has_title_summary_and_text_between_its_code(script):
    text = script.read_text(encoding="utf-8")
    module = ast.parse(text)
    title, line, empty, *summary = ast.get_docstring(module).splitlines()
    assert line == "=" * len(title)
    assert not empty
    assert 1 <= " ".join(summary).count(". ") + 1 <= 5
    blocks = [block.splitlines() for block in text.split("\n# %%\n")[1:]]
    assert len(blocks) >= 3
    for heading, rule, *_ in blocks:
        assert rule == "# " + "-" * (len(heading) - 2), heading
    assert blocks[-1][0] == "# What to see"
    assert text.endswith("plt.show()\n")


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_formulas_stand_in_literals(script):
    """A bar or an asterisk in the text of a block means something else in reStructuredText."""
    blocks = script.read_text(encoding="utf-8").split("\n# %%\n")[1:]
    texts = [
        line
        for block in blocks
        for line in itertools.takewhile(lambda line: line.startswith("#"), block.split("\n"))
    ]
    prose = re.sub(r"``.*?``", "", "\n".join(texts), flags=re.DOTALL)
    assert not re.search(r"[|*`]", prose)


def primaldual_names(script):
    """Pairs of a module and a name that the script takes from it."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "primaldual":
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pdl":
            yield "primaldual", node.attr


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_uses_public_names(script):
    for module, taken in set(primaldual_names(script)):
        assert not any(part.startswith("_") for part in [*module.split("."), taken]), f"{module}.{taken}"
        found = importlib.import_module(module)
        assert taken in getattr(found, "__all__", vars(found)), f"{module}.{taken}"
        thing = getattr(found, taken)
        assert not callable(thing) or inspect.getdoc(thing), f"{module}.{taken}"


def test_titles_differ():
    assert len({ast.get_docstring(ast.parse(path.read_text())).split("\n")[0] for path in SCRIPTS}) == len(
        SCRIPTS
    )


@pytest.mark.parametrize("script", [path for path in SCRIPTS if name(path) in QUICK], ids=name)
def test_runs_and_leaves_a_picture(script, tmp_path):
    pictures = draw(script, tmp_path)
    assert pictures
    assert all(picture.stat().st_size > 10_000 for picture in pictures)


def test_the_quick_ones_are_there():
    assert {name(path) for path in SCRIPTS} >= set(QUICK)


def test_refuses_words_that_no_script_has(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path), "nowhere"])
    assert "words must occur in the name of a script; got nowhere" in capsys.readouterr().err
