import base64
import io
import re
import subprocess
import sys
from html import unescape
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from fromnoise.comparison import pictures, plots
from fromnoise.comparison.plots import loss_curve, marginals, pair_plot
from fromnoise.comparison.wording import cut


def svg(uri):
    text = base64.b64decode(uri.partition(",")[2]).decode()
    ElementTree.fromstring(text)
    return text


def words(picture):
    """The texts of a figure, in drawing order."""
    return [
        unescape(word) for word in re.findall(r"<text[^>]*>([^<]*)</text>", svg(picture.light))
    ]


# ---- themes -----------------------------------------------------------------------------------


def test_both_themes_are_one_drawing_in_two_inks():
    picture = loss_curve([{"step": i, "loss": 1 / i} for i in range(1, 9)])
    light, dark = svg(picture.light), svg(picture.dark)
    back = dark
    for placeholder in (pictures.INK, pictures.FAINT):
        assert placeholder not in light + dark
        back = back.replace(pictures.THEMES[1][placeholder], pictures.THEMES[0][placeholder])
    assert light != dark and back == light


def luminance(colour):
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(one, other):
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_ink_can_be_read_and_colours_told_on_either_page():
    for theme, paper in zip(pictures.THEMES, ("#ffffff", "#181b20"), strict=True):
        assert contrast(theme[pictures.INK], paper) > 4.5
        colours = (pictures.MODEL, pictures.REAL, pictures.SECOND)
        assert all(contrast(colour, paper) > 3 for colour in colours)


def test_the_users_own_style_is_neither_used_nor_changed():
    reference = loss_curve([{"step": 1, "loss": 1.0}, {"step": 2, "loss": 2.0}])
    with matplotlib.rc_context({"text.usetex": True, "lines.linewidth": 9, "font.size": 30}):
        picture = loss_curve([{"step": 1, "loss": 1.0}, {"step": 2, "loss": 2.0}])
        assert matplotlib.rcParams["text.usetex"] and matplotlib.rcParams["font.size"] == 30
    assert picture == reference


def test_no_window_toolkit_is_ever_loaded():
    program = (
        "import sys; from fromnoise.comparison import plots;"
        "plots.loss_curve([{'step': 1, 'loss': 1.0}]); print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


# ---- vectors ----------------------------------------------------------------------------------


def test_two_columns_make_one_scatter_in_the_frame_of_real_rows():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(400, 2))
    fake = np.concatenate([real[:300] / 2, real[:100] + 50])
    real[-1] = 1e6  # a single row does not decide the frame
    picture = pair_plot(real, fake, ["left", "right"])
    assert picture.caption == "25% of the drawn rows lie outside the frame."
    ticks = [float(w.replace("−", "-")) for w in words(picture) if w not in ("left", "right")]
    assert min(ticks) > -5 and max(ticks) < 5
    assert pair_plot(real, real, ["left", "right"]).caption == ""
    assert pair_plot(real, None, ["left", "right"]).alt.endswith("real rows")


def test_columns_that_hang_together_are_chosen():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 9))
    rows[:, [2, 3, 5, 8]] += 3 * rng.normal(size=(500, 1))
    rows[:, 4] = 1.0  # a constant correlates with nothing
    names = [f"c{i}" for i in range(9)]
    picture = pair_plot(rows, rows, names)
    assert words(picture) == ["c2", "c3", "c5", "c8"]
    assert picture.alt == "Pairs and histograms of c2, c3, c5, c8"


def test_pairs_show_drawn_rows_below_the_diagonal_and_real_ones_above():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(2, 60, 3))
    clouds = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode("".join(data.split())))))
        for data in re.findall(r"base64,([^\"]*)\"", svg(pair_plot(real, fake, list("abc")).light))
    ]
    # Cells are drawn row by row: (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1).
    blue = [
        int(c[c[..., 3] > 0][:, 2].mean()) - int(c[c[..., 3] > 0][:, 0].mean()) for c in clouds
    ]
    assert [b > 60 for b in blue] == [False, False, True, False, True, True]


@pytest.mark.parametrize("fill", [0.0, 1e150, np.nan])
def test_columns_without_spread_can_be_drawn(fill):
    rows = np.full((20, 3), fill)
    rows[:, 1] = np.arange(20)
    assert len(words(pair_plot(rows, rows, list("abc")))) == 3
    assert pair_plot(rows[:, :2], rows[:, :2], list("ab")).light


def test_one_column_is_a_histogram():
    rows = np.random.default_rng(0).normal(size=(20, 1))
    assert words(pair_plot(rows, rows, ["only"])) == ["only"]


# ---- tables -----------------------------------------------------------------------------------


def test_missing_values_are_counted_for_both():
    real = pd.DataFrame({"a": [1.0, 2.5, np.nan, 4.0], "b": ["x", "y", None, "x"]})
    fake = pd.DataFrame({"a": [1.0, np.nan, np.nan, 4.0], "b": ["x", "y", "y", "x"]})
    texts = words(marginals(real, fake))
    assert "missing 25% real, 50% drawn" in texts and "missing 25% real, 0% drawn" in texts
    assert "missing" not in " ".join(words(marginals(real.dropna(), real.dropna())))


