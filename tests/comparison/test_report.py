import base64
import csv
import io
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from fromnoise.comparison.exhibits import Material
from fromnoise.comparison.jobs import Codes
from fromnoise.comparison.journeys import Journey, mesh
from fromnoise.comparison.report import write_report
from fromnoise.comparison.results import results_csv

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onload='alert(1)",
    "a$_$ and \\frac{",
    "line\nbreak\ttab\r\x00\x1b[31m",
    "\ud800 surrogate \udcff",
    "\u202egnp.exe",
    "{{ 7 * 7 }}{% raw %}",
    "😀 données 数据",
    "=HYPERLINK(0)",
    "</style></svg>]]>&amp;",
    "x" * 10_000,
]
COPYING, POLICY = "copying", "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
VOID = {"meta", "img", "source", "br", "path", "ellipse", "link", "input"}


class Page(HTMLParser):
    """What a browser would see: elements in order, their attributes, the text in each."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.tags, self.attributes, self.stack, self.texts, self.unbalanced = [], [], [], [], 0
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.stack or self.stack.pop() != tag:
            self.unbalanced += 1

    def handle_data(self, data):
        self.texts.append((self.stack[-1] if self.stack else "", data))

    @property
    def text(self):
        return " ".join(" ".join(data for tag, data in self.texts if tag != "style").split())

    def of(self, tag):
        return [attributes for name, attributes in self.attributes if name == tag]


def metric(value, half=0.1, better="lower", target=None):
    bounds = {"low": value - half, "high": value + half}
    return {"value": value, **bounds, "n": 1000, "better": better, "target": target}


def row(name, values, role="family", status="ok", reason=None, flags=(), **others):
    return {
        "name": name,
        "role": role,
        "family": name if role == "family" else None,
        "arguments": {"budget": "2m", "random_state": 0} if role == "family" else {},
        "status": status,
        "reason": reason,
        "flags": list(flags),
        "metrics": values,
        "seconds": {"budget": 120.0, "fit": 118.4, "sample": 0.82},
        "parameters": 1_234_567,
        "evaluations": 64,
        "peak_memory_mb": 800.0,
        **others,
    }


def numbers(kind, value):
    """The metrics of a row that stands ``value`` above what real data reach."""
    copying = metric(0.01 + value / 8, 0.04, "target", 0.0)
    if kind == "vectors":
        energy, sliced = metric(value / 100, 0.0009), metric(0.05 + value / 10, 0.013)
        coverage = metric(0.95 - value / 5, 0.02, "higher")
        return {
            "energy_distance": energy,
            "sliced_wasserstein": sliced,
            "coverage": coverage,
            COPYING: copying,
        }
    if kind == "table":
        shapes = metric(0.99 - value / 20, 0.006, "higher")
        return {
            "column_shapes": shapes,
            "c2st": metric(0.5 + value / 20, 0.017, "target", 0.5),
            COPYING: copying,
        }
    return {"mmd (64 pixel components)": metric(value / 50, 0.002), COPYING: copying}


def reference(name, kind, value, reason):
    nothing = {"budget": None, "fit": None, "sample": None}
    return row(
        name,
        numbers(kind, value),
        "reference",
        reason=reason,
        seconds=nothing,
        parameters=None,
        evaluations=None,
        peak_memory_mb=None,
    )


RANKED = {"vectors": "energy_distance", "table": "c2st", "images": "mmd (64 pixel components)"}


def fabricated(kind, columns=None, shape=(2,), name="moons"):
    """A report with each status, and families that are tied, copying, and far behind."""
    values = {"flow": 0.12, "diffusion": 0.15, "gmm": 0.6, "vae": 1.4}
    rows = [row(family, numbers(kind, value)) for family, value in reversed(values.items())]
    rows[-1]["metrics"]["log_likelihood"] = metric(-1.234, 0.021, "higher")
    rows[1]["metrics"]["log_likelihood"] = metric(-1.6, 0.03, "higher")
    rows[1].update(parameters=412, evaluations=0)
    rows += [
        row("wgan-gp", numbers(kind, 22.0)),
        row("gan", {}, status="diverged", reason="The critic's loss was NaN from step 812 on."),
        row(
            "big-ae",
            {},
            status="failed",
            reason="MemoryError",
            seconds=None,
            parameters=None,
            evaluations=None,
        ),
        row(
            "parrot",
            {**numbers(kind, 0.1), COPYING: metric(0.83, 0.05, "target", 0.0)},
            flags=["copying"],
        ),
        reference("real", kind, 0.05, "held-out rows, one half against the other"),
        reference("gaussian", kind, 4.0, "a single Gaussian"),
        reference("copier", kind, 0.02, "training rows, handed out again"),
    ]
    why = (
        f"flow has the lowest {RANKED[kind]}. The paired 95 % interval of its difference to "
        "diffusion reaches zero, so the two are tied."
    )
    return {
        "format": 1,
        "data": {
            "kind": kind,
            "name": name,
            "rows": 5000,
            "shape": list(shape),
            "columns": columns,
            "label": None,
        },
        "protocol": {
            "train_rows": 4000,
            "held_out_rows": 1000,
            "samples": 1000,
            "budget": "2m",
            "seeds": 1,
            "random_state": 0,
            "conditional": False,
            "versions": {"fromnoise": "0.1", "torch": "2.13"},
            "ranked_by": RANKED[kind],
        },
        "verdict": {"best": "flow", "tied": ["diffusion"], "why": why},
        "rows": rows,
    }


def history(rng, steps=80):
    x = np.arange(1, steps + 1)
    loss = 0.4 + np.exp(-x / 15) + 0.02 * rng.normal(size=steps)
    lines = [
        {
            "step": int(s) * 25,
            "progress": s / steps,
            "seconds": s * 1.5,
            "loss": float(v),
            "learning_rate": 1e-3,
            "validation": None,
        }
        for s, v in zip(x, loss, strict=True)
    ]
    for line in lines[::10]:
        line["validation"] = line["loss"] + 0.05
    return lines


def moons(rng, noise, n=300):
    angle = rng.uniform(0, np.pi, n)
    upper = rng.random(n) < 0.5
    x = np.where(upper, np.cos(angle), 1 - np.cos(angle))
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle))
    return np.stack([x, y], 1) + noise * rng.normal(size=(n, 2))


def vectors(rng, noise, d=6, n=300):
    return rng.normal(size=(n, 2)) @ np.ones((2, d)) + (0.5 + noise) * rng.normal(size=(n, d))


def table(rng, noise, n=300):
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, n),
            "income": np.exp(rng.normal(10, 0.5 + noise, n)).round(2),
            "city": rng.choice(["Oslo", "Rome", "Lima", "Pune", "Kyiv", "Bonn", "Graz"], n),
            "member": rng.random(n) < 0.3 + noise,
            "since": pd.Timestamp("2015-01-01") + pd.to_timedelta(rng.integers(0, 3000, n), "D"),
            "children": rng.poisson(1 + noise, n),
        }
    )
    frame.loc[rng.random(n) < 0.1, "income"] = np.nan
    return frame


def pictures(rng, noise, n=80, side=16):
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    width = rng.uniform(0.2, 0.7, (n, 1, 1, 1))
    ring = np.exp(-((np.hypot(x, y) - width) ** 2) / 0.02)
    return np.clip(2 * ring - 1 + noise * rng.normal(size=ring.shape), -1, 1).astype(np.float32)


def material(report, draw, labels=None):
    """For all families that finished, worse draws the worse the family; and the real rows."""
    rng = np.random.default_rng(0)
    able = {"samples": True, "density": "exact", "encode": False, "conditional": True}
    made = {}
    for i, line in enumerate(report["rows"]):
        if line["role"] == "family" and line["metrics"]:
            samples, nearest = draw(rng, 0.1 * i), draw(rng, 0.0)
            made[line["name"]] = Material(
                samples, labels, history(rng), (samples[:8], nearest[:8]), able
            )
    return made, Material(draw(rng, 0.02), labels)


def demo(kind, folder):
    """Write one of the fabricated pages."""
    labels = [str(i % 4) for i in range(80)] if kind == "labelled images" else None
    draw, report = {
        "moons": lambda: (moons, fabricated("vectors")),
        "vectors": lambda: (vectors, fabricated("vectors", shape=(6,), name="six columns")),
        "table": lambda: (
            table,
            fabricated("table", list(table(np.random.default_rng(0), 0)), (6,), "rides.csv"),
        ),
        "images": lambda: (pictures, fabricated("images", shape=(1, 16, 16), name="rings")),
        "labelled images": lambda: (pictures, fabricated("images", shape=(1, 16, 16))),
    }[kind]()
    return write_report(folder, report, *material(report, draw, labels))


KINDS = ["moons", "vectors", "table", "images", "labelled images"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Each fabricated page, parsed."""
    return {kind: Page(demo(kind, tmp_path_factory.mktemp("page"))) for kind in KINDS}


