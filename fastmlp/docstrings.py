"""What the docstrings of classifier and regressor have in common."""

PARAMETERS = """\
hidden_layer_sizes : array-like of shape (n_layers - 2,), default=(100,)
        Units of each hidden layer; empty for a linear model.
    activation : {'identity', 'logistic', 'tanh', 'relu'}, default='relu'
        Activation of the hidden layers: z, 1 / (1 + exp(-z)), tanh(z) or max(0, z).
    solver : {'lbfgs', 'sgd', 'adam'}, default='adam'
        Optimizer. 'adam' is Kingma and Ba's, 'sgd' gradient descent with momentum, 'lbfgs' a
        quasi-Newton method on all samples at once, in float64.
    alpha : float, default=0.0001
        Strength of the L2 penalty alpha/2 ||W||^2, divided by the batch's weight sum.
    batch_size : int, default='auto'
        Rows of a mini-batch; 'auto' is min(200, n_samples).
    learning_rate : {'constant', 'invscaling', 'adaptive'}, default='constant'
        Schedule of solver 'sgd': as it is, divided by t ** power_t after every epoch of t
        samples so far, or divided by 5 whenever the loss ceases to improve.
    learning_rate_init : float, default=0.001
        First learning rate.
    power_t : float, default=0.5
        Exponent of 'invscaling'.
    max_iter : int, default=200
        Most epochs, or iterations of 'lbfgs'.
    shuffle : bool, default=True
        Whether to draw a new order of the samples for every epoch.
    random_state : int, RandomState instance or None, default=None
        Initial weights, validation split and shuffles.
    tol : float, default=1e-4
        An epoch improves if it lowers the best loss (or raises the best validation score) by it.
    verbose : bool, default=False
        Whether to print the loss of every epoch.
    warm_start : bool, default=False
        Whether `fit` continues from the last solution. Weights, curves, scores, and the best score
        or loss and the epochs since carry on; the optimizer's moments and learning rate, the
        shuffles, the validation split and `n_iter_` start anew. Where early_stopping or scoring
        changed, so do best and count. Epochs that never beat the best score so far leave the
        weights as they were if validation data were given, else, as in scikit-learn, at the last.
    momentum : float, default=0.9
        Of solver 'sgd', in [0, 1].
    nesterovs_momentum : bool, default=True
        Whether that momentum is Nesterov's.
    early_stopping : bool, default=False
        Whether to stop by the score on validation data, given to `fit` or else set aside, and keep
        the best weights. Not with `partial_fit`, not used by 'lbfgs'.
    validation_fraction : float, default=0.1
        The share of the samples set aside.
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay of solver 'adam's first and second moment, in [0, 1).
    epsilon : float, default=1e-8
        Keeps 'adam' from dividing by zero.
    n_iter_no_change : int, default=10
        Stop after more than so many epochs in a row without improvement.
    max_fun : int, default=15000
        Most loss evaluations of solver 'lbfgs'.
    n_jobs : int, default=None
        Most threads: None for every CPU the process may use, -2 for all but one, and so on. The
        result has the same bytes for any number.
    scoring : {'loss'}, str, callable or None, default=None
        What early_stopping watches, greater being better: accuracy or R2 (None), the negative
        validation loss ('loss'), or the name of a scorer or a callable of estimator, X and y, as
        :func:`sklearn.metrics.check_scoring` takes them. It is given the estimator with the
        weights of that epoch, X as an array, and sample weights if there are any and it takes them.
    restore_best_weights : bool, default=True
        Whether early_stopping ends with the weights of the best score; else with the last.
    max_time : float, default=None
        Most seconds of training. When they have passed, the fit ends with a ConvergenceWarning,
        in the middle of an epoch if that is long, and keeps the best weights under
        early_stopping, else the last. The epoch cut short is in no curve."""

ATTRIBUTES = """\
coefs_, intercepts_ : lists of n_layers - 1 ndarrays
        Weights (n_in, n_out) and biases (n_out,) of each layer. Changing them in place changes
        the predictions.
    loss_, best_loss_ : float
        Last and least mean loss of an epoch; `best_loss_` is None with early stopping.
    loss_curve_ : list of float
        Mean loss of every epoch; not with solver 'lbfgs'.
    validation_loss_curve_ : list of float
        Mean loss on validation data after every epoch, without penalty; NaN for epochs without
        such data. None if there never were any; not with solver 'lbfgs'.
    validation_scores_, best_validation_score_ : list of float, float
        {score}, or what `scoring` gives, on validation data; None without early stopping.
    n_iter_, t_ : int
        Epochs of the last call; samples seen in all calls.
    n_layers_, n_outputs_ : int
        Layers, input and output included; output units.
    out_activation_ : str
        {out_activation}
    n_features_in_ : int
        Features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has names that are all strings."""

REFERENCES = """\
Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010. Kingma and Ba, "Adam: a method for stochastic optimization", 2014.
    Liu and Nocedal, "On the limited memory BFGS method for large scale optimization", 1989."""
