"""Models whose rows do not depend on each other, so requests may share a run."""

from pathlib import Path

import numpy as np
from sample_models.zoo_graph import FLOAT, FLOAT16, INT64, ML, UINT8, Graph, weights


def copy(models_dir: Path) -> Path:
    """`y = x`."""
    graph = Graph(x=(FLOAT, ["batch", 3]))
    graph.op("Identity", "x", into="y")
    return graph.save(models_dir, "copy", y=(FLOAT, ["batch", 3]))


def affine(models_dir: Path) -> Path:
    """`y = x · weights + bias`: one dense layer."""
    graph = Graph(x=(FLOAT, ["batch", 4]))
    graph.op("Gemm", "x", weights(1, 4, 3), weights(2, 3), into="y")
    return graph.save(models_dir, "affine", y=(FLOAT, ["batch", 3]))


def mlp(models_dir: Path) -> Path:
    """Two dense layers and a softmax over the classes of a row."""
    graph = Graph(x=(FLOAT, ["batch", 8]))
    hidden = graph.op("Relu", graph.dense("x", 1, 8, 16, scale=0.1))
    graph.op("Softmax", graph.dense(hidden, 2, 16, 4, scale=0.03), axis=1, into="probabilities")
    return graph.save(models_dir, "mlp", probabilities=(FLOAT, ["batch", 4]))


def labels(models_dir: Path) -> Path:
    """A dense layer and the ArgMax of each row; the only output is int64 labels."""
    graph = Graph(x=(FLOAT, ["batch", 4]))
    graph.op("ArgMax", graph.dense("x", 1, 4, 5), axis=1, keepdims=0, into="label")
    return graph.save(models_dir, "labels", label=(INT64, ["batch"]))


def two_outputs(models_dir: Path) -> Path:
    """Computes scores and their label from two inputs."""
    graph = Graph(a=(FLOAT, ["batch", 4]), b=(FLOAT, ["batch", 2]))
    both = graph.op("Concat", "a", "b", axis=1)
    graph.op("MatMul", both, weights(1, 6, 3), into="scores")
    graph.op("ArgMax", "scores", axis=1, keepdims=0, into="label")
    return graph.save(
        models_dir, "two_outputs", scores=(FLOAT, ["batch", 3]), label=(INT64, ["batch"])
    )


def half_mlp(models_dir: Path) -> Path:
    """Two dense layers in float16, inputs and outputs too."""
    graph = Graph(x=(FLOAT16, ["batch", 8]))
    first, second = (
        weights(seed, *shape, scale=0.2).astype(np.float16)
        for seed, shape in ((1, (8, 16)), (2, (16, 4)))
    )
    hidden = graph.op("Relu", graph.op("MatMul", "x", first))
    graph.op("MatMul", hidden, second, into="y")
    return graph.save(models_dir, "half_mlp", y=(FLOAT16, ["batch", 4]))


def cnn(models_dir: Path) -> Path:
    """Convolution, pooling and a dense layer on images [batch, 1, 8, 8]: a row is an image."""
    graph = Graph(images=(FLOAT, ["batch", 1, 8, 8]))
    features = graph.op("Conv", "images", weights(1, 4, 1, 3, 3), weights(2, 4), pads=[1, 1, 1, 1])
    pooled = graph.op("MaxPool", graph.op("Relu", features), kernel_shape=[2, 2], strides=[2, 2])
    graph.op("Gemm", graph.op("Flatten", pooled), weights(3, 64, 3, scale=0.1), into="scores")
    return graph.save(models_dir, "cnn", scores=(FLOAT, ["batch", 3]))


def transformer(models_dir: Path) -> Path:
    """An encoder layer on [batch, 6, 8] with two heads; attention stays within a row."""
    graph = Graph(x=(FLOAT, ["batch", 6, 8]))
    normal = _layer_norm(graph, "x")
    heads = {}
    for seed, (part, order) in enumerate(
        {"query": [0, 2, 1, 3], "key": [0, 2, 3, 1], "value": [0, 2, 1, 3]}.items()
    ):
        split = graph.op("Reshape", graph.dense(normal, seed, 8, 8), [0, 6, 2, 4])
        heads[part] = graph.op("Transpose", split, perm=order)
    scores = graph.op("Mul", graph.op("MatMul", heads["query"], heads["key"]), 0.5)
    attended = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), heads["value"])
    # PyTorch's exports read the batch size from the input and put it into the shape, too.
    batch = graph.op("Shape", "x", start=0, end=1)
    shape = graph.op("Concat", batch, [6, 8], axis=0)
    merged = graph.op("Reshape", graph.op("Transpose", attended, perm=[0, 2, 1, 3]), shape)
    x = graph.op("Add", "x", graph.dense(merged, 10, 8, 8))
    hidden = graph.dense(_layer_norm(graph, x), 11, 8, 16)
    gelu = graph.op("Mul", hidden, graph.op("Sigmoid", graph.op("Mul", hidden, 1.702)))
    x = _layer_norm(graph, graph.op("Add", x, graph.dense(gelu, 12, 16, 8)))
    pooled = graph.op("ReduceMean", x, axes=[1], keepdims=0)
    graph.op("MatMul", pooled, weights(13, 8, 3), into="scores")
    return graph.save(models_dir, "transformer", scores=(FLOAT, ["batch", 3]))


