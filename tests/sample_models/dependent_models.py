"""Models whose rows depend on each other although the first dimension of every tensor is free.

Each model answers wrongly if its input is split or joined with another caller's input.
"""

from pathlib import Path

import numpy as np
from sample_models.zoo_graph import FLOAT, INT64, MICROSOFT, Graph, weights


def waveform_normaliser(models_dir: Path) -> Path:
    """Scales a waveform [samples] to zero mean and unit variance, computed from all samples."""
    graph = Graph(waveform=(FLOAT, ["samples"]))
    centred = graph.op("Sub", "waveform", graph.op("ReduceMean", "waveform", axes=[0]))
    variance = graph.op("ReduceMean", graph.op("Mul", centred, centred), axes=[0])
    deviation = graph.op("Sqrt", graph.op("Add", variance, 1e-6))
    graph.op("Div", centred, deviation, into="normalised")
    return graph.save(models_dir, "waveform_normaliser", normalised=(FLOAT, ["samples"]))


def image_to_mask(models_dir: Path) -> Path:
    """Maps an image [height, width, 3] to a mask; its convolutions read neighbouring rows."""
    graph = Graph(image=(FLOAT, ["height", "width", 3]))
    planes = graph.op("Unsqueeze", graph.op("Transpose", "image", perm=[2, 0, 1]), [0])
    features = graph.op("Conv", planes, weights(1, 4, 3, 3, 3, scale=0.3), pads=[1, 1, 1, 1])
    scores = graph.op("Conv", graph.op("Relu", features), weights(2, 1, 4, 1, 1))
    graph.op("Squeeze", scores, [0, 1], into="mask")
    return graph.save(models_dir, "image_to_mask", mask=(FLOAT, ["height", "width"]))


def image_contrast(models_dir: Path) -> Path:
    """Stretches an image [height, width, 3] to 0 to 1 by its darkest and brightest pixels."""
    graph = Graph(image=(FLOAT, ["height", "width", 3]))
    low = graph.op("ReduceMin", "image", axes=[0, 1, 2])
    span = graph.op("Sub", graph.op("ReduceMax", "image", axes=[0, 1, 2]), low)
    graph.op("Div", graph.op("Sub", "image", low), graph.op("Add", span, 1e-6), into="stretched")
    return graph.save(models_dir, "image_contrast", stretched=(FLOAT, ["height", "width", 3]))


def set_attention(models_dir: Path) -> Path:
    """Self-attention over one set [elements, 8]: each element attends to all elements."""
    graph = Graph(elements=(FLOAT, ["elements", 8]))
    queries, keys, values = (
        graph.op("MatMul", "elements", weights(seed, 8, 8, scale=0.3)) for seed in (1, 2, 3)
    )
    scores = graph.op("MatMul", queries, graph.op("Transpose", keys, perm=[1, 0]))
    attended = graph.op("MatMul", graph.op("Softmax", scores, axis=1), values)
    graph.op("Add", attended, "elements", into="attended")
    return graph.save(models_dir, "set_attention", attended=(FLOAT, ["elements", 8]))


def time_major_lstm(models_dir: Path) -> Path:
    """Runs two sequences [time, 2, 4] through an LSTM; each step needs the previous state."""
    graph = Graph(x=(FLOAT, ["time", 2, 4]))
    graph.outputs_of(
        "LSTM",
        "x",
        weights(1, 1, 20, 4, scale=0.4),
        weights(2, 1, 20, 5, scale=0.4),
        outputs=["states"],
        hidden_size=5,
    )
    graph.op("Squeeze", "states", [1], into="y")
    return graph.save(models_dir, "time_major_lstm", y=(FLOAT, ["time", 2, 5]))


def sequence_first_lstm(models_dir: Path) -> Path:
    """PyTorch's default LSTM in both directions, [sequence, batch, 4]: axis 1 is the batch."""
    graph = Graph(x=(FLOAT, ["sequence", "batch", 4]))
    graph.outputs_of(
        "LSTM",
        "x",
        weights(1, 2, 12, 4, scale=0.4),
        weights(2, 2, 12, 3, scale=0.4),
        weights(3, 2, 24, scale=0.1),
        outputs=["states"],
        hidden_size=3,
        direction="bidirectional",
    )
    together = graph.op("Reshape", graph.op("Transpose", "states", perm=[0, 2, 1, 3]), [0, 0, -1])
    product = graph.op("MatMul", together, weights(4, 6, 2))
    graph.op("Add", product, weights(5, 2), into="tags")
    return graph.save(models_dir, "sequence_first_lstm", tags=(FLOAT, ["sequence", "batch", 2]))