def minimal(names, kind="vectors", **verdict):
    rows = [row(name, numbers("vectors", 0.1 * (i + 1))) for i, name in enumerate(names)]
    data = {
        "kind": kind,
        "name": names[0],
        "rows": 10,
        "shape": [2],
        "columns": None,
        "label": None,
    }
    verdict = {"best": None, "tied": [], "why": "Nothing.", **verdict}
    return {"format": 1, "data": data, "protocol": {}, "verdict": verdict, "rows": rows}


def written(tmp_path, report, material=None, real=None):
    return Page(write_report(tmp_path, report, material or {}, real or Material(np.zeros((9, 2)))))


def cells(page_path, name, table=1):
    """The text of a row's cells in one table of numbers, the first one or the one of costs."""
    text = page_path.read_text(encoding="utf-8")
    section = text[text.index(f'id="numbers-{table}"') :].partition("</table>")[0]
    line = next(tr for tr in section.split("<tr")[1:] if f'<span class="name">{name}<' in tr)
    inside = [td.split("</td>")[0].partition(">")[2] for td in line.split("<td")[1:]]
    return [" ".join(re.sub("<[^>]*>", " ", td).split()) for td in inside]


def headings(page_path):
    """For each table of numbers, its title and the headings of its columns."""
    text = page_path.read_text(encoding="utf-8")
    section = text[text.index('id="numbers"') : text.index('id="samples"')]
    tables = re.findall(r"<h3 id=[^>]*>([^<]*)</h3>(.*?)</thead>", section, re.DOTALL)
    return {title: re.findall(r'<th scope="col">([^<]*)<', body)[1:] for title, body in tables}


