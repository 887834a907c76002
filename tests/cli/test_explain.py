import json

import pytest

from primaldual import preset
from tests.cli.helpers import run


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


SCENES = {
    "softmax": ["softmax"],
    "pooled": ["bn+sh(1,1,2,4)", "--heads", 4, "--causal", "--mask", "pairs"],
    "long": ["conv(3)+bn(beta=0.5,learnable=true)+sh(1,1,2,4,prefix=1,suffix=1,weighted=true)", "--heads", 4],
    "half": ["linear+window(64)", "--length", 2048, "--mask", "padding", "--dtype", "bfloat16", "--batch", 3],
    "cuda": ["sh", "--device", "cuda", "--head-dim", 16, "-n", 1],
}


@pytest.mark.parametrize("scene", SCENES)
def test_it_fits_80_columns_and_says_what_python_says(capsys, scene):
    spec, *options = SCENES[scene]
    code, out, err = run(capsys, "explain", spec, *options)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    given = json.loads(run(capsys, "explain", spec, *options, "--json")[1])
    assert preset(spec).spec() == given["attention"]
    for part in given["served"]:
        assert part["form"] in out
        for name, reason in part["refusals"].items():
            assert name in out
            assert "".join(reason.split()) in "".join(out.split())


def test_the_facts_reach_the_forms(capsys):
    def found(*options):
        return json.loads(run(capsys, "explain", "bn+sh(1,1,2,4)", "--heads", 4, *options, "--json")[1])

    plain = found("--length", 256)
    expected = preset("bn+sh(1,1,2,4)").explain((1, 4, 256, 64))
    assert plain["operations"] == expected.operations
    assert [part["heads"] for part in plain["served"]] == [[0, 1], [2], [3]]
    assert [part["scale"] for part in plain["served"]] == [1, 2, 4]
    assert found("--length", 256, "--batch", 2)["operations"] == 2 * expected.operations
    half = found("--length", 256, "--dtype", "float16")
    assert 2 * half["served"][0]["bytes"] == plain["served"][0]["bytes"]
    assert {part["form"] for part in found("--mask", "pairs")["served"]} != {"pieces"}
    assert {part["form"] for part in found("--device", "cuda")["served"]} == {"softmax"}


def test_reasons_that_heads_share_are_told_once(capsys):
    out = run(capsys, "explain", "sh(1,1,2,4)", "--heads", 4, "--device", "cuda")[1]
    assert out.count("why they do not serve") == 1
    assert "heads 0-3" not in out
    out = run(capsys, "explain", "sh(1,1,2,4)", "--heads", 4, "--mask", "pairs")[1]
    assert "heads 0-1: forms that come before" in out
    assert "heads 2-3: forms that come before" in out


def test_a_mask_by_query_takes_no_memory(capsys):
    code, out, _ = run(capsys, "explain", "softmax", "--mask", "pairs", "--length", 1_000_000)
    assert code == 0
    assert "length 1000000" in out


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (["sh(1,1,2,4)"], ["--heads 8", "got 4: (1, 1, 2, 4)"]),
        (["softmx"], ["unknown part 'softmx'"]),
        (["bn", "--length", "0"], ["--length"]),
        (["bn", "--head-dim", "x"], ["--head-dim"]),
        (["bn", "--dtype", "int8"], ["--dtype", "bfloat16"]),
        (["bn", "--mask", "causal"], ["--mask", "padding"]),
        (["bn", "--device", "tpu"], ["--device", "cuda"]),
        ([], ["SPEC"]),
    ],
)
def test_errors_are_one_line_that_names_the_flag(capsys, words, messages):
    code, out, err = run(capsys, "explain", *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1
    assert all(message in err for message in messages)