def sequence_classifier(models_dir: Path) -> Path:
    """Classifies [sequence, batch, 4] to [batch, 2] by an LSTM's last state.

    The first dimension of the input is the sequence, that of the output the batch.
    """
    graph = Graph(x=(FLOAT, ["sequence", "batch", 4]))
    graph.outputs_of(
        "LSTM",
        "x",
        weights(1, 1, 12, 4, scale=0.4),
        weights(2, 1, 12, 3, scale=0.4),
        outputs=["", "last"],
        hidden_size=3,
    )
    graph.op("MatMul", graph.op("Squeeze", "last", [0]), weights(4, 3, 2), into="scores")
    return graph.save(models_dir, "sequence_classifier", scores=(FLOAT, ["batch", 2]))


def pointnet(models_dir: Path) -> Path:
    """PointNet's segmentation of one cloud [points, 3]; each class needs the maximum over all."""
    graph = Graph(points=(FLOAT, ["points", 3]))
    local = graph.op("Relu", graph.dense("points", 1, 3, 8))
    cloud = graph.op("ReduceMax", local, axes=[0], keepdims=1)
    repeated = graph.op("Expand", cloud, graph.op("Shape", local))
    both = graph.op("Concat", local, repeated, axis=1)
    graph.op(
        "MatMul", graph.op("Relu", graph.dense(both, 2, 16, 8)), weights(3, 8, 4), into="parts"
    )
    return graph.save(models_dir, "pointnet", parts=(FLOAT, ["points", 4]))


def clip(models_dir: Path) -> Path:
    """CLIP with the tensor names of its usual exports: each image is compared with each text."""
    graph = Graph(
        pixel_values=(FLOAT, ["image_batch_size", 3, 4, 4]),
        input_ids=(INT64, ["text_batch_size", 6]),
        attention_mask=(INT64, ["text_batch_size", 6]),
    )
    pixels = graph.op("Flatten", "pixel_values")
    image = _unit_length(graph, graph.op("MatMul", pixels, weights(1, 48, 8)))
    words = graph.op("Gather", weights(2, 20, 8), "input_ids")
    mask = graph.op("Unsqueeze", graph.op("Cast", "attention_mask", to=FLOAT), [2])
    total = graph.op("ReduceSum", graph.op("Mul", words, mask), [1], keepdims=0)
    text = _unit_length(graph, graph.op("MatMul", total, weights(3, 8, 8)))
    product = graph.op("MatMul", image, graph.op("Transpose", text, perm=[1, 0]))
    graph.op("Mul", product, 10.0, into="logits_per_image")
    graph.op("Transpose", "logits_per_image", perm=[1, 0], into="logits_per_text")
    return graph.save(
        models_dir,
        "clip",
        logits_per_image=(FLOAT, ["image_batch_size", "text_batch_size"]),
        logits_per_text=(FLOAT, ["text_batch_size", "image_batch_size"]),
    )


def _unit_length(graph: Graph, x: str) -> str:
    length = graph.op("ReduceL2", x, axes=[1], keepdims=1)
    return graph.op("Div", x, graph.op("Add", length, 1e-6))


def nms_detector(models_dir: Path) -> Path:
    """Selects boxes [selected, 3] among 12 candidates for each image by NonMaxSuppression."""
    graph = Graph(candidates=(FLOAT, ["batch", 12, 5]))
    boxes, scores = _boxes_and_scores(graph, "candidates", axis=2)
    scores = graph.op("Transpose", scores, perm=[0, 2, 1])
    graph.op("NonMaxSuppression", boxes, scores, [10], [0.3], into="selected")
    return graph.save(models_dir, "nms_detector", selected=(INT64, ["selected", 3]))


