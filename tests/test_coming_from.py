r"""What docs/coming-from.md says to write here stands in a block, and blocks are run."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "coming-from.md").read_text("utf-8")
SECTIONS = {part.splitlines()[0]: part for part in PAGE.split("\n## ")[1:]}


def calls(section):
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    cells = [row.strip("| ").split(" | ")[-1] for row in rows]
    return [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("name", SECTIONS)
def test_what_to_write_here_is_run(name):
    block = re.search(r"```python\n(.*?)```", SECTIONS[name], re.DOTALL).group(1)
    found = calls(SECTIONS[name])
    assert len(found) >= 8
    for code in found:
        # A short call may stand with more arguments, such as a budget.
        names = re.findall(r"\w+\.?\w*(?=\()", code) or [code.strip("\"'")]
        assert all(name in block for name in names), code
        for argument in re.findall(r"\w+=[^,()]+", code):
            assert argument in block or argument.startswith("budget="), code


def test_there_are_five_libraries():
    assert len(SECTIONS) == 5
