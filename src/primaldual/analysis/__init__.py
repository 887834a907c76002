"""Looking inside trained attention and at what it costs: maps, redundancy, operations, time, memory."""

from primaldual.analysis.attention_maps import LayerMaps, capture_attention, head_distances
from primaldual.analysis.flops import AttentionFlops, ModelFlops, layer_flops, mixing_flops, model_flops
from primaldual.analysis.latency import Timing, interleaved_latency
from primaldual.analysis.memory import peak_memory

__all__ = [
    "AttentionFlops",
    "LayerMaps",
    "ModelFlops",
    "Timing",
    "capture_attention",
    "head_distances",
    "interleaved_latency",
    "layer_flops",
    "mixing_flops",
    "model_flops",
    "peak_memory",
]
