"""A fitted estimator as C source, for machines without Python."""

import re
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.base import is_classifier

from fastmlp._engine.kernels.activations import LEAK, SELU_LIMIT, SELU_SLOPE
from fastmlp._estimator.architecture import Architecture
from fastmlp._estimator.fitted import completed
from fastmlp.interop.onnx_graph import is_multilabel
from fastmlp.version import __version__

LINE_WIDTH = 96  # characters of a line of numbers

LOGISTIC = "1.0f / (1.0f + expf(-z))"
SOFTPLUS = "(z < 0.0f ? 0.0f : z) + log1pf(expf(-fabsf(z)))"
# The C expression of each hidden activation f(z). A test compares the names with the engine's.
ACTIVATIONS = {
    "identity": "z",
    "logistic": LOGISTIC,
    "tanh": "tanhf(z)",
    "relu": "z < 0.0f ? 0.0f : z",
    "leaky_relu": f"z < 0.0f ? {LEAK}f * z : z",
    "elu": "z < 0.0f ? expm1f(z) : z",
    "selu": f"z < 0.0f ? {SELU_LIMIT:.9g}f * expm1f(z) : {SELU_SLOPE:.9g}f * z",
    "gelu": "0.5f * z * erfcf(-0.70710678f * z)",
    "silu": "z / (1.0f + expf(-z))",
    "softplus": SOFTPLUS,
    "mish": f"z * tanhf({SOFTPLUS})",
}
# The same for outputs. Softmax takes all outputs at once.
OUTPUTS = {"identity": "z", "logistic": LOGISTIC, "exp": "expf(z)", "softmax": None}

LAYER = """\
/* outputs = inputs W + b, with W row by row: the weights of an input stand together. */
static void {prefix}_layer(const float *weights, const float *biases, int n_in, int n_out,
    const float *restrict inputs, float *restrict outputs)
{{
    int i, j;
    for (j = 0; j < n_out; j++)
        outputs[j] = biases[j];
    for (i = 0; i < n_in; i++)
        for (j = 0; j < n_out; j++)
            outputs[j] += inputs[i] * *weights++;
}}
"""
SOFTMAX = """\
static void {prefix}_softmax(float *values, int count)
{{
    float highest = values[0], sum = 0.0f;
    int j;
    for (j = 1; j < count; j++)
        if (values[j] > highest)
            highest = values[j];
    for (j = 0; j < count; j++)
        sum += values[j] = expf(values[j] - highest);
    for (j = 0; j < count; j++)
        values[j] /= sum;
}}
"""
ELEMENTWISE = """\
static void {prefix}_{function}(float *values, int count)
{{
    int j;
    for (j = 0; j < count; j++) {{
        const float z = values[j];
        values[j] = {expression};
    }}
}}
"""
PREDICT_CLASS = """\
int {prefix}_predict(const float *x)
{{
    float probabilities[{outputs}];
    int j, best = 0;
    {prefix}_predict_proba(x, probabilities);
    for (j = 1; j < {outputs}; j++)
        if (probabilities[j] > probabilities[best])
            best = j;
    return best;
}}
"""
PREDICT_LABELS = """\
void {prefix}_predict(const float *x, int *labels)
{{
    float probabilities[{outputs}];
    int j;
    {prefix}_predict_proba(x, probabilities);
    for (j = 0; j < {outputs}; j++)
        labels[j] = probabilities[j] > 0.5f;
}}
"""


