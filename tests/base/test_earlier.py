r"""Autoguidance: what is kept of a fit, and where it leads samples, in closed form."""

import copy
import math
import pickle
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import Tensor, nn

import fromnoise as fn
from contract_cases import CASES
from fromnoise.base.earlier import EarlierNetwork
from fromnoise.errors import ArtifactError, DataError
from fromnoise.persistence import read_bundle, write_bundle
from fromnoise.training import digest
from transport_fields import Silent

VECTORS, LABELS = CASES["vectors"].X, CASES["vectors-classes"].y
SMALL = {"network": "small", "budget": "40 steps", "random_state": 0, "batch_size": 16}
MODELS = {"flow": fn.FlowMatching, "diffusion": fn.Diffusion}
SHARE, OWN, EARLIER, NULL = 0.3, 0.5, 0.8, 1.7  # spreads of Gaussians


def fitted(family: str = "flow", y: Any = LABELS, **more: Any) -> Any:
    if y is LABELS and not more:
        return copy.deepcopy(fitted_once(family))
    return MODELS[family](**{**SMALL, "keep_earlier": SHARE, **more}).fit(VECTORS, y)


@cache
def fitted_once(family: str) -> Any:
    return MODELS[family](**SMALL, keep_earlier=SHARE).fit(VECTORS, LABELS)


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


# --- where it leads ---------------------------------------------------------------------------