def _layer_norm(graph: Graph, x: str) -> str:
    scale, bias = np.ones(8, np.float32), np.zeros(8, np.float32)
    return graph.op("LayerNormalization", x, scale, bias, axis=-1)


def batch_first_lstm(models_dir: Path) -> Path:
    """PyTorch's LSTM with `batch_first`: the input [batch, 5, 4] is transposed for the operator."""
    graph = Graph(x=(FLOAT, ["batch", 5, 4]))
    graph.outputs_of(
        "LSTM",
        graph.op("Transpose", "x", perm=[1, 0, 2]),
        weights(1, 1, 12, 4, scale=0.4),
        weights(2, 1, 12, 3, scale=0.4),
        outputs=["", "last"],
        hidden_size=3,
    )
    graph.op("MatMul", graph.op("Squeeze", "last", [0]), weights(3, 3, 2), into="scores")
    return graph.save(models_dir, "batch_first_lstm", scores=(FLOAT, ["batch", 2]))


def static_int8(models_dir: Path) -> Path:
    """An MLP quantised with fixed scales from a calibration, so rows stay independent."""
    graph = Graph(x=(FLOAT, ["batch", 8]))
    hidden = graph.op("Relu", _static_dense(graph, "x", 1, 8, 16))
    graph.op("Identity", _static_dense(graph, hidden, 2, 16, 4), into="y")
    return graph.save(models_dir, "static_int8", y=(FLOAT, ["batch", 4]))


def _static_dense(graph: Graph, x: str, seed: int, rows: int, columns: int) -> str:
    """Add a dense layer whose product has a scale, too, so that ONNX Runtime computes in integers.

    A float product rounds differently in another batch, and sometimes to another byte.
    """
    values = np.random.default_rng(seed).integers(-100, 100, (rows, columns), np.int8)
    kernel = graph.op("DequantizeLinear", values, 0.01, np.int8(0))
    product = graph.op("MatMul", _rounded(graph, x, 0.05), kernel)
    return graph.op("Add", _rounded(graph, product, 0.1), weights(seed + 1000, columns, scale=0.3))


def _rounded(graph: Graph, x: str, scale: float) -> str:
    quantized = graph.op("QuantizeLinear", x, scale, np.int8(0))
    return graph.op("DequantizeLinear", quantized, scale, np.int8(0))


def embedding_mean(models_dir: Path) -> Path:
    """The mean of the embeddings of a row's eight words, then a dense layer."""
    graph = Graph(ids=(INT64, ["batch", 8]))
    words = graph.op("Gather", weights(1, 50, 6), "ids", axis=0)
    mean = graph.op("ReduceMean", words, axes=[1], keepdims=0)
    graph.op("MatMul", mean, weights(2, 6, 3), into="scores")
    return graph.save(models_dir, "embedding_mean", scores=(FLOAT, ["batch", 3]))


_TREES, _DEPTH, _FEATURES = 20, 3, 6


def _forest() -> dict[str, list]:
    """Return twenty random full binary trees of depth three, as gradient boosting makes them."""
    random = np.random.default_rng(1)
    inner, nodes = 2**_DEPTH - 1, 2 ** (_DEPTH + 1) - 1
    forest: dict[str, list] = {name: [] for name in ("tree", "node", "leaf_tree", "leaf", "weight")}
    forest |= {name: [] for name in ("feature", "mode", "value", "true", "false")}
    for tree in range(_TREES):
        for node in range(nodes):
            branch = node < inner
            forest["tree"].append(tree)
            forest["node"].append(node)
            forest["mode"].append("BRANCH_LEQ" if branch else "LEAF")
            forest["feature"].append(int(random.integers(_FEATURES)) if branch else 0)
            forest["value"].append(float(random.normal()) if branch else 0.0)
            forest["true"].append(2 * node + 1 if branch else 0)
            forest["false"].append(2 * node + 2 if branch else 0)
            if not branch:
                forest["leaf_tree"].append(tree)
                forest["leaf"].append(node)
                forest["weight"].append(float(random.normal(scale=0.1)))
    return forest