def to_c(estimator, *, prefix: str = "mlp") -> str:
    """Convert a fitted model to C source: one C99 file that needs nothing but `math.h`.

    The file is for small machines, and computes in float32. All its names begin with `prefix`. With
    the prefix 'mlp', a classifier has these functions:

    - ``int mlp_predict(const float *x)`` returns the index of the most likely class in the table
      ``mlp_classes``. For multilabel y it is ``void mlp_predict(const float *x, int *labels)``,
      which writes a 0 or 1 for each label.
    - ``void mlp_predict_proba(const float *x, float *probabilities)`` writes the probability of
      each class.

    A regressor has ``void mlp_predict(const float *x, float *values)``. The macros
    ``MLP_N_FEATURES`` and ``MLP_N_OUTPUTS`` are the lengths of `x` and of the output.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator of fastmlp or scikit-learn. For a pipeline, pass the fitted step; what
        the steps before it do to X, such as scaling, must be done in C as well.
    prefix : str, default='mlp'
        The beginning of all names: a C identifier.

    Returns
    -------
    str
        ASCII text. Its first comment has the layers, the functions, and the bytes of constants and
        of stack.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If it is not a multilayer perceptron.
    ValueError
        If `prefix` is not an identifier, if an activation has no C expression, if weights exceed
        the range of float32, or if labels are neither strings nor numbers.

    See Also
    --------
    to_onnx : Convert to ONNX, for machines with a runtime.

    Notes
    -----
    Weights are rounded to float32. Predictions of scaled data differ from those in float64 by some
    1e-6. The functions use the stack only, do not keep any state, and may run in several threads.
    Bytes may differ between compilers.

    A classifier of 784-30-10 takes 96 kB, of which 95 are weights, and 160 bytes of buffers. A
    prediction takes 1.6 us with ``gcc -O3``, 5.4 us with ``-O2`` and 15.5 us with ``-Os`` (gcc 12,
    AMD EPYC, Zen 3).

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from fastmlp.interop import to_c
    >>> from sklearn.datasets import load_iris
    >>> iris = load_iris()
    >>> model = MLPClassifier((5,), max_iter=50, random_state=0)
    >>> model = model.fit(iris.data, iris.target_names[iris.target])
    >>> source = to_c(model, prefix="iris")
    >>> print(source.splitlines()[0])
    /* A multilayer perceptron: 4 - 5 (relu) - 3 (softmax).
    >>> [line for line in source.splitlines() if "iris_classes[" in line]
    ['const char *const iris_classes[3] = {"setosa", "versicolor", "virginica"};']
    """
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", prefix):
        raise ValueError(f"prefix must be a C identifier of ASCII characters, got {prefix!r}")
    return "\n".join(_Source(estimator, prefix).parts())


class _Source:
    """The parts of the C source of an estimator."""

    def __init__(self, estimator, prefix: str):
        self.architecture = Architecture.of(estimator)
        self.estimator, self.prefix = completed(estimator), prefix
        self.sizes, self.activations = self.architecture.layer_sizes, self.architecture.activations
        for tables, activation in zip(
            [ACTIVATIONS] * (len(self.activations) - 1) + [ACTIVATIONS | OUTPUTS],
            self.activations,
            strict=True,
        ):
            if activation not in tables:
                raise ValueError(f"activation {activation!r} has no C expression")
        self.is_classifier = is_classifier(self.estimator)
        if getattr(estimator, "loss", None) == "quantile" and estimator.sort_quantiles:
            raise ValueError("sort_quantiles=True has no C source: set it to False")
        self.is_multilabel = self.is_classifier and is_multilabel(self.estimator)
        # Two classes have one output, and two probabilities.
        self.n_outputs = max(self.sizes[-1], 2 if self.is_classifier else 1)
        if self.is_multilabel:
            self.n_outputs = self.sizes[-1]
        hidden = self.sizes[1:-1]
        self.buffers = [max(hidden[parity::2]) for parity in range(min(2, len(hidden)))]

    def parts(self) -> Iterator[str]:
        """The parts, in order."""
        yield self._comment()
        upper = self.prefix.upper()
        yield (
            "#include <math.h>\n\n"
            f"#define {upper}_N_FEATURES {self.sizes[0]}\n"
            f"#define {upper}_N_OUTPUTS {self.n_outputs}\n"
        )
        if self.is_classifier and not self.is_multilabel:
            yield _table_of_labels(self.prefix, self.estimator.classes_, self.n_outputs)
        for layer, (coef, intercept) in enumerate(
            zip(self.estimator.coefs_, self.estimator.intercepts_, strict=True)
        ):
            yield _array(f"{self.prefix}_weights_{layer}", coef)
            yield _array(f"{self.prefix}_biases_{layer}", intercept)
        yield LAYER.format(prefix=self.prefix)
        for activation in dict.fromkeys(self.activations):
            if activation == "softmax":
                yield SOFTMAX.format(prefix=self.prefix)
            elif activation != "identity":
                expression = (ACTIVATIONS | OUTPUTS)[str(activation)]
                yield ELEMENTWISE.format(
                    prefix=self.prefix, function=activation, expression=expression
                )
        yield self._forward()
        if self.is_classifier:
            template = PREDICT_LABELS if self.is_multilabel else PREDICT_CLASS
            yield template.format(prefix=self.prefix, outputs=self.n_outputs)

    def _comment(self) -> str:
        """What the file holds, for people."""
        prefix, units = self.prefix, [f"{self.sizes[0]}"]
        units += [
            f"{size} ({activation})"
            for size, activation in zip(self.sizes[1:], self.activations, strict=True)
        ]
        if not self.is_classifier:
            functions = [f"void {prefix}_predict(const float *x, float *values);"]
        else:
            functions = [f"int {prefix}_predict(const float *x);  the index in {prefix}_classes"]
            if self.is_multilabel:
                functions = [
                    f"void {prefix}_predict(const float *x, int *labels);  0 or 1 for each"
                ]
            functions.append(f"void {prefix}_predict_proba(const float *x, float *probabilities);")
        floats = sum(self.architecture.parameters)
        stack = 4 * (sum(self.buffers) + (self.n_outputs if self.is_classifier else 0))
        lines = [
            f"A multilayer perceptron: {' - '.join(units)}.",
            f"Written by fastmlp {__version__}. C99; link with -lm.",
            "",
            *functions,
            "",
            f"Constants: {4 * floats} bytes, {floats} floats. Buffers on the stack: {stack} bytes.",
        ]
        names = getattr(self.estimator, "feature_names_in_", None)
        if names is not None:
            lines += ["", "The features:"]
            lines += [f"x[{n}] {_escaped(str(each))}" for n, each in enumerate(names)]
        return "/* " + "\n   ".join(lines).replace("   \n", "\n") + "\n*/"

    def _forward(self) -> str:
        """The function that computes the network's outputs."""
        prefix, last = self.prefix, len(self.activations) - 1
        function, outputs = ("predict", "values")
        if self.is_classifier:
            function, outputs = ("predict_proba", "probabilities")
        lines = [f"void {prefix}_{function}(const float *x, float *{outputs})", "{"]
        lines += [f"    float buffer_{n}[{size}];" for n, size in enumerate(self.buffers)]
        is_single = self.is_classifier and self.n_outputs > self.sizes[-1]
        source = "x"
        for layer, activation in enumerate(self.activations):
            to = outputs if layer == last else f"buffer_{layer % 2}"
            if layer == last and is_single:
                to = f"{outputs} + 1"
            n_in, n_out = self.sizes[layer : layer + 2]
            lines += [
                f"    {prefix}_layer({prefix}_weights_{layer}, {prefix}_biases_{layer}, "
                f"{n_in}, {n_out}, {source}, {to});"
            ]
            if activation != "identity":
                lines += [f"    {prefix}_{activation}({to}, {n_out});"]
            source = to
        if is_single:
            lines += [f"    {outputs}[0] = 1.0f - {outputs}[1];"]
        return "\n".join([*lines, "}", ""])


