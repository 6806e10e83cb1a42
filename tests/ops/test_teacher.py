"""A registered model as the teacher of a recipe: the version, never the alias, is what a training was made from."""

from pathlib import Path

import numpy as np
import pytest
from skilled_models import Shop
from small_network import save_small_bundle, small_architecture

from packshot.bundle import read_network
from packshot.config import Settings
from packshot.home import Home
from packshot.inference.weights import Source
from packshot.ops.teacher import settled, teacher_of
from packshot.registry.alias import move
from packshot.registry.ledger import Ledger
from packshot.registry.models import NoSuchModel
from packshot.registry.register import register
from packshot.revision import run_key


def learning_from(settings: Settings, teacher: str | None) -> Settings:
    recipe = settings.training.chosen.model_copy(update={"teacher": teacher, "human_share": 0.5 if teacher else 1.0})
    recipes = settings.training.recipes | {settings.training.recipe: recipe}
    return settings.model_copy(update={"training": settings.training.model_copy(update={"recipes": recipes})})


def same(one: Source | None, other: Source) -> bool:
    assert one is not None and one.architecture == other.architecture
    return all(np.array_equal(one.weights[name], other.weights[name]) for name in other.weights)


def promoted(shop: Shop, ledger: Ledger, folder: Path, before: int | None) -> Path:
    bundle = save_small_bundle(folder, small_architecture(), before or 0, run_key(shop.settings, shop.workspace))
    version = register(shop.settings, shop.workspace, bundle=bundle, note="test").version
    move(shop.settings, ledger, from_version=before, to_version=version, rollback=False, payload={})
    return bundle


def test_the_champion_as_a_teacher_is_the_version_it_is_now(shop: Shop, ledger: Ledger, home: Home, tmp_path: Path):
    settings = learning_from(shop.settings, "model:champion")
    with pytest.raises(NoSuchModel):
        settled(settings)
    promoted(shop, ledger, tmp_path / "first", None)
    first = settled(settings)
    assert first.training.chosen.teacher == "model:1" and settled(first) == first
    second = promoted(shop, ledger, tmp_path / "second", 1)
    assert settled(settings).training.chosen.teacher == "model:2"
    assert settled(settings).params_hash() != first.params_hash()
    assert same(teacher_of(settings), read_network(second))


def test_a_folder_and_a_recipe_stay_what_they_are(shop: Shop, tmp_path: Path):
    bundle = save_small_bundle(tmp_path / "teacher", small_architecture(), 0)
    named = learning_from(shop.settings, f"model:{bundle}")
    assert settled(named) == named and same(teacher_of(named), read_network(bundle))
    recipe = learning_from(shop.settings, "champion")
    assert settled(recipe) == recipe and teacher_of(recipe) is None
    alone = learning_from(shop.settings, None)
    assert settled(alone) == alone and teacher_of(alone) is None
