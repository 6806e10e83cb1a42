"""The network of the rule `laid_over`, taught by what `packshot.training.overlays` lays over clean pictures.

It marks where something lies (binary cross-entropy and the overlap of Milletari et al., "V-Net", 3DV 2016) and says
whether anything does, by its surest places. Separable convolutions, residual, with a gate of the whole picture over the
coarse channels (Hu et al., CVPR 2018): 0.1 billion multiplications for a page.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor, nn
from torch.nn import functional

from packshot.files import write_bytes
from packshot.inference.overlay_spotter import DILATIONS, SIDE, SPOT, STRIDE, on_page
from packshot.inference.weights import Weights
from packshot.model.preprocess import Image
from packshot.training.overlays import Fonts, LaidOver, lesson

BASE, FINE, COARSE = 16, 40, 80
"""Channels at a half, a quarter and an eighth of the page."""
RARE = -3.0
"""First logit of every place: nearly nothing lies there."""
BATCH = 24
CROP = 224
"""Side, in pixels, of the part of a page that a step learns from: twice as many lessons in the same time."""
WHOLE = 0.1
"""Share of the steps, the last, that see whole pages, as those will be that it is asked about."""
AHEAD = 4
"""Batches that are made before they are asked for."""
TOLD = 25
"""Steps between two lines of the log."""
RATE = 4e-3
SMALLEST, LARGEST = 200, 480
"""Longest sides, in pixels, of the pictures that something is laid over."""
CHECKED = 1200
"""Copies of pictures that taught nothing, from which logits become probabilities."""
Log = Callable[[str], None]


@dataclass(frozen=True)
class Taught:
    """Weights by name with BatchNorm folded in, and how the copies of other pictures were told apart: area under the
    ROC curve, and the share found where 2 % of those with nothing laid over are called so."""

    weights: dict[str, np.ndarray]
    auc: float
    recall: float


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(before, before, 3, stride, dilation, dilation, groups=before, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(before)
        self.pointwise = nn.Conv2d(before, after, 1, bias=False)
        self.pointwise_norm = nn.BatchNorm2d(after)
        self.residual = before == after and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.depthwise_norm(self.depthwise(x)))
        y = self.pointwise_norm(self.pointwise(y))
        return functional.relu(x + y if self.residual else y)


def _blocks(before: int, after: int, dilations: Sequence[int]) -> nn.Sequential:
    rows = [_Block(after if place else before, after, 1 if place else 2, each) for place, each in enumerate(dilations)]
    return nn.Sequential(*rows)


class OverlayNetwork(nn.Module):
    """N x 3 x H x W, -1..1, to logits of a quarter of the sides, N x H/4 x W/4."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, BASE, 3, 2, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(BASE)
        self.fine = _blocks(BASE, FINE, DILATIONS["fine"])
        self.coarse = _blocks(FINE, COARSE, DILATIONS["coarse"])
        self.context = nn.Conv2d(COARSE, COARSE, 1)
        self.raise_ = nn.Conv2d(COARSE, FINE, 1)
        self.mix = _Block(FINE, FINE, 1, 1)
        self.tell = nn.Conv2d(FINE, 1, 1)
        nn.init.constant_(self.tell.bias, RARE)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(functional.relu(self.stem_norm(self.stem(x))))
        coarse = self.coarse(fine)
        coarse = coarse * torch.sigmoid(self.context(coarse.mean((2, 3), keepdim=True)))
        raised = functional.interpolate(self.raise_(coarse), scale_factor=2, mode="nearest")
        told: Tensor = self.tell(self.mix(functional.relu(fine + raised)))
        return told[:, 0]


