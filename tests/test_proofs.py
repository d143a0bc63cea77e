"""The commands of README's table of proofs, at their edges; what they find has tests beside each."""

import importlib

import pytest

from tests.slowloris.__main__ import remarks
from tests.slowloris.attack import Kept
from tests.slowloris.run import Phase

NOTHING = {
    "crashes.__main__": ["--kills", "0", "--store-kills", "0"],
    "power.__main__": ["--cuts", "0"],
    "faults.__main__": ["--rate", "0"],
    "torture.__main__": ["--minutes", "-1"],
    "racing.__main__": ["--rounds", "-1"],
    "forgeries.__main__": ["--count", "0"],
    "hostile.__main__": ["--requests", "many"],
    "slowloris.__main__": ["--connections", "0"],
    "mutation.__main__": ["--most", "0"],
    "adapters.fuzz": ["--runs", "-5"],
}


@pytest.mark.parametrize("module", NOTHING)
def test_a_proof_of_nothing_is_refused(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A number that would prove nothing is refused with a sentence that says which to write."""
    monkeypatch.setattr("sys.argv", [module, *NOTHING[module]])
    with pytest.raises(SystemExit) as left:
        importlib.import_module(f"tests.{module}").main()
    assert left.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "at least" in said or "above 0" in said


def test_what_fits_no_column_is_told_in_sentences() -> None:
    """How connections ended, and what was wrong, stand below the table of the slow senders, for which 80 columns do."""
    kept = Kept(opened=1000, longest_s=9.0, statuses={"without a word": 998, "408": 2})
    phase = Phase(name="ours", most_connections=4000, requests=100, refused=1, p99_s=0.01, grown_bytes=0, freed_s=9.0)
    phase.kept, phase.wrong = {"half a head": kept}, ["1 refused"]
    assert list(remarks([phase])) == [
        "ours, half a head: 1,000, kept 9.0 s at most; at the end: 2 × 408, 998 × without a word",
        "WRONG ours: 1 refused",
    ]
