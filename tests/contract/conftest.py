r"""Which families, presets and kinds of data the tests here run for.

A test of one family runs for every family. A test of kinds of data runs for every family on every
kind that it does not choose itself; for the presets of the GAN, whose losses are their own, too;
and for the other presets, which differ in less, on the kinds of ``SOME``.
"""

import pytest

from contract_cases import CASES
from fromnoise import families
from fromnoise.base import field, neural

SOME = ("vectors-numbers", "table-classes", "images-colour")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = metafunc.fixturenames
    marks = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "family" in names and "case" in names and "case" not in marks:
        pairs = [
            (name, case)
            for name, (family, _) in families.PRESETS.items()
            for case in (CASES if name == family or family == "gan" else SOME)
        ]
        metafunc.parametrize(("family", "case"), pairs)
    elif "family" in names:
        metafunc.parametrize("family", list(families.FAMILIES))
    elif "case" in names and "case" not in marks:
        metafunc.parametrize("case", list(CASES))


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Codes and scores by fewer steps, checks of a fit by fewer rows.

    How exact they are is tested elsewhere.
    """
    monkeypatch.setattr(field, "EXACT_STEPS", 12)
    monkeypatch.setattr(neural, "_CHECK_DRAWS", 64)
