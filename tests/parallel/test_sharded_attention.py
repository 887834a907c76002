"""Several processes give the outputs and gradients of one. One group of three serves all tests of this file."""

import json
import subprocess
import sys

import pytest

from tests.parallel.cases import HALVES, SPECS, TRAFFIC


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("group")
    words = [sys.executable, "-m", "tests.parallel.worker"]
    processes = [
        subprocess.Popen(
            [*words, str(rank), str(folder / "rendezvous"), str(folder / "found")],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(3)
    ]
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], "\n".join(said)
    return [json.loads((folder / f"found-{rank}.json").read_text()) for rank in range(3)]


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize(("spec", "is_causal", "masked"), SPECS)
def test_outputs_and_gradients_are_those_of_one_process(findings, processes, spec, is_causal, masked):
    for found in findings[:processes]:
        assert found[f"{processes} {spec} {is_causal} {masked}"] < 1e-10


@pytest.mark.parametrize("processes", [2, 3])
def test_an_encoder_gives_what_it_gives_on_one_process(findings, processes):
    for found in findings[:processes]:
        assert found[f"{processes} encoder"] < 1e-10


@pytest.mark.parametrize("number", range(len(HALVES)), ids=lambda number: str(HALVES[number]))
def test_half_precision_loses_about_what_it_loses_on_one_process(findings, number):
    results = zip(*(found["half"][number] for found in findings), strict=True)
    for of_processes in results:
        sharded, alone = map(sum, zip(*of_processes, strict=True))
        assert sharded < 2**2 * alone


def test_the_example_finds_no_difference(findings):
    assert max(max(found["example"]) for found in findings) < 1e-10


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("number", range(len(TRAFFIC)), ids=str)
def test_bytes_are_those_that_traffic_tells(findings, processes, number):
    for found in findings[:processes]:
        counted, told = found[f"{processes} traffic"][number]
        assert counted == told


REFUSALS = {
    "mixing": "UnsupportedError: conv(3,queries=true) cannot be sharded",
    "mask by query": "UnsupportedError: a mask that differs from query to query",
    "empty": "ShapeError: every process needs a query and a key: use fewer processes",
    "lengths": "ShapeError: under a causal mask every process needs a query for each of its keys",
    "specs": "ArgumentError: all processes must agree on attention",
    "gradients": "ArgumentError: all processes must agree on gradients",
    "second derivatives": "UnsupportedError: attend is differentiated once here",
    "weights": "UnsupportedError: sharded attention has no attention map",
}


@pytest.mark.parametrize("case", REFUSALS)
def test_every_process_raises_the_same_error(findings, case):
    assert all(found["refusals"][case].startswith(REFUSALS[case]) for found in findings)
    assert len({found["refusals"][case] for found in findings}) == 1


@pytest.mark.parametrize(
    ("case", "error"),
    [
        ("one", "ShapeError: query must be (batch, heads, length, head_dim)"),
        ("word", "SpecError: spec 'softmaxx' has unknown part 'softmaxx'"),
        ("no tensor", "AttributeError: "),
    ],
)
def test_an_error_of_one_process_reaches_the_others(findings, case, error):
    first, *others = [found["refusals"][case] for found in findings]
    assert first.startswith(error)
    assert all(
        said.startswith("ArgumentError: processes [0] of the group raised an error") for said in others
    )
