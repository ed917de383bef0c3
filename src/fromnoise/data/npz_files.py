r"""Bundles of arrays, ``.npz``: zip files whose members are ``.npy`` files.

NumPy reads a member whole. A member that is stored as it is, as ``np.savez`` stores it, can as
well be a map of the file, so that an array larger than memory is no trouble; one that is
compressed is read. Python objects are refused, and so is a header that claims more than there is.
"""

__all__ = ["read_npz"]

import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fromnoise.data.memory import refuse_too_large
from fromnoise.errors import shown

Array = NDArray[Any]

_LENGTHS = 26  # where a member's local header holds the lengths of its name and extra field


def read_npz(path: Path) -> dict[str, Array]:
    r"""Read the arrays of a bundle; those that are not compressed are maps of the file.

    Args:
        path: The file.

    Returns:
        The arrays by name.

    Raises:
        ValueError: If a member is no array of numbers or text, or is cut off.
        MemoryError: If one that is compressed would not fit in memory.
        zipfile.BadZipFile: If it is no zip file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "x.npz"
        >>> np.savez(path, X=np.arange(3.0))
        >>> type(read_npz(path)["X"]).__name__, read_npz(path)["X"].tolist()
        ('memmap', [0.0, 1.0, 2.0])
    """
    with zipfile.ZipFile(path) as bundle, np.load(path, allow_pickle=False) as stored:
        members = {member.filename.removesuffix(".npy"): member for member in bundle.infolist()}
        return {
            name: _mapped(path, member)
            if member.compress_type == zipfile.ZIP_STORED
            else _unpacked(stored, name, member)
            for name, member in members.items()
        }


def _unpacked(stored: Any, name: str, member: zipfile.ZipInfo) -> Array:
    advice = "save it by numpy.savez, of which fromnoise.data.load makes a map."
    refuse_too_large(member.file_size, f"{shown(member.filename)}, unpacked,", advice)
    try:
        array: Array = stored[name]
    except MemoryError as error:
        raise ValueError(f"{member.filename} claims more than there is") from error
    return array


def _mapped(path: Path, member: zipfile.ZipInfo) -> Array:
    with path.open("rb") as file:
        file.seek(member.header_offset + _LENGTHS)
        file.seek(sum(struct.unpack("<HH", file.read(4))), 1)
        end = file.tell() + member.file_size
        shape, fortran, dtype = _header(file)
        size = dtype.itemsize * int(np.prod(shape, dtype=object))
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        if file.tell() + size > end:
            raise ValueError(f"{member.filename} claims {size} bytes, more than there are")
        if not size:
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"it is written in version {version} of the format")
    shape, fortran, dtype = read(file)
    return shape, fortran, dtype
