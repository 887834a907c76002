from __future__ import annotations

from primaldual.sequences.report import render


def test_it_says_what_was_learned_from_what(finished_run):
    page = render(finished_run)
    assert "text with sh(1,2), configuration pytorch" in page
    assert "1 files cannot be read and were left out" in page
    assert "The test part is 20 % of every class" in page
    assert page.count("<svg") == 1
