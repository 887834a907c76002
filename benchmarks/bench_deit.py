"""DeiT-tiny with other attentions in it: forward time beside timm's own, and floating-point operations.

Interleaved ratios in one process, median and quartiles; operations are counted from the sizes and checked against
what PyTorch counts. Heads are scaled over the 14 x 14 patches, the class token stays by itself. Run:

    python -m benchmarks.bench_deit
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import timm
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.performance.timing import Budget, Spread, interleaved, ratio
from primaldual.analysis.flops import mixing_flops
from primaldual.integrations.conversion import convert
from primaldual.integrations.timm_attention import PrimalDualAttention
from primaldual.primal.problem import PrimalProblem

MODEL = "deit_tiny_patch16_224"
SPECS = ("softmax", "bn", "sh(1,2,4)", "bn+sh(1,2,4)")
RESULTS = Path(__file__).parent / "results" / "deit.json"


@dataclass(frozen=True)
class Flops:
    """Of one image: scores and weighted sums; these and all projections of attention; the whole model."""

    mixing: int
    attention: int
    model: int


def build(spec: str | None, side: int) -> nn.Module:
    """The model with random weights, timm's own for None."""
    torch.manual_seed(0)
    model = timm.create_model(MODEL, pretrained=False, img_size=side).eval()
    if spec is not None:
        convert(model, spec, verbose=False)
    return model


def flops(model: nn.Module) -> Flops:
    """Operations of a model that was converted (of timm's own: those of "softmax"), as the fast forms have them."""
    patches = model.patch_embed.num_patches
    length = model.num_prefix_tokens + patches
    mixing = projections = 0
    inside = set()
    for layer in model.modules():
        if isinstance(layer, PrimalDualAttention):
            inside |= {id(module) for module in layer.modules()}
            assert isinstance(layer.problem, PrimalProblem)
            mixing += mixing_flops(layer.problem, layer.num_heads, layer.head_dim, length)
            pairs = sum(
                heads.pairs(length) * len(heads.members)
                for heads in layer.problem.subset.head_sets(layer.num_heads)
            )
            rows = (
                2 * (layer.num_heads * length + pairs) * layer.head_dim
            )  # queries and output, keys and values
            projections += 2 * rows * layer.qkv.in_features
    rest = 2 * patches * model.patch_embed.proj.weight.numel()
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and id(module) not in inside:
            rest += 2 * (1 if name == "head" else length) * module.weight.numel()
    return Flops(mixing, mixing + projections, mixing + projections + rest)


def counted(model: nn.Module, image: Tensor) -> int:
    """What PyTorch counts; only the MATH backend shows its products on the CPU."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(image)
    return counter.get_total_flops()


def forward(model: nn.Module, batch: Tensor) -> Callable[[], object]:
    return lambda: model(batch)


def shown(spread: Spread) -> str:
    return f"{spread.median:.3f} ({spread.lower:.3f}–{spread.upper:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8, help="images at once")
    parser.add_argument("--side", type=int, default=224, help="of an image, in pixels")
    parser.add_argument("--seconds", type=float, default=120.0, help="for all timings together")
    parser.add_argument("--most", type=int, default=101, help="rounds at which to end")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON file to write")
    given = parser.parse_args()
    torch.manual_seed(0)
    images = torch.randn(given.batch, 3, given.side, given.side)
    models = {spec: build(spec, given.side) for spec in SPECS}
    operations = {spec: flops(model) for spec, model in models.items()}
    with torch.no_grad():
        for spec, model in models.items():
            found = counted(model, images[:1])
            if found != operations[spec].model:
                raise SystemExit(f"{spec}: {operations[spec].model} operations by size, {found} by PyTorch")
        tasks = {"timm": forward(build(None, given.side), images)}
        tasks |= {spec: forward(model, images) for spec, model in models.items()}
        seconds = interleaved(tasks, Budget(given.seconds, least=5, most=given.most))
    operations["timm"] = operations["softmax"]
    rows = {
        name: {
            "seconds": asdict(Spread.of(times)),
            "ratio": asdict(ratio(times, seconds["timm"])),
            "flops": asdict(operations[name]),
        }
        for name, times in seconds.items()
    }
    print(
        f"{MODEL}, {given.batch} images of {given.side} x {given.side}, {torch.get_num_threads()} threads\n"
    )
    print("| attention | forward, ms | time / timm | mixing | attention | model, MFLOP | model / timm |")
    print("|---|---|---|---|---|---|---|")
    for name, times in seconds.items():
        count, base = operations[name], operations["timm"].model
        print(
            f"| {name} | {1000 * Spread.of(times).median:.1f} | {shown(ratio(times, seconds['timm']))} | "
            f"{count.mixing / 1e6:.0f} | {count.attention / 1e6:.0f} | {count.model / 1e6:.0f} | "
            f"{count.model / base:.3f} |"
        )
    setting = {
        "model": MODEL,
        "batch": given.batch,
        "side": given.side,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "timm": timm.__version__,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps({"setting": setting, "attentions": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
