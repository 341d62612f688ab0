import csv
import json
import shutil

import pyarrow as pa
import pytest
from picture_sets import CLASSES, write_pictures
from PIL import Image
from pyarrow import parquet

from training.data.cifar10 import DataError
from training.sources import opening, picture_settings
from training.sources.listing import PARTS

NAMES = ("image_size", "validation", "split_seed")
# Test pictures that are drawn of ten of each class.
RECORDED = [
    "circle/0003.bmp",
    "circle/0004.jpg",
    "cross/0003.bmp",
    "cross/0006.PNG",
    "ring/0000.png",
    "ring/0008.png",
    "square/0003.bmp",
    "square/0007.jpg",
    "triangle/0004.jpg",
    "triangle/0005.jpeg",
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """25 pictures with folders for training and testing."""
    return write_pictures(tmp_path_factory.mktemp("pictures"), 5)


def names_of(listing, part):
    return {each.picture.name for each in listing.pictures if each.part == part}


def test_folders_of_parts_and_classes(pictures):
    """Classes are the sorted names of the folders; every file has the part of its folder."""
    listing = opening.find(pictures)

    assert listing.class_names == CLASSES
    assert (listing.variant, listing.drawn) == ("picture-folder", False)
    assert {part: len(names_of(listing, part)) for part in PARTS} == {
        "train": 20,
        "validation": 0,
        "test": 5,
    }
    assert all(each.picture.name.split("/")[1] == CLASSES[each.label] for each in listing.pictures)


def test_a_tree_without_parts_is_divided_by_class_and_stays_divided(tmp_path):
    """A fifth of each class becomes test pictures; pictures that are added do not move them."""
    write_pictures(tmp_path, 10, parts=("",))
    before = opening.find(tmp_path)
    tested = names_of(before, "test")
    shutil.copyfile(tmp_path / "ring" / "0000.png", tmp_path / "ring" / "later.png")
    after = opening.find(tmp_path)

    assert before.drawn
    assert before.counts()["test"] == dict.fromkeys(range(5), 2)
    assert opening.find(tmp_path).sha256() == after.sha256() != before.sha256()
    assert len(names_of(after, "test") & tested) >= 9


def test_validation_pictures_of_a_folder_are_kept_apart(tmp_path):
    """`val` is the part of validation; test pictures are then drawn from those for training."""
    write_pictures(tmp_path, 10, parts=("train", "train", "train", "train", "val"))
    listing = opening.find(tmp_path)

    assert listing.drawn
    assert all(name.startswith("val/") for name in names_of(listing, "validation"))
    assert all(name.startswith("train/") for name in names_of(listing, "test"))


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table_lists_the_same_pictures(pictures, tmp_path, ending):
    """Each kind of table gives the classes, parts and pictures that the folders give."""
    shutil.copytree(pictures, tmp_path, dirs_exist_ok=True)
    rows = [
        {
            "path": each.picture.name,
            "label": CLASSES[each.label],
            "split": each.part,
        }
        for each in opening.find(pictures).pictures
    ]
    file = tmp_path / f"labels.{ending}"
    if ending == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
    elif ending == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), file)
    else:
        with file.open("w", newline="") as text:
            writer = csv.DictWriter(text, rows[0], delimiter="\t" if ending == "tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)

    by_file, by_folder = opening.find(file), opening.find(tmp_path)

    assert by_file.variant == by_folder.variant == "picture-table"
    assert by_file.sha256() == by_folder.sha256() == opening.find(pictures).sha256()


def hub_table(pictures, part):
    rows = [each for each in opening.find(pictures).pictures if each.part == part]
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(CLASSES), "_type": "ClassLabel"},
    }
    table = pa.table(
        {
            "image": [{"bytes": each.picture.content(), "path": None} for each in rows],
            "label": [each.label for each in rows],
        }
    )
    return table, features


def write_arrow(folder, table, features):
    """Write a split as `Dataset.save_to_disk` of the library datasets does."""
    folder.mkdir(parents=True)
    name = "data-00000-of-00001.arrow"
    with (
        pa.OSFile(str(folder / name), "wb") as file,
        pa.ipc.new_stream(file, table.schema) as writer,
    ):
        writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))


