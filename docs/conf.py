"""How Sphinx builds the site: make site."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from docs.site import cross_references, docstrings, gallery, inventories, mathjax, needs, reference  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402
from sphinx.domains.python import PyObject  # noqa: E402
from sphinx.errors import ConfigError  # noqa: E402

if refusal := needs.refusal():
    raise ConfigError(refusal)

import primaldual  # noqa: E402

project = "primaldual"
author = "The primaldual founders"
release = version = primaldual.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["figures/README*", "gallery/*.ipynb"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
default_role = "py:obj"
smartquotes_action = "D"  # quotes are of Python
toc_object_entries_show_parents = "hide"
nitpicky = True
# Types are of many libraries and of internals, and `code` in a docstring need not name anything.
nitpick_ignore_regex = [
    ("py:(class|obj)", ".*"),
    ("py:exc", "NotFittedError"),
    ("py:.*", r"(torch|sklearn|aeon|timm|transformers)\..*"),
]
gallery.remove_stale(DOCS)
if gallery.scripts():
    extensions.append("sphinx_gallery.gen_gallery")
    sphinx_gallery_conf = gallery.settings()
else:
    gallery.write_empty_page(DOCS)

# Markdown that repository viewers read too: ```math blocks, $...$, links to headings.
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_default_options = {
    "members": True,
    # scikit-learn writes the first three, torch asks for the last.
    "exclude-members": "set_fit_request, set_predict_request, set_score_request, extra_repr",
}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
strip_signature_backslash = True  # names that end in _ keep it
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Reference", "returns_style")]
python_maximum_signature_line_length = 88

intersphinx_mapping = dict(inventories.MAPPING)  # Sphinx changes it
intersphinx_timeout = 5

mathjax_path = mathjax.SCRIPT

html_theme = "pydata_sphinx_theme"
html_title = "primaldual"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "primaldual"},
    "header_links_before_dropdown": 9,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}


def setup(app: Sphinx) -> None:
    """Connect what the site adds to Sphinx."""
    logging.getLogger(inventories.LOGGER).addFilter(inventories.Unreachable())
    app.connect("autodoc-process-docstring", docstrings.process, priority=100)
    app.connect("autodoc-process-signature", docstrings.process_signature)
    app.connect("missing-reference", cross_references.resolve)
    app.connect("source-read", reference.add_table)
    next(field for field in PyObject.doc_field_types if field.name == "variable").label = "Attributes"
    app.connect(
        "build-finished", lambda app, error: error or mathjax.copy_script(Path(app.outdir, "_static"))
    )
