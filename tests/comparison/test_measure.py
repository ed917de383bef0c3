r"""The same features and metrics for every row: what they see, and what they say of known sets."""

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

import fromnoise as fn
from fromnoise.comparison.jobs import Split
from fromnoise.comparison.measure import Measure, Sample, likelihood
from fromnoise.metrics import EnetLite0, energy_distance, frechet_distance, mmd, vendi

pytestmark = pytest.mark.usefixtures("few_trees")

RNG = np.random.default_rng(0)
NAMES = {"energy_distance", "sliced_wasserstein", "mmd", "coverage", "c2st", "copying"}
ARRAYS = NAMES | {"frechet_distance", "density", "vendi"}
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _the_same_draws_alone_and_in_company():
    RNG.bit_generator.state = START


def vectors(n=240):
    X = RNG.normal(size=(n, 2)) * [1, 1000]
    return Measure("vectors", Split(X[:160], None, X[160:], None), None, 0)


def test_equal_distributions_are_told_from_others():
    measure = vectors()
    fresh = measure.sample(RNG.normal(size=(100, 2)) * [1, 1000])
    far = measure.sample(RNG.normal(1, 1, size=(100, 2)) * [1, 1000])
    good, bad = measure.metrics(fresh), measure.metrics(far)
    assert set(good) == ARRAYS
    for name in ("energy_distance", "sliced_wasserstein", "mmd", "c2st", "frechet_distance"):
        assert good[name].value < bad[name].value, name
    assert good["coverage"].value > bad["coverage"].value
    assert measure.metrics(measure.sample(measure.split.train[:80]))["copying"].value == 1.0
    assert good["copying"].high > 0 > good["copying"].low - 0.3


def test_units_do_not_matter():
    # The second column is a thousand times the first: standardised, both count alike.
    measure = vectors()
    assert measure.train.std(0) == pytest.approx([1, 1], rel=0.1)


def test_what_is_not_finite_is_not_measured():
    measure = vectors()
    fake = measure.sample(RNG.normal(size=(50, 2)))
    fake.features[3, 1] = np.nan
    assert measure.metrics(fake) == {}


def test_a_metric_without_a_number_costs_no_other(caplog):
    X = np.ones((60, 2))
    measure = Measure("vectors", Split(X[:30], None, X[30:], None), None, 0)
    assert set(measure.metrics(measure.test)) == ARRAYS - {"mmd"}  # equal rows have no scale
    assert "mmd" in caplog.text


def test_halves_are_disjoint_and_of_the_held_out_rows():
    measure = vectors()
    first, second = measure.halves()
    together = np.concatenate([first.features, second.features])
    assert len(first) == len(second) == 40
    assert np.array_equal(np.sort(together, axis=0), np.sort(measure.test.features, axis=0))
    assert np.array_equal(measure.halves()[0].simple, first.simple)


def test_the_label_of_a_table_is_measured_once_as_a_column():
    frame = pd.DataFrame({"a": RNG.normal(size=60)})
    y = pd.Series(RNG.choice(["p", "q"], 60), name="kind")
    split = Split(frame[:40], y[:40], frame[40:], y[40:])
    measure = Measure("table", split, "kind", 0)
    joined = measure.rows(frame, y)
    assert joined.columns.tolist() == ["a", "kind"]
    assert measure.rows(joined) is joined  # drawn without a condition: the label is in it
    assert np.array_equal(measure.sample(frame, y).simple, measure.sample(joined).simple)
    assert measure.train.shape[1] > 1


def test_neighbours_are_the_nearest_training_rows():
    measure = vectors()
    X = measure.train[[5, 3, 9]] + 1e-9  # features, close to the rows they come from
    split = Split(np.arange(320.0).reshape(160, 2), None, None, None)
    drawn, near = measure.neighbours(Sample(X, X), np.ones((3, 2)), None, split)
    assert near.tolist() == split.train[[5, 3, 9]].tolist() and drawn.shape == (3, 2)


def images(n=150, shape=(5, 7)):
    return RNG.integers(0, 256, (n, *shape)).astype(np.uint8)


def test_images_are_measured_by_their_components():
    X = images()
    measure = Measure("images", Split(X[:60], None, X[60:], None), None, 0)
    found = measure.metrics(measure.sample(X[:80]))
    arrays = ARRAYS - {"frechet_distance"} | {"fd"}
    assert set(found) == {f"{name}_pca" for name in arrays}
    assert measure.ranked_by == "mmd_pca" and measure.copying == "copying_pca"
    assert measure.rows(X[:3]).shape == (3, 1, 5, 7)