# ---- the page as a whole ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_page_is_whole_and_asks_for_nothing(pages, kind):
    page = pages[kind]
    assert page.unbalanced == 0 and page.stack == []
    assert {"script", "iframe", "link", "object", "embed", "form", "base"}.isdisjoint(page.tags)
    policy = [m["content"] for m in page.of("meta") if "http-equiv" in m]
    assert policy == [POLICY]
    addresses = [a["src"] for a in page.of("img")] + [a["srcset"] for a in page.of("source")]
    assert addresses and all(address.startswith("data:image/") for address in addresses)
    assert all(a["href"].startswith("#") for a in page.of("a"))
    style = "".join(data for tag, data in page.texts if tag == "style")
    assert "url(" not in style and "@import" not in style


@pytest.mark.parametrize("kind", KINDS)
def test_page_can_be_read_aloud(pages, kind):
    page = pages[kind]
    assert all(len(a["alt"]) > 10 for a in page.of("img"))
    assert all(a.get("scope") in {"row", "col", "rowgroup"} for a in page.of("th"))
    ids = [a["id"] for _, a in page.attributes if "id" in a]
    assert len(ids) == len(set(ids))
    labels = [a["aria-labelledby"] for _, a in page.attributes if "aria-labelledby" in a]
    assert set(labels) <= set(ids)
    assert {a["href"][1:] for a in page.of("a")} <= set(ids)


def test_sections_come_in_the_order_of_the_questions(pages):
    sections = [a["id"] for a in pages["moons"].of("section")]
    assert sections == [
        "verdict",
        "numbers",
        "samples",
        "training",
        "copying",
        "abilities",
        "protocol",
        "trouble",
    ]


def test_first_words_are_the_verdict(pages):
    text = pages["moons"].text
    assert text.index("Use flow , or diffusion .") < text.index("flow has the lowest")
    assert text.index("flow has the lowest") < text.index("The numbers")


def test_no_verdict_is_said_too(tmp_path):
    assert "No family can be recommended." in written(tmp_path, minimal(["gan"])).text


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_and_reason_is_shown(pages, kind):
    text = pages[kind].text
    for name in (
        "flow",
        "diffusion",
        "gmm",
        "vae",
        "wgan-gp",
        "gan",
        "big-ae",
        "parrot",
        "real",
        "gaussian",
        "copier",
        "diverged",
        "failed",
        "MemoryError",
        "NaN from step 812",
    ):
        assert name in text


def test_figures_stand_for_each_family_and_for_real_data(pages):
    captions = [a["alt"].partition(":")[0] for a in pages["images"].of("img")]
    # A grid, a curve and the neighbours of each of six families that drew.
    assert Counter(captions) == {"Real data": 1} | dict.fromkeys(
        ("flow", "diffusion", "gmm", "vae", "wgan-gp", "parrot"), 3
    )


def test_what_went_wrong_is_said_with_its_reason(pages):
    trouble = pages["moons"].text.partition("are not ranked.")[2]
    assert "parrot copying The samples lie nearer to training rows" in trouble
    assert "gan diverged The critic's loss was NaN from step 812 on." in trouble
    assert "No reason" not in trouble and "vae" not in trouble


def test_reports_carry_their_protocol(pages):
    text = pages["table"].text
    for entry in ("train rows 4000", "seeds 1", "conditional no", "versions · torch 2.13"):
        assert entry in text
    assert "flow(budget='2m', random_state=0)" in text


# ---- the table of metrics ---------------------------------------------------------------------


def test_numbers_are_written_with_the_digits_their_interval_supports(tmp_path):
    report = minimal(["a", "b", "c", "d", "e"])
    values = [(0.123456, 0.0123), (0.5, 0.0001), (0.5, 0.06), (12.3456, 3.0), (2e9, 5e8)]
    for line, (value, half) in zip(report["rows"], values, strict=True):
        line["metrics"] = {"coverage": metric(value, half, "higher")}
    path = write_report(tmp_path, report, {}, Material(np.zeros((9, 2))))
    assert [cells(path, name)[0].replace(" (best)", "") for name in "abcde"] == [
        "0.123 0.111 to 0.136",
        "0.5000 0.4999 to 0.5001",
        "0.500 0.440 to 0.560",
        "12.3 9.3 to 15.3",
        "2.0 × 10⁹ 1.5 × 10⁹ to 2.5 × 10⁹",
    ]


