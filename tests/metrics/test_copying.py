import numpy as np
import pytest

from fromnoise.errors import DataError
from fromnoise.metrics import copying
from fromnoise.metrics.result import share_interval


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.normal(size=(400, 3)), rng.normal(size=(100, 3)), rng.normal(size=(300, 3))


def naive(train, held_out, fake):
    to_train, to_held_out = (
        np.linalg.norm(fake[:, None] - z, axis=-1).min(axis=1) for z in (train, held_out)
    )
    share = (to_train < to_held_out).mean() + (to_train == to_held_out).mean() / 2
    fresh = len(train) / (len(train) + len(held_out))
    return (share - fresh) / (1 - fresh)


def test_copying_is_the_naive_number(rows):
    train, held_out, fake = rows
    assert copying(*rows).value == pytest.approx(naive(*rows), rel=1e-12)
    mixed = np.concatenate([fake, train[:50], held_out[:20]])
    assert copying(train, held_out, mixed).value == pytest.approx(
        naive(train, held_out, mixed), rel=1e-12
    )


@pytest.mark.parametrize("n_held_out", [40, 100, 300])
def test_fresh_rows_are_zero_whatever_the_sizes(n_held_out):
    rng = np.random.default_rng(0)
    values = [
        copying(*(rng.normal(size=(n, 2)) for n in (200, n_held_out, 100))).value
        for _ in range(100)
    ]
    assert abs(np.mean(values)) < 5 * np.std(values) / 10
    assert np.std(values) / 10 < 0.05


def test_copies_are_one_and_stay_one_far_from_the_origin(rows):
    train, held_out, _ = rows
    result = copying(train, held_out, train[::2])
    assert result.value == result.high == 1
    assert result.low > 0.8
    assert copying(train + 1e9, held_out + 1e9, train + 1e9).value == 1


def test_a_third_of_copies_is_a_third(rows):
    train, held_out, fake = rows
    result = copying(train, held_out, np.concatenate([fake[:200], train[:100]]))
    assert result.low < 1 / 3 < result.high
    assert result.low > 0


def test_ties_count_half(rows):
    train, held_out, _ = rows
    everywhere = np.concatenate([train[:50], held_out[:50]])
    # each fake is in both sets, so s = 1/2 and p0 = 1/2
    result = copying(everywhere, everywhere[::-1], everywhere)
    assert result.value == 0
    assert result.low < 0 < result.high
    # s = 1/2 and p0 = 2/3
    assert copying(np.repeat(everywhere, 2, axis=0), everywhere, everywhere).value == (
        pytest.approx(-0.5)
    )


def test_keeping_away_from_training_rows_is_negative(rows):
    train, held_out, _ = rows
    assert copying(train, held_out, held_out).value == pytest.approx(-4)


def test_result_says_what_it_is(rows):
    result = copying(*rows)
    assert (result.better, result.target, result.n) == ("target", 0.0, 300)
    assert result == copying(*rows)
    assert result.low <= result.value <= result.high


def test_three_rows_are_enough_and_two_are_not(rows):
    copying(*(z[:3] for z in rows))
    with pytest.raises(DataError, match="at least 3 rows in held_out"):
        copying(rows[0], rows[1][:2], rows[2])
    with pytest.raises(DataError, match="3 in train and 2 in fake"):
        copying(rows[0], rows[1], rows[2][:, :2])


def test_fakes_that_share_their_nearest_row_are_one_piece_of_evidence(rows):
    train, held_out, _ = rows
    many = copying(train, held_out, train[:200])
    few = copying(train, held_out, np.repeat(train[:5], 40, axis=0))
    one = copying(train, held_out, np.repeat(train[:1], 200, axis=0))
    assert many.value == few.value == one.value == 1
    assert many.low > 0.8
    assert one.low < few.low < 0.5
    assert one.low < 0


def test_replicates_leave_out_rows_with_their_fakes(rows):
    train, held_out, fake = rows
    far = [np.linalg.norm(fake[:, None] - z, axis=-1) for z in (train, held_out)]
    is_train = far[0].min(axis=1) < far[1].min(axis=1)
    owner = np.where(is_train, far[0].argmin(axis=1), far[1].argmin(axis=1))
    shares = np.array([is_train[owner % 20 != g].mean() for g in range(20)])
    np.testing.assert_allclose(copying(*rows).replicates, (shares - 0.8) / 0.2, rtol=1e-10)
    weight = np.bincount(owner + np.where(is_train, 0, 400)) / 300
    independent = min(300, 1 / ((weight**2).sum() - 1 / 500))
    low, high = share_interval(np.array([is_train.mean(), *shares]), independent)
    assert copying(*rows).low == pytest.approx((low - 0.8) / 0.2, rel=1e-9)
    assert copying(*rows).high == pytest.approx((high - 0.8) / 0.2, rel=1e-9)


def test_independent_rows_of_sure_copies_are_counted_by_their_owners(rows):
    train, held_out, _ = rows
    # 25 owners of 4 fakes each: 1/(25 (4/100)^2 - 1/500)
    result = copying(train, held_out, np.repeat(train[:25], 4, axis=0))
    low, _ = share_interval(np.ones(21), 1 / (1 / 25 - 1 / 500))
    assert result.low == pytest.approx((low - 0.8) / 0.2, rel=1e-9)