def test_moments_of_fewer_rows_than_columns_are_left_out():
    X = images(90)
    measure = Measure("images", Split(X[:60], None, X[60:], None), None, 0)
    assert "fd_pca" not in measure.metrics(measure.sample(X[:80]))  # 30 rows, 35 columns


# --- what a number is measured in -------------------------------------------------------------


def test_numbers_are_named_for_their_features_and_measured_in_them():
    X = images()
    split = Split(X[:60], None, X[60:], None)
    measure = Measure("images", split, None, 0, features="pixels")
    found = measure.metrics(measure.sample(X[:80]))
    names = {"mmd", "energy_distance", "sliced_wasserstein", "coverage", "density", "vendi", "fd"}
    assert set(found) == {f"{name}_pixels" for name in names} | {"c2st_pca", "copying_pca"}
    real, fake = ((rows / 127.5 - 1).reshape(len(rows), -1) for rows in (X[60:], X[:80]))
    assert found["mmd_pixels"].value == pytest.approx(mmd(real, fake, "cubic").value, rel=1e-4)
    usual = Measure("images", split, None, 0).metrics
    sample = Measure("images", split, None, 0).sample(X[:80])
    assert found["c2st_pca"] == usual(sample)["c2st_pca"]


def test_the_network_sees_the_images_themselves_and_costs_no_training_rows(monkeypatch):
    X = images(60, (12, 12))
    seen = []

    def network(self, rows):
        seen.append(len(rows))
        return np.asarray(rows, float).reshape(len(rows), -1)[:, :6]

    monkeypatch.setattr(EnetLite0, "__call__", network)
    measure = Measure("images", Split(X[:30], None, X[30:], None), None, 0, features="enetlite0")
    found = measure.metrics(measure.sample(X[:20]))
    assert seen == [30, 20]  # held-out rows, then drawn ones, each once
    real, fake = (rows.reshape(len(rows), -1)[:, :6].astype(float) for rows in (X[30:], X[:20]))
    assert found["fd_enetlite0"] == frechet_distance(real, fake)
    assert measure.ranked_by == "mmd_enetlite0"


def test_a_function_of_the_users_own_sees_rows_as_they_were_given():
    frame = pd.DataFrame({"a": RNG.normal(size=120), "b": RNG.choice(["p", "q"], 120)})

    def lengths(rows):
        assert isinstance(rows, pd.DataFrame)
        return rows[["a"]].to_numpy() * 10

    measure = Measure("table", Split(frame[:60], None, frame[60:], None), None, 0, lengths)
    found = measure.metrics(measure.sample(frame[:50]))
    expected = energy_distance(frame[["a"]][60:] * 10, frame[["a"]][:50] * 10)
    assert found["energy_distance_lengths"] == expected
    assert measure.ranked_by == "c2st" and "c2st" in found and "column_shapes" in found


def test_wide_features_of_many_rows_are_those_of_the_first():
    X = RNG.normal(size=(2600, 2))
    measure = Measure("vectors", Split(X[:100], None, X[100:], None), None, 0, _wide)
    assert measure.test.features.shape == (2000, 300) and len(measure.test) == 2500
    assert np.array_equal(measure.test.features[:, 0], X[100:2100, 0])
    first, second = measure.halves()
    assert len(first.features) == len(first.simple) == len(second) == 1000


def _wide(rows):
    return np.repeat(rows[:, :1], 300, axis=1)


# --- metrics of tables, and of reference rows -------------------------------------------------


def frames(n=600):
    a = RNG.normal(size=n)
    kind = np.where(a + 0.3 * RNG.normal(size=n) > 0, "p", "q")
    return pd.DataFrame({"a": a, "b": 2 * a + 0.1 * RNG.normal(size=n), "kind": kind})


def alone(frame):
    r"""Each column by itself: its shape, and nothing of what goes together."""
    columns = {c: frame[c].sample(frac=1, random_state=i).array for i, c in enumerate(frame)}
    return pd.DataFrame(columns)


def test_tables_are_measured_by_columns_pairs_and_use():
    frame = frames()
    measure = Measure("table", Split(frame[:300], None, frame[300:], None), None, 0, target="kind")
    good, bad = (measure.metrics(measure.sample(X)) for X in (frames(300), alone(frame[:300])))
    assert set(good) == NAMES | {"column_shapes", "pair_trends", "train_on_synthetic"}
    assert bad["column_shapes"].value > 0.9 and good["column_shapes"].value > 0.9
    assert good["pair_trends"].value > bad["pair_trends"].value + 0.2
    assert good["train_on_synthetic"].value > 0.9 > 0.7 > bad["train_on_synthetic"].value


