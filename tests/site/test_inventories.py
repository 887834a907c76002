"""Without a network the build notes what is not linked, and does not fail."""

import logging

from docs.site.inventories import Unreachable


def record(message):
    return logging.LogRecord("sphinx", logging.WARNING, "", 0, message, None, None)


def test_an_inventory_that_cannot_be_fetched_is_a_note():
    told = record(
        "failed to reach any of the inventories with the following issues:\nhttps://scikit-learn.org/stable"
    )
    assert Unreachable().filter(told)
    assert told.levelno == logging.INFO
    assert told.getMessage() == "sklearn cannot be reached: its names are not linked"


def test_other_warnings_stay():
    told = record("something else")
    assert Unreachable().filter(told)
    assert told.levelno == logging.WARNING
