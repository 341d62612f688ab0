import numpy as np
import pytest
from sample_results.run_folders import DATA, HARDWARE, write_run

from training.report.pages.blocks import Bullets, Cards, Notice, Paragraph, Table
from training.report.sections import comparison
from training.report.sections.recommendation import recommend
from training.report.sources.answers import RunAnswers
from training.report.sources.candidates import gather, rank
from training.report.sources.runs import read_all

MACS = {"simcnn": 4_548_608, "resnet50": 80_799_744}


@pytest.fixture
def make(tmp_path):
    """Return a function that writes runs from keyword arguments of `write_run`.

    The function returns the runs, the most accurate on held-out images first, and their
    candidates.
    """

    def make_runs(*descriptions):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folders = [
            write_run(folder / f"run-{number}", **description)
            for number, description in enumerate(descriptions)
        ]
        runs = sorted(
            read_all(folders),
            key=lambda run: rank(run.held_out.share if run.held_out else None, run.name),
        )
        return runs, gather(runs, {run.name: MACS[run.settings["model"]] for run in runs})

    return make_runs


def texts(blocks):
    """Return all sentences of the blocks and of the cards in them."""
    found = []
    for block in blocks:
        if isinstance(block, Cards):
            found += [f"{card.title}: {card.answer}. {card.text}" for card in block.cards]
        elif isinstance(block, Paragraph | Notice):
            found.append(block.text)
        elif isinstance(block, Bullets):
            found += block.items
    return found


def answers(correct):
    """Return answers to 100 images, of which the first `correct` ones are right."""
    right = np.arange(100) < correct
    return RunAnswers(classes=np.zeros(100, np.int64), probabilities=np.ones(100), right=right)


RESNET = {"model": "resnet50", "correct": 90, "seconds": 6000.0}
SIMCNN = {"model": "simcnn", "correct": 80, "seconds": 600.0}


def test_each_constraint_names_its_winner_and_the_price(make):
    """The large model is recommended for accuracy and the small one for each cost, with figures."""
    _, candidates = make(SIMCNN, RESNET)

    accuracy, time, compute, size, conclusion = texts(recommend(candidates, {}))

    assert accuracy.startswith(
        "If accuracy decides: resnet50 best. 90.00 % of 100 held-out training images (95 % "
    )
    assert "On the 100 test images 90.00 % (95 % interval 82.56 to 94.48 %)." in accuracy
    assert accuracy.endswith(
        "10.00 points ahead of simcnn best on held-out images; their 95 % intervals overlap."
    )
    assert time == (
        "If training time decides: simcnn best. 10 min of training. resnet50 best takes 10 times "
        "as long and is 10.00 points more accurate."
    )
    assert compute == (
        "If compute per image decides: simcnn best. 4.55 million multiply-accumulates an image. "
        "resnet50 best needs 18 times as much and is 10.00 points more accurate."
    )
    assert size == (
        "If size decides: simcnn best. 122,570 parameters, 0.49 MB as float32. "
        "resnet50 best is 210 times as large and is 10.00 points more accurate."
    )
    assert conclusion == (
        "No recipe wins everywhere: resnet50 best for accuracy; simcnn best where training time, "
        "compute per image and size must be low."
    )


def test_test_images_choose_nothing(make):
    """Whatever the accuracy on the test images, the order and the recommendations are the same."""
    expected = None
    for correct in ((10, 20, 30), (30, 20, 10), (95, 95, 5)):
        runs, candidates = make(
            {**SIMCNN, "held_out": 70, "correct": correct[0]},
            {**RESNET, "held_out": 80, "correct": correct[1]},
            {"recipe": "best", "epochs": 9, "held_out": 90, "correct": correct[2]},
        )
        chosen = [text.split(". ")[0] for text in texts(recommend(candidates, {}))]
        order = [run.name for run in runs], [candidate.name for candidate in candidates]

        expected = expected or (chosen, order)
        assert (chosen, order) == expected

    assert expected[0][0] == "If accuracy decides: simcnn best (epochs 9)"


