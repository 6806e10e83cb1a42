"""Print, as shell exports, the settings of pip that uv must be told: indexes, local wheels, certificates, patience.

A machine whose owner configured pip for mirrors or local wheels is served the same by uv.
"""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys

SCOPES = ("global", "install", ":env:")


def pip_settings() -> dict[str, list[str]]:
    """pip's own view of its configuration; a narrower scope wins over a wider one."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    found: dict[str, tuple[int, list[str]]] = {}
    for line in listed.splitlines():
        name, _, quoted = line.partition("=")
        scope, _, key = name.rpartition(".")
        if scope not in SCOPES:
            continue
        values = str(ast.literal_eval(quoted)).split()
        if key not in found or SCOPES.index(scope) >= found[key][0]:
            found[key] = (SCOPES.index(scope), values)
    return {key: values for key, (_, values) in found.items()}


def uv_exports(pip: dict[str, list[str]]) -> dict[str, str]:
    """The same settings under the names that uv reads."""
    exports = {
        "UV_DEFAULT_INDEX": " ".join(pip.get("index-url", [])[:1]),
        "UV_INDEX": " ".join(pip.get("extra-index-url", [])),
        "UV_FIND_LINKS": ",".join(pip.get("find-links", [])),
        "UV_INSECURE_HOST": " ".join(pip.get("trusted-host", [])),
        "UV_HTTP_TIMEOUT": " ".join(pip.get("default-timeout", pip.get("timeout", []))[:1]),
        "SSL_CERT_FILE": " ".join(pip.get("cert", [])[:1]),
        "UV_NO_INDEX": "1" if pip.get("no-index", ["0"])[0].lower() in ("1", "true", "yes") else "",
    }
    return {name: value for name, value in exports.items() if value and not os.environ.get(name)}


if __name__ == "__main__":
    for name, value in uv_exports(pip_settings()).items():
        print(f"export {name}={shlex.quote(value)}")
