"""The gallery: every script of examples/gallery is run and shown with its pictures."""

from __future__ import annotations

from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "examples" / "gallery"
FIRST = (
    "head_as_regression",
    "words_of_a_spec",
    "bn_scores",
    "scaled_heads_on_an_image",
    "local_linear_edges",
    "duality_gap",
    "new_attention",
    "prefix_statistics",
    "decoding_cache",
    "when_an_attention_helps",
)
"""The examples to read first; others follow by name."""


def scripts(folder: Path = SCRIPTS) -> list[Path]:
    """The scripts in alphabetical order; none without a gallery."""
    return sorted(folder.glob("plot_*.py"))


def order(script: str) -> tuple[int, str]:
    """Where a script stands in the gallery, by its file name."""
    name = Path(script).stem.removeprefix("plot_")
    return (FIRST.index(name) if name in FIRST else len(FIRST), name)


def settings() -> dict[str, object]:
    """The configuration of sphinx-gallery: a script that fails, or warns, fails the build."""
    return {
        "examples_dirs": [str(SCRIPTS)],
        "gallery_dirs": ["gallery"],
        "filename_pattern": r"[\\/]plot_",
        "within_subsection_order": "docs.site.gallery.order",
        "abort_on_example_error": True,
        "download_all_examples": False,
        "show_signature": False,
        "write_computation_times": False,
    }


def remove_stale(docs: Path, folder: Path = SCRIPTS) -> None:
    """Remove the pages of scripts that are gone, which sphinx-gallery leaves where they are."""
    for page in (docs / "gallery").glob("plot_*.rst"):
        if not (folder / f"{page.stem}.py").exists():
            page.unlink()


def write_empty_page(docs: Path) -> None:
    """The page of a gallery without scripts, so that links to it hold."""
    page = docs / "gallery" / "index.rst"
    page.parent.mkdir(exist_ok=True)
    page.write_text("Gallery\n=======\n\nexamples/gallery has no scripts.\n", encoding="utf-8")
