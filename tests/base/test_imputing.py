r"""Missing entries are drawn given what is seen; what is seen stays as it is."""

import math
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn

import fromnoise as fn
from fromnoise.base import latent_imputing
from fromnoise.base.imputing import RowNoise, packed_known
from fromnoise.base.latent_imputing import conditional_rows
from fromnoise.base.likelihoods import Bernoulli, Columns, DiscretisedLogistic, Gaussian
from fromnoise.data import fit_encoding

COVARIANCE = np.array([[1.0, 0.8, 0.3], [0.8, 1.0, 0.5], [0.3, 0.5, 1.0]])
X = np.random.default_rng(0).multivariate_normal([1.0, 2.0, 3.0], COVARIANCE, 600)
FAR = np.where(np.arange(600)[:, None] % 3 == 0, X, X - [4.0, 3.0, 0.0])
CLOSE = 0.03  # of a deviation; about four standard errors of 20,000 draws


def gmm(data: Any, y: Any = None, **arguments: Any) -> fn.GaussianMixture:
    return fn.GaussianMixture(**{"n_components": 2, "random_state": 0, **arguments}).fit(data, y)


def conditional(model: fn.GaussianMixture, x: np.ndarray) -> tuple[float, float]:
    r"""Return mean and deviation of the first column given the others."""
    k, d = model.means_.shape
    covariances = np.stack(
        [square(model.covariances_, model.mixture_.kind, c, d) for c in range(k)]
    )
    both = zip(model.means_, covariances, strict=True)
    joint = [multivariate_normal(m[1:], c[1:, 1:]).pdf(x[1:]) for m, c in both]
    weights = model.weights_ * joint / (model.weights_ * joint).sum()
    gain = np.stack([c[0, 1:] @ np.linalg.inv(c[1:, 1:]) for c in covariances])
    means = model.means_[:, 0] + (gain * (x[1:] - model.means_[:, 1:])).sum(1)
    variances = covariances[:, 0, 0] - (gain * covariances[:, 0, 1:]).sum(1)
    mean = weights @ means
    return mean, math.sqrt(weights @ (variances + means**2) - mean**2)


def square(covariances: np.ndarray, kind: str, k: int, d: int) -> np.ndarray:
    if kind in ("full", "tied"):
        return covariances if kind == "tied" else covariances[k]
    return np.diag(np.broadcast_to(covariances[k], d))


# --- the mixture is exact -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize(("data", "seen"), [(X, [3.0, 2.0]), (FAR, [0.6, 2.5])])
def test_a_mixture_draws_from_its_conditional(data: np.ndarray, seen: Any, kind: Any) -> None:
    model = gmm(data, covariance_type=kind)
    rows = np.tile([np.nan, *seen], (20_000, 1))
    drawn = model.impute(rows, random_state=0)[:, 0]
    mean, std = conditional(model, rows[0])
    assert abs(drawn.mean() - mean) < CLOSE * std
    assert abs(drawn.std() / std - 1) < CLOSE


def test_several_missing_columns_keep_their_covariance() -> None:
    model = gmm(X, n_components=1)
    drawn = model.impute(np.tile([np.nan, 3.0, np.nan], (20_000, 1)), random_state=0)[:, [0, 2]]
    full, (m, o) = model.covariances_[0], (np.array([0, 2]), 1)
    mean = model.means_[0][m] + full[m, o] / full[o, o] * (3.0 - model.means_[0][o])
    rest = full[np.ix_(m, m)] - np.outer(full[m, o], full[o, m]) / full[o, o]
    np.testing.assert_allclose(drawn.mean(0), mean, atol=CLOSE)
    np.testing.assert_allclose(np.cov(drawn.T), rest, atol=CLOSE)


def test_a_row_without_anything_is_a_sample() -> None:
    model, nothing = gmm(FAR), np.full((1500, 3), np.nan)
    filled = model.impute(nothing, random_state=5)
    np.testing.assert_array_equal(filled, model.sample(1500, random_state=5))


def mixed(n: int = 900) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    kind = rng.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    size = np.select([kind == "a", kind == "b"], [0.0, 2.0], 4.0) + rng.normal(size=n)
    table = pd.DataFrame({"size": size, "kind": pd.Categorical(kind)})
    table["price"] = 3 * size + rng.normal(size=n)
    table.loc[rng.random(n) < 0.3, "price"] = np.nan
    table.loc[rng.random(n) < 0.2, "kind"] = None
    return table


