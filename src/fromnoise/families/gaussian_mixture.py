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
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from fromnoise.base import BLOCK, GenerativeModel
from fromnoise.base.arguments import is_number, is_whole
from fromnoise.data import Encoded
from fromnoise.data.transforms import Partial
from fromnoise.errors import ArtifactError, DataError, shown
from fromnoise.mixture import (
    Limit,
    Mixture,
    Reader,
    Rows,
    Run,
    Search,
    checked_weight,
    choose,
    clustered,
    conditional_draw,
    expectation_maximisation,
    log_components,
    log_sum,
    regularisation,
)
from fromnoise.mixture.components import cholesky
from fromnoise.mixture.conditionals import component_weights, moved
from fromnoise.persistence import Tree
from fromnoise.training import Budget, Interrupts, digest, numpy_rng, torch_rng

_FULL_COLUMNS = 1024
_CANDIDATES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_PATIENCE = 2
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
        precision: Of the products of EM, for rows that have all their values. ``"float32"`` takes
            about half the time; log-densities within ``fit`` are then off by about 1e-4 nats a
            row, and covariances by about 1e-5 of themselves. Sums over rows, iterations in which
            a component is too narrow for it, and all that is asked of a fitted model, are in
            float64 all the same.

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
    precision: Literal["float64", "float32"] = "float64"

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

    def _told(self, X: Any, y: np.ndarray | None) -> Tree:
        weight = getattr(self, "_sample_weight", None)
        mark = None if weight is None else digest(np.asarray(weight))
        return {**super()._told(X, y), "sample_weight": mark}

    def _forget(self) -> None:
        self._warm = getattr(self, "mixture_", None) if self.warm_start else None
        super()._forget()

    def _learn(self, X: Any, y: np.ndarray | None, budget: Budget | None, seed: int) -> None:
        rows = self._rows(X, y, seed)
        with Interrupts() as interrupts:
            limit = Limit(budget, interrupts)
            best = self._searched(rows, limit, seed)
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

    def _searched(self, rows: Rows, limit: Limit, seed: int) -> Run:
        search, counts = Search(), self._counts(rows)
        if (state := self._journal.state) is not None:
            search = Search.from_tree(state["search"])
            limit.resume(state["iterations"], state["elapsed"])
        best = search.best
        while search.counts < len(counts) and search.worse < _PATIENCE:
            if best is not None and limit.over():
                break
            self._try_starts(rows, counts[search.counts], limit, seed, search)
            best = search.next_count(rows)
        if best is None:
            raise DataError("No number of components fits these rows.")
        if limit.interrupts.received is None:  # else what was under way is kept already
            self._keep(search, limit)
        return best

    def _keep(self, search: Search, limit: Limit) -> None:
        elapsed = limit.clock.elapsed()
        state = {"search": search.to_tree(), "iterations": limit.iterations, "elapsed": elapsed}
        runs = (search.run, search.leader, search.best)
        loss = min(-run.bound for run in runs if run is not None)
        self._journal.save(limit.iterations, state, loss)

    def _rows(self, X: Any, y: np.ndarray | None, seed: int) -> Rows:
        classes = y if self._has_classes() else None
        label = None if classes is not None else y
        reader = Reader(X, self.encoding_, label, (seed, _FILL))
        self.constant_, self.varying_ = reader.constant, reader.varying
        n, d, cardinalities = len(reader), len(reader.variance), self.encoding_.cardinalities
        if d == 0 and not cardinalities:
            raise DataError("Every column is constant; there is no distribution to learn.")
        given = getattr(self, "_sample_weight", None)
        weight = checked_weight(given, n)
        if y is not None and weight is not None:
            self.labels_ = self._weighted_labels(y, weight.numpy(), seed)
        facts: dict[str, Any] = {
            "kind": self._kind(n if classes is None else np.bincount(classes).min(), d),
            "units": self._units(d),
            "variance": reader.variance,
            "cardinalities": cardinalities,
        }
        if reader.kept is None:
            return Rows.read(reader.chunks, n, classes, weight, **facts)
        observed = self._observed(reader.kept)
        if label is not None:
            observed = np.concatenate([observed, np.ones(label.shape, bool)], axis=1)
        return Rows.keep(*next(reader.chunks()), observed, classes, weight, **facts)

    def _kind(self, fewest: int, d: int) -> str:
        if self.covariance_type != "auto":
            return self.covariance_type
        return "full" if 2 * d <= min(fewest, 2 * _FULL_COLUMNS) else "diag"

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

    def _units(self, d: int) -> Tensor:
        r"""Units of the data that one unit of each model column stands for."""
        units = torch.ones(d, dtype=torch.float64)
        linear = self.encoding_.linear()
        if linear is not None:
            scale = torch.from_numpy(np.asarray(linear[1], dtype=float).reshape(-1))
            scale = scale[torch.from_numpy(np.asarray(linear[2]).reshape(-1))][self.varying_]
            units[: len(scale)] = scale
        return units

    def _counts(self, rows: Rows) -> tuple[int, ...]:
        smallest = min(rows.sizes)
        if smallest == 0:
            raise DataError("A class has no row whose sample_weight is not zero.")
        if self.n_components != "auto":
            if self.n_components > smallest:
                what = "rows" if rows.n_groups() == 1 else "rows of the smallest class"
                raise DataError(
                    f"n_components={self.n_components} is more than the {smallest} {what}."
                )
            return (self.n_components,)
        per = 2 * (rows.width + 1) if rows.kind == "full" else 4
        most = max(1, smallest // per)
        return tuple(count for count in _CANDIDATES if count <= most)

    def _try_starts(self, rows: Rows, count: int, limit: Limit, seed: int, search: Search) -> None:
        reg = regularisation(rows, self.reg_covar)
        if self.encoding_.kind == "images" and self.reg_covar:
            reg = reg.clamp_min(_GREY)
        while search.leader is None or (search.starts < self.n_init and not limit.over()):
            if search.run is None:
                rng = numpy_rng(seed, _START, count, search.starts)
                search.run = Run(self._start(rows, count, reg, rng))
            run, tell = search.run, partial(self._tell, search, limit)
            dtype = getattr(torch, self.precision)
            expectation_maximisation(rows, run, reg, self.tol, self.max_iter, limit, tell, dtype)
            if limit.interrupts.received is not None:
                self._keep(search, limit)
            search.next_start(run)

    def _tell(self, search: Search, limit: Limit) -> None:
        if search.run is not None:
            self._journal.record(search.run.history[-1])
        if self._journal.due(limit.iterations):
            self._keep(search, limit)

    def _start(self, rows: Rows, count: int, reg: Tensor, rng: np.random.Generator) -> Mixture:
        if self._warm is not None and rows.fits(self._warm, count):
            return self._warm
        given = (self.weights_init, self.means_init, self.precisions_init)
        if all(part is not None for part in given) and not rows.cardinalities:
            mixture = Mixture.empty(rows.kind, count * rows.n_groups(), rows.width)
        else:
            mixture = clustered(rows, count, self.init_params, reg, rng)
        weights, means, precisions = given
        if weights is not None:
            mixture = replace(mixture, log_weights=self._weights_start(weights, mixture))
        if means is not None:
            mixture = replace(mixture, means=self._means_start(means, mixture))
        if precisions is not None:
            mixture = replace(mixture, scale=self._scale_start(precisions, mixture, rows))
        return mixture

    def _weights_start(self, weights: Any, mixture: Mixture) -> Tensor:
        value = torch.from_numpy(_numbers("weights_init", weights))
        sound = value.shape == mixture.log_weights.shape and bool((value >= 0).all())
        if not sound or abs(float(value.sum()) - 1) > 1e-6:
            raise ValueError(
                f"weights_init must be {len(mixture.log_weights)} weights that sum to 1."
            )
        return value.log()

    def _means_start(self, means: Any, mixture: Mixture) -> Tensor:
        value = _numbers("means_init", means)
        shift, scale, active = self._linear()
        if value.shape != (len(mixture.means), len(active)):
            raise ValueError(
                f"means_init must have the shape {(len(mixture.means), len(active))},"
                f" got {value.shape}."
            )
        value = (value[:, active] - shift) / scale
        return torch.from_numpy(value[:, self.varying_])

    def _scale_start(self, precisions: Any, mixture: Mixture, rows: Rows) -> Tensor:
        value = torch.from_numpy(_numbers("precisions_init", precisions))
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
            return cholesky(torch.linalg.inv(square) / units / units[:, None])
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
            if not (is_number(value) and low <= value < math.inf):
                raise ValueError(
                    f"{name} must be a finite number of at least {low}, got {shown(value)}."
                )
        for name in ("max_iter", "n_init"):
            if not is_whole(getattr(self, name)):
                raise ValueError(f"{name} must be an int, got {shown(getattr(self, name))}.")
        count = self.n_components
        if count != "auto" and not (is_whole(count) and count >= 1):
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

    def _learnt(self) -> Mixture:
        if "mixture_" not in vars(self):
            raise AttributeError(f"This {type(self).__name__} is not fitted yet. Call fit first.")
        mixture: Mixture = self.mixture_
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
        self._check_usable()
        return self._by_parts(self._shares, self.encoding_.check(X), None)

    def _shares(self, X: Any, _: np.ndarray | None) -> np.ndarray:
        r"""Return what :meth:`predict_proba` does, of checked rows."""
        joint = self._log_joint(self.encoding_.encode(X), None)
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
            joint = log_sum(self._log_joint(encoded, y))
            return joint if y is None else joint - self._log_prior(y)
        mine = self.component_class_ == y[:, None]  # (n, K)
        joint = np.where(mine, self._log_joint(encoded, None), -np.inf)
        share = np.where(mine, self.weights_, 0).sum(1)
        return log_sum(joint) - np.log(share)

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
        result = log_components(self.mixture_, values, encoded.codes, observed)
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
        joint = log_components(bare, values, none, observed)
        return log_sum(joint + mixture.log_weights.numpy())

    # --- sampling -----------------------------------------------------------------------------

    def _draw(self, seed: int, block: int, n: int, y: np.ndarray | None) -> Encoded:
        mixture, tables = self.mixture_, self.mixture_.tables
        u, z = self._random(seed, block)
        # Whole blocks all the way, so that a row has the same bits however many are asked for.
        y = None if y is None else np.concatenate([y, np.repeat(y[:1], BLOCK - n, axis=0)])
        if y is not None and not self._has_classes():
            k, x = conditional_draw(mixture, u[:, 0], z, torch.from_numpy(y).double())
        else:
            k = choose(self._class_weights(y), u[:, 0])
            x = mixture.means[k] + mixture.spread(k, z)
        codes = [choose(table.exp()[k], u[:, i + 1])[:n] for i, table in enumerate(tables)]
        return self._restored(x[:n], codes)

    def _random(self, seed: int, block: int) -> tuple[Tensor, Tensor]:
        r"""Return u ~ U(0, 1) for component and categories, and z ~ N(0, I), of a block."""
        rng, mixture = torch_rng(seed, block), self.mixture_
        u = torch.rand(BLOCK, 1 + len(mixture.tables), generator=rng, dtype=torch.float64)
        d = mixture.means.shape[1]
        return u, torch.randn(BLOCK, d, generator=rng, dtype=torch.float64)

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

    # --- imputing -----------------------------------------------------------------------------

    def _impute(
        self, partial: Partial, y: np.ndarray | None, rows: np.ndarray, seed: int
    ) -> Encoded:
        parts = []
        for block in np.unique(rows // BLOCK):
            mine = np.flatnonzero(rows // BLOCK == block)
            label = None if y is None else y[mine]
            places = torch.from_numpy(rows[mine] % BLOCK)
            parts.append(self._conditional_draws(partial.rows(mine), label, places, seed, block))
        values, codes = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Encoded(values, codes, self.encoding_.observed(codes))

    def _conditional_draws(
        self, partial: Partial, y: np.ndarray | None, places: Tensor, seed: int, block: int
    ) -> tuple[np.ndarray, np.ndarray]:
        r"""Draw rows at some places of a block, from the random numbers that ``sample`` takes."""
        mixture, n, d = self.mixture_, len(places), len(self.mixture_.means[0])
        x, known = torch.zeros(n, d, dtype=torch.float64), torch.zeros(n, d, dtype=torch.bool)
        width = int(self.varying_.sum())
        values = partial.encoded.values.reshape(n, -1)[:, self.varying_]
        x[:, :width] = torch.from_numpy(values)
        known[:, :width] = torch.from_numpy(self._observed(partial.encoded))
        if y is not None and not self._has_classes():
            x[:, width:], known[:, width:] = torch.from_numpy(y).double(), True
        codes = torch.from_numpy(partial.encoded.codes)
        allowed = self._allowed(partial)
        u, z = self._random(seed, int(block))
        weights = component_weights(mixture, x, known, codes, allowed)
        if y is not None and self._has_classes():
            mine = torch.from_numpy(self.component_class_ == y[:, None])
            weights = weights.where(mine, -torch.inf)
        k = torch.zeros(BLOCK, dtype=torch.int64)
        k[places] = choose(weights.softmax(1), u[places, 0])
        draws = (mixture.means[k] + mixture.spread(k, z))[places]
        filled = self._restored(
            moved(mixture, k[places], draws, x, known),
            [
                choose(table.exp()[k[places]] * may, u[places, i + 1])
                for i, (table, may) in enumerate(zip(mixture.tables, allowed, strict=True))
            ],
        )
        return filled.values, filled.codes

    def _allowed(self, partial: Partial) -> list[Tensor]:
        r"""Return which codes a row may have, ``(n, cardinality)`` for each categorical part."""
        codes = zip(self.encoding_.cardinalities, self.encoding_.missing_codes, strict=True)
        allowed = []
        for part, (size, missing) in enumerate(codes):
            each = np.arange(size)
            seen = partial.encoded.codes[:, [part]] == each
            may = np.where(partial.codes[:, [part]], each != missing, seen)
            allowed.append(torch.from_numpy(may))
        return allowed

    # --- saving -------------------------------------------------------------------------------

    def _state(self) -> Tree:
        names = ("constant_", "varying_", "lower_bound_", "n_iter_", "converged_", "history_")
        more = ("n_steps_", "fit_seconds_", "n_parameters_", "component_class_")
        return {
            **self.mixture_.to_tree(),
            **{name: getattr(self, name) for name in names + more},
            "lower_bound_": self.lower_bound_ if math.isfinite(self.lower_bound_) else None,
        }

    def _restore(self, state: Tree) -> None:
        parts = ("kind", *Mixture.TENSORS, "tables")
        self.mixture_ = Mixture.from_tree({name: state[name] for name in parts})
        for name in ("means", "scale"):
            if not bool(torch.isfinite(getattr(self.mixture_, name)).all()):
                raise ArtifactError(f"The {name} hold NaN or infinity.")
        for name in state.keys() - set(parts):
            setattr(self, name, state[name])
        self.lower_bound_ = -math.inf if self.lower_bound_ is None else self.lower_bound_


def _numbers(name: str, value: Any) -> np.ndarray:
    r"""Return an argument as a new array of float64."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers: {error}") from error
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; it holds NaN or infinity.")
    return array
