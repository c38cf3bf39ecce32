"""What max_time and verbose do to the members of tabular estimators."""

import re
import time
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning

from fastmlp.tabular import TabularMLPClassifier, TabularMLPRegressor
from fastmlp.tabular.members import LEAST_SECONDS, Turn

IRIS = load_iris(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)
MANY_EPOCHS = 10**6
ESTIMATORS = [(TabularMLPClassifier, IRIS), (TabularMLPRegressor, DIABETES)]


def quick(kind, **parameters):
    return kind(**{"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0} | parameters)


@pytest.mark.parametrize(("kind", "data"), ESTIMATORS)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_time_of_a_fit_is_bounded(kind, data, n_jobs):
    """Here by far less than the members would take: their epochs would last for hours."""
    model = quick(kind, max_iter=MANY_EPOCHS, max_time=0.3, n_members=3, n_jobs=n_jobs)
    with pytest.warns(ConvergenceWarning, match=r"max_time=0.3 .*; 3 of 3 members ended before"):
        model.fit(*data)
    assert 0 < model.n_iter_ < MANY_EPOCHS
    assert np.isfinite(model.predict(data[0])).all()


@pytest.mark.parametrize(("kind", "data"), ESTIMATORS)
def test_time_enough_changes_nothing(kind, data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        limited = quick(kind, max_time=1000.0).fit(*data)
    np.testing.assert_array_equal(limited.predict(data[0]), quick(kind).fit(*data).predict(data[0]))


def test_a_warning_as_an_error_keeps_the_fit():
    model = quick(TabularMLPClassifier, max_iter=MANY_EPOCHS, max_time=0.2, n_members=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning):
            model.fit(*IRIS)
    assert model.predict(IRIS[0]).shape == (150,)


def test_a_turn_has_its_share_of_what_is_left():
    first, last = (Turn(n, 4, 3 - n, time.monotonic() + 10, False).seconds() for n in (1, 2))
    assert 4.9 < first <= 5
    assert 9.9 < last <= 10
    assert Turn(1, 1, 1, time.monotonic() - 5, False).seconds() == LEAST_SECONDS
    assert Turn(1, 1, 1, np.inf, False).seconds() is None


@pytest.mark.parametrize("max_time", [1e-9, 1e-4])
def test_a_fit_without_time_still_predicts(max_time):
    """Members without an epoch are left out, unless there are no others."""
    model = quick(TabularMLPClassifier, max_iter=MANY_EPOCHS, max_time=max_time, n_members=5)
    with pytest.warns(ConvergenceWarning, match="5 of 5 members"):
        model.fit(*IRIS)
    assert 1 <= len(model.members_) <= 5
    finished = [member.n_iter_ > 0 for member in model.members_]
    assert all(finished) or not any(finished)
    assert np.isfinite(model.predict_proba(IRIS[0])).all()


def test_verbose_prints_a_line_for_each_member(capsys):
    quick(TabularMLPRegressor, n_members=3, verbose=True).fit(*DIABETES)
    lines = sorted(capsys.readouterr().out.splitlines())
    pattern = r"Member (\d) of 3: 5 epochs, best validation score -?[\d.e-]+"
    assert [re.fullmatch(pattern, line)[1] for line in lines] == ["1", "2", "3"]
    quick(TabularMLPRegressor, n_members=3).fit(*DIABETES)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("max_time", [0, -1, "1"])
def test_a_wrong_limit_is_refused(max_time):
    with pytest.raises(ValueError, match="'max_time' parameter"):
        quick(TabularMLPClassifier, max_time=max_time).fit(*IRIS)
