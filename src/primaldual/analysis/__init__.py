"""Look inside trained attention and at its cost: maps, redundancy, margins, operations, time, memory."""

from primaldual.analysis.attention_maps import LayerMaps, capture_attention, head_distances
from primaldual.analysis.eigenvector_alignment import (
    EigenvectorAlignment,
    eigenvector_alignment,
    value_alignment,
)
from primaldual.analysis.flops import AttentionFlops, ModelFlops, layer_flops, mixing_flops, model_flops
from primaldual.analysis.head_regressions import head_regressions
from primaldual.analysis.head_report import HeadReport, LayerHeads, head_report
from primaldual.analysis.latency import Timing, interleaved_latency
from primaldual.analysis.max_margin import (
    MaxMargin,
    head_matrix,
    margin_alignment,
    max_margin_direction,
)
from primaldual.analysis.memory import peak_memory
from primaldual.analysis.rollout import attention_rollout
from primaldual.analysis.token_flow import TokenFlow, token_flow
from primaldual.analysis.uncertainty import UncertaintyScores, auroc, uncertainty_scores

__all__ = [
    "AttentionFlops",
    "EigenvectorAlignment",
    "HeadReport",
    "LayerHeads",
    "LayerMaps",
    "MaxMargin",
    "ModelFlops",
    "Timing",
    "TokenFlow",
    "UncertaintyScores",
    "attention_rollout",
    "auroc",
    "capture_attention",
    "eigenvector_alignment",
    "head_distances",
    "head_matrix",
    "head_regressions",
    "head_report",
    "interleaved_latency",
    "layer_flops",
    "margin_alignment",
    "max_margin_direction",
    "mixing_flops",
    "model_flops",
    "peak_memory",
    "token_flow",
    "uncertainty_scores",
    "value_alignment",
]
