r"""What every test runs under: one thread a worker, signals as in a terminal, fixed examples."""

import os
import signal

# Two workers with two threads each would fight for two cores. torch and numpy read these when
# they are imported, so this comes first.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

# A background job of a shell inherits that SIGINT is ignored; tests send it to themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)

from functools import partial  # noqa: E402

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402 (may import numpy)

settings.register_profile("house", deadline=None, derandomize=True, database=None)
settings.load_profile("house")


@pytest.fixture(scope="module")
def few_trees():
    r"""Let metrics of boosted trees grow 10 of them, not 100: tests of what is made of metrics."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fromnoise.metrics.usefulness._ITERATIONS", 10)
        patch.setattr(
            "fromnoise.metrics.two_sample.HistGradientBoostingClassifier",
            partial(HistGradientBoostingClassifier, max_iter=10),
        )
        yield
