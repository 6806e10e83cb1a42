"""The DAG that docs/extending.md shows loads beside ours and runs its command."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


def test_the_dag_that_the_page_shows_runs(airflow_home, packshot, tmp_path):
    from airflow.dag_processing.dagbag import DagBag

    section = PAGE.read_text(encoding="utf-8").split("## A DAG\n", 1)[1]
    (tmp_path / "more.py").write_text(re.search(r"```python\n(.*?)```", section, re.DOTALL)[1])
    bag = DagBag(str(tmp_path))
    assert bag.import_errors == {} and set(bag.dags) == {"calibrate"}
    packshot(calibrate={"result": {"precision": "bf16"}})
    task = bag.dags["calibrate"].task_dict["calibrate"]
    assert task.execute({}) == {"precision": "bf16"}
    assert packshot.calls() == ["calibrate"]
