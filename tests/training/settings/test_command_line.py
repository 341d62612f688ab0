import pytest

from training.settings import command_line
from training.settings.arguments import parser
from training.settings.recipes import from_recipe


@pytest.mark.parametrize("of_pictures", [False, True])
@pytest.mark.parametrize(
    ("model", "recipe", "overrides"),
    [
        ("simcnn", "best", {}),
        ("simcnn", "best", {"flip": False, "learning_rate": 0.1 + 0.2, "xla": "on", "seed": 7}),
        ("simcnn", "best", {"epochs": 2, "class_weights": True, "validation": "tail"}),
        ("simcnn", "best", {"schedule": "constant", "optimizer": "sgd", "image_size": 96}),
        ("resnet50", "gpu-15min", {"mixup": 0.0, "time_budget": 60, "stem": "imagenet"}),
        ("keras:ConvNeXtTiny", "finetune", {"epochs": 2, "freeze_epochs": 0, "weights": "a b.h5"}),
    ],
)
def test_the_arguments_choose_the_settings_again(model, recipe, overrides, of_pictures):
    """Parsed again, they give equal settings; floats keep every bit."""
    config = from_recipe(model, recipe, **overrides)

    arguments = command_line.arguments(config.as_dict(), of_pictures=of_pictures)

    options = vars(parser().parse_args(arguments))
    fields = {name: value for name, value in options.items() if name in config.as_dict()}
    assert from_recipe(**fields) == config


def test_what_pictures_choose_is_named():
    """With pictures, an image size of 32 and drawn validation images are not the default."""
    settings = from_recipe("simcnn", "best").as_dict()

    assert {"--image-size=32", "--validation=stratified"} <= set(
        command_line.arguments(settings, of_pictures=True)
    )
    assert command_line.arguments(settings, of_pictures=False) == [
        *("simcnn", "--recipe=best", "--seed=0")
    ]
