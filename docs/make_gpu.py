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

KINDS = ("eager forward", "eager training", "graph forward", "graph training")


def page() -> str:
    """The page: text around tables of what was measured."""
    found = json.loads(SOURCE.read_text(encoding="utf-8"))
    text = TEXT.read_text(encoding="utf-8")
    for name, lines in (
        ("times", times(found["attention"])),
        ("checks", checks(found["attention"])),
        ("decoding", decoding(found["decoding"])),
        ("layers", layers(found["layers"])),
        ("compiled", compiled(found["compiled"])),
        ("regression", regression(found["regression"])),
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
            if "SDPA" in name:
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
            memory = f"{figures['forward MiB']:.0f} MiB | {figures['kept MiB']:.0f} MiB"
            yield f"| {name} | {wanted} | {cells} | {memory} |"
        yield ""
    yield f"As a CUDA graph {reached} of {total} goals are reached."


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


def layers(part: dict[str, Any]) -> Iterator[str]:
    """Training steps of layers and of a ViT."""
    yield "| what | from Python, us | ratio | as a CUDA graph, us | ratio |"
    yield "|---|---|---|---|---|"
    for kind, title in (("layer", "layer, d = 1024"), ("vit", "ViT, 65 tokens")):
        for name, figures in part[kind].items():
            cells = " | ".join(
                f"{figures[how]['median_us']:.0f} | {figures[how]['ratio']:.2f}" for how in ("eager", "graph")
            )
            yield f"| {title}: {name} | {cells} |"


def compiled(part: dict[str, Any]) -> Iterator[str]:
    """Distances from eager results, and times over eager ones."""
    yield "| what | largest distance | over eager |"
    yield "|---|---|---|"
    for name, figures in part.items():
        ratios = " / ".join(f"{ratio:.2f}" for ratio in figures["ratios"].values())
        title = name.replace(",".join("1248"[each // 4] for each in range(16)), "1,2,4,8").split(", N=")[0]
        yield f"| {title} | {max(figures['distances']):.1e} | {ratios} |"


def regression(part: dict[str, Any]) -> Iterator[str]:
    """Seconds, memory and certificate of support vector regressions."""
    yield f"Support vector regressions of {part['outputs']} outputs in float64 by `solve`, with their certificates; what"
    yield "memory one takes is checked before it starts."
    yield ""
    yield "| pairs | seconds | memory | relative duality gap |"
    yield "|---|---|---|---|"
    for size, figures in part["sizes"].items():
        memory = f"{figures['MiB'] / 1024:.1f} GiB"
        yield f"| {size} | {figures['seconds']:.2f} | {memory} | {figures['relative duality gap']:.1e} |"


def contract(part: dict[str, Any]) -> Iterator[str]:
    """How much of the contract ran."""
    passed = sum(part["passed"].values())
    checks = ", ".join(sorted(name.removeprefix("check_") for name in part["passed"]))
    left = sum(part["not_run"].values())
    yield f"Of the contract {passed} cases passed on the GPU and {part['failed']} failed; {left} had no time."
    yield f"The checks were {checks}; those of compile and export were left out. `pytest -m cuda` runs all."
    for failure in part["failures"]:
        yield f"* {failure['check']}, {failure['spec']}: {failure['error']}"


def versions(card: dict[str, Any]) -> Iterator[str]:
    """Card and versions in a sentence."""
    yield f"{card['name']}, driver {card['driver']}, CUDA {card['cuda']}, cuDNN {card['cudnn']},"
    yield f"PyTorch {card['torch']}, Triton {card['triton']}, Python {card['python']}."


if __name__ == "__main__":
    (DOCS / "gpu.md").write_text(page(), encoding="utf-8")
    print("wrote docs/gpu.md")
