"""All models of the zoo, and the names of those in an ordinary test run."""

from saved_model_zoo import (
    applications,
    keras2,
    keras3,
    keras3_pictures,
    keras3_sequences,
    modules,
    tensorflow1,
    texts,
)
from saved_model_zoo.entry import Entry

MODELS: dict[str, Entry] = {
    entry.name: entry
    for module in (
        keras3,
        keras3_sequences,
        keras3_pictures,
        keras2,
        applications,
        modules,
        texts,
        tensorflow1,
    )
    for entry in module.ENTRIES
}
QUICK = (
    "masked_bidirectional_lstm",
    "keras2_legacy_adam",
    "reference_network",
    "hashing",
    "string_table",
)
