"""The benchmarks' own arithmetic: operations, tables, the scaling model, the graph for ONNX."""

import dataclasses
import importlib
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier

from benchmarks import charts, libraries, peers, primitives, scaling
from benchmarks.common import WORKLOADS, Network, aligned_table, in_units
from benchmarks.primitives import STEPPED, Machine
from fastmlp._engine.jit.target import tile_shapes


def a_machine(**changes):
    """A machine whose tiles of any shape take the same time for a multiply-add."""
    machine = Machine(
        tiles={
            (product, height, width): (0.0, height * width * 1e-10)
            for product in ("forward", "weight gradient")
            for height, width in tile_shapes()
        },
        together=1.0, barrier=0.0, hand_over=0.0, shared=0.0, memory=0.0, memory_of_all=0.0,
        updates=dict.fromkeys(STEPPED, 0.0), element=0.0, output=0.0,
        private_bytes=1 << 20, cores=2,
    )  # fmt: skip
    return dataclasses.replace(machine, **changes)


def model_of(workload, **changes):
    return scaling.Model(a_machine(**changes), WORKLOADS[workload], 1e15)


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


def test_a_measurement_goes_on_until_it_is_long_enough():
    asked = []

    def run(count):  # as a difference of two noisy fits may be
        asked.append(count)
        return -1.0 if count < 4 else count * 0.1

    assert libraries.seconds_each(run)() == pytest.approx(0.1)
    assert asked == [1, 2, 4, 4]


def test_openblas_is_left_to_choose_its_kernels_in_the_processes_that_are_timed():
    overrides = {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "512"}
    code = (
        "import os, sys, benchmarks\n"
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
    model = libraries.fitted(SklearnMLPClassifier, network, dtype)
    X = np.random.RandomState(1).rand(20, 6).astype(dtype)
    expected = model.predict_proba(X)
    assert predict(X).dtype == expected.dtype == dtype
    np.testing.assert_allclose(predict(X), expected, rtol=1e-5)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_without_costs_of_sharing_more_cores_are_never_slower(workload):
    epochs = [model_of(workload).best_grid(cores)[0] for cores in scaling.CORES]
    assert all(after <= before * 1.001 for before, after in itertools.pairwise(epochs))
    assert epochs[0] / 2.1 < epochs[1] < epochs[0] / 1.8


def test_a_dear_barrier_makes_more_cores_slower():
    epochs = [model_of("small_batch", barrier=1e-4).epoch(cores) for cores in scaling.CORES]
    assert epochs[0] < epochs[1] < epochs[-1]
    assert scaling.last_that_pays(epochs) == 1


def test_columns_are_shared_once_rows_run_out():
    model = model_of("wide")  # 128 rows in tiles of several: 128 cores cannot fill them by rows
    seconds, row_groups, column_groups = model.best_grid(128)
    assert row_groups * column_groups == 128
    assert column_groups > 1
    assert seconds < model.epoch(128)


def test_memory_bounds_an_epoch_from_below():
    workload = WORKLOADS["mnist"]
    model = scaling.Model(a_machine(), workload, 1e6)
    assert model.epoch(128) == pytest.approx(workload.rows * 784 * 4 / 1e6)


def test_each_piece_of_the_model_can_be_measured(monkeypatch):
    for name, value in {
        "ROUNDS": 1,
        "CROSSINGS": 10,
        "HAND_OVERS": 2,
        "STEPPED": (64, 256),
    }.items():
        monkeypatch.setattr(primitives, name, value)
    for name in ("HANDED_BYTES", "SHARED_BYTES", "MEMORY_BYTES"):
        monkeypatch.setattr(primitives, name, 1 << 14)
    machine = primitives.measure_machine()
    assert all(begin >= 0 and each > 0 for begin, each in machine.tiles.values())
    for name in ("shared", "memory", "memory_of_all", "element", "output"):
        assert getattr(machine, name) > 0, name
    assert 0 < machine.together <= 1
    assert machine.barrier >= 0 and machine.hand_over >= 0
    assert set(machine.updates) == {64, 256} and min(machine.updates.values()) > 0


@pytest.mark.parametrize(
    "name", ["fashion_mnist", "growth", "inference", "kernels", "roofline", "startup", "training"]
)
def test_every_module_of_the_suite_can_be_imported(name):
    assert importlib.import_module(f"benchmarks.{name}").__doc__
