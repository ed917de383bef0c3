r"""Who leads, who is tied with the leader, and who is never ranked: on results made by hand."""

import numpy as np
import pytest

from fromnoise.comparison.verdict import Scored, combined, verdict
from fromnoise.metrics import Result


def result(value, noise=0.0, better="lower", target=0.0, half=0.1):
    r"""A result whose replicates are off by ``noise`` times a fixed pattern."""
    pattern = np.tile([1.0, -1.0], 10)
    replicates = tuple(value + noise * pattern)
    return Result(value, value - half, value + half, 100, better, target, replicates)


def scored(name, *results):
    return Scored(name, results)


def test_the_lowest_leads_and_equal_noise_is_no_tie():
    # Both are pushed about by the same real rows: the difference is certain, for all that the
    # intervals of their own overlap.
    found = verdict([scored("b", result(0.20, 0.05)), scored("a", result(0.15, 0.05))], "energy")
    assert (found["best"], found["tied"]) == ("a", [])
    assert "a has the best energy, 0.15" in found["why"] and "every other" in found["why"]


def test_a_difference_within_its_paired_interval_is_a_tie():
    found = verdict([scored("a", result(0.15, 0.05)), scored("b", result(0.20, -0.05))], "energy")
    assert (found["best"], found["tied"]) == ("a", ["b"])
    assert "b cannot be told apart" in found["why"]


def test_ties_are_with_the_leader_only():
    family = [scored("a", result(0.1, 0.02)), scored("b", result(0.15, -0.02)),
              scored("c", result(0.9, 0.02)), scored("d", result(0.12, -0.02))]  # fmt: skip
    found = verdict(family, "energy")
    assert found["tied"] == ["d", "b"] and "d and b cannot" in found["why"]


def test_a_target_is_approached_from_both_sides():
    options = {"better": "target", "target": 0.5}
    low, high = result(0.42, 0.0001, **options), result(0.55, 0.0001, **options)
    found = verdict([scored("low", low), scored("high", high)], "c2st")
    assert (found["best"], found["tied"]) == ("high", [])
    # As far from 0.5 on either side is as good, however different the numbers.
    found = verdict([scored("low", result(0.45, **options)), scored("high", high)], "c2st")
    assert sorted([found["best"], *found["tied"]]) == ["high", "low"]


def test_higher_is_better_where_the_metric_says_so():
    family = [scored(str(v), result(v, better="higher")) for v in (0.2, 0.9, 0.5)]
    assert verdict(family, "coverage")["best"] == "0.9"


def test_seeds_are_paired():
    # Every seed has its own luck, of which both families have the same.
    luck = [0.0, 0.3, -0.2, -0.1]
    a = scored("a", *[result(0.5 + x) for x in luck])
    b = scored("b", *[result(0.55 + x + 0.001 * i) for i, x in enumerate(luck)])
    assert verdict([b, a], "energy")["tied"] == []
    c = scored("c", *[result(0.55 - x) for x in luck])
    assert verdict([c, a], "energy")["tied"] == ["c"]


def test_seeds_on_both_sides_of_a_target_do_not_cancel():
    options = {"better": "target", "target": 0.5}
    wild = scored("wild", *[result(v, **options) for v in (0.3, 0.7, 0.3, 0.7)])
    calm = scored("calm", *[result(v, **options) for v in (0.54, 0.55, 0.55, 0.54)])
    found = verdict([wild, calm], "c2st")
    assert (found["best"], found["tied"]) == ("calm", [])


def test_nothing_to_rank_is_said():
    found = verdict([], "energy")
    assert found["best"] is None and found["tied"] == [] and "No family" in found["why"]


def test_one_family_leads_without_a_word_on_others():
    found = verdict([scored("a", result(0.1))], "energy")
    assert found["best"] == "a" and "other" not in found["why"]


def test_several_seeds_have_the_interval_of_student():
    values = [1.0, 2.0, 4.0]
    found = combined([result(v) for v in values])
    half = 4.302653 * np.std(values, ddof=1) / np.sqrt(3)
    assert found.value == pytest.approx(7 / 3)
    assert (found.low, found.high) == pytest.approx((7 / 3 - half, 7 / 3 + half), rel=1e-5)
    assert combined([result(1.0)]) == result(1.0)


def test_a_tied_family_that_costs_less_than_half_is_named():
    a, b = result(0.15, 0.05), result(0.20, -0.05)
    family = [Scored("a", (a,), 60.0), Scored("b", (b,), 29.9), Scored("c", (b,), 40.0)]
    why = verdict(family, "energy")["why"]
    assert why.endswith("b costs least of these: 30 s to fit and draw, a 60 s.")
    assert why.count("to fit and draw") == 1
    dear = verdict([family[0], Scored("b", (b,), 30.1)], "energy")["why"]
    assert "costs" not in dear and dear.endswith("It took 60 s to fit and draw.")
    # Not the leader, not one that is not tied, and not without times.
    assert "costs" not in verdict([Scored("a", (a,), 1.0), family[1]], "energy")["why"]
    far = Scored("far", (result(0.9, 0.05),), 1.0)
    assert "costs" not in verdict([family[0], far], "energy")["why"]
    assert "draw" not in verdict([scored("a", a), scored("b", b)], "energy")["why"]


def test_families_that_do_not_sample_are_said_to_be_the_reason():
    found = verdict([], "energy", all_silent=True)
    assert found["best"] is None and "None of these families samples" in found["why"]


def told(value, half=0.02, real=0.51):
    one = {"value": value, "low": value - half, "high": value + half}
    return {"a": one, "real": {"value": real, "low": real - half, "high": real + half}}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.98, "Even its rows are easily told from real ones (c2st 0.98, "),
        (0.81, "Its rows can be told from real ones (c2st 0.81, "),  # not surely above 0.8
        (0.60, "Its rows can be told from real ones (c2st 0.60, "),
        (0.51, "Boosted trees cannot tell its rows from real ones (c2st 0.51, "),
        (0.45, "Boosted trees cannot tell its rows from real ones (c2st 0.45, "),
    ],
)
def test_the_leader_is_held_against_real_rows_in_plain_words(value, words):
    family = [scored("a", result(0.1)), scored("b", result(0.9))]
    why = verdict(family, "energy", told=told(value))["why"]
    assert words in why and "real rows from real ones: 0.51)" in why
    assert "told from" not in verdict(family, "energy")["why"]


def test_what_trees_say_of_others_is_no_matter():
    family = [scored("b", result(0.1)), scored("a", result(0.9))]
    assert "told from" not in verdict(family, "energy", told=told(0.99))["why"]


def test_a_leader_that_is_no_better_than_a_gaussian_is_said_to_be():
    family, words = [scored("a", result(0.15, 0.05))], "no better than a single Gaussian"
    tied, worse = scored("gaussian", result(0.20, -0.05)), scored("gaussian", result(0.20, 0.05))
    assert words in verdict(family, "energy", gaussian=tied)["why"]
    assert words not in verdict(family, "energy", gaussian=worse)["why"]
    # Surely better than the leader: the leader is no better, however narrow the interval.
    better = scored("gaussian", result(0.10, 0.05))
    assert words in verdict(family, "energy", gaussian=better)["why"]
    two = scored("gaussian", result(0.20), result(0.20))
    assert words not in verdict(family, "energy", gaussian=two)["why"]  # not as many seeds
