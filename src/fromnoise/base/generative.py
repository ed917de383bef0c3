r"""The public contract: what every model of data can be asked.

A family learns a map from noise z ~ N(0, I) to data x. This class holds everything around that
map: reading X and y, restoring them, drawing noise block by block, units of the density,
saving. A family adds how it learns (``_learn``), how it draws (``_draw``) and, where it can,
a density (``_log_prob``) and the way back to noise (``_to_noise``, ``_from_noise``), all in
model space (:class:`fromnoise.data.Encoded`).
"""

__all__ = ["BLOCK", "GenerativeModel", "ScoreKind"]

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from importlib.metadata import version
from inspect import getattr_static
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from scipy.special import logsumexp
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, TransformerTags
from sklearn.utils.validation import check_is_fitted

from fromnoise import data
from fromnoise.base.arguments import check_values, is_whole
from fromnoise.base.capability import capability
from fromnoise.data import Condition, Encoded, Encoding
from fromnoise.data.transforms import Partial
from fromnoise.errors import DataError, shown
from fromnoise.persistence import Tree, write_bundle
from fromnoise.training import (
    Budget,
    Journal,
    digest,
    entropy,
    fingerprint,
    numpy_rng,
    open_journal,
)

ScoreKind = Literal["exact", "estimate", "lower_bound"]
BLOCK = 1024  # rows of noise that one seed draws; sample(n)[:k] equals sample(k) because of it
_PART, _UNIT = 2**20, 256  # entries encoded together, in parts of a multiple of so many rows
_LABELS = 10  # stream of labels, beside the streams of noise
# Arguments that belong to a run, not to the model.
_RUNTIME = ("callbacks", "device", "run_dir", "checkpoint_every")


