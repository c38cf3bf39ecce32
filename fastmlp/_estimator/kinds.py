"""The kind of targets that an estimator has."""

from sklearn.base import ClassifierMixin

from fastmlp._estimator.real_targets import RealTargets
from fastmlp._estimator.targets import ClassTargets


def kind_of_targets(estimator) -> type[ClassTargets] | type[RealTargets]:
    """The class of an estimator's targets."""
    return ClassTargets if isinstance(estimator, ClassifierMixin) else RealTargets
