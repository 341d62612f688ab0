"""Builds the manifests of deploy/, and validates resources of Kubernetes and of other projects."""

import copy
import functools
import importlib.resources
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from referencing import Registry, Resource

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OVERLAYS = ("cpu", "gpu", "pvc", "keda", "storage")
KUBECTL = shutil.which("kubectl")
MISSING_KUBECTL = "needs kubectl (Debian: apt-get install kubernetes-client)"
# The manifests need `preStop.sleep`, which 1.30 has by default.
OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version()

# The address by which Kubernetes' schemas name their common parts.
_DEFINITIONS = "https://kubernetes.io/api/_definitions.json"
_CRDS = {
    (document["apiVersion"], document["kind"]): document["schema"]
    for document in (
        json.loads(file.read_text()) for file in (ROOT / "tests" / "data" / "crds").iterdir()
    )
}


def kustomize(folder: str) -> list[dict[str, Any]]:
    """Return the resources of an overlay, or of another folder of deploy/kubernetes."""
    return copy.deepcopy(_built(folder))


@functools.cache
def _built(folder: str) -> list[dict[str, Any]]:
    built = subprocess.run(
        [str(KUBECTL), "kustomize", str(DEPLOY / "kubernetes" / folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    return list(yaml.safe_load_all(built.stdout))


def read(path: str) -> list[dict[str, Any]]:
    """Return the resources of a file of deploy/."""
    return list(yaml.safe_load_all((DEPLOY / path).read_text()))


def only(resources: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the one resource of a kind."""
    (found,) = [resource for resource in resources if resource["kind"] == kind]
    return found


def validate(resource: dict[str, Any], version: str = NEWEST) -> None:
    """Check a resource; unknown fields are errors.

    Args:
        resource: The resource.
        version: Version of Kubernetes, such as "1.30".

    Raises:
        jsonschema.ValidationError: It has a field that does not exist, or a wrong value.
        kubernetes_validate.utils.SchemaNotFoundError: Nobody has a schema for its kind.
    """
    schema = _CRDS.get((resource["apiVersion"], resource["kind"]))
    if schema is None:
        kubernetes_validate.validate(resource, version, strict=True)
        return
    registry = _definitions(version) @ Registry()
    jsonschema.Draft202012Validator(_strict(schema, top=True), registry=registry).validate(resource)


@functools.cache
def _definitions(version: str) -> Resource[Any]:
    folder = importlib.resources.files(kubernetes_validate) / "kubernetes-json-schema"
    utils = kubernetes_validate.utils
    (known,) = {
        known
        for known in utils.all_versions()
        if utils.major_minor(known) == utils.major_minor(version)
    }
    name = f"v{known}-local-strict"
    return Resource.from_contents(json.loads((folder / name / "_definitions.json").read_text()))


def _strict(schema: Any, *, top: bool = False) -> Any:
    """Return the schema as Kubernetes applies it with strict field validation.

    Fields that the schema does not name are errors, and types of Kubernetes are those of its own
    schema. The resource itself has apiVersion, kind and metadata, which no CRD describes.
    """
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "kubernetes-type" in schema:
        reference = {"$ref": f"{_DEFINITIONS}#/$defs/{schema['kubernetes-type']}"}
        if schema["type"] == "array":
            return {"type": "array", "items": reference}
        return reference
    strict = {
        name: {field: _strict(value) for field, value in part.items()}
        if name == "properties"
        else _strict(part)
        for name, part in schema.items()
    }
    if "properties" in strict and not strict.get("x-kubernetes-preserve-unknown-fields"):
        strict.setdefault("additionalProperties", False)
    if top:
        strict["properties"] |= {"metadata": {"type": "object"}}
    return strict
