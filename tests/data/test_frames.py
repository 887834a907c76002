import datetime

import numpy as np
import pandas as pd
import pytest

from primaldual.data.frames import from_frame, is_case_frame
from primaldual.data.reading import Reading
from primaldual.errors import DataError


def long(**changes):
    columns = {
        "case": ["b", "a", "b", "a", "b"],
        "time": [2, 0, 0, 1, 1],
        "label": ["ill", "well", "ill", "well", "ill"],
        "pulse": [3.0, 10.0, 1.0, None, 2.0],
        "temp": [30, 100, 10, 110, 20],
    }
    return {**columns, **changes}


def frames():
    yield pd.DataFrame
    try:
        import polars
    except ImportError:
        return
    yield polars.DataFrame


@pytest.fixture(params=frames(), ids=lambda kind: kind.__module__.partition(".")[0])
def frame(request):
    return request.param


def test_cases_keep_their_order_and_rows_are_ordered_by_time(frame):
    found = from_frame(frame(long()))
    np.testing.assert_array_equal(found.X[0], [[1, 2, 3], [10, 20, 30]])
    np.testing.assert_array_equal(found.X[1], [[10, np.nan], [100, 110]])
    assert found.y.tolist() == ["ill", "well"]
    assert found.channel_names == ("pulse", "temp")
    assert found.case_names == ("b", "a")


def test_columns_of_other_names_and_chosen_channels(frame):
    given = {name.upper() if name != "case" else "patient": column for name, column in long().items()}
    reading = Reading(case="patient", channels=("TEMP",))
    found = from_frame(frame(given), reading)
    assert found.channel_names == ("TEMP",)
    assert [one.shape for one in found.X] == [(1, 3), (1, 2)]
    assert not is_case_frame(frame(given))


@pytest.mark.parametrize(
    "times",
    [
        [datetime.date(2024, 2, 1 + day) for day in (2, 0, 0, 1, 1)],
        [datetime.datetime(2024, 2, 28 + day, tzinfo=datetime.UTC) for day in (1, 0, -1, 1, 0)],
        ["2024-03-02", "2024-02-29", "2024-02-29", "2024-03-01", "2024-03-01"],
        [0.2, -1e300, -0.1, 1e300, 0.1],
        [datetime.timedelta(hours=hour) for hour in (2, 0, 0, 1, 1)],
    ],
    ids=["dates", "moments", "texts", "numbers", "spans"],
)
def test_times_of_every_kind(frame, times):
    found = from_frame(frame(long(time=times)))
    assert [one[1].tolist() for one in found.X] == [[10, 20, 30], [100, 110]]


def test_moments_a_nanosecond_apart_are_two_moments():
    times = pd.to_datetime([2, 0, 0, 1, 1], unit="ns") + pd.Timedelta(days=20000)
    assert from_frame(pd.DataFrame(long(time=times))).X[0][0].tolist() == [1, 2, 3]


def test_labels_keep_their_type(frame):
    assert from_frame(frame(long(label=[1, 7, 1, 7, 1]))).y.dtype.kind == "i"
    assert from_frame(frame(long(label=[0.5, -1, 0.5, -1, 0.5]))).y.tolist() == [0.5, -1]
    unlabelled = {name: column for name, column in long().items() if name != "label"}
    assert from_frame(frame(unlabelled)).y is None


def test_a_row_for_each_case(frame):
    found = from_frame(
        frame({"label": [1, 2], "x_1": [1, 2], "x_0": [3, 4], "y_1": [5, 6], "y_0": [7, None]})
    )
    np.testing.assert_array_equal(found.X, [[[3, 1], [7, 5]], [[4, 2], [np.nan, 6]]])
    assert found.channel_names == ("x", "y")
    assert found.y.tolist() == [1, 2]
    assert is_case_frame(frame({"0": [1.0], "1": [2.0]}))


def test_nullable_columns():
    given = long(pulse=pd.array([3, 10, 1, None, 2], dtype="Int64"), case=pd.Categorical(long()["case"]))
    np.testing.assert_array_equal(from_frame(pd.DataFrame(given)).X[1][0], [10, np.nan])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pulse": ["1", "2", "x", "4", "5"]}, "column 'pulse' holds 'x' in row 2; a channel holds numbers"),
        ({"time": [0, 0, 0, 1, 1]}, "case b: time 0 occurs twice"),
        ({"time": ["noon", "0", "0", "1", "1"]}, "column 'time' holds 'noon' in row 0"),
        ({"time": [np.nan, 0, 0, 1, 1]}, "column 'time' holds 'nan' in row 0"),
        ({"case": [None, "a", "b", "a", "b"]}, "column 'case' is missing in row 0"),
        (
            {"label": ["ill", "well", "well", "well", "ill"]},
            "'label' must be the same in every row of a case; case b",
        ),
        ({"split": ["train"] * 5}, "the frame has a column 'split'"),
    ],
)
def test_what_cannot_be_read_is_named(frame, changes, message):
    with pytest.raises(DataError, match=message):
        from_frame(frame(long(**changes)))


def test_columns_that_are_not_there_are_named(frame):
    with pytest.raises(DataError, match=r"no column 'cases' for case; columns: .*did you mean case\?"):
        from_frame(frame(long()), Reading(case="cases"))
    with pytest.raises(DataError, match="no channel heart; accepted: pulse, temp"):
        from_frame(frame(long()), Reading(channels=("heart",)))
    with pytest.raises(DataError, match="time is not among them"):
        from_frame(frame({"case": [1], "pulse": [2.0]}))
    with pytest.raises(DataError, match="case and time are not among them"):
        from_frame(frame({"pulse": [2.0]}))
    with pytest.raises(DataError, match="no channel at all"):
        from_frame(frame({"case": [1], "time": [2.0]}))
    with pytest.raises(DataError, match="holds no cases"):
        from_frame(frame({"case": [], "time": [], "x": []}))


@pytest.mark.parametrize("other", [np.zeros((2, 3)), [1, 2], None, "frame", {"case": [1], "time": [0]}])
def test_what_is_no_frame(other):
    assert not is_case_frame(other)
    with pytest.raises(DataError, match="a data frame with named columns is needed"):
        from_frame(other)


def test_frames_with_levels_are_left_to_aeon():
    index = pd.MultiIndex.from_product([[0, 1], [0, 1]])
    assert not is_case_frame(pd.DataFrame({"case": range(4), "time": range(4)}, index=index))
