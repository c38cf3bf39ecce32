"""What each library does in a process of its own: train a workload, or predict with a network.

Each is used as its manual says it is fast: scikit-learn and fastmlp by `fit`, PyTorch with its
fused Adam (in bfloat16 by autocast), JAX with a whole epoch in one compiled program, ONNX Runtime
on a graph of Gemm nodes. All run Adam with the same rates on the same batches; the peers do without
the L2 penalty that scikit-learn and fastmlp apply.
"""

import importlib
import itertools
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection

import numpy as np

from benchmarks.suite.common import (
    LEARNING_RATE,
    NETWORKS,
    WORKLOADS,
    Network,
    Workload,
    estimator_trainer,
    fitted,
    make_data,
    repeated,
    seconds_each,
)
from fastmlp._engine.jit.target import target

OPSET = 17  # of ONNX: has every node used here, and is known to every current runtime


def train_fastmlp(workload: Workload, dtype: str) -> Callable[[int], float]:
    from fastmlp import MLPClassifier

    return estimator_trainer(MLPClassifier, workload, dtype)


def train_sklearn(workload: Workload, dtype: str) -> Callable[[int], float]:
    from sklearn.neural_network import MLPClassifier

    return estimator_trainer(MLPClassifier, workload, dtype)


def train_fastmlp_bfloat16(workload: Workload, dtype: str) -> Callable[[int], float]:
    from fastmlp import MLPClassifier

    return estimator_trainer(MLPClassifier, workload, dtype, precision="bfloat16")


def train_torch_bfloat16(workload: Workload, dtype: str) -> Callable[[int], float]:
    return train_torch(workload, dtype, in_bfloat16=True)


def train_torch(
    workload: Workload, dtype: str, in_bfloat16: bool = False
) -> Callable[[int], float]:
    import torch

    torch.manual_seed(0)
    cast = torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16)
    sizes = workload.network.sizes
    layers = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-1]).to(getattr(torch, dtype))
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE, fused=True)
    X, y = (torch.from_numpy(a) for a in make_data(workload.rows, workload.network, dtype))

    def epoch() -> None:
        for batch in torch.randperm(workload.rows).split(workload.batch_size):
            optimizer.zero_grad()
            with cast:
                loss = torch.nn.functional.cross_entropy(network(X[batch]), y[batch])
            loss.backward()
            optimizer.step()

    return repeated(epoch)


def train_jax(workload: Workload, dtype: str) -> Callable[[int], float]:
    import jax
    import optax

    jax.config.update("jax_enable_x64", dtype == "float64")
    X, y = (jax.numpy.asarray(a) for a in make_data(workload.rows, workload.network, dtype))
    sizes, random_state = workload.network.sizes, np.random.RandomState(0)
    parameters = [
        (
            jax.numpy.asarray(0.05 * random_state.randn(n_in, n_out), dtype),
            jax.numpy.zeros(n_out, dtype),
        )
        for n_in, n_out in itertools.pairwise(sizes)
    ]
    optimizer = optax.adam(LEARNING_RATE)
    batches, rest = divmod(workload.rows, workload.batch_size)

    def loss(parameters, x, labels):
        *hidden, (weights, bias) = parameters
        for W, b in hidden:
            x = jax.nn.relu(x @ W + b)
        logits = x @ weights + bias
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def whole_epoch(carry, X, y, order):
        def step(carry, batch):
            parameters, state = carry
            gradient = jax.grad(loss)(parameters, X[batch], y[batch])
            updates, state = optimizer.update(gradient, state, parameters)
            return (optax.apply_updates(parameters, updates), state), None

        full = order[: batches * workload.batch_size].reshape(batches, workload.batch_size)
        carry, _ = jax.lax.scan(step, carry, full)
        return step(carry, order[-rest:])[0] if rest else carry

    carry = parameters, optimizer.init(parameters)

    def epoch() -> None:
        nonlocal carry
        order = random_state.permutation(workload.rows)
        carry = jax.block_until_ready(whole_epoch(carry, X, y, order))

    return repeated(epoch)


def predict_fastmlp(network: Network, dtype: str) -> Callable[[np.ndarray], np.ndarray]:
    from fastmlp import MLPClassifier

    return fitted(MLPClassifier, network, dtype).predict_proba


