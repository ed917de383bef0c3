r"""The main job: train every family on the same split, and say which one to use."""

from typing import TYPE_CHECKING, Any

__all__ = ["Comparison", "compare"]

if TYPE_CHECKING:
    from fromnoise.comparison.run import Comparison, compare


def __getattr__(name: str) -> Any:
    # Lazy, so that ``python -m fromnoise.comparison.worker`` does not meet itself imported.
    if name in __all__:
        from fromnoise.comparison import run

        return getattr(run, name)
    raise AttributeError(f"module 'fromnoise.comparison' has no attribute {name!r}")
