r"""The Gaussian mixture (Dempster, Laird & Rubin 1977; Bishop 2006, chapter 9).

    z → x       k ~ π,  x = μ_k + L_k z,  z ~ N(0, I),  L_k L_kᵀ = Σ_k
    log p(x)    log Σ_k π_k N(x; μ_k, Σ_k), exact
    loss        −log p, lowered by expectation–maximisation:
        E       r_nk = π_k N(x_n; μ_k, Σ_k) / Σ_j π_j N(x_n; μ_j, Σ_j)
        M       N_k = Σ_n r_nk,  μ_k = Σ_n r_nk x_n / N_k,
                Σ_k = Σ_n r_nk (x_n − μ_k)(x_n − μ_k)ᵀ / N_k + ε I

Tables: a component is a Gaussian over the continuous values times a probability table for each
categorical part. Values that a row does not have (missing, or replaced by a spike) are
integrated out, exactly, in its density and in EM (Ghahramani & Jordan 1994): the moments take
their conditional mean and covariance. Classes: every component belongs to one class, and
``predict`` is Bayes' rule over them. A continuous y is fitted jointly with x; p(x | y) is the
closed-form conditional (Bishop, 2.3.1).
"""

__all__ = ["GaussianMixture"]

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from fromnoise.base import BLOCK, GenerativeModel
from fromnoise.data import Encoded
from fromnoise.errors import ArtifactError, DataError, shown
from fromnoise.persistence import Tree
from fromnoise.training import Budget, Clock, Interrupts, numpy_rng, torch_rng

_NUMBERS = 4_000_000  # rows × components × columns in one block: 32 MB
_FULL_COLUMNS = 1024
_START_ROWS = 50_000
_CANDIDATES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_PATIENCE = 2
_FLOOR = 1e-10  # least regularisation, as a share of a column's variance
_GREY = 1e-4  # least variance of a pixel in [−1, 1]: about one grey level, squared
_FILL, _START, _LABELS = 30, 31, 32  # what a random stream is for


