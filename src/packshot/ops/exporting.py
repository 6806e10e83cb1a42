"""What an export is made from: the verdicts named, else all that the champion scored, and what a catalogue adds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from packshot.catalog.decoding.isolated import decode
from packshot.catalog.image import ImageLimits
from packshot.catalog.shop.matching import KnownFiles, read_facts
from packshot.catalog.shop.records import CatalogUnreadable
from packshot.config import Settings
from packshot.errors import PackshotError
from packshot.evaluation.digest import bundle_digest
from packshot.exports.source import BUNDLE, VerdictFile, VerdictsMixed, model_label, one_model, open_verdicts
from packshot.exports.style_index import Floats, Hit, StyleIndex, Wanted, index_folder, open_index, update
from packshot.exports.styles import month_of
from packshot.ops.pipeline import champion_version, inbox_batches, verdict_folder
from packshot.registry.alias_check import CHAMPION, promoted
from packshot.registry.ledger import Ledger
from packshot.registry.models import STARTER, is_starter, judging_bundle


class NoSuchPicture(PackshotError):
    """Neither a file nor an indexed picture has that name."""

    exit_code = 66


def chosen_verdicts(settings: Settings, folders: Sequence[Path] | None) -> list[VerdictFile]:
    """The verdict files in `folders`; by default of every batch of the inbox that the champion scored, by name.

    Raises what `open_verdicts` raises, NoSuchModel where there is no champion, and AliasMovedByHand where the verdicts
    are by a registered version while the alias is not where the ledger left it.
    """
    if folders:
        files = open_verdicts(folders)
        if any(file.registered == settings.registry.model_name for file in files):
            promoted(settings, Ledger.from_environment())
        return files
    version = champion_version(settings)
    scored = [verdict_folder(batch, version) for batch in inbox_batches()]
    return open_verdicts([folder for folder in scored if (folder / "verdicts.parquet").is_file()])


def catalog_column(
    settings: Settings, files: Sequence[VerdictFile], catalog: Path | None, column: str | None
) -> dict[str, str | None] | None:
    """Path to its value in one column of a catalogue of the judged pictures; None where neither is named.

    Raises CatalogUnreadable.
    """
    if catalog is None and column is None:
        return None
    if catalog is None or column is None:
        missing = "--catalog FILE" if catalog is None else "the column to read from --catalog"
        raise CatalogUnreadable(f"name {missing} too: the verdicts hold no such column")
    judged = KnownFiles(row["path"] for file in files for row in file.each(["path"]))
    facts = read_facts(catalog, settings.catalog, judged, wanted=(), others=[column])
    return {path: row[column] for path, row in facts.items()}


def catalog_months(
    settings: Settings, files: Sequence[VerdictFile], catalog: Path | None, column: str | None
) -> dict[str, str] | None:
    """Path to its month (`YYYY-MM`) by a date column of a catalogue file; None where neither is named."""
    dates = catalog_column(settings, files, catalog, column)
    return None if dates is None else {path: month_of(date) for path, date in dates.items()}


def find_similar(
    settings: Settings,
    image: str,
    wanted: Wanted,
    *,
    verdicts: Sequence[Path] | None = None,
    folder: Path | None = None,
    model: str | None = None,
) -> list[Hit]:
    """The indexed pictures nearest in style to `image`: the path of an indexed picture, else an image file.

    `verdicts` are brought into the index first. A file is judged by the model behind the index, or by the bundle
    `model` where that is not registered. Raises NoSuchPicture, IndexMissing, VerdictsMixed, BadImage.
    """
    rules = settings.exports.similar
    if verdicts:
        files = open_verdicts(verdicts)
        folder = folder or index_folder(one_model(files))
        update(rules, files, folder)
    if folder is None:
        folder = index_folder(_champions_label(settings))
    index = open_index(folder, rules)
    key = index.key_of(image)
    if key is not None:
        return index.search(index.vector_of(key), wanted, but=key)
    return index.search(_judged_vector(settings, index, Path(image), model), wanted)


def _champions_label(settings: Settings) -> str:
    """That of the champion, or of the starter where none was promoted."""
    folder, lineage = judging_bundle(settings, CHAMPION)
    return model_label(lineage.model_name, lineage.model_version, bundle_digest(folder))


def _judged_vector(settings: Settings, index: StyleIndex, image: Path, model: str | None) -> Floats:
    """The style vector of a file by the model behind the index."""
    from packshot.scoring.scorer import open_scorer

    if not image.is_file():
        raise NoSuchPicture(f"{image} is neither a file nor the `path` of a picture in the index {index.folder}")
    chosen = model or index.version
    if chosen is None and is_starter(index.model.removeprefix(BUNDLE)):
        chosen = STARTER
    if chosen is None:
        raise VerdictsMixed(
            f"{index.folder} holds vectors of {index.model}, which is not registered; name it by --model"
        )
    scorer = open_scorer(settings, chosen)
    found = model_label(scorer.lineage.model_name, scorer.lineage.model_version, scorer.digest)
    if found != index.model:
        raise VerdictsMixed(
            f"{index.folder} holds vectors of {index.model}, and {chosen} is {found}; two models' style vectors cannot "
            "be compared: leave out --model, or name the index of that model"
        )
    pixels = decode(image, ImageLimits.from_settings(settings.validation))
    return scorer.judge.judge([pixels])[0].style_vector
