"""What the docstrings of classifier and regressor have in common."""

PARAMETERS = """\
hidden_layer_sizes : array-like of shape (n_layers - 2,), default=(100,)
        Units of each hidden layer; empty for a linear model.
    activation : {'identity', 'logistic', 'tanh', 'relu', 'leaky_relu', 'elu', 'gelu', 'silu', \
            'softplus', 'mish'} or sequence of these, default='relu'
        Activation of the hidden layers, or of each hidden layer: z, 1 / (1 + exp(-z)), tanh(z),
        max(0, z), max(0.01 z, z), exp(z) - 1 below 0 and z above, z times the normal
        distribution function (exact, not by tanh), z / (1 + exp(-z)), log(1 + exp(z)),
        z tanh(softplus(z)). Weights are drawn for the six newer ones as for 'relu'.
    solver : {'lbfgs', 'sgd', 'adam', 'adamw'}, default='adam'
        Optimizer. 'adam' is Kingma and Ba's, 'adamw' the same after weights (not biases) shrink
        by 1 - rate * weight_decay (Loshchilov and Hutter), 'sgd' gradient descent with momentum,
        'lbfgs' a quasi-Newton method on all samples at once, in float64.
    alpha : float, default=0.0001
        Strength of the L2 penalty alpha/2 ||W||^2, divided by the batch's weight sum.
    batch_size : int, default='auto'
        Rows of a mini-batch; 'auto' is min(200, n_samples).
    learning_rate : {'constant', 'invscaling', 'adaptive', 'cosine', 'one_cycle'}, \
            default='constant'
        Schedule. Of solver 'sgd': divided by t ** power_t after every epoch of t samples so far,
        or divided by 5 whenever the loss ceases to improve. Of every solver but 'lbfgs': along
        half a cosine to 0 in max_iter epochs, step by step; or in one cycle of max_iter epochs,
        from learning_rate_init / 25 up to it in the first 30 % of the steps and down to
        learning_rate_init / 250000, both along half a cosine. A call of partial_fit is one of
        the max_iter epochs.
    learning_rate_init : float, default=0.001
        First learning rate; of 'one_cycle', the highest.
    power_t : float, default=0.5
        Exponent of 'invscaling'.
    max_iter : int, default=200
        Most epochs, or iterations of 'lbfgs'.
    shuffle : bool, default=True
        Whether to draw a new order of the samples for every epoch.
    random_state : int, RandomState instance or None, default=None
        Initial weights, validation split, dropout and shuffles.
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
        Decay of the first and second moment of 'adam' and 'adamw', in [0, 1).
    epsilon : float, default=1e-8
        Keeps 'adam' and 'adamw' from dividing by zero.
    n_iter_no_change : int, default=10
        Stop after more than so many epochs in a row without improvement.
    max_fun : int, default=15000
        Most loss evaluations of solver 'lbfgs'.
    dropout : float or sequence of float, default=0.0
        Rate in [0, 1) at which training silences units of the hidden layers, or of each hidden
        layer; the others grow by 1 / (1 - rate). Not with solver 'lbfgs'.
    weight_decay : float, default=0.01
        Of solver 'adamw', by step in units of the learning rate; `alpha` acts beside it.
    warmup : float, default=0
        Epochs in which the learning rate of a stochastic solver grows linearly to what the
        schedule says.
    max_grad_norm : float, default=None
        The gradient of all weights and biases together, penalty included, is scaled down to this
        norm where it is longer. Not with solver 'lbfgs', which needs the gradient as it is.
    n_jobs : int, default=None
        Most threads: None for every CPU the process may use, -2 for all but one, and so on. The
        result has the same bytes for any number. Unless it is 1, threads that have helped with a
        prediction wait 0.2 ms for the next, spinning.
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
    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017;
    "Decoupled weight decay regularization", ICLR 2019. Smith and Topin, "Super-convergence", 2018.
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR
    2014. Maas et al., "Rectifier nonlinearities improve neural network acoustic models", 2013.
    Clevert et al., "Exponential linear units", 2015. Hendrycks and Gimpel, "Gaussian error linear
    units", 2016. Misra, "Mish", 2019. Szegedy et al., "Rethinking the Inception architecture",
    CVPR 2016, for label smoothing. Pascanu et al., "On the difficulty of training recurrent neural
    networks", ICML 2013, for max_grad_norm.
    Liu and Nocedal, "On the limited memory BFGS method for large scale optimization", 1989."""
