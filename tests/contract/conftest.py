r"""Every test here runs for each family; for each preset too where it runs for kinds of data."""

import pytest

from contract_cases import CASES
from fromnoise import families
from fromnoise.base import field


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "family" in metafunc.fixturenames:
        kinds = "case" in metafunc.fixturenames
        metafunc.parametrize("family", list(families.PRESETS if kinds else families.FAMILIES))
    marks = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "case" in metafunc.fixturenames and "case" not in marks:
        metafunc.parametrize("case", list(CASES))


@pytest.fixture(autouse=True)
def coarse_odes(monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Solve ODEs of codes and scores in fewer steps; how exact they are is tested elsewhere."""
    monkeypatch.setattr(field, "EXACT_STEPS", 12)