def test_small_columns_share_a_power_of_ten(tmp_path):
    report = minimal(["a", "b", "c"])
    for line, value in zip(report["rows"], (-0.0004, 0.0021, 0.0035), strict=True):
        line["metrics"] = {"energy_distance": metric(value, 0.0003)}
    path = write_report(tmp_path, report, {}, Material(np.zeros((9, 2))))
    assert cells(path, "a")[0] == "−0.40 (best) −0.70 to −0.10"
    assert "lower is better, in 10⁻³" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("better", "target", "best"),
    [("lower", None, "a"), ("higher", None, "c"), ("target", 0.5, "b")],
)
def test_best_of_a_column_is_marked_once_and_only_among_ranked_rows(
    tmp_path, better, target, best
):
    report = minimal(["a", "b", "c", "low", "high", "reference"])
    for line, value in zip(report["rows"], (0.2, 0.51, 0.9, -5.0, 5.0, 0.5), strict=True):
        line["metrics"] = {"m": metric(value, 0.01, better, target)}
    report["rows"][3]["status"], report["rows"][4]["flags"] = "collapsed", ["copying"]
    report["rows"][5]["role"] = "reference"
    path = write_report(tmp_path, report, {}, Material(np.zeros((9, 2))))
    marked = [r["name"] for r in report["rows"] if "(best)" in cells(path, r["name"])[0]]
    assert marked == [best]


def test_rows_are_sorted_by_the_ranking_metric_and_references_come_last(pages):
    text = pages["table"].path.read_text("utf-8")
    names = re.findall('<span class="name">([^<]*)<', text)
    assert names[:11] == [
        "flow",
        "diffusion",
        "gmm",
        "vae",
        "wgan-gp",
        "parrot",
        "gan",
        "big-ae",
        "real",
        "gaussian",
        "copier",
    ]
    header = re.findall(r'<th scope="col">([^<]*)<', text)
    assert header[1] == "c2st"  # ranked by it, though another metric comes first in the report


def bars(path):
    """Of each metric cell, the ends and the middle of its bar, or the side of an arrow."""
    text = path.read_text(encoding="utf-8")
    spans = re.findall(r'"span" d="M([\d.]+) 6H([\d.]+)"/><path class="dot" d="M([\d.]+) ', text)
    return [tuple(map(float, span)) for span in spans], text.count('class="arrow"')


def test_bars_share_the_scale_of_their_column(tmp_path):
    report = minimal(["a", "b", "c"])
    for line, value in zip(report["rows"], (1.0, 2.0, 3.0), strict=True):
        line["metrics"] = {"m": metric(value, 0.5)}
    path = write_report(tmp_path, report, {}, Material(np.zeros((9, 2))))
    spans, arrows = bars(path)
    # From 0.5 to 3.5 and a margin of a twentieth: a unit is 100 / 3.3.
    assert arrows == 0
    np.testing.assert_allclose(spans[0], np.array([0.15, 1.15, 0.65]) / 3.3 * 100, atol=0.01)
    np.testing.assert_allclose(np.diff([s[2] for s in spans]), 100 / 3.3, atol=0.02)


def test_a_value_far_away_gets_an_arrow_and_does_not_squeeze_the_others(tmp_path):
    report = minimal(["a", "b", "c", "d"])
    for line, value in zip(report["rows"], (1.0, 2.0, 3.0, 1e6), strict=True):
        line["metrics"] = {"m": metric(value, 0.5)}
    spans, arrows = bars(write_report(tmp_path, report, {}, Material(np.zeros((9, 2)))))
    assert arrows == 1 and len(spans) == 3
    assert spans[2][2] - spans[0][2] > 15


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf")])
def test_missing_numbers_are_dashes(tmp_path, bad):
    report = minimal(["a", "b"])
    report["rows"][0]["metrics"] = {"m": {**metric(1.0), "value": bad}}
    report["rows"][0] |= {
        "seconds": {"fit": bad, "sample": None},
        "parameters": bad,
        "evaluations": None,
    }
    report["rows"][1]["metrics"] = {"m": {**metric(1.0), "low": bad}}
    path = write_report(tmp_path, report, {}, Material(np.zeros((9, 2))))
    assert cells(path, "a") == ["–"] * 2 and cells(path, "a", "cost") == ["–"] * 4 + ["800 MB"]
    assert cells(path, "b")[0] == "1.00 (best)"


