"""Two processes on a CPU (gloo) train as one does: the same losses, the same weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_workspace import make_settings, make_workspace

from packshot.config import dump_settings
from packshot.training.checkpoint import load_checkpoint
from packshot.training.dataset import load_dataset, load_pairs
from packshot.training.distributed import Ranks, joined
from packshot.training.features import build_features
from packshot.training.fit import Task, fit
from packshot.training.run import _started
from packshot.training.sources import LiveFeatures

HELPERS = Path(__file__).resolve().parents[1] / "helpers"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("distributed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACKSHOT_HOME", str(root / "home"))
        made = make_workspace(root / "workspace")
        build_features(make_settings(), made)
        yield made


def task_of(workspace: Path) -> Task:
    """Rows that do not divide by two."""
    data, pairs = load_dataset(workspace, make_settings().profiles["own"]), load_pairs(workspace)
    learn, stop = data.of_splits("train")[:13], data.of_splits("validation")[:7]
    return Task(data, pairs, learn, stop, pairs.of_split("train")[:7], pairs.of_split("validation")[:3], True)


ACCUMULATED = {"accumulate": 4, "enhance_steps": 5, "batch_size": 8}
"""The first four batches make one step; the heads learn from the third alone, so that one is not the one averaged."""


def train_live(workspace: Path, folder: Path, **changes: int) -> None:
    """A short training, of the upper backbone stages too; the first process leaves its checkpoint in `folder`."""
    settings = make_settings(seed=3)
    usual = {"epochs": 2, "enhance_steps": 2, "enhance_batch_size": 5, "enhance_precision": "f32"}
    short = settings.training.chosen.model_copy(update=usual | changes)
    training = settings.training.model_copy(update={"recipes": {"tiny": short}})
    torch.set_num_threads(1)
    task = task_of(workspace)
    network = _started(settings, task)
    network.backbone.freeze(5)

    def opener(path: str) -> np.ndarray:
        return cv2.imread(str(workspace / "data/raw/images" / path))[..., ::-1]

    with joined("cpu") as ranks:
        live = LiveFeatures(network, task.data, task.pairs, opener, training.chosen, training.seed)
        fit(network, task, live, training, checkpoints=folder, ranks=ranks, quiet=True)


def torchrun(count: int, *command: str, **environment: str) -> None:
    path = [str(HELPERS), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), *command],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path)} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("changes", [{}, ACCUMULATED], ids=["each batch a step", "accumulated"])
def test_the_losses_and_weights_of_two_processes_are_those_of_one(workspace, tmp_path, changes):
    train_live(workspace, tmp_path / "one", **changes)
    torchrun(2, __file__, str(workspace), str(tmp_path / "two"), json.dumps(changes))
    one, two = load_checkpoint(tmp_path / "one"), load_checkpoint(tmp_path / "two")
    assert len(one.state["history"]) == len(two.state["history"]) == 3
    for alone, together in zip(one.state["history"], two.state["history"], strict=True):
        near = {name: 5e-3 if name.endswith("psnr_gain") else 1e-4 for name in alone}  # dB, of small differences
        assert together == {name: pytest.approx(value, rel=1e-3, abs=near[name]) for name, value in alone.items()}
    first, second = one.part("network"), two.part("network")
    assert first.keys() == second.keys()
    start = _started(make_settings(seed=3), task_of(workspace)).state_dict()
    way = {name: (value - start[name]).norm() for name, value in first.items() if value.is_floating_point()}
    for part in ("backbone", "enhancer", "quality", "style_space"):
        moved = [name for name in way if name.startswith(f"{part}.") and way[name] > 0]
        assert moved, f"{part} did not learn: the comparison would be empty"
        apart = {name: float((first[name] - second[name]).norm() / way[name]) for name in moved}
        # the first steps of Adam are as long down a tiny gradient as down a large one, and so magnify rounding
        assert max(apart.values()) < (0.15 if part == "enhancer" else 0.05), apart


def test_the_command_trains_in_so_many_processes_as_the_settings_say(workspace, tmp_path):
    (tmp_path / "params.yaml").write_text(dump_settings(make_settings()))
    found = {}
    for count in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "packshot.cli", "train", "--no-mlflow", "--workspace", str(workspace)],
            env=os.environ
            | {
                "OMP_NUM_THREADS": "1",
                "PACKSHOT_HOME": str(tmp_path / f"home{count}"),
                "PACKSHOT_PARAMS": str(tmp_path / "params.yaml"),
                "PACKSHOT__TRAINING__PROCESSES": count,
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == {"bundle": str(workspace / "models/packshot")}
        assert done.stderr.count("closed-form start") == int(count), "each process starts; one of them writes"
        assert done.stderr.count("kept the state of epoch") == 1
        found[count] = load_file(workspace / "models/packshot/weights.safetensors")
    for name, value in found["1"].items():
        assert torch.allclose(value, found["2"][name], rtol=1e-2, atol=1e-3), name


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 12])
def test_every_row_is_somebodys_and_weights_make_the_mean(rows):
    values = np.random.default_rng(rows).normal(size=rows)
    ranks = [Ranks(rank, 3) for rank in range(3)]
    parts = [each.part(np.arange(rows)) for each in ranks]
    assert len({len(part) for part in parts}) == 1
    assert np.concatenate(parts)[:rows].tolist() == list(range(rows))
    shares = [values[mine].mean() * weight for mine, weight in (each.turn(rows) for each in ranks)]
    assert np.mean(shares) == pytest.approx(values.mean())


if __name__ == "__main__":
    train_live(Path(sys.argv[1]), Path(sys.argv[2]), **json.loads(sys.argv[3]))
