r"""What a velocity field from noise to data tells of rows: codes, densities, bits.

Whatever ``solver`` and ``steps`` say of sampling, codes and densities take 64 steps of the
classical Runge–Kutta method: forwards to decode, backwards to encode, and backwards with the
divergence of v for log p(x). Beyond 64 columns, or 16 numbers of an image, the
divergence is estimated by 8 random probes a row, drawn from the row itself, so that a row has
one score.

Rows of whole numbers have no density. Their probability is that of the box around them, the mean
of the density over U(−½, ½) noise u, and the more draws of u, the tighter the bound
(Theis 2016, section 3.1; Ho 2019, eq. 9; Lipman 2023 says K for the number of draws):

    log P(x) ≥ E log (1/K) Σ_k p(x + u_k)
"""

__all__ = ["EXACT_COLUMNS", "EXACT_STEPS", "PROBES", "FieldModel"]

import hashlib
from abc import abstractmethod
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from scipy.stats import t as student
from torch import Tensor

from fromnoise import data
from fromnoise.base.arguments import is_number, is_whole
from fromnoise.base.capability import capability
from fromnoise.base.generative import ScoreKind
from fromnoise.base.interpolation import Interpolation
from fromnoise.base.neural import NeuralModel
from fromnoise.data import Encoded
from fromnoise.errors import DataError
from fromnoise.training import numpy_rng
from fromnoise.transport.densities import log_densities
from fromnoise.transport.solvers import RUNGE_KUTTA, Field, integrate

EXACT_STEPS = 64
EXACT_COLUMNS, EXACT_PIXELS = 64, 16  # with channels; beyond, the divergence is estimated
PROBES = 8
_BOX = 32  # stream of the places within a box