def test_categories_follow_bayes_and_are_never_missing() -> None:
    model = gmm(mixed(), n_components=3)
    row = pd.DataFrame(
        {"size": [1.5], "kind": pd.Categorical([None], ["a", "b", "c"]), "price": 3.0}
    )
    filled = model.impute(pd.concat([row] * 20_000, ignore_index=True), random_state=0)
    assert not filled["kind"].isna().any()
    whole = [row.assign(kind=pd.Categorical([k], ["a", "b", "c"])) for k in "abc"]
    each = [np.exp(model.score_samples(rows))[0] for rows in whole]
    share = filled["kind"].value_counts(normalize=True).reindex(["a", "b", "c"]).to_numpy()
    np.testing.assert_allclose(share, np.array(each) / sum(each), atol=0.02)


def test_values_that_may_be_missing_follow_the_rows_that_have_them() -> None:
    model, n = gmm(mixed(), n_components=3), 20_000
    row = pd.DataFrame(
        {"size": np.full(n, 1.0), "kind": pd.Categorical(["b"] * n, ["a", "b", "c"])}
    )
    filled = model.impute(row.assign(price=np.nan), random_state=0)["price"]
    assert not filled.isna().any()
    grid = np.linspace(-8, 14, 400)
    at = pd.DataFrame(
        {"size": 1.0, "kind": pd.Categorical(["b"] * 400, ["a", "b", "c"]), "price": grid}
    )
    density = np.exp(model.score_samples(at))
    mean = (density * grid).sum() / density.sum()
    std = math.sqrt((density * grid**2).sum() / density.sum() - mean**2)
    assert abs(filled.mean() - mean) < 0.05 * std
    assert abs(filled.std() / std - 1) < 0.05


def test_labels_choose_and_their_absence_sums() -> None:
    y = np.where(np.arange(600) % 3 == 0, "one", "two")
    model = gmm(FAR, y, n_components=1)
    rows = np.tile([np.nan, 0.6, 2.5], (20_000, 1))
    drawn = model.impute(rows, random_state=0)[:, 0]
    mean, std = conditional(model, rows[0])
    assert abs(drawn.mean() - mean) < CLOSE * std
    for k, label in enumerate(model.classes_):
        alone = gmm(FAR[y == label], n_components=1)
        mean, std = conditional(alone, rows[0])
        drawn = model.impute(rows, label, random_state=0)[:, 0]
        assert abs(drawn.mean() - mean) < CLOSE * std, k


def test_a_continuous_label_is_seen_too() -> None:
    model, joint = gmm(X[:, :2], X[:, 2], n_components=1), gmm(X, n_components=1)
    rows = np.tile([np.nan, 3.0], (20_000, 1))
    for label, against in ((1.0, [np.nan, 3.0, 1.0]), (None, [np.nan, 3.0, np.nan])):
        drawn = model.impute(rows, label, random_state=0)[:, 0]
        other = joint.impute(np.tile(against, (20_000, 1)), random_state=1)[:, 0]
        assert abs(drawn.mean() - other.mean()) < 2 * CLOSE
        assert abs(drawn.std() / other.std() - 1) < 2 * CLOSE


# --- what comes back ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", ">f8"])
def test_seen_numbers_stay_to_the_bit(dtype: str) -> None:
    rows = X[:40].astype(dtype)
    mask = np.random.default_rng(0).random(rows.shape) < 0.4
    holed = rows.copy()
    holed[mask] = np.nan
    filled = gmm(X).impute(holed, random_state=0)
    assert filled.dtype == rows.dtype
    np.testing.assert_array_equal(filled[~mask].view("u1"), rows[~mask].view("u1"))
    assert np.isfinite(filled).all()
    assert np.isnan(holed[mask]).all()  # what was given is not written to


