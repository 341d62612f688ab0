import hashlib

import numpy as np
import pytest
from PIL import Image
from sample_models import own_models

from export.errors import ExportError
from export.sources import labelled_data
from serving.tensors.signature import DataType, Signature, TensorSpec
from training.data.cifar10 import Split


def signature(*shape, dtype=DataType.DT_FLOAT, **others):
    """Return a signature with an input `picture` of the given shape, and other inputs."""
    shapes = {"picture": (dtype, shape or (-1, 8, 8, 3)), **others}
    return Signature(
        method_name="tensorflow/serving/predict",
        file="model.onnx",
        inputs={
            alias: TensorSpec(dtype=each, shape=sizes, tensor=alias, graph_name=alias)
            for alias, (each, sizes) in shapes.items()
        },
        outputs={},
    )


PIXELS = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
LABELS = np.arange(12) % 3


@pytest.fixture
def saved(tmp_path):
    """Return a function that writes arrays into an .npz file."""

    def write(**arrays):
        np.savez(tmp_path / "test.npz", **arrays)
        return tmp_path / "test.npz"

    return write


@pytest.fixture
def folder(tmp_path):
    """Write fifteen pictures of five colours, 64 x 64 pixels."""
    return own_models.write_folder(tmp_path / "pictures", 15, seed=3)


def test_arrays_are_fed_with_the_dtype_of_the_input(saved):
    """A single input takes an array of any name; uint8 becomes float32; the digest is a split's."""
    data = labelled_data.read(saved(x=PIXELS, labels=LABELS), signature())

    feeds = data.feeds(slice(2, 4))
    assert (feeds["picture"].dtype, len(data)) == (np.float32, 12)
    np.testing.assert_array_equal(feeds["picture"], PIXELS[2:4])
    assert data.labels.tolist() == LABELS.tolist()
    assert data.sha256() == Split(images=PIXELS, labels=LABELS).sha256()


def test_labels_may_be_unknown(saved):
    """Without labels the digest is that of the array."""
    data = labelled_data.read(saved(picture=PIXELS), signature())

    assert data.labels is None
    assert data.sha256() == hashlib.sha256(PIXELS.tobytes()).hexdigest()


def test_several_inputs_go_by_name(saved):
    """With several inputs each array is fed to the input of its name."""
    two = signature(weight=(DataType.DT_INT64, (-1,)))

    data = labelled_data.read(saved(weight=np.arange(12), picture=PIXELS), two)

    assert data.feeds(np.array([3]))["weight"].tolist() == [3]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": PIXELS, "y": LABELS}, r"has x uint8\(12, 8, 8, 3\), y int64\(12,\); expected an ar"),
        ({}, r"has no arrays; expected an array for each input \(picture\), and labels"),
        ({"x": PIXELS.astype(complex)}, "has complex128 for input picture, expected float32"),
        ({"x": PIXELS[..., :2]}, r"shape \(12, 8, 8, 2\) for input picture, which is of shape"),
        ({"x": PIXELS, "labels": np.eye(12)}, r"labels float64\(12, 12\), expected integers"),
        ({"x": PIXELS, "labels": LABELS[:5]}, "expected the same number of rows in all arrays"),
        ({"x": PIXELS[:9]}, "has 9 rows, expected at least 10; add more test data"),
        ({"x": np.array([object()])}, "cannot be read"),
    ],
)
def test_unfit_arrays_are_refused(saved, arrays, message):
    """Unfit names, dtypes, shapes, labels or row numbers raise ExportError with both values."""
    with pytest.raises(ExportError, match=message):
        labelled_data.read(saved(**arrays), signature())


def test_other_files_are_refused(tmp_path):
    """A file that is no archive, and a missing file, raise ExportError."""
    (tmp_path / "x.npz").write_text("text")

    for name in ("x.npz", "missing.npz"):
        with pytest.raises(
            ExportError, match=r"cannot be read .*expected a file that numpy\.savez"
        ):
            labelled_data.read(tmp_path / name, signature())


def test_pictures_are_scaled_as_the_server_does(folder):
    """Classes are the sorted folder names; pictures are scaled bilinearly with antialiasing."""
    data = labelled_data.read(folder, signature())

    assert data.class_names == own_models.CLASS_NAMES
    assert data.labels.tolist() == sorted(np.arange(15) % 5)
    assert data.feeds(slice(None))["picture"].shape == (15, 8, 8, 3)
    first = Image.open(min((folder / "blue").iterdir())).resize((8, 8), resample=2)
    np.testing.assert_array_equal(data.feeds(slice(1))["picture"][0], np.asarray(first))


def test_class_names_give_the_order(folder):
    """With given class names the labels are indices into them."""
    names = own_models.CLASS_NAMES[::-1]

    data = labelled_data.read(folder, signature(), names)

    assert data.class_names == names
    assert data.labels[0] == 4


def test_grey_inputs_get_grey_pictures(folder):
    """An input of one channel and free size gets grey pictures of their own size."""
    data = labelled_data.read(folder, signature(-1, -1, -1, 1, dtype=DataType.DT_UINT8))

    assert data.feeds(slice(None))["picture"].shape == (15, 64, 64, 1)


@pytest.mark.parametrize(
    ("shape", "spoil", "message"),
    [
        ((-1, 4), None, "holds pictures, but the signature takes picture DT_FLOAT of shape"),
        ((-1, -1, -1, 3), "resize", "takes pictures of any size, and .* scale the pictures to one"),
        ((-1, 8, 8, 3), "damage", "PNG file of .* is damaged or truncated.*; replace or remove it"),
        ((-1, 8, 8, 3), "class", "the name of .*purple is no class, expected blue, green"),
        ((-1, 8, 8, 3), "empty", "holds no images; expected"),
    ],
)
def test_unfit_pictures_are_refused(folder, tmp_path, shape, spoil, message):
    """Unfit pictures raise ExportError of one line that names the file or folder."""
    file = min((folder / "red").iterdir())
    if spoil == "resize":
        Image.open(file).resize((60, 64)).save(file)
    elif spoil == "damage":
        file.write_bytes(file.read_bytes()[:200])
    elif spoil == "class":
        (folder / "purple").mkdir()
    elif spoil == "empty":
        folder = tmp_path / "nothing"
        folder.mkdir()

    with pytest.raises(ExportError, match=message):
        labelled_data.read(folder, signature(*shape), own_models.CLASS_NAMES)


def test_labels_must_be_classes(saved):
    """A label outside the columns of the scores raises ExportError with their number."""
    data = labelled_data.read(saved(x=PIXELS, labels=LABELS + 1), signature())

    labelled_data.check_labels(data, 4)
    with pytest.raises(ExportError, match="labels from 1 to 3, expected 0 to 2: the scores have 3"):
        labelled_data.check_labels(data, 3)


def test_strings_are_refused(saved):
    """Test data for a signature that takes strings raises ExportError."""
    with pytest.raises(
        ExportError, match=r"takes strings or serialized tf.Examples; export the mod"
    ):
        labelled_data.read(saved(x=PIXELS), signature(-1, dtype=DataType.DT_STRING))
