"""MLPClassifier and MLPRegressor: signatures and docstrings."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, RegressorMixin

from fastmlp._compat.sklearn import fit_context
from fastmlp._engine.kernels.custom_activation import CustomActivation
from fastmlp._engine.kernels.custom_loss import CustomLoss
from fastmlp._estimator import fitted
from fastmlp._estimator.base import BaseMLP
from fastmlp._estimator.continuation import continuing
from fastmlp._estimator.outputs import layer_outputs
from fastmlp._estimator.parameters import (
    CLASSIFIER_CONSTRAINTS,
    REGRESSOR_CONSTRAINTS,
    if_stochastic,
)
from fastmlp._estimator.real_targets import RealTargets
from fastmlp._estimator.targets import ClassTargets


class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multilayer perceptron classifier.

    A drop-in replacement for :class:`sklearn.neural_network.MLPClassifier`. The same integer
    `random_state` gives the same model up to rounding.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int, default=(100,)
        The number of units in each hidden layer. An empty sequence gives a linear model.
    activation : str, CustomActivation or sequence of these, default='relu'
        The activation f(z) of the hidden layers: one name for all, or one name for each layer.
        scikit-learn has the first four.

        - 'identity': z.
        - 'logistic': 1 / (1 + exp(-z)).
        - 'tanh': tanh(z).
        - 'relu': max(0, z).
        - 'leaky_relu': max(0.01 z, z).
        - 'elu': exp(z) - 1 for z < 0, otherwise z.
        - 'selu': 1.7581 (exp(z) - 1) for z < 0, otherwise 1.0507 z.
        - 'gelu': z times the normal distribution function, computed exactly.
        - 'silu': z / (1 + exp(-z)).
        - 'softplus': log(1 + exp(z)).
        - 'mish': z tanh(softplus(z)).

        Or a `CustomActivation`, made of functions of your own. Initial weights of the last seven,
        and of a `CustomActivation`, are drawn like those of 'relu'.
    solver : {'lbfgs', 'sgd', 'adam', 'adamw'}, default='adam'
        The optimizer.

        - 'adam': Adam (Kingma and Ba).
        - 'adamw': Adam with decoupled weight decay (Loshchilov and Hutter). Before each step, the
          weights, but not the biases, are multiplied by 1 - rate * weight_decay.
        - 'sgd': stochastic gradient descent with momentum.
        - 'lbfgs': SciPy's L-BFGS-B, a quasi-Newton method, on all samples at once and in float64.
          scikit-learn runs the same method on the same function; where there are several optima,
          rounding may lead the two to different ones.
    alpha : float, default=0.0001
        The strength of the L2 penalty alpha / 2 * ||W||^2. The penalty is divided by the sum of the
        sample weights in the batch. Without it, only ratios of sample weights matter.
    batch_size : int or 'auto', default='auto'
        The number of rows in a mini-batch; 'auto' means min(200, n_samples). Not used by 'lbfgs'.
    learning_rate : str, default='constant'
        The schedule of the learning rate.

        - 'constant': learning_rate_init throughout.
        - 'invscaling', with 'sgd' only: learning_rate_init / (t + 1) ** power_t after each epoch,
          where t is the number of samples seen so far.
        - 'adaptive', with 'sgd' only: divided by 5, instead of stopping, whenever training has not
          improved for more than n_iter_no_change epochs. Training stops once it is 1e-6 or less.
        - 'cosine': along half a cosine down to 0 over max_iter epochs, step by step.
        - 'one_cycle': one cycle over max_iter epochs. The rate rises from learning_rate_init / 25
          to learning_rate_init in the first 30 % of the steps, then falls to learning_rate_init /
          250000, both along half a cosine.

        'cosine' and 'one_cycle' work with every solver except 'lbfgs'. Each call of `partial_fit`
        counts as one of the max_iter epochs.
    learning_rate_init : float, default=0.001
        The initial learning rate; with 'one_cycle', the highest.
    power_t : float, default=0.5
        The exponent of 'invscaling'.
    max_iter : int, default=200
        The maximum number of epochs, or of iterations of 'lbfgs'. A fit that reaches it ends with a
        ConvergenceWarning. Filters find it under ``module="fastmlp"``, as they find scikit-learn's
        under ``module="sklearn.neural_network"``.
    shuffle : bool, default=True
        Whether to shuffle the samples before each epoch.
    random_state : int, RandomState instance or None, default=None
        The source of initial weights, validation split, dropout masks and shuffles. An integer
        makes every fit give the same model. Random numbers are drawn in scikit-learn's order.
    tol : float, default=1e-4
        An epoch counts as an improvement if it lowers the best loss, or raises the best validation
        score, by at least tol. For 'lbfgs', the tolerance of the gradient.
    verbose : bool, default=False
        Whether to print the loss of each epoch, in the words of scikit-learn.
    warm_start : bool, default=False
        Whether `fit` continues from the last solution instead of starting anew. It carries on the
        weights, the curves, the best loss or score and the number of epochs since then. The
        optimizer's moments and learning rate, the shuffles, the validation split and `n_iter_`
        start anew. If `early_stopping` or `scoring` has changed since the last call, the best value
        and the count start anew as well. Different layer sizes raise a ValueError and leave the
        model intact.

        With early_stopping, pass the same `X_val` to every call to judge them all on the same data.
        A call that never beats the best score then leaves the weights as they were. Without `X_val`
        it keeps the last weights, as in scikit-learn.
    momentum : float, default=0.9
        The momentum of 'sgd', in [0, 1].
    nesterovs_momentum : bool, default=True
        Whether 'sgd' uses Nesterov's momentum.
    early_stopping : bool, default=False
        Whether to stop when the validation score no longer improves, and to restore the weights of
        the best epoch. The validation data are the `X_val` passed to `fit`; without it they are
        split off the training data, with the same split as scikit-learn. Not used by 'lbfgs'.
        `partial_fit` raises a ValueError, since one epoch has nothing to stop.
    validation_fraction : float, default=0.1
        The fraction of the training data that early_stopping splits off.
    beta_1 : float, default=0.9
        The decay rate of the first moment of 'adam' and 'adamw', in [0, 1).
    beta_2 : float, default=0.999
        The decay rate of the second moment of 'adam' and 'adamw', in [0, 1).
    epsilon : float, default=1e-8
        A small number that keeps 'adam' and 'adamw' from dividing by zero.
    n_iter_no_change : int, default=10
        Training stops after more than this many consecutive epochs without improvement.
    max_fun : int, default=15000
        The maximum number of loss evaluations of 'lbfgs'.
    dropout : float or sequence of float, default=0.0
        The rate in [0, 1) at which training drops hidden units: one rate for all hidden layers, or
        one for each. The remaining units are scaled by 1 / (1 - rate). The masks do not depend on
        the number of threads. Not available with 'lbfgs'.
    weight_decay : float, default=0.01
        The weight decay of 'adamw', in units of the learning rate. It acts in addition to `alpha`.
    warmup : float, default=0
        The number of epochs in which the learning rate grows linearly to the value that the
        schedule gives. Not used by 'lbfgs'.
    max_grad_norm : float or None, default=None
        The maximum norm of the gradient, taken over all weights and biases together and including
        the penalty. A longer gradient is scaled down. None sets no limit. Not used by 'lbfgs',
        which needs the exact gradient.
    loss : str or CustomLoss, default='log_loss'
        The loss function.

        - 'log_loss': the cross-entropy.
        - 'squared_error': half the squared error of the probabilities, summed over the outputs
          (Brier score). It bounds the influence of mislabelled samples.

        Or a `CustomLoss`, made of functions of your own, such as the focal loss.
    label_smoothing : float, default=0.0
        The share s in [0, 1) of each target that is spread over all K classes: (1 - s) y + s / K.
        With two classes or multilabel y, each output has (1 - s) y + s / 2.
    n_jobs : int or None, default=None
        The maximum number of threads. None means the least of these limits: the CPUs that affinity
        and the cgroup leave to the process, OMP_NUM_THREADS (the first number of a list),
        NUMBA_NUM_THREADS, joblib's limits and those that threadpoolctl sets for OpenMP; a task of a
        Dask worker has one thread. -1 means as many as None, -2 one fewer, and so on; a positive
        number is used as it is. Small steps use fewer threads. The result is the same, bit for bit,
        for any number. Unless n_jobs is 1, threads that have helped with a prediction spin for a
        fraction of a millisecond, ready for the next one.
    scoring : {'loss'}, str, callable or None, default=None
        The score that early_stopping maximizes. None is the accuracy of a classifier and the R2 of
        a regressor, 'loss' the negative validation loss. Any other string or callable is a scorer,
        as for :func:`sklearn.metrics.check_scoring`. It gets the estimator with the weights of the
        current epoch, X as an array and, if it accepts them, sample weights. It must return a
        number: anything else is a ValueError, and so is NaN in every epoch.
    restore_best_weights : bool, default=True
        Whether early_stopping ends with the weights of the best epoch; otherwise with the last.
    max_time : float or None, default=None
        The maximum training time in seconds. When it is over, the fit ends with a
        ConvergenceWarning, within an epoch if necessary ('lbfgs': after an iteration). It keeps the
        best weights under early_stopping, otherwise the last. An unfinished epoch appears in no
        curve.
    class_weight : {'balanced'}, dict, list of dict or None, default=None
        Factors by which the sample weights are multiplied; None means 1. A dict maps class labels
        to factors, and a list holds one dict with the keys 0 and 1 for each column of a multilabel
        y. 'balanced' means n_samples / (n_classes * count of the class); `partial_fit` refuses it.
        The model is the same, bit for bit, as with the products as `sample_weight`. Not applied to
        `sample_weight_val`.
    precision : {'float32', 'float64', 'bfloat16'} or None, default=None
        The floating-point type of training, predictions and `coefs_`. None means float32 for
        float32 X, else float64. Otherwise X is converted once, before training. 'float32' suits
        data that pandas or a scaler made float64: on 5,000 digits of MNIST (784-100-10, 5 seeds),
        it takes half the time of 'float64', and the mean test accuracy is 0.930 for both. With
        solver 'lbfgs', training is in float64, and 'float32' rounds its result. 'bfloat16' is for
        processors that have it in hardware; the notes of `fastmlp.MLPClassifier` tell which.
    n_hidden_layers : int or None, default=None
        The number of hidden layers, all of the one size in `hidden_layer_sizes`: 100 and 3 mean
        (100, 100, 100), and 0 a linear model. So searches vary depth and width as two numbers. None
        means as many layers as `hidden_layer_sizes` has sizes. With several sizes, or with none, a
        number is a ValueError, even if it agrees with them.
    update_learning_rate : bool, default=False
        Whether a call of `partial_fit` takes over `learning_rate_init` if it has changed since the
        last one. The optimizer keeps its moments, and the rate the progress of its schedule:
        schedules and 'adaptive' scale the new rate as they have scaled the old one. False keeps the
        rate of the first call, as scikit-learn does. Each `fit`, with warm_start too, begins with
        the current rate in any case.
    frozen_layers : array-like of int or None, default=None
        The layers whose weights and biases stay as they are, byte by byte, in `fit` and
        `partial_fit`, with any solver and with `alpha`, `weight_decay` and `max_grad_norm`. 0 is
        the layer above the inputs, -1 that of the outputs. Their gradients are not computed and do
        not count in `max_grad_norm`; deltas are not carried below the lowest trained layer. The
        loss still has their penalty, and `dropout` still drops their units. At least one layer must
        be trained. Their weights come from `coefs_init` of `fit`, see "Transfer learning" in
        `fastmlp`, or from an earlier call; otherwise they are drawn.
    initialization : {'glorot', 'he', 'data'}, default='glorot'
        How `fit`, or the first call of `partial_fit`, draws the weights. 'glorot' is scikit-learn's
        draw. 'he' draws from +-sqrt(6 / n_in), and biases are 0 (He et al., 2015). 'data' scales
        each hidden unit until its pre-activation has a deviation of 1 over up to 1,024 rows of X,
        and shifts it to 0 at a random mean of 5 of them (Holzmueller et al., 2024); the output
        layer is 0. So each unit bends where there are data; columns still need similar scales.
    weight_averaging : float, default=0.0
        The share in [0, 1) that an average of the weights keeps of itself at the end of each epoch;
        the rest is the epoch's weights (exponential moving average). The average is validated and
        shown to callbacks, and `fit` ends with it, however it ends; training goes on from the
        weights themselves. 0.75 averages about the last four epochs, which takes the noise of
        single batches out: on 16 tables, a member of `TabularMLPClassifier` has 2 % more error
        without it. Not used by 'lbfgs', and a ValueError in `partial_fit`, which has one epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The class labels, sorted.
    coefs_ : list of ndarray of shape (n_in, n_out)
        The weights of each layer. They are views of one padded buffer, so a matrix need not be
        C-contiguous. Predictions follow both changes in place and replaced arrays. An estimator
        that was never fitted predicts once `coefs_` and `intercepts_` are set; a classifier needs
        `classes_` to predict labels.
    intercepts_ : list of ndarray of shape (n_out,)
        The biases of each layer, views as well.
    loss_ : float
        The mean loss of the last epoch, a Python float.
    best_loss_ : float or None
        The lowest mean loss of an epoch; None with early_stopping. Not set by 'lbfgs'.
    loss_curve_ : list of float
        The mean loss of each epoch. Not set by 'lbfgs'.
    validation_loss_curve_ : list of float or None
        The mean loss on validation data after each epoch, without the penalty; NaN for an epoch
        without validation data. None if no epoch had any. Not set by 'lbfgs'.
    validation_scores_ : list of float or None
        The accuracy, or the score that `scoring` names, on validation data after each epoch; None
        without early_stopping. Not set by 'lbfgs'.
    best_validation_score_ : float or None
        The highest of them; None without early_stopping. Not set by 'lbfgs'.
    n_iter_ : int
        The number of epochs, or of iterations of 'lbfgs', in the last call of `fit`.
    t_ : int
        The number of samples seen in all calls.
    n_layers_ : int
        The number of layers, including input and output.
    n_outputs_ : int
        The number of output units.
    out_activation_ : str
        The activation of the output layer: 'softmax' for three or more classes, 'logistic' for two
        classes or multilabel y.
    n_features_in_ : int
        The number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        The names of the features, if X has names that are all strings.

    See Also
    --------
    MLPRegressor : The same for real values.
    fastmlp.dask.DaskMLPClassifier : The same on several machines.
    fastmlp.interop.to_sklearn : Convert a fitted model to scikit-learn.

    Notes
    -----
    Every parameter and attribute of scikit-learn 1.9 is here, with its name, default and
    validation. The following differs from scikit-learn.

    **Types.** Float32 data are trained on as float32, all other data as float64, unless `precision`
    says otherwise. Predictions are computed and returned in the type of `coefs_`, where
    scikit-learn computes in float64 if the data are float64; a value beyond the range of a float32
    model is a ValueError. On x86, training treats subnormal numbers (below 1.2e-38 in float32,
    2.2e-308 in float64) as zeros.

    With `precision` 'bfloat16', matrix products of training and of predictions multiply numbers
    rounded to bfloat16 (8 bits of precision, the range of float32) and sum in float32; all else,
    `coefs_` too, is float32. Gradients are within 1 % of those of float64, in norm, and on
    Fashion-MNIST (784-100-10, 20 epochs, 5 seeds) the mean test accuracy is 0.885, as in float32.
    AMD's processors with AVX512_BF16 (Zen 4 and 5) do two such products in the time of one. On
    Zen 4, epochs of 784-512-512-10 and 784-100-10 take 0.57 and 0.66 times as long as in float32,
    but one of 784-30-10 with batches of 32 rows 1.1 times: it pays for wide layers and large
    batches. Processors with Arm's FEAT_BF16 (Neoverse V1, Apple M2) have an instruction for two
    products as well. On others, a fit takes 1.2 to 2 times as long as in float32 and warns: on
    Intel's too, whose AVX512_BF16 (Sapphire Rapids) is slower than float32. `python -m fastmlp
    info` tells which this is. A prediction rounds all weights first, which does not pay for a few
    rows. Sparse X and solver 'lbfgs' are a ValueError.

    **Memory.** Arrays with contiguous rows are read in place, without a copy. Sparse data (CSR or
    CSC) are never made dense.

    **Failures.** A fit that raises leaves the estimator as it was, and other threads see the old
    model until the fit is done. Ctrl-C ends a fit with a warning and keeps the model so far, with
    'lbfgs' too. Contradictory input, such as sparse indices out of range, replaced `coefs_` of
    wrong shapes or dates in y, is a ValueError. A batch whose sample weights sum to zero makes a
    step with a gradient of zero, where scikit-learn divides by zero.

    **Divergence.** Training ends with the first epoch after which the loss and a weight are not
    finite; scikit-learn goes on until `max_iter`. The ValueError begins like that of scikit-learn,
    and says which epoch it was and what to try. Under `early_stopping`, if an earlier epoch has a
    best score and `restore_best_weights` is True, its weights are kept, with a ConvergenceWarning.

    **Warnings.** A fit gives its warnings when the model is complete. A filter that turns them into
    errors loses nothing.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
    AISTATS 2010. Kingma and Ba, "Adam: a method for stochastic optimization", 2014. Loshchilov and
    Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017; "Decoupled weight
    decay regularization", ICLR 2019. Smith and Topin, "Super-convergence", 2018. Srivastava et al.,
    "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014. Maas et al.,
    "Rectifier nonlinearities improve neural network acoustic models", 2013. Clevert et al.,
    "Exponential linear units", 2015. Klambauer et al., "Self-normalizing neural networks", NeurIPS
    2017, for selu. Hendrycks and Gimpel, "Gaussian error linear units", 2016. Misra, "Mish", 2019.
    Szegedy et al., "Rethinking the Inception architecture", CVPR 2016, for label_smoothing. Pascanu
    et al., "On the difficulty of training recurrent neural networks", ICML 2013, for max_grad_norm.
    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992, for
    weight_averaging. Liu and Nocedal, "On the limited memory BFGS method for large scale
    optimization", 1989.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier(max_iter=100, tol=0.01, random_state=0).fit(X[:1500], y[:1500])
    >>> bool(model.score(X, y) > 0.9)
    True

    A search that varies depth and width:

    >>> from scipy.stats import randint
    >>> from sklearn.model_selection import RandomizedSearchCV
    >>> space = {"hidden_layer_sizes": randint(8, 65), "n_hidden_layers": randint(1, 4)}
    >>> template = MLPClassifier(tol=0.1, random_state=0)
    >>> search = RandomizedSearchCV(template, space, n_iter=3, cv=2, random_state=0).fit(X, y)
    >>> sorted(search.best_params_)
    ['hidden_layer_sizes', 'n_hidden_layers']

    A learning rate that falls between calls of `partial_fit`:

    >>> model = MLPClassifier(update_learning_rate=True, random_state=0)
    >>> for rate in (0.01, 0.01, 0.003, 0.003, 0.001):
    ...     model = model.set_params(learning_rate_init=rate).partial_fit(X, y, classes=range(10))
    >>> bool(model.score(X, y) > 0.9)
    True
    """

    classes_: np.ndarray  # set by `fit`, as are the attributes that BaseMLP declares

    _parameter_constraints: ClassVar[dict[str, Any]] = CLASSIFIER_CONSTRAINTS

    def __init__(
        self,
        hidden_layer_sizes: ArrayLike = (100,),
        activation: str | CustomActivation | Sequence[str | CustomActivation] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float | Sequence[float] = 0.0,
        weight_decay: float = 0.01,
        warmup: float = 0,
        max_grad_norm: float | None = None,
        loss: str | CustomLoss = "log_loss",
        label_smoothing: float = 0.0,
        n_jobs: int | None = None,
        scoring: str | Callable[..., float] | None = None,
        restore_best_weights: bool = True,
        max_time: float | None = None,
        class_weight: str | dict | list[dict] | None = None,
        precision: str | None = None,
        n_hidden_layers: int | None = None,
        update_learning_rate: bool = False,
        frozen_layers: Sequence[int] | None = None,
        initialization: str = "glorot",
        weight_averaging: float = 0.0,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.max_grad_norm = max_grad_norm
        self.loss = loss
        self.label_smoothing = label_smoothing
        self.n_jobs = n_jobs
        self.scoring = scoring
        self.restore_best_weights = restore_best_weights
        self.max_time = max_time
        self.class_weight = class_weight
        self.precision = precision
        self.n_hidden_layers = n_hidden_layers
        self.update_learning_rate = update_learning_rate
        self.frozen_layers = frozen_layers
        self.initialization = initialization
        self.weight_averaging = weight_averaging

    @if_stochastic
    @continuing
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None, classes=None) -> Self:
        """Train for one more epoch, on the given samples.

        It goes on from where the last call ended, also after a fit by 'lbfgs', and calls no
        callbacks. As in scikit-learn, changes of the optimizer's parameters wait for a new `fit`,
        except that `learning_rate_init` counts at once with `update_learning_rate`. Code for
        scikit-learn that sets ``model._optimizer.learning_rate_init`` (Adam, 'invscaling') or
        ``learning_rate`` (SGD) works as it does there. Each call makes a new `_optimizer`; setting
        a rate of an old one is an AttributeError.
        Multilabel y makes the same steps as in `fit`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Their weights; None means 1.
        classes : array of shape (n_classes,), default=None
            All classes that any call will have; needed in the first call.

        Returns
        -------
        MLPClassifier
            This one.

        Raises
        ------
        ValueError
            For what `fit` refuses; if the first call lacks `classes`, or y has others; with
            early_stopping; with class_weight='balanced'; if the layer sizes have changed.
        AttributeError
            With solver 'lbfgs', which has no such steps.
        """
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight '{self.class_weight}' is not supported for partial_fit, which sees "
                "only a part of y. Use compute_class_weight('balanced', classes=classes, y=y) on "
                "a large enough sample of y, and pass the weights on as a dict."
            )
        draft = fitted.draft_of(self)
        ClassTargets.begin_partial_fit(draft, y, classes)
        warnings = draft._fit(X, y, sample_weight, incremental=True)
        return fitted.commit(self, draft, warnings)

    def predict_proba(self, X) -> np.ndarray:
        """Predict the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Converted to the type of `coefs_`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_` and the type of `coefs_`. The bits of a row do not depend on
            the other rows.
        """
        model = fitted.draft_of(self)  # one model throughout, whoever refits meanwhile
        outputs = layer_outputs(model, X)
        if outputs.shape[1] > 1:
            return outputs
        return np.hstack([1 - outputs, outputs])

    def predict_log_proba(self, X) -> np.ndarray:
        """Predict the logarithm of the probability of each class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Converted to the type of `coefs_`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`; -inf for a probability of zero.
        """
        probabilities = self.predict_proba(X)
        return np.log(probabilities, out=probabilities)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multilayer perceptron regressor.

    A drop-in replacement for :class:`sklearn.neural_network.MLPRegressor`. The same integer
    `random_state` gives the same model up to rounding.

    Parameters
    ----------
    loss : str or CustomLoss, default='squared_error'
        The loss function, for an error e.

        - 'squared_error': e^2 / 2.
        - 'poisson': half the Poisson deviance, with exp as the output activation. A negative y
          raises a ValueError.
        - 'absolute_error': abs(e).
        - 'huber': e^2 / 2 up to abs(e) = huber_delta, linear beyond.
        - 'quantile': the pinball loss of `quantile` q (Koenker and Bassett, 1978). For
          e = y - prediction it is q e if e is positive, otherwise (q - 1) e.

        scikit-learn has only the first two. 'absolute_error' and 'huber' limit the influence of
        outliers. Or a `CustomLoss`, made of functions of your own.
    hidden_layer_sizes : int or array-like of int, default=(100,)
        The number of units in each hidden layer. An empty sequence gives a linear model.
    activation : str, CustomActivation or sequence of these, default='relu'
        The activation f(z) of the hidden layers: one name for all, or one name for each layer.
        scikit-learn has the first four.

        - 'identity': z.
        - 'logistic': 1 / (1 + exp(-z)).
        - 'tanh': tanh(z).
        - 'relu': max(0, z).
        - 'leaky_relu': max(0.01 z, z).
        - 'elu': exp(z) - 1 for z < 0, otherwise z.
        - 'selu': 1.7581 (exp(z) - 1) for z < 0, otherwise 1.0507 z.
        - 'gelu': z times the normal distribution function, computed exactly.
        - 'silu': z / (1 + exp(-z)).
        - 'softplus': log(1 + exp(z)).
        - 'mish': z tanh(softplus(z)).

        Or a `CustomActivation`, made of functions of your own. Initial weights of the last seven,
        and of a `CustomActivation`, are drawn like those of 'relu'.
    solver : {'lbfgs', 'sgd', 'adam', 'adamw'}, default='adam'
        The optimizer.

        - 'adam': Adam (Kingma and Ba).
        - 'adamw': Adam with decoupled weight decay (Loshchilov and Hutter). Before each step, the
          weights, but not the biases, are multiplied by 1 - rate * weight_decay.
        - 'sgd': stochastic gradient descent with momentum.
        - 'lbfgs': SciPy's L-BFGS-B, a quasi-Newton method, on all samples at once and in float64.
          scikit-learn runs the same method on the same function; where there are several optima,
          rounding may lead the two to different ones.
    alpha : float, default=0.0001
        The strength of the L2 penalty alpha / 2 * ||W||^2. The penalty is divided by the sum of the
        sample weights in the batch. Without it, only ratios of sample weights matter.
    batch_size : int or 'auto', default='auto'
        The number of rows in a mini-batch; 'auto' means min(200, n_samples). Not used by 'lbfgs'.
    learning_rate : str, default='constant'
        The schedule of the learning rate.

        - 'constant': learning_rate_init throughout.
        - 'invscaling', with 'sgd' only: learning_rate_init / (t + 1) ** power_t after each epoch,
          where t is the number of samples seen so far.
        - 'adaptive', with 'sgd' only: divided by 5, instead of stopping, whenever training has not
          improved for more than n_iter_no_change epochs. Training stops once it is 1e-6 or less.
        - 'cosine': along half a cosine down to 0 over max_iter epochs, step by step.
        - 'one_cycle': one cycle over max_iter epochs. The rate rises from learning_rate_init / 25
          to learning_rate_init in the first 30 % of the steps, then falls to learning_rate_init /
          250000, both along half a cosine.

        'cosine' and 'one_cycle' work with every solver except 'lbfgs'. Each call of `partial_fit`
        counts as one of the max_iter epochs.
    learning_rate_init : float, default=0.001
        The initial learning rate; with 'one_cycle', the highest.
    power_t : float, default=0.5
        The exponent of 'invscaling'.
    max_iter : int, default=200
        The maximum number of epochs, or of iterations of 'lbfgs'. A fit that reaches it ends with a
        ConvergenceWarning. Filters find it under ``module="fastmlp"``, as they find scikit-learn's
        under ``module="sklearn.neural_network"``.
    shuffle : bool, default=True
        Whether to shuffle the samples before each epoch.
    random_state : int, RandomState instance or None, default=None
        The source of initial weights, validation split, dropout masks and shuffles. An integer
        makes every fit give the same model. Random numbers are drawn in scikit-learn's order.
    tol : float, default=1e-4
        An epoch counts as an improvement if it lowers the best loss, or raises the best validation
        score, by at least tol. For 'lbfgs', the tolerance of the gradient.
    verbose : bool, default=False
        Whether to print the loss of each epoch, in the words of scikit-learn.
    warm_start : bool, default=False
        Whether `fit` continues from the last solution instead of starting anew. It carries on the
        weights, the curves, the best loss or score and the number of epochs since then. The
        optimizer's moments and learning rate, the shuffles, the validation split and `n_iter_`
        start anew. If `early_stopping` or `scoring` has changed since the last call, the best value
        and the count start anew as well. Different layer sizes raise a ValueError and leave the
        model intact.

        With early_stopping, pass the same `X_val` to every call to judge them all on the same data.
        A call that never beats the best score then leaves the weights as they were. Without `X_val`
        it keeps the last weights, as in scikit-learn.
    momentum : float, default=0.9
        The momentum of 'sgd', in [0, 1].
    nesterovs_momentum : bool, default=True
        Whether 'sgd' uses Nesterov's momentum.
    early_stopping : bool, default=False
        Whether to stop when the validation score no longer improves, and to restore the weights of
        the best epoch. The validation data are the `X_val` passed to `fit`; without it they are
        split off the training data, with the same split as scikit-learn. Not used by 'lbfgs'.
        `partial_fit` raises a ValueError, since one epoch has nothing to stop.
    validation_fraction : float, default=0.1
        The fraction of the training data that early_stopping splits off.
    beta_1 : float, default=0.9
        The decay rate of the first moment of 'adam' and 'adamw', in [0, 1).
    beta_2 : float, default=0.999
        The decay rate of the second moment of 'adam' and 'adamw', in [0, 1).
    epsilon : float, default=1e-8
        A small number that keeps 'adam' and 'adamw' from dividing by zero.
    n_iter_no_change : int, default=10
        Training stops after more than this many consecutive epochs without improvement.
    max_fun : int, default=15000
        The maximum number of loss evaluations of 'lbfgs'.
    dropout : float or sequence of float, default=0.0
        The rate in [0, 1) at which training drops hidden units: one rate for all hidden layers, or
        one for each. The remaining units are scaled by 1 / (1 - rate). The masks do not depend on
        the number of threads. Not available with 'lbfgs'.
    weight_decay : float, default=0.01
        The weight decay of 'adamw', in units of the learning rate. It acts in addition to `alpha`.
    warmup : float, default=0
        The number of epochs in which the learning rate grows linearly to the value that the
        schedule gives. Not used by 'lbfgs'.
    max_grad_norm : float or None, default=None
        The maximum norm of the gradient, taken over all weights and biases together and including
        the penalty. A longer gradient is scaled down. None sets no limit. Not used by 'lbfgs',
        which needs the exact gradient.
    huber_delta : float, default=1.0
        The error at which 'huber' turns from quadratic to linear, in units of y.
    quantile : float or array-like of float, default=0.5
        The quantile in (0, 1) that 'quantile' predicts: 0.9 is above y nine times of ten. Of
        several, which must increase, each has an output of its own, and y must have one column.
        `score` and `validation_scores_` then are D2, the part of the pinball loss that the model
        saves beside the quantile of y (:func:`sklearn.metrics.d2_pinball_score`), as a mean over
        the quantiles.
    sort_quantiles : bool, default=False
        Whether `predict` sorts the quantiles of each row, so that none is below a lower one.
    n_jobs : int or None, default=None
        The maximum number of threads. None means the least of these limits: the CPUs that affinity
        and the cgroup leave to the process, OMP_NUM_THREADS (the first number of a list),
        NUMBA_NUM_THREADS, joblib's limits and those that threadpoolctl sets for OpenMP; a task of a
        Dask worker has one thread. -1 means as many as None, -2 one fewer, and so on; a positive
        number is used as it is. Small steps use fewer threads. The result is the same, bit for bit,
        for any number. Unless n_jobs is 1, threads that have helped with a prediction spin for a
        fraction of a millisecond, ready for the next one.
    scoring : {'loss'}, str, callable or None, default=None
        The score that early_stopping maximizes. None is the accuracy of a classifier and the R2 of
        a regressor, 'loss' the negative validation loss. Any other string or callable is a scorer,
        as for :func:`sklearn.metrics.check_scoring`. It gets the estimator with the weights of the
        current epoch, X as an array and, if it accepts them, sample weights. It must return a
        number: anything else is a ValueError, and so is NaN in every epoch.
    restore_best_weights : bool, default=True
        Whether early_stopping ends with the weights of the best epoch; otherwise with the last.
    max_time : float or None, default=None
        The maximum training time in seconds. When it is over, the fit ends with a
        ConvergenceWarning, within an epoch if necessary ('lbfgs': after an iteration). It keeps the
        best weights under early_stopping, otherwise the last. An unfinished epoch appears in no
        curve.
    precision : {'float32', 'float64', 'bfloat16'} or None, default=None
        The floating-point type of training, predictions and `coefs_`. None means float32 for
        float32 X, else float64. Otherwise X is converted once, before training. 'float32' suits
        data that pandas or a scaler made float64: on 5,000 digits of MNIST (784-100-10, 5 seeds),
        it takes half the time of 'float64', and the mean test accuracy is 0.930 for both. With
        solver 'lbfgs', training is in float64, and 'float32' rounds its result. 'bfloat16' is for
        processors that have it in hardware; the notes of `fastmlp.MLPClassifier` tell which.
    n_hidden_layers : int or None, default=None
        The number of hidden layers, all of the one size in `hidden_layer_sizes`: 100 and 3 mean
        (100, 100, 100), and 0 a linear model. So searches vary depth and width as two numbers. None
        means as many layers as `hidden_layer_sizes` has sizes. With several sizes, or with none, a
        number is a ValueError, even if it agrees with them.
    update_learning_rate : bool, default=False
        Whether a call of `partial_fit` takes over `learning_rate_init` if it has changed since the
        last one. The optimizer keeps its moments, and the rate the progress of its schedule:
        schedules and 'adaptive' scale the new rate as they have scaled the old one. False keeps the
        rate of the first call, as scikit-learn does. Each `fit`, with warm_start too, begins with
        the current rate in any case.
    frozen_layers : array-like of int or None, default=None
        The layers whose weights and biases stay as they are, byte by byte, in `fit` and
        `partial_fit`, with any solver and with `alpha`, `weight_decay` and `max_grad_norm`. 0 is
        the layer above the inputs, -1 that of the outputs. Their gradients are not computed and do
        not count in `max_grad_norm`; deltas are not carried below the lowest trained layer. The
        loss still has their penalty, and `dropout` still drops their units. At least one layer must
        be trained. Their weights come from `coefs_init` of `fit`, see "Transfer learning" in
        `fastmlp`, or from an earlier call; otherwise they are drawn.
    initialization : {'glorot', 'he', 'data'}, default='glorot'
        How `fit`, or the first call of `partial_fit`, draws the weights. 'glorot' is scikit-learn's
        draw. 'he' draws from +-sqrt(6 / n_in), and biases are 0 (He et al., 2015). 'data' scales
        each hidden unit until its pre-activation has a deviation of 1 over up to 1,024 rows of X,
        and shifts it to 0 at a random mean of 5 of them (Holzmueller et al., 2024); the output
        layer is 0. So each unit bends where there are data; columns still need similar scales.
    weight_averaging : float, default=0.0
        The share in [0, 1) that an average of the weights keeps of itself at the end of each epoch;
        the rest is the epoch's weights (exponential moving average). The average is validated and
        shown to callbacks, and `fit` ends with it, however it ends; training goes on from the
        weights themselves. 0.75 averages about the last four epochs, which takes the noise of
        single batches out: on 16 tables, a member of `TabularMLPClassifier` has 2 % more error
        without it. Not used by 'lbfgs', and a ValueError in `partial_fit`, which has one epoch.

    Attributes
    ----------
    coefs_ : list of ndarray of shape (n_in, n_out)
        The weights of each layer. They are views of one padded buffer, so a matrix need not be
        C-contiguous. Predictions follow both changes in place and replaced arrays. An estimator
        that was never fitted predicts once `coefs_` and `intercepts_` are set; a classifier needs
        `classes_` to predict labels.
    intercepts_ : list of ndarray of shape (n_out,)
        The biases of each layer, views as well.
    loss_ : float
        The mean loss of the last epoch, a Python float.
    best_loss_ : float or None
        The lowest mean loss of an epoch; None with early_stopping. Not set by 'lbfgs'.
    loss_curve_ : list of float
        The mean loss of each epoch. Not set by 'lbfgs'.
    validation_loss_curve_ : list of float or None
        The mean loss on validation data after each epoch, without the penalty; NaN for an epoch
        without validation data. None if no epoch had any. Not set by 'lbfgs'.
    validation_scores_ : list of float or None
        The R2, or the score that `scoring` names, on validation data after each epoch; None without
        early_stopping. Not set by 'lbfgs'.
    best_validation_score_ : float or None
        The highest of them; None without early_stopping. Not set by 'lbfgs'.
    n_iter_ : int
        The number of epochs, or of iterations of 'lbfgs', in the last call of `fit`.
    t_ : int
        The number of samples seen in all calls.
    n_layers_ : int
        The number of layers, including input and output.
    n_outputs_ : int
        The number of output units.
    out_activation_ : str
        The activation of the output layer: 'identity', or 'exp' with the loss 'poisson'.
    n_features_in_ : int
        The number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        The names of the features, if X has names that are all strings.

    See Also
    --------
    MLPClassifier : The same for classes.
    fastmlp.dask.DaskMLPRegressor : The same on several machines.
    fastmlp.interop.to_sklearn : Convert a fitted model to scikit-learn.

    Notes
    -----
    Every parameter and attribute of scikit-learn 1.9 is here, with its name, default and
    validation. The following differs from scikit-learn.

    **Types.** Float32 data are trained on as float32, all other data as float64, unless `precision`
    says otherwise. Predictions are computed and returned in the type of `coefs_`, where
    scikit-learn computes in float64 if the data are float64; a value beyond the range of a float32
    model is a ValueError. On x86, training treats subnormal numbers (below 1.2e-38 in float32,
    2.2e-308 in float64) as zeros.

    With `precision` 'bfloat16', matrix products of training and of predictions multiply numbers
    rounded to bfloat16 (8 bits of precision, the range of float32) and sum in float32; all else,
    `coefs_` too, is float32. Gradients are within 1 % of those of float64, in norm, and on
    Fashion-MNIST (784-100-10, 20 epochs, 5 seeds) the mean test accuracy is 0.885, as in float32.
    AMD's processors with AVX512_BF16 (Zen 4 and 5) do two such products in the time of one. On
    Zen 4, epochs of 784-512-512-10 and 784-100-10 take 0.57 and 0.66 times as long as in float32,
    but one of 784-30-10 with batches of 32 rows 1.1 times: it pays for wide layers and large
    batches. Processors with Arm's FEAT_BF16 (Neoverse V1, Apple M2) have an instruction for two
    products as well. On others, a fit takes 1.2 to 2 times as long as in float32 and warns: on
    Intel's too, whose AVX512_BF16 (Sapphire Rapids) is slower than float32. `python -m fastmlp
    info` tells which this is. A prediction rounds all weights first, which does not pay for a few
    rows. Sparse X and solver 'lbfgs' are a ValueError.

    **Memory.** Arrays with contiguous rows are read in place, without a copy. Sparse data (CSR or
    CSC) are never made dense.

    **Failures.** A fit that raises leaves the estimator as it was, and other threads see the old
    model until the fit is done. Ctrl-C ends a fit with a warning and keeps the model so far, with
    'lbfgs' too. Contradictory input, such as sparse indices out of range, replaced `coefs_` of
    wrong shapes or dates in y, is a ValueError. A batch whose sample weights sum to zero makes a
    step with a gradient of zero, where scikit-learn divides by zero.

    **Divergence.** Training ends with the first epoch after which the loss and a weight are not
    finite; scikit-learn goes on until `max_iter`. The ValueError begins like that of scikit-learn,
    and says which epoch it was and what to try. Under `early_stopping`, if an earlier epoch has a
    best score and `restore_best_weights` is True, its weights are kept, with a ConvergenceWarning.

    **Warnings.** A fit gives its warnings when the model is complete. A filter that turns them into
    errors loses nothing.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
    AISTATS 2010. Kingma and Ba, "Adam: a method for stochastic optimization", 2014. Loshchilov and
    Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017; "Decoupled weight
    decay regularization", ICLR 2019. Smith and Topin, "Super-convergence", 2018. Srivastava et al.,
    "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014. Maas et al.,
    "Rectifier nonlinearities improve neural network acoustic models", 2013. Clevert et al.,
    "Exponential linear units", 2015. Klambauer et al., "Self-normalizing neural networks", NeurIPS
    2017, for selu. Hendrycks and Gimpel, "Gaussian error linear units", 2016. Misra, "Mish", 2019.
    Szegedy et al., "Rethinking the Inception architecture", CVPR 2016, for label_smoothing. Pascanu
    et al., "On the difficulty of training recurrent neural networks", ICML 2013, for max_grad_norm.
    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992, for
    weight_averaging. Liu and Nocedal, "On the limited memory BFGS method for large scale
    optimization", 1989.

    Examples
    --------
    >>> from fastmlp import MLPRegressor
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = MLPRegressor(solver="lbfgs", alpha=1.0, max_iter=2000, random_state=0)
    >>> bool(model.fit(X[:400], y[:400]).score(X[400:], y[400:]) > 0.4)
    True

    An interval that holds four values of five:

    >>> interval = MLPRegressor("quantile", quantile=[0.1, 0.9], max_iter=300, random_state=0)
    >>> interval = interval.set_params(solver="lbfgs").fit(X[:400], y[:400])
    >>> low, high = interval.predict(X[400:]).T
    >>> bool(0.6 < ((low <= y[400:]) & (y[400:] <= high)).mean() < 0.95)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = REGRESSOR_CONSTRAINTS

    def __init__(
        self,
        loss: str | CustomLoss = "squared_error",
        hidden_layer_sizes: ArrayLike = (100,),
        activation: str | CustomActivation | Sequence[str | CustomActivation] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float | Sequence[float] = 0.0,
        weight_decay: float = 0.01,
        warmup: float = 0,
        max_grad_norm: float | None = None,
        huber_delta: float = 1.0,
        quantile: float | Sequence[float] = 0.5,
        sort_quantiles: bool = False,
        n_jobs: int | None = None,
        scoring: str | Callable[..., float] | None = None,
        restore_best_weights: bool = True,
        max_time: float | None = None,
        precision: str | None = None,
        n_hidden_layers: int | None = None,
        update_learning_rate: bool = False,
        frozen_layers: Sequence[int] | None = None,
        initialization: str = "glorot",
        weight_averaging: float = 0.0,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.max_grad_norm = max_grad_norm
        self.huber_delta = huber_delta
        self.quantile, self.sort_quantiles = quantile, sort_quantiles
        self.n_jobs = n_jobs
        self.scoring = scoring
        self.restore_best_weights = restore_best_weights
        self.max_time = max_time
        self.precision = precision
        self.n_hidden_layers = n_hidden_layers
        self.update_learning_rate = update_learning_rate
        self.frozen_layers = frozen_layers
        self.initialization = initialization
        self.weight_averaging = weight_averaging

    @if_stochastic
    @continuing
    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None) -> Self:
        """Train for one more epoch, on the given samples.

        It goes on from where the last call ended, also after a fit by 'lbfgs', and calls no
        callbacks. As in scikit-learn, changes of the optimizer's parameters wait for a new `fit`,
        except that `learning_rate_init` counts at once with `update_learning_rate`. Code for
        scikit-learn that sets ``model._optimizer.learning_rate_init`` (Adam, 'invscaling') or
        ``learning_rate`` (SGD) works as it does there. Each call makes a new `_optimizer`; setting
        a rate of an old one is an AttributeError.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their values.
        sample_weight : array-like of shape (n_samples,), default=None
            Their weights; None means 1.

        Returns
        -------
        MLPRegressor
            This one.

        Raises
        ------
        ValueError
            For what `fit` refuses; with early_stopping; if the layer sizes have changed.
        AttributeError
            With solver 'lbfgs', which has no such steps.
        """
        draft = fitted.draft_of(self)
        warnings = draft._fit(X, y, sample_weight, incremental=True)
        return fitted.commit(self, draft, warnings)

    def score(self, X, y, sample_weight=None) -> float:
        """R2 of the predictions; with loss='quantile', the mean D2 of their pinball losses.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their values.
        sample_weight : array-like of shape (n_samples,), default=None
            Their weights; None means 1.

        Returns
        -------
        float
            At most 1, which is perfect. The mean of y, or its quantiles, would get 0.
        """
        if self.loss != "quantile":
            return float(super().score(X, y, sample_weight))
        return RealTargets.of(self).score(np.asarray(y), self.predict(X), sample_weight)
