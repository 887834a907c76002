"""docs/gpu.md is what its generator writes from the committed figures."""

from docs.make_gpu import DOCS, GOALS, page


def test_the_committed_page_is_that_of_the_figures():
    assert (DOCS / "gpu.md").read_text(encoding="utf-8") == page()


def test_every_goal_is_in_the_tables():
    text = page()
    assert all(f"| {name} | {goal[0][0]:.2f} / {goal[0][1]:.2f} |" in text for name, goal in GOALS.items())
