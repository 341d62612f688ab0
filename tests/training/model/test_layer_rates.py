import itertools

import keras
import numpy as np
import pytest

from training.model import architectures, layer_rates, optimizer
from training.model.architectures import Interface
from training.model.nested_layers import leaves
from training.settings.recipes import ConfigError, from_recipe

NAME = "keras:MobileNetV3Small"
INTERFACE = Interface(image_size=48, classes=3)


@pytest.mark.parametrize(
    ("family", "blocks", "sizes"),
    [
        ("ResNet50", 16, [1, 2]),
        ("MobileNetV3Small", 11, [1]),
        ("EfficientNetV2S", 40, [3, 4]),
        ("ConvNeXtTiny", 18, [1, 2]),
    ],
)
def test_blocks_form_at_most_twelve_groups(family, blocks, sizes):
    """The groups rise from the stem to the head, and have as many blocks as possible each."""
    model = getattr(keras.applications, family)(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    names = [layer.name for layer in leaves(model.layers) if layer.weights]
    groups = layer_rates.group_numbers(names)
    found = {}
    for name, group in zip(names, groups, strict=True):
        if block := layer_rates.block_of(name):
            found.setdefault(block, set()).add(group)

    assert len(found) == blocks
    assert all(len(of) == 1 for of in found.values())
    assert groups[0] == 0
    assert sorted(set(groups)) == list(range(1 + min(blocks, 12)))
    assert groups == sorted(groups)
    by_group = [group for (group,) in found.values()]
    counts = {len(list(same)) for _, same in itertools.groupby(by_group)}
    assert sorted(counts) == sizes


def test_a_layer_between_blocks_goes_with_the_next_one():
    """So does a reduction; what follows the last block has its rate, and the stem has its own."""
    names = [
        *("tiny_stem_conv", "convnext_tiny_stage_0_block_0_layernorm", "downsampling_conv"),
        *("convnext_tiny_stage_1_block_0_layernorm", "layer_normalization"),
    ]

    assert layer_rates.group_numbers(names) == [0, 1, 2, 2, 2]
    assert layer_rates.group_numbers(["conv", "dense"]) == [0, 0]


def test_rates_fall_from_the_head_to_the_stem():
    """The last group has the share of the body times the decay, and the stem the smallest rate."""
    model = architectures.build(NAME, interface=INTERFACE)
    rates = layer_rates.of_body(model, backbone_rate=0.5, decay=0.8)
    head = {variable.path for variable in model.get_layer("logits").trainable_variables}

    assert set(rates) == {variable.path for variable in model.trainable_variables} - head
    assert max(rates.values()) == pytest.approx(0.5 * 0.8)
    assert min(rates.values()) == pytest.approx(0.5 * 0.8**12)  # 11 blocks, and the stem
    assert set(layer_rates.of_body(model, backbone_rate=0.1, decay=1.0).values()) == {0.1}


def test_variables_move_by_their_rates():
    """A first step of Adam is as long as the rate: a share of that of the head by the group."""
    config = from_recipe(
        NAME, "finetune", epochs=2, schedule="constant", freeze_epochs=0, layer_decay=0.5,
        backbone_rate=1.0, weight_decay=0.0,
    )  # fmt: skip
    model = architectures.build(NAME, interface=INTERFACE)
    model.compile(
        optimizer=optimizer.build(config, steps_per_epoch=1, model=model),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
    )
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (8, 48, 48, 3), dtype=np.uint8)
    before = [np.array(variable) for variable in model.trainable_variables]
    model.train_on_batch(pixels, np.eye(3, dtype=np.float32)[np.arange(8) % 3])
    rates = layer_rates.of_body(model, backbone_rate=1.0, decay=0.5)

    for variable, old in zip(model.trainable_variables, before, strict=True):
        moved = float(np.abs(np.array(variable) - old).max())
        assert moved < 1.2 * config.learning_rate * rates.get(variable.path, 1.0)
        if variable.path.startswith("expanded_conv_10_project/"):
            assert moved == pytest.approx(0.5 * config.learning_rate, rel=0.1)


def test_simcnn_has_no_layer_decay():
    """It has no blocks; and the range of the setting is told."""
    with pytest.raises(ConfigError, match=r"layer_decay 0\.75 received for simcnn"):
        from_recipe("simcnn", "best", layer_decay=0.75)
    with pytest.raises(ConfigError, match=r"layer_decay is 0\.0, expected above 0 to 1"):
        from_recipe("resnet50", "finetune", layer_decay=0.0)
