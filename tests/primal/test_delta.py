"""Delta rules against loops over tokens."""

import pytest
import torch
from torch.nn.functional import logsigmoid, normalize
from torch.testing import assert_close

import primaldual as pdl
from primaldual import Delta, DeltaFormer, PrimalProblem, preset
from primaldual.errors import ArgumentError, ShapeError, SpecError, UnsupportedError
from primaldual.kernels.masks import causal_mask

HEADS, LENGTH, WIDTH = 4, 9, 6


def tensors(query_length=LENGTH, kv_heads=HEADS, length=LENGTH):
    generator = torch.Generator().manual_seed(0)
    shapes = [(HEADS, query_length), (kv_heads, length), (kv_heads, length)]
    drawn = [torch.randn(2, *shape, WIDTH, generator=generator).double() for shape in shapes]
    rates = 2 * torch.randn(2, HEADS, length, generator=generator).double().sigmoid()
    gates = logsigmoid(torch.randn(2, HEADS, length, generator=generator)).double()
    return [x.requires_grad_() for x in (*drawn, rates, gates)]


def repeated(tensor):
    return tensor.repeat_interleave(HEADS // tensor.shape[1], 1)


def delta_net(query, key, value, rates, gates=None, allowed=None):
    """W_t = f_t W + beta_t (v_t - f_t W k_t) k_t', keys that are hidden left out; f of hidden keys is 1."""
    query, key, value = normalize(query, dim=-1), normalize(repeated(key), dim=-1), repeated(value)
    weights, out = value.new_zeros(2, HEADS, WIDTH, WIDTH), []
    for t in range(key.shape[2]):
        seen = (
            torch.ones(2, 1, 1, 1).double() if allowed is None else allowed[:, None, None, t, None].double()
        )
        if gates is not None:
            weights = weights * torch.where(seen > 0, gates[:, :, t, None, None], 0.0).exp()
        error = value[:, :, t] - (weights @ key[:, :, t, :, None])[..., 0]
        weights = weights + seen * rates[:, :, t, None, None] * error[..., None] * key[:, :, t, None]
        if (place := t - (key.shape[2] - query.shape[2])) >= 0:
            out.append((weights @ query[:, :, place, :, None])[..., 0])
    return torch.stack(out, 2)


def assert_same(found, wanted, leaves):
    assert_close(found, wanted, rtol=1e-9, atol=1e-10)
    seed = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1)).double()
    grads = (torch.autograd.grad(out, leaves, seed, retain_graph=True) for out in (found, wanted))
    for one, other in zip(*grads, strict=True):
        assert_close(one, other, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(("query_length", "kv_heads"), [(LENGTH, HEADS), (4, 2), (1, 1)])
@pytest.mark.parametrize("padded", [False, True])
def test_delta_net_by_a_loop(query_length, kv_heads, padded, gated):
    query, key, value, rates, gates = tensors(query_length, kv_heads)
    allowed = torch.tensor([[1] * 9, [0, 1, 1, 0, 1, 1, 1, 0, 0]]).bool() if padded else None
    problem = preset("gated_deltanet" if gated else "deltanet")
    inputs = {"beta": rates} | ({"log_gate": gates} if gated else {})
    leaves = [query, key, value, rates, *([gates] if gated else [])]
    wanted = delta_net(query, key, value, rates, gates if gated else None, allowed)
    mask = None if allowed is None else allowed[:, None, None]
    for form in (problem.attend, problem.dense):
        assert_same(form(query, key, value, mask, True, inputs=inputs), wanted, leaves)
    assert problem.explain(query.shape, key.shape, is_causal=True).forms == ["chunked delta"]


def test_any_kernel_by_a_loop():
    query, key, value, rates, _ = tensors()
    coefficients = []
    for t in range(LENGTH):
        kernel = (key[:, :, t : t + 1] @ key[:, :, :t].mT / WIDTH**0.5 - 4).exp()
        fit = kernel @ torch.stack(coefficients, 2) if t else torch.zeros(2, HEADS, 1, WIDTH).double()
        coefficients.append(rates[:, :, t, None] * (value[:, :, t] - fit[:, :, 0]))
    kernel = (query @ key.mT / WIDTH**0.5 - 4).exp() * causal_mask(LENGTH, LENGTH)
    wanted = kernel @ torch.stack(coefficients, 2)

    class Shifted(pdl.Exponential):
        """exp(x . y / sqrt(D) - 4)."""

        name = "shifted"

        def log_kernel(self, query, key):
            return super().log_kernel(query, key) - 4

        def kernel(self, query, key):
            return self.log_kernel(query, key).exp()

    problem = PrimalProblem(Shifted(), solver=Delta())
    found = problem.attend(query, key, value, is_causal=True, inputs={"beta": rates})
    assert_same(found, wanted, [query, key, value, rates])


@pytest.mark.parametrize("residual", ["queries", "keys"])
def test_deltaformer_by_a_loop(residual):
    query, key, value, rates, _ = tensors()
    rows, targets = query if residual == "queries" else key, [value[:, :, 0]]
    for t in range(1, LENGTH):
        scores = rows[:, :, t : t + 1] @ key[:, :, :t].mT / WIDTH**0.5
        fit = scores.softmax(-1) @ torch.stack(targets, 2)
        targets.append(value[:, :, t] - rates[:, :, t, None] * fit[:, :, 0])
    scores = (query @ key.mT / WIDTH**0.5).masked_fill(~causal_mask(LENGTH, LENGTH), -torch.inf)
    wanted = scores.softmax(-1) @ torch.stack(targets, 2)
    problem = PrimalProblem(solver=DeltaFormer(residual=residual))
    for form in (problem.attend, problem.dense):
        found = form(query, key, value, is_causal=True, inputs={"beta": rates})
        assert_same(found, wanted, [query, key, value, rates])


def test_orthonormal_keys_make_it_linear_attention():
    value = torch.randn(1, 1, 6, 3).double()
    query, key = torch.randn(1, 1, 6, 6).double(), torch.eye(6).double().view(1, 1, 6, 6)
    found = preset("dot+delta(1)").attend(query, key, value, is_causal=True)
    assert_close(found, preset("dot+constant").attend(query, key, value, is_causal=True))


def test_steps_of_1_reproduce_the_last_value():
    """W_t k_t = v_t where |k_t| = 1 and beta_t = 1."""
    _, key, value, _, _ = tensors()
    assert_close(preset("deltanet(1)").attend(key, key, value, is_causal=True), value)


def test_small_steps_are_linear_attention():
    query, key, value, _, _ = tensors()
    found = preset("deltanet(1e-6)").attend(query, key, value, is_causal=True)
    linear = preset("cosine+constant").attend(query, key, value, is_causal=True)
    assert_close(1e6 * found, linear, rtol=1e-4, atol=1e-4)


def test_given_steps_take_the_place_of_the_rate():
    query, key, value, rates, _ = (x.detach() for x in tensors())
    problem = preset("deltanet(0.5)")
    plain = problem.attend(query, key, value, is_causal=True)
    same = problem.attend(query, key, value, is_causal=True, inputs={"beta": torch.full_like(rates, 0.5)})
    assert_close(same, plain, rtol=0, atol=0)
    assert_close(problem.neutral_inputs(query, key, value)["beta"], torch.full_like(rates, 0.5))
    assert not torch.allclose(
        problem.attend(query, key, value, is_causal=True, inputs={"beta": rates}), plain
    )


@pytest.mark.parametrize(
    "spec", ["deltanet(0.7)", "gated_deltanet", "deltaformer", "deltaformer(residual=keys)"]
)
@pytest.mark.parametrize("pieces", [[1] * 9, [3, 1, 5], [9]])
def test_decoding(spec, pieces):
    query, key, value, rates, gates = (x.detach() for x in tensors(kv_heads=2))
    problem = preset(spec)
    inputs = {"beta": rates} | ({"log_gate": gates} if "gated" in spec else {})
    state = problem.init_state(2, HEADS, WIDTH, kv_heads=2, dtype=torch.float64)
    cuts = zip(*(x.split(pieces, 2) for x in (query, key, value)), strict=True)
    own = [
        dict(zip(inputs, cut, strict=True))
        for cut in zip(*(x.split(pieces, 2) for x in inputs.values()), strict=True)
    ]
    found = [problem.step(state, *cut, inputs=given) for cut, given in zip(cuts, own, strict=True)]
    wanted = problem.attend(query, key, value, is_causal=True, inputs=inputs)
    assert_close(torch.cat(found, 2), wanted)
    if spec == "deltanet(0.7)":
        assert state.nbytes == 2 * HEADS * WIDTH * WIDTH * 8


def test_a_layer_learns_steps_from_its_tokens():
    torch.manual_seed(0)
    layer = pdl.MultiheadAttention(12, 4, attention="deltanet(0.5)", batch_first=True)
    tokens = torch.randn(2, 7, 12)
    out = layer(tokens, tokens, tokens, need_weights=False, is_causal=True)[0]
    query, key, value = (
        proj(tokens).unflatten(-1, (4, 3)).transpose(1, 2)
        for proj in (layer.q_proj, layer.k_proj, layer.v_proj)
    )
    plain = layer.problem.attend(query, key, value, is_causal=True)
    assert_close(out, layer.out_proj(plain.transpose(1, 2).flatten(2)))
    out.sum().backward()
    assert layer.input_proj.beta.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("spec", ["deltanet", "deltaformer"])
def test_an_order_in_time(spec):
    query, key, value, _, _ = tensors()
    for form in ("attend", "dense"):
        with pytest.raises(
            UnsupportedError, match=r"reads the keys in order.*accepted is is_causal=True; got 9 queries"
        ):
            getattr(preset(spec), form)(query, key, value)
    for parts, named in (("sh(1,1,2,2)", r"sh\(1,1,2,2\)"), ("window(1)|sh(2)", r"window\(1\)\|sh\(2\)")):
        with pytest.raises(
            UnsupportedError, match=f"reads tokens one after the other; {named} has pools, unions"
        ):
            preset(f"{spec}+{parts}")
    with pytest.raises(UnsupportedError, match=r"conv2d.* or a grid"):
        preset(f"{spec}+conv2d(3,grid=3x3)")


def test_one_query_reads_everything():
    query, key, value, _, _ = tensors()
    whole = preset("deltanet").attend(query, key, value, is_causal=True)
    assert_close(preset("deltanet").attend(query[:, :, -1:], key, value), whole[:, :, -1:])


@pytest.mark.parametrize("rate", [0, 2, -0.5, 2.5])
def test_rates_outside_of_0_and_2(rate):
    with pytest.raises(SpecError, match=rf"rate must be .*got {rate}"):
        preset(f"delta({rate})")


def test_steps_that_are_given_wrongly():
    query, key, value, rates, _ = tensors()
    problem = preset("deltanet")
    for form in (problem.attend, problem.dense):
        for wrong, shown in (
            (rates + 2, r"got 2\.\d* to 3\.\d*"),
            (-rates, "got -"),
            (rates * torch.nan, "got nan"),
        ):
            with pytest.raises(ArgumentError, match=rf"beta must be 0 or more and below 2, .*{shown}"):
                form(query, key, value, is_causal=True, inputs={"beta": wrong})
        with pytest.raises(
            ShapeError, match=r"beta must be \(batch, heads, keys\) = \(2, 4, 9\); got \(2, 4, 5\)"
        ):
            form(query, key, value, is_causal=True, inputs={"beta": rates[:, :, :5]})


def test_divergence_says_so():
    query, key, value = (x[0] for x in torch.randn(3, 1, 1, 1, 300, 8).unbind(0))
    with pytest.raises(
        ArgumentError,
        match=r"dot\+constant\+delta\(1\) diverges in torch.float32: .* not finite from position \d+",
    ):
        preset("dot+delta(1)").attend(query, 3 * key, value, is_causal=True)


def test_equation():
    assert "c_t = β_t (v_t − Σ_(j < t) Φ(T(k_t))·Φ(T(k_j)) c_j)" in preset("deltanet").equation()
    assert r"A_{< t}(q_t, k_j)\, c_j" in preset("deltaformer").equation("latex")


def test_a_mask_that_leaves_no_later_key_tells_the_order():
    query, key, value, _, _ = tensors()
    problem, causal = preset("deltanet"), causal_mask(LENGTH, LENGTH)
    wanted = problem.attend(query, key, value, is_causal=True)
    for form in (problem.attend, problem.dense):
        assert_close(form(query, key, value, causal), wanted)
        near = causal.triu(-3)
        assert_close(form(query, key, value, near), form(query, key, value, near, True))