@dataclass(kw_only=True, eq=False, repr=False)
class GaussianMixture(GenerativeModel):
    r"""A mixture of Gaussians, with scikit-learn's parameter and attribute names.

    Args:
        n_components: Number of components, of each class if y is classes; ``"auto"`` tries 1, 2,
            3, 4, 6, 8, 12, … 64 and takes the least BIC.
        covariance_type: ``"full"``, ``"tied"`` (one for all), ``"diag"``, ``"spherical"``;
            ``"auto"`` is full up to 1,024 columns where the smallest class has at least twice as
            many rows as columns, and diagonal elsewhere.
        tol: EM ends when the mean log-likelihood gains less.
        reg_covar: Added to the variances, in squared units of the data; unless 0, at least 1e-10
            of a column's variance, so that collinear columns of any scale can be fitted, and
            for images about one grey level squared.
        max_iter: Largest number of EM iterations a start.
        n_init: Number of starts; the best is kept.
        init_params: ``"kmeans"``, or ``"k-means++"`` for its seeding alone.
        weights_init: Start of the weights, ``(K,)``.
        means_init: Start of the means, ``(K, d)``.
        precisions_init: Start of the precisions, shaped as scikit-learn's.
        warm_start: Whether ``fit`` starts from the last fit's parameters.

    Attributes:
        weights_: ``(K,)``.
        means_: ``(K, d)``, in the units of the data (of the encoded values for tables; images
            are flattened as (C, H, W)).
        covariances_: ``(K, d, d)``, ``(d, d)``, ``(K, d)`` or ``(K,)`` by type.
        component_class_: Class of each component, ``(K,)``; None without classes.
        converged_: Whether the last gain was below ``tol``.
        n_iter_: EM iterations of the start that was kept.
        lower_bound_: Mean log-likelihood of the training rows, in model space.

    Example:
        >>> import fromnoise as fn
        >>> X = fn.data.load("8gaussians").X[:2000]
        >>> model = fn.GaussianMixture(n_components=8, random_state=0).fit(X)
        >>> model.sample(2, random_state=1).shape, model.means_.shape
        ((2, 2), (8, 2))
    """

    family: ClassVar[str] = "gmm"

    n_components: int | Literal["auto"] = "auto"
    covariance_type: Literal["auto", "full", "tied", "diag", "spherical"] = "auto"
    tol: float = 1e-3
    reg_covar: float = 1e-6
    max_iter: int = 100
    n_init: int = 1
    init_params: Literal["kmeans", "k-means++"] = "kmeans"
    weights_init: Any = None
    means_init: Any = None
    precisions_init: Any = None
    warm_start: bool = False

    # --- fitting ------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        r"""Fit by expectation–maximisation.

        Args:
            X: As for every family.
            y: As for every family.
            sample_weight: Weight of each row, ``(n,)``; only their ratios matter.

        Returns:
            The model itself.

        Raises:
            DataError: If the data, or the number of components for it, cannot be used.
            ValueError: If an argument is wrong.
        """
        self._sample_weight = sample_weight
        try:
            return super().fit(X, y)
        finally:
            del self._sample_weight

    def _forget(self) -> None:
        self._warm = getattr(self, "mixture_", None) if self.warm_start else None
        super()._forget()

    def _learn(self, X: Any, y: np.ndarray | None, budget: Budget | None, seed: int) -> None:
        rows = self._rows(X, y, seed)
        with Interrupts() as interrupts:
            limit = _Limit(budget, interrupts)
            best = self._best_count(rows, limit, seed)
        self.mixture_, self.component_class_ = best.mixture, None
        if self._has_classes():
            self.component_class_ = rows.component_class(best.mixture)
        self.lower_bound_, self.n_iter_ = best.bound, len(best.history)
        self.converged_, self.history_ = best.converged, best.history
        self.n_steps_, self.fit_seconds_ = limit.iterations, limit.clock.elapsed()
        if not best.history:
            self.status_reason_ = "the budget ended within the first iteration of EM"
        self.interrupted_ = interrupts.received is not None
        self.n_parameters_ = best.mixture.n_parameters(rows.n_groups())
        interrupts.again()
        if not best.converged and budget is None:
            warnings.warn(
                f"EM did not converge in {self.max_iter} iterations (tol={self.tol}). Raise"
                " max_iter, or tol.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _best_count(self, rows: "_Rows", limit: "_Limit", seed: int) -> "_Run":
        best, worse = None, 0
        for count in self._counts(rows):
            run = self._best_start(rows, count, limit, seed)
            if best is None or run.bic(rows) < best.bic(rows):
                best, worse = run, 0
            else:
                worse += 1
            if limit.over() or worse == _PATIENCE:
                break
        if best is None:
            raise DataError("No number of components fits these rows.")
        return best

    def _rows(self, X: Any, y: np.ndarray | None, seed: int) -> "_Rows":
        encoding = self.encoding_
        encoded = encoding.dequantise(encoding.encode(X), numpy_rng(seed, _FILL))
        values = torch.from_numpy(encoded.values.reshape(len(encoded.values), -1)).double()
        self.constant_ = values[0].numpy().copy()
        self.varying_ = (values != values[0]).any(0).numpy()
        values = values[:, torch.from_numpy(self.varying_)]
        classes = y if self.condition_ is not None and self.condition_.n_classes else None
        if y is not None and classes is None:
            values = torch.cat([values, torch.from_numpy(y).double()], dim=1)
        if values.shape[1] == 0 and not encoding.cardinalities:
            raise DataError("Every column is constant; there is no distribution to learn.")
        kind = self.covariance_type
        if kind == "auto":
            fewest = len(values) if classes is None else np.bincount(classes).min()
            enough = 2 * values.shape[1] <= min(fewest, 2 * _FULL_COLUMNS)
            kind = "full" if enough else "diag"
        weight = _checked_weight(self._sample_weight, len(values))
        if y is not None and self._sample_weight is not None:
            self.labels_ = self._weighted_labels(y, weight.numpy(), seed)
        observed = torch.from_numpy(self._observed(encoded))
        if y is not None and classes is None:
            known = torch.ones(len(values), y.shape[1], dtype=torch.bool)
            observed = torch.cat([observed, known], dim=1)
        return _Rows(
            values=values,
            codes=torch.from_numpy(encoded.codes),
            weight=weight,
            classes=torch.zeros(len(values)) if classes is None else torch.from_numpy(classes),
            observed=observed,
            kind=kind,
            units=self._units(values),
            cardinalities=encoding.cardinalities,
        ).sorted()

    def _observed(self, encoded: Encoded) -> np.ndarray:
        r"""Return which of the varying columns a row has, ``(n, d)``."""
        n = len(encoded.values)
        seen = np.broadcast_to(encoded.observed, encoded.values.shape).reshape(n, -1)
        return seen[:, self.varying_]

    def _weighted_labels(self, y: np.ndarray, weight: np.ndarray, seed: int) -> np.ndarray:
        r"""Return what labels are drawn from: weighted counts, or a weighted sample."""
        if self._has_classes():
            size = self.condition_.n_classes  # type: ignore[union-attr]
            return np.bincount(y, weights=weight, minlength=size)
        rng = numpy_rng(seed, _LABELS)
        return y[rng.choice(len(y), size=len(y), p=weight / weight.sum())]

    def _units(self, values: Tensor) -> Tensor:
        r"""Units of the data that one unit of each model column stands for."""
        units = torch.ones(values.shape[1], dtype=torch.float64)
        linear = self.encoding_.linear()
        if linear is not None:
            scale = torch.from_numpy(np.asarray(linear[1], dtype=float).reshape(-1))
            scale = scale[torch.from_numpy(np.asarray(linear[2]).reshape(-1))][self.varying_]
            units[: len(scale)] = scale
        return units

    def _counts(self, rows: "_Rows") -> tuple[int, ...]:
        smallest = min(len(group) for group in rows.groups)
        if self._has_classes() and rows.n_groups() < self.condition_.n_classes:  # type: ignore[union-attr]
            raise DataError("A class has no row whose sample_weight is not zero.")
        if self.n_components != "auto":
            if self.n_components > smallest:
                what = "rows" if rows.n_groups() == 1 else "rows of the smallest class"
                raise DataError(
                    f"n_components={self.n_components} is more than the {smallest} {what}."
                )
            return (self.n_components,)
        per = 2 * (rows.values.shape[1] + 1) if rows.kind == "full" else 4
        most = max(1, smallest // per)
        return tuple(count for count in _CANDIDATES if count <= most)

    def _best_start(self, rows: "_Rows", count: int, limit: "_Limit", seed: int) -> "_Run":
        reg = _regularisation(rows, self.reg_covar)
        if self.encoding_.kind == "images" and self.reg_covar:
            reg = reg.clamp_min(_GREY)
        best = None
        for start in range(self.n_init):
            mixture = self._start(rows, count, reg, numpy_rng(seed, _START, count, start))
            run = _expectation_maximisation(rows, mixture, reg, self.tol, self.max_iter, limit)
            if best is None or run.bound > best.bound:
                best = run
            if limit.over():
                break
        if best is None:
            raise ValueError("n_init must be at least 1.")
        return best

    def _start(
        self, rows: "_Rows", count: int, reg: Tensor, rng: np.random.Generator
    ) -> "_Mixture":
        if self._warm is not None and self._warm.fits(rows, count):
            return self._warm
        given = (self.weights_init, self.means_init, self.precisions_init)
        if all(part is not None for part in given) and not rows.codes.shape[1]:
            mixture = _Mixture.empty(rows, count)
        else:
            mixture = _clustered(rows, count, self.init_params, reg, rng)
        weights, means, precisions = given
        if weights is not None:
            mixture = replace(mixture, log_weights=self._weights_start(weights, mixture))
        if means is not None:
            mixture = replace(mixture, means=self._means_start(means, mixture))
        if precisions is not None:
            mixture = replace(mixture, scale=self._scale_start(precisions, mixture, rows))
        return mixture

    def _weights_start(self, weights: Any, mixture: "_Mixture") -> Tensor:
        value = torch.as_tensor(np.asarray(weights, dtype=np.float64))
        sound = value.shape == mixture.log_weights.shape and bool((value >= 0).all())
        if not sound or abs(float(value.sum()) - 1) > 1e-6:
            raise ValueError(
                f"weights_init must be {len(mixture.log_weights)} weights that sum to 1."
            )
        return value.log()

    def _means_start(self, means: Any, mixture: "_Mixture") -> Tensor:
        value = np.asarray(means, dtype=np.float64)
        shift, scale, active = self._linear()
        if value.shape != (len(mixture.means), len(active)):
            raise ValueError(
                f"means_init must have the shape {(len(mixture.means), len(active))},"
                f" got {value.shape}."
            )
        value = (value[:, active] - shift) / scale
        return torch.from_numpy(value[:, self.varying_])

    def _scale_start(self, precisions: Any, mixture: "_Mixture", rows: "_Rows") -> Tensor:
        value = torch.as_tensor(np.asarray(precisions, dtype=np.float64))
        k, units = len(mixture.means), rows.units
        _, _, active = self._linear()
        d = len(active)
        kind = rows.kind
        shape = {"full": (k, d, d), "tied": (d, d), "diag": (k, d), "spherical": (k,)}[kind]
        if value.shape != shape:
            raise ValueError(f"precisions_init must have the shape {shape}, got {value.shape}.")
        keep = torch.from_numpy(np.flatnonzero(active)[self.varying_])
        diagonal = value.diagonal(dim1=-2, dim2=-1) if kind in ("full", "tied") else value
        if not bool((diagonal > 0).all()):
            raise ValueError("precisions_init must be positive.")
        if kind in ("full", "tied"):
            square = value.reshape(-1, d, d)[:, keep][:, :, keep]
            return _cholesky(torch.linalg.inv(square) / units / units[:, None])
        variance = 1 / (value[:, keep] if kind == "diag" else value[:, None])
        return variance.sqrt() / units

    def _linear(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        r"""Return shift and scale of the active columns, and which columns are active."""
        linear = self.encoding_.linear()
        if linear is None:
            width = len(self.varying_)
            return np.zeros(width), np.ones(width), np.ones(width, dtype=bool)
        shift, scale, active = (np.asarray(part).reshape(-1) for part in linear)
        return shift[active], scale[active], active

    def _check_arguments(self) -> None:
        super()._check_arguments()
        for name, low in (("tol", 0), ("reg_covar", 0), ("max_iter", 1), ("n_init", 1)):
            value = getattr(self, name)
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not (number and value >= low):
                raise ValueError(f"{name} must be a number of at least {low}, got {shown(value)}.")
        for name in ("max_iter", "n_init"):
            if not isinstance(getattr(self, name), int | np.integer):
                raise ValueError(f"{name} must be an int, got {shown(getattr(self, name))}.")
        count = self.n_components
        whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
        if count != "auto" and not (whole and count >= 1):
            raise ValueError(f'n_components must be "auto" or at least 1, got {shown(count)}.')

    # --- what was learnt ----------------------------------------------------------------------

    @property
    def weights_(self) -> np.ndarray:
        r"""Weights of the components, ``(K,)``."""
        return self._learnt().log_weights.exp().numpy()

    @property
    def means_(self) -> np.ndarray:
        r"""Means of the components, ``(K, d)``."""
        mixture = self._learnt()
        shift, scale, active = self._linear()
        linear = self.encoding_.linear()
        rest = np.zeros(len(active)) if linear is None else np.asarray(linear[0]).reshape(-1)
        full = np.tile(rest, (len(mixture.means), 1))  # a column that is not active is constant
        inner = np.tile(self.constant_, (len(full), 1))
        inner[:, self.varying_] = mixture.means[:, : self.varying_.sum()]
        full[:, active] = shift + scale * inner
        return full

    @property
    def covariances_(self) -> np.ndarray:
        r"""Covariances, shaped by ``covariance_type``; constant columns have ``reg_covar``."""
        mixture = self._learnt()
        _, scale, active = self._linear()
        keep = np.flatnonzero(active)[self.varying_]
        units, d = scale[self.varying_], len(active)
        inner = mixture.columns(torch.arange(len(keep)))
        if mixture.kind == "spherical":
            return (inner.scale[:, 0].numpy() * units[0]) ** 2
        if mixture.kind == "diag":
            variance = np.full((len(inner.means), d), self.reg_covar)
            variance[:, keep] = (inner.scale.numpy() * units) ** 2
            return variance
        full = np.tile(self.reg_covar * np.eye(d), (len(inner.scale), 1, 1))
        square = (inner.scale @ inner.scale.mT).numpy() * units * units[:, None]
        full[np.ix_(range(len(full)), keep, keep)] = square
        return full[0] if mixture.kind == "tied" else full

    @property
    def precisions_(self) -> np.ndarray:
        r"""Inverses of ``covariances_``."""
        full = self._learnt().kind in ("full", "tied")
        inverse: np.ndarray = np.linalg.inv(self.covariances_) if full else 1 / self.covariances_
        return inverse

    @property
    def classes_(self) -> np.ndarray:
        r"""The classes that ``predict`` chooses from: labels, or numbers of components."""
        if self._has_classes():
            return np.asarray(self.condition_.classes_)  # type: ignore[union-attr]
        return np.arange(len(self._learnt().means))

    @property
    def n_evaluations(self) -> int:
        r"""How often a network is evaluated to draw a sample: never."""
        return 0

    def _learnt(self) -> "_Mixture":
        if "mixture_" not in vars(self):
            raise AttributeError(f"This {type(self).__name__} is not fitted yet. Call fit first.")
        mixture: _Mixture = self.mixture_
        return mixture

    def _has_classes(self) -> bool:
        return self.condition_ is not None and self.condition_.n_classes > 0

    # --- density and prediction ---------------------------------------------------------------

    def predict(self, X: Any) -> np.ndarray:
        r"""Return the most probable class of each row; without classes, the component.

        Args:
            X: Rows like those of ``fit``.

        Returns:
            Classes or numbers of components, ``(n,)``.
        """
        chosen = self.predict_proba(X).argmax(1)
        return self.condition_.decode(chosen) if self._has_classes() else chosen  # type: ignore

    def predict_proba(self, X: Any) -> np.ndarray:
        r"""Return p(class | x), or p(component | x) without classes.

        Args:
            X: Rows like those of ``fit``.

        Returns:
            Probabilities in the order of ``classes_``, ``(n, C)`` or ``(n, K)``.
        """
        check_is_fitted(self)
        encoded = self.encoding_.encode(self.encoding_.check(X))
        joint = self._log_joint(encoded, None)
        joint = np.exp(joint - joint.max(1, keepdims=True))
        share: np.ndarray = joint / joint.sum(1, keepdims=True)
        if not self._has_classes():
            return share
        members = np.arange(len(self.classes_)) == np.asarray(self.component_class_)[:, None]
        return share @ members.astype(float)  # (n, K) @ (K, C)

    def bic(self, X: Any, y: Any = None) -> float:
        r"""Return the Bayesian information criterion, −2 log p(X) + parameters · log n.

        Args:
            X: Rows like those of ``fit``.
            y: Labels, for a conditional model.

        Returns:
            The criterion; lower is better.
        """
        log_p = self.score_samples(X, y)
        return float(-2 * log_p.sum() + self.n_parameters_ * np.log(len(log_p)))

    def aic(self, X: Any, y: Any = None) -> float:
        r"""Return Akaike's information criterion, −2 log p(X) + 2 · parameters.

        Args:
            X: Rows like those of ``fit``.
            y: Labels, for a conditional model.

        Returns:
            The criterion; lower is better.
        """
        return float(-2 * self.score_samples(X, y).sum() + 2 * self.n_parameters_)

    def _cannot(self, name: str) -> str | None:
        if name in ("encode", "decode", "transform", "fit_transform", "inverse_transform"):
            return (
                f"GaussianMixture has no {name}: which component a row came from is not known, so"
                " a row has no single code z. predict_proba gives the probabilities of the"
                " components; FlowMatching has codes."
            )
        return super()._cannot(name)

    def _log_prob(self, encoded: Encoded, y: np.ndarray | None) -> np.ndarray:
        return np.where(self._off(encoded), -np.inf, self._log_prob_varying(encoded, y))

    def _log_prob_varying(self, encoded: Encoded, y: np.ndarray | None) -> np.ndarray:
        if y is None or not self._has_classes():
            joint = _log_sum(self._log_joint(encoded, y))
            return joint if y is None else joint - self._log_prior(y)
        mine = self.component_class_ == y[:, None]  # (n, K)
        joint = np.where(mine, self._log_joint(encoded, None), -np.inf)
        share = np.where(mine, self.weights_, 0).sum(1)
        return _log_sum(joint) - np.log(share)

    def _log_marginal(self, encoded: Encoded) -> np.ndarray:
        return self._log_prob(encoded, None)

    def _log_joint(self, encoded: Encoded, y: np.ndarray | None) -> np.ndarray:
        r"""Return log π_k p_k(x), or log π_k p_k(x, y) for a continuous y, ``(n, K)``."""
        n = len(encoded.values)
        values = encoded.values.reshape(n, -1)[:, self.varying_]
        observed = self._observed(encoded)
        extra = len(self._learnt().means[0]) - values.shape[1]
        if extra:
            label = np.zeros((n, extra)) if y is None else y
            values = np.concatenate([values, label], axis=1)
            observed = np.concatenate([observed, np.full((n, extra), y is not None)], axis=1)
        result = _log_components(self.mixture_, values, encoded.codes, observed)
        result += self.mixture_.log_weights.numpy()
        return result

    def _off(self, encoded: Encoded) -> np.ndarray:
        r"""Return which rows differ where no training row did: a point mass at another place."""
        n = len(encoded.values)
        return (encoded.values.reshape(n, -1) != self.constant_)[:, ~self.varying_].any(1)

    def _log_prior(self, y: np.ndarray) -> np.ndarray:
        r"""Return log p(y) of a continuous y."""
        mixture, width = self.mixture_, y.shape[1]
        values = np.zeros((len(y), mixture.means.shape[1]))
        values[:, -width:] = y
        observed = np.zeros(values.shape, dtype=bool)
        observed[:, -width:] = True
        bare = replace(mixture, tables=())
        none = np.empty((len(y), 0), np.int64)
        joint = _log_components(bare, values, none, observed)
        return _log_sum(joint + mixture.log_weights.numpy())

    # --- sampling -----------------------------------------------------------------------------

    def _draw(self, seed: int, block: int, n: int, y: np.ndarray | None) -> Encoded:
        mixture, rng = self.mixture_, torch_rng(seed, block)
        d, tables = mixture.means.shape[1], mixture.tables
        u = torch.rand(BLOCK, 1 + len(tables), generator=rng, dtype=torch.float64)
        z = torch.randn(BLOCK, d, generator=rng, dtype=torch.float64)
        # Whole blocks all the way, so that a row has the same bits however many are asked for.
        y = None if y is None else np.concatenate([y, np.repeat(y[:1], BLOCK - n, axis=0)])
        if y is not None and not self._has_classes():
            k, x = _conditional_draw(mixture, u[:, 0], z, torch.from_numpy(y).double())
        else:
            k = _choose(self._class_weights(y), u[:, 0])
            x = mixture.means[k] + mixture.spread(k, z)
        codes = [_choose(table.exp()[k], u[:, i + 1])[:n] for i, table in enumerate(tables)]
        return self._restored(x[:n], codes)

    def _class_weights(self, y: np.ndarray | None) -> Tensor:
        weights = self.mixture_.log_weights.exp().expand(BLOCK, -1)
        if y is None:
            return weights
        mine = torch.from_numpy(self.component_class_ == y[:, None])
        weights = torch.where(mine, weights, 0.0)
        return weights / weights.sum(1, keepdim=True)

    def _restored(self, x: Tensor, codes: list[Tensor]) -> Encoded:
        n = len(x)
        values = np.tile(self.constant_, (n, 1))
        values[:, self.varying_] = x[:, : self.varying_.sum()].numpy()
        shaped = values.reshape(n, *self.encoding_.shape)
        parts = np.stack([c.numpy() for c in codes], 1) if codes else np.empty((n, 0), np.int64)
        return Encoded(shaped, parts, self.encoding_.observed(parts))

    # --- saving -------------------------------------------------------------------------------

    def _state(self) -> Tree:
        names = ("constant_", "varying_", "lower_bound_", "n_iter_", "converged_", "history_")
        more = ("n_steps_", "fit_seconds_", "n_parameters_", "component_class_")
        mixture = self.mixture_
        return {
            "kind": mixture.kind,
            "log_weights": mixture.log_weights.numpy(),
            "means": mixture.means.numpy(),
            "scale": mixture.scale.numpy(),
            "tables": [table.numpy() for table in mixture.tables],
            **{name: getattr(self, name) for name in names + more},
            "lower_bound_": self.lower_bound_ if math.isfinite(self.lower_bound_) else None,
        }

    def _restore(self, state: Tree) -> None:
        state, self.interrupted_ = dict(state), False
        parts = {name: torch.from_numpy(state.pop(name)) for name in _Mixture.TENSORS}
        for name in ("means", "scale"):
            if not bool(torch.isfinite(parts[name]).all()):
                raise ArtifactError(f"The {name} hold NaN or infinity.")
        tables = tuple(torch.from_numpy(table) for table in state.pop("tables"))
        self.mixture_ = _Mixture(kind=state.pop("kind"), tables=tables, **parts)
        for name, value in state.items():
            setattr(self, name, value)
        self.lower_bound_ = -math.inf if self.lower_bound_ is None else self.lower_bound_


# --- the mixture ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Mixture:
    r"""Parameters in model space.

    ``scale`` holds standard deviations ``(K, d)`` for diagonal and spherical components, else
    Cholesky factors L, ``(K, d, d)``, or ``(1, d, d)`` where they are tied.
    """

    TENSORS: ClassVar = ("log_weights", "means", "scale")

    kind: str
    log_weights: Tensor  # (K,)
    means: Tensor  # (K, d)
    scale: Tensor
    tables: tuple[Tensor, ...] = ()  # log-probabilities, (K, cardinality) each

    @classmethod
    def empty(cls, rows: "_Rows", count: int) -> "_Mixture":
        k, d = count * rows.n_groups(), rows.values.shape[1]
        one = torch.ones(k, dtype=torch.float64)
        scale = torch.eye(d, dtype=torch.float64).expand(k, d, d)
        return cls(rows.kind, one.div(k).log(), torch.zeros(k, d, dtype=torch.float64), scale)

    @property
    def is_diagonal(self) -> bool:
        return self.scale.ndim == 2

    def fits(self, rows: "_Rows", count: int) -> bool:
        same = self.means.shape == (count * rows.n_groups(), rows.values.shape[1])
        cards = tuple(table.shape[1] for table in self.tables)
        return same and self.kind == rows.kind and cards == rows.cardinalities

    def part(self, components: slice) -> "_Mixture":
        r"""Return some of the components."""
        return replace(
            self,
            log_weights=self.log_weights[components],
            means=self.means[components],
            scale=self.scale if len(self.scale) == 1 < len(self.means) else self.scale[components],
            tables=tuple(table[components] for table in self.tables),
        )

    def columns(self, keep: Tensor) -> "_Mixture":
        r"""Return the marginal over some of the columns."""
        if self.is_diagonal:
            return replace(self, means=self.means[:, keep], scale=self.scale[:, keep])
        square = (self.scale @ self.scale.mT)[:, keep][:, :, keep]
        return replace(self, means=self.means[:, keep], scale=_cholesky(square))

    def whitened(self, difference: Tensor) -> Tensor:
        r"""Return L_k⁻¹ (x − μ_k) for differences ``(K, n, d)``, as ``(K, d, n)``."""
        if self.is_diagonal:
            return (difference / self.scale[:, None]).mT
        scale = self.scale.expand(len(difference), -1, -1)
        return torch.linalg.solve_triangular(scale, difference.mT, upper=False)

    def log_prob(self, difference: Tensor, codes: Tensor) -> Tensor:
        r"""Return log p_k(x) for differences x − μ_k ``(K, n, d)`` and codes, ``(K, n)``."""
        diagonal = self.scale if self.is_diagonal else self.scale.diagonal(dim1=1, dim2=2)
        constant = diagonal.log().sum(1) + 0.5 * difference.shape[2] * math.log(2 * math.pi)
        result = -0.5 * self.whitened(difference).square().sum(1) - constant[:, None]
        for i, table in enumerate(self.tables):
            result += table[:, codes[:, i]]
        return result

    def spread(self, k: Tensor, z: Tensor) -> Tensor:
        r"""Return L_k z for a component and noise a row, ``(n, d)``."""
        if self.is_diagonal:
            return self.scale[k] * z
        scale = self.scale.expand(len(self.means), -1, -1)
        result = torch.empty_like(z)
        for component in k.unique():
            mine = (k == component).nonzero().squeeze(1)
            # One row at a time would be slow, all at once in one shape is what keeps rows alike.
            full = torch.zeros_like(z)
            full[: len(mine)] = z[mine]
            result[mine] = (full @ scale[component].mT)[: len(mine)]
        return result

    def n_parameters(self, n_groups: int) -> int:
        k, d = self.means.shape
        spread = {"full": k * d * (d + 1) / 2, "tied": d * (d + 1) / 2, "diag": k * d}
        tables = sum(k * (table.shape[1] - 1) for table in self.tables)
        return int(spread.get(self.kind, k) + k * d + k - 1 + tables)


@dataclass(frozen=True)
class _Rows:
    r"""Training rows, sorted by class and by which values they have."""

    values: Tensor  # (n, d)
    codes: Tensor  # (n, parts)
    weight: Tensor  # (n,)
    classes: Tensor  # (n,)
    observed: Tensor  # (n, d)
    kind: str
    units: Tensor  # (d,)
    cardinalities: tuple[int, ...]
    groups: tuple[range, ...] = ()  # rows of one class
    pieces: tuple[tuple[int, range, Tensor | None], ...] = ()  # (group, rows, observed or None)

    def sorted(self) -> "_Rows":
        r"""Return the rows that have a weight, sorted, with their groups and pieces."""
        keep = torch.nonzero(self.weight > 0).squeeze(1)
        patterns, which = np.unique(self.observed[keep].numpy(), axis=0, return_inverse=True)
        which, classes = which.reshape(-1), self.classes[keep].numpy()
        order = np.lexsort((which, classes))
        groups = _runs(classes[order])
        pieces = [
            (g, range(group.start + run.start, group.start + run.stop))
            for g, group in enumerate(groups)
            for run in _runs(which[order][group.start : group.stop])
        ]
        seen = [torch.from_numpy(patterns[which[order[rows.start]]]) for _, rows in pieces]
        index = keep[order]
        return replace(
            self,
            values=self.values[index],
            codes=self.codes[index],
            weight=self.weight[index],
            classes=self.classes[index],
            observed=self.observed[index],
            groups=groups,
            pieces=tuple(
                (g, rows, None if bool(pattern.all()) else pattern)
                for (g, rows), pattern in zip(pieces, seen, strict=True)
            ),
        )

    def n_groups(self) -> int:
        return len(self.groups)

    def slices(self) -> list[slice]:
        return [slice(group.start, group.stop) for group in self.groups]

    def component_class(self, mixture: _Mixture) -> np.ndarray:
        return np.repeat(np.arange(len(self.groups)), len(mixture.means) // len(self.groups))

    def blocks(self, count: int) -> Iterator[tuple[slice, slice, Tensor | None]]:
        r"""Yield rows, their components, and what they have (None: everything)."""
        size = max(1, _NUMBERS // (count * max(self.values.shape[1], 1)))
        for g, rows, pattern in self.pieces:
            for start in range(rows.start, rows.stop, size):
                block = slice(start, min(start + size, rows.stop))
                yield block, slice(g * count, (g + 1) * count), pattern


def _runs(keys: np.ndarray) -> tuple[range, ...]:
    r"""Return the runs of equal entries of a sorted array."""
    edges = [0, *(np.flatnonzero(np.diff(keys)) + 1).tolist(), len(keys)]
    return tuple(range(a, b) for a, b in pairwise(edges) if b > a)


@dataclass
class _Run:
    r"""One start, as far as it got."""

    mixture: _Mixture
    bound: float = -math.inf
    converged: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)

    def bic(self, rows: _Rows) -> float:
        n = len(rows.values)
        return -2 * n * self.bound + self.mixture.n_parameters(rows.n_groups()) * math.log(n)


class _Limit:
    r"""When EM has to end: at a deadline, after some iterations, or at a signal."""

    def __init__(self, budget: Budget | None, interrupts: Interrupts) -> None:
        self.iterations, self.interrupts = 0, interrupts
        seconds = budget is not None and budget.unit == "seconds"
        self.most = math.inf if budget is None or seconds else budget.amount
        self.deadline = budget.amount if budget is not None and seconds else math.inf
        self.clock = Clock(budget or Budget(1, "steps"), 1)

    def over(self) -> bool:
        return self.iterations >= self.most or self.now()

    def now(self) -> bool:
        r"""Return whether even the iteration under way has to be given up."""
        return self.interrupts.received is not None or self.clock.elapsed() >= self.deadline


class _OutOfTime(Exception):
    r"""The budget ended within an iteration."""


@dataclass
class _Moments:
    r"""Σ r, Σ r (x − μ), Σ r (x − μ)(x − μ)ᵀ and counts, about the means before the step."""

    mass: Tensor
    first: Tensor
    second: Tensor
    counts: list[Tensor]

    @classmethod
    def zero(cls, mixture: _Mixture, cardinalities: tuple[int, ...]) -> "_Moments":
        k, d = mixture.means.shape
        shape = (k, d) if mixture.kind in ("diag", "spherical") else (k, d, d)
        zeros = [torch.zeros(k, c, dtype=torch.float64) for c in cardinalities]
        empty = torch.zeros(k, dtype=torch.float64)
        return cls(empty, torch.zeros_like(mixture.means), empty.new_zeros(shape), zeros)

    def spread(self, components: slice, r: Tensor, covariance: Tensor) -> None:
        r"""Add Σ r times the covariance of what the rows do not have."""
        mass = r.sum(1).reshape(-1, *[1] * (covariance.ndim - 1))
        self.second[components] += mass * covariance

    def add(self, components: slice, r: Tensor, difference: Tensor, codes: Tensor) -> None:
        r"""Add rows with responsibilities r ``(K, n)`` and differences ``(K, n, d)``."""
        weighted = difference * r[:, :, None]
        self.mass[components] += r.sum(1)
        self.first[components] += weighted.sum(1)
        if self.second.ndim == 2:
            self.second[components] += (weighted * difference).sum(1)
        else:
            self.second[components] += weighted.mT @ difference
        for i, count in enumerate(self.counts):
            count[components] = count[components].index_add(1, codes[:, i], r)


def _expectation_maximisation(
    rows: _Rows, mixture: _Mixture, reg: Tensor, tol: float, max_iter: int, limit: _Limit
) -> _Run:
    run, total = _Run(mixture), float(rows.weight.sum())
    for _ in range(max_iter):
        if limit.over():
            break
        try:
            moments, log_p = _expectation(rows, run.mixture, limit)
        except _OutOfTime:
            break
        run.mixture = _maximisation(run.mixture, moments, reg, rows.units)
        limit.iterations += 1
        gain, run.bound = log_p / total - run.bound, log_p / total
        run.history.append(
            {"step": limit.iterations, "seconds": limit.clock.elapsed(), "loss": -run.bound}
        )
        if abs(gain) < tol:
            run.converged = True
            break
    return run


def _expectation(rows: _Rows, mixture: _Mixture, limit: _Limit) -> tuple[_Moments, float]:
    r"""Return the moments under the responsibilities, and Σ log p(x)."""
    count = len(mixture.means) // rows.n_groups()
    moments, log_p = _Moments.zero(mixture, rows.cardinalities), 0.0
    for block, components, pattern in rows.blocks(count):
        if limit.now():
            raise _OutOfTime
        part, codes, weight = mixture.part(components), rows.codes[block], rows.weight[block]
        difference = rows.values[block] - part.means[:, None]  # (K, n, d)
        if pattern is None:
            density, spread = part.log_prob(difference, codes), None
        else:
            density, difference, spread = _completed(part, difference, codes, pattern)
        joint = density + part.log_weights[:, None]
        norm = joint.logsumexp(0)
        log_p += float((norm * weight).sum())
        r = (joint - norm).exp_() * weight
        moments.add(components, r, difference, codes)
        if spread is not None:
            moments.spread(components, r, spread)
    return moments, log_p


def _completed(
    part: _Mixture, difference: Tensor, codes: Tensor, pattern: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return log p_k of what rows have, x − μ_k with the rest at its mean, and its covariance."""
    seen, gone = pattern.nonzero().squeeze(1), (~pattern).nonzero().squeeze(1)
    marginal, own = part.columns(seen), difference[:, :, seen]
    density, full = marginal.log_prob(own, codes), torch.zeros_like(difference)
    full[:, :, seen] = own
    if part.is_diagonal:
        variance = torch.zeros_like(part.means)
        variance[:, gone] = part.scale[:, gone] ** 2
        return density, full, variance
    square = (part.scale @ part.scale.mT).expand(len(part.means), -1, -1)
    cross = square[:, gone][:, :, seen]
    factor = marginal.scale.expand(len(part.means), -1, -1)
    gain = torch.cholesky_solve(cross.mT, factor).mT  # Σ_go Σ_oo⁻¹, (K, gone, seen)
    full[:, :, gone] = own @ gain.mT
    rest = torch.zeros_like(square)
    rest[:, gone[:, None], gone] = square[:, gone][:, :, gone] - gain @ cross.mT
    return density, full, rest


