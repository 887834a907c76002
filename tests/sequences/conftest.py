import pytest

from primaldual.sequences import PreparedRun, RunSettings
from primaldual.training import Execution
from tests.sequences.helpers import write_texts


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """Of texts in a folder, one of which cannot be read."""
    place = tmp_path_factory.mktemp("texts")
    write_texts(place / "texts", count=20)
    (place / "texts" / "good" / "0.txt").write_bytes(b"")
    given = RunSettings(
        "text", "sh(1,2)", data=place / "texts", data_dir=place, skip_bad=True, steps=1, max_length=30
    )
    run = PreparedRun(given, place / "run")
    return run.finish(run.train(Execution(device="cpu")))