class Gaussians(fn.FlowMatching):
    r"""The straight flow from N(0, 1) to N(0, s²), s the network's weight, or NULL without y."""

    def velocity(self, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        s = self.networks_["network"].weight.double()
        if y is not None:
            s = torch.where(y == self.condition_.n_classes, NULL, s)
        s, t = s.reshape(-1, 1), t[:, None]
        return (t * s**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * s**2) * x


def gaussians(y: Any = None, **arguments: Any) -> Gaussians:
    given = {"solver": "rk4", "steps": 40, "autoguidance": 2.5, **arguments}
    model = Gaussians(network=Silent(), budget="1 steps", keep_earlier=0.5, **given)
    model.fit(VECTORS, y)
    for network, s in ((model.networks_["network"], OWN), (model.earlier_, EARLIER)):
        network.weight.data.fill_(s)
    return model


def factor(model: Gaussians, y: Tensor | None = None) -> float:
    r"""Return what the sampler multiplies standardised noise by."""
    z = torch.tensor([[1.0, -2.0, 3.0]] * 2)
    found = model.moments.standardise(model.generate(z, y)) / z
    torch.testing.assert_close(found, torch.full_like(found, found[0, 0].item()))
    return found[0, 0].item()


@pytest.mark.parametrize("w", [0.0, 0.5, 1.0, 2.5])
def test_a_gaussian_is_guided_to_a_known_spread(w: float) -> None:
    # v = ẋ = (ln s_t)' x for each, so the guided flow multiplies by s^w s_earlier^(1 − w).
    model = gaussians(autoguidance=w)
    assert factor(model) == pytest.approx(OWN**w * EARLIER ** (1 - w), rel=1e-4)


def test_both_guides_act_on_the_conditional_field() -> None:
    model = gaussians(np.arange(80) % 2, guidance=3.0)
    y = torch.zeros(2, dtype=torch.int64)
    expected = OWN * (OWN / NULL) ** 2.0 * (OWN / EARLIER) ** 1.5
    assert factor(model, y) == pytest.approx(expected, rel=1e-4)
    model.set_params(guidance=1.0)
    assert factor(model, y) == pytest.approx(OWN * (OWN / EARLIER) ** 1.5, rel=1e-4)


def test_an_interval_holds_for_the_earlier_network_too() -> None:
    model = gaussians(guidance_interval=(0.25, 0.75), solver="midpoint", steps=200)

    def growth(s: float) -> float:  # of the spread between the two times
        start, end = ((1 - t) ** 2 + t**2 * s**2 for t in (0.25, 0.75))
        return math.sqrt(end / start)

    expected = OWN * (growth(OWN) / growth(EARLIER)) ** 1.5
    assert factor(model) == pytest.approx(expected, rel=4e-3)
    assert abs(expected / (OWN * (OWN / EARLIER) ** 1.5) - 1) > 0.1


def test_rescaling_takes_back_the_size_of_the_guess() -> None:
    # Along one direction a guess of the size of the plain one is the plain one, or its opposite.
    model = gaussians(guidance_rescale=1.0, autoguidance=0.5)
    assert factor(model) == pytest.approx(OWN, rel=1e-3)
    assert factor(model.set_params(guidance_rescale=0.0)) > 1.2 * OWN


def test_sampling_alone_knows_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fromnoise.base.field.EXACT_STEPS", 2)
    monkeypatch.setattr("fromnoise.base.transport.IMPUTE_STEPS", 2)
    model, X, y = fitted(), VECTORS[:9], LABELS[:9]
    mask = np.eye(9, 3, dtype=bool)

    def answers() -> list[np.ndarray]:
        z = model.encode(X, y)
        filled = model.impute(X, y, mask=mask, random_state=0)
        return [z, model.decode(z, y), model.score_samples(X, y), filled]

    before, plain = answers(), model.sample(9, y, random_state=0)
    model.set_params(autoguidance=3.0)
    assert not np.allclose(model.sample(9, y, random_state=0), plain, rtol=1e-3)
    assert all(np.array_equal(one, other) for one, other in zip(before, answers(), strict=True))


@pytest.mark.parametrize("family", MODELS)
def test_keeping_it_changes_no_bit_of_fit_or_sample(family: str) -> None:
    kept, bare = fitted(family), fitted(family, keep_earlier=None)
    assert same(weights(kept.networks_), weights(bare.networks_))
    assert np.array_equal(kept.sample(9, random_state=0), bare.sample(9, random_state=0))
    assert kept.n_parameters_ == bare.n_parameters_ and bare.earlier_ is None


def test_evaluations_are_counted() -> None:
    model = fitted("diffusion", steps=10, solver="heun", autoguidance=2.0)
    assert model.n_evaluations == 40
    assert model.set_params(guidance=2.0).n_evaluations == 60
    model.set_params(guidance_interval=(0.25, 0.75))
    within = model.n_evaluations - 20
    assert 0 < within < 40 and within % 2 == 0
    assert model.set_params(guidance=1.0).n_evaluations == 20 + within // 2
    assert model.set_params(autoguidance=1.0).n_evaluations == 20
    unconditional = fitted("flow", None, autoguidance=2.0, steps=5)
    assert unconditional.n_evaluations == 20


# --- what is kept -----------------------------------------------------------------------------


@pytest.mark.parametrize("family", MODELS)
def test_the_average_of_the_first_check_after_the_share_is_kept(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, validate = [], MODELS[family].validate

    def watched(model: Any, *given: Any) -> float:
        seen.append(weights(model.networks_["network"]))
        return validate(model, *given)

    monkeypatch.setattr(MODELS[family], "validate", watched)
    model = fitted(family, autoguidance=2.0)
    checks = [line["progress"] for line in model.history_ if line["validation"] is not None]
    first = next(k for k, progress in enumerate(checks) if progress >= SHARE)
    assert 0 < first < len(checks) - 2 and len(seen) == len(checks)
    assert same(weights(model.earlier_), seen[first])
    assert model.earlier_share_ == checks[first]
    assert not any(same(seen[first], one) for k, one in enumerate(seen) if k != first)
    own = {id(p) for objective in model.objectives() for p in objective.parameters}
    assert not own & {id(p) for p in model.earlier_.parameters()}
    assert not any(p.requires_grad for p in model.earlier_.parameters())
    assert not any(module.training for module in model.earlier_.modules())


def test_where_only_the_end_comes_after_the_share_the_check_before_it_is_kept() -> None:
    model = fitted(keep_earlier=0.99)
    assert SHARE < model.earlier_share_ < 1
    assert not same(weights(model.earlier_), weights(model.networks_["network"]))


def test_a_fit_of_one_step_keeps_its_last_weights_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = fitted(budget="1 steps")
    assert "after 100 % of the budget, are no earlier than" in caplog.text
    assert same(weights(model.earlier_), weights(model.networks_["network"]))
    plain = model.sample(5, random_state=0)
    assert np.array_equal(model.set_params(autoguidance=3.0).sample(5, random_state=0), plain)


@pytest.mark.parametrize("best", [0, 1, 2])
def test_a_warning_tells_when_the_final_weights_are_no_later(
    best: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fromnoise.training.engine.CHECKS", 4)
    values = [float(k != best) for k in range(9)]
    monkeypatch.setattr(fn.FlowMatching, "validate", lambda *given: values.pop(0))
    model = fitted(budget="48 steps", keep_earlier=0.4)
    assert 0.4 <= model.earlier_share_ < 0.7
    assert ("are no earlier than" in caplog.text) == (best < 2)
    assert same(weights(model.earlier_), weights(model.networks_["network"])) == (best == 1)


@pytest.mark.parametrize("at", [0, 20])
def test_a_fit_that_diverges_keeps_weights_from_before(at: int) -> None:
    calls = []

    class Exploding(Silent):
        def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
            calls.extend([None] * self.training)
            return self.weight * x + (torch.inf if self.training and len(calls) > at else 0.0)

    model = fitted(y=None, network=Exploding(), autoguidance=2.0)
    assert model.status_ == "diverged"
    assert SHARE <= model.earlier_share_ <= 0.5 if at else model.earlier_share_ == 1
    assert np.isfinite(model.sample(5, random_state=0)).all()


def test_another_fit_forgets_it() -> None:
    model = fitted()
    model.set_params(keep_earlier=None).fit(VECTORS)
    assert model.earlier_ is None and model.earlier_share_ == 0


# --- that it lasts ----------------------------------------------------------------------------


@pytest.mark.parametrize("family", MODELS)
def test_it_is_saved_copied_and_left_out_of_a_clone(family: str, tmp_path: Any) -> None:
    model = fitted(family, autoguidance=2.0)
    others = [fn.load(model.save(tmp_path / "run")), copy.deepcopy(model)]
    others.append(pickle.loads(pickle.dumps(model)))
    for other in others:
        assert other.autoguidance == 2.0 and other.keep_earlier == SHARE
        assert other.earlier_share_ == model.earlier_share_
        assert same(weights(other.earlier_), weights(model.earlier_))
        assert other.earlier_ is not model.earlier_ and not other.earlier_.training
        drawn = (m.sample(9, random_state=0) for m in (other, model))
        assert np.array_equal(*drawn)
    assert not hasattr(clone(model), "earlier_") and clone(model).keep_earlier == SHARE


def test_a_model_without_it_is_saved_as_before(tmp_path: Any) -> None:
    tree = read_bundle(fitted(keep_earlier=None).save(tmp_path / "run"))
    assert "earlier" not in tree["learnt"]
    del tree["arguments"]["keep_earlier"], tree["arguments"]["autoguidance"]  # an older one
    old = fn.load(write_bundle(tmp_path / "old", tree))
    assert old.earlier_ is None and old.sample(2).shape == (2, 3)


@pytest.mark.parametrize("damage", ["NaN", "shape", "name"])
def test_damaged_earlier_weights_are_refused(damage: str, tmp_path: Any) -> None:
    tree = read_bundle(fitted().save(tmp_path / "run"))
    kept = tree["learnt"]["earlier"]["weights"]
    name = next(iter(kept))
    if damage == "NaN":
        kept[name] = np.full_like(kept[name], np.nan)
    elif damage == "shape":
        kept[name] = np.ones(7, np.float32)
    else:
        kept["other"] = kept.pop(name)
    with pytest.raises(ArtifactError):
        fn.load(write_bundle(tmp_path / "bad", tree))


class Stopped(Exception):
    r"""What a test stops a fit with, as a crash would."""


def stop_at(step: int) -> Any:
    def callback(record: Any) -> None:
        if record.step >= step:
            raise Stopped

    return callback


def learnt(folder: Any) -> dict[str, str]:
    tree = read_bundle(folder)["learnt"]
    return {name: digest(tree[name]) for name in ("networks", "earlier")}


@pytest.mark.parametrize(
    ("family", "at"), [("flow", 9), ("flow", 31), ("diffusion", 31)]
)  # before and after the share
def test_a_fit_that_goes_on_keeps_the_same_bits(family: str, at: int, tmp_path: Any) -> None:
    run = {"checkpoint_every": "7 steps", "run_dir": tmp_path / "part"}
    with pytest.raises(Stopped):
        fitted(family, callbacks=[stop_at(at)], **run)
    fitted(family, **run)
    whole = fitted(family).save(tmp_path / "whole")
    assert learnt(tmp_path / "part") == learnt(whole)


def test_another_share_is_another_fit(tmp_path: Any) -> None:
    run = {"checkpoint_every": "7 steps", "run_dir": tmp_path}
    with pytest.raises(Stopped):
        fitted(callbacks=[stop_at(20)], **run)
    with pytest.raises(DataError, match="another keep_earlier"):
        fitted(keep_earlier=0.5, **run)
    assert fitted(autoguidance=2.0, **run).earlier_share_ >= SHARE  # acts on samples only


def test_a_law_of_codes_is_guided_too(tmp_path: Any) -> None:
    prior = fn.FlowMatching(keep_earlier=0.2, autoguidance=3.0)
    model = fn.AutoEncoder(latent_dim=2, prior=prior, **SMALL).fit(VECTORS)
    for weight in model.prior_.earlier_.parameters():
        weight.mul_(0.5)
    drawn = model.sample(9, random_state=0)
    assert np.array_equal(fn.load(model.save(tmp_path / "run")).sample(9, random_state=0), drawn)
    model.prior_.set_params(autoguidance=1.0)
    assert not np.allclose(model.sample(9, random_state=0), drawn)


# --- arguments --------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0, 1, -0.1, math.nan, True, "half"])
def test_a_share_lies_between_0_and_1(share: Any) -> None:
    with pytest.raises(ValueError, match="keep_earlier must be"):
        fitted(keep_earlier=share)


@pytest.mark.parametrize("w", [math.inf, math.nan, "2", None, np.array([1.0, 2.0])])
def test_a_strength_is_a_finite_number(w: Any) -> None:
    with pytest.raises(ValueError, match=r"autoguidance (must be|takes no array)"):
        fitted(autoguidance=w)


def test_a_fit_that_would_keep_nothing_to_be_guided_by_is_refused_and_loses_nothing() -> None:
    model = fitted().set_params(autoguidance=2.0, keep_earlier=None)
    drawn = model.sample(5, random_state=0)
    with pytest.raises(ValueError, match="autoguidance needs"):
        model.fit(VECTORS, LABELS)
    assert np.array_equal(model.sample(5, random_state=0), drawn)


def test_without_an_earlier_network_it_is_refused_before_the_fit_and_after() -> None:
    told = r"autoguidance needs .* keep_earlier=0\.1"
    with pytest.raises(ValueError, match=told):
        fitted(keep_earlier=None, autoguidance=2.0)
    prior = fn.FlowMatching(autoguidance=2.0)
    with pytest.raises(ValueError, match=told):
        fn.AutoEncoder(prior=prior, **SMALL).fit(VECTORS)
    model = fitted(keep_earlier=None).set_params(autoguidance=2.0)
    with pytest.raises(ValueError, match=told):
        model.sample(2)
    with pytest.raises(ValueError, match=told):
        model.set_params(keep_earlier=0.5).sample(2)  # it was not when it was fitted
    mean = fn.FlowMatching(objective="mean-flow", solver="mean", keep_earlier=0.5, **SMALL)
    with pytest.raises(ValueError, match="guidance adds velocities"):
        mean.set_params(autoguidance=2.0).fit(VECTORS)


def test_families_that_move_noise_to_data_have_it() -> None:
    having = [
        name for name, cls in fn.families.FAMILIES.items() if issubclass(cls, EarlierNetwork)
    ]
    assert sorted(having) == sorted(MODELS)
