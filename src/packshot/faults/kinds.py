"""The seven faults: in what unit each is measured, from when on it is strong, and what to tell the seller."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One fault.

    `unit` is that of its strength, `figure` prints one; `strong` is the strength from which a buyer cannot miss it, to
    the worse side. `mendable`: whether the enhancer can bring the picture nearer to the true one. `share` is the part
    of all false alarms that it may cause, in proportion to the shares of the others: what is told beyond doubt needs
    """

    name: str
    unit: str
    figure: str
    strong: float
    mendable: bool
    share: float
    sentence: str
    higher_is_worse: bool = True

    def is_strong(self, strength: float) -> bool:
        """Whether a strength, in `unit`, is strong."""
        return strength >= self.strong if self.higher_is_worse else strength <= self.strong

    def is_milder(self, strength: float, other: float) -> bool:
        """Whether a strength is less of the fault than another."""
        return strength < other if self.higher_is_worse else strength > other

    def tell(self, strength: float) -> str:
        """A strength with its unit, as in a reason."""
        return self.figure.format(strength)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "dark", "stops", "{:.1f} stops", 2.0, True, 2.0,
            "The picture is too dark; take it again with more light or a longer exposure.",
        ),
        Kind(
            "light", "stops", "{:.1f} stops", 1.5, True, 1.5,
            "The picture is too light and its pale parts lose detail; take it again with a shorter exposure.",
        ),
        Kind(
            "flat", "% of contrast", "{:.0f} % of the contrast missing", 70, True, 0.4,
            "The picture is hazy and dull; clean the lens, keep light from shining into it, and take it again.",
        ),
        Kind(
            "cast", "a*b*", "strength {:.1f}", 20, True, 2.0,
            "The colours are tinted by the light; set the white balance on a white sheet, and use one kind of light.",
        ),
        Kind(
            "noise", "levels", "{:.0f} levels", 35, True, 0.4,
            "The picture is grainy; use more light and a low ISO setting.",
        ),
        Kind(
            "blur", "px", "{:.1f} px", 1.2, True, 1.0,
            "The picture is blurred; hold the camera still, focus on the product, and upload it at its full size.",
        ),
        Kind(
            "compression", "JPEG quality", "as of JPEG quality {:.0f}", 25, False, 1.0,
            "Heavy compression left blocks and smears; upload the file as it came from the camera.", False,
        ),
    )
}  # fmt: skip
NAMES: tuple[str, ...] = tuple(KINDS)
