"""scikit-learn's own tests of its MLP, run on ours; and its checks for any estimator."""

import importlib.util
from unittest import mock

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastmlp

# Tests that reach into private state of scikit-learn's implementation, each with our equivalent.
PRIVATE = {
    # calls mlp._loss_grad_lbfgs with its lists of arrays
    "test_gradient": "test_inspection.py::test_the_kernels_gradient_is_right",
}


def _scikit_learns_tests():
    """The installed test module, executed anew with our classes in place of scikit-learn's."""
    spec = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")
    module = importlib.util.module_from_spec(spec)
    ours = {name: getattr(fastmlp, name) for name in ("MLPClassifier", "MLPRegressor")}
    with mock.patch.multiple("sklearn.neural_network", **ours):
        spec.loader.exec_module(module)
    assert module.MLPClassifier is fastmlp.MLPClassifier
    return {name: value for name, value in vars(module).items() if name.startswith("test_")}


_SUITE = _scikit_learns_tests()
globals().update({name: test for name, test in _SUITE.items() if name not in PRIVATE})


@pytest.fixture
def global_random_seed():
    """The seed that scikit-learn's conftest gives by default."""
    return 42


def test_the_suite_is_there_and_the_exceptions_are_few():
    assert len(_SUITE) > 40
    assert set(PRIVATE) <= set(_SUITE) and len(PRIVATE) <= 4


@parametrize_with_checks(
    [
        fastmlp.MLPClassifier(max_iter=100, random_state=0),
        fastmlp.MLPRegressor(max_iter=100, random_state=0),
    ],
)
def test_scikit_learns_estimator_checks(estimator, check):
    check(estimator)
