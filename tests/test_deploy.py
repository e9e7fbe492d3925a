"""The manifests in deploy/, held to yamllint, to Kubernetes' own schemas, and to what they name.

No package has the schemas of KubeRay's and Milvus' resources. Their pod templates are checked as Kubernetes' own; of
the rest the fields used here are written down below, as the operators' types have them.
"""

import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cfmr.cli import app
from cfmr.index.milvus.address import MilvusAddress
from cfmr.index.open import parse_location

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted(DEPLOY.glob("*.yaml"))
KUBERNETES = "1.37"

_TEXT, _NUMBER, _FLAG, _ANY = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}, {}


def _fields(required: str = "", **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}


_START = {"type": "object", "additionalProperties": _TEXT}
_CLUSTER = _fields(
    "headGroupSpec",
    rayVersion=_TEXT,
    enableInTreeAutoscaling=_FLAG,
    headGroupSpec=_fields("rayStartParams template", rayStartParams=_START, template=_ANY),
    workerGroupSpecs={
        "type": "array",
        "items": _fields(
            "groupName rayStartParams template minReplicas maxReplicas",
            groupName=_TEXT,
            replicas=_NUMBER,
            minReplicas=_NUMBER,
            maxReplicas=_NUMBER,
            rayStartParams=_START,
            template=_ANY,
        ),
    },
)
_COMPONENT = _fields("replicas", replicas=_NUMBER, resources=_ANY)
_IN_CLUSTER = _fields(deletionPolicy={"enum": ["Delete", "Retain"]}, values={"type": "object"})
CUSTOM = {
    ("ray.io/v1", "RayJob"): _fields(
        "entrypoint rayClusterSpec",
        entrypoint=_TEXT,
        backoffLimit=_NUMBER,
        shutdownAfterJobFinishes=_FLAG,
        rayClusterSpec=_CLUSTER,
    ),
    ("milvus.io/v1beta1", "Milvus"): _fields(
        mode={"enum": ["cluster", "standalone"]},
        components=_fields(
            image=_TEXT, proxy=_COMPONENT, queryNode=_COMPONENT, indexNode=_COMPONENT, dataNode=_COMPONENT
        ),
        config={"type": "object"},
        dependencies=_fields(
            msgStreamType={"enum": ["pulsar", "kafka", "woodpecker", "rocksmq", "natsmq", "custom"]},
            etcd=_fields(inCluster=_IN_CLUSTER),
            pulsar=_fields(inCluster=_IN_CLUSTER),
            storage=_fields(type={"enum": ["MinIO", "S3", "Azure"]}, external=_FLAG, endpoint=_TEXT, secretRef=_TEXT),
        ),
    ),
}


def resources() -> list[dict[str, Any]]:
    return [found for path in MANIFESTS for found in yaml.safe_load_all(path.read_text())]


def inside(value: Any, key: str) -> Iterator[Any]:
    """Everything that stands under a key, however deep."""
    if isinstance(value, dict):
        for name, below in value.items():
            if name == key:
                yield below
            yield from inside(below, key)
    elif isinstance(value, list):
        for below in value:
            yield from inside(below, key)


def named(kind: str) -> set[str]:
    return {found["metadata"]["name"] for found in resources() if found["kind"] == kind}


