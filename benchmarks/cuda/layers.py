"""``python -m benchmarks.cuda.layers OUT.json``: layers and a small ViT in training on a GPU, over those of softmax.

A layer of width 1024 at N = 1024, B = 8, over ``torch.nn.MultiheadAttention``; and a step of a ViT for 32 x 32 images (65
tokens, width 192, 6 heads, depth 6, batch 500, autocast to bfloat16), over the same with softmax. Each is called from
Python and replayed as a CUDA graph, which leaves out what Python takes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timm.models import VisionTransformer
from torch import Tensor, nn

import primaldual as pdl
from benchmarks.cuda.attention import captured
from benchmarks.cuda.timing import card, interleaved

LAYERS = {"softmax": "softmax", "bn": "bn", "sh": "sh({})", "bn+sh": "bn+sh({})"}
WIDTH, HEADS = 1024, 16
IMAGES, VIT_HEADS = 500, 6


def main() -> None:
    """Time and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    found: dict[str, Any] = {"card": card()}
    for name, contenders in (("layer", layers()), ("vit", transformers())):
        for kind, calls in (("eager", contenders), ("graph", captured(contenders))):
            times = interleaved(calls, 8)
            base = times[next(iter(times))]["median_us"]
            for each, figures in times.items():
                ratio = figures["median_us"] / base
                found.setdefault(name, {}).setdefault(each, {})[kind] = {**figures, "ratio": ratio}
                print(f"{name} {each}, {kind}: {figures['median_us']:.0f} us, {ratio:.2f}", flush=True)
        out.write_text(json.dumps(found, indent=1) + "\n")


def layers() -> dict[str, Callable[[], object]]:
    """One training step of each layer, in bfloat16."""
    scales = ",".join(map(str, (1,) * 4 + (2,) * 4 + (4,) * 4 + (8,) * 4))
    x = torch.randn(8, 1024, WIDTH, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    made: dict[str, nn.Module] = {"torch": nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)}
    for name, spec in LAYERS.items():
        made[name] = pdl.MultiheadAttention(WIDTH, HEADS, batch_first=True, attention=spec.format(scales))
    return {name: _step(module.to("cuda", torch.bfloat16), x) for name, module in made.items()}


def _step(module: nn.Module, x: Tensor) -> Callable[[], object]:
    def step() -> None:
        module.zero_grad()
        module(x, x, x, need_weights=False)[0].sum().backward()

    return step


def transformers() -> dict[str, Callable[[], object]]:
    """One training step of each ViT."""
    images = torch.randn(IMAGES, 3, 32, 32, device="cuda")
    labels = torch.randint(10, (IMAGES,), device="cuda")
    found = {}
    for name, spec in {**LAYERS, "sh": "sh(1,1,1,2,2,4)", "bn+sh": "bn+sh(1,1,1,2,2,4)"}.items():
        model = VisionTransformer(
            img_size=32, patch_size=4, embed_dim=192, depth=6, num_heads=VIT_HEADS, num_classes=10
        )
        if name != "softmax":
            pdl.convert(model, spec, verbose=False)
        found[name] = _training(model.to("cuda"), images, labels)
    return found


def _training(model: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], object]:
    optimizer = torch.optim.AdamW(model.parameters(), capturable=True)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