@dataclass(kw_only=True, eq=False, repr=False)
class GenerativeModel(BaseEstimator, ABC):
    r"""Base of every family.

    Args:
        budget: ``"auto"``, seconds (``"90s"``, ``"10m"``), steps or epochs.
        missing: What NaN means: ``"error"`` refuses it, ``"model"`` learns its rate and pattern,
            ``"auto"`` refuses it in arrays and models it in tables.
        run_dir: Folder in which ``fit`` keeps checkpoints, its history and, when it ends, the
            model. An unfinished fit of the same arguments and data is continued there. None
            keeps nothing.
        checkpoint_every: Time or steps between checkpoints, such as ``"60s"`` or
            ``"500 steps"``.
        random_state: None, an int, or a NumPy random generator.
        verbose: Whether progress is shown on standard error.
    """

    family: ClassVar[str]
    _after_fit: ClassVar[tuple[str, ...]] = ()  # arguments that act on what is asked of a fit
    _of_fit: ClassVar[tuple[str, ...]] = ()  # arguments that say what the networks have learnt

    budget: str = "auto"
    missing: Literal["auto", "error", "model"] = "auto"
    run_dir: str | PathLike[str] | None = None
    checkpoint_every: str = "60s"
    random_state: Any = None
    verbose: bool = False

    # --- what a family writes -----------------------------------------------------------------

    @abstractmethod
    def _learn(self, X: Any, y: np.ndarray | None, budget: Budget | None, seed: int) -> None:
        r"""Learn from checked rows X and encoded labels y; ``encoding_`` is to be set first."""

    @abstractmethod
    def _draw(self, seed: int, block: int, n: int, y: np.ndarray | None) -> Encoded:
        r"""Return the first n rows of block ``block`` of the stream ``seed``."""

    @abstractmethod
    def _state(self) -> Tree:
        r"""Return what was learnt, for :func:`fromnoise.load`."""

    @abstractmethod
    def _restore(self, state: Tree) -> None:
        r"""Take back what :meth:`_state` returned."""

    def _cannot(self, name: str) -> str | None:
        r"""Return why the method ``name`` does not exist here, or None if it does."""
        return None

    def _log_prob(self, encoded: Encoded, y: np.ndarray | None) -> np.ndarray:
        raise NotImplementedError

    def _to_noise(self, encoded: Encoded, y: np.ndarray | None) -> np.ndarray:
        raise NotImplementedError

    def _from_noise(self, z: np.ndarray, y: np.ndarray | None) -> Encoded:
        raise NotImplementedError

    def _impute(
        self, partial: Partial, y: np.ndarray | None, rows: np.ndarray, seed: int
    ) -> Encoded:
        r"""Draw what is missing; the stream of a row is (``seed``, its entry of ``rows``)."""
        raise NotImplementedError

    def _check_arguments(self) -> None:
        r"""Check what can be checked before any data is seen."""
        check_values(self)
        Budget.parse(self.budget)
        if self.run_dir is not None and not isinstance(self.run_dir, str | PathLike):
            raise ValueError(f"run_dir must be a path or None, got {shown(self.run_dir)}.")
        open_journal(None, self.checkpoint_every)

    def _check_usable(self) -> None:
        r"""Check that the model is fitted, and its arguments, which may have changed since."""
        check_is_fitted(self)
        self._check_arguments()
        for name in self._of_fit:
            was, now = self.fit_arguments_[name], getattr(self, name)
            if was != now:
                raise ValueError(
                    f"{name} was {was!r} in the fit and is {now!r} now: set it back, or fit again."
                )

    def __dir__(self) -> list[str]:
        r"""Return all names but those of methods that do not exist here.

        scikit-learn asks for the value of each, and so for those of properties, which may cost
        a sample or raise.
        """
        return [name for name in object.__dir__(self) if self._has(name)]

    def _has(self, name: str) -> bool:
        method = getattr_static(type(self), name, None)
        return not isinstance(method, capability) or self._cannot(name) is None

    # --- fitting ------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> Self:
        r"""Learn the distribution of X, or of X given y.

        Args:
            X: An array ``(n, d)``, a DataFrame, images ``(n, H, W)``, ``(n, H, W, C)`` or
                ``(n, C, H, W)``. It is never modified. Or a map-style data set such as
                PyTorch's, whose items are x, or x and y.
            y: None; or one label a row: ints, bools, strings or categories are classes, floats
                (one or several columns) are continuous. The model then learns p(x | y).

        Returns:
            The model itself. A fit that raises leaves it as it was fitted before, if it was.

        Raises:
            DataError: If the data cannot be used; it names the row, column or file. If
                ``run_dir`` holds a finished fit, or an unfinished one of other arguments or data;
                it names the first difference.
            ValueError: If an argument of the model is wrong.
            BlockingIOError: If another process writes in ``run_dir``.
            ArtifactError: If every checkpoint in ``run_dir`` is damaged.
        """
        self._check_arguments()
        before = getattr(self, "fit_arguments_", None)
        with open_journal(self.run_dir, self.checkpoint_every) as journal:
            try:
                self._fit_into(journal, X, y)
            finally:
                if getattr(self, "fit_arguments_", None) is not before:
                    journal.finish(self._to_tree)  # fitted, to the end or until a signal
        return self

    def _fit_into(self, journal: Journal, X: Any, y: Any) -> None:
        r"""Fit, go on from what the journal knows, and tell it what happens."""
        self._check_arguments()
        before = self._learnt_attributes()
        self._forget()
        self.fit_arguments_ = self._saved_arguments()
        self._journal = journal
        try:
            self._fit(X, y, journal.seed(entropy(self.random_state)))
        except BaseException:
            if not getattr(self, "interrupted_", False):
                self._forget()  # half a model is none: what was fitted before stays
                self.__dict__.update(before)
            raise
        finally:
            del self._journal

    def _fit(self, X: Any, y: Any, seed: int) -> None:
        X, y = data.rows_of(X, y)
        X, index = self._split(X, seed)
        self.encoding_: Encoding = data.fit_encoding(X, missing=self.missing, index=index)
        X = self.encoding_.check(X)
        codes = self._fit_condition(y, data.n_rows(X))
        self.n_features_in_ = self.encoding_.n_features
        self.n_samples_fit_ = data.n_rows(X)
        if self.encoding_.feature_names is not None:
            self.feature_names_in_ = np.asarray(self.encoding_.feature_names, dtype=object)
        self.status_: Literal["ok", "diverged", "collapsed"] = "ok"
        self.status_reason_ = ""
        self._journal.check(lambda: self._told(X, codes))
        self._learn(X, codes, Budget.parse(self.budget), seed)

    def _told(self, X: Any, y: np.ndarray | None) -> Tree:
        r"""Return, as JSON, what a fit that goes on must have in common with its first start."""
        free = {*_RUNTIME, "verbose", *self._after_fit}
        told = {name: v for name, v in self.fit_arguments_.items() if name not in free}
        arrays = {name: digest(v) for name, v in told.items() if isinstance(v, np.ndarray | dict)}
        rows = {f"{name} of X": value for name, value in fingerprint(X).items()}
        rows["container of X"] = digest(self.encoding_.to_state())
        condition = None if self.condition_ is None else self.condition_.to_state()
        return {"family": self.family, **told, **arrays, **rows, "y": digest([condition, y])}

    def _split(self, X: Any, seed: int) -> tuple[Any, np.ndarray | None]:
        r"""Return X and the rows from which the encoding may learn; None for all."""
        return X, None

    def _learnt_attributes(self) -> dict[str, Any]:
        own = vars(self).items()
        return {name: v for name, v in own if name.endswith("_") and not name.startswith("__")}

    def _forget(self) -> None:
        for name in self._learnt_attributes():
            delattr(self, name)

    def _fit_condition(self, y: Any, n: int) -> np.ndarray | None:
        self.condition_: Condition | None = None
        self.labels_: np.ndarray | None = None
        if y is None:
            return None
        self.condition_ = Condition.fit(y, n)
        codes = self.condition_.check_encode(y, n)
        # Classes are drawn from their counts, numbers from the training labels themselves.
        size = self.condition_.n_classes
        self.labels_ = np.bincount(codes, minlength=size) if size else codes
        return codes

    # --- sampling -----------------------------------------------------------------------------

    @capability
    def sample(
        self,
        n_samples: int = 1,
        y: Any = None,
        *,
        random_state: Any = None,
        return_y: bool = False,
    ) -> Any:
        r"""Draw new rows.

        Args:
            n_samples: How many.
            y: For a conditional model: one label for all rows, or one a row; None draws labels
                as frequent as in training.
            random_state: None draws afresh at each call, an int repeats.
            return_y: Whether the labels are returned too.

        Returns:
            Rows of the kind, dtype, scale and columns that ``fit`` was given; or (rows, labels).
            The first k rows do not depend on ``n_samples``.
        """
        parts = list(self._blocks(n_samples, y, entropy(random_state)))
        X = self.encoding_.decode(_joined([encoded for encoded, _ in parts], self.encoding_))
        if not return_y:
            return X
        return X, self._labels([codes for _, codes in parts])

    @capability
    def sample_iter(
        self,
        n_samples: int,
        y: Any = None,
        *,
        random_state: Any = None,
        return_y: bool = False,
    ) -> Iterator[Any]:
        r"""Draw new rows in blocks of 1,024, for numbers that do not fit in memory.

        Args:
            n_samples: As in :meth:`sample`.
            y: As in :meth:`sample`.
            random_state: As in :meth:`sample`.
            return_y: As in :meth:`sample`.

        Returns:
            An iterator over blocks; joined, they equal ``sample`` of the same random state.
        """
        for encoded, codes in self._blocks(n_samples, y, entropy(random_state)):
            X = self.encoding_.decode(encoded)
            yield (X, self._labels([codes])) if return_y else X

    def _blocks(self, n: int, y: Any, seed: int) -> Iterator[tuple[Encoded, np.ndarray | None]]:
        self._check_usable()
        if not is_whole(n) or n < 1:
            raise ValueError(f"n_samples must be a positive int, got {shown(n)}.")
        given = self._given(y, int(n))
        for block, start in enumerate(range(0, int(n), BLOCK)):
            size = min(BLOCK, int(n) - start)
            if given is not None:
                codes: np.ndarray | None = given[start : start + size]
            else:
                codes = self._draw_labels(seed, block, size)
            yield self._draw(seed, block, size, codes), codes

    def _draw_labels(self, seed: int, block: int, n: int) -> np.ndarray | None:
        if self.condition_ is None or self.labels_ is None:
            return None
        rng = numpy_rng(seed, _LABELS, block)
        if self.condition_.n_classes:
            share = self.labels_ / self.labels_.sum()
            return rng.choice(len(share), size=BLOCK, p=share)[:n]
        return self.labels_[rng.integers(len(self.labels_), size=BLOCK)[:n]]

    def _labels(self, codes: list[np.ndarray | None]) -> Any:
        if self.condition_ is None:
            raise ValueError(
                "return_y=True needs a conditional model; fit it with labels: fit(X, y)."
            )
        return self.condition_.decode(np.concatenate([c for c in codes if c is not None]))

    def _given(self, y: Any, n: int) -> np.ndarray | None:
        if y is None:
            return None
        if self.condition_ is None:
            raise DataError(
                "y was given, but the model was fitted without labels. Fit it with fit(X, y)."
            )
        return self.condition_.check_encode(y, n)

    # --- imputing -----------------------------------------------------------------------------

    @capability
    def impute(self, X: Any, y: Any = None, *, mask: Any = None, random_state: Any = None) -> Any:
        r"""Fill in what is missing by draws given what is seen, p(missing | seen).

        One draw a row, not its mean: several calls show how uncertain it is (multiple
        imputation, Rubin 1987). Where fit has learnt that entries go missing, what is drawn is
        an entry all the same, as if it were missing at random: its being missing tells nothing
        beyond what is seen.

        Args:
            X: Rows like those of ``fit``; what is missing may be NaN in arrays of floats, or
                whatever a DataFrame calls missing.
            y: Labels for a conditional model, one for all or one a row.
            mask: True marks what is missing, bool, shaped like X (the channels of images may be
                left out); there X may hold anything. None takes what is NaN or missing. With a
                mask, an entry missing elsewhere is kept, where fit has seen missing ones.
            random_state: None draws afresh at each call, an int repeats.

        Returns:
            A copy of X of the same container, dtypes and columns, in which what was seen is
            unchanged to the bit. A column that no row had in fit stays missing.

        Raises:
            DataError: If what is seen, or the mask, does not fit the data of ``fit``.
        """
        self._check_usable()
        seed = entropy(random_state)
        codes = None if y is None else self._given(y, data.n_rows(X))
        array = isinstance(X, np.ndarray) and X.ndim > 1
        if not array or (mask is not None and np.shape(mask)[:1] != X.shape[:1]):
            return self._imputed(X, codes, mask, seed, 0)
        parts = list(self._parts(len(X)))
        if len(parts) < 2:
            return self._imputed(X, codes, mask, seed, 0)
        filled = np.empty(X.shape, X.dtype)
        for p in parts:
            y_p = None if codes is None else codes[p]
            mask_p = None if mask is None else np.asarray(mask)[p]
            try:
                filled[p] = self._imputed(X[p], y_p, mask_p, seed, p.start)
            except DataError as error:
                raise DataError(f"Of the rows from {p.start} on, as row 0: {error}") from error
        return filled

    def _imputed(self, X: Any, codes: np.ndarray | None, mask: Any, seed: int, start: int) -> Any:
        r"""Impute rows, the first of which is row ``start`` of all."""
        partial = self.encoding_.partial(X, mask)
        rows = np.flatnonzero(partial.incomplete)
        if not len(rows):
            return self.encoding_.filled(X, partial.mask, None)
        codes = None if codes is None else codes[rows]
        drawn = self._impute(partial.rows(rows), codes, start + rows, seed)
        return self.encoding_.filled(X, partial.mask, drawn)

    # --- rows in parts ------------------------------------------------------------------------

    def _parts(self, n: int) -> Iterator[slice]:
        r"""Cut n rows into parts that fit in memory when they are encoded."""
        size = _PART // self.encoding_.n_features
        size = max(size - size % (BLOCK if size >= BLOCK else _UNIT), _UNIT)
        return (slice(start, min(start + size, n)) for start in range(0, n, size))

    def _by_parts(
        self,
        function: Callable[[Any, np.ndarray | None], np.ndarray],
        X: Any,
        codes: np.ndarray | None,
    ) -> np.ndarray:
        r"""Join ``function(rows, codes)`` of parts of checked rows: a map is not encoded whole."""
        parts = list(self._parts(data.n_rows(X)))
        if len(parts) == 1:
            return function(X, codes)
        return np.concatenate(
            [function(data.take(X, p), None if codes is None else codes[p]) for p in parts]
        )

    def _decoded_by_parts(self, function: Callable[[slice], Encoded], n: int) -> Any:
        r"""Return n rows in the container of ``fit``, decoded from ``function`` of each part."""
        if self.encoding_.kind == "table":  # its columns cannot be joined piece by piece
            return self.encoding_.decode(function(slice(0, n)))
        rows: Any = None
        for part in self._parts(n):
            X = self.encoding_.decode(function(part))
            if rows is None:
                shape = (n, *X.shape[1:])
                array = isinstance(X, np.ndarray)
                rows = np.empty(shape, X.dtype) if array else X.new_empty(shape)
            rows[part] = X
        return rows

    # --- density ------------------------------------------------------------------------------

    @property
    def score_kind_(self) -> ScoreKind:
        r"""What ``score_samples`` returns: the exact log-density, an estimate, or a bound."""
        if (reason := self._cannot("score_samples")) is not None:
            raise AttributeError(reason)
        return self._score_kind

    @property
    def _score_kind(self) -> ScoreKind:
        return "exact"

    @capability
    def score_samples(self, X: Any, y: Any = None) -> np.ndarray:
        r"""Return the log-density of each row, in nats and in the units of the data.

        Args:
            X: Rows like those of ``fit``.
            y: Labels for a conditional model, one for all or one a row; None sums over the
                classes, p(x) = Σ_y p(y) p(x | y).

        Returns:
            log p(x) or log p(x | y), ``(n,)``; −∞ for a row that differs from the training rows
            in an array's column that was constant there. Constant columns carry no density.
        """
        self._check_usable()
        X = self.encoding_.check(X)
        return self._by_parts(self._scores, X, self._given(y, data.n_rows(X)))

    def _scores(self, X: Any, codes: np.ndarray | None) -> np.ndarray:
        encoded = self.encoding_.encode(X)
        if codes is None and self.condition_ is not None:
            log_p = self._log_marginal(encoded)
        else:
            log_p = self._log_prob(encoded, codes)
        log_p = log_p + self.encoding_.log_det(encoded)
        return np.where(self.encoding_.off_support(X), -np.inf, log_p)

    @capability
    def score(self, X: Any, y: Any = None) -> float:
        r"""Return the mean of :meth:`score_samples`, for model selection.

        Args:
            X: As in :meth:`score_samples`.
            y: As in :meth:`score_samples`.

        Returns:
            Nats a row; higher is better.
        """
        return float(np.mean(self.score_samples(X, y)))

    def _log_marginal(self, encoded: Encoded) -> np.ndarray:
        if self.condition_ is None or self.labels_ is None or not self.condition_.n_classes:
            raise DataError(
                "The model is conditional on numbers, and p(x) without y is not available here."
                " Pass y."
            )
        n = len(encoded.values)
        share = self.labels_ / self.labels_.sum()
        terms = [
            np.log(p) + self._log_prob(encoded, np.full(n, c))
            for c, p in enumerate(share)
            if p > 0
        ]
        total: np.ndarray = logsumexp(terms, axis=0)
        return total

    # --- codes --------------------------------------------------------------------------------

    @capability
    def encode(self, X: Any, y: Any = None) -> np.ndarray:
        r"""Return the noise z that each row came from.

        Args:
            X: Rows like those of ``fit``.
            y: Labels; without them a conditional model takes the code under p(x), if it can.

        Returns:
            Codes ``(n, k)``, float32.
        """
        self._check_usable()
        X = self.encoding_.check(X)
        n = data.n_rows(X)
        return self._by_parts(self._codes, X, self._needed(self._given(y, n), n))

    def _codes(self, X: Any, codes: np.ndarray | None) -> np.ndarray:
        return self._to_noise(self.encoding_.encode(X), codes)

    @capability
    def decode(self, z: Any, y: Any = None) -> Any:
        r"""Return the rows that the noise z becomes; the inverse of :meth:`encode`.

        Args:
            z: Codes, ``(n, k)``.
            y: Labels, as in :meth:`encode`.

        Returns:
            Rows of the kind that ``fit`` was given.
        """
        self._check_usable()
        z = _codes_array(z)
        width = self._code_width()
        if z.ndim != 2 or z.shape[1] != width or not len(z):
            raise DataError(f"z must have the shape (n, {width}), n at least 1, got {z.shape}.")
        if not all(np.isfinite(np.asarray(z[p], np.float32)).all() for p in self._parts(len(z))):
            raise DataError("z must be finite; it holds NaN or infinity.")
        codes = self._needed(self._given(y, len(z)), len(z))

        def drawn(p: slice) -> Encoded:
            y_p = None if codes is None else codes[p]
            return self._from_noise(np.asarray(z[p], np.float32), y_p)

        return self._decoded_by_parts(drawn, len(z))

    @capability
    def transform(self, X: Any) -> np.ndarray:
        r"""Return :meth:`encode` of X; the name that a ``Pipeline`` looks for.

        Args:
            X: Rows like those of ``fit``.

        Returns:
            Codes ``(n, k)``.
        """
        return self.encode(X)

    @capability
    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        r"""Fit, and return :meth:`transform` of X.

        Args:
            X: As in :meth:`fit`.
            y: As in :meth:`fit`.

        Returns:
            Codes ``(n, k)``.
        """
        return self.fit(X, y).transform(X)

    @capability
    def inverse_transform(self, X: Any) -> Any:
        r"""Return :meth:`decode` of codes; the name that a ``Pipeline`` looks for.

        Args:
            X: Codes ``(n, k)``.

        Returns:
            Rows of the kind that ``fit`` was given.
        """
        return self.decode(X)

    def _code_width(self) -> int:
        return int(np.prod(self.encoding_.model_shape))

    def _needed(self, codes: np.ndarray | None, n: int) -> np.ndarray | None:
        if codes is None and self.condition_ is not None:
            return self._no_condition(n)
        return codes

    def _no_condition(self, n: int) -> np.ndarray:
        r"""Return codes that say "no condition", where a family has learnt what that means."""
        raise DataError(
            "The model is conditional, p(x | y), and cannot do this without y. Pass y."
        )

    # --- saving -------------------------------------------------------------------------------

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        r"""Save the model as a folder that :func:`fromnoise.load` reads.

        Args:
            path: The folder.
            overwrite: Whether a saved model there may be replaced.

        Returns:
            The folder.

        Raises:
            FileExistsError: If it exists and ``overwrite`` is False.
        """
        check_is_fitted(self)
        return write_bundle(path, self._to_tree(), overwrite=overwrite)

    def _to_tree(self) -> Tree:
        condition = None if self.condition_ is None else self.condition_.to_state()
        now = self._saved_arguments()  # others may have been changed, but not in what was learnt
        return {
            "family": self.family,
            "versions": {name: version(name) for name in ("fromnoise", "torch", "numpy")},
            "arguments": self.fit_arguments_ | {n: now[n] for n in ("verbose", *self._after_fit)},
            "encoding": self.encoding_.to_state(),
            "condition": condition,
            "labels": self.labels_,
            "rows": self.n_samples_fit_,
            "status": [self.status_, self.status_reason_],
            "interrupted": self.interrupted_,
            "learnt": self._state(),
        }

    def _saved_arguments(self) -> Tree:
        defaults = {f.name: f.default for f in fields(self)}
        saved: Tree = {}
        for name, value in self.get_params(deep=False).items():
            loose = name == "random_state" and not is_whole(value)
            saved[name] = defaults[name] if loose or name in _RUNTIME else _stored(value)
        return saved

    @classmethod
    def _from_tree(cls, tree: Tree, arguments: Tree) -> Self:
        model = cls(**arguments)
        model.fit_arguments_ = model._saved_arguments()
        condition = tree["condition"]
        model.encoding_ = data.encoding_from_state(tree["encoding"])
        model.condition_ = None if condition is None else Condition.from_state(condition)
        model.labels_ = tree["labels"]
        model.status_, model.status_reason_ = tree["status"]
        model.n_features_in_ = model.encoding_.n_features
        model.n_samples_fit_ = int(tree["rows"])
        if model.encoding_.feature_names is not None:
            model.feature_names_in_ = np.asarray(model.encoding_.feature_names, dtype=object)
        model._restore(tree["learnt"])
        model.interrupted_ = bool(tree.get("interrupted", False))
        return model

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.estimator_type = "density_estimator"
        if hasattr(self, "transform"):
            tags.transformer_tags = TransformerTags(preserves_dtype=[])
        tags.input_tags.allow_nan = self.missing == "model"
        return tags


def _joined(parts: list[Encoded], encoding: Encoding) -> Encoded:
    codes = np.concatenate([p.codes for p in parts])
    return Encoded(np.concatenate([p.values for p in parts]), codes, encoding.observed(codes))


def _codes_array(z: Any) -> np.ndarray:
    r"""Return codes as an array of real numbers, of any type: a map is not read for it."""
    try:
        z = np.asanyarray(z.detach().cpu() if hasattr(z, "detach") else z)
        z = z.astype(np.float32) if z.dtype == object else z
    except (TypeError, ValueError) as error:
        raise DataError(f"z must be an array of numbers: {error}") from error
    if z.dtype.kind not in "biuf":
        raise DataError(f"z must hold real numbers, got {z.dtype}.")
    return z


def _stored(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str | np.ndarray):
        return value
    if isinstance(value, tuple | list):
        return [_stored(part) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "__array__") or isinstance(value, data.ImageArray):
        return data.to_state(value)
    if isinstance(value, GenerativeModel):
        return {"family": value.family, "arguments": value._saved_arguments()}
    return {"class": f"{type(value).__module__}.{type(value).__qualname__}"}