def tool(name: str) -> str:
    """A program that came with the environment, or the test is left out."""
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def test_yamllint_finds_nothing() -> None:
    pytest.importorskip("yamllint")
    command = [sys.executable, "-m", "yamllint", "--strict", "--config-file", str(DEPLOY / ".yamllint"), str(DEPLOY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(
        [tool("hadolint"), "--no-color", str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_kubernetes_knows_every_field() -> None:
    validate = pytest.importorskip("kubernetes_validate").validate
    checked = [found for found in resources() if (found["apiVersion"], found["kind"]) not in CUSTOM]
    assert {found["kind"] for found in checked} == {"Deployment", "PersistentVolumeClaim", "Secret", "Service"}
    for found in checked:
        validate(found, KUBERNETES, strict=True)
    wrong = yaml.safe_load((DEPLOY / "serve.yaml").read_text().split("---")[0])
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(Exception, match="readynessProbe"):
        validate(wrong, KUBERNETES, strict=True)


def test_operators_know_every_field() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validate = pytest.importorskip("kubernetes_validate").validate
    found = {key: r for r in resources() if (key := (r["apiVersion"], r["kind"])) in CUSTOM}
    assert found.keys() == CUSTOM.keys()
    for key, resource in found.items():
        jsonschema.validate(resource["spec"], CUSTOM[key])
        templates = list(inside(resource, "template"))
        templates += [
            {"spec": {"containers": [{"name": "any", "resources": r}]}}
            for component in resource["spec"].get("components", {}).values()
            if isinstance(component, dict) and (r := component.get("resources"))
        ]
        assert len(templates) == 2
        for template in templates:
            pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "any"}, "template": template}
            validate(pod, KUBERNETES, strict=True)


def test_what_one_manifest_names_another_has() -> None:
    everything = resources()
    secrets = {reference["name"] for reference in inside(everything, "secretRef") if isinstance(reference, dict)}
    secrets |= {reference for reference in inside(everything, "secretRef") if isinstance(reference, str)}
    assert secrets == named("Secret")
    assert set(inside(everything, "claimName")) == named("PersistentVolumeClaim")
    for pod in [t["spec"] for t in inside(everything, "template")]:
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for c in pod["containers"] for mount in c["volumeMounts"]} == volumes
    (page,) = [r for r in everything if r["kind"] == "Deployment"]
    (service,) = [r for r in everything if r["kind"] == "Service"]
    assert service["spec"]["selector"] == page["spec"]["template"]["metadata"]["labels"]
    assert page["spec"]["selector"]["matchLabels"] == page["spec"]["template"]["metadata"]["labels"]


def commands() -> Iterator[list[str]]:
    """The commands of this project that manifests give."""
    for found in resources():
        yield from inside(found, "args")
        for entry in inside(found, "entrypoint"):
            shell, option, script = shlex.split(entry)
            assert (shell, option) == ("sh", "-c")
            yield from (shlex.split(part) for part in script.split("&&"))


def test_the_commands_are_ones_that_exist() -> None:
    (milvus,) = named("Milvus")
    group = get_command(app)
    given = []
    for program, name, *arguments in commands():
        assert program == "cfmr"
        context = group.commands[name].make_context(name, arguments)  # type: ignore[attr-defined]
        given.append(name)
        for option in ("index", "out"):
            place = parse_location(context.params.get(option) or "")
            if isinstance(place, MilvusAddress):
                assert (place.host, place.port) == (f"{milvus}-milvus", 19530), "the operator's name for the service"
    assert sorted(given) == ["extract", "index", "serve"]


def test_versions_are_those_that_the_tests_run() -> None:
    pinned = dict(line.split("==") for line in (ROOT / "constraints-scale.txt").read_text().split())
    everything = resources()
    assert set(inside(everything, "rayVersion")) == {pinned["ray"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    images = set(inside(everything, "image"))
    assert images == {f"milvusdb/milvus:v{pinned['milvus']}", f"registry.example.com/cfmr:{project['version']}"}


def test_the_image_is_made_of_what_is_there() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    for line in lines:
        if line.startswith("COPY "):
            *sources, _ = line.split()[1:]
            assert [name for name in sources if not (ROOT / name).exists()] == []
    (install,) = [line for line in lines if line.startswith("RUN pip")]
    words = shlex.split(install)
    (package,) = [word for word in words if word.startswith(".[")]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(package[2:-1].split(",")) <= extras.keys()
    constraints = [words[i + 1] for i, word in enumerate(words) if word == "--constraint"]
    pins = [dict(line.split("==") for line in (ROOT / name).read_text().split()) for name in constraints]
    assert len(pins) == 2
    assert {k: v for k, v in pins[0].items() if pins[1].get(k, v) != v} == {}, "both are kept to"
