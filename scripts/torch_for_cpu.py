"""Print the locked requirements for a machine without a CUDA device: torch's own wheels for CPUs, nothing of CUDA.

    python scripts/torch_for_cpu.py requirements.lock [--index https://download.pytorch.org/whl/cpu]

Exit code 1, with the reason on standard error, where that does not apply: there is a CUDA device, PACKSHOT_TORCH says
`cuda`, or the index cannot be reached or lacks the locked versions. PACKSHOT_TORCH=cpu asks although there is a device.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

INDEX = "https://download.pytorch.org/whl/cpu"
OWN = ("torch", "torchvision")
"""Packages that the index has for CPUs."""
CUDA = re.compile(r"^(nvidia-|cuda-|triton==)")
"""Packages that only a CUDA build of torch needs."""
OWN_PAGE = "{index}/{package}/"
PATIENCE_S = 5.0


def has_cuda_device(devices: Path = Path("/dev")) -> bool:
    """Whether the kernel has made a device of an NVIDIA card."""
    return any(devices.glob("nvidia[0-9]*")) or (devices / "dxg").exists()


def version_of(lock: Sequence[str], package: str) -> str:
    """The locked version. Raises ValueError."""
    for line in lock:
        if line.startswith(f"{package}=="):
            return line.split()[0].split("==")[1]
    raise ValueError(f"the lock names no {package}")


def for_cpu(lock: Sequence[str], index: str) -> list[str]:
    """The lines of a lock, those of CUDA left out and torch's own taken from `index`."""
    kept = [f"--extra-index-url {index}"]
    for line in lock:
        name = line.split("==")[0]
        if name in OWN:
            kept.append(f"{name}=={version_of(lock, name)}+cpu")
        elif not CUDA.match(line):
            kept.append(line)
    return kept


def lacking(lock: Sequence[str], index: str) -> str | None:
    """Why the index does not serve for this lock; None where it does."""
    for package in OWN:
        wanted = f"{package}-{version_of(lock, package)}"
        address = OWN_PAGE.format(index=index, package=package)
        try:
            with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
                page = answer.read().decode(errors="replace").replace("%2B", "+")
        except (OSError, ValueError) as error:
            return f"{address} cannot be reached ({getattr(error, 'reason', error)})"
        if f"{wanted}+cpu" not in page:
            return f"{address} has no {wanted}+cpu"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lock", type=Path)
    parser.add_argument("--index", default=os.environ.get("PACKSHOT_TORCH_INDEX", INDEX))
    given = parser.parse_args(arguments)
    asked = os.environ.get("PACKSHOT_TORCH", "")
    if asked == "cuda" or (asked != "cpu" and has_cuda_device()):
        print("torch comes with CUDA", file=sys.stderr)
        return 1
    lock = given.lock.read_text().splitlines()
    if (why := lacking(lock, given.index)) is not None:
        print(f"torch's wheels for CPUs cannot be had: {why}; CUDA comes along, 5 of the 7 GB", file=sys.stderr)
        return 1
    print("\n".join(for_cpu(lock, given.index)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
