"""Write docs/gpu.md from benchmarks/results/cuda.json.

python -m docs.make_gpu
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
SOURCE = DOCS.parent / "benchmarks" / "results" / "cuda.json"
TEXT = DOCS / "gpu.in"

GOALS: dict[str, tuple[tuple[float, float], ...]] = {
    "bn": ((1.50, 1.25), (1.20, 1.12), (1.05, 1.05)),
    "sh(1,2,4,8)": ((0.90, 0.80), (0.62, 0.60), (0.52, 0.52)),
    "bn+sh(1,2,4,8)": ((1.05, 0.90), (0.70, 0.66), (0.55, 0.55)),
    "window(64)": ((0.85, 0.80), (0.45, 0.45), (0.12, 0.12)),
    "linear": ((0.60, 0.60), (0.35, 0.30), (0.06, 0.06)),
    "causal bn": ((1.50, 1.25), (1.25, 1.15), (1.08, 1.05)),
    "causal sh(1,2,4,8)": ((1.10, 0.90), (0.75, 0.70), (0.56, 0.56)),
}
"""Most that an attention may take of SDPA's time, forward and with the backward, at each shape."""

NEW = ("bn(gain=0.2)", "causal bn(gain=0.2)", "causal bn+sh(1,2,4,8)")
"""Attentions whose kernels have come after the committed figures, which tell by what is kept for the backward."""

KINDS = ("eager forward", "eager training", "graph forward", "graph training")


def page() -> str:
    """The page: text around tables of what was measured."""
    found = json.loads(SOURCE.read_text(encoding="utf-8"))
    text = TEXT.read_text(encoding="utf-8")
    for name, lines in (
        ("times", times(found["attention"])),
        ("checks", checks(found["attention"])),
        ("decoding", decoding(found["decoding"])),
        ("layers", layers(found.get("layers"))),
        ("contract", contract(found["contract"])),
        ("versions", versions(found["card"])),
    ):
        text = text.replace(f"{{{{ {name} }}}}", "\n".join(lines))
    return (
        "<!-- Written by docs/make_gpu.py from benchmarks/results/cuda.json: run `make docs`. -->\n\n" + text
    )


def times(part: dict[str, Any]) -> Iterator[str]:
    """Times over SDPA, by shape."""
    reached = total = 0
    for place, (shape, cases) in enumerate(part["shapes"].items()):
        base, causal = (cases[name] for name in ("SDPA", "causal SDPA"))
        yield f"**{shape}.** SDPA takes {_pair(base)} us from Python and {_pair(base, 'graph')} us as a CUDA graph,"
        yield f"forward / forward and backward; causal {_pair(causal)} and {_pair(causal, 'graph')} us. Its memory is"
        yield f"{base['forward MiB']:.0f} MiB."
        yield ""
        yield "| attention | goal | from Python | as a CUDA graph | memory, forward | kept for the backward |"
        yield "|---|---|---|---|---|---|"
        for name, figures in cases.items():
            if "SDPA" in name or (name in NEW and "kept MiB" not in figures):
                continue
            ratios = [figures["over SDPA"].get(kind) for kind in KINDS]
            goal = GOALS.get(name)
            shown = ["-" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
            if goal is not None:
                shown = [
                    f"**{text}**" if ratio is not None and ratio <= goal[place][each % 2] else text
                    for each, (text, ratio) in enumerate(zip(shown, ratios, strict=True))
                ]
                reached += sum(text.startswith("**") for text in shown[2:])
                total += 2
            wanted = "" if goal is None else " / ".join(f"{number:.2f}" for number in goal[place])
            cells = f"{shown[0]} / {shown[1]} | {shown[2]} / {shown[3]}"
            yield f"| {name} | {wanted} | {cells} | {figures['forward MiB']:.0f} MiB | {_kept(figures)} |"
        for name in NEW:
            if "kept MiB" not in cases.get(name, {}):
                yield f"| {name} |  | not yet measured | not yet measured | not yet measured | not yet measured |"
        yield ""
    yield f"As a CUDA graph {reached} of {total} goals are reached."


def _kept(figures: dict[str, Any]) -> str:
    return f"{figures['kept MiB']:.0f} MiB" if "kept MiB" in figures else "not yet measured"


def _pair(figures: dict[str, Any], kind: str = "eager") -> str:
    return " / ".join(
        f"{figures[f'{kind} {part}']:.0f}" for part in ("forward", "training") if f"{kind} {part}" in figures
    )


def checks(part: dict[str, Any]) -> Iterator[str]:
    """Errors beside those of the definition."""
    yield "| attention | type | N | form | largest error | definition, same type | right |"
    yield "|---|---|---|---|---|---|---|"
    for each in part["checks"]:
        if "errors" not in each:
            continue
        name = ("causal " if each["causal"] else "") + each["spec"]
        worst = max(range(len(each["errors"])), key=lambda place: each["errors"][place])
        yield (
            f"| {name} | {each['dtype']}, D = {each['width']} | {each['length']} | {', '.join(each['forms'])} | "
            f"{each['errors'][worst]:.1e} | {each['definition'][worst]:.1e} | {'yes' if each['ok'] else '**no**'} |"
        )


def decoding(part: dict[str, Any]) -> Iterator[str]:
    """Time of a step."""
    yield "| step | us | over SDPA |"
    yield "|---|---|---|"
    base = part["times"]["SDPA, eager"]["median_us"], part["times"]["SDPA, graph"]["median_us"]
    for name, figures in part["times"].items():
        over = base[1] if "graph" in name else base[0]
        yield f"| {name} | {figures['median_us']:.0f} | {figures['median_us'] / over:.2f} |"


def layers(part: dict[str, Any] | None) -> Iterator[str]:
    """Training steps of layers and of a ViT."""
    if part is None:
        yield "Not measured yet (`python -m benchmarks.cuda.layers`)."
        return
    yield "| what | us | ratio |"
    yield "|---|---|---|"
    for kind, title in (("layer", "layer, d = 1024"), ("vit", "ViT, 65 tokens")):
        for name, figures in part[kind].items():
            yield f"| {title}: {name} | {figures['median_us']:.0f} | {figures['ratio']:.2f} |"


def contract(part: dict[str, Any]) -> Iterator[str]:
    """How much of the contract ran."""
    passed = sum(part["passed"].values())
    checks = ", ".join(sorted(name.removeprefix("check_") for name in part["passed"]))
    yield f"Of the contract {passed} cases passed on the GPU and {part['failed']} failed ({checks}); the other checks had no"
    yield "time to end there. `pytest -m cuda` runs all."
    for failure in part["failures"]:
        yield f"* {failure['check']}, {failure['spec']}: {failure['error']}"


def versions(card: dict[str, Any]) -> Iterator[str]:
    """Card and versions in a sentence."""
    yield f"{card['name']}, driver {card['driver']}, CUDA {card['cuda']}, cuDNN {card['cudnn']},"
    yield f"PyTorch {card['torch']}, Triton {card['triton']}, Python {card['python']}."


if __name__ == "__main__":
    (DOCS / "gpu.md").write_text(page(), encoding="utf-8")
    print("wrote docs/gpu.md")