def test_data_sets_of_hugging_face_give_the_same_pixels(pictures, tmp_path):
    """Arrow files of save_to_disk and Parquet files of a repository hold the folder's images."""
    (tmp_path / "repository" / "data").mkdir(parents=True)
    for part in ("train", "test"):
        table, features = hub_table(pictures, part)
        write_arrow(tmp_path / "saved" / part, table, features)
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        parquet.write_table(
            table.replace_schema_metadata(metadata),
            tmp_path / "repository" / "data" / f"{part}-00000-of-00001.parquet",
        )
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    expected = opening.load(pictures, 32)

    for name in ("saved", "repository"):
        data = opening.load(tmp_path / name, 32)
        assert data.variant == "picture-datasets"
        assert data.class_names == CLASSES
        assert data.train.sha256() == expected.train.sha256()
        assert data.sha256 == expected.sha256


def test_unusable_data_are_refused_in_one_sentence(tmp_path):
    """The message names the folder or file, what is wrong with it and what was expected."""
    write_pictures(tmp_path / "one", 4, class_names=("cat",))
    write_pictures(tmp_path / "untrained", 5, class_names=("cat", "dog"))
    shutil.rmtree(tmp_path / "untrained" / "train" / "dog")
    table = tmp_path / "table.csv"
    table.write_text("name,what\na.png,cat\n")
    lines = tmp_path / "lines.jsonl"
    lines.write_text('["a.png", "cat"]\n')
    for path, message in (
        (tmp_path / "one", "has only the class 'cat', expected two or more"),
        (tmp_path / "untrained", "class 'dog' has no training pictures"),
        (table, r"row 1 has no path or file_name .*\(its columns: 'name', 'what'\)"),
        (lines, "line 1: list received, expected an object"),
    ):
        with pytest.raises(DataError, match=message) as error:
            opening.find(path)
        assert "\n" not in str(error.value)


def test_cifar10_is_left_to_its_reader(binary_dir, image_dir, tmp_path):
    """Batches, an empty folder and image files of 32x32 with CIFAR-10's names are no listing."""
    assert opening.find(binary_dir) is None
    assert opening.find(image_dir) is None
    assert opening.find(tmp_path) is None
    assert opening.load(image_dir).variant == "image-folder"
    with pytest.raises(DataError, match="image size 64 received"):
        opening.load(image_dir, 64)


def test_photographs_of_cats_and_dogs_are_no_cifar10(tmp_path):
    """Pictures of another size are of these two classes, although CIFAR-10 has them too."""
    write_pictures(tmp_path, 5, class_names=("cat", "dog"))

    assert opening.find(tmp_path).class_names == ("cat", "dog")


def write_small_pictures(part, *class_names):
    """Write two pictures of 32x32 pixels for each class."""
    for name in class_names:
        folder = part / name
        folder.mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (32, 32), (number, 0, 0)).save(folder / f"{number}.png")


def test_small_pictures_of_some_of_cifar10s_classes_are_a_data_set_of_their_own(tmp_path):
    """Cats and dogs of 32x32 pixels are two classes, and no CIFAR-10 with eight empty ones."""
    for part in ("train", "test"):
        write_small_pictures(tmp_path / part, "cat", "dog")

    listing = opening.find(tmp_path)

    assert listing is not None
    assert listing.class_names == ("cat", "dog")


def test_test_pictures_alone_of_some_of_cifar10s_classes_are_cifar10s(tmp_path):
    """Nothing can be trained on such a folder; a load test reads it with CIFAR-10's ten labels."""
    write_small_pictures(tmp_path / "test", "dog", "truck")

    assert opening.find(tmp_path) is None
    assert opening.load_split(tmp_path, "test").labels.tolist() == [5, 5, 9, 9]


