"""The parts of a report about the rows that were sent, and about how their answers were checked.

See `report_sections_schema` for the conventions.
"""

from typing import Annotated, Literal

from msgspec import Struct

from loadtest.report_sections_schema import means

Unit = Literal["images", "rows"]
RecordSource = Literal["models-dir", "file", "server"]


class Data(Struct, frozen=True, kw_only=True):
    """The test images, or other rows."""

    images: Annotated[int, means("Number of images, or of rows.")]
    sha256: Annotated[str, means("Digest of pixels and labels, see training's Split.sha256.")]
    source: Annotated[
        str | None,
        means('Last part of their path; "random" or "synthetic" with the seed if made.'),
    ]
    variant: Annotated[
        str | None,
        means('Format ("cifar-10-binary") if the model\'s record is of the same images.'),
    ]
    unit: Annotated[
        Unit,
        means('"images", or "rows" of other inputs, which the counts of images count.'),
    ] = "images"


class Checked(Struct, frozen=True, kw_only=True):
    """What the answers were checked against."""

    labels: Annotated[bool, means("Whether they were compared with labels: section `accuracy`.")]
    no_labels: Annotated[str | None, means("Why there is no top-1; null if there is one.")]
    record: Annotated[
        RecordSource | None,
        means(
            'Where the recorded answers come from that each answer must equal: "models-dir", '
            '"file", or "server", which was asked for each row, one at a time, before the run; '
            "null if there are none. Section `mismatches`."
        ),
    ]
    rule: Annotated[str | None, means("When an answer equals the recorded one, in words.")]

    @property
    def text(self) -> str:
        """What was checked, in one line."""
        parts = ["accuracy, by the labels"] if self.labels else []
        if self.record is not None:
            origins = {
                "models-dir": "the predictions recorded with the model",
                "file": "the answers recorded in the file",
                "server": "the server's own answers, asked one at a time before the run",
            }
            parts.append(f"agreement with {origins[self.record]} ({self.rule})")
        text = "; ".join(parts) or "nothing: neither labels nor recorded answers"
        return text if self.no_labels is None else f"{text}; no top-1: {self.no_labels}"
