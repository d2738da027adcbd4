"""The differential fuzzing as a program: `python tests/differential/fuzz.py --sequences 100000 [--seed 1]`; `--show SEED` explains one.

Prints how many sequences, calls and spans were compared, and for each difference the smallest sequence that still shows it.
"""

from __future__ import annotations

import argparse
import collections
import pprint
import sys
import time

from compare import Pair, fuzz, shrink
from sequences import generate


def show(pair: Pair, seed: int) -> None:
    small = shrink(generate(seed), lambda sequence: bool(pair.compare([sequence])[0]))
    print(f"\nseed {seed}:")
    pprint.pprint(small, width=140, sort_dicts=False)
    for line in pair.compare([small])[0]:
        print("   ", line)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequences", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1, help="the first sequence's seed; the others follow")
    parser.add_argument("--show", type=int, help="only this seed")
    parser.add_argument("--stop-after", type=int, default=5, help="differing sequences to explain")
    options = parser.parse_args()
    with Pair() as pair:
        if options.show is not None:
            show(pair, options.show)
            return 0
        started = time.monotonic()
        seeds = range(options.seed, options.seed + options.sequences)
        kinds: collections.Counter[str] = collections.Counter()

        def counted(seed: int) -> object:
            sequence = generate(seed)
            kinds.update(call[0] for call in sequence["calls"])
            return sequence

        differing = []
        for seed, _ in fuzz(pair, seeds, counted):
            differing.append(seed)
            if len(differing) <= options.stop_after:
                show(pair, seed)
        seconds = time.monotonic() - started
        print(f"{len(seeds)} sequences (seeds {seeds.start} to {seeds.stop - 1}) in {seconds:.0f} s:", end=" ")
        print(
            f"{sum(kinds.values())} calls, {pair.spans} spans exported, {pair.raising} with a call that the SDK refuses"
        )
        print("calls: " + ", ".join(f"{name} {count}" for name, count in kinds.most_common()))
        print(f"{len(differing)} sequences differ" + (f": seeds {differing[:20]}" if differing else ""))
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