def test_lists_tensors_and_integers() -> None:
    model = gmm(X)
    assert isinstance(model.impute([[1.0, np.nan, 2.0]], random_state=0), np.ndarray)
    tensor = torch.from_numpy(X[:4].astype(np.float32))
    tensor[0, 1] = torch.nan
    filled = model.impute(tensor, random_state=0)
    assert filled.dtype == torch.float32
    assert torch.equal(filled[1:], tensor[1:])
    counts = np.random.default_rng(0).poisson(20, (200, 3))
    drawn = gmm(counts).impute(counts, mask=np.arange(600).reshape(200, 3) % 5 == 0)
    assert drawn.dtype == counts.dtype
    floats = counts.astype(float)
    floats[0, 0] = np.nan
    assert float(gmm(counts).impute(floats)[0, 0]).is_integer()


def table(n: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    days = pd.to_timedelta(rng.integers(0, 900, n), "D")
    return pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "count": rng.integers(0, 1000, n),
            "exact": 2**53 + rng.integers(0, 1000, n) * 2 + 1,
            "nullable": pd.array(rng.integers(0, 5, n), "Int64"),
            "kind": pd.Categorical(rng.choice(["x", "y"], n), ["y", "x", "z"]),
            "text": rng.choice(["u", "v"], n),
            "flag": rng.random(n) < 0.3,
            "day": (pd.Timestamp("2020-01-01", tz="Europe/Rome") + days).as_unit("us"),
            "same": 7,
        },
    )


def test_tables_come_back_as_they_were() -> None:
    given = table()
    model = gmm(given)
    mask = np.random.default_rng(3).random(given.shape) < 0.3
    turned = given[given.columns[::-1]].set_axis(np.arange(200)[::-1])
    filled = model.impute(turned, mask=mask, random_state=0)
    assert filled.columns.equals(turned.columns)
    assert filled.index.equals(turned.index)
    assert (filled.dtypes == turned.dtypes).all()
    for column, name in enumerate(turned):
        keep = ~mask[:, column]
        assert filled[name][keep].equals(turned[name][keep]), name
        assert not filled[name].isna().any()
    assert (filled["same"] == 7).all()
    assert set(filled["kind"]) == {"x", "y"}
    changed = [
        (filled[n][mask[:, i]] != turned[n][mask[:, i]]).any() for i, n in enumerate(turned)
    ]
    assert changed == [name != "same" for name in turned]


def test_missing_entries_of_any_dtype_are_found() -> None:
    given = table()
    model = gmm(given)
    mask = np.random.default_rng(3).random(given.shape) < 0.3
    holed = given.mask(mask)
    filled = model.impute(holed, random_state=0)
    assert (filled.dtypes == holed.dtypes).all()
    assert not filled.isna().any().any()
    assert filled["count"].map(float.is_integer).all()
    blank = holed.assign(text=None, size=np.nan)
    assert set(model.impute(blank, random_state=0)["text"]) == {"u", "v"}


def test_polars_comes_back_as_polars() -> None:
    given = table().drop(columns=["exact"])
    frame = pl.from_pandas(given)
    model = gmm(frame)
    holed = pl.from_pandas(given.mask(np.random.default_rng(3).random(given.shape) < 0.3))
    filled = model.impute(holed, random_state=0)
    assert filled.schema == holed.schema
    assert sum(filled.null_count().row(0)) == 0
    seen = [
        filled[n].filter(holed[n].is_not_null()).equals(holed[n].drop_nulls())
        for n in holed.columns
    ]
    assert all(seen)


def test_nothing_missing_is_a_copy() -> None:
    model, rows = gmm(X), X[:5].copy()
    filled = model.impute(rows)
    np.testing.assert_array_equal(filled, rows)
    filled[:] = 0
    assert rows.all()
    frame = mixed().set_axis(np.arange(900) + 5).dropna()
    assert gmm(mixed()).impute(frame).equals(frame)


def test_a_draw_depends_on_its_row_and_its_place_alone() -> None:
    model, rng = gmm(FAR, n_components=3), np.random.default_rng(0)
    rows = np.resize(FAR, (2100, 3))
    rows[rng.random(rows.shape) < 0.4] = np.nan
    whole = model.impute(rows, random_state=0)
    np.testing.assert_array_equal(model.impute(rows[:1500], random_state=0), whole[:1500])
    other = rows.copy()
    other[::2] = X[0]
    np.testing.assert_array_equal(model.impute(other, random_state=0)[1::2], whole[1::2])
    assert (model.impute(rows, random_state=1) != whole).any()
    twice = model.impute(np.tile([np.nan, 1.0, 2.0], (2, 1)), random_state=0)[:, 0]
    assert twice[0] != twice[1]