def test_costs_are_written_for_people(tmp_path):
    report = minimal(["a", "b"])
    report["rows"][0] |= {
        "seconds": {"fit": 0.031, "sample": 119.6},
        "parameters": 999,
        "evaluations": 12_345,
    }
    report["rows"][1] |= {
        "seconds": {"fit": 754.0, "sample": 7384.0},
        "parameters": 45_600_000,
        "evaluations": 1,
    }
    report["rows"][1]["peak_memory_mb"] = 3072
    path = write_report(tmp_path, report, {}, Material(np.zeros((9, 2))))
    assert cells(path, "a", "cost") == ["0.031 s", "120 s", "12.3 k", "999", "800 MB"]
    assert cells(path, "b", "cost") == ["12 min 34 s", "2 h 03 min", "1", "45.6 M", "3.0 GB"]
    assert cells(path, "a")[-1] == "120 s" and cells(path, "b")[-1] == "2 h 15 min"


def test_numbers_stand_in_tables_by_what_they_answer(tmp_path):
    names = ["vendi", "train_on_synthetic", "fd_enetlite0", "mmd_enetlite0", "c2st_pca",
             "copying_pca", "reconstruction_error", "something", "energy_distance"]  # fmt: skip
    report = minimal(["a"])
    report["rows"][0]["metrics"] = {name: metric(0.5) for name in names}
    report["protocol"] = {"ranked_by": "mmd_enetlite0"}
    found = headings(write_report(tmp_path, report, {}, Material(np.zeros((9, 2)))))
    assert found == {
        "Quality": ["mmd enetlite0", "energy distance", "c2st pca", "fd enetlite0",
                    "reconstruction error", "something", "time"],
        "Use, variety and memory": ["train on synthetic", "vendi", "copying pca"],
        "Cost": ["training", "sampling", "network evaluations", "parameters", "peak memory"],
    }  # fmt: skip


def test_what_would_scroll_out_of_sight_has_a_table_of_its_own(tmp_path):
    report = minimal(["a"])
    report["rows"][0]["metrics"] = {
        name: metric(0.5)
        for name in ("column_shapes", "pair_trends", "train_on_synthetic", "coverage", "density",
                     "vendi", "copying", "copying_pca", "mmd")
    }  # fmt: skip
    found = headings(write_report(tmp_path, report, {}, Material(np.zeros((9, 2)))))
    assert list(found) == ["Quality", "Use", "Variety and memory", "Cost"]
    assert len(found["Variety and memory"]) == 5


def test_references_without_a_cost_have_no_row_of_costs(pages):
    text = pages["table"].path.read_text("utf-8").partition('id="numbers-cost"')[2]
    names = re.findall('<span class="name">([^<]*)<', text.partition("</table>")[0])
    assert names == ["flow", "diffusion", "gmm", "vae", "wgan-gp", "parrot", "gan", "big-ae"]


@pytest.mark.parametrize(
    ("kind", "features", "simple", "words"),
    [
        ("vectors", "standardised", "standardised", "in units of their standard deviation."),
        ("table", "table", "table", "categories as columns of 0 and 1."),
        ("images", "pixel-pca-64", "pixel-pca-64", "components of their pixels (pixel-pca-64)."),
        ("images", "enetlite0", "pixel-pca-64", "1,280 features of EfficientNet-Lite0, "),
        ("images", "enetlite0", "pixel-pca-64", "c2st and copying see pixel-pca-64 features."),
        ("table", "mine<b>", "table", "features of the name mine<b>; c2st and copying see table"),
    ],
)
def test_it_is_said_what_numbers_are_measured_in(tmp_path, kind, features, simple, words):
    report = minimal(["a"])
    report["data"]["kind"] = kind
    report["protocol"] = {"features": features, "simple_features": simple}
    page = written(tmp_path, report)
    assert words in page.text.partition("What they draw")[0] and "b" not in page.tags


def test_twelve_families_fit(tmp_path):
    names = [f"family-{i:02d}" for i in range(12)]
    page = written(tmp_path, minimal(names, best=names[0], tied=names[1:]))
    assert page.unbalanced == 0 and all(name in page.text for name in names)


# ---- codes ------------------------------------------------------------------------------------


def coded_page(tmp_path, kind="images", **changes):
    """A page with one family that has codes and does not sample, and one that only samples."""
    rng = np.random.default_rng(0)
    names = ["silent", "other"]
    report = minimal(names, kind)
    report["rows"][0] |= {
        "metrics": {"reconstruction_error": metric(0.01, 0.001)},
        "flags": ["does not sample"],
        "reason": "It has no prior <b>.",
        **changes,
    }
    real, points = pictures(rng, 0.0, 40, 8), rng.normal(size=(40, 2))
    codes = Codes(5, real, points, 0.5, real[:16], (3, 1), real[:18], ((0, 1), (2, 3), (4, 5)))
    drawn = Material(pictures(rng, 0.3, 40, 8))
    shown = {"silent": Material(codes=codes), "other": drawn}
    return written(tmp_path, report, shown, Material(real, known=np.arange(40) % 2))


