r"""What a call of the command line ends with.

    0   done
    2   a wrong call: an unknown command, family, flag or value
    65  bad, missing or unknown data
    66  a bad, unsafe or missing model
    70  the fit diverged, or every family of a comparison did
    71  out of memory
    73  the output exists or cannot be written
    74  the disk is full, or failed while something was written
    75  another process writes there
    130, 143  after SIGINT, SIGTERM; what had been learnt is saved

A user's mistake never ends in a traceback, and a fault of the program always does.
"""

__all__ = [
    "BAD_DATA",
    "BAD_MODEL",
    "CANNOT_WRITE",
    "DISK_FULL",
    "DIVERGED",
    "INTERRUPTED",
    "LOCKED",
    "NO_MEMORY",
    "OK",
    "USAGE",
    "UsageError",
    "check_one_of",
    "exit_code",
    "message_of",
]

import errno

from fromnoise.errors import ArtifactError, DataError

OK, USAGE, BAD_DATA, BAD_MODEL, DIVERGED, NO_MEMORY = 0, 2, 65, 66, 70, 71
CANNOT_WRITE, DISK_FULL, LOCKED, INTERRUPTED = 73, 74, 75, 130


class UsageError(Exception):
    r"""A wrong call of the command line."""


def check_one_of(resume: bool, force: bool) -> None:
    r"""Refuse two flags that contradict each other.

    Example:
        >>> check_one_of(True, True)
        Traceback (most recent call last):
        fromnoise.cli.exits.UsageError: --resume continues what is in OUT and --force ...
    """
    if resume and force:
        raise UsageError("--resume continues what is in OUT and --force replaces it; choose one.")


def exit_code(error: BaseException) -> int | None:
    r"""Return the code that an error ends with; None for one that is no user's mistake.

    Example:
        >>> exit_code(DataError("no such column")), exit_code(RuntimeError("a bug"))
        (65, None)
    """
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    if isinstance(error, OSError):
        full = error.errno in _FULL
        return DISK_FULL if full else CANNOT_WRITE
    memory = "DefaultCPUAllocator" in str(error) or "out of memory" in str(error)
    return NO_MEMORY if memory else None


def message_of(error: BaseException) -> str:
    r"""Return what is said of an error.

    Example:
        >>> message_of(KeyboardInterrupt())
        'Interrupted.'
    """
    if exit_code(error) == NO_MEMORY:
        # NumPy says how much was wanted; PyTorch says so among much else.
        wanted = f" ({error})" if isinstance(error, MemoryError) and str(error) else ""
        return f"Out of memory{wanted}. Try fewer rows, a smaller --batch-size or --network small."
    if exit_code(error) == DISK_FULL:
        return f"The disk is full, or failed: {error}"
    return "Interrupted." if isinstance(error, KeyboardInterrupt) else str(error)


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_CODES: dict[type[BaseException], int] = {
    UsageError: USAGE,
    DataError: BAD_DATA,
    ArtifactError: BAD_MODEL,
    BlockingIOError: LOCKED,
    FileExistsError: CANNOT_WRITE,
    MemoryError: NO_MEMORY,
    ValueError: USAGE,
    KeyboardInterrupt: INTERRUPTED,
}