def _maximisation(mixture: _Mixture, moments: _Moments, reg: Tensor, units: Tensor) -> _Mixture:
    mass = moments.mass + 10 * torch.finfo(torch.float64).eps
    shift = moments.first / mass[:, None]
    if moments.second.ndim == 2:
        scale = _deviations(moments.second / mass[:, None] - shift**2, mixture.kind, reg, units)
    else:
        outer = mass[:, None, None] * shift[:, :, None] * shift[:, None, :]
        scatter = moments.second - outer
        if mixture.kind == "tied":
            square = scatter.sum(0, keepdim=True) / mass.sum()
        else:
            square = scatter / mass[:, None, None]
        scale = _cholesky(square + torch.diag(reg))
    return replace(
        mixture,
        log_weights=(mass / mass.sum()).log(),
        means=mixture.means + shift,
        scale=scale,
        # One pseudo-count, spread over the categories: no category gets probability zero.
        tables=tuple(
            ((c + 1 / c.shape[1]) / (c.sum(1, keepdim=True) + 1)).log() for c in moments.counts
        ),
    )


def _deviations(variance: Tensor, kind: str, reg: Tensor, units: Tensor) -> Tensor:
    variance = variance.clamp_min(0) + reg
    if kind == "spherical":
        variance = (variance * units**2).mean(1, keepdim=True) / units**2
    return variance.sqrt()


