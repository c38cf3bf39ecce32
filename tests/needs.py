"""What only some supported versions of scikit-learn have."""

import pytest
import sklearn

RELEASE = tuple(map(int, sklearn.__version__.split(".")[:2]))


def scikit_learn(*release, reason):
    """A mark that skips a test where scikit-learn is older than a release."""
    wanted = ".".join(map(str, release))
    return pytest.mark.skipif(release > RELEASE, reason=f"scikit-learn {wanted}: {reason}")
