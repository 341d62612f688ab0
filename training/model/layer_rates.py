"""Learning rates of the layers of a body, which fall from the head to the stem.

Layer-wise decay is that of the fine-tuning of BEiT (Bao et al., 2022) and ConvNeXt (Liu et al.,
2022): the rate of a layer group is a constant share of that of the group behind it. ConvNeXt's code
divides its blocks into at most 12 groups, and gives a layer between two blocks the rate of the next
one; so does this module.
"""

import re
from collections.abc import Mapping

import keras

from training.model.nested_layers import leaves

MOST_GROUPS = 12
# Names of a block's layers: conv2_block1_1_conv (ResNet), block2a_expand_conv (EfficientNet),
# expanded_conv_3_project or expanded_conv_project (MobileNet),
# convnext_tiny_stage_0_block_1_layernorm.
_BLOCK = re.compile(
    r"(conv\d+_block\d+|block\d+[a-z]|expanded_conv(?:_\d+)?(?=_)|convnext_\w+_stage_\d+_block_\d+)_"
)


def of_body(model: keras.Model, *, backbone_rate: float, decay: float) -> dict[str, float]:
    """Return the learning rates of the body as shares of that of the head, by the variables' paths.

    Args:
        model: A model of training.model.architectures, whose head are its dense layers.
        backbone_rate: Share of the body's last group, before the decay.
        decay: Share of a group as part of that of the group behind it; for the last group, behind
            which the head is, too. 1 for one rate of the whole body.
    """
    head = {id(layer) for layer in model.layers if isinstance(layer, keras.layers.Dense)}
    body = [layer for layer in leaves(model.layers) if id(layer) not in head and layer.weights]
    groups = group_numbers([layer.name for layer in body])
    behind = 1 + max(groups, default=0)
    return {
        variable.path: backbone_rate * decay ** (behind - group)
        for layer, group in zip(body, groups, strict=True)
        for variable in layer.trainable_variables
    }


def group_numbers(names: list[str]) -> list[int]:
    """Return the group of each layer of a body: 0 for the stem, then 1 to at most MOST_GROUPS.

    Args:
        names: Names of the layers with weights, from the stem to the head.
    """
    blocks: dict[str, int] = {}
    numbers: list[int | None] = []
    for name in names:
        block = block_of(name)
        numbers.append(None if block is None else blocks.setdefault(block, len(blocks)))
    if not blocks:
        return [0] * len(names)
    group_of = _groups(len(blocks))
    first = next(place for place, number in enumerate(numbers) if number is not None)
    groups, following = [0] * len(names), len(blocks) - 1
    for place in reversed(range(first, len(names))):
        number = numbers[place]
        following = following if number is None else number
        groups[place] = 1 + group_of[following]
    return groups


def block_of(name: str) -> str | None:
    """Return the name of the block that a layer is in, by the layer's name; None if in none."""
    found = _BLOCK.match(name)
    return found and found[1]


def _groups(blocks: int) -> Mapping[int, int]:
    """Divide the blocks into groups of sizes as equal as possible."""
    count = min(blocks, MOST_GROUPS)
    return {block: block * count // blocks for block in range(blocks)}
