"""`coefs_init` and `intercepts_init`: fits that begin with given weights."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.sparse import csr_array
from sklearn import neural_network
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPAutoencoder, MLPClassifier, MLPRegressor, MLPTransformer
from fastmlp.interop import to_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_digits(return_X_y=True)
X, Y = X[:200] / 16, Y[:200]
SIZES = (11, 7)
SHAPES = [(64, 11), (11, 7), (7, 10)]


def make(kind=MLPClassifier, **parameters):
    return kind(**{"hidden_layer_sizes": SIZES, "random_state": 1, "max_iter": 3} | parameters)


def given(seed=0, shapes=SHAPES):
    """Weights and biases of each layer."""
    rng = np.random.default_rng(seed)
    coefs = [rng.normal(0, 0.3, shape) for shape in shapes]
    return coefs, [rng.normal(0, 0.3, units) for _, units in shapes]


def bytes_of(model):
    return [array.tobytes() for array in model.coefs_ + model.intercepts_]


def beginning(**options):
    """The weights that a fit begins with: a step of Adam at this rate changes none of them."""
    return make(learning_rate_init=1e-300, max_iter=1).fit(X, Y, **options)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_a_fit_goes_on_as_scikit_learns_warm_start_does(kind, solver):
    ours = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}[kind]
    parameters = {"solver": solver, "shuffle": False}
    shapes = [*SHAPES[:-1], (7, 10 if ours is MLPClassifier else 1)]
    coefs, intercepts = given(shapes=shapes)
    model = make(ours, **parameters).fit(X, Y, coefs_init=coefs, intercepts_init=intercepts)
    theirs = make(getattr(neural_network, kind), **parameters, warm_start=True).fit(X, Y)
    theirs.coefs_, theirs.intercepts_ = given(shapes=shapes)
    curve = len(getattr(theirs, "loss_curve_", []))
    theirs.fit(X, Y)
    for own, other in zip(
        model.coefs_ + model.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True
    ):
        np.testing.assert_allclose(own, other, rtol=1e-7, atol=1e-7)
    if curve:
        np.testing.assert_allclose(model.loss_curve_, theirs.loss_curve_[curve:], rtol=1e-8)
    for array, before in zip(coefs, given(shapes=shapes)[0], strict=True):
        np.testing.assert_array_equal(array, before)  # the caller's own stay as they are


@pytest.mark.parametrize("chosen", [(), (0,), (1,), (2,), (0, 2), (0, 1, 2)], ids=str)
def test_layers_without_weights_are_drawn_as_without_any(chosen):
    coefs, intercepts = given()
    coefs = [coef if index in chosen else None for index, coef in enumerate(coefs)]
    drawn = beginning()
    for biases in (None, [None, intercepts[1], None]):
        model = beginning(coefs_init=coefs, intercepts_init=biases)
        for index in range(3):
            expected = coefs[index] if index in chosen else drawn.coefs_[index]
            np.testing.assert_array_equal(model.coefs_[index], expected)
            given_bias = biases is not None and index == 1
            expected = intercepts[1] if given_bias else drawn.intercepts_[index]
            np.testing.assert_array_equal(model.intercepts_[index], expected)


@pytest.mark.parametrize(
    "parameters", [{}, {"early_stopping": True}, {"dropout": 0.3}, {"solver": "sgd"}], ids=str
)
def test_the_drawn_weights_given_back_change_no_byte(parameters):
    """Neither a split, nor a shuffle, nor a mask depends on what is given."""
    drawn, expected = beginning(), make(**parameters).fit(X, Y)
    for options in (
        {"coefs_init": drawn},
        {"coefs_init": drawn.coefs_, "intercepts_init": drawn.intercepts_},
        {"coefs_init": to_sklearn(drawn)},
        {"intercepts_init": drawn.intercepts_},
    ):
        model = make(**parameters).fit(X, Y, **options)
        assert bytes_of(model) == bytes_of(expected)
        assert model.loss_curve_ == expected.loss_curve_
        assert model.validation_scores_ == expected.validation_scores_


@pytest.mark.parametrize(
    ("sizes", "shared"), [(SIZES, 3), ((11, 9), 1), ((11,), 1), ((11, 7, 5), 2), ((11, 7, 7), 2)]
)
def test_a_model_gives_the_layers_whose_shapes_agree(sizes, shared):
    trained = make().fit(X, Y)
    quiet = {"learning_rate_init": 1e-300, "max_iter": 1, "hidden_layer_sizes": sizes}
    drawn = make(**quiet).fit(X, Y)
    for source in (trained, to_sklearn(trained), pickle.loads(pickle.dumps(trained))):
        model = make(**quiet).fit(X, Y, coefs_init=source)
        for index in range(len(sizes) + 1):
            expected = trained if index < shared else drawn
            np.testing.assert_array_equal(model.coefs_[index], expected.coefs_[index])
            np.testing.assert_array_equal(model.intercepts_[index], expected.intercepts_[index])


def test_a_model_of_other_outputs_and_of_another_kind_gives_its_hidden_layers():
    trained = make().fit(X, Y)
    for model in (make(), make(MLPRegressor)):
        model.set_params(frozen_layers=(0, 1)).fit(X, Y % 3, coefs_init=trained)
        assert [a.tobytes() for a in model.coefs_[:2]] == [a.tobytes() for a in trained.coefs_[:2]]
        assert model.coefs_[2].shape[1] != trained.coefs_[2].shape[1]


def test_a_model_may_begin_with_its_own_weights():
    model, other = make().fit(X, Y), make().fit(X, Y)
    before = [array.copy() for array in other.coefs_], [each.copy() for each in other.intercepts_]
    model.fit(X, Y, coefs_init=model)
    other.fit(X, Y, coefs_init=before[0], intercepts_init=before[1])
    assert bytes_of(model) == bytes_of(other)
    assert len(model.loss_curve_) == 3  # it begins anew


@pytest.mark.parametrize("form", [np.asarray, np.ndarray.tolist, np.asfortranarray, pd.DataFrame])
def test_weights_may_come_in_any_form(form):
    coefs, _ = given()
    expected = make().fit(X, Y, coefs_init=coefs)
    assert bytes_of(make().fit(X, Y, coefs_init=map(form, coefs))) == bytes_of(expected)


def test_weights_are_rounded_to_the_type_of_the_network():
    coefs, _ = given()
    narrow = make(precision="float32").fit(X, Y, coefs_init=coefs)
    rounded = [coef.astype(np.float32) for coef in coefs]
    assert narrow.coefs_[0].dtype == np.float32
    assert bytes_of(narrow) == bytes_of(make(precision="float32").fit(X, Y, coefs_init=rounded))
    whole = [np.ones(shape, np.uint8) for shape in SHAPES]
    np.testing.assert_array_equal(beginning(coefs_init=whole).coefs_[2], 1.0)


BAD = [
    ({"coefs_init": [np.ones((64, 11)), np.ones((7, 11)), None]}, r"coefs_init\[1\] has shape"),
    ({"coefs_init": [np.ones(64), None, None]}, r"coefs_init\[0\] has shape \(64,\).*\(64, 11\)"),
    ({"intercepts_init": [None, None, np.ones(9)]}, r"intercepts_init\[2\] has shape \(9,\)"),
    ({"intercepts_init": [None, None, 0.0]}, r"intercepts_init\[2\] has shape \(\)"),
    ({"coefs_init": [np.full((64, 11), np.nan), None, None]}, r"coefs_init\[0\] holds NaN"),
    ({"intercepts_init": [None, np.full(7, np.inf), None]}, r"intercepts_init\[1\] holds NaN"),
    ({"coefs_init": [None, None, np.ones((7, 10)) * 1j]}, r"coefs_init\[2\] must hold real"),
    ({"coefs_init": [None, np.full((11, 7), "1"), None]}, r"coefs_init\[1\] must hold real"),
    ({"coefs_init": [None, np.full((11, 7), None), None]}, r"coefs_init\[1\] must hold real"),
    ({"coefs_init": [csr_array((64, 11)), None, None]}, r"coefs_init\[0\] must hold real"),
    ({"coefs_init": [None, [[1, 2], [3]], None]}, r"coefs_init\[1\] must be an array"),
    ({"coefs_init": [None, None]}, "coefs_init has 2 entries, but the network has 3 layers"),
    ({"intercepts_init": []}, "intercepts_init has 0 entries"),
    ({"coefs_init": 3}, "coefs_init must be a list"),
    ({"intercepts_init": "abc"}, "intercepts_init must be a list"),
    ({"coefs_init": MLPClassifier()}, "not fitted"),
    ({"coefs_init": StandardScaler().fit(X)}, "expected a multilayer perceptron"),
    ({"intercepts_init": MLPClassifier()}, "intercepts_init must be a list"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[message for _, message in BAD])
@pytest.mark.parametrize("fitted", [False, True])
def test_weights_that_do_not_fit_are_a_clear_error(fitted, options, message):
    model = make()
    if fitted:
        model.fit(X, Y)
    before = pickle.dumps(model)
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(X, Y, **options)
    assert pickle.dumps(model) == before


def test_a_model_that_shares_no_layer_or_comes_with_biases_is_a_clear_error():
    trained = make().fit(X, Y)
    with pytest.raises(ValueError, match=r"shares no layer.*\(64, 11\).*\(64, 5\)"):
        make(hidden_layer_sizes=(5,)).fit(X, Y, coefs_init=trained)
    with pytest.raises(ValueError, match="also gives the biases"):
        make().fit(X, Y, coefs_init=trained, intercepts_init=trained.intercepts_)
    with pytest.raises(NotFittedError):
        make().fit(X, Y, coefs_init=make())


def test_values_beyond_the_range_of_the_network_are_a_clear_error():
    with pytest.raises(ValueError, match=r"coefs_init\[0\] holds .* beyond the range of float32"):
        make(precision="float32").fit(X, Y, coefs_init=[np.full((64, 11), 1e39), None, None])


def test_the_first_fit_with_warm_start_takes_weights_and_later_ones_refuse_them():
    coefs, _ = given()
    model = make(warm_start=True).fit(X, Y, coefs_init=coefs)
    assert bytes_of(model) == bytes_of(make().fit(X, Y, coefs_init=coefs))
    before = pickle.dumps(model)
    for options in ({"coefs_init": coefs}, {"coefs_init": model}, {"intercepts_init": [None] * 3}):
        with pytest.raises(ValueError, match="warm_start goes on from the last solution"):
            model.fit(X, Y, **options)
    assert pickle.dumps(model) == before
    assert len(model.fit(X, Y).loss_curve_) == 6


def test_early_stopping_judges_the_given_weights_from_their_first_epoch_on():
    trained = make(max_iter=100, tol=1e-3, learning_rate_init=0.01).fit(X, Y)
    model = make(early_stopping=True, max_iter=2).fit(X, Y, coefs_init=trained)
    assert model.validation_scores_[0] > 0.9


def test_steps_of_pipelines_take_weights():
    coefs, intercepts = given()
    pipeline = make_pipeline(StandardScaler(), make())
    options = {"coefs_init": coefs, "intercepts_init": intercepts}
    expected = make().fit(StandardScaler().fit_transform(X), Y, **options)
    pipeline.fit(X, Y, **{f"mlpclassifier__{name}": value for name, value in options.items()})
    assert bytes_of(pipeline[-1]) == bytes_of(expected)
    with sklearn.config_context(enable_metadata_routing=True):
        step = make().set_fit_request(coefs_init=True, intercepts_init=True)
        pipeline = make_pipeline(StandardScaler(), step).fit(X, Y, **options)
    assert bytes_of(pipeline[-1]) == bytes_of(expected)


def test_transformers_pass_weights_on():
    trained = make().fit(X, Y)
    transformer = MLPTransformer(make(frozen_layers=(0, 1))).fit(X, Y, coefs_init=trained)
    expected = MLPTransformer(trained, prefit=True).fit(X).transform(X)
    np.testing.assert_array_equal(transformer.transform(X), expected)


def test_sparse_rows_and_a_compact_first_layer_take_weights():
    rng = np.random.default_rng(0)
    wide = csr_array(
        (rng.random(400), (np.repeat(np.arange(200), 2), rng.integers(9000, size=400))),
        shape=(200, 9000),
    )
    coef, bias = rng.normal(size=(9000, 3)), np.arange(3.0)
    model = make(hidden_layer_sizes=(3,), frozen_layers=(0,))
    model.fit(wide, Y, coefs_init=[coef, None], intercepts_init=[bias, None])
    np.testing.assert_array_equal(model.coefs_[0], coef)
    np.testing.assert_array_equal(model.intercepts_[0], bias)


def test_an_autoencoder_gives_a_classifier_its_first_layers():
    trained = MLPAutoencoder((11, 7, 11), max_iter=3, random_state=0).fit(X)
    model = make(frozen_layers=(0, 1)).fit(X, Y, coefs_init=trained)
    for index in range(2):
        np.testing.assert_array_equal(model.coefs_[index], trained.coefs_[index])
        np.testing.assert_array_equal(model.intercepts_[index], trained.intercepts_[index])
    again = MLPAutoencoder((11, 7, 11), max_iter=3, warm_start=True, frozen_layers=(0,))
    first = again.fit(X).coefs_[0].copy()
    assert not np.array_equal(again.fit(X).coefs_[1], trained.coefs_[1])
    np.testing.assert_array_equal(again.coefs_[0], first)