def nms_of_one_image(models_dir: Path) -> Path:
    """Keeps those boxes [boxes, 5] of one image that no box with a higher score covers."""
    graph = Graph(candidates=(FLOAT, ["boxes", 5]))
    boxes, scores = _boxes_and_scores(graph, "candidates", axis=1)
    scores = graph.op("Unsqueeze", graph.op("Transpose", scores, perm=[1, 0]), [0])
    boxes = graph.op("Unsqueeze", boxes, [0])
    selected = graph.op("NonMaxSuppression", boxes, scores, [200], [0.3])
    indices = graph.op("Gather", selected, 2, axis=1)
    graph.op("Gather", "candidates", indices, axis=0, into="kept")
    return graph.save(models_dir, "nms_of_one_image", kept=(FLOAT, ["kept", 5]))


def _boxes_and_scores(graph: Graph, candidates: str, axis: int) -> tuple[str, str]:
    graph.outputs_of("Split", candidates, [4, 1], outputs=["boxes", "scores"], axis=axis)
    return "boxes", "scores"


def dynamic_int8(models_dir: Path) -> Path:
    """A dynamically quantised MLP: the range of the whole batch sets the quantisation step."""
    graph = Graph(x=(FLOAT, ["batch", 8]))
    hidden = graph.op("Relu", _dynamic_dense(graph, "x", 1, 8, 16))
    graph.op("Identity", _dynamic_dense(graph, hidden, 2, 16, 4), into="y")
    return graph.save(models_dir, "dynamic_int8", y=(FLOAT, ["batch", 4]))


def dynamic_int8_labels(models_dir: Path) -> Path:
    """`dynamic_int8` with its ArgMax as the only output: errors are wrong labels."""
    graph = Graph(x=(FLOAT, ["batch", 8]))
    hidden = graph.op("Relu", _dynamic_dense(graph, "x", 1, 8, 16))
    scores = _dynamic_dense(graph, hidden, 2, 16, 4)
    graph.op("ArgMax", scores, axis=1, keepdims=0, into="label")
    return graph.save(models_dir, "dynamic_int8_labels", label=(INT64, ["batch"]))


def _dynamic_dense(graph: Graph, x: str, seed: int, rows: int, columns: int) -> str:
    """A dense layer as `onnxruntime.quantization.quantize_dynamic` writes it."""
    quantized, scale, zero = f"q{seed}", f"scale{seed}", f"zero{seed}"
    graph.outputs_of("DynamicQuantizeLinear", x, outputs=[quantized, scale, zero])
    product = graph.op("MatMulInteger", quantized, _int8(seed, rows, columns), zero, np.int8(0))
    factor = graph.op("Mul", scale, 0.01)
    scaled = graph.op("Mul", graph.op("Cast", product, to=FLOAT), factor)
    return graph.op("Add", scaled, weights(seed + 1000, columns, scale=0.3))


def _int8(seed: int, rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-100, 100, (rows, columns), np.int8)


def hand_quantised_labels(models_dir: Path) -> Path:
    """Quantises by the largest value of the batch, in plain operators; answers labels only.

    The steps are so fine that only a value far larger than the others changes a label.
    """
    graph = Graph(x=(FLOAT, ["batch", 8]))
    largest = graph.op("ReduceMax", graph.op("Abs", "x"), keepdims=0)
    step = graph.op("Div", largest, 32767.0)
    rounded = graph.op("Mul", graph.op("Round", graph.op("Div", "x", step)), step)
    graph.op(
        "ArgMax", graph.op("MatMul", rounded, weights(7, 8, 4)), axis=1, keepdims=0, into="label"
    )
    return graph.save(models_dir, "hand_quantised_labels", label=(INT64, ["batch"]))


def dynamic_quantize_matmul(models_dir: Path) -> Path:
    """Dynamic quantisation in ONNX Runtime's operator com.microsoft.DynamicQuantizeMatMul."""
    graph = Graph(x=(FLOAT, ["batch", 8]))
    graph.op(
        "DynamicQuantizeMatMul",
        "x",
        _int8(1, 8, 4),
        0.01,
        np.int8(0),
        weights(2, 4),
        domain=MICROSOFT,
        into="y",
    )
    return graph.save(models_dir, "dynamic_quantize_matmul", y=(FLOAT, ["batch", 4]))


