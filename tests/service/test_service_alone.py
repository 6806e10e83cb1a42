"""The service on its own extra: every page of the desk is made without what training, schedule and registry need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sample_verdicts import verdict, write_verdicts

HELPERS = Path(__file__).parents[1] / "helpers"
ALONE = """
import sys

class Absent:
    NAMES = ("torch", "pandas", "mlflow", "airflow", "dvc", "great_expectations", "ray", "sklearn", "scipy", "usearch")

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.NAMES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from desk_application import Application
from packshot.registry.ledger import Ledger
from packshot.service.access import ROUTES

ledger = Ledger.from_environment()
ledger.record("register", actor="bob", model_name="packshot", to_version=1, payload={"bundle_sha256": "d" * 64})
ann = Application.over(Path(sys.argv[2])).person("ann", "admin")
for route in ROUTES:
    if route.method == "GET" and route.path.startswith("/desk"):
        found = ann.get(route.path + ("?id=monday" if route.path == "/desk/batch" else ""))
        print(route.path, found.status_code)
print("approval", ann.post("/desk/model", [("version", "1"), ("answer", "reject")]).status_code)
"""


def test_every_page_is_made_with_the_extra_of_the_service_alone(tmp_path: Path) -> None:
    rows = [verdict("a.jpg", "review", reasons=["blur: 3 px"], sender="north"), verdict("b.jpg")]
    folder = write_verdicts(tmp_path / "out", rows)
    environment = {"PACKSHOT_HOME": str(tmp_path / "home"), "PATH": "", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", ALONE, str(HELPERS), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    told = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert len(told) >= 12 and told.pop("/desk/enter") == "401" and told.pop("/desk/sign-in") == "303"
    assert told.pop("approval") == "303" and set(told.values()) == {"200"}, told
