r"""How much memory there is, asked before much of it is wanted; and pages that may go again.

Linux grants memory it does not have and kills the process that then uses it, so waiting for a
``MemoryError`` does not do. What counts is what the kernel calls available, the rest of the limit
of each control group (a container's), and the process's own limits. Where none of them can be
read, as on other systems, nothing is refused here.
"""

__all__ = ["available", "let_go", "refuse_too_large"]

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_MEMINFO, _STATUS, _GROUP = "/proc/meminfo", "/proc/self/status", "/proc/self/cgroup"
_GROUPS = Path("/sys/fs/cgroup")


def refuse_too_large(size: float, what: str, instead: str) -> None:
    r"""Refuse what takes more memory than there is.

    Args:
        size: Bytes that it takes.
        what: That takes them, as the beginning of a sentence.
        instead: What to do in its place.

    Raises:
        MemoryError: With the estimate in GB and what is free.

    Example:
        >>> refuse_too_large(1e18, "A large file", "read half of it")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        MemoryError: A large file takes about 1000000000.0 GB of memory, and ... read half of it
    """
    free = available()
    if free is not None and size > free:
        raise MemoryError(
            f"{what} takes about {size / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB are free:"
            f" {instead}"
        )


def available() -> int | None:
    r"""Return how many bytes may still be allocated, or None where that cannot be known.

    Example:
        >>> free = available()
        >>> free is None or free > 0
        True
    """
    limits = [*_of_machine(), *_of_groups(), *_of_process()]
    return max(0, min(limits)) if limits else None


def let_go(rows: Any) -> None:
    r"""Give back the memory of a mapped file's pages, which are read again when next wanted.

    The kernel would take them back under pressure, but until then they count as this process's.
    Only of maps that NumPy opened to be read: of others what was written there might be lost.

    Args:
        rows: An array, or a part of one.

    Example:
        >>> let_go(np.zeros(3))
    """
    read_only = False
    while isinstance(rows, np.ndarray):
        read_only = isinstance(rows, np.memmap) and rows.mode == "r"
        rows = rows.base
    if read_only and isinstance(rows, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        rows.madvise(mmap.MADV_DONTNEED)


def _of_machine() -> Iterator[int]:
    yield from _kilobytes(_MEMINFO, "MemAvailable:")


def _of_groups() -> Iterator[int]:
    r"""Yield what is left in the control group of the process, and in those above (version 2)."""
    path = next((p for p in _lines(_GROUP) if p.startswith("0::/")), "0::/")[4:]
    group = _GROUPS / path
    for folder in (group, *group.parents):
        if not folder.is_relative_to(_GROUPS):
            return
        most, used = _lines(folder / "memory.max"), _lines(folder / "memory.current")
        if most and used and most[0].isdigit():
            cached = [int(line.split()[1]) for line in _lines(folder / "memory.stat")
                      if line.startswith("inactive_file ")]  # fmt: skip
            yield int(most[0]) - int(used[0]) + sum(cached)


def _of_process() -> Iterator[int]:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    for kind, field in ((resource.RLIMIT_AS, "VmSize:"), (resource.RLIMIT_DATA, "VmData:")):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            yield from (limit - used for used in _kilobytes(_STATUS, field))


def _kilobytes(path: str, field: str) -> Iterator[int]:
    for line in _lines(path):
        if line.startswith(field):
            yield int(line.split()[1]) * 1024


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
