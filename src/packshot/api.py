"""Verdicts from Python: `packshot.load()` gives a judge, and the judge verdicts, by the code that scores batches."""

from __future__ import annotations

import base64
import html
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from pydantic import PrivateAttr

from packshot.catalog.decoding.isolated import decode
from packshot.catalog.image import BadImage, ImageLimits
from packshot.config import Settings, load_settings
from packshot.errors import PackshotError
from packshot.scoring.contract import Check, Verdict
from packshot.scoring.judging import Scorer
from packshot.scoring.look import look
from packshot.scoring.scorer import open_scorer

Pixels = npt.NDArray[np.uint8]
Picture: TypeAlias = "str | os.PathLike[str] | bytes | Pixels | PillowImage.Image"
"""The path of a file, the bytes of one, an array (uint8, H x W x 3 RGB or H x W grey), or a Pillow image."""
SHOWN = 240
"""Longest side, in pixels, of the pictures that a notebook shows."""


class NotAPicture(PackshotError):
    """What was given to be judged is no picture, or a folder among pictures."""

    exit_code = 2


class Judged(Verdict):
    """A verdict (every field of the contract) with the pictures that it is of."""

    _picture: bytes = PrivateAttr(default=b"")
    _enhanced: bytes | None = PrivateAttr(default=None)
    _limits: ImageLimits | None = PrivateAttr(default=None)

    @property
    def ok(self) -> bool:
        """Whether a picture can be shown: as it is, or `enhanced` in its place."""
        return self.decision in ("accept", "enhance")

    @property
    def faults(self) -> tuple[Check, ...]:
        """The checks that the picture fails: rule, what was measured and asked, what to do about it."""
        return tuple(self.failed())

    @property
    def enhanced(self) -> Pixels | None:
        """The repaired picture, uint8 H x W x 3 RGB, where it is better than the original; None otherwise."""
        return None if self._enhanced is None or self._limits is None else decode(self._enhanced, self._limits)

    @property
    def enhanced_file(self) -> bytes | None:
        """The same as the bytes of an image file, with the metadata of the original."""
        return self._enhanced

    def __repr__(self) -> str:
        score = "no score" if self.quality is None else f"{self.quality:.2f}"
        return f"<{self.decision} {self.path}: {score}{''.join(f'; {each}' for each in self.reasons)}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """What a notebook shows: the picture, the repaired one, decision, score, faults and what to do."""
        shown = [_img(each, self._limits) for each in (self._picture, self._enhanced) if each and self._limits]
        rows = "".join(
            f"<tr><td>{html.escape(each.rule.replace('_', ' '))}</td><td>{html.escape(each.advice or '')}</td></tr>"
            for each in self.faults
        )
        score = "could not be judged" if self.quality is None else f"{self.quality:.2f} of 1"
        why = html.escape("; ".join(self.reasons) or self.error or "no fault found")
        head = f"<p><b>{self.decision}</b> {html.escape(self.path)}, {score}</p><p>{why}</p>"
        return f"<div>{''.join(shown)}{head}<table>{rows}</table></div>"


class PictureJudge:
    """A loaded model. Call it with a picture, a list of pictures, or a folder."""

    def __init__(self, settings: Settings, scorer: Scorer) -> None:
        self._settings = settings
        self._scorer = scorer
        _ = scorer.judge  # a model that does not load is found here

    @property
    def model(self) -> str:
        """Which model judges."""
        return self._scorer.lineage.label()

    def __repr__(self) -> str:
        return f"<Packshot judge, {self.model}, rules {self._settings.scoring.profile}>"

    @overload
    def __call__(self, pictures: Picture) -> Judged: ...

    @overload
    def __call__(self, pictures: list[Any] | tuple[Any, ...]) -> list[Judged]: ...

    def __call__(self, pictures: Picture | list[Any] | tuple[Any, ...]) -> Any:
        """The verdict on a picture; for a list one each, in order; for a folder a table (see `folder`).

        A file that is broken gets a verdict too: `error` says why. Raises NotAPicture.
        """
        if isinstance(pictures, str | os.PathLike) and Path(pictures).is_dir():
            return self.folder(pictures)
        if isinstance(pictures, list | tuple):
            return self._judged(list(pictures))
        return self._judged([pictures])[0]

    def folder(self, directory: str | os.PathLike[str]) -> Any:
        """Every picture below a folder as a table, a row each, columns as in verdicts.parquet: a pandas DataFrame, or
        an Arrow table where pandas is not installed. Copies are told as `packshot score` tells them. Raises what
        `packshot.scoring.batch.score` raises."""
        from packshot.scoring.batch import score
        from packshot.scoring.verdicts import VERDICTS, read_verdicts

        with tempfile.TemporaryDirectory(prefix="packshot-") as out:
            score(self._settings, Path(directory), Path(out) / "verdicts", scorer=self._scorer)
            table = read_verdicts(Path(out) / "verdicts" / VERDICTS)
        try:
            import pandas  # noqa: F401
        except ModuleNotFoundError:
            return table
        return table.to_pandas()

    def _judged(self, pictures: Sequence[Picture]) -> list[Judged]:
        if not pictures:
            return []
        with tempfile.TemporaryDirectory(prefix="packshot-") as scratch:
            files = [_as_file(each, number, Path(scratch)) for number, each in enumerate(pictures)]
            out = Path(scratch) / "verdicts"
            found = look(self._settings, [str(file) for file in files], out=out, scorer=self._scorer)
            root = os.path.commonpath([file.parent for file in files])
            by_file = {Path(root) / each.path: each for each in found}
            limits = ImageLimits.from_settings(self._settings.validation)
            return [
                _with_pictures(by_file[file], file, out, _name(picture, number), limits)
                for number, (picture, file) in enumerate(zip(pictures, files, strict=True))
            ]


def load(model: str = "champion", *, profile: str | None = None, settings: Settings | None = None) -> PictureJudge:
    """A judge: the champion of PACKSHOT_HOME, or the starter model of the package where there is none.

    `model`: an alias, a version number, `starter`, or the folder of a bundle. `profile`: the catalogue rules, `own`,
    `amazon-main` or `google-merchant`. `settings`: those of params.yaml where none are given. Raises NoSuchModel,
    BundleError, SettingsError.
    """
    chosen = (settings if settings is not None else load_settings()).judged_by(profile)
    return PictureJudge(chosen, open_scorer(chosen, model))


def _as_file(picture: Picture, number: int, scratch: Path) -> Path:
    """The file of a picture, written below `scratch` where it is not one yet."""
    if isinstance(picture, str | os.PathLike):
        path = Path(picture)
        if not path.is_file():
            raise NotAPicture(f"{picture} is no file; give a file, a folder by itself, bytes, an array or an image")
        return path.parent.resolve() / path.name
    target = scratch / "pictures" / f"{number:06d}.png"
    target.parent.mkdir(exist_ok=True)
    if isinstance(picture, bytes | bytearray | memoryview):
        target.write_bytes(bytes(picture))
    else:
        _image(picture).save(target, compress_level=1)
    return target.parent.resolve() / target.name


def _image(picture: Any) -> PillowImage.Image:
    if isinstance(picture, PillowImage.Image):
        return picture
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim in (2, 3):
        try:
            return PillowImage.fromarray(np.ascontiguousarray(picture))
        except (TypeError, ValueError):
            pass
    found = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
    raise NotAPicture(f"expected a path, bytes, a Pillow image or an array, uint8 H x W x 3 RGB; found {found}")


def _name(picture: Picture, number: int) -> str:
    return os.fspath(picture) if isinstance(picture, str | os.PathLike) else f"picture {number}"


def _with_pictures(verdict: Verdict, file: Path, out: Path, name: str, limits: ImageLimits) -> Judged:
    judged = Judged.model_validate(verdict.model_dump() | {"path": name})
    judged._picture, judged._limits = file.read_bytes(), limits
    if verdict.enhanced_path is not None:
        judged._enhanced = (out / verdict.enhanced_path).read_bytes()
    return judged


def _img(content: bytes, limits: ImageLimits) -> str:
    try:
        small = PillowImage.fromarray(decode(content, limits, longest=SHOWN))
    except BadImage:
        return ""
    small.thumbnail((SHOWN, SHOWN))
    code = io.BytesIO()
    small.save(code, "JPEG", quality=85)
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(code.getvalue()).decode()}">'