# --- masks and refusals -------------------------------------------------------------------------


def test_anything_may_stand_under_a_mask_and_nothing_counts() -> None:
    model, mask = gmm(X), np.zeros((5, 3), bool)
    mask[:, 1] = True
    wild = np.where(mask, np.inf, X[:5])
    wild[0, 1] = 1e200
    np.testing.assert_array_equal(
        model.impute(wild, mask=mask, random_state=0),
        model.impute(np.where(mask, np.nan, X[:5]), random_state=0),
    )
    frame, mask = table(), np.zeros((200, 9), bool)
    mask[::2, [4, 5]] = True
    odd = frame.assign(
        text=np.where(mask[:, 5], "?", frame["text"]), kind=frame["kind"].astype(str)
    )
    odd.loc[mask[:, 4], "kind"] = "unknown"
    assert set(gmm(frame).impute(odd, mask=mask)["text"]) == {"u", "v"}


def test_what_is_seen_is_checked() -> None:
    mask = np.zeros((5, 3), bool)
    mask[:, 1] = True
    for bad, message in ((np.nan, "column 0"), (np.inf, "Column 0")):
        rows = X[:5].copy()
        rows[3, 0] = bad
        with pytest.raises(fn.DataError, match=message):
            gmm(X).impute(rows, mask=mask)
    with pytest.raises(fn.DataError, match="3 features"):
        gmm(X).impute(X[:, :2])
    with pytest.raises(fn.DataError, match="'w', which was not in fit"):
        gmm(table()).impute(table().assign(text="w"))
    with pytest.raises(fn.DataError, match="feature names"):
        gmm(table()).impute(table().drop(columns="text"))
    with pytest.raises(fn.DataError, match="without labels"):
        gmm(X).impute(X, y="a")


@pytest.mark.parametrize("mask", [np.zeros((5, 2), bool), np.zeros((5, 3)), np.zeros(5, bool)])
def test_a_mask_that_does_not_fit_is_refused(mask: np.ndarray) -> None:
    with pytest.raises(fn.DataError, match=r"mask must be of bools.*\(5, 3\)"):
        gmm(X).impute(X[:5], mask=mask)


def test_with_a_mask_what_else_is_missing_is_a_fact() -> None:
    holed = X.copy()
    holed[::4, 0] = np.nan
    model, mask = gmm(holed, missing="model"), np.zeros(holed.shape, bool)
    mask[:, 1] = True
    filled = model.impute(holed, mask=mask, random_state=0)
    np.testing.assert_array_equal(filled[:, [0, 2]], holed[:, [0, 2]])
    assert not np.isnan(model.impute(holed, random_state=0)).any()
    frame = mixed()
    mask = np.zeros(frame.shape, bool)
    mask[:, 0] = True
    filled = gmm(frame).impute(frame, mask=mask, random_state=0)
    assert filled[["kind", "price"]].equals(frame[["kind", "price"]])
    assert (filled["size"] != frame["size"]).all()


def test_a_column_that_fit_never_saw_stays_missing() -> None:
    never = np.column_stack([X, np.full(600, np.nan)])
    filled = gmm(never, missing="model").impute(np.where(never > 3, np.nan, never))
    assert np.isnan(filled[:, 3]).all()
    assert np.isfinite(filled[:, :3]).all()


# --- images -------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["first", "last", "none"])
def test_masks_of_images_may_leave_channels_out(layout: str) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 5, 6)).astype(np.uint8)
    axis = {"first": 1, "last": 3, "none": 0}[layout]
    images = pixels if layout == "none" else np.stack([pixels, 255 - pixels, pixels], axis)
    model, gone = gmm(images), rng.random(pixels.shape) < 0.3
    filled = model.impute(images, mask=gone, random_state=0)
    wide = gone if layout == "none" else np.expand_dims(gone, axis)
    full = np.broadcast_to(wide, images.shape)
    assert filled.dtype == images.dtype
    np.testing.assert_array_equal(filled[~full], images[~full])
    assert (filled[full] != images[full]).mean() > 0.9
    np.testing.assert_array_equal(model.impute(images, mask=full, random_state=0), filled)
    holed = np.where(full, np.nan, images)
    np.testing.assert_array_equal(model.impute(holed, random_state=0), filled)
    with pytest.raises(fn.DataError, match="mask"):
        model.impute(images, mask=full[:50])
    with pytest.raises(fn.DataError, match="Expected pixels"):
        model.impute(holed, mask=np.zeros_like(full))