def test_a_family_that_does_not_sample_says_so_in_table_and_card(tmp_path):
    page = coded_page(tmp_path)
    assert page.unbalanced == 0
    assert "This family does not sample. It has no prior <b>." in page.text
    chips = [a for a in page.of("span") if a.get("class") == "chip"]
    # Once in each table of numbers, then at its codes and at its training.
    assert len(chips) == page.text.count("silent does not sample") == 4
    assert "What went wrong" not in page.text
    lines = cells(tmp_path / "index.html", "silent")
    assert lines.count("–") == 2 and "0.0100 (best) 0.0090 to 0.0110" in lines


def test_ranked_rows_come_before_one_that_does_not_sample(tmp_path):
    coded_page(tmp_path)
    names = re.findall('<span class="name">([^<]*)<', (tmp_path / "index.html").read_text("utf-8"))
    assert names[:2] == ["other", "silent"]


def test_trouble_of_a_family_that_does_not_sample_is_trouble(tmp_path):
    page = coded_page(tmp_path, status="diverged", reason="NaN from step 3 on.")
    assert "What went wrong" in page.text and "NaN from step 3 on." in page.text


def test_codes_stand_after_the_samples_and_only_where_there_are_some(pages, tmp_path):
    page = coded_page(tmp_path)
    sections = [a["id"] for a in page.of("section")]
    assert sections[2:5] == ["samples", "codes", "training"]
    assert "#codes" in [a["href"] for a in page.of("a")]
    assert all("codes" not in [a["id"] for a in one.of("section")] for one in pages.values())
    alts = [a["alt"] for a in page.of("img") if a["alt"].startswith("silent")]
    assert alts == [
        "silent: 12 held-out images, each above its reconstruction",
        "silent: 2 rows of 8 images, each along one number of the code",
        "silent: 3 rows of images that go from one held-out image to another",
        "silent: Codes of 40 held-out rows in the plane, coloured by 2 classes",
    ]


def test_codes_that_a_model_could_not_make_are_told_under_its_name(tmp_path):
    failed = Material(codes=Codes(0, failure="ValueError: no\ncode"))
    page = written(tmp_path, minimal(["a", "b"]), {"b": failed}, Material(np.zeros((9, 2))))
    assert "codes" in [a["id"] for a in page.of("section")]
    told = page.text.partition("All rows here are held out.")[2].split("How they trained")[0]
    assert " ".join(told.split()) == (
        "b No figures The codes of this model cannot be shown: ValueError: no code"
    )


@pytest.mark.parametrize(("held_out", "said"), [(24, True), (199, True), (200, False)])
def test_few_held_out_rows_are_warned_of(tmp_path, held_out, said):
    report = {**minimal(["a"]), "protocol": {"held_out_rows": held_out}}
    page = written(tmp_path, report, {}, Material(np.zeros((9, 2))))
    assert (f"Only {held_out} rows are held out: the intervals are wide" in page.text) == said


def test_codes_that_cannot_be_drawn_leave_a_note(tmp_path):
    report, rows = minimal(["a"]), np.zeros((9, 2))
    codes = Codes(3, "nonsense", np.zeros((4, 2)))
    page = written(tmp_path, report, {"a": Material(codes=codes)}, Material(rows))
    assert page.text.count("could not be drawn") == 1 and "Map of the codes" in page.text


def test_hostile_names_in_reconstructions_stay_text(tmp_path):
    samples = hostile_samples("table")
    report = hostile_report("table")
    name = report["rows"][0]["name"]
    codes = {name: Material(codes=Codes(2, samples, np.zeros((24, 2))))}
    real = Material(samples, known=np.array([HOSTILE[i % 12] for i in range(24)], object))
    page = written(tmp_path, report, codes, real)
    assert page.unbalanced == 0 and "script" not in page.tags and "b" not in page.tags
    assert page.text.count("original") >= 3 and "could not be drawn" not in page.text


# ---- from noise to data -----------------------------------------------------------------------


def test_strips_and_paths_stand_after_the_samples(tmp_path):
    rng = np.random.default_rng(0)
    names = ["moves", "bends", "none"]
    strip = Journey((0.0, 0.5, 1.0), images=pictures(rng, 0.3, 6, 8))
    real = pictures(rng, 0.0, 9, 8)
    page = written(tmp_path, minimal(names, "images"), {"moves": Material(journey=strip),
                   "none": Material()}, Material(real))  # fmt: skip
    assert [a["id"] for a in page.of("section")][2:5] == ["samples", "journeys", "training"]
    assert "#journeys" in [a["href"] for a in page.of("a")]
    alts = [a["alt"] for a in page.of("img") if "noise" in a["alt"]]
    assert alts == ["moves: 2 rows of 3 images, each from noise to a sample"]
    assert "t = 0.00, 0.50, 1.00." in page.text

    paths = Journey((0.0, 1.0), paths=rng.normal(size=(7, 2, 2)))
    bent = Journey(noise=mesh(2), mapped=mesh(2) * 2)
    shown = {"moves": Material(journey=paths), "bends": Material(journey=bent)}
    page = written(tmp_path, minimal(names), shown, Material(moons(rng, 0.1)))
    alts = [a["alt"].partition(":")[0] for a in page.of("img") if "noise" in a["alt"]]
    assert alts == ["moves", "bends"] and "could not be drawn" not in page.text
    # Both themes have a figure of their own.
    assert sum("prefers-color-scheme" in (a.get("media") or "") for a in page.of("source")) >= 2


