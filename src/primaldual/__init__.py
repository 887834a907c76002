"""State a primal, get an attention: transformers as support vector expansions, on PyTorch."""

from importlib import import_module
from typing import TYPE_CHECKING

from primaldual.nn.folding import fold_batch_norm
from primaldual.nn.multihead import MultiheadAttention
from primaldual.primal.anchored_heads import AnchoredHeads
from primaldual.primal.batch_normalization import BatchNormalization
from primaldual.primal.boosting import Boost, Scaled
from primaldual.primal.chain import Chain
from primaldual.primal.clipping import Clip
from primaldual.primal.convolutions import Convolution, Convolution2d
from primaldual.primal.decoding.captured import CapturedStep
from primaldual.primal.decoding.state import DecodingState
from primaldual.primal.delta import Delta, DeltaFormer
from primaldual.primal.derive import derive
from primaldual.primal.elliptical import Elliptical
from primaldual.primal.feature_maps import EluPlusOne, Exponential, FeatureMap, TruncatedTaylor
from primaldual.primal.forget import Forget
from primaldual.primal.gated_pools import GatedPools
from primaldual.primal.inner_products import Cosine, Dot, Polynomial
from primaldual.primal.normalizers import Constant, Normalizer, Sink, SumOfKernels
from primaldual.primal.orders import LocalLinear, Order, Parallax
from primaldual.primal.pair_weights import Alibi, PairWeights
from primaldual.primal.patterns import MaskedKeys, Window
from primaldual.primal.pooled_heads import PooledHeads
from primaldual.primal.presets import preset
from primaldual.primal.problem import PrimalProblem
from primaldual.primal.random_features import RandomFeatures
from primaldual.primal.ridge import Ridge
from primaldual.primal.solvers import Solver
from primaldual.primal.subsets import AllKeys, Subset
from primaldual.primal.token_inputs import TokenInput
from primaldual.primal.top_blocks import TopBlocks
from primaldual.primal.transforms import Identity, Transform
from primaldual.primal.unions import Union
from primaldual.primal.whitening import Whitening
from primaldual.primal.words import PARTS, register
from primaldual.svr import (
    ImpliedRegression,
    LeastSquaresExpansion,
    SupportVectorExpansion,
    implied_regression,
    kernel_scale,
    solve,
    solve_path,
)

if TYPE_CHECKING:
    from primaldual import integrations
    from primaldual.analysis import capture_attention, head_report
    from primaldual.compression.compress import compress
    from primaldual.compression.pruning import prune_heads
    from primaldual.compression.uptraining import uptrain
    from primaldual.estimators import (
        AttentionClassifier,
        AttentionRegressor,
        AttentionRidgeClassifier,
        AttentionRidgeRegressor,
        AttentionSVR,
    )
    from primaldual.integrations.conversion import Conversion, convert, revert
    from primaldual.models import TimeSeriesTransformer

__version__ = "0.1.0"

_LAZY = {
    "AttentionClassifier": "primaldual.estimators",
    "AttentionRegressor": "primaldual.estimators",
    "AttentionRidgeClassifier": "primaldual.estimators",
    "AttentionRidgeRegressor": "primaldual.estimators",
    "AttentionSVR": "primaldual.estimators",
    "Conversion": "primaldual.integrations.conversion",
    "TimeSeriesTransformer": "primaldual.models",
    "capture_attention": "primaldual.analysis",
    "compress": "primaldual.compression.compress",
    "convert": "primaldual.integrations.conversion",
    "head_report": "primaldual.analysis",
    "prune_heads": "primaldual.compression.pruning",
    "revert": "primaldual.integrations.conversion",
    "uptrain": "primaldual.compression.uptraining",
}

__all__ = [
    "PARTS",
    "Alibi",
    "AllKeys",
    "AnchoredHeads",
    "AttentionClassifier",
    "AttentionRegressor",
    "AttentionRidgeClassifier",
    "AttentionRidgeRegressor",
    "AttentionSVR",
    "BatchNormalization",
    "Boost",
    "CapturedStep",
    "Chain",
    "Clip",
    "Constant",
    "Conversion",
    "Convolution",
    "Convolution2d",
    "Cosine",
    "DecodingState",
    "Delta",
    "DeltaFormer",
    "Dot",
    "Elliptical",
    "EluPlusOne",
    "Exponential",
    "FeatureMap",
    "Forget",
    "GatedPools",
    "Identity",
    "ImpliedRegression",
    "LeastSquaresExpansion",
    "LocalLinear",
    "MaskedKeys",
    "MultiheadAttention",
    "Normalizer",
    "Order",
    "PairWeights",
    "Parallax",
    "Polynomial",
    "PooledHeads",
    "PrimalProblem",
    "RandomFeatures",
    "Ridge",
    "Scaled",
    "Sink",
    "Solver",
    "Subset",
    "SumOfKernels",
    "SupportVectorExpansion",
    "TimeSeriesTransformer",
    "TokenInput",
    "TopBlocks",
    "Transform",
    "TruncatedTaylor",
    "Union",
    "Whitening",
    "Window",
    "capture_attention",
    "compress",
    "convert",
    "derive",
    "fold_batch_norm",
    "head_report",
    "implied_regression",
    "integrations",
    "kernel_scale",
    "preset",
    "prune_heads",
    "register",
    "revert",
    "solve",
    "solve_path",
    "uptrain",
]


def __getattr__(name: str) -> object:
    """Load what serves whole models, and may need scikit-learn or aeon, only when it is asked for."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name == "integrations":
        return import_module("primaldual.integrations")
    raise AttributeError(f"module 'primaldual' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
