r"""What doctests run under: a comparison fits in this process, from the files of a worker."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def workers_here(request: pytest.FixtureRequest) -> Iterator[None]:
    r"""Spare the example of ``compare`` the processes, which ``tests/comparison`` starts."""
    if request.node.name != "fromnoise.comparison.run.compare":
        yield
        return
    from fromnoise.comparison import plan, worker

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "run_worker", lambda folder, job, lock: worker.main(str(folder)))
        yield
