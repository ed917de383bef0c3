r"""Generative adversarial networks (Goodfellow 2014; Arjovsky 2017; Huang 2024).

    z → x       G(z), z ~ N(0, I)
    loss        two players in turn: a critic D that tells real rows from generated ones, and G,
                which D's gradient moves to where D takes its rows for real
    x → z       by search only (``invert``), approximate
    log p(x)    none: G says how to draw, never how likely

With a = D(x), b = D(G(z)), σ the logistic function and ζ(s) = log(1 + e^s) = −log σ(−s):

    objective        critic lowers           generator lowers
    minimax          ζ(−a) + ζ(b)            −ζ(b) = log(1 − σ(b))     Goodfellow, eq. 1
    non-saturating   ζ(−a) + ζ(b)            ζ(−b)                     Goodfellow, section 3
    least-squares    ((a − 1)² + b²) / 2     (b − 1)² / 2              Mao 2017, eq. 9
    hinge            (1 − a)₊ + (1 + b)₊     −b                        Lim & Ye 2017
    wasserstein      b − a                   −b                        Arjovsky, eq. 2
    relativistic     ζ(b − a)                ζ(a − b)                  Jolicoeur-Martineau 2018

The critic may pay for its slope: λ (‖∇D‖ − 1)² between real and generated rows (Gulrajani 2017),
or γ/2 ‖∇D‖² at real rows (R1, Mescheder 2018) and at generated ones too (R2, Roth 2017). The
relativistic pair with both is the one that is known to converge near its optimum (Huang 2024).
"""

__all__ = ["GAN", "OBJECTIVES", "gradient_norm", "status_of"]

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from scipy.spatial.distance import pdist
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from fromnoise import data
from fromnoise.base import NeuralModel, capability
from fromnoise.base.arguments import is_number, is_whole
from fromnoise.base.inversion import nearest_noise
from fromnoise.base.neural import TrainingRows
from fromnoise.data import Encoded
from fromnoise.metrics import coverage, energy_distance
from fromnoise.networks import Moments, defaults
from fromnoise.networks.adversarial import spectrally_normalised
from fromnoise.networks.augment import augment
from fromnoise.persistence import Tree
from fromnoise.training import (
    Batch,
    Budget,
    Objective,
    Settings,
    entropy,
    numpy_rng,
    torch_rng,
)

Score = Callable[[Tensor, Tensor], Tensor]


class Losses(NamedTuple):
    r"""What the two players lower, row by row, given a = D(x) and b = D(G(z))."""

    critic: Score
    generator: Score


def _logistic(a: Tensor, b: Tensor) -> Tensor:
    return softplus(-a) + softplus(b)


OBJECTIVES: Mapping[str, Losses] = {
    "minimax": Losses(_logistic, lambda a, b: -softplus(b)),
    "non-saturating": Losses(_logistic, lambda a, b: softplus(-b)),
    "least-squares": Losses(
        lambda a, b: ((a - 1).square() + b.square()) / 2, lambda a, b: (b - 1).square() / 2
    ),
    "hinge": Losses(lambda a, b: relu(1 - a) + relu(1 + b), lambda a, b: -b),
    "wasserstein": Losses(lambda a, b: b - a, lambda a, b: -b),
    "relativistic": Losses(lambda a, b: softplus(b - a), lambda a, b: softplus(a - b)),
}

BURN_IN = 0.75  # share of the budget in which γ falls and the second moments' window grows
LOWEST = 0.01  # what γ falls to, as a share of where it starts
FEW_IMAGES = 10_000  # below this number the critic's images are augmented
OVERFITTED = 0.5  # where the critic's surprise by held-out rows makes augmentation stronger
AUGMENTED, STRONGEST = 0.1, 0.8  # change of its probability at a check, and the largest
SATURATED = ("minimax", "non-saturating", "least-squares", "hinge", "relativistic")
OUTSIDE, DEAD, NO_GRADIENT, COVERED = 3, 1e-3, 1e-6, 0.5  # what status_of goes by
_CHECK, _AUGMENT, _PROJECT, _INVERT = 27, 28, 29, 30  # what a random stream is for
_CHECK_ROWS, _DRAWN, _FEATURES = 1000, 256, 256
_FEW = 12  # held-out rows below which nothing is said of distance and coverage
_STD_FLOOR = 0.05
_TRIES, _IMAGE_TRIES = 1024, 64  # random z that a search may start from


