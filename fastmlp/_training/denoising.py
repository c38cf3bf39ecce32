"""Gaussian noise on the inputs, drawn anew in every epoch (Vincent et al., 2008).

The kernels read X in place, so an epoch on noisy samples is one on a buffer that is filled before
it. The targets stay as they are.
"""

import numpy as np

from fastmlp._training.sgd import Descent


class DenoisingDescent(Descent):
    """Stochastic gradient descent on X + noise, with `settings.noise` as standard deviation.

    X must be dense. The noise depends on the seed and on the number of steps before the epoch, as
    dropout does: calls of `partial_fit` that draw the same seed draw different noise.
    """

    seed: int
    clean: np.ndarray | None
    noisy: np.ndarray | None

    def _take_samples(self, X, targets, sample_weight) -> None:
        self.clean, self.noisy = X, np.empty(X.shape, X.dtype)
        super()._take_samples(self.noisy, targets, sample_weight)

    def __exit__(self, *exception: object) -> None:
        """Let go of the samples: the next call of `partial_fit` restarts this with others."""
        super().__exit__(*exception)
        self.clean = self.noisy = None

    def draw_seed(self, random_state: np.random.RandomState) -> None:
        """Draw the seeds of dropout, if there is any, and of the noise."""
        super().draw_seed(random_state)
        self.seed = random_state.randint(np.iinfo(np.int32).max)

    def epoch(self) -> float:
        """Draw the noise, then train on every sample once."""
        assert self.noisy is not None
        generator = np.random.default_rng((self.seed, self.state.step))
        generator.standard_normal(out=self.noisy, dtype=self.noisy.dtype.type)
        self.noisy *= self.settings.noise
        self.noisy += self.clean
        return super().epoch()
