"""Random call sequences through the official SDK and ours give the same answers and the same OTLP: 1,000 here, more with fuzz.py.

How it works is in driver.py (one process for each side), sequences.py (what is called) and compare.py (what must be equal). A failure names
the seed; `python tests/differential/fuzz.py --show SEED` prints the smallest sequence that still differs.
"""

from __future__ import annotations

from compare import Pair, differences, fuzz, shrink
from sequences import generate

SEEDS = range(1, 1001)


def test_same_calls_same_answers_and_same_otlp() -> None:
    with Pair() as pair:
        different = [f"seed {seed}: {line}" for seed, lines in fuzz(pair, SEEDS, generate) for line in lines]
        assert not different, "\n".join(different[:40])
        assert pair.spans > len(SEEDS)
        print(f"{len(SEEDS)} sequences, {pair.spans} spans, {pair.raising} sequences with a call that the SDK refuses")


def test_the_same_seed_is_the_same_sequence() -> None:
    assert [repr(generate(seed)) for seed in range(50)] == [repr(generate(seed)) for seed in range(50)]


def test_a_difference_is_found_and_shrunk() -> None:
    assert differences({"a": [1, 2]}, {"a": [1, 3]}) == [".a[1]: official 2, ours 3"]
    sequence = generate(7)

    def fails(candidate: object) -> bool:
        return any(call[0] == "set_attribute" for call in candidate["calls"])  # type: ignore[index]

    sequence["calls"] = [("current",), ("set_attribute", 0, "k", 1), ("current",)]
    assert shrink(sequence, fails)["calls"] == [("set_attribute", 0, "k", 1)]
