"""A fit that diverges ends at once, with an error that says when and what to try."""

import pickle
import re
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_validate
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.neural_network import MLPRegressor as SklearnMLPRegressor

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._engine.network import Network
from fastmlp._estimator.parameters import settings_of
from fastmlp._training.history import History
from fastmlp._training.loop import divergence, has_diverged
from fastmlp._training.sgd import Descent

pytestmark = pytest.mark.filterwarnings(
    "ignore::RuntimeWarning", "ignore::sklearn.exceptions.ConvergenceWarning"
)

X, Y = load_iris(return_X_y=True)
VALUES = 10 * X[:, 0] - X[:, 1]
SKLEARN = {MLPClassifier: SklearnMLPClassifier, MLPRegressor: SklearnMLPRegressor}
PARAMETERS = dict(
    hidden_layer_sizes=(6,),
    activation="identity",
    solver="sgd",
    learning_rate_init=0.1,
    momentum=0.5,
    batch_size=50,
    max_iter=400,
    random_state=0,
)


@pytest.fixture
def epochs(monkeypatch):
    """The losses of all epochs that run."""
    losses, epoch = [], Descent.epoch

    def counted(self):
        losses.append(epoch(self))
        return losses[-1]

    monkeypatch.setattr(Descent, "epoch", counted)
    return losses


def state_of(model):
    return pickle.dumps(model)


def first_epoch_of_sklearn(estimator, y, **parameters):
    """The first epoch with a loss and weights that are not finite."""
    model = SKLEARN[estimator](**PARAMETERS | parameters)
    for epoch in range(1, 401):
        try:
            model.set_params(max_iter=epoch).fit(X, y)
        except ValueError:
            if not np.isfinite(model.loss_):  # it keeps what the failed fit left
                return epoch
    raise AssertionError("it converges")


CASES = [
    (MLPRegressor, VALUES, {}),
    (MLPRegressor, VALUES, {"learning_rate_init": 0.06, "shuffle": False}),
    (MLPRegressor, np.c_[VALUES, VALUES], {"learning_rate": "adaptive"}),
    (MLPClassifier, Y, {"learning_rate_init": 1e5, "alpha": 1e5, "n_iter_no_change": 400}),
]


@pytest.mark.parametrize(("estimator", "y", "parameters"), CASES)
def test_a_fit_ends_in_the_epoch_in_which_scikit_learn_loses_its_weights(
    estimator, y, parameters, epochs
):
    expected = first_epoch_of_sklearn(estimator, y, **parameters)
    assert expected > 1
    with pytest.raises(ValueError, match=r"^Solver produced non-finite parameter weights") as error:
        estimator(**PARAMETERS | parameters).fit(X, y)
    assert len(epochs) == expected
    assert f"The loss of epoch {expected} is {epochs[-1]:g}." in str(error.value)
    assert np.isfinite(epochs[:-2]).all()


def test_the_message_begins_like_that_of_scikit_learn_and_says_what_to_try():
    messages = []
    for estimator in (SklearnMLPRegressor, MLPRegressor):
        with pytest.raises(ValueError) as error:
            estimator(**PARAMETERS).fit(X, VALUES)
        messages.append(str(error.value))
    theirs, ours = messages
    assert ours.startswith(theirs)
    advice = ours.removeprefix(theirs)
    assert re.search("Scale X, lower learning_rate_init=0.1 or set max_grad_norm.$", advice)
    with pytest.raises(ValueError, match=r"or lower max_grad_norm=1e\+20\.$"):
        MLPRegressor(**PARAMETERS, max_grad_norm=1e20).set_params(learning_rate_init=1e300).fit(
            X, VALUES
        )


@pytest.mark.parametrize(
    "remedy",
    [{"learning_rate_init": 1e-4}, {"max_grad_norm": 1.0}],
    ids=lambda each: next(iter(each)),
)
def test_each_remedy_that_the_message_names_helps(remedy):
    model = MLPRegressor(**PARAMETERS | remedy).fit(X, VALUES)
    assert np.isfinite(model.loss_)


def test_scaling_helps_too():
    small = dict(PARAMETERS, learning_rate_init=0.01)
    with pytest.raises(ValueError, match="Scale X"):
        MLPRegressor(**small).fit(100 * X, VALUES)
    centered = (X - X.mean(axis=0)) / X.std(axis=0)
    assert np.isfinite(MLPRegressor(**small).fit(centered, VALUES).loss_)


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_fitted_model_keeps_its_state(warm_start):
    model = MLPRegressor(**PARAMETERS, warm_start=warm_start).set_params(learning_rate_init=1e-4)
    before = state_of(model.fit(X, VALUES))
    model.set_params(learning_rate_init=0.1)
    with pytest.raises(ValueError, match="non-finite"):
        model.fit(X, VALUES)
    assert state_of(model.set_params(learning_rate_init=1e-4)) == before


def test_partial_fit_names_the_epoch_of_the_loss_curve_and_keeps_the_model():
    model = MLPRegressor(**PARAMETERS).set_params(learning_rate_init=0.02)
    with pytest.raises(ValueError) as error:
        while True:
            before = pickle.loads(pickle.dumps(model))
            model.partial_fit(X, VALUES)
    assert len(model.loss_curve_) > 1
    assert f"The loss of epoch {len(model.loss_curve_) + 1} is " in str(error.value)
    assert model.loss_curve_ == before.loss_curve_
    for a, b in zip(model.coefs_, before.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)


