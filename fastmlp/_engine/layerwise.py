"""Parameters with one value for all hidden layers, or one for each."""

from numbers import Real


def per_layer(values, n_hidden: int, name: str) -> list:
    """The value of each of `n_hidden` layers, from one value or a sequence of them.

    Parameters
    ----------
    values : str, float, or sequence of either
    n_hidden : int
        Hidden layers of the network.
    name : str
        What the values are, for the message.

    Raises
    ------
    ValueError
        If there are more or fewer values than layers.

    Examples
    --------
    >>> from fastmlp._engine.layerwise import per_layer
    >>> per_layer("relu", 2, "activation"), per_layer([0.5, 0.1], 2, "dropout")
    (['relu', 'relu'], [0.5, 0.1])
    """
    if isinstance(values, str | Real):
        return [values] * n_hidden
    if isinstance(values, set | frozenset | dict):
        raise ValueError(f"{name} must be a sequence, in the order of the layers; got {values!r}")
    values = list(values)
    if len(values) != n_hidden:
        raise ValueError(f"{name} names {len(values)} layers, the network has {n_hidden} hidden")
    return values
