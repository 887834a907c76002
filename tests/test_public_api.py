"""The public names, and that each is documented; a change here is a change for users."""

import ast
import inspect
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import primaldual

NAMES = {
    "Alibi", "PairWeights",
    "AllKeys", "AnchoredHeads", "AttentionClassifier", "AttentionRegressor", "AttentionRidgeClassifier",
    "AttentionRidgeRegressor", "AttentionSVR", "BatchNormalization", "Boost", "CapturedStep", "Chain", "Clip",
    "Constant", "Convolution", "Convolution2d", "DecodingState", "Elliptical", "EluPlusOne", "Exponential", "FeatureMap",
    "Forget", "GatedPools", "Identity", "LocalLinear", "Order", "Parallax",
    "MaskedKeys", "MultiheadAttention", "Normalizer", "PARTS", "Polynomial",
    "KernelEigenPairAttention", "PrimalAttention",
    "PooledHeads", "PrimalProblem", "RandomFeatures",
    "Cosine", "Delta", "DeltaFormer", "Differential", "Dot", "Ridge", "RobustComponents", "SupportVectors",
    "Scaled", "Sink", "Solver", "Subset", "SumOfKernels",
    "TimeSeriesTransformer", "TokenInput", "TopBlocks", "Transform",
    "TruncatedTaylor", "Union", "Whitening", "Window",
    "derive", "preset", "fold_batch_norm",
    "Conversion", "capture_attention", "compress", "convert", "doctor", "head_report", "integrations",
    "prune_heads", "register", "revert", "uptrain",
    "BalancingWeights", "CausalAttention", "balancing_weights",
    "HingeExpansion", "ImpliedRegression", "LeastSquaresExpansion", "SupportVectorExpansion", "implied_regression",
    "kernel_scale", "solve", "solve_path",
    "LanguageModel", "parallel",
}  # fmt: skip


def test_names():
    assert set(primaldual.__all__) == NAMES
    assert set(dir(primaldual)) >= NAMES


def test_the_stub_names_what_loads_and_from_where():
    stub = Path(primaldual.__file__).with_suffix(".pyi")
    stated = {
        alias.asname: node.module
        for node in ast.walk(ast.parse(stub.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(stated) == NAMES
    loaded = {name: module for name, module in stated.items() if name not in ("integrations", "parallel")}
    assert loaded == primaldual._HOME


def test_packages_of_the_library_are_attributes_and_other_names_are_none():
    assert primaldual.svr.__name__ == "primaldual.svr"
    assert not hasattr(primaldual, "no_such_name")
    assert not hasattr(primaldual, "__wrapped__")


def test_a_mistyped_name_is_told_the_nearest():
    with pytest.raises(
        AttributeError, match=r"has no attribute 'MultiheadAttenton'; did you mean MultiheadAttention\?"
    ):
        primaldual.MultiheadAttenton  # noqa: B018


def test_everything_named_exists_and_is_documented():
    for name in primaldual.__all__:
        thing = getattr(primaldual, name)
        assert name == "PARTS" or inspect.getdoc(thing), name


def test_every_class_and_function_has_an_example():
    things = {name: getattr(primaldual, name) for name in primaldual.__all__}
    used = {
        name: thing for name, thing in things.items() if inspect.isclass(thing) or inspect.isfunction(thing)
    }
    assert [name for name, thing in used.items() if ">>>" not in (thing.__doc__ or "")] == []


def test_the_promised_signatures():
    assert list(inspect.signature(primaldual.PrimalProblem.attend).parameters) == [
        "self", "query", "key", "value", "mask", "is_causal", "dropout_p", "inputs",
    ]  # fmt: skip
    layer = list(inspect.signature(primaldual.MultiheadAttention).parameters)
    assert layer[:11] == [
        "embed_dim", "num_heads", "dropout", "bias", "add_bias_kv", "add_zero_attn", "kdim", "vdim",
        "batch_first", "device", "dtype",
    ]  # fmt: skip


def test_threads_load_one_after_the_other(monkeypatch):
    """Two at a time find modules that the other has half made, of torch too."""
    loading, most = [], []

    def slow(module):
        loading.append(module)
        most.append(len(loading))
        time.sleep(0.01)
        loading.remove(module)

    monkeypatch.setattr(primaldual, "import_module", slow)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(primaldual.__getattr__, ["svr", "nn", "models", "language"]))
    assert most == [1, 1, 1, 1]