def training_batch_norm(models_dir: Path) -> Path:
    """BatchNormalization left in training mode: it takes mean and variance from the batch."""
    graph = Graph(x=(FLOAT, ["batch", 4]))
    hidden = graph.dense("x", 1, 4, 4)
    # ONNX Runtime writes the running statistics over its inputs, so these must not be weights.
    mean = graph.op("Mul", graph.op("ReduceMean", hidden, axes=[0], keepdims=0), 0.0)
    _training_batch_norm(graph, hidden, mean, graph.op("Add", mean, 1.0))
    graph.op("MatMul", "normalised", weights(2, 4, 3), into="y")
    return graph.save(models_dir, "training_batch_norm", y=(FLOAT, ["batch", 3]))


def drifting_batch_norm(models_dir: Path) -> Path:
    """BatchNormalization in training mode whose statistics are weights changed by each run.

    Answers depend on earlier runs even if every request runs alone.
    """
    graph = Graph(x=(FLOAT, ["batch", 4]))
    mean, variance = np.zeros(4, np.float32), np.ones(4, np.float32)
    _training_batch_norm(graph, "x", mean, variance)
    graph.op("MatMul", "normalised", weights(2, 4, 3), into="y")
    return graph.save(models_dir, "drifting_batch_norm", y=(FLOAT, ["batch", 3]))


def _training_batch_norm(graph: Graph, x: str, mean: object, variance: object) -> None:
    graph.outputs_of(
        "BatchNormalization",
        x,
        np.ones(4, np.float32),
        np.zeros(4, np.float32),
        mean,
        variance,
        outputs=["normalised", "running_mean", "running_variance"],
        training_mode=1,
    )


def softmax_over_rows(models_dir: Path) -> Path:
    """Softmax over axis 0: the rows share one sum."""
    graph = Graph(x=(FLOAT, ["candidates", 3]))
    graph.op("Softmax", graph.op("Mul", "x", 0.01), axis=0, into="y")
    return graph.save(models_dir, "softmax_over_rows", y=(FLOAT, ["candidates", 3]))


def running_total(models_dir: Path) -> Path:
    """CumSum over axis 0: a row is the sum of all rows up to it."""
    graph = Graph(x=(FLOAT, ["steps", 3]))
    graph.op("CumSum", "x", np.int64(0), into="total")
    return graph.save(models_dir, "running_total", total=(FLOAT, ["steps", 3]))


def sorted_rows(models_dir: Path) -> Path:
    """TopK over axis 0: the order depends on all items."""
    graph = Graph(x=(FLOAT, ["items"]))
    graph.outputs_of("TopK", "x", graph.op("Shape", "x"), outputs=["values", "positions"], axis=0)
    return graph.save(
        models_dir, "sorted_rows", values=(FLOAT, ["items"]), positions=(INT64, ["items"])
    )


def centred_rows(models_dir: Path) -> Path:
    """A dense layer, from which the mean over the rows is subtracted, as in whitening."""
    graph = Graph(x=(FLOAT, ["batch", 4]))
    hidden = graph.dense("x", 1, 4, 3)
    graph.op("Sub", hidden, graph.op("ReduceMean", hidden, axes=[0], keepdims=1), into="y")
    return graph.save(models_dir, "centred_rows", y=(FLOAT, ["batch", 3]))


def changes(models_dir: Path) -> Path:
    """Tells for each row whether it differs from the previous row; true for the first row."""
    graph = Graph(x=(INT64, ["events", 2]))
    rows = graph.op("Shape", "x", start=0, end=1)
    last = graph.op("Sub", rows, [1])
    earlier = graph.op("Slice", "x", [0], last, [0])
    first = graph.op("Expand", [[-1]], [1, 2])
    before = graph.op("Concat", first, earlier, axis=0)
    same = graph.op("Cast", graph.op("Equal", "x", before), to=INT64)
    both = graph.op("ReduceMin", same, axes=[1], keepdims=0)
    graph.op("Equal", both, 0, into="changed")
    return graph.save(models_dir, "changes", changed=(9, ["events"]))  # TensorProto.BOOL


def _mixing_if(graph: Graph, condition: str, into: str) -> None:
    """Add the mean of the rows to `x` if the condition, one bool for the batch, holds."""
    switch = graph.op("Cast", condition, to=FLOAT)
    mean = graph.op("ReduceMean", "x", axes=[0], keepdims=1)
    graph.op("Add", "x", graph.op("Mul", switch, mean), into=into)


