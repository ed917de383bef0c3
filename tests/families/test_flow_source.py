r"""Flows from rows to rows: the exact map between Gaussians, toy sets, containers, saving."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.base import clone

import fromnoise as fn
from fromnoise.base import field
from fromnoise.metrics import energy_distance
from fromnoise.transport.paths import LINEAR, bridge, detour
from transport_fields import Silent

RNG = np.random.default_rng(0)
LOW = RNG.normal([5.0, -3.0], [2.0, 2.0], (3000, 2))
HIGH = RNG.normal([-1.0, 40.0], [0.5, 9.0], (3000, 2))


def small(**arguments: Any) -> fn.FlowMatching:
    given = {"network": "small", "random_state": 0, "budget": "2 steps", **arguments}
    return fn.FlowMatching(**given)


def silent(X: Any, source: Any, **arguments: Any) -> fn.FlowMatching:
    return small(network=Silent(), learning_rate=1e-9, source=source, **arguments).fit(X)


# --- between Gaussians ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [{}, {"path": "vp-cosine"}, {"bridge_noise": 0.5}, {"coupling": "independent"}]
)
def test_a_silent_network_is_the_map_between_independent_gaussians(arguments: Any) -> None:
    model = silent(HIGH, LOW, **arguments)
    there = model.transport(LOW[:500])
    exact = HIGH.mean(0) + HIGH.std(0) / LOW.std(0) * (LOW[:500] - LOW.mean(0))
    # Moments are taken over the training rows and over 10,000 draws of the source.
    assert np.abs((there - exact) / HIGH.std(0)).max() < 0.15
    np.testing.assert_allclose(model.transport(there, backwards=True), LOW[:500], atol=0.02)
    drawn = model.sample(4000, random_state=0)
    assert np.abs((drawn.mean(0) - HIGH.mean(0)) / HIGH.std(0)).max() < 0.06
    np.testing.assert_allclose(drawn.std(0), HIGH.std(0), rtol=0.05)


def test_images_are_mapped_pixel_by_pixel() -> None:
    low = RNG.normal([[3.0, 1.0], [2.0, 5.0]], 0.5, (800, 2, 2))
    high = RNG.normal([[8.0, 2.0], [4.0, 4.0]], 1.0, (800, 2, 2))
    high[:2] = low.min() - 1, high.max() + 1  # the range of the pixels holds both
    there = silent(high, low).transport(low[:100])
    exact = high.mean(0) + high.std(0) / low.std(0) * (low[:100] - low.mean(0))
    assert np.abs(there - exact).max() < 0.3


def test_codes_are_places_of_the_source_in_units_of_the_data() -> None:
    model = silent(HIGH, LOW)
    codes = model.encode(model.transport(LOW[:50]))
    mean, std = model.moments.mean.numpy(), model.moments.std.numpy()
    shift, scale, _ = model.encoding_.linear()
    np.testing.assert_allclose(shift + scale * (mean + std * codes), LOW[:50], atol=0.02)


def test_samples_start_from_rows_of_the_source_as_often_as_they_stand_there() -> None:
    source = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [6.0, 1.0]])
    model = silent(HIGH, source)
    drawn = model.sample(2000, random_state=0)
    ends, counts = np.unique(drawn.round(4), axis=0, return_counts=True)
    assert len(ends) == 2
    assert counts.max() / 2000 == pytest.approx(0.75, abs=0.04)
    assert (model.sample(3, random_state=0) == drawn[:3]).all()
    assert not (model.sample(30, random_state=1) == drawn[:30]).all()
    assert not (drawn[1024:1124] == drawn[:100]).all()  # another block has other rows


# --- learning ---------------------------------------------------------------------------------


def test_eight_gaussians_become_moons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field, "EXACT_STEPS", 16)
    source, moons = fn.data.load("8gaussians").X, fn.data.load("moons").X
    rival = fn.GaussianMixture(n_components=1).fit(moons[:4000]).sample(2000, random_state=0)
    floor = energy_distance(moons[4000:6000], rival)
    model = small(source=source[:4000], budget="400 steps").fit(moons[:4000])
    there = model.transport(source[4000:6000])
    for rows in (there, model.sample(2000, random_state=0)):
        assert energy_distance(moons[4000:6000], rows).high < floor.low
    # The coupling is by optimal transport, and so is the flow, nearly.
    table = cdist(source[4000:5000], moons[4000:5000], "sqeuclidean")
    least = table[linear_sum_assignment(table)].mean()
    moved = np.square(there - source[4000:6000]).sum(1).mean()
    assert 0.9 * least < moved < 1.1 * least


def test_labels_choose_where_the_source_goes() -> None:
    y = np.arange(1000) % 2
    X = RNG.normal(np.where(y, 4.0, -4.0)[:, None], 0.3, (1000, 1))
    model = small(source=X[:300], budget="150 steps", coupling="optimal-transport").fit(X, y)
    assert (model.transport(X[:50], 1) > 1).mean() > 0.9
    assert (model.sample(50, y=0, random_state=0) < -1).mean() > 0.9


def test_the_loss_has_the_noise_on_the_way() -> None:
    model = silent(HIGH, LOW, bridge_noise=0.3, coupling="independent")
    x_0, x_1 = torch.randn(2, 64, 2, generator=torch.Generator().manual_seed(3))
    loss = model.loss((x_0, x_1), None, 1.0, torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    t = fn.transport.times.uniform_times(64, generator)[:, None]
    z = torch.randn(64, 2, generator=generator)
    x_t = (1 - t) * x_0 + t * x_1 + 0.3 * torch.sin(torch.pi * t) ** 2 * z
    u_t = x_1 - x_0 + 0.3 * torch.pi * torch.sin(2 * torch.pi * t) * z
    v = model.velocity(x_t, t.squeeze(1), None)
    torch.testing.assert_close(loss, (v - u_t).square().mean())
    twin = bridge(detour(LINEAR, 0.3), x_0, x_1, t.squeeze(1), z)
    torch.testing.assert_close(twin, (x_t, u_t))


# --- containers, saving, errors ---------------------------------------------------------------


def frame(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"size": rng.normal(seed, 1, n), "kind": rng.choice(["a", "b"], n), "n": np.arange(n)}
    )


def pixels(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (n, 5, 6, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("X", "source"),
    [
        (HIGH[:60], LOW[:40]),
        (torch.from_numpy(HIGH[:60]), torch.from_numpy(LOW[:40])),
        (HIGH[:60], LOW[:40].tolist()),
        (frame(60, 0), frame(40, 1)),
        (pixels(12, 0), pixels(3, 1)),
        (fn.data.images(pixels(12, 0), "last"), fn.data.images(pixels(3, 1), "last")),
    ],
    ids=["array", "torch", "list", "table", "images", "named images"],
)
def test_every_container_is_a_source_and_is_saved(
    X: Any, source: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field, "EXACT_STEPS", 4)
    model = clone(small(source=source)).fit(X)
    loaded = fn.load(model.save(tmp_path / "run"))
    rows = np.asarray(source) if isinstance(source, list) else source
    there = model.transport(rows)
    assert type(there) is type(model.sample(2))
    assert fn.data.n_rows(there) == fn.data.n_rows(rows)
    for one, other in (
        (loaded.sample(5, random_state=0), model.sample(5, random_state=0)),
        (loaded.transport(rows), there),
    ):
        assert (np.asarray(one) == np.asarray(other)).all()
    assert type(loaded.source) is type(source) or isinstance(source, list)
    again = loaded.fit(X).sample(5, random_state=0)
    assert (np.asarray(again) == np.asarray(model.sample(5, random_state=0))).all()


def test_what_is_saved_is_what_was_fitted(tmp_path: Any) -> None:
    model = small(source=LOW[:50]).fit(HIGH[:50])
    before = model.sample(5, random_state=0)
    changed = model.set_params(source=None)
    assert hasattr(changed, "transport")
    assert (changed.sample(5, random_state=0) == before).all()
    loaded = fn.load(changed.save(tmp_path / "run"))
    assert (loaded.sample(5, random_state=0) == before).all()


@pytest.mark.parametrize("name", ["score_samples", "score", "score_kind_"])
def test_there_is_no_density_with_a_source(name: str) -> None:
    for model in (small(source=LOW), small(source=LOW[:50]).fit(HIGH[:50])):
        assert not hasattr(model, name)
        with pytest.raises(AttributeError, match=r"no score_samples|no score .* has"):
            getattr(model, name)


def test_noise_is_decoded_and_not_transported() -> None:
    for model in (small(), small().fit(HIGH[:50])):
        with pytest.raises(AttributeError, match=r"FlowMatching\(source=rows\), has transport"):
            model.transport(LOW)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": LOW[:, :1]}, "The source does not match the data: X has 1 features"),
        ({"source": LOW * np.nan}, "The source does not match the data"),
        ({"source": "moons"}, "The source does not match the data"),
        ({"source": fn.GaussianMixture()}, "source takes rows, .* got GaussianMixture"),
        ({"source": LOW, "temperature": 0.5}, "temperature"),
        ({"bridge_noise": -1.0}, "bridge_noise"),
        ({"bridge_noise": 0.1, "guidance_rescale": 0.5}, "guidance_rescale"),
    ],
)
def test_bad_sources_get_clear_errors(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**arguments).fit(HIGH[:50])


def test_a_column_that_varies_in_the_source_alone_is_refused() -> None:
    fixed = np.c_[HIGH[:50], np.full(50, 7.0)]
    source = np.c_[LOW[:50], np.r_[np.full(48, 7.0), 1.0, 2.0]]
    with pytest.raises(
        fn.DataError, match="2 rows of the source differ from the data in a column"
    ):
        small(source=source).fit(fixed)
    small(source=source[:48]).fit(fixed)