def test_the_label_is_what_rows_teach_unless_another_column_is_named():
    frame = frames(120)
    split = Split(frame[["a", "b"]][:60], frame["kind"][:60], frame[["a", "b"]][60:],
                  frame["kind"][60:])  # fmt: skip
    assert Measure("table", split, "kind", 0).target == "kind"
    assert Measure("table", split, "kind", 0, target="b").target == "b"
    assert Measure("table", split.joined("kind"), None, 0).target is None


@pytest.mark.parametrize("n_samples", [150, 400])
def test_real_rows_have_the_numbers_of_a_perfect_model(n_samples):
    X = RNG.normal(size=(1200, 3))
    measure = Measure("vectors", Split(X[:800], None, X[800:], None), None, 0)
    real = measure.real(n_samples)
    several = [measure.metrics(measure.sample(RNG.normal(size=(n_samples, 3)))) for _ in range(5)]
    assert "copying" not in real
    for name in set(ARRAYS) - {"copying"}:
        perfect = np.array([found[name].value for found in several])
        gap = abs(real[name].value - perfect.mean())
        assert gap < 4 * perfect.std() + 0.02, (name, real[name], perfect)


def test_numbers_of_real_rows_fall_with_the_size_of_the_set_they_stand_for():
    X = RNG.normal(size=(140, 3))
    measure = Measure("vectors", Split(X[:60], None, X[60:], None), None, 0)
    small, large = measure.real(80), measure.real(800)
    share = (1 / 80 + 1 / 800) / (1 / 80 + 1 / 80)
    for name, power in (("sliced_wasserstein", 0.5), ("frechet_distance", 1)):
        assert large[name].value == pytest.approx(share**power * small[name].value)
        assert large[name].high == pytest.approx(share**power * small[name].high)
    assert large["energy_distance"] == small["energy_distance"]


def test_real_columns_have_the_numbers_of_a_perfect_model():
    frame = frames(1000)
    measure = Measure("table", Split(frame[:700], None, frame[700:], None), None, 0, target="kind")
    real, copier = measure.real(300), measure.copier(300)
    several = [measure.metrics(measure.sample(frames(300))) for _ in range(3)]
    for name in ("column_shapes", "pair_trends", "train_on_synthetic"):
        perfect = np.mean([found[name].value for found in several])
        assert real[name].value == pytest.approx(perfect, abs=0.05)
        assert real[name].value == pytest.approx(copier[name].value, abs=0.05)
    assert copier["copying"].value == 1.0


def test_a_gaussian_is_worse_than_real_rows_on_moons_and_a_copier_is_not():
    X = fn.data.load("moons").X[:1500]
    measure = Measure("vectors", Split(X[:1000], None, X[1000:], None), None, 0)
    real, copier = measure.real(500), measure.copier(500)
    covariance = np.cov(X.T)
    drawn = RNG.multivariate_normal(X.mean(0), covariance, 500)
    gaussian = measure.metrics(measure.sample(drawn))
    for name in ("energy_distance", "sliced_wasserstein", "c2st"):
        assert gaussian[name].low > real[name].value, name
        assert copier[name].low <= real[name].high, name
    assert gaussian["coverage"].high < real["coverage"].value
    assert gaussian["density"].high < 0.5 and real["density"].value == pytest.approx(1, abs=0.1)
    assert copier["density"].value == pytest.approx(1, abs=0.1)
    # Two moments are all that it sees: a Gaussian cannot be told by it.
    assert gaussian["frechet_distance"].value < 0.1
    assert copier["copying"].value == 1.0 and gaussian["copying"].low < 0.1


def test_variety_is_that_of_as_many_real_rows():
    X = RNG.normal(size=(400, 6))
    measure = Measure("vectors", Split(X[:200], None, X[200:], None), None, 0)
    line = np.outer(RNG.normal(size=300), np.ones(6))
    fresh, flat = (measure.metrics(measure.sample(rows))["vendi"] for rows in (X[:150], line))
    assert fresh.better == "target" and fresh.n == 150
    assert fresh.target == vendi(measure.test.features[:150]).value
    assert fresh.value == pytest.approx(fresh.target, rel=0.05)
    assert flat.value < 2.5 < 5 < flat.target
    real = measure.real(150)["vendi"]
    assert real.value == real.target == fresh.target


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
