"""The rules of the state machine: what may be done to an estimator, in any order."""

import contextlib
import copy
import os
import threading
import warnings
from collections import Counter
from functools import wraps

import numpy as np
import sklearn
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from interrupting import HandlerError, lines_until
from sklearn.base import clone, is_classifier

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.interop import from_sklearn, to_sklearn
from state_machine.copies import answer_of_fork, through
from state_machine.draws import (
    INVALID,
    METHODS,
    OWN,
    OWN_OF_CLASSIFIERS,
    SAMPLES,
    SHARED,
    samples,
    samples_of,
    values_of,
)
from state_machine.model import (
    Trio,
    attempt,
    digest,
    fitted_names,
    outputs,
    plain,
    state_of,
    uses_shared_parameters,
)
from state_machine.raising import Raising

REPORTED = 5_000  # steps between two lines about the steps so far
STEPS = Counter()  # how many steps of which kind have been made


def of_fitted(rule):
    """Make a rule do nothing while the estimator is not fitted.

    Not a precondition: the lines of a call, where interrupts come, may differ between runs, and so
    what is fitted. hypothesis wants the same rules to be possible.
    """

    @wraps(rule)
    def guarded(self, **drawn):
        if self.trio.is_fitted:
            rule(self, **drawn)

    return guarded


