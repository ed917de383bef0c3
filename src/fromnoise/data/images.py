r"""Images: arrays mapped to (n, C, H, W) in [-1, 1].

An array is (n, H, W), (n, H, W, C) if only its last axis is 1 to 4 long, or (n, C, H, W) if only
its second is. Pixels v = (x - middle) / half with the middle and half width of their range:
0 to 255 for uint8, else from the smallest to the largest value given to fit. So

    log p_x(x) = log p_v(v) - C·H·W log(half)
"""

__all__ = ["ImageArray", "ImageEncoding", "images"]

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from fromnoise.data.arrays import check_array_like, put, restore
from fromnoise.data.transforms import Encoded, Encoding, Missing, Partial, full_mask
from fromnoise.errors import DataError, shown

Array = NDArray[Any]

_BLOCK = 2**22


@dataclass(frozen=True, eq=False)
class ImageArray:
    r"""An array of images that says where its channels are; made by `images`.

    Attributes:
        array: ``(n, C, H, W)`` or ``(n, H, W, C)``, an array or a torch tensor.
        channels: ``"first"`` or ``"last"``.
    """

    array: Any
    channels: Literal["first", "last"]

    def __len__(self) -> int:
        return len(self.array)

    @property
    def shape(self) -> tuple[int, ...]:
        r"""Shape of the array."""
        return tuple(self.array.shape)


def images(X: Any, channels: Literal["first", "last"]) -> ImageArray:
    r"""Say where the channels of an array of images are, where its shape leaves that open.

    Args:
        X: Array or torch tensor with four axes.
        channels: ``"first"`` for ``(n, C, H, W)``, ``"last"`` for ``(n, H, W, C)``.

    Returns:
        A wrapper that stands wherever ``X`` may.

    Raises:
        DataError: If there are not four axes, or ``channels`` is something else.

    Example:
        >>> images(np.zeros((10, 4, 4, 3)), channels="first").shape
        (10, 4, 4, 3)
    """
    if channels not in ("first", "last"):
        raise DataError(f"channels must be 'first' or 'last', got {shown(channels)}.")
    if getattr(X, "ndim", 0) != 4:
        raise DataError(
            f"Expected an array with four axes, got shape {getattr(X, 'shape', None)}: images "
            "without a channel axis (n, H, W) need no wrapper."
        )
    return ImageArray(X, channels)