def test_images_agree_with_their_pixels_as_vectors() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(500, 1)) + 0.3 * rng.normal(size=(500, 6))
    model = gmm(base.reshape(500, 2, 3), n_components=1)
    rows = np.full((20_000, 2, 3), 0.8)
    rows[:, 0, 1] = np.nan
    drawn = model.impute(rows, random_state=0)[:, 0, 1]
    full = np.cov(base.T, bias=True)
    keep = [0, 2, 3, 4, 5]
    gain = full[1, keep] @ np.linalg.inv(full[np.ix_(keep, keep)])
    std = math.sqrt(full[1, 1] - gain @ full[keep, 1])
    assert abs(drawn.mean() - (base.mean(0)[1] + gain @ (0.8 - base.mean(0)[keep]))) < 0.05 * std
    assert abs(drawn.std() / std - 1) < 0.05


# --- the VAE ------------------------------------------------------------------------------------

D, K, SIGMA = 5, 2, 0.6
W = torch.tensor([[1.0, 0.5], [-2.0, 0.25], [0.0, 1.5], [1.0, 0.0], [0.5, 0.0]]).double()
CENTRE = torch.arange(5).double() / 4


def linear_vae(shift: float, stretch: float) -> fn.VAE:
    r"""Return x = W z + c + σ ε, its q off by a shift and a factor of the variance."""
    with torch.random.fork_rng(devices=[]):
        pair = (nn.Linear(D, 2 * K), nn.Linear(K, D))
    model = fn.VAE(network=pair, latent_dim=K, budget="1 steps", random_state=0)
    model.fit(np.random.default_rng(0).normal(size=(50, D)))
    networks = model.networks_.double()
    precision = torch.eye(K) + W.T @ W / SIGMA**2
    gain = torch.linalg.inv(precision) @ W.T / SIGMA**2
    networks["encoder"].weight.copy_(torch.cat([gain, torch.zeros(K, D)]))
    log_variance = (stretch / precision.diagonal()).log()
    networks["encoder"].bias.copy_(torch.cat([shift - gain @ CENTRE, log_variance]))
    networks["decoder"].weight.copy_(W)
    networks["decoder"].bias.copy_(CENTRE)
    for moments in (model.moments, model.observation.scale):
        moments.mean.zero_()
        moments.std.fill_(1)
    model.observation.log_sigma.fill_(math.log(SIGMA))
    return model


@torch.no_grad()
def linear_draws(model: fn.VAE, x: torch.Tensor, known: torch.Tensor, n: int) -> torch.Tensor:
    rows = x.expand(n, -1)
    noise = RowNoise(0, torch.arange(n), rows)
    return conditional_rows(
        model, rows, known.expand(n, -1), [(None, 0.0)], noise, filler=CENTRE, noisy=True
    )


@pytest.mark.parametrize(("shift", "stretch"), [(0.0, 1.0), (0.3, 1.7), (0.5, 0.5)])
@pytest.mark.parametrize("known", [[True, False, True, False, False], [True] * 4 + [False]])
def test_a_linear_vae_draws_from_the_gaussian_it_is(
    shift: float, stretch: float, known: list[bool]
) -> None:
    o, n = torch.tensor(known), 2500
    x = torch.tensor([1.5, -1.0, -2.0, 1.0, 0.0]).double()
    drawn = linear_draws(linear_vae(shift, stretch), x, o, n)
    assert (drawn[:, o] == x[o]).all()
    full, m = W @ W.T + SIGMA**2 * torch.eye(D), ~o
    gain = full[m][:, o] @ torch.linalg.inv(full[o][:, o])
    rest = full[m][:, m] - gain @ full[o][:, m]
    std = rest.diagonal().sqrt()
    error = (drawn[:, m].mean(0) - CENTRE[m] - gain @ (x[o] - CENTRE[o])) / std
    assert error.abs().max() < 0.08  # four standard errors
    assert (
        (torch.cov(drawn[:, m].T).reshape_as(rest) - rest) / std / std[:, None]
    ).abs().max() < 0.1