def mixes_above_two_rows(models_dir: Path) -> Path:
    """The identity for one or two rows; the mean of the rows is added to larger batches."""
    graph = Graph(x=(FLOAT, ["batch", 3]))
    _mixing_if(graph, graph.op("Greater", graph.op("Shape", "x", start=0, end=1), [2]), "y")
    return graph.save(models_dir, "mixes_above_two_rows", y=(FLOAT, ["batch", 3]))


def mixes_seven_rows(models_dir: Path) -> Path:
    """The identity, except that batches of exactly seven rows get their mean added."""
    graph = Graph(x=(FLOAT, ["batch", 3]))
    _mixing_if(graph, graph.op("Equal", graph.op("Shape", "x", start=0, end=1), [7]), "y")
    return graph.save(models_dir, "mixes_seven_rows", y=(FLOAT, ["batch", 3]))


def mixes_above_forty_rows(models_dir: Path) -> Path:
    """The identity up to forty rows; single requests are smaller, full batches are larger."""
    graph = Graph(x=(FLOAT, ["batch", 3]))
    _mixing_if(graph, graph.op("Greater", graph.op("Shape", "x", start=0, end=1), [40]), "y")
    return graph.save(models_dir, "mixes_above_forty_rows", y=(FLOAT, ["batch", 3]))


def mixes_large_values(models_dir: Path) -> Path:
    """Spreads the excess of values above 100 over all rows; others change only their row."""
    graph = Graph(x=(FLOAT, ["batch", 3]))
    excess = graph.op("Relu", graph.op("Sub", "x", 100.0))
    graph.op("Add", "x", graph.op("ReduceMean", excess, axes=[0], keepdims=1), into="y")
    return graph.save(models_dir, "mixes_large_values", y=(FLOAT, ["batch", 3]))


def mixes_equal_rows(models_dir: Path) -> Path:
    """Counts how often each row occurs; every count is 1 unless two rows are equal."""
    graph = Graph(x=(INT64, ["batch", 2]))
    graph.outputs_of("Unique", "x", outputs=["unique", "first", "inverse", "counts"], axis=0)
    graph.op("Gather", "counts", "inverse", axis=0, into="occurrences")
    return graph.save(models_dir, "mixes_equal_rows", occurrences=(INT64, ["batch"]))


def mixes_zero_rows(models_dir: Path) -> Path:
    """Divides all rows by the share of rows that are not zero, as if zeros were padding."""
    graph = Graph(x=(FLOAT, ["batch", 3]))
    largest = graph.op("ReduceMax", graph.op("Abs", "x"), axes=[1], keepdims=1)
    kept = graph.op("Cast", graph.op("Greater", largest, 0.0), to=FLOAT)
    share = graph.op("ReduceMean", kept, axes=[0], keepdims=1)
    graph.op("Div", "x", graph.op("Max", share, 1e-3), into="y")
    return graph.save(models_dir, "mixes_zero_rows", y=(FLOAT, ["batch", 3]))


def mean_of_words(models_dir: Path) -> Path:
    """Drops rows of zeros, and adds the mean of the others and one row of zeros to each row."""
    graph = Graph(x=(FLOAT, ["words", 3]))
    largest = graph.op("ReduceMax", graph.op("Abs", "x"), axes=[1], keepdims=0)
    words = graph.op("Compress", "x", graph.op("Greater", largest, 0.0), axis=0)
    padded = graph.op("Concat", words, np.zeros((1, 3), np.float32), axis=0)  # never empty
    mean = graph.op("ReduceMean", padded, axes=[0], keepdims=1)
    graph.op("Add", "x", mean, into="y")
    return graph.save(models_dir, "mean_of_words", y=(FLOAT, ["words", 3]))


def noisy(models_dir: Path) -> Path:
    """Adds noise from RandomNormalLike, so no answer can be compared with another run."""
    graph = Graph(x=(FLOAT, ["batch", 3]))
    graph.op("Add", "x", graph.op("RandomNormalLike", "x"), into="y")
    return graph.save(models_dir, "noisy", y=(FLOAT, ["batch", 3]))
