"""A decoder that obeys what stands in a file: it dies, hangs, takes all memory, or ends the process that asked for it.

`install` writes a `sitecustomize.py` that wraps `PIL.Image.open` and `cv2.imdecode` in every Python process that has
its folder on PYTHONPATH: reading a header is decoding. Each time that a marker is obeyed stands in a log.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

MARKERS = {"dies": b"OBEY-DIE", "hangs": b"OBEY-HANG", "swallows": b"OBEY-SWALLOW", "kills": b"OBEY-KILL-PARENT"}

_SITE = '''
import os, signal, sys, time

def _obey(content):
    for marker in (b"OBEY-DIE", b"OBEY-HANG", b"OBEY-SWALLOW", b"OBEY-KILL-PARENT"):
        if marker in content:
            with open(os.environ["OBEYED"], "ab", buffering=0) as log:
                log.write(marker + b"\\n")
            if marker == b"OBEY-HANG":
                time.sleep(600)
            if marker == b"OBEY-SWALLOW":
                held = []
                while True:
                    held.append(bytearray(b"x") * (64 << 20))
            if marker == b"OBEY-KILL-PARENT":
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGSEGV)

def _bytes_of(source):
    if hasattr(source, "read"):
        content = source.read()
        source.seek(0)
        return content
    with open(source, "rb") as file:
        return file.read()

class _Hook:
    """Wraps each decoder once it is imported."""
    def find_spec(self, name, path=None, target=None):
        if name not in ("PIL.Image", "cv2"):
            return None
        sys.meta_path.remove(self)
        try:
            import importlib.util
            found = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if found is None or found.loader is None:
            return found
        run = found.loader.exec_module
        def exec_module(module):
            run(module)
            if name == "PIL.Image":
                opened = module.open
                def guarded(fp, *args, **kwargs):
                    _obey(_bytes_of(fp))
                    return opened(fp, *args, **kwargs)
                module.open = guarded
            elif hasattr(module, "imdecode"):
                decoded = module.imdecode
                def guarded(buffer, *args, **kwargs):
                    _obey(bytes(buffer))
                    return decoded(buffer, *args, **kwargs)
                module.imdecode = guarded
        found.loader.exec_module = exec_module
        return found

sys.meta_path.insert(0, _Hook())
'''


def install(folder: Path) -> dict[str, str]:
    """The environment of a process whose decoders obey, and their log at `OBEYED`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SITE)
    here = Path(__file__).resolve().parent
    paths = [folder, here, here.parent / "scoring", here.parent / "catalog", here.parents[1] / "src"]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "OBEYED": str(folder / "obeyed.log"),
        "OMP_NUM_THREADS": "1",
        "PACKSHOT_HOME": str(folder / "home"),
    }


def obeyed(environment: dict[str, str]) -> dict[str, int]:
    """How often each marker was obeyed."""
    log = Path(environment["OBEYED"])
    lines = log.read_bytes().splitlines() if log.exists() else []
    return {what: lines.count(marker) for what, marker in MARKERS.items() if marker in lines}


def hostile(path: Path, what: str) -> Path:
    """A whole picture with a marker behind its last pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((48, 64, 3), 130, np.uint8)).save(path, "PNG")
    with path.open("ab") as file:
        file.write(MARKERS[what])
    return path
