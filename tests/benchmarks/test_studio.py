"""AI Studio's benchmarks run, and their page shows what was measured. How fast anything is, is not tested."""

import msgspec

from benchmarks.peers.catalogue import ROOT
from benchmarks.studio import ten_years
from benchmarks.studio.results import StudioResults, page

FOLDER = ROOT / "docs" / "benchmarks"


def test_every_strategy_is_measured():
    seconds = ten_years.run(days=80, symbols=2)
    assert set(seconds) == set(ten_years.STRATEGIES)


def test_the_page_is_of_the_numbers():
    results = msgspec.json.decode((FOLDER / "studio.json").read_bytes(), type=StudioResults)
    assert (FOLDER / "studio.md").read_text() == page(results)
    assert results.missed == [], "the published run reached its targets"
