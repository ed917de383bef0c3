r"""The neural fit: networks, an engine, and evaluation that no other row can disturb.

A family answers three questions: ``build`` (which networks), ``objectives`` (which loss) and
``generate`` (how z becomes x). The rest is here: the split into training and validation rows,
batches in model space, what the engine needs, and networks evaluated in padded blocks of one
fixed size, so that the result of a row does not depend on the rows beside it.
"""

__all__ = ["NeuralModel", "TrainingRows", "finite_weights"]

import copy
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from fromnoise import data
from fromnoise.base.arguments import is_number, is_whole
from fromnoise.base.generative import GenerativeModel
from fromnoise.data import Condition, Encoded, Encoding
from fromnoise.errors import ArtifactError, DataError, shown
from fromnoise.networks import Moments, defaults
from fromnoise.persistence import Tree
from fromnoise.training import (
    Batch,
    Budget,
    Callback,
    Clock,
    Objective,
    ProgressBar,
    Settings,
    normal_rows,
    numpy_rng,
    seed_of,
    torch_rng,
    train,
)

_SPLIT, _INIT, _CHECK, _MEASURE = 20, 21, 22, 23  # what a random stream is for
_CHECK_ROWS, _CHECK_DRAWS = 2000, 1024
_MEASURED_ROWS, _MEASURED_NUMBERS = 10_000, 2**27  # at most; half a gigabyte
_CHECK_BATCH, _CHECK_IMAGES = 256, 64