def test_without_a_way_to_show_there_is_no_such_section(pages):
    assert all("journeys" not in [a["id"] for a in one.of("section")] for one in pages.values())


def test_ways_that_cannot_be_drawn_leave_a_note(tmp_path):
    broken = {"a": Material(journey=Journey((0.0, 1.0), images="nonsense"))}
    page = written(tmp_path, minimal(["a"]), broken)
    assert page.text.count("could not be drawn") == 1


# ---- hostile text -----------------------------------------------------------------------------


def hostile_report(kind):
    report = minimal(HOSTILE, kind, best=HOSTILE[0], tied=HOSTILE[1:3], why=" ".join(HOSTILE[:9]))
    report["data"] |= {
        "columns": HOSTILE,
        "label": HOSTILE[1],
        "shape": [len(HOSTILE)],
        "notes": HOSTILE,
    }
    report["protocol"] = {text: HOSTILE for text in HOSTILE} | {"ranked_by": HOSTILE[0]}
    for line, text in zip(report["rows"], HOSTILE, strict=True):
        values = {text: metric(1.0) for text in HOSTILE}
        line |= {
            "family": text,
            "arguments": {text: text},
            "status": text,
            "reason": text,
            "flags": [text],
            "metrics": values,
        }
    return report


def hostile_material(samples):
    able = {text: text for text in HOSTILE}
    lines = [{"step": i, **{f"loss {text}": 1.0 / i for text in HOSTILE}} for i in range(1, 5)]
    labels = [HOSTILE[i % len(HOSTILE)] for i in range(len(samples))]
    pair = (samples[:4], samples[4:8])
    return {text: Material(samples, labels, lines, pair, able) for text in HOSTILE[:3]}


def hostile_samples(kind):
    rng = np.random.default_rng(0)
    if kind == "images":
        return pictures(rng, 0.1, 24, 8)
    if kind == "vectors":
        return rng.normal(size=(24, len(HOSTILE)))
    columns = {name: [HOSTILE[(i + j) % 12] for i in range(24)] for j, name in enumerate(HOSTILE)}
    # Text with surrogates cannot be of pandas's own string type.
    return pd.DataFrame(
        np.array(list(columns.values()), object).T,
        columns=pd.Index(HOSTILE, dtype=object),
        dtype=object,
    )


@pytest.mark.parametrize("kind", ["vectors", "table", "images"])
def test_hostile_names_neither_run_nor_break_the_page(tmp_path, kind):
    samples = hostile_samples(kind)
    labels = [HOSTILE[i % 12] for i in range(24)]
    path = write_report(
        tmp_path, hostile_report(kind), hostile_material(samples), Material(samples, labels)
    )
    page = Page(path)
    assert page.unbalanced == 0 and page.stack == [] and "script" not in page.tags
    assert not [key for _, a in page.attributes for key in a if key.startswith("on")]
    assert {a.get("src", "data:")[:5] for _, a in page.attributes} == {"data:"}
    assert "<script>alert(1)</script>" in page.text and "{{ 7 * 7 }}" in page.text
    assert "could not be drawn" not in page.text
    assert "x" * 1300 not in page.text and "x" * 20 in page.text
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e\ud800-\udfff]", page.text)


def test_hostile_names_in_figures_are_well_formed_svg(tmp_path):
    samples = hostile_samples("table")
    page = written(tmp_path, hostile_report("table"), hostile_material(samples), Material(samples))
    svgs = [a["src"] for a in page.of("img") if a["src"].startswith("data:image/svg")]
    assert len(svgs) == 6
    for uri in svgs:
        text = base64.b64decode(uri.partition(",")[2]).decode()
        tags = re.findall(r"<([a-zA-Z]+)", text)
        assert "script" not in tags and not re.search(r"\son\w+=\"", text)
        ElementTree.fromstring(text)


def test_a_figure_that_fails_becomes_a_note(tmp_path):
    report = minimal(["good", "bad"])
    samples = np.random.default_rng(0).normal(size=(30, 2))
    fine = Material(samples, history=[{"step": 1, "loss": 1.0}])
    broken = Material(
        "nonsense", history=[{"step": 1, "loss": "<b>?"}], neighbours=(samples, object())
    )
    page = written(tmp_path, report, {"good": fine, "bad": broken}, Material(samples))
    assert page.text.count("could not be drawn") == 3
    alts = [a["alt"] for a in page.of("img")]
    assert sum(alt.startswith("good") for alt in alts) == 2
    assert "b" not in page.tags


