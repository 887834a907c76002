import pytest

from primaldual.errors import ArgumentError
from primaldual.experiments.run_report import curve_figure, write_run_page


def test_curves_without_a_validation_part_and_of_one_epoch():
    drawn = curve_figure([{"epoch": 1, "train_loss": 1.0, "validation_loss": None}])
    assert "training" in drawn
    assert ">validation<" not in drawn


def test_a_page_is_written_whole_or_refused(tmp_path):
    assert write_run_page(tmp_path, "<p>").read_text() == "<p>"
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="cannot be written"):
        write_run_page(tmp_path / "file", "<p>")