@dataclass(kw_only=True, eq=False, repr=False)
class GAN(NeuralModel):
    r"""Learns a map from noise to rows that a critic cannot tell from real ones.

    A step of the budget is a step of the critic; the generator moves at every
    ``critic_steps``-th.

    Args:
        network: A size, or a pair of modules (generator, critic) of your own, called as (z) and
            (x), with y appended when conditional; the critic returns ``(n, 1)``.
        learning_rate: Peak learning rate of the generator.
        objective: What the two players lower; the page on GANs has a table of them.
        penalty: What the critic pays for its slope: ``"r1"`` at real rows, ``"r1-r2"`` at real
            and generated rows, ``"gradient-penalty"`` between them; ``"weight-clipping"`` cuts
            its weights to ±``weight_bound`` after each of its steps instead.
        penalty_weight: λ of the gradient penalty; of R1 and R2, γ at the start, which falls to a
            hundredth over three quarters of the budget. ``"auto"`` is 10, for R1 and R2 0.1 and,
            on images, 3.
        weight_bound: Largest weight under weight clipping.
        spectral_norm: Whether the critic's weights are divided by their largest singular value.
        critic_steps: Steps of the critic for each of the generator.
        critic_learning_rate: Peak learning rate of the critic; ``"auto"`` is the generator's.
        latent_dim: Length of the noise z; ``"auto"`` is a fixed function of the data's shape.
        augmentation: ``"adaptive"`` changes the critic's images at random, with a probability
            that grows as long as held-out images surprise the critic (images only, and it stays
            at 0 where none are held out); ``"auto"`` does so for fewer than 10,000 training
            images.
        truncation: When sampling, each entry of z is drawn from the normal distribution cut to
            ±``truncation``: fewer odd samples, less variety. It is for images: where generators
            of vectors and tables jump, about z = 0, both sides stay however narrow the cut. None
            draws from the whole of it.

    Attributes:
        history_: One dictionary a record. Beside those of every family: loss and gradient norm
            of both players, and at each check, on held-out rows: ``distance`` (energy distance to
            a sample, in units of that to a single point at their mean), ``coverage`` (by the
            sample, as a share of what real rows would reach), ``critic_gap`` (how much higher the
            critic scores them than samples) and, where images are augmented, ``augmentation``.
            ``validation`` is the distance and what coverage lacks; the averaged generator where
            it was least is kept.
        status_: ``"ok"``, ``"diverged"`` or ``"collapsed"``, with ``status_reason_``; see
            :func:`fromnoise.families.gan.status_of`.
        networks_: The networks ``"generator"`` and ``"critic"``.

    Example:
        >>> import fromnoise as fn
        >>> X = fn.data.load("8gaussians").X[:500]
        >>> model = fn.GAN(budget="30 steps", network="small", random_state=0).fit(X)
        >>> model.sample(3, random_state=1).shape
        (3, 2)
        >>> model.decode(model.invert(X[:4], steps=5)).shape
        (4, 2)
        >>> hasattr(model, "score_samples")
        False
    """

    family: ClassVar[str] = "gan"
    _after_fit: ClassVar[tuple[str, ...]] = ("truncation",)
    _pair: ClassVar[tuple[str, str] | None] = ("generator", "critic")

    objective: Literal[
        "relativistic", "non-saturating", "minimax", "least-squares", "hinge", "wasserstein"
    ] = "relativistic"
    penalty: Literal["r1-r2", "r1", "gradient-penalty", "weight-clipping", "none"] = "r1-r2"
    penalty_weight: float | Literal["auto"] = "auto"
    weight_bound: float = 0.01
    spectral_norm: bool = False
    critic_steps: int = 1
    critic_learning_rate: float | Literal["auto"] = "auto"
    latent_dim: int | Literal["auto"] = "auto"
    augmentation: Literal["auto", "adaptive", "none"] = "auto"
    truncation: float | None = None

    # --- the two players ----------------------------------------------------------------------

    def objectives(self) -> list[Objective]:
        r"""Return the critic's objective and the generator's."""
        betas = _betas if self.penalty in ("r1", "r1-r2") else (0.0, 0.99)
        rate = self.critic_learning_rate
        clipped = self.penalty == "weight-clipping"
        return [
            Objective(
                self.critic_loss,
                [*self.networks_["critic"].parameters()],
                learning_rate=None if rate == "auto" else rate,
                betas=betas,
                clip=math.inf,
                after_step=self._clip_weights if clipped else None,
                name="critic",
            ),
            Objective(
                self.generator_loss,
                [*self.networks_["generator"].parameters()],
                every=self.critic_steps,
                betas=betas,
                clip=math.inf,
                name="generator",
            ),
        ]

    def prepare(self, x: Tensor, y: Tensor | None, generator: torch.Generator) -> Batch:
        r"""Standardise rows, and draw noise for the critic's step and for the generator's."""
        shape = len(x), *self.noise_shape
        z = [torch.randn(shape, generator=generator) for _ in range(2)]
        return self.moments.standardise(x), *z

    def critic_loss(
        self, batch: Batch, y: Tensor | None, progress: float, generator: torch.Generator
    ) -> Tensor:
        r"""Return the critic's objective with its penalty, averaged over rows."""
        x, z, _ = batch
        with torch.no_grad():
            fake = self.draw(z, y)
        real, fake = self._seen(x, generator), self._seen(fake, generator)
        with torch.autocast(x.device.type, enabled=False):  # slopes need float32
            both = torch.cat([real, fake.to(real.dtype)]).requires_grad_()
            scores = self.criticise(both, None if y is None else torch.cat([y, y]))
            loss = OBJECTIVES[self.objective].critic(*scores.chunk(2)).mean()
            if self.penalty == "gradient-penalty":
                return loss + self._weight() * self._slope_between(both, y, generator)
            if self.penalty in ("r1", "r1-r2"):
                return loss + self._weight() * _falling(progress) * self._slope(scores, both)
            return loss

    def generator_loss(
        self, batch: Batch, y: Tensor | None, progress: float, generator: torch.Generator
    ) -> Tensor:
        r"""Return the generator's objective, averaged over rows."""
        x, _, z = batch
        b = self.criticise(self._seen(self.draw(z, y), generator), y)
        a = b
        if self.objective == "relativistic":  # the only one that also looks at real rows
            with torch.no_grad():
                a = self.criticise(self._seen(x, generator), y)
        return OBJECTIVES[self.objective].generator(a, b).mean()

    def draw(self, z: Tensor, y: Tensor | None) -> Tensor:
        r"""Return standardised rows ``(n, *model_shape)`` for noise z.

        The category of a group is the largest of its outputs, as a row is read; gradients pass
        through the softmax instead (straight through, Bengio 2013).
        """
        x: Tensor = self._call("generator", z, y)
        groups = self.encoding_.cardinalities
        if not groups:
            return x
        n_values = x.shape[1] - sum(groups)
        chosen = [2 * _one_hot(part) - 1 for part in x[:, n_values:].split(groups, dim=1)]
        return torch.cat([x[:, :n_values], *chosen], dim=1)

    def criticise(self, x: Tensor, y: Tensor | None) -> Tensor:
        r"""Return the critic's scores ``(n,)`` of standardised rows x."""
        return self._call("critic", x, y)[:, 0]

    def _call(self, name: str, x: Tensor, y: Tensor | None) -> Tensor:
        result: Tensor = self.networks_[name](*((x,) if y is None else (x, y)))
        return result

    def _slope(self, scores: Tensor, both: Tensor) -> Tensor:
        r"""Return ‖∇D‖² / 2 at real rows, and at generated ones too if R2 is wanted."""
        at_real, at_fake = gradient_norm(scores, both).square().chunk(2)
        total = at_real + at_fake if self.penalty == "r1-r2" else at_real
        return total.mean() / 2

    def _slope_between(self, both: Tensor, y: Tensor | None, generator: torch.Generator) -> Tensor:
        r"""Return (‖∇D‖ − 1)² at random places between real and generated rows."""
        real, fake = both.detach().chunk(2)
        share = torch.rand(len(real), generator=generator, device=real.device, dtype=real.dtype)
        between = fake.lerp(real, share.reshape(-1, *[1] * (real.ndim - 1))).requires_grad_()
        return (gradient_norm(self.criticise(between, y), between) - 1).square().mean()

    def _weight(self) -> float:
        if self.penalty_weight != "auto":
            return self.penalty_weight
        if self.penalty == "gradient-penalty":
            return 10.0
        return 3.0 if self.encoding_.kind == "images" else 0.1

    @torch.no_grad()
    def _clip_weights(self) -> None:
        for weight in self.networks_["critic"].parameters():
            weight.clamp_(-self.weight_bound, self.weight_bound)

    def _seen(self, x: Tensor, generator: torch.Generator) -> Tensor:
        r"""Return rows as the critic sees them."""
        return augment(x, self._augmentation, generator)

    # --- networks and noise -------------------------------------------------------------------

    def build(self) -> nn.ModuleDict:
        r"""Return generator, critic and the moments of the training rows."""
        shape, condition = self.encoding_.model_shape, self.condition_
        auto = self.latent_dim == "auto"
        self.latent_dim_ = defaults.default_noise(shape) if auto else int(self.latent_dim)
        if isinstance(self.network, tuple):
            z, x = torch.zeros(2, self.latent_dim_), torch.zeros(2, *shape)
            y = [] if condition is None else [self._example(condition)]
            generator = self._own_network(self.network[0], z, *y, out=shape, name="generator")
            critic = self._own_network(self.network[1], x, *y, out=(1,), name="critic")
        else:
            n_classes = condition.n_classes if condition else 0
            n_columns = condition.width if condition else 0
            generator, critic = defaults.default_adversaries(
                self.latent_dim_,
                shape,
                self.network_size_,
                n_classes=n_classes,
                n_columns=n_columns,
            )
        if self.spectral_norm:
            spectrally_normalised(critic)
        return nn.ModuleDict({"generator": generator, "critic": critic, "moments": Moments(shape)})

    @property
    def noise_shape(self) -> tuple[int, ...]:
        r"""Noise is as long as ``latent_dim`` says."""
        return (self.latent_dim_,)

    @property
    def n_evaluations(self) -> int:
        r"""How often the generator is evaluated to draw a sample."""
        return 1

    def measure(self, rows: Tensor) -> None:
        r"""Take mean and standard deviation: of each column, of each channel of an image."""
        moments = self.moments
        if rows.ndim == 4:
            pixels = rows.transpose(0, 1).flatten(1)  # (C, n · H · W)
            moments.mean.copy_(pixels.mean(1)[:, None, None].expand_as(moments.mean))
            std = pixels.std(1).clamp_min(_STD_FLOOR)
            moments.std.copy_(std[:, None, None].expand_as(moments.std))
            return
        moments.set(rows, floor=_STD_FLOOR)
        n_groups = sum(self.encoding_.cardinalities)
        if n_groups:  # one-hot groups stay in {−1, +1}
            moments.mean[-n_groups:] = 0
            moments.std[-n_groups:] = 1

    @torch.no_grad()
    def generate(self, z: Tensor, y: Tensor | None) -> Tensor:
        r"""Return packed rows for noise z, cut to ±``truncation`` first."""
        if self.truncation is not None:
            z = _truncated(z, self.truncation)
        return self.moments.restore(self.draw(z, y))

    # --- judgement ----------------------------------------------------------------------------

    def _train(
        self,
        rows: TrainingRows,
        check: TrainingRows,
        budget: Budget,
        seed: int,
        born: float,
    ) -> None:
        self._augmentation, self._training = 0.0, rows
        self._checked: dict[str, float] = {}
        default = isinstance(self.network, str)
        if default:  # channels beside each other, which convolutions on a CPU are faster with
            _lay_out(self.networks_, torch.channels_last)
        try:
            super()._train(rows, check, budget, seed, born)
        finally:
            del self._training
            if default:
                _lay_out(self.networks_, torch.contiguous_format)
        if self.status_ == "ok":
            self.status_, self.status_reason_ = status_of(self.history_, self.objective)

    @torch.no_grad()
    def validate(
        self, objectives: list[Objective], rows: TrainingRows, settings: Settings
    ) -> float:
        r"""Return how far samples are from held-out rows, and what share of these they miss.

        The distance is the energy distance, in units of that of a single point at the mean of the
        rows; missed is what coverage lacks. Rows and noise are the same at every call.
        """
        real, y = self._some(rows, settings)
        if len(real) < 3:
            return 0.0  # no distance between sets so small
        pick = np.arange(max(len(real), _DRAWN)) % len(real)
        noise = torch.randn(
            len(pick), *self.noise_shape, generator=torch_rng(settings.seed, _CHECK)
        )
        labels = None if y is None else y[pick]
        fake = self._in_parts(self.draw, noise.to(real.device), labels, settings)
        self._watch(rows, real, y, fake, labels, settings)
        near, far = self._features(real, y, settings), self._features(fake, labels, settings)
        distance = energy_distance(near, far).value / _spread(near)
        if len(real) < _FEW:
            return distance
        self._checked["distance"] = distance
        distinct = np.unique(near, axis=0)  # no draw comes as near to a row as its equals do
        if len(distinct) < _FEW:
            return distance
        found = coverage(distinct, far[: len(near)])
        share = self._checked["coverage"] = found.value / found.target
        return distance + max(0.0, 1 - share)  # a distance alone hardly sees what is thin

    def remember(self) -> Tree:
        r"""Return the probability of augmentation, which every check changes."""
        return {"augmentation": self._augmentation}

    def recall(self, tree: Tree) -> None:
        r"""Take back what :meth:`remember` returned."""
        self._augmentation = float(tree["augmentation"])

    def observe(self) -> dict[str, float]:
        r"""Return what the last check saw, once."""
        seen, self._checked = self._checked, {}
        return seen

    def _some(self, rows: TrainingRows, settings: Settings) -> tuple[Tensor, Tensor | None]:
        index = np.arange(min(len(rows), _CHECK_ROWS))
        x, y = self._taken(rows, index, numpy_rng(settings.seed, _CHECK))
        return self.moments.standardise(x), y

    def _in_parts(
        self,
        function: Callable[[Tensor, Tensor | None], Tensor],
        x: Tensor,
        y: Tensor | None,
        settings: Settings,
    ) -> Tensor:
        size = settings.batch_size
        parts = [slice(start, start + size) for start in range(0, len(x), size)]
        return torch.cat([function(x[p], None if y is None else y[p]) for p in parts])

    def _features(self, x: Tensor, y: Tensor | None, settings: Settings) -> np.ndarray:
        r"""Return rows, and their labels where there are any, as vectors whose distances count."""
        flat = x.flatten(1).cpu()
        width = flat.shape[1]
        if width > _FEATURES:  # random directions keep distances (Johnson & Lindenstrauss 1984)
            directions = torch.randn(
                width, _FEATURES, generator=torch_rng(settings.seed, _PROJECT)
            )
            flat = flat @ directions / math.sqrt(_FEATURES)
        if y is not None and self.condition_ is not None:
            n_classes = self.condition_.n_classes
            label = nn.functional.one_hot(y, n_classes).float() if n_classes else y
            flat = torch.cat([flat, math.sqrt(width) * label.cpu()], dim=1)
        return flat.double().numpy()

    def _watch(
        self,
        rows: TrainingRows,
        real: Tensor,
        y: Tensor | None,
        fake: Tensor,
        labels: Tensor | None,
        settings: Settings,
    ) -> None:
        r"""Compare the critic's scores of held-out rows, samples and training rows."""

        def mean_score(x: Tensor, label: Tensor | None) -> float:
            generator = torch_rng(settings.seed, _AUGMENT, device=settings.device)
            seen = self._seen(x, generator)
            return self._in_parts(self.criticise, seen, label, settings).mean().item()

        held_out, drawn = mean_score(real, y), mean_score(fake, labels)
        self._checked = {"critic_gap": held_out - drawn}
        if self._adaptive:
            trained = mean_score(*self._some(self._training, settings))
            overfitted = trained > drawn and trained - held_out > OVERFITTED * (trained - drawn)
            change = AUGMENTED if overfitted else -AUGMENTED
            self._augmentation = min(max(self._augmentation + change, 0.0), STRONGEST)
            self._checked["augmentation"] = self._augmentation

    @property
    def _adaptive(self) -> bool:
        if self.augmentation != "auto":
            return self.augmentation == "adaptive"
        return self.encoding_.kind == "images" and len(self._training) < FEW_IMAGES

    # --- the way back -------------------------------------------------------------------------

    @capability
    def invert(
        self, X: Any, y: Any = None, *, starts: int = 4, steps: int = 200, random_state: Any = 0
    ) -> np.ndarray:
        r"""Search for noise z whose ``decode`` comes near each row.

        G has no inverse: there may be several such z, or none. The search goes downhill on
        ‖G(z) − x‖², in standardised units, from the ``starts`` best of 1,024 random z (64 for
        images), and keeps the best end.

        Args:
            X: Rows like those of ``fit``.
            y: Labels for a conditional model, one for all or one a row.
            starts: How many searches a row, at most 64.
            steps: Steps of each search.
            random_state: An int repeats the search; None starts it afresh.

        Returns:
            Noise ``(n, k)``, float32, for :meth:`decode`.

        Raises:
            DataError: If X or y does not fit the model.
            ValueError: If ``starts`` or ``steps`` is out of range.
        """
        self._check_usable()
        _check_whole("starts", starts, 1, _IMAGE_TRIES)
        _check_whole("steps", steps, 0, None)
        X = self.encoding_.check(X)
        n = data.n_rows(X)
        codes = self._needed(self._given(y, n), n)
        count = _IMAGE_TRIES if self.encoding_.kind == "images" else _TRIES
        generator = torch_rng(entropy(random_state), _INVERT)
        tries = torch.randn(count, *self.noise_shape, generator=generator)

        def search(x: Tensor, labels: Tensor | None) -> Tensor:
            x = self.moments.standardise(x)
            return nearest_noise(self.draw, x, labels, tries.to(x), starts=starts, steps=steps)

        def searched(X: Any, codes: np.ndarray | None) -> np.ndarray:
            return self._in_blocks(search, self.encoding_.pack(self.encoding_.encode(X)), codes)

        return self._by_parts(searched, X, codes)

    @torch.no_grad()
    def _from_noise(self, z: np.ndarray, y: np.ndarray | None) -> Encoded:
        def rows(z: Tensor, labels: Tensor | None) -> Tensor:
            return self.moments.restore(self.draw(z, labels))

        return self.encoding_.unpack(self._in_blocks(rows, z, y))

    def _code_width(self) -> int:
        return self.latent_dim_

    # --- arguments ----------------------------------------------------------------------------

    def _cannot(self, name: str) -> str | None:
        if name in ("score_samples", "score"):
            return (
                f"GAN has no {name}: G(z) says how to draw a row, never how likely it is."
                " GaussianMixture has one, and FlowMatching has one for continuous columns."
            )
        if name == "impute":
            return (
                "GAN has no impute: without a density it cannot tell which rows agree with what is"
                " seen. GaussianMixture has it, exactly, and VAE, Diffusion and FlowMatching."
            )
        if name in ("encode", "transform", "fit_transform", "inverse_transform"):
            return (
                f"GAN has no {name}: nothing maps a row back to its noise. FlowMatching has one;"
                " invert(X) searches for z, approximately, and decode(z) is G(z)."
            )
        return super()._cannot(name)

    def _check_arguments(self) -> None:
        super()._check_arguments()
        _check_whole("critic_steps", self.critic_steps, 1, None)
        if self.latent_dim != "auto":
            _check_whole("latent_dim", self.latent_dim, 1, None)
        for name, other in (
            ("penalty_weight", "auto"),
            ("critic_learning_rate", "auto"),
            ("weight_bound", ...),
            ("truncation", None),
        ):
            value = getattr(self, name)
            if value == other:
                continue
            if not (is_number(value) and 0 < value < math.inf):
                raise ValueError(f"{name} must be a positive number, got {value!r}.")
        if not isinstance(self.spectral_norm, bool | np.bool_):
            raise ValueError(f"spectral_norm must be True or False, got {self.spectral_norm!r}.")

    def _learn(self, X: Any, y: np.ndarray | None, budget: Budget | None, seed: int) -> None:
        if self.augmentation == "adaptive" and self.encoding_.kind != "images":
            raise ValueError(
                f'augmentation="adaptive" changes images, and the data is {self.encoding_.kind}.'
                ' Use "auto" or "none".'
            )
        super()._learn(X, y, budget, seed)

    def _settings(self, seed: int) -> Settings:
        settings = super()._settings(seed)
        if self.learning_rate != "auto":
            return settings
        images = self.encoding_.kind == "images"
        return replace(settings, learning_rate=defaults.adversarial_rate(images))

    def _auto_budget(self, n: int) -> Budget:
        images = self.encoding_.kind == "images"
        size = defaults.training_table(self.n_parameters_, images, "cpu")[0]
        size = size if self.batch_size == "auto" else self.batch_size
        steps = defaults.adversarial_steps(self.networks_, n, min(size, n))
        return Budget(steps, "steps")


