"""The engines' benchmarks run, and their page shows what was measured. How fast anything is, is not tested."""

import msgspec

from benchmarks.engines import live_pnl, options
from benchmarks.engines.results import EngineResults, page
from benchmarks.peers.catalogue import ROOT

FOLDER = ROOT / "docs" / "benchmarks"


def test_marking_is_measured_beside_the_same_books():
    measured = live_pnl.run(users=50)
    assert measured["positions"] == 500
    assert measured["mark_ms"] > 0 < measured["loop_over_books_ms"]


def test_a_chain_is_measured_beside_a_loop_with_the_same_volatilities(monkeypatch):
    monkeypatch.setattr(options, "ENGINE_RUNS", 2)
    monkeypatch.setattr(options, "LOOP_RUNS", 1)
    measured = options.run()
    assert measured["options"] == 82
    assert measured["largest_iv_difference"] < 1e-6


def test_the_page_is_of_the_numbers():
    results = msgspec.json.decode((FOLDER / "engines.json").read_bytes(), type=EngineResults)
    assert (FOLDER / "engines.md").read_text() == page(results)
