"""Ridge regression as a solver, against scikit-learn's KernelRidge and loops over tokens."""

import pytest
import torch
from sklearn.kernel_ridge import KernelRidge
from torch.testing import assert_close

import primaldual as pdl
from primaldual import PrimalProblem, Ridge, Sink, preset
from primaldual.errors import ArgumentError, SpecError, UnsupportedError
from primaldual.kernels.masks import causal_mask

HEADS, LENGTH, WIDTH = 2, 9, 5
KERNELS = {
    "softmax": lambda x, y: (x @ y.mT / WIDTH**0.5).exp(),
    "dot": lambda x, y: x @ y.mT,
    "taylor(2)": lambda x, y: 1 + x @ y.mT / WIDTH**0.5 + (x @ y.mT) ** 2 / (2 * WIDTH),
}


def tensors(query_length=LENGTH, kv_heads=HEADS, length=LENGTH):
    generator = torch.Generator().manual_seed(0)
    shapes = [(HEADS, query_length), (kv_heads, length), (kv_heads, length)]
    return [torch.randn(2, *shape, WIDTH, generator=generator).double() for shape in shapes]


def by_scikit_learn(kernel, query, key, value, allowed, penalty, weights=None):
    """Queries one by one, each with a regression on the keys that it may attend."""
    out = torch.zeros(*query.shape[:3], value.shape[3]).double()
    allowed = allowed.expand(*query.shape[:3], key.shape[2])
    for b, h, i in torch.cartesian_prod(*map(torch.arange, query.shape[:3])).tolist():
        pair, keys = (b, h * key.shape[1] // HEADS), allowed[b, h, i].nonzero().flatten()
        if not len(keys):
            continue
        seen, model = key[*pair, keys], KernelRidge(alpha=penalty, kernel="precomputed")
        counts = None if weights is None else weights[b, h, i, keys].numpy()
        model.fit(kernel(seen, seen).numpy(), value[*pair, keys].numpy(), sample_weight=counts)
        found = model.predict(kernel(query[b, h, i : i + 1], seen).numpy())
        out[b, h, i] = torch.from_numpy(found)[0]
    return out


@pytest.mark.parametrize("word", KERNELS)
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("query_length", "kv_heads"), [(LENGTH, HEADS), (4, 1)])
def test_it_equals_scikit_learn(word, is_causal, query_length, kv_heads):
    inputs = tensors(query_length, kv_heads)
    allowed = torch.ones(query_length, LENGTH).bool()
    if is_causal:
        allowed = causal_mask(query_length, LENGTH)
    wanted = by_scikit_learn(KERNELS[word], *inputs, allowed, 0.3)
    problem = preset(f"{word}+constant+ridge(0.3)")
    for form in (problem.attend, problem.dense):
        assert_close(form(*inputs, is_causal=is_causal), wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("is_causal", [False, True])
def test_masks_and_windows_make_training_sets(is_causal):
    query, key, value = tensors()
    padding = torch.tensor([[1] * 9, [0, 1, 1, 0, 1, 1, 1, 0, 0]]).bool()[:, None, None]
    pairs = torch.rand(2, HEADS, LENGTH, LENGTH, generator=torch.Generator().manual_seed(1)) > 0.4
    near = (torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)).abs() <= 2
    causal = causal_mask(LENGTH, LENGTH) if is_causal else torch.ones(1, 1).bool()
    for spec, mask, allowed in (
        ("ridge(0.3)", padding, padding),
        ("ridge(0.3)", pairs, pairs),
        ("ridge(0.3)+window(2)", None, near),
    ):
        wanted = by_scikit_learn(KERNELS["softmax"], query, key, value, allowed & causal, 0.3)
        found = preset(spec).attend(query, key, value, mask, is_causal)
        assert_close(found, wanted, rtol=1e-10, atol=1e-11)


def test_pair_weights_are_weights_of_the_errors():
    query, key, value = tensors()
    distance = (torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)).abs()
    slopes = torch.tensor([0.5, 0.1], dtype=torch.float64)[:, None, None]
    weights = (-slopes * distance).exp().expand(2, -1, -1, -1)
    allowed = causal_mask(LENGTH, LENGTH)
    wanted = by_scikit_learn(KERNELS["dot"], query, key, value, allowed, 0.3, weights)
    found = preset("dot+ridge(0.3)+alibi(0.5,0.1)").attend(query, key, value, is_causal=True)
    assert_close(found, wanted, rtol=1e-10, atol=1e-11)


def test_mesanet_by_a_loop_over_tokens():
    query, key, value = tensors(query_length=150, length=150)
    moments = 0.2 * torch.eye(WIDTH).double().expand(2, HEADS, -1, -1).clone()
    sums, rows = torch.zeros(2, HEADS, WIDTH, WIDTH).double(), []
    for t in range(150):
        moments += key[:, :, t, :, None] * key[:, :, t, None]
        sums += value[:, :, t, :, None] * key[:, :, t, None]
        rows.append((sums @ torch.linalg.solve(moments, query[:, :, t]).unsqueeze(-1)).squeeze(-1))
    problem = preset("mesanet(0.2)")
    assert problem.spec() == "dot+constant+ridge(0.2)"
    assert_close(problem.attend(query, key, value, is_causal=True), torch.stack(rows, 2))
    assert problem.explain((2, HEADS, 150, WIDTH), is_causal=True).forms == ["factored ridge"]