def predict_fastmlp_bfloat16(network: Network, dtype: str) -> Callable[[np.ndarray], np.ndarray]:
    from fastmlp import MLPClassifier

    return fitted(partial(MLPClassifier, precision="bfloat16"), network, dtype).predict_proba


def predict_sklearn(network: Network, dtype: str) -> Callable[[np.ndarray], np.ndarray]:
    from sklearn.neural_network import MLPClassifier

    return fitted(MLPClassifier, network, dtype).predict_proba


def onnx_graph(coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> bytes:
    """A classifier's graph: Gemm and Relu by turns, and Softmax; input "X", output "P"."""
    from onnx import helper, numpy_helper

    kind = helper.np_dtype_to_tensor_dtype(coefs[0].dtype)
    nodes, constants, below = [], [], "X"
    for index, (W, b) in enumerate(zip(coefs, intercepts, strict=True)):
        names = [f"W{index}", f"b{index}"]
        constants += [
            numpy_helper.from_array(np.ascontiguousarray(a), name)
            for a, name in zip((W, b), names, strict=True)
        ]
        nodes.append(helper.make_node("Gemm", [below, *names], [f"z{index}"]))
        is_last = index == len(coefs) - 1
        below = "P" if is_last else f"a{index}"
        nodes.append(helper.make_node("Softmax" if is_last else "Relu", [f"z{index}"], [below]))
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("X", kind, ["rows", coefs[0].shape[0]])],
        [helper.make_tensor_value_info("P", kind, ["rows", coefs[-1].shape[1]])],
        constants,
    )
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model_gen_version(graph, opset_imports=opset).SerializeToString()


def predict_onnxruntime(network: Network, dtype: str) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime
    from sklearn.neural_network import MLPClassifier

    model = fitted(MLPClassifier, network, dtype)
    session = onnxruntime.InferenceSession(
        onnx_graph(model.coefs_, model.intercepts_), providers=["CPUExecutionProvider"]
    )
    return lambda X: session.run(None, {"X": X})[0]


TRAINERS = {
    "fastmlp": train_fastmlp,
    "fastmlp-bfloat16": train_fastmlp_bfloat16,
    "sklearn": train_sklearn,
    "torch": train_torch,
    "torch-bfloat16": train_torch_bfloat16,
    "jax": train_jax,
}
PREDICTORS = {
    "fastmlp": predict_fastmlp,
    "fastmlp-bfloat16": predict_fastmlp_bfloat16,
    "sklearn": predict_sklearn,
    "onnxruntime": predict_onnxruntime,
}
TITLES = {
    "fastmlp": "fastmlp",
    "fastmlp-bfloat16": "fastmlp, bfloat16",
    "sklearn": "scikit-learn",
    "torch": "PyTorch",
    "torch-bfloat16": "PyTorch, bfloat16",
    "jax": "JAX",
    "onnxruntime": "ONNX Runtime",
}
# Those that are measured if none are named: bfloat16 where it is faster than float32.
USUAL = [name for name in TITLES if target().has_bfloat16 or not name.endswith("-bfloat16")]


def training_clock(library: str, workload: str, dtype: str) -> Callable[[], float]:
    """A function that trains for a while and returns seconds per epoch."""
    return seconds_each(TRAINERS[library](WORKLOADS[workload], dtype))


def prediction_clock(library: str, network: str, rows: int, dtype: str) -> Callable[[], float]:
    """A function that predicts for a while and returns seconds per call."""
    predict = PREDICTORS[library](NETWORKS[network], dtype)
    X, _ = make_data(rows, NETWORKS[network], dtype)
    return seconds_each(repeated(lambda: predict(X)))


def serve(connection: Connection, clock: Callable, arguments: tuple) -> None:
    """Answer every request with one measurement; the first answer is a version or a reason."""
    try:
        measure = clock(*arguments)
    except ImportError as error:
        connection.send((False, f"not installed ({error})"))
        return
    package, _, _ = arguments[0].partition("-")
    connection.send((True, importlib.import_module(package).__version__))
    while connection.recv():
        connection.send(measure())
