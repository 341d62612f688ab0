"""The command that writes or checks the generated parts of the documents about the models."""

import argparse

from export.papers import training_runs
from export.tables.tables import Places, check, models_section, write


def run(parsed: argparse.Namespace) -> int:
    """Store results of trainings, then write or check the documents, or print README's tables."""
    places = Places(
        models_dir=parsed.models_dir,
        readme=parsed.readme,
        results_dir=parsed.results_dir,
        training=parsed.training,
    )
    added = [training_runs.add(run_dir, places.results_dir) for run_dir in parsed.add_run]
    if parsed.check:
        check(places)
        print("up to date")
    elif parsed.write or added:
        print("\n".join(f"written: {file}" for file in [*added, *write(places)]))
    else:
        print(models_section(places))
    return 0