@dataclass(frozen=True)
class ImageEncoding(Encoding):
    r"""Maps the range of pixels to [-1, 1] and channels to the front.

    Attributes:
        size: (C, H, W).
        layout: ``"none"`` for (n, H, W), else where channels are: ``"first"`` or ``"last"``.
        low: Smallest pixel value.
        high: Largest pixel value.
        dtype: Name of the NumPy dtype given.
        container: ``"numpy"`` or ``"torch"``.

    Example:
        >>> X = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
        >>> encoding = ImageEncoding.fit(X)
        >>> encoding.encode(X).values.shape
        (4, 1, 8, 8)
        >>> bool((encoding.decode(encoding.encode(X)) == X).all())
        True
    """

    kind: ClassVar[str] = "images"
    size: tuple[int, int, int]
    layout: str
    low: float
    high: float
    dtype: str
    container: str = "numpy"

    @classmethod
    def fit(cls, X: Any, *, missing: Missing = "auto", index: Array | None = None) -> Self:
        r"""Validate all images and find the range of their pixels.

        Args:
            X: Images, or an `ImageArray`.
            missing: Pixels cannot be modelled as missing, so ``"model"`` changes nothing.
            index: Training rows; unused, since the range belongs to the format of the data.

        Returns:
            The encoding.

        Raises:
            DataError: If the axes are ambiguous or a pixel is not finite.
        """
        del missing, index
        layout, container, array = _read(X, at_least=2)
        low, high = _range(array)
        moved = array.shape[1:] if layout != "last" else (*array.shape[3:], *array.shape[1:3])
        channels, height, width = moved if layout != "none" else (1, *moved)
        return cls((channels, height, width), layout, low, high, array.dtype.name, container)

    @property
    def shape(self) -> tuple[int, ...]:
        r"""(C, H, W)."""
        return self.size

    @property
    def model_shape(self) -> tuple[int, ...]:
        r"""(C, H, W)."""
        return self.size

    @property
    def cardinalities(self) -> tuple[int, ...]:
        r"""Images have no categorical parts."""
        return ()

    @property
    def n_features(self) -> int:
        r"""C·H·W."""
        return int(np.prod(self.size))

    @property
    def feature_names(self) -> list[str] | None:
        r"""Pixels have no names."""
        return None

    @property
    def is_continuous(self) -> bool:
        r"""Whether pixels are floats."""
        return np.dtype(self.dtype).kind == "f"

    @property
    def _middle(self) -> float:
        return (self.low + self.high) / 2

    @property
    def _half(self) -> float:
        # Images of one single value have no width; any will do, as the value comes back.
        return (self.high - self.low) / 2 or 1.0

    def check(self, X: Any, *, missing_ok: bool = False) -> Array:
        r"""Return ``X`` as an array in the layout of fit; see `Encoding.check`."""
        _, array = check_array_like(_unwrap(X), at_least=1, nd=True)
        if array.shape[1:] != self._row or getattr(X, "channels", self.layout) != self.layout:
            raise DataError(f"Expected images of shape {self._row}, got {array.shape[1:]}.")
        if (array.dtype.kind == "f") != self.is_continuous:
            raise DataError(
                f"Expected pixels like those of fit ({self.dtype}, {self.low:g} to "
                f"{self.high:g}), got {array.dtype.name}: convert them to the same range."
            )
        _range(array, missing_ok=missing_ok)
        return array

    @property
    def _row(self) -> tuple[int, ...]:
        channels, height, width = self.size
        rows = {"none": (height, width), "last": (height, width, channels), "first": self.size}
        return rows[self.layout]

    def encode(self, X: Array) -> Encoded:
        r"""Return pixels in [-1, 1], float32 ``(n, C, H, W)``; missing ones are 0."""
        # Only where pixels sit on an offset that dwarfs them does float32 lose any of theirs.
        small = X.dtype.itemsize <= 4 and abs(self._middle) <= 2 * self._half
        values: Array = np.subtract(X, self._middle, dtype=np.float32 if small else np.float64)
        values /= self._half
        if self.layout == "last":
            values = np.moveaxis(values, -1, 1)
        values = values.reshape(len(values), *self.size)
        if np.isnan(values.sum()):  # one pass, and holes are rare
            np.nan_to_num(values, copy=False)
        return self._encoded(values)

    def decode(self, encoded: Encoded) -> Any:
        r"""Return images in the container, dtype, layout and range given to fit."""
        x = self._middle + self._half * encoded.values.astype(np.float64)
        x = np.clip(x, self.low, self.high)
        if self.layout == "last":
            x = np.moveaxis(x, 1, -1)
        return restore(x.reshape(len(x), *self._row), self.dtype, self.container)

    def dequantise(self, encoded: Encoded, rng: np.random.Generator) -> Encoded:
        r"""Add U(-1/2, 1/2) in units of integer pixels, in steps of 1/256."""
        if self.is_continuous:
            return encoded
        shape = encoded.values.shape
        steps = np.frombuffer(rng.bytes(encoded.values.size), np.uint8).reshape(shape)
        noise = steps.astype(np.float32)
        noise -= 127.5
        noise /= 256 * self._half
        noise += encoded.values
        return self._encoded(noise)

    def pack(self, encoded: Encoded, rng: np.random.Generator | None = None) -> Array:
        r"""Return the values, dequantised if ``rng`` is given."""
        return (encoded if rng is None else self.dequantise(encoded, rng)).values

    def unpack(self, packed: Array) -> Encoded:
        r"""Invert ``pack``."""
        return self._encoded(packed)

    def _encoded(self, values: Array) -> Encoded:
        codes = np.zeros((len(values), 0), np.int64)
        return Encoded(values.astype(np.float32, copy=False), codes, self.observed(codes))

    def observed(self, codes: Array) -> Array:
        r"""Return all True, ``(1, 1, 1, 1)``: a pixel is never missing."""
        return np.ones((1, 1, 1, 1), bool)

    def partial(self, X: Any, mask: Any = None) -> Partial:
        r"""Map images that lack pixels to model space; see `Encoding.partial`.

        A mask may leave the channels out, or have one, for all of them.
        """
        _, array = check_array_like(_unwrap(X), at_least=1, nd=True)
        if mask is None:
            gone = np.isnan(array) if array.dtype.kind == "f" else np.zeros(array.shape, bool)
        else:
            gone = self._mask(mask, array.shape)
        held = np.where(gone, np.asarray(self.low).astype(array.dtype), array)
        if array.dtype.kind == "f" and not self.is_continuous and (held == np.rint(held)).all():
            held = np.clip(held, self.low, self.high).astype(self.dtype)  # as NaN are floats
        encoded = self.encode(self.check(_wrapped(held, X)))
        values = np.moveaxis(gone, -1, 1) if self.layout == "last" else gone
        values = values.reshape(encoded.values.shape)
        known = Encoded(np.where(values, 0, encoded.values), encoded.codes, ~values)
        return Partial(known, values, np.zeros((len(gone), 0), bool), gone)

    def _mask(self, mask: Any, shape: tuple[int, ...]) -> Array:
        mask = np.asarray(mask)
        if self.layout != "none" and len(shape) == 4:
            axis = 1 if self.layout == "first" else 3
            if mask.ndim == 3:
                mask = np.expand_dims(mask, axis)
            if mask.ndim == 4 and mask.shape[axis] == 1:
                mask = np.repeat(mask, shape[axis], axis)
        return full_mask(mask, shape)

    def filled(self, X: Any, mask: Array, encoded: Encoded | None) -> Any:
        r"""Return a copy of ``X`` with decoded pixels; see `Encoding.filled`."""
        values = np.empty(0)
        if encoded is not None:
            rows = mask.reshape(len(mask), -1).any(1)
            values = np.asarray(self.decode(encoded))[mask[rows]]
        return _wrapped(put(_unwrap(X), mask, values), X)

    def log_det(self, encoded: Encoded) -> Array:
        r"""Return -C·H·W log(half) for each row, ``(n,)``."""
        return np.full(len(encoded), -self.n_features * np.log(self._half))

    def linear(self) -> tuple[Array, Array, Array]:
        r"""Return (middle, half, True) for each pixel, in the order of the data as given."""
        ones = np.ones(self.n_features)
        return self._middle * ones, self._half * ones, ones.astype(bool)

    def to_state(self) -> dict[str, Any]:
        r"""Return a tree of numbers and strings."""
        return {
            "kind": self.kind,
            "size": list(self.size),
            "layout": self.layout,
            "low": self.low,
            "high": self.high,
            "dtype": self.dtype,
            "container": self.container,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        r"""Invert ``to_state``."""
        channels, height, width = (int(side) for side in state["size"])
        dtype = np.dtype(state["dtype"]).name
        low, high = float(state["low"]), float(state["high"])
        return cls((channels, height, width), str(state["layout"]), low, high, dtype,
                   str(state["container"]))  # fmt: skip


def _unwrap(X: Any) -> Any:
    return X.array if isinstance(X, ImageArray) else X


def _wrapped(array: Any, like: Any) -> Any:
    return ImageArray(array, like.channels) if isinstance(like, ImageArray) else array


def _read(X: Any, *, at_least: int) -> tuple[str, str, Array]:
    container, array = check_array_like(_unwrap(X), at_least=at_least, nd=True)
    if isinstance(X, ImageArray):
        return X.channels, container, array
    return _layout(array.shape), container, array


def _layout(shape: tuple[int, ...]) -> str:
    if len(shape) == 3:
        return "none"
    if len(shape) != 4:
        raise DataError(f"Expected rows (n, d) or images (n, H, W[, C]), got shape {shape}.")
    last, first = shape[-1] <= 4, shape[1] <= 4
    if last == first:
        raise DataError(
            f"Cannot tell where the channels of shape {shape} are, as "
            f"{'both' if last else 'neither'} of the second and the last axis could be them: use "
            'fromnoise.data.images(X, channels="first") or channels="last".'
        )
    return "last" if last else "first"


def _range(X: Array, *, missing_ok: bool = False) -> tuple[float, float]:
    if X.dtype == np.uint8:
        return 0.0, 255.0
    step = max(1, _BLOCK // max(1, int(np.prod(X.shape[1:]))))
    low, high = np.inf, -np.inf
    for start in range(0, len(X), step):
        block = np.asarray(X[start : start + step], np.float64)
        _refuse_holes(block, start, missing_ok)
        low, high = min(low, np.nanmin(block)), max(high, np.nanmax(block))
    return float(low), float(high)


def _refuse_holes(block: Array, start: int, missing_ok: bool) -> None:
    bad = ~np.isfinite(block) & ~(np.isnan(block) & missing_ok)
    if bad.any():
        rows = start + np.flatnonzero(bad.reshape(len(block), -1).any(1))[:3]
        raise DataError(
            f"NaN or inf in the pixels of image {', '.join(map(str, rows))}: expected finite "
            "numbers; images with missing pixels can be imputed, not fitted."
        )