def test_real_rows_that_cannot_be_drawn_do_not_lose_the_report(tmp_path):
    report = minimal(["a"])
    page = written(tmp_path, report, {"a": Material(np.zeros((3, 2)))}, Material("nonsense"))
    assert "could not be drawn" in page.text and "The numbers" in page.text


def test_an_older_page_is_replaced(tmp_path):
    (tmp_path / "index.html").write_text("old")
    written(tmp_path, minimal(["a"]))
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"]
    assert (tmp_path / "index.html").read_text("utf-8") != "old"


# ---- results.csv ------------------------------------------------------------------------------


def test_results_hold_every_number_of_every_row():
    report = fabricated("vectors")
    lines = list(csv.DictReader(io.StringIO(results_csv(report))))
    assert [line["name"] for line in lines] == [line["name"] for line in report["rows"]]
    for line, original in zip(lines, report["rows"], strict=True):
        for name, result in original["metrics"].items():
            assert float(line[name]) == result["value"]
            assert float(line[f"{name}_low"]) == result["low"]
            assert float(line[f"{name}_high"]) == result["high"]
        assert line["seconds_fit"] == ("118.4" if (original["seconds"] or {}).get("fit") else "")
    assert json.loads(lines[0]["arguments"]) == report["rows"][0]["arguments"]
    assert lines[5]["energy_distance"] == ""


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_text_is_never_a_formula_and_numbers_are_never_text(start):
    name = f"{start}cmd|' /C calc'!A0"
    report = {"rows": [{"name": name, "reason": name, "metrics": {name: metric(-1.5)}}]}
    header, line = csv.reader(io.StringIO(results_csv(report), newline=""))
    assert line[0] == line[5] == "'" + name
    assert header[-3] == "'" + name and line[-3:] == ["-1.5", "-1.6", "-1.4"]


def test_what_is_no_number_is_an_empty_cell():
    values = {"value": float("nan"), "low": float("-inf"), "high": None}
    text = results_csv({"rows": [{"name": "\ud800", "metrics": {"m": values}}]})
    assert text.splitlines()[1].startswith("\\ud800,") and text.encode()
    assert text.splitlines()[1].endswith(",,,")


# ---- in a browser -----------------------------------------------------------------------------

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=390,800",
    "--dump-dom",
]
# A page is measured from outside: the report itself may not run scripts.
MEASURE = """<!doctype html><body><iframe src="index.html" width="{width}" height="900"></iframe>
<script>onload = () => {{
  const inside = document.querySelector("iframe").contentDocument;
  const loaded = performance.getEntriesByType("resource").map(entry => entry.name);
  const within = document.querySelector("iframe").contentWindow.performance
    .getEntriesByType("resource").map(entry => entry.name);
  const pictures = [...inside.images].map(image => image.naturalWidth);
  const names = [...inside.querySelectorAll(".name")].map(node => node.textContent);
  const boxes = [...inside.querySelectorAll("#numbers .scroll")];
  const hidden = Math.max(...boxes.map(box => box.scrollWidth - box.clientWidth));
  const overflow = inside.documentElement.scrollWidth - inside.documentElement.clientWidth;
  const seen = {{loaded, within, pictures, names, hidden, overflow}};
  document.body.textContent = JSON.stringify(seen);
}}</script>"""


def browse(page, profile):
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed, and CI must open the report in a browser.")
        pytest.skip("chromium is not installed")
    own = ["--allow-file-access-from-files", f"--user-data-dir={profile}"]
    command = [CHROMIUM, *FLAGS, *own, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout


FULL = [
    "energy_distance", "sliced_wasserstein", "mmd", "log_likelihood", "reconstruction_error",
    "pair_trends", "train_on_synthetic", "coverage",
]  # fmt: skip


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The folder of a page of a table with as many metrics as there are."""
    report = fabricated("table", list(table(np.random.default_rng(0), 0)), (6,), "rides.csv")
    for line in report["rows"]:
        full = {name: metric(-0.1234567, 0.0123) for name in FULL}
        line["metrics"] |= full if line["metrics"] else {}
    folder = tmp_path_factory.mktemp("full")
    write_report(folder, report, *material(report, table))
    return folder


@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_every_row_and_fetches_nothing(full, tmp_path, width):
    outside = full / f"measure-{width}.html"
    outside.write_text(MEASURE.format(width=width))
    body = browse(outside, tmp_path / "profile").partition("<body>")[2].partition("</body>")[0]
    seen = json.loads(body)
    assert {"flow", "gan", "big-ae", "parrot", "real", "copier"} <= set(seen["names"])
    assert len(seen["pictures"]) == 12 and min(seen["pictures"]) > 0
    addresses = seen["loaded"] + seen["within"]
    assert all(address.startswith(("data:", "file:///")) for address in addresses)
    assert not [a for a in seen["within"] if not a.startswith("data:")]
    assert seen["overflow"] <= 0
    # On a wide page no column is out of sight; on a narrow one tables scroll in their boxes.
    assert seen["hidden"] <= 0 if width == 1280 else seen["hidden"] > 0
