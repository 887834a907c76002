"""Looking inside trained attention and at what it costs: maps, redundancy, operations, time, memory."""

from primaldual.analysis.attention_maps import LayerMaps, capture_attention, head_distances
from primaldual.analysis.latency import Timing, interleaved_latency
from primaldual.analysis.memory import peak_memory

__all__ = [
    "LayerMaps",
    "Timing",
    "capture_attention",
    "head_distances",
    "interleaved_latency",
    "peak_memory",
]