def test_test_pictures_alone_are_a_data_set_for_load_tests(pictures, tmp_path):
    """Labels are places among the sorted class folders, an empty one included; none is trained."""
    shutil.copytree(pictures / "test", tmp_path / "test")
    for name in ("absent", "zebra"):
        (tmp_path / "test" / name).mkdir()
    listing = opening.find(tmp_path)

    assert listing.class_names == ("absent", *CLASSES, "zebra")
    assert [row.label for row in listing.pictures] == [1, 2, 3, 4, 5]
    assert {row.part for row in listing.pictures} == {"test"}
    assert opening.load_split(tmp_path, "test", 32).labels.tolist() == [1, 2, 3, 4, 5]
    for read in (lambda: opening.load(tmp_path), lambda: opening.load_split(tmp_path, "train")):
        with pytest.raises(DataError, match=r"has no training pictures, only 5 for testing; exp"):
            read()
    with pytest.raises(DataError, match="has no training pictures, only 5 for testing"):
        picture_settings.choose(tmp_path, tmp_path / "run", dict.fromkeys(NAMES))


def test_a_table_of_test_pictures_alone(pictures, tmp_path):
    """A table whose rows are all for testing is read like such a folder."""
    file = tmp_path / "labels.csv"
    tested = sorted((pictures / "test").glob("*/*"))
    rows = [f"{path},{path.parent.name},test" for path in tested]
    file.write_text("\n".join(["path,label,split", *rows]))

    assert opening.load_split(file, "test", 32).labels.tolist() == [0, 1, 2, 3, 4]


def test_test_pictures_of_a_single_class_are_refused(pictures, tmp_path):
    """The message says how the other classes of the model are named."""
    shutil.copytree(pictures / "test" / "ring", tmp_path / "test" / "ring")

    with pytest.raises(DataError, match=r"only the class 'ring', .*add an empty folder for each"):
        opening.find(tmp_path)


def test_a_class_named_test_is_a_class(tmp_path):
    """A folder `test` beside other classes, or with pictures of its own, is no part."""
    write_pictures(tmp_path / "several", 5, class_names=("cat", "test"), parts=("",))
    write_pictures(tmp_path / "flat", 5, class_names=("test",), parts=("",))

    assert opening.find(tmp_path / "several").class_names == ("cat", "test")
    with pytest.raises(DataError, match="has only the class 'test', expected two or more"):
        opening.find(tmp_path / "flat")


def test_another_seed_draws_other_test_pictures(tmp_path):
    """Seed 0 is the default; the number of each class is the same, and the digest differs."""
    write_pictures(tmp_path, 10, parts=("",))
    default, zero, other = (
        opening.find(tmp_path, **seed) for seed in ({}, {"split_seed": 0}, {"split_seed": 7})
    )

    assert default.sha256() == zero.sha256() != other.sha256()
    assert names_of(default, "test") != names_of(other, "test")
    assert default.counts()["test"] == other.counts()["test"]
    assert opening.load(tmp_path, 32, split_seed=7).facts["split_seed"] == 7
    train, test = (
        opening.load_split(tmp_path, part, 32, split_seed=7) for part in ("train", "test")
    )
    assert (len(train), len(test)) == (40, 10)


def test_the_default_seed_draws_the_same_pictures_for_ever(tmp_path):
    """The names of the drawn pictures are recorded: earlier trainings keep their division."""
    write_pictures(tmp_path, 10, parts=("",))

    drawn = sorted(name for name in names_of(opening.find(tmp_path), "test"))
    assert drawn == RECORDED


def test_a_seed_for_test_pictures_that_are_given_is_refused(pictures, tmp_path):
    """So is one for CIFAR-10; a run that began keeps its seed."""
    options = {"image_size": None, "validation": None, "split_seed": 7}
    with pytest.raises(DataError, match="split seed 7 received, but the data name their test"):
        picture_settings.choose(pictures, tmp_path / "run", options)
    with pytest.raises(DataError, match="split seed 7 received"):
        picture_settings.choose(None, tmp_path / "run", options)
    (tmp_path / "config.json").write_text('{"config": {"split_seed": 7}, "pictures": {}}')
    write_pictures(tmp_path / "data", 10, parts=("",))

    chosen = picture_settings.choose(tmp_path / "data", tmp_path, options | {"split_seed": None})
    assert chosen["split_seed"] == 7
