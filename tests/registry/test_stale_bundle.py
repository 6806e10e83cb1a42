"""A bundle is registered under the run key it was made with, or not at all."""

import json

import pytest
from skilled_models import Shop

from packshot.catalog.manifest import read_manifest, write_manifest
from packshot.registry.ledger import Ledger
from packshot.registry.register import StaleBundle, register
from packshot.revision import SPLIT_MANIFEST, run_key


@pytest.fixture
def trained(shop: Shop) -> Shop:
    """A bundle of the code, data and parameters in force, with its figures."""
    shop.bundle(0.9)
    shop.evaluate()
    return shop


def refused(shop: Shop, **changes: object) -> str:
    with pytest.raises(StaleBundle) as error:
        register(shop.settings.model_copy(update=changes), shop.workspace)
    assert not Ledger.from_environment().state("packshot").registered
    return str(error.value)


def test_a_bundle_of_other_code_is_refused(trained: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as edited:
        edited.setattr("packshot.revision.code_rev", lambda *_: "e" * 16)
        said = refused(trained)
    before = run_key(trained.settings, trained.workspace).code_rev
    assert f"models/packshot was made from other code ({before[:12]}, now {'e' * 12})" in said
    assert "parameters" not in said and "`packshot retrain`" in said and "`dvc repro`" in said
    assert register(trained.settings, trained.workspace).version == 1


def test_a_bundle_of_other_parameters_is_refused(trained: Shop) -> None:
    training = trained.settings.training.model_copy(update={"seed": trained.settings.training.seed + 1})
    said = refused(trained, training=training)
    assert "other parameters (" in said and "code (" not in said


def test_a_bundle_of_other_data_is_refused_whichever_it_is(trained: Shop) -> None:
    manifest = trained.workspace / SPLIT_MANIFEST
    other = trained.bundle(0.8, "other")
    write_manifest(manifest, read_manifest(manifest).iloc[1:].reset_index(drop=True))
    assert "other data (" in refused(trained)
    with pytest.raises(StaleBundle, match="name the workspace of its data"):
        register(trained.settings, trained.workspace, bundle=other, note="test")


def test_a_bundle_that_does_not_say_what_it_is_of_is_refused(trained: Shop) -> None:
    (trained.workspace / "models/packshot/bundle.json").write_text(json.dumps({"skill": 0.9}))
    assert "bundle.json does not say what it was made from" in refused(trained)


def test_a_copy_of_an_older_model_keeps_what_that_was_made_from(trained: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the drill does, which damages the champion: the code may have changed since that was trained."""
    copy, key = trained.bundle(0.1, "copy"), run_key(trained.settings, trained.workspace)
    monkeypatch.setattr("packshot.revision.code_rev", lambda *_: "e" * 16)
    registered = [register(trained.settings, trained.workspace, bundle=copy, note="drill") for _ in range(2)]
    assert [each.new for each in registered] == [True, False]
    (entry,) = [event for event in Ledger.from_environment().events() if event.kind == "register"]
    assert entry.code_rev == key.code_rev
