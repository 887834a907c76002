"""One training epoch of the time series transformer with softmax against the same model on nn.TransformerEncoder.

Goal: no slower. Epochs of the two are interleaved in one process. Run:

    python -m benchmarks.bench_encoder --rounds 12
"""

import argparse
from statistics import median, quantiles

import torch
from torch import Tensor, nn

from primaldual.models import TimeSeriesTransformer
from primaldual.training import Classification, Examples, TrainingSettings, train

CASES = {
    "JapaneseVowels-sized, padded": (12, 29, 243, True),
    "JapaneseVowels-sized, full": (12, 29, 243, False),
    "Handwriting-sized": (3, 152, 135, False),
}


class TorchEncoder(nn.Module):
    """Blocks of the same sizes; no dropout on attention weights, as in ours."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.TransformerEncoderLayer(64, 4, 128, 0.1, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(block, 2, enable_nested_tensor=False)
        for layer in self.encoder.layers:
            layer.self_attn.dropout = 0.0

    def forward(self, inputs: Tensor, padding_mask: Tensor | None) -> Tensor:
        return self.encoder(inputs, src_key_padding_mask=padding_mask)


def model(channels: int, length: int, use_torch: bool) -> TimeSeriesTransformer:
    torch.manual_seed(0)
    built = TimeSeriesTransformer(channels, length, 9, head="flatten")
    if use_torch:
        built.encoder = TorchEncoder()
    return built


def epoch_seconds(built: TimeSeriesTransformer, examples: Examples) -> float:
    """Median seconds of an epoch, of three."""
    state = train(built, Classification(), TrainingSettings(epochs=3, batch_size=16), examples)
    return median(entry["seconds"] for entry in state.history)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name, (channels, length, cases, ragged) in CASES.items():
        series = torch.randn(cases, length, channels)
        padding = torch.arange(length) >= torch.randint(7, length + 1, (cases, 1)) if ragged else None
        examples = Examples(series, padding, torch.randint(0, 9, (cases,)), torch.ones(cases))
        found = []
        for _ in range(arguments.rounds):
            ours, theirs = (epoch_seconds(model(channels, length, flag), examples) for flag in (False, True))
            found.append(ours / theirs)
        low, _, high = quantiles(found, n=4)
        print(f"{name:30} epoch, ours / nn.TransformerEncoder: {median(found):.3f} ({low:.3f} - {high:.3f})")


if __name__ == "__main__":
    main()
