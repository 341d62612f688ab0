"""tf.Examples and their answers in protobuf's text format, for gRPC pairs."""

from collections.abc import Iterable, Sequence

Value = float | int | str


def example(**features: Sequence[Value]) -> str:
    """Return the fields of a tf.Example; strings, integers or floats set the feature's kind."""
    text = ""
    for key, values in features.items():
        first = values[0] if values else 0.0
        kind = {str: "bytes_list", int: "int64_list", float: "float_list"}[type(first)]
        written = " ".join(
            f'value: "{value}"' if isinstance(value, str) else f"value: {value}" for value in values
        )
        text += f'feature {{ key: "{key}" value {{ {kind} {{ {written} }} }} }} '
    return f"features {{ {text}}}"


def of_list(*examples: str) -> str:
    """Return an `input` with a list of examples."""
    return f"input {{ example_list {{ {_each(examples)} }} }}"


def with_context(context: str, *examples: str) -> str:
    """Return an `input` with a list of examples and a context."""
    return f"input {{ example_list_with_context {{ {_each(examples)} context {{ {context} }} }} }}"


def _each(examples: Iterable[str]) -> str:
    return " ".join(f"examples {{ {text} }}" for text in examples)


def classifications(*rows: Sequence[tuple[str, float]]) -> str:
    """Return the fields of a ClassificationResult: labels and scores of each example."""
    text = ""
    for row in rows:
        classes = " ".join(f'classes {{ label: "{label}" score: {score} }}' for label, score in row)
        text += f"classifications {{ {classes} }} "
    return text


def regressions(*values: float) -> str:
    """Return the fields of a RegressionResult."""
    return " ".join(f"regressions {{ value: {value} }}" for value in values)


def spec(name: str, signature: str = "", version: int | None = None) -> str:
    """Return a `model_spec`."""
    fields = [f'name: "{name}"']
    if signature:
        fields.append(f'signature_name: "{signature}"')
    if version is not None:
        fields.append(f"version {{ value: {version} }}")
    return f"model_spec {{ {' '.join(fields)} }}"
