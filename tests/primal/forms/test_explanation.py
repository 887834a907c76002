"""The explanation as text."""

from primaldual.primal.presets import preset


def test_counts_the_heads_that_a_form_serves():
    lines = [
        line.strip()
        for line in str(preset("sh(1,1,2,4)").explain((1, 4, 64, 8))).splitlines()
        if ": form " in line
    ]
    assert lines[0].startswith("sh(1,1,2,4)  heads 0-1 of 4: form ")
    assert lines[1].startswith("head 2 of 4 pooled by 2: form ")
