"""How well a set of styles that five examples each show knows which pictures it is for.

    python benchmarks/style_examples.py --set VERDICTS:LABELS.csv:COLUMN --set ... [--draws 20]

Each set is a folder that `packshot score` wrote, a CSV with the columns `file` and COLUMN, and that column. Of each,
`--draws` times: five pictures for each of its five commonest labels are drawn as examples; of the other pictures with
these labels the share that is taken for another kind (lost), and of each other set the share that is refused. As
`packshot styles` does, by the embeddings of the verdicts, with the reference of the starter model.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from packshot.bundle import REFERENCE
from packshot.model.examples import ExampleScope, Floats
from packshot.scoring.styles import LOST
from packshot.scoring.verdicts import VERDICTS, read_verdicts
from packshot.starter import starter_bundle

EXAMPLES, LABELS = 5, 5


@dataclass(frozen=True)
class Kind:
    """The embeddings of a set of pictures, N x E, and their labels."""

    name: str
    embeddings: Floats
    labels: np.ndarray

    @property
    def commonest(self) -> list[str]:
        """Labels that leave pictures beside the examples."""
        counts = pd.Series(self.labels).value_counts()
        return [str(label) for label in counts[counts > EXAMPLES].index[:LABELS]]


def kind_of(given: str) -> Kind:
    """That of VERDICTS:LABELS:COLUMN."""
    folder, labels, column = given.rsplit(":", 2)
    rows = read_verdicts(Path(folder) / VERDICTS, ["path", "embedding", "error"]).to_pandas()
    rows = rows[rows["error"].isna()]
    named = pd.read_csv(labels).set_index("file")[column]
    kept = rows[rows["path"].isin(named.index)]
    return Kind(column + " of " + Path(labels).parent.name, stacked(kept), named.loc[kept["path"]].to_numpy(str))


def stacked(rows: pd.DataFrame) -> Floats:
    """The column `embedding`, N x E."""
    return np.stack(rows["embedding"].to_list()).astype(np.float64)


def drawn(kind: Kind, others: list[Kind], unlabelled: Floats, random: np.random.Generator) -> list[float]:
    """Share lost, and share of each other set that is refused, for one draw of examples."""
    shown = [
        place
        for label in kind.commonest
        for place in random.permutation(np.flatnonzero(kind.labels == label))[:EXAMPLES]
    ]
    scope = ExampleScope.fit(kind.embeddings[shown], unlabelled)
    rest = np.setdiff1d(np.flatnonzero(np.isin(kind.labels, kind.commonest)), shown)
    asked = [kind.embeddings[rest], *(other.embeddings for other in others)]
    return [float((scope.above(each, LOST) < 0).mean()) for each in asked]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", required=True, dest="sets", metavar="VERDICTS:LABELS.csv:COLUMN")
    parser.add_argument("--draws", type=int, default=20)
    given = parser.parse_args()
    kinds = [kind_of(each) for each in given.sets]
    unlabelled, random = stacked(pd.read_parquet(starter_bundle() / REFERENCE)), np.random.default_rng(0)
    table = Table("examples of", "labels", "lost %", *(f"refused: {kind.name} %" for kind in kinds))
    for kind in (each for each in kinds if len(each.commonest) > 1):
        others = [other for other in kinds if other is not kind]
        lost, *refused = np.mean([drawn(kind, others, unlabelled, random) for _ in range(given.draws)], axis=0)
        told = iter(refused)
        cells = ["" if other is kind else f"{100 * next(told):.1f}" for other in kinds]
        table.add_row(kind.name, str(len(kind.commonest)), f"{100 * lost:.1f}", *cells)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
