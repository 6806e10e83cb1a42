"""Hyperparameter search: group folds of the training and validation rows; the test split takes no part.

Samples with Optuna's tree-structured Parzen estimator (Bergstra et al. 2011). The first trial is the recipe as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from packshot.config import LossSettings, Profile, Recipe, SearchDimension, Settings, SettingsError
from packshot.evaluation.run import fold_figures
from packshot.progress import say
from packshot.training.crossval import cross_validated
from packshot.training.dataset import Dataset, Pairs

if TYPE_CHECKING:
    from optuna import Study, Trial

Values = dict[str, float | str]
Note = Callable[[int, Values, Mapping[str, float], float], None]
"""Called after each trial: its number, what was tried, its figures, and its score."""


def search(
    settings: Settings, data: Dataset, pairs: Pairs | None, profile: Profile, journal: Path, trials: int, note: Note
) -> tuple[Values, float, float]:
    """Go on with the search kept in `journal` until it holds `trials` finished trials.

    Returns the best values, their score, and that of the recipe as it is. The score is the mean over labelled sets of
    the rank correlation within subsets (of all rows where there are none) and of style accuracy, over folds.
    """
    study = _study(settings, journal)
    shown = data.only(data.of_splits("train", "validation"))
    if not study.trials:
        study.enqueue_trial(_as_it_is(settings))
    done = _finished(study)
    if done:
        say(f"search: {done} of {trials} trials are done already; going on")
    while (number := _finished(study)) < trials:
        trial = study.ask()
        values = {name: _suggest(trial, settings, name) for name in settings.search.space}
        changed = apply(settings, values)
        figures = fold_figures(cross_validated(changed, shown, pairs, f"trial {number + 1} of {trials}"), profile)
        score = score_of(figures, profile)
        study.tell(trial, score)
        note(number, values, figures, score)
        say(f"search: trial {number + 1} of {trials}: {score:.4f} (best {study.best_value:.4f}) with {values}")
    first = next(one for one in study.trials if one.value is not None).value
    return dict(study.best_params), float(study.best_value), float(first or 0.0)


def score_of(figures: Mapping[str, float], profile: Profile) -> float:
    """What the search maximises. Raises SettingsError where nothing labelled can be measured."""
    found = [
        figures.get(f"quality/srcc_within_folds/{name}", figures.get(f"quality/srcc_folds/{name}"))
        for name in profile.quality
    ]
    found += [figures.get(f"style/accuracy_folds/{name}") for name in profile.style]
    known = [value for value in found if value is not None]
    if not known:
        raise SettingsError("there is no scored and no styled set to search on; label some, or name them in profiles")
    return float(np.mean(known))


def apply(settings: Settings, values: Mapping[str, float | str]) -> Settings:
    """`settings` with the values of one trial. Raises SettingsError for a key that there is not, or a bad value."""
    training = settings.training
    parts: dict[str, dict[str, Any]] = {
        "recipe": training.chosen.model_dump(),
        "loss": training.loss.model_dump(),
        "model": {},
    }
    for name, value in values.items():
        part, _, key = name.partition(".")
        known = settings.model.model_dump() if part == "model" else parts.get(part, {})
        if key not in known:
            raise SettingsError(
                f"search.space.{name}: there is no such setting; write recipe.KEY, loss.KEY or model.KEY"
            )
        parts[part][key] = value
    parts["recipe"]["model"] = {**training.chosen.model, **parts["model"]}
    try:
        recipe, loss = Recipe.model_validate(parts["recipe"]), LossSettings.model_validate(parts["loss"])
        changed = training.model_copy(update={"recipes": {**training.recipes, training.recipe: recipe}, "loss": loss})
        return Settings.model_validate(settings.model_copy(update={"training": changed}).model_dump())
    except ValidationError as error:
        raise SettingsError(f"search.space: {error.errors()[0]['msg']}, tried {dict(values)}") from error


def as_environment(settings: Settings, values: Mapping[str, float | str]) -> list[str]:
    """The values as the environment overrides that put them into force."""
    prefix = {
        "recipe": f"PACKSHOT__TRAINING__RECIPES__{settings.training.recipe.upper()}",
        "loss": "PACKSHOT__TRAINING__LOSS",
        "model": f"PACKSHOT__TRAINING__RECIPES__{settings.training.recipe.upper()}__MODEL",
    }
    split = [(name.partition("."), value) for name, value in values.items()]
    return [f"{prefix[part]}__{key.upper()}={value}" for (part, _, key), value in split]


def _study(settings: Settings, journal: Path) -> Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        sampler=optuna.samplers.TPESampler(seed=settings.training.seed),
        study_name="packshot",
        direction="maximize",
        load_if_exists=True,
    )


def _finished(study: Study) -> int:
    return sum(trial.value is not None for trial in study.trials)


def _as_it_is(settings: Settings) -> Values:
    found: Values = {}
    training = settings.training
    parts: dict[str, dict[str, Any]] = {
        "recipe": training.chosen.model_dump(),
        "loss": training.loss.model_dump(),
        "model": settings.network.model_dump(),
    }
    for name, dimension in settings.search.space.items():
        part, _, key = name.partition(".")
        value = parts.get(part, {}).get(key)
        if value is not None and _allowed(value, dimension):
            found[name] = value
        else:
            say(f"search: {name} is {value} as it is, outside its range; the first trial draws it")
    return found


def _allowed(value: Any, dimension: SearchDimension) -> bool:
    if dimension.choices:
        return value in dimension.choices
    assert dimension.low is not None and dimension.high is not None
    return dimension.low <= float(value) <= dimension.high


def _suggest(trial: Trial, settings: Settings, name: str) -> float | str:
    dimension = settings.search.space[name]
    if dimension.choices:
        chosen: Any = trial.suggest_categorical(name, dimension.choices)
        return chosen  # type: ignore[no-any-return]
    assert dimension.low is not None and dimension.high is not None
    return float(trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log))
