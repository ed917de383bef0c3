r"""One writer a folder: a lock that is free when its process ends, however it ends."""

__all__ = ["locked", "sole_writer"]

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

NAME = ".lock"

if sys.platform == "win32":
    import msvcrt

    def _hold(lock: int) -> None:
        os.lseek(lock, 2**20, os.SEEK_SET)  # what is locked there nobody can read
        msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _hold(lock: int) -> None:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def locked(folder: Path) -> int:
    r"""Lock a folder, and return the open file that stands for it: closed, the folder is free.

    Raises:
        BlockingIOError: If another process holds it; the message says which.
        FileExistsError: If a folder stands where the lock should.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> lock = locked(folder)
        >>> with contextlib.suppress(BlockingIOError):
        ...     print(locked(folder))
        >>> os.close(lock)
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    try:
        lock = os.open(folder / NAME, flags, 0o644)
    except IsADirectoryError:
        raise FileExistsError(
            f"{folder / NAME} is a folder, where the file of a lock should stand. Remove it, or"
            " choose another folder."
        ) from None
    try:
        _hold(lock)
    except (BlockingIOError, PermissionError):  # the latter on Windows
        os.lseek(lock, 0, os.SEEK_SET)
        owner = os.read(lock, 200).decode(errors="replace").strip()
        os.close(lock)
        raise BlockingIOError(
            f"Another process writes in {folder}: {owner}. Wait for it to end, or choose another"
            " folder."
        ) from None
    if os.fstat(lock).st_nlink == 0:
        os.close(lock)
        raise BlockingIOError(f"What another process wrote in {folder} has just ended. Try again.")
    os.ftruncate(lock, 0)
    os.lseek(lock, 0, os.SEEK_SET)
    os.write(lock, f"process {os.getpid()} on {platform.node()}\n".encode())
    return lock


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[int]:
    r"""Hold the lock of a folder, which is made if it is missing, and removed if it is left empty.

    Afterwards there is no lock file. A child process that inherits the open one holds the lock
    too, until it ends.

    Args:
        folder: The folder.

    Raises:
        BlockingIOError: If another process holds it.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with sole_writer(folder):
        ...     print([path.name for path in folder.iterdir()])
        ['.lock']
        >>> folder.exists()
        False
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = locked(folder)
    try:
        yield lock
    finally:
        with contextlib.suppress(OSError):  # Windows removes no open file
            (folder / NAME).unlink()
            folder.rmdir()
        os.close(lock)
