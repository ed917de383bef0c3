r"""The four files of MNIST and Fashion-MNIST: gzipped, a magic number, sizes, then bytes.

A file opens with 0x00000800 plus the number of axes and the length of each as big-endian 32-bit
integers. The training files come first in the result, then the official test set.
"""

__all__ = ["holds_mnist", "read_mnist"]

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fromnoise.errors import DataError, shown

Array = NDArray[Any]

_IDX = {"train": "train-{}-ubyte.gz", "test": "t10k-{}-ubyte.gz"}


def holds_mnist(folder: Path) -> bool:
    r"""Return whether a folder holds the training images under their usual name.

    Args:
        folder: The folder.

    Example:
        >>> holds_mnist(Path("/nowhere"))
        False
    """
    return (folder / _IDX["train"].format("images-idx3")).is_file()


def read_mnist(folder: Path) -> tuple[Array, Array, tuple[str, ...]]:
    r"""Read images and labels.

    Args:
        folder: Where ``train-images-idx3-ubyte.gz`` and its three siblings lie.

    Returns:
        Images uint8 ``(n, H, W)``, labels int64 ``(n,)``, and remarks.

    Raises:
        DataError: If a file is missing, damaged or of another format, or numbers differ.

    Example:
        >>> import tempfile
        >>> folder, head = Path(tempfile.mkdtemp()), b"\0\0\x08"
        >>> for name in _IDX.values():
        ...     image = head + b"\3" + struct.pack(">3I", 1, 2, 2) + bytes(4)
        ...     label = head + b"\1" + struct.pack(">I", 1) + bytes(1)
        ...     _ = (folder / name.format("images-idx3")).write_bytes(gzip.compress(image))
        ...     _ = (folder / name.format("labels-idx1")).write_bytes(gzip.compress(label))
        >>> read_mnist(folder)[0].shape
        (2, 2, 2)
    """
    X = np.concatenate([_idx(folder / name.format("images-idx3"), 3) for name in _IDX.values()])
    y = np.concatenate([_idx(folder / name.format("labels-idx1"), 1) for name in _IDX.values()])
    if len(X) != len(y):
        raise DataError(f"{shown(str(folder), 120)} holds {len(X)} images but {len(y)} labels.")
    note = "the last 10,000 rows are the official test set"
    return X, y.astype(np.int64), (note,)


def _idx(path: Path, axes: int) -> Array:
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{shown(str(path), 120)} cannot be read: {error}") from error
    start = 4 + 4 * axes
    head = struct.unpack(f">{axes + 1}I", raw[:start]) if len(raw) >= start else (0,)
    if head[0] != 0x800 + axes or len(raw) - start != int(np.prod(head[1:], dtype=object)):
        raise DataError(f"{shown(str(path), 120)} is no sound idx file of bytes with {axes} axes.")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(head[1:])
