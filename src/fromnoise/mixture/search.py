r"""The search for the best mixture: over numbers of components, and over starts of each."""

__all__ = ["Search"]

from dataclasses import dataclass
from typing import ClassVar, Self

from fromnoise.mixture.em import Run
from fromnoise.mixture.rows import Rows
from fromnoise.persistence import Tree


@dataclass
class Search:
    r"""How far the search for the best mixture is, over numbers of components and starts."""

    best: Run | None = None  # of the numbers that are done with
    worse: int = 0  # how many of them in a row were no better
    counts: int = 0  # how many of them there are
    leader: Run | None = None  # of the starts that are done with, of the number at hand
    starts: int = 0  # how many of them there are
    run: Run | None = None  # the start at hand

    _RUNS: ClassVar = ("best", "leader", "run")

    def next_start(self, run: Run) -> None:
        r"""Be done with the start at hand."""
        if self.leader is None or run.bound > self.leader.bound:
            self.leader = run
        self.run, self.starts = None, self.starts + 1

    def next_count(self, rows: Rows) -> Run | None:
        r"""Be done with the number of components at hand; return the best mixture so far."""
        run, best = self.leader, self.best
        if run is not None and (best is None or run.bic(rows) < best.bic(rows)):
            self.best, self.worse = run, 0
        else:
            self.worse += 1
        self.leader, self.starts, self.counts = None, 0, self.counts + 1
        return self.best

    def to_tree(self) -> Tree:
        r"""Return the search as a tree."""
        runs = {name: getattr(self, name) for name in self._RUNS}
        trees = {name: None if run is None else run.to_tree() for name, run in runs.items()}
        return {**trees, "worse": self.worse, "counts": self.counts, "starts": self.starts}

    @classmethod
    def from_tree(cls, tree: Tree) -> Self:
        r"""Return the search that :meth:`to_tree` was asked of."""
        trees = {name: tree[name] for name in cls._RUNS}
        runs = {name: None if t is None else Run.from_tree(t) for name, t in trees.items()}
        return cls(**{**tree, **runs})
