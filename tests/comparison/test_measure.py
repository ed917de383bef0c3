r"""The same features and metrics for every row: what they see, and what they say of known sets."""

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from fromnoise.comparison.jobs import Split
from fromnoise.comparison.measure import RANKED_BY, Measure, likelihood

RNG = np.random.default_rng(0)
NAMES = {"energy_distance", "sliced_wasserstein", "mmd", "coverage", "c2st", "copying"}


def vectors(n=240):
    X = RNG.normal(size=(n, 2)) * [1, 1000]
    return Measure("vectors", Split(X[:160], None, X[160:], None), None, 0)


def test_equal_distributions_are_told_from_others():
    measure = vectors()
    fresh = measure.numbers(RNG.normal(size=(100, 2)) * [1, 1000])
    far = measure.numbers(RNG.normal(1, 1, size=(100, 2)) * [1, 1000])
    good, bad = measure.metrics(fresh), measure.metrics(far)
    assert set(good) == NAMES
    for name in ("energy_distance", "sliced_wasserstein", "mmd", "c2st"):
        assert good[name].value < bad[name].value, name
    assert good["coverage"].value > bad["coverage"].value
    assert measure.metrics(measure.train[:80])["copying"].value == 1.0
    assert good["copying"].high > 0 > good["copying"].low - 0.3


def test_units_do_not_matter():
    # The second column is a thousand times the first: standardised, both count alike.
    measure = vectors()
    assert measure.train.std(0) == pytest.approx([1, 1], rel=0.1)


def test_what_is_not_finite_is_not_measured():
    measure = vectors()
    fake = measure.numbers(RNG.normal(size=(50, 2)))
    fake[3, 1] = np.nan
    assert measure.metrics(fake) == {}


def test_a_metric_without_a_number_costs_no_other(caplog):
    X = np.ones((60, 2))
    measure = Measure("vectors", Split(X[:30], None, X[30:], None), None, 0)
    assert set(measure.metrics(measure.test)) == NAMES - {"mmd"}  # equal rows have no scale
    assert "mmd" in caplog.text


def test_halves_are_disjoint_and_of_the_held_out_rows():
    measure = vectors()
    first, second = measure.halves()
    together = np.concatenate([first, second])
    assert len(first) == len(second) == 40
    assert np.array_equal(np.sort(together, axis=0), np.sort(measure.test, axis=0))
    assert np.array_equal(measure.halves()[0], first)


def test_the_label_of_a_table_is_measured_once_as_a_column():
    frame = pd.DataFrame({"a": RNG.normal(size=60)})
    y = pd.Series(RNG.choice(["p", "q"], 60), name="kind")
    split = Split(frame[:40], y[:40], frame[40:], y[40:])
    measure = Measure("table", split, "kind", 0)
    joined = measure.rows(frame, y)
    assert joined.columns.tolist() == ["a", "kind"]
    assert measure.rows(joined) is joined  # drawn without a condition: the label is in it
    assert np.array_equal(measure.numbers(frame, y), measure.numbers(joined))
    assert measure.train.shape[1] > 1


def test_neighbours_are_the_nearest_training_rows():
    measure = vectors()
    X = np.asarray(measure.train[[5, 3, 9]])  # features, close to the rows they come from
    split = Split(np.arange(320.0).reshape(160, 2), None, None, None)
    drawn, near = measure.neighbours(X + 1e-9, np.ones((3, 2)), None, split)
    assert near.tolist() == split.train[[5, 3, 9]].tolist() and drawn.shape == (3, 2)


def test_images_are_measured_by_their_components():
    X = RNG.integers(0, 256, (90, 5, 7)).astype(np.uint8)
    measure = Measure("images", Split(X[:60], None, X[60:], None), None, 0)
    found = measure.metrics(measure.numbers(X[:30]))
    assert set(found) == {f"{name}_pca" for name in NAMES}
    assert RANKED_BY["images"] in found
    assert measure.rows(X[:3]).shape == (3, 1, 5, 7)


def test_likelihood_is_a_mean_with_its_interval():
    log_p = RNG.normal(-3, 2, 400)
    found = likelihood(log_p)
    half = 1.96 * log_p.std(ddof=1) / 20
    assert found.value == pytest.approx(log_p.mean()) and found.better == "higher"
    assert (found.low, found.high) == pytest.approx((log_p.mean() - half, log_p.mean() + half))
    assert likelihood(np.array([1.0, -np.inf, 2.0])) is None
    assert likelihood(np.array([1.0])) is None


# --- reconstructions --------------------------------------------------------------------------


def test_principal_components_have_the_error_that_their_variances_leave():
    rows = RNG.normal(size=(200, 5)) @ RNG.normal(size=(5, 5)) * [1, 10, 0.1, 5, 1000] + 7
    measure = Measure("vectors", Split(rows, None, rows, None), None, 0)
    pca = PCA(2).fit(measure.train)
    back = pca.inverse_transform(pca.transform(measure.train)) * rows.std(0) + rows.mean(0)
    found = measure.reconstruction(back)
    assert found.value == pytest.approx(1 - pca.explained_variance_ratio_.sum())
    assert (found.better, found.target, found.n) == ("lower", 0.0, 200)


def test_a_perfect_reconstruction_has_no_error_and_the_mean_row_all_of_it():
    measure = vectors()
    X = measure.split.test
    assert measure.reconstruction(X).value == 0
    mean = np.tile(measure.split.train.mean(0), (80, 1))
    assert measure.reconstruction(mean).value == pytest.approx(1, abs=0.3)
    assert measure.reconstruction(np.full((80, 2), np.inf)) is None


def test_the_interval_of_an_error_is_that_of_a_mean_over_rows():
    measure = vectors()
    noise = RNG.normal(size=(80, 2)) * [0.5, 500]
    found = measure.reconstruction(measure.split.test + noise)
    errors = np.square(noise / measure.split.train.std(0)).sum(1) / 2
    groups = errors.reshape(4, 20).mean(0)
    half = 2.093 * groups.std(ddof=1) / np.sqrt(20)
    assert found.value == pytest.approx(errors.mean())
    assert found.high - found.value == pytest.approx(half, rel=1e-3)


def test_a_part_of_the_held_out_rows_is_measured_against_that_part():
    measure = vectors()
    assert measure.reconstruction(measure.split.test[:30]).value == 0
    assert measure.reconstruction(measure.split.test[:30]).n == 30


def test_labels_of_a_table_are_no_part_of_the_error():
    frame = pd.DataFrame({"a": RNG.normal(size=60), "b": RNG.normal(size=60)})
    y = pd.Series(RNG.choice(["p", "q"], 60), name="kind")
    split = Split(frame[:30], y[:30], frame[30:], y[30:])
    found = Measure("table", split, "kind", 0).reconstruction(frame[30:] + 0.5)
    alone = Measure("table", Split(frame[:30], None, frame[30:], None), None, 0)
    assert found == alone.reconstruction(frame[30:] + 0.5)
    assert found.value == pytest.approx((0.25 / frame[:30].var(ddof=0)).sum() / 2)


def test_images_are_compared_pixel_by_pixel():
    # Noise that principal components of the training images do not see still counts.
    X = np.repeat(RNG.integers(0, 2, (90, 5, 1)) * 128, 7, axis=2).astype(np.uint8)
    measure = Measure("images", Split(X[:60], None, X[60:], None), None, 0)
    back = X[60:].copy()
    back[:, :, ::2] += 64
    found = measure.reconstruction(back)
    variance = np.square(X[:60] - X[:60].mean(0)).mean(0).sum()
    assert found.value == pytest.approx(64**2 * 5 * 4 / variance)