def _regularisation(rows: _Rows, reg_covar: float) -> Tensor:
    if reg_covar == 0 or not len(rows.units):
        return torch.zeros_like(rows.units)
    floor = _FLOOR * rows.values.var(0, correction=0)
    return torch.maximum(reg_covar / rows.units**2, floor)


def _clustered(
    rows: _Rows, count: int, how: str, reg: Tensor, rng: np.random.Generator
) -> _Mixture:
    r"""Return the mixture whose components are the clusters of k-means or of its seeding."""
    one_hot = [
        torch.nn.functional.one_hot(rows.codes[:, i], c).double()
        for i, c in enumerate(rows.cardinalities)
    ]
    features = torch.cat([rows.values, *one_hot], dim=1).numpy()
    weight = rows.weight.numpy()
    centres = [_centres(features[g], weight[g], count, how, rng) for g in rows.slices()]
    means = torch.from_numpy(np.concatenate(centres))
    start = replace(
        _Mixture.empty(rows, count), means=means[:, : rows.values.shape[1]].contiguous()
    )
    moments = _Moments.zero(start, rows.cardinalities)
    for block, components, _ in rows.blocks(count):
        nearest = torch.cdist(torch.from_numpy(features[block]), means[components]).argmin(1)
        r = torch.nn.functional.one_hot(nearest, count).T.double() * rows.weight[block]
        difference = rows.values[block] - start.means[components, None]
        moments.add(components, r, difference, rows.codes[block])
    return _maximisation(start, moments, reg, rows.units)