@pytest.mark.parametrize("kind", ["sliced", "turned"])
def test_each_kind_of_turn_keeps_the_law(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Turns of one kind alone, of a q that is off, leave exact draws exact."""
    n, model = 4000, linear_vae(0.3, 1.7)
    o = torch.tensor([True, False, True, False, False])
    x = torch.tensor([1.5, 0.0, -2.0, 0.0, 0.0]).double().expand(n, -1)
    precision = torch.eye(K) + W[o].T @ W[o] / SIGMA**2
    mean = torch.linalg.solve(precision, W[o].T @ (x[0, o] - CENTRE[o]) / SIGMA**2)
    law = torch.distributions.MultivariateNormal(mean, precision_matrix=precision)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        z = law.sample((n,))
        noise = RowNoise(1, torch.arange(n), x)
        chain = latent_imputing._Chain(model, x, o.expand(n, -1), None, noise)
        for _ in range(5):
            z = getattr(chain, kind)(z)
    assert ((z.mean(0) - mean) / law.stddev).abs().max() < 0.07
    assert (torch.cov(z.T) / law.covariance_matrix - 1).abs().max() < 0.15


@pytest.mark.parametrize("prior", ["vamp", fn.GaussianMixture(n_components=2)])
def test_other_priors_and_labels_are_taken_along(prior: Any) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    rows = np.where(y, 3.0, -3.0)[:, None] + 0.3 * rng.normal(size=(400, 3))
    vae = fn.VAE(latent_dim=2, network="small", budget="100 steps", prior=prior, random_state=0)
    model = vae.fit(rows)
    holed = rows[:40].copy()
    holed[:, 0] = np.nan
    filled = model.impute(holed, random_state=0)
    assert np.abs(filled[:, 0] - np.where(y[:40], 3.0, -3.0)).max() < 2
    assert 0.15 < (filled[:, 0] - np.where(y[:40], 3.0, -3.0)).std() < 0.6


def test_a_conditional_vae_finds_the_label_that_fits() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    rows = np.where(y, 3.0, -3.0)[:, None] + 0.3 * rng.normal(size=(400, 3))
    vae = fn.VAE(latent_dim=2, network="small", budget="100 steps", random_state=0)
    model = vae.fit(rows, y)
    holed = rows[:40].copy()
    holed[:, 0] = np.nan
    aim = np.where(y[:40], 3.0, -3.0)
    assert np.abs(model.impute(holed, random_state=0)[:, 0] - aim).max() < 2
    assert np.abs(model.impute(holed, y[:40], random_state=0)[:, 0] - aim).max() < 2
    numbers = vae.set_params(budget="2 steps").fit(rows, y.astype(float))
    with pytest.raises(fn.DataError, match="Pass y"):
        numbers.impute(holed)


def test_a_vae_fills_tables_with_entries_that_fit() -> None:
    data = mixed()
    model = fn.VAE(latent_dim=2, network="small", budget="200 steps", random_state=0).fit(data)
    data = data[data["price"].isna() | data["kind"].isna()].head(192)
    gone = data["price"].isna()
    filled = model.impute(data, random_state=0)
    assert not filled.isna().any().any()
    assert filled["price"][~gone].equals(data["price"][~gone])
    assert np.corrcoef(filled["size"][gone], filled["price"][gone])[0, 1] > 0.75
    lost = data["kind"].isna()
    means = filled[lost].groupby("kind", observed=True)["size"].mean()
    assert means["a"] < means["b"] < means["c"]


@pytest.mark.parametrize(
    ("likelihood", "width"),
    [(Gaussian((3,)), 3), (Bernoulli((3,)), 3), (DiscretisedLogistic((1, 1, 3)), 3)],
)
def test_known_entries_are_parts_of_the_whole(likelihood: Any, width: int) -> None:
    g = torch.Generator().manual_seed(0)
    out = torch.randn(2, 4, *likelihood.out_shape, generator=g)
    x = torch.rand(2, *likelihood.shape, generator=g)
    each = []
    for column in range(width):
        known = torch.zeros(width, dtype=torch.bool)
        known[column] = True
        each.append(likelihood.log_prob_of(out, x, known.expand_as(x)))
    torch.testing.assert_close(sum(each), likelihood.log_prob(out, x))


def test_a_category_is_known_as_far_as_it_is() -> None:
    likelihood = Columns(gates=(0,), cardinalities=(3,))
    out = torch.randn(1, 2, 4, generator=torch.Generator().manual_seed(0))
    share = out[0, :, 1:].softmax(1)
    x = torch.tensor([[0.4, 1.0, -1.0, -1.0]])
    whole = likelihood.log_prob_of(out, x, torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(whole, likelihood.log_prob(out, x))
    known = torch.tensor([[False, False, True, False]])  # it is not the second
    open_ = likelihood.log_prob_of(out, x, known)
    torch.testing.assert_close(open_[0].exp(), share[:, 0] + share[:, 2])


def test_a_gap_is_known_to_be_no_gap() -> None:
    encoding = fit_encoding(mixed())
    rows = pd.DataFrame(
        {
            "size": [0.0, 1.0],
            "kind": pd.Categorical([None, "b"], ["a", "b", "c"]),
            "price": [np.nan, 2.0],
        }
    )
    x, known = packed_known(encoding, encoding.partial(rows))
    assert encoding.cardinalities == (4, 2)
    assert known.tolist() == [
        [True, False, False, False, False, True, True, True],
        [True] * 8,
    ]
    assert x[0, 5:].tolist() == [-1, 1, -1]


# --- flows and diffusion ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        fn.Diffusion(network="small", budget="500 steps", random_state=0),
        fn.FlowMatching(network="small", budget="500 steps", random_state=0),
    ],
)
def test_a_trained_field_draws_from_about_the_conditional(model: Any) -> None:
    rows = np.random.default_rng(0).multivariate_normal([2, -10], [[1, 8], [8, 100]], 4000)
    model.fit(rows)
    learnt = np.cov(model.sample(8000, random_state=1).T)  # what it knows, rightly or not
    mean, std = rows.mean(0), math.sqrt(learnt[0, 0] - learnt[0, 1] ** 2 / learnt[1, 1])
    holed = np.tile([np.nan, 0.0], (320, 1))
    drawn = model.impute(holed, random_state=0)[:, 0]
    assert abs(drawn.mean() - mean[0] - learnt[0, 1] / learnt[1, 1] * -mean[1]) < 0.2 * std
    assert abs(drawn.std() / std - 1) < 0.12
    again = model.impute(holed[:20], random_state=0)[:, 0]
    np.testing.assert_allclose(again, drawn[:20], atol=1e-4)


def test_fields_fill_categories_with_entries_only() -> None:
    data = mixed()
    model = fn.Diffusion(network="small", budget="300 steps", random_state=0).fit(data)
    some = data[data["price"].isna() | data["kind"].isna()].head(128)
    filled = model.impute(some, random_state=0)
    assert not filled.isna().any().any()
    gone = some["price"].isna()
    assert np.corrcoef(filled["size"][gone], filled["price"][gone])[0, 1] > 0.8
    means = filled[some["kind"].isna()].groupby("kind", observed=True)["size"].mean()
    assert means["a"] < means["b"] < means["c"]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (fn.GAN(), "density"),
        (fn.AutoEncoder(prior=fn.GaussianMixture()), "point"),
        (fn.VAE(prior=fn.FlowMatching()), "importance draws"),
        (fn.FlowMatching(coupling="optimal-transport"), "independent"),
        (fn.FlowMatching(bridge_noise=0.1), "bridge_noise"),
    ],
)
def test_who_cannot_says_why(model: Any, reason: str) -> None:
    assert not hasattr(model, "impute")
    with pytest.raises(AttributeError, match=rf"has no impute.*{reason}.*ha[sv]"):
        model.impute(X)


def test_the_coupling_of_the_fit_decides() -> None:
    model = fn.FlowMatching(network="small", budget="2 steps", coupling="optimal-transport").fit(X)
    assert not hasattr(model.set_params(coupling="independent"), "impute")
    model.set_params(coupling="auto").fit(X)
    assert hasattr(model.set_params(coupling="optimal-transport"), "impute")
