"""`make champion`: the full recipe, from data to gates, without Airflow."""

from __future__ import annotations

from packshot.config import Settings
from packshot.ops.notices import tell
from packshot.ops.pipeline import data_step, publish_data, retrain
from packshot.progress import say
from packshot.workspace import workspace_of_data

RECIPE = "champion"
REFUSED, NOT_ENOUGH_EVIDENCE = 3, 4


def run(settings: Settings) -> int:
    """Collect, validate, split, train the recipe `champion`, register, promote; return the exit code of `promote`."""
    from packshot.registry.promote import promote
    from packshot.registry.register import register

    full = settings.training.model_copy(update={"recipe": RECIPE})
    settings = settings.model_copy(update={"training": full})
    say(f"recipe {RECIPE!r}: {settings.training.chosen}")
    data_step(settings, "collect")
    data_step(settings, "validate")
    data_step(settings, "split")
    publish_data(settings)
    outcome = retrain(settings, "champion recipe")
    if outcome.done:
        workspace = workspace_of_data(outcome.record["data_rev"]).root.parent / outcome.record["workspace"]
        version = register(settings, workspace).version
    else:
        version = outcome.record["version"]
        workspace = workspace_of_data(outcome.record["data_rev"]).root
    result = promote(settings, challenger=version, workspace=workspace)
    tell(settings)
    say(result.table())
    return {"promoted": 0, "nothing_to_do": 0, "refused": REFUSED}.get(result.outcome, NOT_ENOUGH_EVIDENCE)