@dataclass(kw_only=True, eq=False, repr=False)
class NeuralModel(GenerativeModel):
    r"""Base of the families that train networks.

    Args:
        network: A size, or modules of your own (deep copies of them are trained): one, or a
            pair for a family that has two.
        batch_size: Rows a step; ``"auto"`` is 256 for vectors and tables, 64 for images.
        learning_rate: Peak learning rate; ``"auto"`` is a function of the network's size.
        ema: Decay of the averaged weights a step; ``"auto"`` grows with the steps taken.
        precision: Of the networks in training; ``"auto"`` is bfloat16 for images on a GPU,
            float32 elsewhere.
        device: ``"auto"`` is a GPU if there is one; or a name of PyTorch's: ``"cpu"``,
            ``"cuda"``.
        validation_fraction: Share of the rows that choose which averaged weights are kept.
        callbacks: Called with every :class:`fromnoise.training.Record`.
    """

    network: (
        Literal["auto", "small", "medium", "large"] | nn.Module | tuple[nn.Module, nn.Module]
    ) = "auto"
    batch_size: int | Literal["auto"] = "auto"
    learning_rate: float | Literal["auto"] = "auto"
    ema: float | Literal["auto"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"
    validation_fraction: float = 0.1
    callbacks: Sequence[Callback] = ()

    # --- what a family writes -----------------------------------------------------------------

    @abstractmethod
    def build(self) -> nn.ModuleDict:
        r"""Return new networks for ``encoding_`` and ``condition_``."""

    @abstractmethod
    def objectives(self) -> list[Objective]:
        r"""Return the players and their losses, over ``networks_``."""

    @abstractmethod
    def generate(self, z: Tensor, y: Tensor | None) -> Tensor:
        r"""Return packed rows ``(n, *model_shape)`` for noise z ``(n, *noise_shape)``."""

    @property
    @abstractmethod
    def noise_shape(self) -> tuple[int, ...]:
        r"""The shape of the noise z of one row."""

    def measure(self, rows: Tensor) -> None:
        r"""Look at some packed training rows, once, before training."""

    def prepare(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> Batch:
        r"""Return what the losses want of packed rows x; runs one batch ahead, in a thread."""
        return (x,)

    def _taken(
        self, rows: "TrainingRows", index: np.ndarray, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor | None]:
        r"""Return packed rows and their conditions where the networks are."""
        x, y = rows.take(index, rng)
        return x.to(self._device()), None if y is None else y.to(self._device())

    @torch.no_grad()
    def validate(
        self, objectives: list[Objective], rows: "TrainingRows", settings: Settings
    ) -> float:
        r"""Return the mean loss of the first player over held-out rows.

        Rows, noise and times are the same at every call; few rows are taken several times.
        """
        size = _CHECK_IMAGES if self.encoding_.kind == "images" else _CHECK_BATCH
        total, batches = 0.0, -(-max(min(len(rows), _CHECK_ROWS), _CHECK_DRAWS) // size)
        for k in range(batches):
            index = np.arange(k * size, (k + 1) * size) % len(rows)
            x, y = rows.take(index, numpy_rng(settings.seed, _CHECK, k))
            batch = self.prepare(x, y, torch_rng(settings.seed, _CHECK, k))
            moved = tuple(part.to(settings.device) for part in batch)
            y = None if y is None else y.to(settings.device)
            generator = torch_rng(settings.seed, _CHECK, k, device=settings.device)
            total += objectives[0].loss(moved, y, 1.0, generator).item()
        return total / batches

    def checked(self, progress: float) -> None:
        r"""Look at the averaged weights, which the networks hold at every check of the fit."""

    def remember(self) -> Tree:
        r"""Return what the family adapts while it trains, beside its networks, as a tree."""
        return {}

    def recall(self, tree: Tree) -> None:
        r"""Take back what :meth:`remember` returned, to go on from there."""

    def observe(self) -> dict[str, float]:
        r"""Return further columns of the record that is being written."""
        return {}

    # --- arguments ----------------------------------------------------------------------------

    _pair: ClassVar[tuple[str, str] | None] = None  # what the two networks of a family are called

    def _check_arguments(self) -> None:
        super()._check_arguments()
        self._check_network()
        for name, of_kind in (("batch_size", is_whole), ("learning_rate", is_number)):
            value = getattr(self, name)
            if value != "auto" and not (of_kind(value) and 0 < value < math.inf):
                raise ValueError(f'{name} must be "auto" or a positive number, got {value!r}.')
        if self.ema != "auto" and not (isinstance(self.ema, float) and 0 <= self.ema < 1):
            raise ValueError(f'ema must be "auto" or a float in [0, 1), got {self.ema!r}.')
        share = self.validation_fraction
        if not is_number(share) or not 0 <= share < 1:
            raise ValueError(f"validation_fraction must lie in [0, 1), got {share!r}.")
        _check_device(self.device)
        if not isinstance(self.callbacks, Sequence) or not all(map(callable, self.callbacks)):
            raise ValueError(f"callbacks must be a list of functions, got {self.callbacks!r}.")

    def _check_network(self) -> None:
        if isinstance(self.network, str):
            return
        if self._pair is None:
            if not isinstance(self.network, nn.Module):
                raise ValueError(
                    "network must be a size or a torch.nn.Module, got"
                    f" {type(self.network).__name__}."
                )
        elif not _is_pair(self.network):
            raise ValueError(
                f"network must be a size or a pair of torch.nn.Module ({', '.join(self._pair)}),"
                f" got {type(self.network).__name__}."
            )

    def _example(self, condition: Condition) -> Tensor:
        r"""Return labels of two rows, to try a network with."""
        if condition.n_classes:
            return torch.zeros(2, dtype=torch.int64)
        return torch.zeros(2, condition.width)

    def _device(self) -> str:
        if self.device != "auto":
            return self.device
        return "cuda" if torch.cuda.is_available() else "cpu"

    def _size(self, n_rows: int) -> defaults.Size:
        r"""Return the size of the default networks; it is stored, so any device can load it."""
        if self.network in defaults.NETWORK_SIZES:
            return self.network
        shape = self.encoding_.model_shape
        return defaults.default_size(shape, n_rows=n_rows, device=self._device())

    def _settings(self, seed: int) -> Settings:
        images = self.encoding_.kind == "images"
        size, rate, low = defaults.training_table(self.n_parameters_, images, self._device())
        return Settings(
            batch_size=size if self.batch_size == "auto" else self.batch_size,
            learning_rate=rate if self.learning_rate == "auto" else self.learning_rate,
            ema=self.ema,
            seed=seed,
            device=self._device(),
            precision=low if self.precision == "auto" else self.precision,
        )

    # --- fitting ------------------------------------------------------------------------------

    def _split(self, X: Any, seed: int) -> tuple[Any, np.ndarray | None]:
        if isinstance(X, list | tuple) or (hasattr(X, "__array__") and not hasattr(X, "shape")):
            X = np.asarray(X)
        try:
            n = data.n_rows(X)
        except TypeError:
            data.fit_encoding(X, missing=self.missing)  # says what is wrong with it
            raise
        order = numpy_rng(seed, _SPLIT).permutation(n)
        held_out = min(round(n * self.validation_fraction), _CHECK_ROWS) if n >= 10 else 0
        self._held_out = order[:held_out].copy()  # a view would hold all of it
        return X, np.sort(order[held_out:])

    def _learn(self, X: Any, y: np.ndarray | None, budget: Budget | None, seed: int) -> None:
        if not np.prod(self.encoding_.model_shape):
            raise DataError("Every column is constant; there is no distribution to learn.")
        training = np.delete(np.arange(data.n_rows(X)), self._held_out)
        self.network_size_ = self._size(len(training))
        rows = TrainingRows(X, self.encoding_, y, training)
        check = TrainingRows(X, self.encoding_, y, self._held_out) if self._held_out.size else rows
        born = time.monotonic()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(seed, _INIT) % 2**63)
            self.networks_ = self.build().to(self._device())
            self.n_parameters_ = sum(p.numel() for p in self.networks_.parameters())
            wide = max(1, _MEASURED_NUMBERS // int(np.prod(self.encoding_.model_shape)))
            few = np.arange(min(len(rows), _MEASURED_ROWS, wide))
            self.measure(rows.take(few, numpy_rng(seed, _MEASURE))[0])
            self._train(rows, check, budget or self._auto_budget(len(rows)), seed, born)

    def _train(
        self,
        rows: "TrainingRows",
        check: "TrainingRows",
        budget: Budget,
        seed: int,
        born: float,
    ) -> None:
        settings = self._settings(seed)
        size = min(settings.batch_size, len(rows))
        clock = Clock(budget, budget.steps(len(rows), size))
        clock.born = born
        objectives = self.objectives()
        bar = ProgressBar(type(self).__name__) if self.verbose else None
        self.networks_.train()
        with bar or nullcontext():
            outcome = train(
                self.networks_,
                objectives,
                rows,
                clock,
                settings,
                prepare=self.prepare,
                validate=lambda progress: self._validated(objectives, check, settings, progress),
                observe=self.observe,
                callbacks=[*self.callbacks, *([bar] if bar else [])],
                memory=self,
                journal=self._journal,
            )
        self.networks_.eval().requires_grad_(False)
        self.history_ = outcome.history
        self.n_steps_, self.fit_seconds_ = outcome.n_steps, outcome.seconds
        self.status_, self.status_reason_ = outcome.status, outcome.reason
        self.interrupted_ = outcome.interrupts.received is not None
        outcome.interrupts.again()

    def _auto_budget(self, n: int) -> Budget:
        images = self.encoding_.kind == "images"
        size = defaults.training_table(self.n_parameters_, images, "cpu")[0]
        size = size if self.batch_size == "auto" else self.batch_size
        return Budget(defaults.auto_steps(self.networks_, n, min(size, n)), "steps")

    def _validated(
        self,
        objectives: list[Objective],
        rows: "TrainingRows",
        settings: Settings,
        progress: float,
    ) -> float:
        self.networks_.eval()
        self.checked(progress)
        value = self.validate(objectives, rows, settings)
        self.networks_.train()
        return value

    # --- evaluation ---------------------------------------------------------------------------

    def _draw(self, seed: int, block: int, n: int, y: np.ndarray | None) -> Encoded:
        noise = normal_rows(n, *self.noise_shape, generator=torch_rng(seed, block))
        return self.encoding_.unpack(self._in_blocks(self.generate, noise.numpy(), y))

    def _in_blocks(
        self,
        function: Callable[..., Tensor],
        x: np.ndarray,
        y: np.ndarray | None,
        *more: np.ndarray,
        share: int = 1,
    ) -> np.ndarray:
        r"""Evaluate ``function(x, y, *more)`` in blocks of one size; the last one is padded.

        ``share`` is how many times smaller blocks are, for functions that multiply rows.
        """
        most = defaults.evaluation_rows(self.encoding_.model_shape, self._device())
        size, results = max(1, most // share), []
        for start in range(0, len(x), size):
            part, *others = (
                torch.from_numpy(_padded(rows[start : start + size], size)).to(self._device())
                for rows in (x, *more)
            )
            label = None
            if y is not None:
                label = _label_tensor(_padded(y[start : start + size], size)).to(self._device())
            result = function(part, label, *others)
            results.append(result[: len(x) - start].cpu().numpy())
        return np.concatenate(results)

    # --- networks -----------------------------------------------------------------------------

    @property
    def moments(self) -> Moments:
        r"""Mean and spread of the training rows in model space."""
        return cast(Moments, self.networks_["moments"])

    def _own_network(
        self,
        network: nn.Module,
        *example: Tensor,
        out: tuple[int, ...],
        name: str = "network",
    ) -> nn.Module:
        r"""Return a deep copy of the user's module, once its shapes are known to meet."""
        network = copy.deepcopy(network)
        shapes = ", ".join(str(tuple(part.shape)) for part in example)
        try:
            with torch.no_grad():
                result = network(*example)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise DataError(
                f"{name} cannot be called with shapes {shapes}: {error} It must return"
                f" {(len(example[0]), *out)}."
            ) from error
        if not isinstance(result, Tensor) or result.shape[1:] != out:
            came = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise DataError(
                f"{name}, called with shapes {shapes}, must return the shape"
                f" {(len(example[0]), *out)}, got {came}."
            )
        return network

    # --- saving -------------------------------------------------------------------------------

    def _state(self) -> Tree:
        weights = self.networks_.state_dict()
        return {
            "networks": {name: value.cpu().numpy() for name, value in weights.items()},
            "history": [{k: _finite(v) for k, v in line.items()} for line in self.history_],
            "n_steps": self.n_steps_,
            "fit_seconds": self.fit_seconds_,
            "network_size": self.network_size_,
        }

    def _restore(self, state: Tree) -> None:
        self.network_size_ = state["network_size"]
        weights = finite_weights(state["networks"])
        # On no device: what a manifest asks for is compared with the file before it is allocated.
        own = not isinstance(self.network, str)
        with torch.random.fork_rng(devices=[]), nullcontext() if own else torch.device("meta"):
            networks = self.build()
        networks.load_state_dict(weights, assign=not own)
        self.networks_ = networks.to(self._device()).eval().requires_grad_(False)
        self.n_parameters_ = sum(p.numel() for p in networks.parameters())
        self.history_ = state["history"]
        self.n_steps_, self.fit_seconds_ = state["n_steps"], state["fit_seconds"]


def finite_weights(arrays: Tree) -> dict[str, Tensor]:
    r"""Return the weights of a saved model, once none of them is NaN or infinite.

    Example:
        >>> finite_weights({"bias": np.ones(2)})
        {'bias': tensor([1., 1.], dtype=torch.float64)}
    """
    weights = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
    for name, value in weights.items():
        if not bool(torch.isfinite(value).all()):
            raise ArtifactError(f"The weights {shown(name)} hold NaN or infinity.")
    return weights


def _check_device(device: Any) -> None:
    if device == "auto":
        return
    try:
        torch.zeros(1, device=device).item()  # of "meta" there is nothing to read
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise ValueError(
            f'device must be "auto", "cpu", or one that PyTorch finds here, such as "cuda" where'
            f" there is a GPU, got {device!r}."
        ) from error


def _is_pair(network: Any) -> bool:
    pair = isinstance(network, tuple) and len(network) == 2
    return pair and all(isinstance(part, nn.Module) for part in network)


class TrainingRows:
    r"""Rows in model space: tables are encoded once, arrays as they are drawn.

    So of an array that is a map of a file no more is in memory than the batches at hand.
    """

    def __init__(
        self, X: Any, encoding: Encoding, y: np.ndarray | None, index: np.ndarray
    ) -> None:
        self.X, self.encoding, self.y, self.index = X, encoding, y, index
        self.encoded = encoding.encode(X) if encoding.kind == "table" else None

    def __len__(self) -> int:
        return len(self.index)

    def take(self, index: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, Tensor | None]:
        r"""Return packed rows, integers spread by noise from ``rng``, and their conditions."""
        rows = self.index[index]
        if self.encoded is None:
            encoded = self.encoding.encode(data.take(self.X, rows))
        else:
            encoded = self.encoded.rows(rows)
        x = torch.from_numpy(self.encoding.pack(encoded, rng))
        return x, None if self.y is None else _label_tensor(self.y[rows])


def _label_tensor(y: np.ndarray) -> Tensor:
    label = torch.from_numpy(y)
    return label.float() if label.is_floating_point() else label


def _padded(x: np.ndarray, size: int) -> np.ndarray:
    if len(x) == size:
        return np.ascontiguousarray(x)
    full = np.zeros((size, *x.shape[1:]), x.dtype)
    full[: len(x)] = x
    return full


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