class FieldModel(Interpolation, NeuralModel):
    r"""Base of the models that have a velocity field between N(0, I) and data."""

    # --- what a family writes -----------------------------------------------------------------

    @abstractmethod
    def velocity(self, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        r"""Return v(x, t | y), shaped like x, for times t ``(n,)``."""

    @property
    def start(self) -> float:
        r"""The time at which z stands: 0, or a little later."""
        return 0.0

    @property
    def noise_shape(self) -> tuple[int, ...]:
        r"""Noise has the shape of the data."""
        return self.encoding_.model_shape

    def exact_times(self) -> Tensor:
        r"""Return the times from noise to data that densities and codes visit."""
        return torch.linspace(self.start, 1, EXACT_STEPS + 1, dtype=torch.float64)

    # --- codes --------------------------------------------------------------------------------

    def _field(self, y: Tensor | None) -> Field:
        return partial(_with_condition, self.velocity, y)

    def _walk(self, x: Tensor, y: Tensor | None, times: Tensor) -> Tensor:
        return integrate(self._field(y), x, times, RUNGE_KUTTA["rk4"])

    def _backwards(self, x: Tensor, y: Tensor | None) -> Tensor:
        x = self.moments.standardise(precise(x))
        return self._walk(x, y, self.exact_times().flip(0)).float()

    def _forwards(self, z: Tensor, y: Tensor | None) -> Tensor:
        return self.moments.restore(self._walk(precise(z), y, self.exact_times())).float()

    @torch.no_grad()
    def _to_noise(self, encoded: Encoded, y: np.ndarray | None) -> np.ndarray:
        z = self._in_blocks(self._backwards, self.encoding_.pack(encoded), y)
        return z.reshape(len(z), -1)

    @torch.no_grad()
    def _from_noise(self, z: np.ndarray, y: np.ndarray | None) -> Encoded:
        z = z.reshape(len(z), *self.noise_shape)
        return self.encoding_.unpack(self._in_blocks(self._forwards, z, y))

    # --- densities ----------------------------------------------------------------------------

    @property
    def _score_kind(self) -> ScoreKind:
        r"""Whether ``score_samples`` is exact up to the solver, or by random probes."""
        images = self.encoding_.kind == "images"  # whose networks take far longer
        most = EXACT_PIXELS if images else EXACT_COLUMNS
        return "exact" if self._width() <= most else "estimate"

    def _width(self) -> int:
        return int(np.prod(self.encoding_.model_shape))

    def _likelihoods(self, x: Tensor, y: Tensor | None, key: Tensor) -> Tensor:
        r"""Return log p of packed rows, ``(n, k)``, one for each probe that ``key`` makes."""
        probes = None if self._score_kind == "exact" else self._probes(key)
        times = self.exact_times().flip(0)
        x = self.moments.standardise(precise(x))
        log_p = log_densities(self._field(y), x, times, RUNGE_KUTTA["rk4"], probes)
        return log_p.double() - self.moments.std.double().log().sum()

    def _log_probs(
        self, encoded: Encoded, y: np.ndarray | None, key: np.ndarray | None = None
    ) -> np.ndarray:
        packed = self.encoding_.pack(encoded)
        return self._in_blocks(self._likelihoods, packed, y, packed if key is None else key)

    def _log_prob(self, encoded: Encoded, y: np.ndarray | None) -> np.ndarray:
        return self._log_probs(encoded, y).mean(1)

    def _joint(
        self, encoded: Encoded, y: np.ndarray | None, key: np.ndarray | None = None
    ) -> np.ndarray:
        r"""Return ln p(x | y), or ln p(x, c) for each class c: ``(1 or classes, n, k)``."""
        if y is not None or self.condition_ is None:
            return self._log_probs(encoded, y, key)[None]
        if self.labels_ is None or not self.condition_.n_classes:
            raise DataError(
                "The model is conditional on numbers, and p(x) without y is not available here."
                " Pass y."
            )
        share = self.labels_ / self.labels_.sum()
        classes = [np.full(len(encoded), c) for c in np.flatnonzero(share)]
        each = [self._log_probs(encoded, c, key) for c in classes]
        return np.stack(each) + np.log(share[share > 0])[:, None, None]

    @capability
    def score_interval(self, X: Any, y: Any = None, *, level: float = 0.95) -> np.ndarray:
        r"""Return an interval around :meth:`score_samples` for what random probes leave open.

        Args:
            X: As in :meth:`score_samples`.
            y: As in :meth:`score_samples`.
            level: Share of such intervals that hold the exact log-density of the model.

        Returns:
            Low and high, ``(n, 2)``, in nats. Up to 64 columns, or 16 numbers of an image, the
            score is exact and both are equal. Beyond, Student's interval of the estimates of 8
            probes, which takes them for normal; it speaks of the probes alone, not of solver or
            fit.

        Example:
            >>> from fromnoise import FlowMatching
            >>> X = np.random.default_rng(0).normal(size=(64, 3))
            >>> model = FlowMatching(budget="5 steps", network="small", random_state=0).fit(X)
            >>> low, high = model.score_interval(X[:2]).T
            >>> bool((low == high).all()), model.score_kind_
            (True, 'exact')
        """
        self._check_usable()
        if not is_number(level) or not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {level!r}.")
        X = self.encoding_.check(X)
        codes = self._given(y, data.n_rows(X))
        return self._by_parts(lambda X, codes: self._interval(X, codes, level), X, codes)

    def _interval(self, X: Any, codes: np.ndarray | None, level: float) -> np.ndarray:
        encoded = self.encoding_.encode(X)
        joint = self._joint(encoded, codes)
        centre, each = logsumexp(joint.mean(2), axis=0), logsumexp(joint, axis=0)
        half, k = np.zeros(len(each)), each.shape[1]
        if k > 1:
            half = each.std(1, ddof=1) / np.sqrt(k) * student.ppf((1 + level) / 2, k - 1)
        ends = (
            np.stack([centre - half, centre + half], 1) + self.encoding_.log_det(encoded)[:, None]
        )
        return np.where(self.encoding_.off_support(X)[:, None], -np.inf, ends)

    @capability
    def bits_per_dim(self, X: Any, y: Any = None, *, draws: int = 1) -> np.ndarray:
        r"""Return the bits that each row of whole numbers takes, for each of its numbers.

        −log₂ P(x) over the number of pixels and channels, or of columns that vary. P(x) is the
        probability of the row itself; the bits are those of a bound on it that tightens with
        ``draws``, so a number means something only beside its ``draws``.

        Args:
            X: Images of uint8, or arrays of ints, like those of ``fit``.
            y: As in :meth:`score_samples`.
            draws: K, places within each row's box; they depend on the row and ``random_state``.

        Returns:
            Bits, ``(n,)``; their mean is what papers report. Beyond 64 numbers a row they are
            estimates: the same 8 probes serve all draws of a row, so that their error does not
            pose as a tighter bound.

        Example:
            >>> from fromnoise import FlowMatching
            >>> X = np.random.default_rng(0).integers(0, 256, (64, 3))
            >>> model = FlowMatching(budget="9 steps", network="small", random_state=0).fit(X)
            >>> bool(7 < model.bits_per_dim(X[:9]).mean() < 9)
            True
        """
        self._check_usable()
        if not is_whole(draws) or draws < 1:
            raise ValueError(f"draws must be a positive int, got {draws!r}.")
        X = self.encoding_.check(X)
        codes = self._given(y, data.n_rows(X))
        return self._by_parts(lambda X, codes: self._bits(X, codes, draws), X, codes)

    def _bits(self, X: Any, codes: np.ndarray | None, draws: int) -> np.ndarray:
        encoded = self.encoding_.encode(X)
        key = self.encoding_.pack(encoded)
        log_p = []
        for draw in range(draws):
            placed = self._placed(encoded, key, draw)
            joint = self._joint(placed, codes, key).mean(2)
            log_p.append(logsumexp(joint, axis=0) + self.encoding_.log_det(placed))
        bits = (np.log(draws) - logsumexp(log_p, axis=0)) / (self._width() * np.log(2))
        return np.where(self.encoding_.off_support(X), np.inf, bits)

    def _placed(self, encoded: Encoded, key: np.ndarray, draw: int) -> Encoded:
        r"""Return rows at a random place of their boxes, a function of the row and the draw."""
        placed = [
            self.encoding_.dequantise(
                encoded.rows(slice(i, i + 1)), numpy_rng(self._row_seed(row), _BOX, draw)
            ).values
            for i, row in enumerate(key)
        ]
        return Encoded(np.concatenate(placed), encoded.codes, encoded.observed)

    def _probes(self, x: Tensor) -> Tensor:
        r"""Return 8 vectors of ±1 a row, a function of the row's bytes and ``random_state``."""
        size = PROBES * self._width()
        bits = [_random_bits(self._row_seed(row), size) for row in x.cpu().numpy()]
        signs = torch.from_numpy(2 * np.stack(bits).astype(np.float32) - 1)
        return signs.reshape(len(x), PROBES, -1).to(x.device)

    def _row_seed(self, row: np.ndarray) -> int:
        state = self.random_state if is_whole(self.random_state) else 0
        salt = (int(state) % 2**128).to_bytes(16, "little")
        digest = hashlib.blake2b(row.tobytes(), digest_size=16, salt=salt).digest()
        return int.from_bytes(digest, "little")

    def _cannot(self, name: str) -> str | None:
        if name not in ("score_samples", "score", "score_interval", "bits_per_dim"):
            return super()._cannot(name)
        encoding = getattr(self, "encoding_", None)
        if encoding is None:
            return super()._cannot(name)
        if name == "bits_per_dim":
            if encoding.kind == "table" or encoding.is_continuous or encoding.cardinalities:
                return (
                    f"{type(self).__name__} has no bits_per_dim here: it is for rows of whole"
                    " numbers, such as images of uint8. score_samples is what continuous data"
                    " has, and GaussianMixture has one for tables of all kinds."
                )
        elif not encoding.is_continuous:
            return (
                f"{type(self).__name__} has no {name} here: the data has categories, integers or"
                " missing values, and the density of a flow is defined for continuous columns"
                " only. GaussianMixture has one for such data."
            )
        return super()._cannot(name)


def precise(x: Tensor) -> Tensor:
    r"""Return x in float64, where the device has it.

    Example:
        >>> precise(torch.ones(1)).dtype
        torch.float64
    """
    return x if x.device.type == "mps" else x.double()


def _random_bits(seed: int, n: int) -> np.ndarray:
    words = np.random.Philox(seed).random_raw(-(-n // 64))
    return np.unpackbits(np.frombuffer(words, np.uint8))[:n]


def _with_condition(velocity: Any, y: Tensor | None, x: Tensor, t: Tensor) -> Tensor:
    result: Tensor = velocity(x, t, y)
    return result
