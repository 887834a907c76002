"""Inventories of other libraries, by which their names become links: those that can be reached.

Sphinx warns of an inventory that it cannot fetch, and the site takes warnings for errors. Without a network these names
are shown without links, and the log says so.
"""

from __future__ import annotations

import logging

LOGGER = "sphinx.sphinx.ext.intersphinx"
MAPPING = {
    "python": ("https://docs.python.org/3", None),
    "torch": ("https://docs.pytorch.org/docs/stable", None),
    "sklearn": ("https://scikit-learn.org/stable", None),
    "aeon": ("https://www.aeon-toolkit.org/en/stable", None),
    "timm": ("https://huggingface.co/docs/timm/main/en", None),
    "transformers": ("https://huggingface.co/docs/transformers/main/en", None),
}


class Unreachable(logging.Filter):
    """Make the warning of an inventory that cannot be fetched a note."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if message.startswith("failed to reach any of the inventories"):
            named = [name for name, (url, _) in MAPPING.items() if url in message]
            record.levelno, record.levelname = logging.INFO, "INFO"
            record.nonl = False  # Sphinx ends a line of its log unless told not to, as by its warnings
            record.msg, record.args = f"{', '.join(named)} cannot be reached: its names are not linked", ()
        return True