def test_runs_that_held_out_no_images_are_not_ranked(make):
    """A run that validated on the test images is named as not compared, however well it tests."""
    published = {"recipe": "report", "correct": 99, "seconds": 1.0}
    _, candidates = make(published, SIMCNN, RESNET)

    found = texts(recommend(candidates, {}))

    assert candidates[-1].name == "simcnn report"
    assert candidates[-1].held_out is None
    assert found[-1].startswith("simcnn report: not compared here, because no accuracy on held-out")
    assert not any("simcnn report" in text for text in found[:-1])


def test_only_runs_without_held_out_images_are_no_choice(make):
    """If no run held out images, nothing is recommended; if one did, it alone is described."""
    first, second = {"recipe": "report"}, {"recipe": "report", "epochs": 9}

    (notice,) = texts(recommend(make(first, second)[1], {}))
    described = texts(recommend(make(first, SIMCNN)[1], {}))

    assert "simcnn report and simcnn report (epochs 9): not compared" in notice
    assert described[0].startswith("Only simcnn best can be ranked")
    assert described[1].startswith("80.00 % of 100 held-out training images")


def test_run_without_held_out_images_is_described_alone(make):
    """A single run that held out no images has its accuracy on the test images."""
    _, candidates = make({"recipe": "report", "correct": 71})

    found = texts(recommend(candidates, {}))

    assert found[0].startswith("Only simcnn report was given")
    assert found[1].startswith("On the 100 test images 71.00 %")


def test_paired_answers_say_how_sure_the_lead_is(make):
    """If both runs have answers, the difference on test images has the pair's interval."""
    runs, candidates = make(SIMCNN, RESNET)
    known = {run.name: answers(run.correct) for run in runs}

    clear = texts(recommend(candidates, known))[0]
    known[runs[1].name] = answers(89)
    close = texts(recommend(candidates, known))[0]

    assert "On the same test images the difference is +10.00 points (95 % interval +3." in clear
    assert "McNemar's p = 0.0020)." in clear
    assert "do not tell them apart" not in clear
    assert close.endswith("these images do not tell them apart.")


def test_one_recipe_that_wins_everything_is_the_choice(make):
    """If one recipe is more accurate and costs no more, it alone is recommended."""
    slow = {"epochs": 90, "correct": 70, "seconds": 700.0}
    _, candidates = make(SIMCNN, slow)

    found = texts(recommend(candidates, {}))

    assert "simcnn best is the choice under every constraint compared here." in found
    assert found[-1] == (
        "Nothing here speaks for simcnn best (epochs 90): simcnn best is 10.00 points more "
        "accurate and needs no more in training time, compute per image and size."
    )
    assert "It is the most accurate as well." in found[1]
    assert "All need the same, so accuracy decides." in found[2]


def test_single_recipe_is_described_not_chosen(make):
    """For a single recipe the section has its figures and says that there is no choice."""
    _, candidates = make(SIMCNN)

    found = texts(recommend(candidates, {}))

    assert found[0].startswith("Only simcnn best was given")
    assert "122,570 parameters, 0.49 MB as float32." in found


def test_times_of_different_hardware_are_not_compared(make):
    """If runs were timed on different machines, a notice replaces the recommendation by time."""
    fast = {**RESNET, "seconds": 60.0, "hardware": {**HARDWARE, "gpus": ["Some GPU"]}}
    _, candidates = make(SIMCNN, fast)

    found = texts(recommend(candidates, {}))

    assert not any(text.startswith("If training time decides") for text in found)
    assert any("resnet50 best took 1 min on Some CPU, 2 cores, Some GPU" in text for text in found)


@pytest.mark.parametrize("digest", ["train_sha256", "test_sha256"])
def test_different_images_are_not_compared(make, digest):
    """If runs were trained or tested on different images, there is no recommendation."""
    _, candidates = make(SIMCNN, {**RESNET, "data": {**DATA, digest: "d" * 64}})

    (notice,) = recommend(candidates, {})

    assert isinstance(notice, Notice)
    assert "trained or measured on different images" in notice.text