class AnyOrder(RuleBasedStateMachine):
    """The rules: what may be done to an estimator. `Trio` knows what must hold."""

    reports = 0  # of the steps so far

    @initialize(
        kind=st.sampled_from(["classifier", "classifier", "regressor", "poisson"]),
        parameters=st.fixed_dictionaries(
            {name: st.sampled_from(values) for name, values in SHARED.items()}
        ),
        home=st.sampled_from(["binary", "three", "strings", "several"]),
        samples=samples(["home"]),
        is_fitted=st.sampled_from([True, True, False]),
    )
    def begin(self, kind, parameters, home, samples, is_fitted):
        parameters = {**parameters, "validation_fraction": 0.3}
        if kind == "classifier":
            self.trio = Trio(MLPClassifier(**parameters))
        else:
            home = "binary" if home == "strings" else home
            loss = "poisson" if kind == "poisson" else "squared_error"
            self.trio = Trio(MLPRegressor(loss, **parameters))
        self.home = home
        if is_fitted:
            self.train("fit", samples)

    def named(self, samples):
        """Samples of the usual family in place of "home"."""
        return samples._replace(family=self.home) if samples.family == "home" else samples

    def options(self, method, samples, gives_classes):
        """Arguments of partial_fit: the classes, which the first call needs."""
        ours = self.trio.ours
        if method == "fit" or not is_classifier(ours) or not gives_classes:
            return {}
        y = samples_of(samples._replace(rows=30), True)[1]
        return {"classes": range(3) if y.ndim == 2 else np.unique(y)}

    @rule(samples=SAMPLES)
    def fit(self, samples):
        self.train("fit", samples)

    @rule(samples=SAMPLES, gives_classes=st.booleans())
    def partial_fit(self, samples, gives_classes):
        self.train("partial_fit", samples, gives_classes)

    @rule(samples=samples(["home"]), method=METHODS)
    @of_fitted
    def go_on(self, samples, method):
        self.train(method, samples)

    def train(self, method, samples, gives_classes=False):
        samples = self.named(samples)
        error = self.trio.train(method, samples, **self.options(method, samples, gives_classes))
        if error is None and method == "fit":
            self.home = samples.family
        STEPS[f"{method}, {'refused' if error else 'done'}"] += 1
        return error

    @rule(changes=values_of(SHARED, 3))
    def set_params(self, changes):
        changes.pop("hidden_layer_sizes", None)  # else most later calls would be refused
        self.trio.set_params(**changes)
        STEPS["set_params"] += 1

    @rule(
        samples=samples(["home"]),
        method=METHODS,
        sizes=st.sampled_from(SHARED["hidden_layer_sizes"]),
    )
    @of_fitted
    def go_on_with_other_sizes(self, samples, method, sizes):
        before = self.trio.ours.hidden_layer_sizes
        self.trio.set_params(hidden_layer_sizes=sizes)
        if self.train(method, samples) is not None:
            self.trio.set_params(hidden_layer_sizes=before)
        STEPS["other sizes"] += 1

    @rule(data=st.data(), resets=st.booleans())
    def set_own_params(self, data, resets):
        ours = self.trio.ours
        table = OWN | (OWN_OF_CLASSIFIERS if is_classifier(ours) else {})
        if resets:
            shared = {"solver": "adam", "activation": "relu", "learning_rate": "constant"}
            defaults = type(ours)().get_params()
            changes = {name: shared.get(name, defaults[name]) for name in table}
        else:
            changes = data.draw(values_of(table, 2))
        self.trio.set_params(**changes)
        STEPS["own options"] += 1

    @rule(samples=SAMPLES, invalid=st.sampled_from(INVALID), method=METHODS)
    def train_with_an_invalid_parameter(self, samples, invalid, method):
        if self.trio.is_fitted:  # in a later partial_fit, neither library looks at parameters
            method = "fit"
        valid = {name: getattr(self.trio.ours, name) for name in invalid}
        self.trio.set_params_unseen(**invalid)
        samples = self.named(samples)
        error = self.trio.train(method, samples, **self.options(method, samples, True))
        assert error is not None
        self.trio.set_params_unseen(**valid)
        STEPS["invalid parameter"] += 1

    @rule(samples=samples(["wide", "nan", "three"]), rows=st.integers(1, 9))
    @of_fitted
    def predict(self, samples, rows):
        trio = self.trio
        X = samples_of(samples, False)[0]
        before = state_of(trio.ours)
        outcome = attempt(trio.ours.predict, X)
        fits = samples.family != "nan" and trio.ours.n_features_in_ == (
            3 + (samples.family == "wide")
        )
        assert (outcome.error is None) == fits
        assert fits or isinstance(outcome.error, ValueError)
        many = trio.probe(40)
        chosen = np.random.RandomState(rows).randint(0, 40, rows)
        for part, whole in zip(
            outputs(trio.ours, many[chosen]), outputs(trio.ours, many), strict=True
        ):
            assert plain(part) == plain(whole[chosen])
        assert state_of(trio.ours) == before
        STEPS["predict"] += 1

    @rule(n_jobs=st.sampled_from([1, 2, 3]))
    @of_fitted
    def predict_from_two_threads(self, n_jobs):
        trio, seen = self.trio, []
        X = trio.probe(40)
        expected = plain(outputs(trio.ours, X))
        trio.set_params(n_jobs=n_jobs)
        threads = [
            threading.Thread(target=lambda: seen.append(plain(outputs(trio.ours, X))))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [expected, expected]
        STEPS["predict from two threads"] += 1

    @rule(samples=SAMPLES, method=METHODS)
    @of_fitted
    def predict_during_a_fit(self, samples, method):
        trio, samples = self.trio, self.named(samples)
        X, seen, stop = trio.probe(), [], threading.Event()
        allowed = {answer(trio.ours, X)}

        def predict():
            while not stop.is_set():
                seen.append(answer(trio.ours, X))

        thread = threading.Thread(target=predict)
        thread.start()
        # Validation catches warnings, and so takes those of the other thread away.
        trio.compares_warnings = False
        try:
            trio.train(method, samples, **self.options(method, samples, False))
        finally:
            stop.set()
            thread.join()
            trio.compares_warnings = True
        allowed.add(answer(trio.ours, X))
        assert set(seen) <= allowed
        STEPS["predict during a fit"] += 1

    @rule(
        how=st.sampled_from(["pickle", "joblib", "deepcopy", "skops"]),
        n_jobs=st.sampled_from([1, 2, 3]),
    )
    def copy(self, how, n_jobs):
        trio = self.trio
        trio.copy = through(how, trio.ours)
        assert state_of(trio.copy) == state_of(trio.ours)
        trio.copy.set_params(n_jobs=n_jobs)
        trio.ours, trio.copy = trio.copy, trio.ours  # both go on, and are compared
        STEPS[how] += 1

    @rule(replaces=st.sampled_from([False, False, False, True]))
    @of_fitted
    def clone(self, replaces):
        trio = self.trio
        before = state_of(trio.ours)
        assert state_of(trio.ours.set_params(**trio.ours.get_params())) == before
        copied = clone(trio.ours)
        assert not fitted_names(copied) and copied.get_params() == trio.ours.get_params()
        if replaces:
            self.trio = Trio(copied)
        STEPS["clone"] += 1

    @rule(factor=st.sampled_from([0.5, 1.01]), replaces=st.booleans())
    @of_fitted
    def change_the_weights(self, factor, replaces):
        trio = self.trio
        for model in filter(None, (trio.ours, trio.copy, trio.theirs)):
            if replaces:
                model.coefs_[-1] = model.coefs_[-1] * factor
            else:
                model.coefs_[0] *= factor
        STEPS["weights by hand"] += 1

    @rule(samples=SAMPLES, method=METHODS)
    def fork(self, samples, method):
        if not hasattr(os, "fork"):
            return
        trio, samples = self.trio, self.named(samples)
        twin = copy.deepcopy(trio.ours)
        X, y, weight = samples_of(samples, is_classifier(twin))
        options = self.options(method, samples, not trio.is_fitted)

        def trained(model):
            before = outputs(model, trio.probe()) if trio.is_fitted else ()
            outcome = attempt(Trio.method_of(model, method), X, y, weight, **options)
            return digest(plain(before), str(outcome.error), state_of(model)).encode()

        assert answer_of_fork(lambda: trained(trio.ours)) == trained(twin)
        STEPS["fork"] += 1

    @rule(
        samples=SAMPLES,
        method=st.sampled_from(["fit", "partial_fit", "predict"]),
        place=st.one_of(st.integers(0, 99).map(lambda part: part / 100), st.integers(-80, -1)),
        error=st.sampled_from([HandlerError, KeyboardInterrupt]),
        within=st.sampled_from(["", "fastmlp/_estimator", "fastmlp/_training/loop", "fastmlp/"]),
    )
    def interrupt(self, samples, method, place, error, within):
        trio, samples = self.trio, self.named(samples)
        twin = copy.deepcopy(trio.ours)
        X, y, weight = samples_of(samples, is_classifier(twin))
        options = self.options(method, samples, not trio.is_fitted)
        arguments = (X,) if method == "predict" else (X, y, weight)
        before, outcome = state_of(trio.ours), None

        def call(model):
            nonlocal outcome
            outcome = attempt(Trio.method_of(model, method), *arguments, **options)

        # An interrupt may leave these as they were in the middle of the call.
        with np.errstate(all="ignore"), warnings.catch_warnings(), sklearn.config_context():
            lines = lines_until(None, call, twin, within=within)
            stop = lines + place if place < 0 else int(place * lines)
            outcome = None
            with contextlib.suppress(HandlerError, KeyboardInterrupt):
                lines_until(stop, call, trio.ours, error=error, within=within)
        after = state_of(trio.ours)
        if after == before:
            STEPS["interrupt, nothing done"] += 1
        elif after == state_of(twin):
            if method != "predict":
                trio.go_alone(twin)
            STEPS["interrupt, all done"] += 1
        else:
            assert error is KeyboardInterrupt and outcome is not None, "half an update"
            assert outcome.error is None and "UserWarning" in outcome.categories
            trio.go_alone()
            STEPS["interrupt, the model so far"] += 1

    @rule(
        samples=SAMPLES,
        task=st.sampled_from(["epoch", "fit"]),
        epoch=st.integers(1, 3),
        ends=st.booleans(),
    )
    def fit_with_a_callback(self, samples, task, epoch, ends):
        if not hasattr(self.trio.ours, "set_callbacks"):  # before scikit-learn 1.9
            return
        trio, samples = self.trio, self.named(samples)
        X, y, weight = samples_of(samples, is_classifier(trio.ours))
        twin, before = copy.deepcopy(trio.ours), state_of(trio.ours)
        trio.ours.set_callbacks(Raising(task, epoch, ends))
        raised = None
        try:
            raised = attempt(trio.ours.fit, X, y, weight).error
        except ArithmeticError as error:
            raised = error
        trio.ours.set_callbacks()
        if raised is not None:
            assert state_of(trio.ours) == before
            STEPS["callback, refused"] += 1
            return
        max_iter = twin.max_iter
        follows_schedule = twin.learning_rate in OWN["learning_rate"] or twin.warmup
        if ends and task == "epoch" and not follows_schedule:
            twin.set_params(max_iter=min(epoch, max_iter))
        attempt(twin.fit, X, y, weight)
        twin.set_params(max_iter=max_iter)
        if not (ends and follows_schedule):
            assert plain(twin.coefs_) == plain(trio.ours.coefs_)
        trio.go_alone()
        STEPS["callback, done"] += 1

    @rule(returns=st.booleans())
    @of_fitted
    def exchange_with_scikit_learn(self, returns):
        trio = self.trio
        if not uses_shared_parameters(trio.ours):
            return
        exported = to_sklearn(trio.ours)
        if returns:
            back = from_sklearn(exported).set_params(n_jobs=trio.ours.n_jobs)
            for mine, theirs in zip(
                outputs(back, trio.probe()), outputs(trio.ours, trio.probe()), strict=True
            ):
                assert plain(mine) == plain(theirs)
        trio.join(exported)
        STEPS["to_sklearn"] += 1

    def teardown(self):
        if STEPS.total() >= (self.reports + 1) * REPORTED:
            AnyOrder.reports += 1
            print(dict(STEPS.most_common()), "steps:", STEPS.total(), flush=True)

    @invariant()
    def what_must_hold(self):
        if hasattr(self, "trio"):
            self.trio.check()


def answer(model, X):
    """One prediction: the bytes, or the error."""
    predict = model.predict_proba if is_classifier(model) else model.predict
    try:
        return digest(plain(predict(X)))
    except ValueError as error:
        return str(error)