def _lay_out(networks: nn.Module, layout: torch.memory_format) -> None:
    for weight in networks.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=layout)


def gradient_norm(score: Tensor, x: Tensor) -> Tensor:
    r"""Return ‖∇ score_i‖ at each row x_i, over all its entries, ``(n,)``.

    Its own gradient is finite also where a critic is flat.

    Args:
        score: Scores ``(n,)``, made from x, each from its own row.
        x: Rows ``(n, ...)`` that require gradients.

    Returns:
        Euclidean norms, differentiable.

    Example:
        >>> x = torch.ones(2, 3).requires_grad_()
        >>> gradient_norm(x @ torch.tensor([2.0, 3.0, 6.0]), x).tolist()
        [7.0, 7.0]
    """
    (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return torch.linalg.vector_norm(gradient.flatten(1), dim=1)


def status_of(
    history: Sequence[Mapping[str, Any]], objective: str
) -> tuple[Literal["ok", "diverged", "collapsed"], str]:
    r"""Return what a history says of its fit, and why.

    The rules, in this order; late is the last tenth of the records:

    - diverged: at the last check, samples were more than three times as far from held-out rows,
      by the energy distance, as a single point at their mean is: they lie outside the data;
    - collapsed, dead critic: late, the critic's loss is below 0.001 on average, of an objective
      whose critic reaches 0 only when it tells all rows apart;
    - collapsed, vanished gradients: late, the norm of the generator's gradient is below 1e-6;
    - collapsed, modes lost: the kept generator covers less than half of what real rows would
      cover of the held-out ones (coverage of 5 nearest neighbours, Naeem 2020).

    Args:
        history: Records of a fit of :class:`GAN`.
        objective: Its objective.

    Returns:
        Status and reason.

    Example:
        >>> status_of([{"validation": 4.0, "distance": 4.0}], "hinge")[0]
        'diverged'
    """
    checks = [line for line in history if line.get("validation") is not None]
    late = history[-max(1, len(history) // 10) :]
    if checks and checks[-1].get("distance", 0.0) > OUTSIDE:
        return "diverged", (
            f"the samples ended more than {OUTSIDE} times as far from held-out rows as a single"
            " point at their mean"
        )
    if objective in SATURATED and _mean(late, "critic_loss") < DEAD:
        return "collapsed", (
            f"the critic tells all rows apart (loss below {DEAD:g}) and teaches nothing"
        )
    if _mean(late, "generator_gradient") < NO_GRADIENT:
        return "collapsed", f"the generator's gradient vanished (norm below {NO_GRADIENT:g})"
    kept = min(checks, key=lambda line: line["validation"], default={})
    share = kept.get("coverage")
    if share is not None and share < COVERED:
        return "collapsed", (
            f"modes are missing: the samples cover {share:.0%} of what real rows would cover"
        )
    return "ok", ""


def _spread(rows: np.ndarray) -> float:
    r"""Return the energy distance of rows to a point at their mean, which few rows keep positive.

    An unbiased estimate would vanish for three rows in a line.
    """
    to_mean = np.linalg.norm(rows - rows.mean(0), axis=1).mean()
    apart = 2 * pdist(rows).sum() / len(rows) ** 2
    return max(2 * float(to_mean) - float(apart), _STD_FLOOR)


def _mean(lines: Sequence[Mapping[str, Any]], name: str) -> float:
    values = [line[name] for line in lines if line.get(name) is not None]
    return math.fsum(values) / len(values) if values else math.inf


def _falling(progress: float) -> float:
    r"""Return γ as a share of its start; geometric, as each scale of the data takes its time."""
    return float(LOWEST ** min(progress / BURN_IN, 1.0))


def _betas(progress: float) -> tuple[float, float]:
    return 0.0, 0.9 + 0.09 * min(progress / BURN_IN, 1.0)


def _one_hot(logits: Tensor) -> Tensor:
    r"""Return the largest of each row of ``logits`` as a one-hot row with softmax's gradient."""
    relaxed = logits.softmax(dim=1)
    hard = nn.functional.one_hot(relaxed.argmax(1), logits.shape[1]).to(relaxed.dtype)
    return hard + (relaxed - relaxed.detach())


def _truncated(z: Tensor, bound: float) -> Tensor:
    r"""Map N(0, 1) to the same, cut to ±``bound``, quantile by quantile."""
    low = torch.special.ndtr(torch.tensor(-bound, dtype=torch.float64))
    share = low + (1 - 2 * low) * torch.special.ndtr(z.double())
    return torch.special.ndtri(share).to(z.dtype)


def _check_whole(name: str, value: object, low: int, high: int | None) -> None:
    if not (is_whole(value) and value >= low and (high is None or value <= high)):
        end = f" to {high}" if high is not None else ""
        wanted = f"an int from {low}{end}" if end else f"an int of at least {low}"
        raise ValueError(f"{name} must be {wanted}, got {value!r}.")