def test_limits_of_the_penalty():
    query, key, value = tensors()
    amortized = preset("dot+constant").attend(query, key, value, is_causal=True)
    heavy = preset("dot+ridge(1e5)").attend(query, key, value, is_causal=True)
    assert_close(1e5 * heavy, amortized, rtol=1e-3, atol=1e-3)
    assert_close(preset("ridge(0)").attend(key, key, value), value)


@pytest.mark.parametrize("spec", ["dot+ridge(0.3)", "linear+ridge(1)+bn", "taylor(2)+ridge(1)"])
def test_features_and_kernel_agree_with_gradients(spec):
    inputs = [tensor.requires_grad_() for tensor in tensors(length=70, query_length=70)]
    problem = preset(spec)
    mask = torch.arange(70) > 3
    found, wanted = problem.attend(*inputs, mask), problem.dense(*inputs, mask)
    assert_close(found, wanted)
    seed = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1)).double()
    for one, other in zip(*(torch.autograd.grad(out, inputs, seed) for out in (found, wanted)), strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("spec", ["dot+ridge(1)", "linear+ridge(1)"])
@pytest.mark.parametrize("length", [1, 3])
def test_few_large_keys_lose_no_digits(spec, length):
    """The second moments of the features, with entries near 1e6 beside a penalty of 1, would lose six of them."""
    query, key, value = tensors(query_length=5, length=length)
    inputs = [tensor.requires_grad_() for tensor in (1e3 * query, 1e3 * key, value)]
    problem = preset(spec)
    found, wanted = problem.attend(*inputs), problem.dense(*inputs)
    assert_close(found, wanted, rtol=1e-13, atol=1e-13)
    seed = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1)).double()
    gradients = [torch.autograd.grad(out, inputs, seed) for out in (found, wanted)]
    for one, other in zip(*gradients, strict=True):
        assert_close(one, other, rtol=1e-11, atol=1e-13 * float(other.detach().abs().max()))


def test_a_state_of_fixed_size():
    query, key, value = tensors(kv_heads=1)
    problem = preset("dot+ridge(0.3)")
    state = problem.init_state(2, HEADS, WIDTH, kv_heads=1, dtype=torch.float64)
    size = state.nbytes
    rows = [problem.step(state, *(x[:, :, t : t + 1] for x in (query, key, value))) for t in range(LENGTH)]
    assert_close(torch.cat(rows, 2), problem.attend(query, key, value, is_causal=True))
    assert state.nbytes == size == 2 * (WIDTH**2 + WIDTH**2) * 8


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ridge(-1)", r"penalty must be a number from 0 to 1e\+06; got -1"),
        ("ridge(x)", "penalty must be a number"),
        ("mesanet(1,2)", "too many positional arguments"),
    ],
)
def test_bad_penalties(spec, message):
    with pytest.raises(SpecError, match=message):
        preset(spec)


def test_what_cannot_be_solved_says_so_with_a_number():
    query, key, value = tensors()
    same = key[:, :, :1].expand_as(key)
    for form in ("attend", "dense"):
        for is_causal in (False, True):
            with pytest.raises(
                ArgumentError, match=r"plus 0 times the identity must be positive definite .* eigenvalue is"
            ):
                getattr(preset("ridge(0)"), form)(query, same, value, is_causal=is_causal)
        with pytest.raises(ArgumentError, match=r"must be finite in torch.float32; got 81 numbers"):
            getattr(preset("ridge(1)"), form)(query.float(), 100 * same.float(), value.float())
    with pytest.raises(
        UnsupportedError, match=r"ridge\(1\) fits the kernel itself, with h = 1; got the normaliser sink\(0\)"
    ):
        PrimalProblem(normalizer=Sink(), solver=Ridge())


def test_the_normaliser_of_a_solver_that_fits_the_kernel_is_1():
    assert preset("linear+ridge(2)").spec() == "linear+constant+ridge(2)"
    assert PrimalProblem(solver=Ridge(2)).spec() == "constant+ridge(2)"


def test_equation():
    text = preset("mesanet").equation()
    assert "min over W, b of  ½ Σ_j ‖v_j − f(k_j)‖² + 1 / 2 ‖W‖²" in text
    assert "c = (K + 1 I)⁻¹ v" in text
    assert r"\|W\|_F^2" in preset("mesanet").equation("latex")


def test_a_layer_in_float32_and_under_autocast():
    torch.manual_seed(0)
    layer = pdl.MultiheadAttention(16, 4, attention="linear+ridge(1)", batch_first=True)
    tokens = torch.randn(2, 70, 16)
    plain = layer(tokens, tokens, tokens, need_weights=False, is_causal=True)[0]
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(tokens, tokens, tokens, need_weights=False, is_causal=True)[0]
    assert (low - plain).abs().max() < 0.1 * plain.abs().max()
