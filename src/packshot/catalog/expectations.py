"""Great Expectations behind a small face: rules in, broken rows and Data Docs out.

A context lives in memory for one step; nothing of it is stored but the HTML. Analytics are off.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from packshot.catalog.data_docs_pages import finish_pages
from packshot.errors import PackshotError
from packshot.files import atomic_folder

ROW = "row"
"""Name of the column that numbers the rows of a checked table."""


class ExpectationFailed(PackshotError):
    """An expectation could not be evaluated at all, which is never a pass."""


@dataclass(frozen=True)
class Rule:
    """One expectation: its name here, its class in Great Expectations, and what breaking it means."""

    name: str
    expectation: str
    arguments: Mapping[str, Any]
    reason: str
    """Code for a row that breaks it; empty: the value seen is itself the code."""
    meaning: str
    """One sentence for people; shown in the Data Docs and in the quarantine."""
    warning: bool = False
    """Breaking it is shown and does not stop anything."""


@dataclass(frozen=True)
class Outcome:
    """What came of a rule: whether it held, and the rows that broke it with the value seen, in row order."""

    rule: Rule
    held: bool
    broken: Mapping[int, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Held, or no more than a warning."""
        return self.held or self.rule.warning


class DataDocs:
    """Checks tables against rules and collects the results as one HTML site. Made by `data_docs`."""

    def __init__(self, folder: Path, at: datetime) -> None:
        import great_expectations as gx
        from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

        self._folder = folder
        self._at = at
        self._pages: list[dict[str, Any]] = []
        stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
        config = DataContextConfig(store_backend_defaults=stores, analytics_enabled=False)
        self._context = gx.get_context(mode="ephemeral", project_config=config)
        self._context.variables.progress_bars = {"globally": False, "metric_calculations": False}
        self._context.add_data_docs_site(
            "packshot",
            {
                "class_name": "SiteBuilder",
                "show_how_to_buttons": False,
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
            },
        )
        self._source = self._context.data_sources.add_pandas("catalogue")

    def check(self, table: str, frame: pd.DataFrame, rules: Sequence[Rule]) -> list[Outcome]:
        """Check `frame`, whose rows are numbered in a column `row`, against every rule.

        Raises ExpectationFailed where Great Expectations could not evaluate one.
        """
        import great_expectations as gx
        from great_expectations.checkpoint import UpdateDataDocsAction
        from great_expectations.core.run_identifier import RunIdentifier

        shown = [name for name in (ROW, "path") if name in frame.columns]
        suite = self._context.suites.add(gx.ExpectationSuite(table))
        for rule in rules:
            suite.add_expectation(_expectation(rule))
        batch = self._source.add_dataframe_asset(table).add_batch_definition_whole_dataframe("all rows")
        definition = self._context.validation_definitions.add(
            gx.ValidationDefinition(name=table, data=batch, suite=suite)
        )
        checkpoint = self._context.checkpoints.add(
            gx.Checkpoint(
                name=table,
                validation_definitions=[definition],
                actions=[UpdateDataDocsAction(name="docs", site_names=["packshot"])],
                result_format={"result_format": "COMPLETE", "unexpected_index_column_names": shown},
            )
        )
        result = checkpoint.run(
            batch_parameters={"dataframe": frame},
            run_id=RunIdentifier(run_name=table, run_time=self._at),
        )
        (validated,) = result.run_results.values()
        by_name = {rule.name: rule for rule in rules}
        outcomes = {one.rule.name: one for one in (_outcome(by_name, found) for found in validated.results)}
        unanswered = [rule.name for rule in rules if rule.name not in outcomes]
        if unanswered:
            raise ExpectationFailed(f"Great Expectations gave no result for {', '.join(unanswered)} on {table}")
        answers = [outcomes[rule.name] for rule in rules]
        address = next(self._folder.glob(f"validations/{table}/**/*.html")).relative_to(self._folder).as_posix()
        self._pages.append({"table": table, "rows": len(frame), "outcomes": tuple(answers), "address": address})
        return answers

    def finish(self, title: str) -> None:
        """Make the pages self-contained and write their index."""
        finish_pages(self._folder, title, self._at.isoformat(), self._pages)


@contextmanager
def data_docs(folder: Path, at: str) -> Iterator[DataDocs]:
    """A DataDocs whose site replaces `folder` when the block ends well; `at` is the ISO time it shows.

    Raises OutputNotWritable where the site cannot be written.
    """
    _quiet()
    with atomic_folder(folder) as building:
        docs = DataDocs(building.resolve(), _time(at))
        yield docs
        docs.finish(folder.name)


def _quiet() -> None:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    logging.getLogger("great_expectations").setLevel(logging.ERROR)


def _time(at: str) -> datetime:
    time = datetime.fromisoformat(at)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _expectation(rule: Rule) -> Any:
    import great_expectations.expectations as gxe

    kind = getattr(gxe, rule.expectation)
    severity = "warning" if rule.warning else "critical"
    return kind(**rule.arguments, description=rule.meaning, severity=severity, meta={"rule": rule.name})


def _outcome(rules: Mapping[str, Rule], found: Any) -> Outcome:
    rule = rules[found.expectation_config.meta["rule"]]
    trouble = found.exception_info or {}
    if "raised_exception" in trouble and not trouble["raised_exception"]:
        trouble = {}
    if trouble:
        raise ExpectationFailed(f"the expectation {rule.name} could not be evaluated: {trouble}")
    result = found.result or {}
    places = result.get("unexpected_index_list") or []
    values = result.get("unexpected_list") or []
    broken = {int(place[ROW]): _seen(value) for place, value in zip(places, values, strict=True)}
    return Outcome(rule, bool(found.success), dict(sorted(broken.items())))


def _seen(value: Any) -> str:
    """Of a pair (declared, found) the value found."""
    return str(value[-1] if isinstance(value, tuple) else value)
