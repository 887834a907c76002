"""The public names, and that each is documented; a change here is a change for users."""

import inspect

import primaldual

NAMES = {
    "Alibi", "PairWeights",
    "AllKeys", "AnchoredHeads", "AttentionClassifier", "AttentionRegressor", "AttentionRidgeClassifier",
    "AttentionRidgeRegressor", "AttentionSVR", "BatchNormalization", "Boost", "CapturedStep", "Chain", "Clip",
    "Constant", "Convolution", "Convolution2d", "DecodingState", "Elliptical", "EluPlusOne", "Exponential", "FeatureMap",
    "Forget", "GatedPools", "Identity", "LocalLinear", "Order", "Parallax",
    "MaskedKeys", "MultiheadAttention", "Normalizer", "PARTS", "Polynomial",
    "PooledHeads", "PrimalProblem", "RandomFeatures",
    "Cosine", "Delta", "DeltaFormer", "Dot", "Ridge", "Scaled", "Sink", "Solver", "Subset", "SumOfKernels",
    "TimeSeriesTransformer", "TokenInput", "TopBlocks", "Transform",
    "TruncatedTaylor", "Union", "Whitening", "Window",
    "derive", "preset", "fold_batch_norm",
    "Conversion", "capture_attention", "compress", "convert", "head_report", "integrations",
    "prune_heads", "register", "revert", "uptrain",
    "ImpliedRegression", "LeastSquaresExpansion", "SupportVectorExpansion", "implied_regression",
    "kernel_scale", "solve", "solve_path",
}  # fmt: skip


def test_names():
    assert set(primaldual.__all__) == NAMES
    assert set(dir(primaldual)) >= NAMES


def test_everything_named_exists_and_is_documented():
    for name in primaldual.__all__:
        thing = getattr(primaldual, name)
        assert name == "PARTS" or inspect.getdoc(thing), name


def test_the_promised_signatures():
    assert list(inspect.signature(primaldual.PrimalProblem.attend).parameters) == [
        "self", "query", "key", "value", "mask", "is_causal", "dropout_p", "inputs",
    ]  # fmt: skip
    layer = list(inspect.signature(primaldual.MultiheadAttention).parameters)
    assert layer[:11] == [
        "embed_dim", "num_heads", "dropout", "bias", "add_bias_kv", "add_zero_attn", "kdim", "vdim",
        "batch_first", "device", "dtype",
    ]  # fmt: skip