def test_rare_categories_are_gathered():
    names = [name for i, name in enumerate("abcdef") for _ in range(12 - i)]
    real, fake = pd.DataFrame({"x": names}), pd.DataFrame({"x": ["a", "new"]})
    assert words(marginals(real, fake)) == ["a", "b", "c", "d", "others", "x"]
    few = pd.DataFrame({"x": ["a", "b"]})
    assert words(marginals(few, few)) == ["a", "b", "x"]
    assert words(marginals(few, fake)) == ["a", "b", "others", "x"]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([True, False, True]),
        pd.Series([True, None, False], dtype="boolean"),
        pd.Series([1, None, 3], dtype="Int64"),
        pd.Series(pd.to_datetime(["2020-01-01", None, "2021-05-06"])),
        pd.Series(pd.to_datetime(["2020-01-01", None, "2021-05-06"], utc=True)),
        pd.Series(pd.to_timedelta([1, 2, 3], "h")),
        pd.Series(["a", "b", None], dtype="category"),
        pd.Series([np.nan, np.nan, np.nan]),
        pd.Series([{}, [], None]),
    ],
)
def test_all_kinds_of_columns_can_be_drawn(column):
    frame = pd.DataFrame({"name": column})
    texts = words(marginals(frame, frame))
    assert texts[-1] == "name" and texts[-2].startswith("missing") == column.isna().any()


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2001-01-01", "2009-01-01", ["2000", "2010"]),
        ("2019-11-20", "2020-09-10", ["2020-01", "2020-07"]),
        ("2020-03-02", "2020-03-06", ["2020-03-03", "2020-03-05"]),
        ("2020-01-01 00:00", "2020-01-01 18:00", ["01-01 00:00", "01-01 12:00"]),
        ("2020-01-01 00:00:00", "2020-01-01 00:00:20", ["00:00:00", "00:00:10", "00:00:20"]),
        ("0005-05-05", "9999-01-01", ["2000", "6000"]),
        ("2020-05-05", "2020-05-05", ["2000", "2020", "2040"]),
    ],
)
def test_dates_have_two_or_three_ticks_no_finer_than_they_need(first, last, expected):
    ends = np.array([first, last], "M8[ms]").astype(np.int64)
    when = np.linspace(*ends, 50).round().astype("M8[ms]")
    frame = pd.DataFrame({"when": when})
    assert words(marginals(frame, frame)) == [*expected, "when"]


def test_wide_tables_say_what_is_left_out():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(9, 23)))
    picture = marginals(frame, frame)
    assert picture.caption == "8 of 23 columns."
    assert picture.alt == "Distributions of 0, 1, 2, 3, 4, 5, 6, 7: real and drawn"
    assert marginals(frame.iloc[:, :8], frame.iloc[:, :8]).caption == ""


# ---- losses -----------------------------------------------------------------------------------


def test_losses_that_were_not_measured_or_not_finite_are_left_out():
    history = [
        {"step": 1, "loss": 3.0, "validation": None},
        {"step": 2, "loss": 2.0, "validation": 2.5, "learning_rate": 0.1},
        {"step": 3, "loss": float("nan")},
    ]
    picture = loss_curve(history)
    assert picture.alt == "loss falls from 3 to 2 over 2 records"
    assert words(picture)[-2:] == ["loss", "validation"]
    assert "learning_rate" not in words(picture) and "step" in words(picture)


def test_a_wide_loss_is_seen_on_a_logarithmic_axis():
    wide = words(loss_curve([{"seconds": i, "loss": 10.0**-i} for i in range(5)]))
    assert {"0.001", "0.1", "1", "seconds"} <= set(wide)
    assert not any("$" in word for word in wide)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.20001, 3.20004], ["3.20001", "3.20002", "3.20003", "3.20004"]),
        ([0.0, 3e-6], ["0", "1e−6", "2e−6", "3e−6"]),
        ([-0.5, 1.0], ["−0.5", "0", "0.5", "1"]),
        ([1.0, 1.0], ["0.96", "0.99", "1.02", "1.05"]),
        ([0.0, 3e12], ["0", "1e12", "2e12", "3e12"]),
    ],
)
def test_every_tick_is_a_number_by_itself(values, expected):
    history = [{"step": i * 1_000_000, "loss": value} for i, value in enumerate(values)]
    texts = words(loss_curve(history))
    start = texts.index("step") + 1
    assert texts[start:] == expected
    assert max(map(int, texts[: start - 1])) in (900_000, 1_000_000)


def test_the_legend_of_losses_stands_above_the_curves():
    steps = np.arange(1, 9)
    names = ("loss", "validation", "generator_loss", "critic_loss")
    figure = Figure((4, 2.5), layout="constrained")
    plots._losses(figure, {name: np.stack([steps, 1 / steps], 1) for name in names}, "step")
    figure.draw_without_rendering()
    (legend,), (axes,) = figure.legends, figure.axes
    assert axes.get_legend() is None and len(legend.get_texts()) == 4
    box = axes.get_window_extent()
    assert legend.get_window_extent().y0 >= box.y1 and box.height > 0.4 * figure.bbox.height


def test_without_steps_or_seconds_records_are_counted():
    assert "record" in words(loss_curve([{"loss": 1.0}, {"loss": 3.0}]))
    assert loss_curve([{"loss": 1.0}, {"loss": 3.0}]).alt == "loss goes from 1 to 3 over 2 records"


@pytest.mark.parametrize("history", [[{"step": 1}], [{"step": 1, "loss": None}]])
def test_a_history_without_losses_is_refused(history):
    with pytest.raises(ValueError, match="no finite loss"):
        loss_curve(history)


@pytest.mark.parametrize(
    "name", ["loss a$_$", "loss \ud800", "loss <script>", "loss \x00", "loss 😀"]
)
def test_names_are_never_mathematics_nor_markup(name):
    lines = [{"step": i, name: 1.0 / i, "loss": 1.0} for i in (1, 2)]
    assert cut(name) in words(loss_curve(lines))
