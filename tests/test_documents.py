r"""What the documents print is run, and where they point is there."""

import re
from pathlib import Path

import pytest

from fromnoise.comparison import plan, worker

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")


BLOCKS = [
    pytest.param(code, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, code in enumerate(BLOCK.findall(page.read_text("utf-8")), start=1)
]


@pytest.mark.parametrize("code", BLOCKS)
def test_printed_python_runs_as_printed(code, tmp_path, monkeypatch):
    # only the time that it takes is changed, and that a worker is no process of its own
    short = re.sub(r'budget="[^"]*"', 'budget="20 steps"', code)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan, "run_worker", lambda folder, job, lock: worker.main(str(folder)))
    exec(compile(short, "document", "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    targets = [link for link in LINK.findall(page.read_text("utf-8")) if "://" not in link]
    assert [link for link in targets if not (page.parent / link).exists()] == []


def test_every_test_that_reliability_names_exists():
    text = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    named, file = [], ""
    for given, name in re.findall(r"`([\w/.]*)::(\w+)`", text):
        file = given or file  # as the one before it
        named.append((file, name))
    tests = {path: (ROOT / "tests" / path).read_text("utf-8") for path, _ in named}
    assert [pair for pair in named if f"def {pair[1]}(" not in tests[pair[0]]] == []
    rows = [line for line in text.splitlines() if line.startswith("| ") and "held by" not in line]
    assert len(rows) > 60 and all("::test_" in line for line in rows)


def test_there_are_blocks_to_run():
    assert len(BLOCKS) >= 8