STOPPING = dict(PARAMETERS, learning_rate_init=0.06, early_stopping=True, n_iter_no_change=400)


@pytest.mark.parametrize(
    ("estimator", "y", "scoring"),
    [(MLPRegressor, VALUES, None), (MLPRegressor, VALUES, "loss"), (MLPRegressor, VALUES, "r2")],
)
def test_early_stopping_keeps_the_best_weights_and_warns(estimator, y, scoring, epochs):
    model = estimator(**STOPPING, scoring=scoring)
    with pytest.warns(ConvergenceWarning) as caught:
        model.fit(X, y)
    [message] = [str(each.message) for each in caught]
    assert len(epochs) == model.n_iter_ < 400
    assert message.startswith(
        f"Training diverged. The loss of epoch {model.n_iter_} is {model.loss_:g}. Scale X, "
    )
    assert message.endswith("The weights with the best validation score are kept.")
    best = int(np.nanargmax(model.validation_scores_))
    assert model.best_validation_score_ == model.validation_scores_[best]
    model.set_params(max_iter=best + 1)  # as many epochs as the best one needs
    alone = estimator(**model.get_params()).fit(X, y)
    for a, b in zip(model.coefs_, alone.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)


def test_early_stopping_keeps_the_weights_that_scikit_learn_keeps():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = MLPRegressor(**STOPPING).fit(X, VALUES)
        theirs = SklearnMLPRegressor(**STOPPING).fit(X, VALUES)
    assert theirs.n_iter_ == 400
    for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8)


def test_without_the_best_weights_early_stopping_ends_with_the_error(epochs):
    with pytest.raises(ValueError, match="The loss of epoch"):
        MLPRegressor(**STOPPING, restore_best_weights=False).fit(X, VALUES)
    assert len(epochs) < 400


def test_an_infinite_loss_with_finite_weights_ends_no_fit():
    y = 1e200 * VALUES  # the squared error overflows, but Adam's steps do not
    parameters = dict(hidden_layer_sizes=(6,), max_iter=5, random_state=0)
    ours = MLPRegressor(**parameters).fit(X, y)
    theirs = SklearnMLPRegressor(**parameters).fit(X, y)
    assert ours.loss_ == theirs.loss_ == np.inf and ours.n_iter_ == theirs.n_iter_ == 5
    for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8)


def test_lbfgs_ends_at_once_and_keeps_finite_weights_as_scikit_learn_does():
    parameters = dict(solver="lbfgs", hidden_layer_sizes=(6,), random_state=0)
    with pytest.warns(ConvergenceWarning, match="after 0 iteration"):
        ours = MLPRegressor(**parameters).fit(1e200 * X, VALUES)
    theirs = SklearnMLPRegressor(**parameters).fit(1e200 * X, VALUES)
    assert ours.n_iter_ == theirs.n_iter_ == 0 and np.isnan([ours.loss_, theirs.loss_]).all()
    for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_cross_validation_counts_a_diverged_fit_as_failed_and_goes_on():
    model = MLPRegressor(**PARAMETERS)
    with pytest.raises(ValueError, match="The loss of epoch"):
        cross_validate(model, X, VALUES, error_score=np.nan)  # all fits failed
    model.set_params(early_stopping=True)
    assert len(cross_validate(model, X, VALUES, cv=2)["test_score"]) == 2


def test_callbacks_see_the_epoch_that_diverges():
    pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9: it has callbacks")

    class Count:
        begun = ended = torn_down = 0

        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            Count.begun += context.task_name == "epoch"

        def on_fit_task_end(self, estimator, context):
            Count.ended += context.task_name == "epoch"

        def teardown(self, estimator, context):
            Count.torn_down += 1

    model = MLPRegressor(**PARAMETERS).set_callbacks(Count())
    with pytest.raises(ValueError, match="The loss of epoch") as error:
        model.fit(X, VALUES)
    epoch = int(re.search(r"epoch (\d+)", str(error.value))[1])
    assert Count.begun == Count.ended == epoch
    assert Count.torn_down == 1


def test_a_fit_goes_on_while_its_loss_is_finite():
    """The weights may not be: the next epoch then says so, with its number."""
    network = Network((2, 1), np.dtype(np.float64))
    history = History()
    assert not has_diverged(history, network)
    for loss, weight, expected in [
        (1.0, 0.0, False),
        (1.0, np.nan, False),
        (np.inf, 0.0, False),
        (np.inf, np.inf, True),
        (np.nan, np.nan, True),
    ]:
        network.coefs[0][0, 0] = weight
        history.loss_curve.append(loss)
        history.n_iter += 1
        assert has_diverged(history, network) == expected


def test_the_advice_needs_no_finished_epoch():
    settings = settings_of(MLPRegressor(learning_rate_init=0.25, max_grad_norm=2.0), 1)
    for one_epoch in (False, True):
        text = divergence(settings, History(), one_epoch)
        assert text == "Scale X, lower learning_rate_init=0.25 or lower max_grad_norm=2."