def _array(name: str, values: np.ndarray) -> str:
    """A constant array of floats, in row-major order."""
    with np.errstate(over="ignore"):
        numbers = np.asarray(values, np.float32)
    if not np.isfinite(numbers).all():
        raise ValueError("weights or biases are not finite in float32")
    # The shortest decimal that rounds to the same float32.
    elements = [f"{number}f" for number in numbers.ravel().astype(str)]
    return f"static const float {name}[{numbers.size}] = {{\n{_wrapped(elements)}\n}};\n"


def _wrapped(elements: Sequence[str]) -> str:
    """The elements, separated by commas, in lines of limited width."""
    lines, width = [["   "]], 3
    for element in elements:
        if width + len(element) + 2 > LINE_WIDTH:
            lines.append(["   "])
            width = 3
        lines[-1].append(f"{element},")
        width += len(element) + 2
    return "\n".join(" ".join(line) for line in lines)


def _table_of_labels(prefix: str, classes, count: int) -> str:
    """The classes as an array of strings, whole numbers or doubles; a single class comes twice."""
    labels = list(np.asarray(classes).tolist())
    labels = labels * count if len(labels) == 1 else labels
    if all(isinstance(label, str) for label in labels):
        kind, values = "char *const", [f'"{_escaped(label)}"' for label in labels]
    elif all(isinstance(label, bool | int) for label in labels):
        most = max(abs(int(label)) for label in labels)
        if most >= 1 << 63:
            raise ValueError(f"labels must fit 64 bits for C, got {classes!r}")
        kind, suffix = ("long", "L") if most < 1 << 31 else ("long long", "LL")
        values = [f"{int(label)}{suffix}" for label in labels]
    elif all(isinstance(label, float) for label in labels):
        kind, values = "double", [repr(label) for label in labels]
    else:
        raise ValueError(f"labels must be strings or numbers for C, got {classes!r}")
    table = ", ".join(values)
    if len(table) > LINE_WIDTH // 2:
        table = f"\n{_wrapped(values)}\n"
    return f"const {kind} {prefix}_classes[{count}] = {{{table}}};\n"


def _escaped(text: str) -> str:
    """Text for a string literal or a comment of C, in ASCII.

    Octal escapes take three digits at most, so what follows cannot run on. Question marks could
    begin trigraphs, and stars end comments.
    """
    return "".join(
        chr(byte) if re.match(r"[\w .,:;()\[\]+\-=<>%@]", chr(byte), re.ASCII) else f"\\{byte:03o}"
        for byte in text.encode()
    )
