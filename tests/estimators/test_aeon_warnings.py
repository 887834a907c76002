import warnings

import pytest

from primaldual.estimators.aeon_warnings import without_variance_warnings


def test_only_the_named_warnings_are_dropped():
    with without_variance_warnings():
        warnings.warn("Data seen by instance of X has one or more case/channel pairs", stacklevel=1)
    with pytest.warns(UserWarning, match="something else"), without_variance_warnings():
        warnings.warn("something else", stacklevel=1)