def test_seeds_of_a_recipe_are_one_candidate(make):
    """Runs that differ in the seed are summarised: mean, sample standard deviation, extremes, n."""
    correct = (78, 80, 85)
    runs, candidates = make(
        *({**SIMCNN, "correct": count, "seed": seed} for seed, count in enumerate(correct)),
        RESNET,
    )

    tables = [
        block for block in comparison.compare(runs, candidates, {}) if isinstance(block, Table)
    ]
    (row,) = next(table.rows for table in tables if "n" in table.header)

    # Mean 81, squared deviations 9 + 1 + 16, divided by n - 1 = 2.
    assert row == (
        *("simcnn best", "0, 1, 2", "3", "81.00 %", f"{13**0.5:.2f}", "78.00 %", "85.00 %"),
        "10 min",
    )
    lead = texts(recommend(candidates, {}))[0]
    assert "9.00 points ahead of simcnn best on held-out images; no run of that is as good" in lead


def test_seed_used_twice_is_pointed_out(make):
    """If two runs have the same seed, the report says that they are not independent."""
    runs, candidates = make(SIMCNN, {**SIMCNN, "correct": 81})

    found = texts(comparison.compare(runs, candidates, {}))

    assert any("A seed occurs more than once in simcnn best" in text for text in found)


def test_published_figures_stand_beside_ours(make):
    """The table has both published accuracies and each recipe's difference from its model's."""
    runs, candidates = make(SIMCNN, RESNET)

    blocks = comparison.compare(runs, candidates, {})

    table = next(block for block in blocks if isinstance(block, Table))
    assert [row[:3] for row in table.rows] == [
        ("run-1", "90.00 %", "90.00 %"),
        ("run-0", "80.00 %", "80.00 %"),
        ("published SimCNN", "", "71.61 %"),
        ("published ResNet50", "", "79.29 %"),
    ]
    assert all(len(row) == len(table.header) for row in table.rows)
    found = texts(blocks)
    assert (
        "resnet50 best: 90.00 %, 10.71 points above the 79.29 % of the published ResNet50." in found
    )
    assert any("not of the same images" in text for text in found)


@pytest.mark.parametrize(
    ("corrects", "first"),
    [
        pytest.param((76, 70), ("0.0312", "0.0312", "yes"), id="6-images"),
        pytest.param((75, 70), ("0.0625", "0.0625", "no"), id="5-images"),
        pytest.param((76, 70, 70), ("0.0312", "0.0938", "no"), id="three-pairs"),
    ],
)
def test_runs_are_told_apart_by_the_corrected_p_beside_the_words(make, corrects, first):
    """Of 6 images that one run alone gets right p is 0.031: clear in one pair, not in three."""
    runs, candidates = make(
        *({"correct": correct, "seed": seed} for seed, correct in enumerate(corrects))
    )
    known = {run.name: answers(run.correct) for run in runs}

    blocks = comparison.compare(runs, candidates, known)

    (table,) = (one for one in blocks if isinstance(one, Table) and "McNemar p" in one.header)
    assert table.rows[0][-3:] == first


@pytest.mark.parametrize(("count", "pairs"), [(6, 15), (7, 6)])
def test_pairs_are_all_pairs_or_each_with_the_best(make, count, pairs):
    """Up to six runs are compared in all pairs; seven runs each with the first run."""
    runs, candidates = make(*({"correct": 70 + number, "seed": number} for number in range(count)))
    known = {run.name: answers(run.correct) for run in runs}

    (table,) = (
        block
        for block in comparison.compare(runs, candidates, known)
        if isinstance(block, Table) and "McNemar p" in block.header
    )

    assert len(table.rows) == pairs
    assert table.rows[0][:3] == (runs[0].name, runs[1].name, "+1.00")
