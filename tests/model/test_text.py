"""Whatever a shop writes becomes a unit vector, the same alone and among others."""

import numpy as np
import pytest

from packshot.model.text import TEXT_SIZES, UnknownTextEncoder, build_text_encoder

ODD = {
    "long": "walnut side table with a drawer " * 320,
    "no spaces": "x" * 10_000,
    "Japanese": "白い陶器の花瓶",
    "Arabic": "كرسي خشبي قديم",
    "mixed and emoji": "Стол 🪑 mesa Ω",
    "control characters": "a\x00b\x07\n\t\ufeff",
    "one letter": "a",
    "blank": "   ",
}


@pytest.fixture(scope="module")
def encoder():
    return build_text_encoder("minilm")


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
def test_odd_texts_give_unit_vectors(encoder, text):
    vector = encoder([text])
    assert vector.shape == (1, TEXT_SIZES["minilm"])
    assert np.isfinite(vector).all() and float(np.linalg.norm(vector)) == pytest.approx(1, abs=1e-5)


def test_a_text_has_the_same_vector_alone_and_among_others(encoder):
    texts = list(ODD.values())
    assert np.array_equal(encoder(texts)[2:3], encoder(texts[2:3]))


def test_texts_of_one_meaning_are_near(encoder):
    sofa, couch, drill = encoder(["grey linen sofa", "a couch covered in grey linen", "cordless power drill"])
    assert float(sofa @ couch) > float(sofa @ drill) + 0.3


def test_an_unknown_encoder_is_named():
    with pytest.raises(UnknownTextEncoder, match=r"'bert'.*minilm"):
        build_text_encoder("bert")
