import pytest
import torch
from torch.testing import assert_close

import primaldual as pdl
from primaldual.errors import CheckpointError, ShapeError
from primaldual.svr import expansion
from tests.svr.helpers import dense_kernel, table


@pytest.fixture(scope="module")
def solution():
    keys, targets = table()
    return pdl.solve("bn", keys, targets, 10 / pdl.kernel_scale("bn", keys))


def test_predict_is_attention_plus_intercept(solution):
    queries = torch.randn(9, 3, dtype=torch.float64)
    attended = solution.problem.attend(
        queries[None, None], solution.keys[None, None], solution.values[None, None]
    )
    assert_close(solution.predict(queries), attended[0, 0] + solution.intercept, rtol=0, atol=0)


def test_predict_is_the_expansion_by_definition(solution):
    kernel, _ = dense_kernel("bn", solution.keys)
    assert_close(solution.predict(solution.keys), kernel @ solution.coefficients + solution.intercept)


def test_chunks_change_nothing(solution, monkeypatch):
    queries = torch.randn(50, 3, dtype=torch.float64)
    whole = solution.predict(queries)
    monkeypatch.setattr(expansion, "SCORES", 40 * 7)
    assert_close(solution.predict(queries), whole, rtol=0, atol=1e-12)


def test_queries_that_do_not_fit(solution):
    with pytest.raises(ShapeError, match=r"queries must be \(M, 3\); got \(4, 2\)"):
        solution.predict(torch.zeros(4, 2))
    with pytest.raises(ShapeError, match="queries must be"):
        solution.predict(torch.zeros(2, 4, 3))


@pytest.mark.parametrize("spec", ["softmax", "bn(learnable=true)+sh(1,2)", "conv(3)", "random(8)"])
def test_saved_and_loaded(spec, tmp_path):
    keys, targets = (torch.stack([tensor, tensor.flip(0)]) for tensor in table(20))
    problem = pdl.preset(spec).bind(2, 3).double()
    mask = torch.arange(20) < 17
    written = pdl.solve(problem, keys, targets, 100.0, mask=mask)
    written.save(tmp_path / "there" / "solution.safetensors")
    read = pdl.SupportVectorExpansion.load(tmp_path / "there" / "solution.safetensors")
    assert_close(read.predict(keys), written.predict(keys), rtol=0, atol=0)
    assert read.problem.spec() == written.problem.spec()
    assert read.duality_gap == written.duality_gap
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["solution.safetensors"]


def square(inputs):
    return inputs * inputs


def test_what_cannot_be_saved_or_read_says_so(solution, tmp_path):
    keys, targets = table(20)
    own = pdl.solve(pdl.derive(feature_map=square), keys, targets)
    with pytest.raises(CheckpointError, match="cannot be saved"):
        own.save(tmp_path / "own")
    with pytest.raises(CheckpointError, match="is not a file"):
        pdl.SupportVectorExpansion.load(tmp_path / "nothing")
    (tmp_path / "other").write_bytes(b"words")
    with pytest.raises(CheckpointError, match="corrupt"):
        pdl.SupportVectorExpansion.load(tmp_path / "other")
    with pytest.raises(CheckpointError, match="cannot be written"):
        solution.save(tmp_path / "other" / "below")


def test_a_printed_solution_is_a_summary(solution):
    text = str(solution)
    assert "attention        bn" in text
    assert "keys             40 of dimension 3, 2 outputs each" in text
    assert f"support vectors  {int(solution.support.sum())} of 80" in text
    assert f"duality gap      {solution.duality_gap:.1e}" in text
    assert len(text.splitlines()) == 7
    assert "3, 1 output each" in str(pdl.solve("softmax", *table(20, outputs=1)))
    assert repr(solution).startswith("SupportVectorExpansion('bn', keys=(40, 3), outputs=2, duality_gap=")


@pytest.mark.parametrize("depth", [10**5])
def test_deeply_nested_descriptions_are_refused(solution, tmp_path, depth):
    from safetensors.torch import save_file

    save_file({"keys": torch.ones(1)}, tmp_path / "deep", {"primaldual": "[" * depth + "]" * depth})
    with pytest.raises(CheckpointError, match="is corrupt"):
        pdl.SupportVectorExpansion.load(tmp_path / "deep")


def test_numbers_that_are_not_finite_are_refused(solution, tmp_path):
    from safetensors.torch import load_file, save_file

    solution.save(tmp_path / "whole")
    tensors = load_file(tmp_path / "whole")
    tensors["values"][0, 0] = torch.nan
    described = f'{{"format": "{pdl.SupportVectorExpansion.file_format}", "attention": "bn"}}'
    save_file(tensors, tmp_path / "damaged", {"primaldual": described})
    with pytest.raises(CheckpointError, match="values holds numbers that are not finite"):
        pdl.SupportVectorExpansion.load(tmp_path / "damaged")
