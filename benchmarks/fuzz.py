"""Steps a second of rig fuzz on the virtual chip, and of the model alone. Run: python benchmarks/fuzz.py"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from rig.boards import inventory  # noqa: E402
from rig.boards.inventory import VirtualBoardSection  # noqa: E402
from rig.fieldkit.chance import Choices  # noqa: E402
from rig.fieldkit.fuzz import Pair, explore  # noqa: E402
from rig.fieldkit.on_model import ModelSubject  # noqa: E402
from rig.fieldkit.pairs import Shelves, at_once, small_partitions  # noqa: E402
from rig.fieldkit.scenario import Scenario  # noqa: E402
from rig.fieldkit.subject import Subject  # noqa: E402

VARIANTS = ("rollback", "factory")
STEPS = 3000
CONFIG = ROOT / "rig.toml"


def rate(pair: Pair) -> float:
    choices = Choices(variants=VARIANTS, partitions=small_partitions(VARIANTS))
    began = time.perf_counter()
    explore(pair, "v5.5", choices, 1, lambda progress: progress.steps < STEPS)
    return STEPS / (time.perf_counter() - began)


def main() -> None:
    bench = inventory.load(CONFIG)
    section = bench.board[0]
    assert isinstance(section, VirtualBoardSection)
    with tempfile.TemporaryDirectory() as scratch:
        shelves = Shelves(section, bench, CONFIG, Path(scratch), "v5.5")

        def twice(scenario: Scenario) -> tuple[Subject, ModelSubject]:
            """The model against itself: what is left when no firmware runs."""
            return ModelSubject(shelves.of(scenario)), ModelSubject(shelves.of(scenario))

        rate(twice)  # builds are made once
        firmware = rate(at_once(section, shelves))
        model = rate(twice)
    print(f"firmware of the virtual chip beside the model: {firmware:,.0f} steps/s")
    print(f"the model beside itself: {model:,.0f} steps/s, {model / firmware:.1f} times as many")


if __name__ == "__main__":
    main()
