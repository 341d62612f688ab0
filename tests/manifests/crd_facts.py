"""Writes what a custom resource may have into tests/data/crds: names of fields, types and limits.

    python tests/manifests/crd_facts.py CRD.yaml SOURCE

CRD.yaml is a CustomResourceDefinition of a project, SOURCE says where it is from: repository,
commit and path. Texts, and fields that no manifest of deploy/ uses and that take many lines, stay
behind; pods' fields are named by their type in Kubernetes, which has a schema of its own for them.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "data" / "crds"
# Fields of a schema that decide whether a resource is valid.
_KEPT = {
    *("additionalProperties", "anyOf", "enum", "format", "items", "maxItems", "maximum"),
    *("minItems", "minLength", "minimum", "oneOf", "pattern", "properties", "required", "type"),
    *("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"),
}
# Fields whose items have a type of Kubernetes.
_POD_FIELDS = {
    "affinity": "io.k8s.api.core.v1.Affinity",
    "containers": "io.k8s.api.core.v1.Container",
    "initContainers": "io.k8s.api.core.v1.Container",
    "tolerations": "io.k8s.api.core.v1.Toleration",
    "volumes": "io.k8s.api.core.v1.Volume",
}
# Fields that no manifest uses.
_LEFT_OUT = {
    *("builtInAdapter", "canary", "explainer", "huggingface", "lightgbm", "paddle", "pmml"),
    *("pytorch", "sklearn", "status", "tensorflow", "transformer", "triton", "workerSpec"),
    *("worker", "xgboost", "onnx"),
}


def facts(schema: Any, path: tuple[str, ...] = ()) -> Any:
    """Return the part of an openAPIV3Schema that decides what is valid.

    Args:
        schema: The schema, or a part of it.
        path: Names of the fields around it.
    """
    if isinstance(schema, list):
        return [facts(one, path) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if path and path[-1] in _POD_FIELDS:
        return {"kubernetes-type": _POD_FIELDS[path[-1]], "type": schema["type"]}
    kept = {name: value for name, value in schema.items() if name in _KEPT}
    if "properties" in kept:
        kept["properties"] = {
            name: facts(value, (*path, name))
            for name, value in kept["properties"].items()
            if name not in _LEFT_OUT
        }
    for name in ("items", "additionalProperties", "anyOf", "oneOf"):
        if name in kept:
            kept[name] = facts(kept[name], path)
    return kept


def main() -> None:
    """Write the facts of one definition."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("definition", type=Path)
    parser.add_argument("source")
    arguments = parser.parse_args()
    spec = yaml.safe_load(arguments.definition.read_text())["spec"]
    (version,) = [version for version in spec["versions"] if version["storage"]]
    document = {
        "source": arguments.source,
        "apiVersion": f"{spec['group']}/{version['name']}",
        "kind": spec["names"]["kind"],
        "schema": facts(version["schema"]["openAPIV3Schema"]),
    }
    file = FOLDER / f"{spec['names']['singular']}.json"
    file.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