def _centres(
    features: np.ndarray, weight: np.ndarray, count: int, how: str, rng: np.random.Generator
) -> np.ndarray:
    if len(features) > _START_ROWS:
        chosen = np.sort(rng.choice(len(features), _START_ROWS, replace=False))
        features, weight = features[chosen], weight[chosen]
    seed = int(rng.integers(2**31))
    if how == "k-means++":
        return kmeans_plusplus(features, count, sample_weight=weight, random_state=seed)[0]
    k_means = KMeans(count, n_init=1, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct rows than clusters
        return k_means.fit(features, sample_weight=weight).cluster_centers_


def _log_components(
    mixture: _Mixture, values: np.ndarray, codes: np.ndarray, observed: np.ndarray
) -> np.ndarray:
    r"""Return log p_k of the observed columns of each row, ``(n, K)``."""
    result = np.empty((len(values), len(mixture.means)))
    patterns, which = np.unique(observed, axis=0, return_inverse=True)
    for i, pattern in enumerate(patterns):
        mine = np.flatnonzero(which.reshape(-1) == i)
        keep = np.flatnonzero(pattern)
        part = mixture if pattern.all() else mixture.columns(torch.from_numpy(keep))
        x = torch.from_numpy(values[np.ix_(mine, keep)]).double()
        # Rows that lack something come in small groups; what a row lacks is its own affair.
        size = max(8, min(BLOCK, _NUMBERS // max(1, part.means.numel()))) if pattern.all() else 8
        result[mine] = _in_padded_blocks(part, x, torch.from_numpy(codes[mine]), size)
    return result


def _in_padded_blocks(mixture: _Mixture, x: Tensor, codes: Tensor, size: int) -> np.ndarray:
    r"""Evaluate in blocks of one size, so that no row's result depends on the others."""
    results = []
    for start in range(0, len(x), size):
        short = max(0, start + size - len(x))
        block = torch.nn.functional.pad(x[start : start + size], (0, 0, 0, short))
        labels = torch.nn.functional.pad(codes[start : start + size], (0, 0, 0, short))
        log_p = mixture.log_prob(block - mixture.means[:, None], labels)
        results.append(log_p.T[: size - short].numpy())
    return np.concatenate(results)


def _conditional_draw(mixture: _Mixture, u: Tensor, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    r"""Draw k and x given a continuous y, the last columns of the joint; returns [x | y]."""
    width, d = y.shape[1], mixture.means.shape[1]
    inner, outer = torch.arange(d - width), torch.arange(d - width, d)
    marginal = replace(mixture.columns(outer), tables=())
    difference = y - marginal.means[:, None]  # (K, n, w)
    none = torch.empty(len(y), 0, dtype=torch.int64)
    weights = (marginal.log_prob(difference, none) + mixture.log_weights[:, None]).softmax(0).T
    k = _choose(weights, u)
    if mixture.is_diagonal:
        x = mixture.means[k] + mixture.scale[k] * z
        return k, torch.cat([x[:, inner], y], dim=1)
    square = (mixture.scale @ mixture.scale.mT).expand(len(mixture.means), -1, -1)
    cross, own = square[:, : d - width, d - width :], square[:, d - width :, d - width :]
    gain = torch.linalg.solve(own, cross, left=False)  # Σ_xy Σ_yy⁻¹, (K, d − w, w)
    rest = square[:, : d - width, : d - width] - gain @ cross.mT
    conditional = replace(mixture, means=mixture.means[:, inner], scale=_cholesky(rest))
    moved = (gain[k] @ difference[k, torch.arange(len(y))][:, :, None]).squeeze(2)
    x = conditional.means[k] + moved + conditional.spread(k, z[:, inner])
    return k, torch.cat([x, y], dim=1)


def _choose(weights: Tensor, u: Tensor) -> Tensor:
    r"""Return the category that u ~ U(0, 1) falls into, by row of ``weights`` ``(n, K)``."""
    edges = weights.cumsum(1)
    index = torch.searchsorted(edges.contiguous(), (u * edges[:, -1])[:, None], right=True)
    return index.squeeze(1).clamp_max(weights.shape[1] - 1)


def _cholesky(square: Tensor) -> Tensor:
    factor, info = torch.linalg.cholesky_ex(square)
    if int(info.max()) > 0:
        raise DataError(
            "A covariance is not positive definite: some columns are constant or collinear within"
            " a component. Raise reg_covar, lower n_components, or use"
            ' covariance_type="diag".'
        )
    # LAPACK's order of columns; a loaded model must have the same to the bit.
    return factor.contiguous()


def _checked_weight(weight: Any, n: int) -> Tensor:
    if weight is None:
        return torch.ones(n, dtype=torch.float64)
    value = torch.as_tensor(np.asarray(weight, dtype=np.float64))
    if value.shape != (n,) or not bool(torch.isfinite(value).all()) or bool((value < 0).any()):
        raise DataError(f"sample_weight must be {n} finite numbers that are not negative.")
    if float(value.sum()) == 0:
        raise DataError("sample_weight is zero for every row.")
    return value / value[value > 0].mean()


def _log_sum(joint: np.ndarray) -> np.ndarray:
    total: np.ndarray = torch.from_numpy(joint).logsumexp(1).numpy()
    return total
