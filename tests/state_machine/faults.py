"""Planted faults, which the state machine must find."""

import copy
import os
import time

import numpy as np

from fastmlp._estimator import base, fitted
from fastmlp._estimator.base import BaseMLP
from fastmlp._training import loop
from fastmlp._training.history import History
from fastmlp._training.optimizer import OptimizerState
from fastmlp._training.sgd import Descent

PARENT = os.getpid()
SWITCH_SECONDS = 0.002  # lets another thread predict


def commits_before_validation(monkeypatch):
    """The estimator itself is fitted, instead of a draft."""
    monkeypatch.setattr(fitted, "draft_of", lambda estimator: estimator)


def trains_the_fitted_network(monkeypatch):
    """An interrupt leaves half an update in the weights of a warm start."""

    def network_to_continue(estimator, layer_sizes, is_compact):
        checked = original(estimator, layer_sizes, is_compact)
        network = fitted.network_of(estimator)
        return network if network.dtype == checked.dtype else checked

    original = fitted.network_to_continue
    monkeypatch.setattr(fitted, "network_to_continue", network_to_continue)


def predicts_with_the_draft(monkeypatch):
    """During a fit, predictions have the new network already."""
    origins, draft_of, solve = {}, fitted.draft_of, BaseMLP._solve

    def remembered(estimator):
        draft = draft_of(estimator)
        origins[id(draft)] = estimator
        return draft

    def exposed(draft, problem):
        estimator = origins[id(draft)]
        kept = estimator.__dict__
        estimator.__dict__ = draft_of(draft).__dict__
        fitted.take_network(estimator, problem.network)
        try:
            time.sleep(SWITCH_SECONDS)
            return solve(draft, problem)
        finally:
            estimator.__dict__ = kept

    monkeypatch.setattr(fitted, "draft_of", remembered)
    monkeypatch.setattr(BaseMLP, "_solve", exposed)


def set_params_changes_the_network(monkeypatch):
    """A new alpha shrinks the weights at once."""

    def set_params(estimator, **parameters):
        original(estimator, **parameters)
        if "alpha" in parameters and hasattr(estimator, "coefs_"):
            estimator.coefs_[0] *= 1 - 1e-9
        return estimator

    original = BaseMLP.set_params
    monkeypatch.setattr(BaseMLP, "set_params", set_params)


def pickles_forget_the_optimizer(monkeypatch):
    """A restored model begins its moments anew."""

    def plain_state(state):
        return {key: value for key, value in original(state).items() if key != "_optimizer"}

    original = fitted.plain_state
    monkeypatch.setattr(fitted, "plain_state", plain_state)


def restored_steps_begin_anew(monkeypatch):
    """A restored optimizer has its moments, but counts its steps from zero."""

    def from_arrays(state):
        return original({**state, "step": 0})

    original = OptimizerState.from_arrays
    monkeypatch.setattr(OptimizerState, "from_arrays", from_arrays)


def random_state_does_not_advance(monkeypatch):
    """Every epoch is shuffled in the same way."""
    original = Descent.shuffle
    monkeypatch.setattr(
        Descent, "shuffle", lambda self, state: original(self, copy.deepcopy(state))
    )


def curves_grow_before_the_fit_ends(monkeypatch):
    """A callback or an interrupt at the end leaves longer curves."""

    def attributes(history):
        history.finish()
        history.finish = history.undo = lambda: None
        return original(history)

    original = History.unfinished_attributes
    monkeypatch.setattr(History, "unfinished_attributes", attributes)


def improvement_is_forgotten(monkeypatch):
    """A warm start counts the epochs without improvement from zero."""
    begin = History.of.__func__

    def of(cls, estimator):
        history = begin(cls, estimator)
        history.no_improvement_count = 0
        return history

    monkeypatch.setattr(History, "of", classmethod(of))


def clones_stay_fitted(monkeypatch):
    """clone copies everything."""
    monkeypatch.setattr(BaseMLP, "__sklearn_clone__", copy.deepcopy, raising=False)


def forks_begin_elsewhere(monkeypatch):
    """A forked child has other initial weights."""

    def initialize(network, *arguments):
        original(network, *arguments)
        if os.getpid() != PARENT:
            network.coefs[0][:] *= 1 + 1e-9

    original = base.initialize
    monkeypatch.setattr(base, "initialize", initialize)


def rows_depend_on_company(monkeypatch):
    """The last bit of a prediction depends on the number of rows."""

    def layer_outputs(*arguments):
        outputs = original(*arguments)
        return np.nextafter(outputs, 0) if len(outputs) > 1 else outputs

    original = base.layer_outputs
    for module in ("base", "outputs"):
        monkeypatch.setattr(f"fastmlp._estimator.{module}.layer_outputs", layer_outputs)
    monkeypatch.setattr("fastmlp.estimators.layer_outputs", layer_outputs)


def sizes_may_change(monkeypatch):
    """A warm start goes on with the old layers, whatever hidden_layer_sizes says."""

    def network_to_continue(estimator, layer_sizes, is_compact):
        return original(estimator, fitted.network_of(estimator).layer_sizes, is_compact)

    original = fitted.network_to_continue
    monkeypatch.setattr(fitted, "network_to_continue", network_to_continue)


def ctrl_c_gives_no_warning(monkeypatch):
    """An interrupted fit ends silently."""
    monkeypatch.setattr(loop, "interrupted", lambda: ResourceWarning("interrupted"))


FAULTS = [
    commits_before_validation,
    trains_the_fitted_network,
    predicts_with_the_draft,
    set_params_changes_the_network,
    pickles_forget_the_optimizer,
    restored_steps_begin_anew,
    random_state_does_not_advance,
    curves_grow_before_the_fit_ends,
    improvement_is_forgotten,
    clones_stay_fitted,
    forks_begin_elsewhere,
    rows_depend_on_company,
    sizes_may_change,
    ctrl_c_gives_no_warning,
]
