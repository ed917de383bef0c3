r"""A network as it was earlier in the fit, for autoguidance (Karras 2024, section 4).

A network that has learnt less errs where the final one errs, only more. So away from it is away
from errors: sampling follows v + (w − 1) (v − v_earlier), eq. 3 of the paper, where for a smaller
network of theirs stands the same one after a share of the budget.

What is kept are averaged weights, as a check of the fit sees them: at the first check after the
share, or at the last one before the end where that alone comes after, as in a fit that is cut
short. The copy is no part of ``networks_``: no loss, optimiser or average knows of it.
"""

__all__ = ["EarlierNetwork"]

import copy
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from torch import Tensor, nn

from fromnoise.base.arguments import is_number
from fromnoise.base.neural import NeuralModel, finite_weights
from fromnoise.persistence import Tree
from fromnoise.training import Budget

logger = logging.getLogger("fromnoise")


@dataclass(kw_only=True, eq=False, repr=False)
class EarlierNetwork(NeuralModel):
    r"""What families have that can be guided by what they were.

    Args:
        keep_earlier: Share of the budget, between 0 and 1, after which a copy of the averaged
            weights is kept for ``autoguidance``; None keeps none. A warning tells when they are
            no earlier than those the fit ends with, as in a fit too short to be checked.
        autoguidance: Strength w of the guidance away from the earlier network when sampling; 1 is
            off. It takes one more evaluation.

    Attributes:
        earlier_: The network that was kept, or None.
        earlier_share_: Share of the budget after which it was.
    """

    keep_earlier: float | None = None
    autoguidance: float = 1.0

    def _learn(self, X: Any, y: np.ndarray | None, budget: Budget | None, seed: int) -> None:
        if self.autoguidance != 1 and self.keep_earlier is None:
            raise _nothing_kept()  # what an earlier fit kept is not kept by this one
        self.earlier_: nn.Module | None = None
        self.earlier_share_ = 0.0  # of the budget, when it was kept
        super()._learn(X, y, budget, seed)
        if self.earlier_ is not None and (best := _best(self.history_)) <= self.earlier_share_:
            logger.warning(
                "The weights kept for autoguidance, after %.0f %% of the budget, are no earlier"
                " than the final ones, which validation chose after %.0f %%. Try a smaller"
                " keep_earlier.",
                100 * self.earlier_share_,
                100 * best,
            )

    def checked(self, progress: float) -> None:
        r"""Keep a copy of the network, whose weights are the averaged ones now."""
        share = self.keep_earlier
        if share is None or self.earlier_share_ >= share:
            return
        if self.earlier_ is None or progress < 1:
            self._take_earlier(progress, self.networks_["network"].state_dict())

    def _earlier(self) -> Self:
        r"""Return this model with the earlier network for its own."""
        if self.earlier_ is None:
            raise _nothing_kept()
        model = copy.copy(self)
        model.networks_ = nn.ModuleDict({**dict(self.networks_.items()), "network": self.earlier_})
        return model

    def _take_earlier(self, share: float, weights: Mapping[str, Tensor]) -> None:
        network = copy.deepcopy(self.networks_["network"])
        network.load_state_dict(weights)
        self.earlier_, self.earlier_share_ = network.eval().requires_grad_(False), share

    def remember(self) -> Tree:
        r"""Return the earlier weights, if there are any yet."""
        return {**super().remember(), **self._kept()}

    def recall(self, tree: Tree) -> None:
        r"""Take back what :meth:`remember` returned."""
        super().recall(tree)
        self._take_kept(tree)

    def _check_arguments(self) -> None:
        super()._check_arguments()
        share = self.keep_earlier
        if share is not None and not (is_number(share) and 0 < share < 1):
            raise ValueError(
                f"keep_earlier must be None or a number between 0 and 1, got {share!r}."
            )
        strength = self.autoguidance
        if not (is_number(strength) and math.isfinite(strength)):
            raise ValueError(f"autoguidance must be a finite number, got {strength!r}.")
        kept = share is not None or getattr(self, "earlier_", None) is not None
        if strength != 1 and not kept:
            raise _nothing_kept()

    # --- saving -------------------------------------------------------------------------------

    def _kept(self) -> Tree:
        if self.earlier_ is None:
            return {}
        weights = self.earlier_.state_dict()
        arrays = {name: value.cpu().numpy() for name, value in weights.items()}
        return {"earlier": {"share": self.earlier_share_, "weights": arrays}}

    def _take_kept(self, tree: Tree) -> None:
        if (kept := tree.get("earlier")) is not None:
            self._take_earlier(float(kept["share"]), finite_weights(kept["weights"]))

    def _state(self) -> Tree:
        return {**super()._state(), **self._kept()}

    def _restore(self, state: Tree) -> None:
        super()._restore(state)
        self.earlier_, self.earlier_share_ = None, 0.0
        self._take_kept(state)


def _best(history: list[dict[str, Any]]) -> float:
    r"""Return the progress at which the weights were averaged that the fit ended with."""
    checks = [(line["validation"], -line["progress"]) for line in history]
    found = [(v, p) for v, p in checks if v is not None and math.isfinite(v)]
    return -min(found)[1] if found else math.inf


def _nothing_kept() -> ValueError:
    return ValueError(
        "autoguidance needs a model that was fitted with keep_earlier, such as keep_earlier=0.1;"
        " this one keeps no earlier network to be guided by."
    )
