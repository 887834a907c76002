"""State a primal, get an attention: transformers as support vector expansions, on PyTorch.

Every public name loads its module when it is first asked for, so that ``import primaldual`` alone loads nothing, not
even torch. ``__init__.pyi`` states the types.
"""

from importlib import import_module
from threading import RLock

__version__ = "0.2.0"

_NAMES = {
    "analysis": "capture_attention head_report",
    "compression.compress": "compress",
    "compression.pruning": "prune_heads",
    "compression.uptraining": "uptrain",
    "environment.doctor": "doctor",
    "estimators": "AttentionClassifier AttentionRegressor "
    "AttentionRidgeClassifier AttentionRidgeRegressor AttentionSVR",
    "integrations.conversion": "Conversion convert revert",
    "language": "LanguageModel",
    "models": "CausalAttention TimeSeriesTransformer",
    "nn.folding": "fold_batch_norm",
    "nn.kernel_eigen_pair_attention": "KernelEigenPairAttention",
    "nn.multihead": "MultiheadAttention",
    "nn.primal_attention": "PrimalAttention",
    "primal.anchored_heads": "AnchoredHeads",
    "primal.batch_normalization": "BatchNormalization",
    "primal.boosting": "Boost Scaled",
    "primal.chain": "Chain",
    "primal.clipping": "Clip",
    "primal.convolutions": "Convolution Convolution2d",
    "primal.decoding.captured": "CapturedStep",
    "primal.decoding.state": "DecodingState",
    "primal.delta": "Delta DeltaFormer",
    "primal.derive": "derive",
    "primal.differential": "Differential",
    "primal.elliptical": "Elliptical",
    "primal.feature_maps": "EluPlusOne Exponential FeatureMap TruncatedTaylor",
    "primal.forget": "Forget",
    "primal.gated_pools": "GatedPools",
    "primal.inner_products": "Cosine Dot Polynomial",
    "primal.normalizers": "Constant Normalizer Sink SumOfKernels",
    "primal.orders": "LocalLinear Order Parallax",
    "primal.pair_weights": "Alibi PairWeights",
    "primal.patterns": "MaskedKeys Window",
    "primal.pooled_heads": "PooledHeads",
    "primal.presets": "preset",
    "primal.problem": "PrimalProblem",
    "primal.random_features": "RandomFeatures",
    "primal.ridge": "Ridge",
    "primal.support_vectors": "SupportVectors",
    "primal.robust_components": "RobustComponents",
    "primal.solvers": "Solver",
    "primal.subsets": "AllKeys Subset",
    "primal.token_inputs": "TokenInput",
    "primal.top_blocks": "TopBlocks",
    "primal.transforms": "Identity Transform",
    "primal.unions": "Union",
    "primal.whitening": "Whitening",
    "primal.words": "PARTS register",
    "svr": "BalancingWeights HingeExpansion ImpliedRegression LeastSquaresExpansion SupportVectorExpansion "
    "balancing_weights implied_regression kernel_scale solve solve_path",
}
"""The public names by the module that defines them."""

_LOADING = RLock()
"""One thread loads at a time: modules that import one another would be half made for a second one."""

_HOME = {name: f"primaldual.{module}" for module, names in _NAMES.items() for name in names.split()}

__all__ = list(_HOME)
__all__ += ["integrations", "parallel"]


def __getattr__(name: str) -> object:
    """A public name or a package of the library, loaded now."""
    if name in _HOME:
        with _LOADING:
            found = globals()[name] = getattr(import_module(_HOME[name]), name)
        return found
    module = f"{__name__}.{name}"
    if not name.startswith("_"):
        try:
            with _LOADING:
                return import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
    from primaldual.errors import did_you_mean

    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{did_you_mean(name, __all__)}")


def __dir__() -> list[str]:
    return __all__