def _tree_attributes(forest: dict[str, list]) -> dict[str, list]:
    return {
        "nodes_treeids": forest["tree"],
        "nodes_nodeids": forest["node"],
        "nodes_modes": forest["mode"],
        "nodes_featureids": forest["feature"],
        "nodes_values": forest["value"],
        "nodes_truenodeids": forest["true"],
        "nodes_falsenodeids": forest["false"],
        "nodes_missing_value_tracks_true": [0] * len(forest["tree"]),
    }


def tree_regressor(models_dir: Path) -> Path:
    """A gradient-boosted regression in TreeEnsembleRegressor."""
    forest = _forest()
    graph = Graph(features=(FLOAT, ["batch", _FEATURES]))
    graph.op(
        "TreeEnsembleRegressor",
        "features",
        domain=ML,
        into="prediction",
        n_targets=1,
        base_values=[0.5],
        target_treeids=forest["leaf_tree"],
        target_nodeids=forest["leaf"],
        target_ids=[0] * len(forest["leaf"]),
        target_weights=forest["weight"],
        **_tree_attributes(forest),
    )
    return graph.save(models_dir, "tree_regressor", prediction=(FLOAT, ["batch", 1]))


def tree_classifier(models_dir: Path) -> Path:
    """The trees as TreeEnsembleClassifier of three classes, with six or seven trees each."""
    forest = _forest()
    graph = Graph(features=(FLOAT, ["batch", _FEATURES]))
    graph.outputs_of(
        "TreeEnsembleClassifier",
        "features",
        outputs=["label", "probabilities"],
        domain=ML,
        post_transform="SOFTMAX",
        classlabels_int64s=[0, 1, 2],
        class_treeids=forest["leaf_tree"],
        class_nodeids=forest["leaf"],
        class_ids=[tree % 3 for tree in forest["leaf_tree"]],
        class_weights=forest["weight"],
        **_tree_attributes(forest),
    )
    return graph.save(
        models_dir,
        "tree_classifier",
        label=(INT64, ["batch"]),
        probabilities=(FLOAT, ["batch", 3]),
    )


# The blocks of a small MobileNetV2: expansion, channels, stride.
_BLOCKS = (
    (1, 8, 1),
    (4, 12, 2),
    (4, 12, 1),
    (4, 16, 2),
    (4, 16, 1),
    (4, 16, 1),
    (4, 24, 2),
    (4, 24, 1),
    (4, 24, 1),
    (4, 32, 1),
)


def mobilenet(models_dir: Path) -> Path:
    """A small MobileNetV2: ten inverted residual blocks on uint8 images [batch, 32, 32, 3]."""
    graph = Graph(images=(UINT8, ["batch", 32, 32, 3]))
    scaled = graph.op("Mul", graph.op("Cast", "images", to=FLOAT), np.float32(1 / 127.5))
    planes = graph.op("Transpose", graph.op("Sub", scaled, 1.0), perm=[0, 3, 1, 2])
    x, channels = _relu6(graph, _convolution(graph, planes, 1, 3, 8, kernel=3)), 8
    for number, (expansion, wanted, stride) in enumerate(_BLOCKS):
        seed, wide = 10 * (number + 1), channels * expansion
        y = x
        if expansion > 1:
            y = _relu6(graph, _convolution(graph, y, seed, channels, wide, kernel=1))
        depthwise = _convolution(
            graph, y, seed + 1, wide, wide, kernel=3, stride=stride, group=wide
        )
        y = _convolution(graph, _relu6(graph, depthwise), seed + 2, wide, wanted, kernel=1)
        x = graph.op("Add", x, y) if stride == 1 and wanted == channels else y
        channels = wanted
    pooled = graph.op("Flatten", graph.op("GlobalAveragePool", x))
    graph.op(
        "Softmax", graph.dense(pooled, 500, channels, 10, scale=0.3), axis=1, into="probabilities"
    )
    return graph.save(models_dir, "mobilenet", probabilities=(FLOAT, ["batch", 10]))


def _convolution(
    graph: Graph,
    x: str,
    seed: int,
    channels: int,
    wanted: int,
    *,
    kernel: int,
    stride: int = 1,
    group: int = 1,
) -> str:
    """Add a convolution and a BatchNormalization with random statistics."""
    size = (wanted, channels // group, kernel, kernel)
    scale = (2 / (channels // group * kernel * kernel)) ** 0.5
    pad = kernel // 2
    convolved = graph.op(
        "Conv",
        x,
        weights(seed, *size, scale=scale),
        group=group,
        strides=[stride, stride],
        pads=[pad] * 4,
    )
    random = np.random.default_rng(seed + 2000)
    gain, variance = (random.uniform(0.7, 1.4, wanted).astype(np.float32) for _ in range(2))
    bias, mean = (random.normal(scale=0.2, size=wanted).astype(np.float32) for _ in range(2))
    return graph.op("BatchNormalization", convolved, gain, bias, mean, variance)


def _relu6(graph: Graph, x: str) -> str:
    return graph.op("Clip", x, 0.0, 6.0)
