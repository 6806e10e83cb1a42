"""The registry tests' real MLflow, ledger and shop, for what is built on them."""

import importlib.util
import sys
from pathlib import Path

REGISTRY = Path(__file__).resolve().parents[1] / "registry"
sys.path.insert(0, str(REGISTRY))
_spec = importlib.util.spec_from_file_location("registry_fixtures", REGISTRY / "conftest.py")
assert _spec is not None and _spec.loader is not None
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)
settings, empty_store, home = _fixtures.settings, _fixtures.empty_store, _fixtures.home
ledger, shop = _fixtures.ledger, _fixtures.shop