def teach(
    images: Sequence[Image],
    others: Sequence[Image],
    fonts: Fonts,
    copies: int,
    seed: int,
    log: Log,
    checked: int = CHECKED,
    start: Weights | None = None,
) -> Taught:
    """A network from so many copies of `images` (uint8, H x W x 3, RGB); `others` taught nothing and calibrate it.

    `start`: weights of an earlier one, from which it goes on.
    """
    torch.manual_seed(seed)
    network = OverlayNetwork()
    if start is not None:
        first = next(iter(_Loader(_Lessons(images, fonts, 4 * BATCH, seed))))[0]
        unfold(network, start, _entered(first))
    lessons = _Loader(_Lessons(images, fonts, copies, seed, round(copies * (1 - WHOLE)) // BATCH * BATCH))
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=max(2, len(lessons)), pct_start=0.15)
    network.train()
    losses: list[float] = []
    for step, (pages, masks, over) in enumerate(lessons, start=1):
        loss = loss_of(network(_entered(pages)), masks, over)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if step % TOLD == 0:
            log(f"overlays: {step} of {len(lessons)} steps, mean loss {np.mean(losses[-TOLD:]):.3f}")
    network.eval()
    values, laid = _judged(network, _Loader(_Lessons(others, fonts, checked, seed + 1)))
    calibration, auc, recall = calibrated(values, laid)
    return Taught(folded(network) | {"calibration": calibration}, auc, recall)


def loss_of(logits: Tensor, masks: Tensor, over: Tensor) -> Tensor:
    """Of logits and masks, N x h x w, and whether anything lies over each picture, N."""
    shares = torch.sigmoid(logits)
    placed = 4 * functional.binary_cross_entropy_with_logits(logits, masks)
    overlap = (2 * (shares * masks).sum((1, 2)) + 1) / ((shares + masks).sum((1, 2)) + 1)
    missed = ((1 - overlap) * over).sum() / over.sum().clamp(min=1)
    return placed + 0.5 * missed + functional.binary_cross_entropy_with_logits(surest(logits), over)


def surest(logits: Tensor) -> Tensor:
    """Mean of the SPOT largest of each map, N."""
    return logits.flatten(1).topk(SPOT, dim=1).values.mean(dim=1)


def calibrated(values: np.ndarray, over: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Slope and offset that make probabilities of logits (Platt, 1999), the area under the ROC curve, and the share
    found at 2 % false alarms."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    fitted = LogisticRegression(C=100).fit(values[:, None], over)
    line = np.array([fitted.coef_[0, 0], fitted.intercept_[0]], np.float32)
    bound = np.quantile(values[over == 0], 0.98)
    return line, float(roc_auc_score(over, values)), float((values[over == 1] > bound).mean())


def folded(network: OverlayNetwork) -> dict[str, np.ndarray]:
    """The weights as `packshot.inference.overlay_spotter` names them."""
    found = _normed("stem", network.stem, network.stem_norm)
    for name, block in _named_blocks(network):
        found |= _normed(f"{name}.depthwise", block.depthwise, block.depthwise_norm)
        found |= _normed(f"{name}.pointwise", block.pointwise, block.pointwise_norm)
    for name, conv in _plain(network):
        assert conv.bias is not None
        found |= {f"{name}.weight": _array(conv.weight), f"{name}.bias": _array(conv.bias)}
    return found


def unfold(network: OverlayNetwork, weights: Weights, pages: Tensor) -> None:
    """Give a network weights that `folded` took, so that it can learn on: each BatchNorm undoes what it does to these
    pages, N x 3 x H x W, and adds the bias."""
    pairs = {"stem": (network.stem, network.stem_norm)}
    for name, block in _named_blocks(network):
        pairs[f"{name}.depthwise"] = block.depthwise, block.depthwise_norm
        pairs[f"{name}.pointwise"] = block.pointwise, block.pointwise_norm
    hooks = []
    with torch.no_grad():
        for name, (conv, norm) in pairs.items():
            conv.weight.copy_(torch.from_numpy(weights[f"{name}.weight"]))
            hooks.append(norm.register_forward_pre_hook(_undoing(torch.from_numpy(weights[f"{name}.bias"]))))
        for name, conv in _plain(network):
            assert conv.bias is not None
            conv.weight.copy_(torch.from_numpy(weights[f"{name}.weight"]))
            conv.bias.copy_(torch.from_numpy(weights[f"{name}.bias"]))
        network.eval()(pages)
    for hook in hooks:
        hook.remove()


def _undoing(bias: Tensor) -> Callable[[nn.BatchNorm2d, tuple[Tensor, ...]], None]:
    def undo(norm: nn.BatchNorm2d, given: tuple[Tensor, ...]) -> None:
        assert norm.running_mean is not None and norm.running_var is not None
        mean, variance = given[0].mean((0, 2, 3)), given[0].var((0, 2, 3), unbiased=False)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(torch.sqrt(variance + norm.eps))
        norm.bias.copy_(bias + mean)

    return undo


def _named_blocks(network: OverlayNetwork) -> list[tuple[str, _Block]]:
    rows: list[tuple[str, Any]] = [(f"fine.{place}", block) for place, block in enumerate(network.fine)]
    rows += [(f"coarse.{place}", block) for place, block in enumerate(network.coarse)]
    return [*rows, ("mix", network.mix)]


def _plain(network: OverlayNetwork) -> tuple[tuple[str, nn.Conv2d], ...]:
    """The convolutions without BatchNorm, by name."""
    return (("context", network.context), ("raise", network.raise_), ("tell", network.tell))


def write_overlay_network(taught: Taught, path: Path) -> None:
    """Kept in half precision, as a network of the package is."""
    kept = {name: values.astype(np.float16) for name, values in taught.weights.items() if name != "calibration"}
    write_bytes(path, save({**kept, "calibration": taught.weights["calibration"]}))


def lessons_of(image: Image, fonts: Fonts, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A page (uint8, SIDE x SIDE x 3) with a copy of a picture, and where something lies over it, 0..1, at STRIDE."""
    longest = LARGEST if random.random() > 0.25 else int(random.integers(SMALLEST, LARGEST))
    return paged(lesson(_at_most(image, longest), fonts, random))


def part_of(page: np.ndarray, mask: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """CROP x CROP pixels of a page and what its mask says of them."""
    down, across = (int(each) for each in random.integers(0, (SIDE - CROP) // STRIDE + 1, 2))
    side = CROP // STRIDE
    rows, columns = slice(STRIDE * down, STRIDE * down + CROP), slice(STRIDE * across, STRIDE * across + CROP)
    return page[rows, columns], mask[down : down + side, across : across + side]


def paged(copy: LaidOver) -> tuple[np.ndarray, np.ndarray]:
    """As `lessons_of`."""
    page, height, width = on_page(copy.image)
    mask = np.zeros((SIDE, SIDE), np.float32)
    mask[:height, :width] = cv2.resize(copy.mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return page, np.asarray(cv2.resize(mask, (SIDE // STRIDE, SIDE // STRIDE), interpolation=cv2.INTER_AREA))


class _Lessons:
    """The same lesson for the same place and seed; the first `parts` of them are parts of pages."""

    def __init__(self, images: Sequence[Image], fonts: Fonts, copies: int, seed: int, parts: int = 0) -> None:
        self._images, self._fonts, self._copies, self._seed, self._parts = images, fonts, copies, seed, parts

    def __len__(self) -> int:
        return self._copies

    def __getitem__(self, place: int) -> tuple[np.ndarray, np.ndarray, np.float32]:
        random = np.random.default_rng([self._seed, place])
        page, mask = lessons_of(self._images[int(random.integers(len(self._images)))], self._fonts, random)
        if place < self._parts:
            page, mask = part_of(page, mask, random)
        return page, mask, np.float32(mask.any())


class _Loader:
    """Batches of lessons, the next ones made by a thread while a step is taken: no process is forked for it."""

    def __init__(self, lessons: _Lessons) -> None:
        self._lessons = lessons

    def __len__(self) -> int:
        return -(-len(self._lessons) // BATCH)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        with ThreadPoolExecutor(1, thread_name_prefix="lessons") as pool:
            ahead = deque(pool.submit(self._batch, place) for place in range(min(AHEAD, len(self))))
            for place in range(len(self)):
                if place + AHEAD < len(self):
                    ahead.append(pool.submit(self._batch, place + AHEAD))
                yield ahead.popleft().result()

    def _batch(self, place: int) -> tuple[Tensor, Tensor, Tensor]:
        rows = [self._lessons[row] for row in range(place * BATCH, min((place + 1) * BATCH, len(self._lessons)))]
        pages, masks, over = (torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True))
        return pages, masks, over


def _judged(network: OverlayNetwork, lessons: _Loader) -> tuple[np.ndarray, np.ndarray]:
    """The surest logits of copies, and whether anything lies over them, N each."""
    with torch.no_grad():
        rows = [(surest(network(_entered(pages))), over) for pages, _, over in lessons]
    values, over = (torch.cat(column).numpy() for column in zip(*rows, strict=True))
    return values, over


def _entered(pages: Tensor) -> Tensor:
    return pages.permute(0, 3, 1, 2).float().div(127.5).sub(1)


def _normed(name: str, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> dict[str, np.ndarray]:
    assert norm.running_var is not None and norm.running_mean is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    weight = conv.weight * scale[:, None, None, None]
    return {f"{name}.weight": _array(weight), f"{name}.bias": _array(norm.bias - norm.running_mean * scale)}


def _array(values: Tensor) -> np.ndarray:
    return np.asarray(values.detach().numpy(), np.float32)


def _at_most(image: Image, longest: int) -> Image:
    scale = longest / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def installed_fonts() -> Iterator[Path]:
    """The DejaVu fonts that matplotlib brings."""
    import matplotlib

    yield from sorted(Path(matplotlib.get_data_path(), "fonts/ttf").glob("DejaVu*.ttf"))
