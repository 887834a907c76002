"""Write docs/language.md and its figure from the results of :mod:`benchmarks.bench_cache_halving`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from textwrap import fill
from typing import Any

from primaldual.experiments.statistics import Difference, paired_difference, spread
from primaldual.reporting.drawing import on_white, svg
from primaldual.reporting.numbers import signed
from primaldual.reporting.palette import BLUE, GREY, INK, looks

DOCS = Path(__file__).parents[1] / "docs"
NAMES = {
    "untouched": "the model as it was",
    "softmax": "trained further, the whole cache",
    "chosen": "scaled heads, scales chosen (`--cache 0.5`)",
    "sh(1,2,4,4)": "scaled heads `sh(1,2,4,4)`",
    "sh(2,2,2,2)": "scaled heads `sh(2,2,2,2)`",
    "grouped": "grouped queries, 2 heads of keys for 4",
    "window": "old tokens dropped, `window({half})`",
}
"""What is compared, by the name in the results, in the order of the table."""
WHOLE, OURS = "softmax", "chosen"
OTHERS = ("window", "grouped", "sh(1,2,4,4)", "sh(2,2,2,2)")
COMMAND = "python -m benchmarks.bench_cache_halving"


class Results:
    """The rows of all seeds whose models are all there, by model.

    Args:
        found: what the benchmark wrote.
    """

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found
        rows = {(row["model"], row["seed"]): row for row in found["rows"]}
        seeds = {row["seed"] for row in found["rows"]}
        self.seeds = sorted(seed for seed in seeds if all((name, seed) in rows for name in NAMES))
        self.rows = {name: [rows[name, seed] for seed in self.seeds] for name in NAMES}
        self.half = found["base"]["context"] // 2

    def label(self, model: str) -> str:
        """What a model is, in words."""
        return NAMES[model].format(half=self.half)

    def cache(self, model: str) -> float:
        """Bytes, the mean over seeds; of a window, of the tokens that later ones see."""
        held = mean(row["cache_bytes"] for row in self.rows[model])
        return self.cache(WHOLE) / 2 if model == "window" else held

    def bits(self, model: str, part: str = "nats") -> list[float]:
        """Bits per character of every seed, of all tokens or of the late ones."""
        return [row[part] / math.log(2) for row in self.rows[model]]

    def perplexity(self, model: str) -> list[float]:
        """Of every seed."""
        return [math.exp(row["nats"]) for row in self.rows[model]]

    def before(self, model: str) -> list[float]:
        """Perplexity of every seed before the further steps."""
        return [math.exp(row["before"]["nats"]) for row in self.rows[model] if "before" in row]

    def difference(self, model: str, other: str, part: str = "nats") -> Difference:
        """Bits per character of one model less those of another, over seeds."""
        return paired_difference(self.bits(model, part), self.bits(other, part))


def page(found: dict[str, Any]) -> str:
    """The text of docs/language.md."""
    results = Results(found)
    text = (DOCS / "language.in").read_text(encoding="utf-8")
    for name, part in {
        "setup": setup,
        "table": table,
        "reading": reading,
        "pairs": pairs,
        "limits": limits,
    }.items():
        text = text.replace(f"{{{{ {name} }}}}", part(results))
    source = "docs/language.in and benchmarks/results/cache_halving.json"
    return f"<!-- Written by `{COMMAND} page` from {source}. -->\n\n{text}"


def setup(results: Results) -> str:
    """What was trained on what."""
    base, further = results.found["base"], results.found["further"]
    tokens, count = results.rows["untouched"][0]["tokens"], len(results.seeds)
    return _paragraph(
        f"Measured on tiny Shakespeare (`{results.found['text']}`, {tokens['training']:,} characters to train on, "
        f"{tokens['test']:,} to test), {count} seed{'s' * (count > 1)}, {results.found['machine']}. A decoder of "
        f"{base['num_layers']} blocks, width {base['embed_dim']}, {base['num_heads']} heads and a context of "
        f"{base['context']} characters is trained for {base['steps']:,} steps of {base['batch_size']} windows. Copies of it "
        f"are then trained for {further['steps']} more steps each, on the same windows with the same settings, one of them "
        "with the whole cache. The cache is what the states hold after a whole context was read at once, in float32."
    )


def table(results: Results) -> str:
    """One row for each model."""
    whole = results.cache(WHOLE)
    heads = (
        "model",
        "cache, KiB",
        "share",
        "perplexity before",
        "after",
        "bits per character above the whole cache",
        "late tokens",
    )
    rows = []
    for name in NAMES:
        held = results.cache(name)
        before = f"{mean(results.before(name)):.2f}" if results.before(name) else "–"
        above = [_interval(results.difference(name, WHOLE, part)) for part in ("nats", "late_nats")]
        after = spread(results.perplexity(name)).text(3)
        cells = [results.label(name), f"{held / 1024:.1f}", f"{held / whole:.2f}", before, after]
        rows.append(cells + (["–", "–"] if name == WHOLE else above))
    return _table(heads, rows)


def reading(results: Results) -> str:
    """How to read the table."""
    far = results.difference("window", WHOLE)
    unused = far.low is not None and far.low <= 0
    increase = 100 * (math.exp(results.difference(OURS, WHOLE).mean * math.log(2)) - 1)
    text = (
        "Test perplexity before and after the further steps: mean, and ± deviation over seeds. Differences are paired by "
        f"seed, with a 95 % t interval in brackets. Late tokens have more than {results.half} before them in their window. "
        f"Half a cache by scaled heads with chosen scales changes perplexity by {signed(increase)} % against the whole "
        "cache with equal training."
    )
    if unused:
        text += (
            f" Dropping what lies further back than {results.half} characters costs nothing that could be measured: so "
            "small a model hardly uses it, and nothing here shows what it costs to lose tokens that a model does use."
        )
    return _paragraph(text)


def pairs(results: Results) -> str:
    """Scaled heads against every other way."""
    rows = []
    for other in OTHERS:
        found = results.difference(OURS, other)
        late = _interval(results.difference(OURS, other, "late_nats"))
        rows.append((results.label(other), _interval(found), late, _verdict(found)))
    heads = "against", "all tokens", "late tokens", "what the interval of all tokens says"
    return f"Chosen scales against the other ways, bits per character, negative = better:\n\n{_table(heads, rows)}"


def limits(results: Results) -> str:
    """What the numbers do not tell."""
    tells = _paragraph(
        "The seeds share text and test part: the intervals tell of other weights and orders of windows, not of other texts, "
        f"and with {len(results.seeds)} seeds they are wide. The model is small and its context of "
        f"{results.found['base']['context']} characters short; a larger one may lose more or less. Grouped queries also "
        "halve the projections of keys and values, so that model has fewer weights. Of a window, the bytes of the tokens "
        "that later ones see are counted; between steps its state holds twice as many. Scales are chosen on eight windows "
        "of the training part."
    )
    made = _paragraph(
        f"Made by `{COMMAND} run --data FILE`, which goes on where it stopped; `page` in place of `run` writes this "
        "page and the figure. Numbers in `benchmarks/results/cache_halving.json`."
    )
    return f"{tells}\n\n{made}"


def figure(found: dict[str, Any]) -> str:
    """The drawing as SVG."""
    results = Results(found)
    names = [name for name in NAMES if name != "untouched"]
    shown = looks(names)
    places = {name: len(names) - 1 - place for place, name in enumerate(names)}

    def draw(canvas: Any) -> None:
        left, right = canvas.subplots(1, 2, sharey=True)
        for name in names:
            look, place = shown[name], places[name]
            before, after = results.before(name), results.perplexity(name)
            left.plot([mean(before), mean(after)], [place] * 2, color=GREY, lw=0.9, zorder=1)
            left.plot(before, [place] * len(before), look.marker, mfc="white", mec=look.color, ms=6)
            left.plot(after, [place] * len(after), look.marker, color=look.color, ms=6)
            if name == WHOLE:
                continue
            above = results.difference(name, WHOLE)
            each = [a - b for a, b in zip(results.bits(name), results.bits(WHOLE), strict=True)]
            right.plot(each, [place] * len(each), look.marker, color=look.color, ms=6, alpha=0.6)
            right.plot([above.mean] * 2, [place - 0.22, place + 0.22], color=INK, lw=1.6)
            if above.low is not None:
                right.plot([above.low, above.high], [place] * 2, color=INK, lw=1.1)
        left.set_yticks(list(places.values()), [_plain(results.label(name)) for name in places])
        left.set_xlabel("test perplexity, open = before the further steps")
        right.axvline(0, color=BLUE, lw=0.9, ls="--")
        right.set_xlabel("bits per character above the whole cache")

    label = (
        "Perplexity before and after further training, and bits per character above the whole cache, by model"
    )
    return on_white(svg(draw, 9.0, 3.2, label))


def write_page(results: Path) -> None:
    """Write the page and the figure."""
    found = json.loads(results.read_text(encoding="utf-8"))
    for target, text in {"language.md": page(found), "figures/cache_halving.svg": figure(found)}.items():
        (DOCS / target).write_text(text, encoding="utf-8")
        print(f"Written: {DOCS / target}")


def _interval(found: Difference) -> str:
    middle = signed(found.mean, 3)
    if found.low is None or found.high is None:
        return middle
    return f"{middle} ({signed(found.low, 3)} to {signed(found.high, 3)})"


def _verdict(found: Difference) -> str:
    words = {"above the baseline": "worse", "below the baseline": "better"}
    return words.get(found.verdict, found.verdict)


def _plain(label: str) -> str:
    return label.replace("`", "").replace(", ", ",\n", 1) if len(label) > 30 else label.replace("`", "")


def _paragraph(text: str) -> str:
    return fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("| --- |", "|---|") for line in lines).replace(
        " --- |", "---|"
    )
