"""params.yaml is strict, its overrides work, and the hash moves only with what changes a model."""

from pathlib import Path

import pytest
import yaml

from packshot.config import SettingsError, dump_settings, load_settings

PARAMS = Path(__file__).parents[1] / "params.yaml"


def changed(tmp_path: Path, **edits: object) -> Path:
    raw = yaml.safe_load(PARAMS.read_text())
    for dotted, value in edits.items():
        *parents, key = dotted.split("__")
        target = raw
        for parent in parents:
            target = target[parent]
        if value is None:
            del target[key]
        else:
            target[key] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PACKSHOT_SOURCE", "PACKSHOT_MIRROR", "PACKSHOT_PARAMS"):
        monkeypatch.delenv(name, raising=False)


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"drift\.alhpa: unknown key"):
        load_settings(changed(tmp_path, drift__alhpa=0.1))


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"scoring\.shard_size: missing key"):
        load_settings(changed(tmp_path, scoring__shard_size=None))


def test_a_file_of_an_earlier_version_is_told_what_this_one_comes_with(tmp_path: Path) -> None:
    size = load_settings().scoring.shard_size
    with pytest.raises(SettingsError, match=rf"shard_size: missing key; add it; this version comes with {size}$"):
        load_settings(changed(tmp_path, scoring__shard_size=None))
    with pytest.raises(SettingsError, match=r"scoring: missing key; add it$"):
        load_settings(changed(tmp_path, scoring=None))


def test_a_mistyped_key_is_told_its_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"drift\.alhpa: unknown key.*did you mean alpha\?"):
        load_settings(changed(tmp_path, drift__alhpa=0.1))
    with pytest.raises(SettingsError, match=r"drift\.zzzzzz: unknown key; remove it or correct its name$"):
        load_settings(changed(tmp_path, drift__zzzzzz=0.1))


@pytest.mark.parametrize("content", ["[1, 2]", "a: [", "", None])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "params.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match=str(path)):
        load_settings(path)


def test_split_shares_must_add_up(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="must be 1"):
        load_settings(changed(tmp_path, splits__train=0.9))


@pytest.mark.parametrize("cost", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_no_cost_is_refused(tmp_path: Path, cost: float) -> None:
    with pytest.raises(SettingsError, match=r"scoring\.costs\.wrong_accept"):
        load_settings(changed(tmp_path, scoring__costs__wrong_accept=cost))


def test_nothing_is_rejected_that_would_be_accepted(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"reject_below \(0\.7\) must not be above accept_at"):
        load_settings(changed(tmp_path, scoring__reject_below=0.7))


def test_the_environment_overrides_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKSHOT__TRAINING__RECIPE", "champion")
    monkeypatch.setenv("PACKSHOT_SOURCE", "packages")
    settings = load_settings(PARAMS)
    assert settings.training.recipe == "champion"
    assert settings.source.use == "packages"
    monkeypatch.setenv("PACKSHOT__TRAINING__RECIPE", "none such")
    with pytest.raises(SettingsError, match="none such"):
        load_settings(PARAMS)


def test_a_dump_reads_back_as_the_same_settings(tmp_path: Path) -> None:
    settings = load_settings(PARAMS)
    path = tmp_path / "params.yaml"
    path.write_text(dump_settings(settings))
    assert load_settings(path) == settings


def test_the_hash_follows_what_changes_a_model_and_nothing_else(tmp_path: Path) -> None:
    plain = load_settings(PARAMS).params_hash()
    assert load_settings(changed(tmp_path, scoring__accept_at=0.7)).params_hash() == plain
    assert load_settings(changed(tmp_path, training__threads=1)).params_hash() == plain
    assert load_settings(changed(tmp_path, training__processes=2)).params_hash() == plain
    assert load_settings(changed(tmp_path, training__seed=18)).params_hash() != plain
    assert load_settings(changed(tmp_path, splits__seed=18)).params_hash() != plain
