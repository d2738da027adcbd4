"""Random call sequences for the span API, as plain data: seeded, printable, and any subset of the calls is a sequence too.

A sequence is {"config": {...}, "calls": [(name, ...), ...]}. Spans and contexts have numbers; a call on one that does not exist (because
shrinking removed its start) is skipped by the driver. Values that a literal cannot show are tuples ("$", kind, ...), made by driver.value().
"""

from __future__ import annotations

import random
from typing import Any

KEYS = ("a", "b", "c", "http.route", "ключ", "k" * 40, "db.operation", "e.f")
TEXTS = ("", "x", "naïve ☃ café", "GET /orders/", "0", "ünï", "tab\tline\nend", "\x00nul", "a" * 70, "é" * 40, "🙂🙂🙂")
EXCEPTIONS = ("ValueError", "KeyError", "RuntimeError", "Custom", "Chained", "NoText", "Group")
BASE_EXCEPTIONS = ("KeyboardInterrupt", "SystemExit", "GeneratorExit")
PROPAGATORS = ("tracecontext", "baggage", "b3", "b3multi", "jaeger")


class Generator:
    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.numbers = 0
        self.odd_values = True

    # ---- values

    def pick(self, items: Any) -> Any:
        return self.rng.choice(items)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def text(self) -> str:
        if self.chance(0.6):
            return str(self.pick(TEXTS))
        return "".join(self.pick("abcxyz é☃._-/%=,;\"'") for _ in range(self.rng.randint(0, 24)))

    def scalar(self) -> Any:
        kind = self.rng.randrange(9)
        if kind < 3:
            return self.text()
        if kind == 3:
            return self.chance(0.5)
        if kind == 4:
            return self.pick((0, 1, -1, 7, 300, 2**31, -(2**63), 2**63 - 1))
        if kind == 5:
            return self.pick((0.0, -0.0, 1.5, 1e300, -1e-300, 0.1))
        if kind == 6:
            return self.pick((b"", b"bytes", b"\xff\x00\xfe"))
        if kind == 7:
            return self.rng.randint(-1000, 1000)
        return self.rng.random()

    def value(self, depth: int = 0) -> Any:
        if depth > 2 or self.chance(0.55):
            return self.scalar()
        kind = self.rng.randrange(12)
        if kind == 0:
            return [self.rng.randint(0, 9) for _ in range(self.rng.randint(0, 4))]
        if kind == 1:
            return tuple(self.text() for _ in range(self.rng.randint(0, 4)))
        if kind == 2:
            return [self.chance(0.5) for _ in range(self.rng.randint(1, 3))]
        if kind == 3:
            return [self.value(depth + 1) for _ in range(self.rng.randint(0, 4))]
        if kind == 4:
            return {self.key(): self.value(depth + 1) for _ in range(self.rng.randint(0, 3))}
        if kind == 5:
            return None
        if kind == 6:
            return ("$", "float", self.pick(("nan", "inf", "-inf")))
        if kind == 7:
            return ("$", self.pick(("shown", "plain", "represented")), self.text()) if self.odd_values else self.text()
        if kind == 8 and self.odd_values:
            return ("$", "decimal", self.pick(("1.50", "NaN", "-7")))
        if kind == 9:
            return (
                "$",
                self.pick(
                    ("range", "deque", "proxy", "set", "bytearray", "enum", "date")[: 7 if self.odd_values else 3]
                ),
                3,
            )
        if kind == 10:
            return ("$", self.pick(("str subclass", "int subclass", "float subclass")), 5)
        return {self.pick((1, "", None, "ok", ("$", "plain", ""))): self.scalar() for _ in range(2)}

    def key(self) -> Any:
        if self.chance(0.03):
            return self.pick(("", 5, None, b"key"))
        return self.pick(KEYS)

    def attributes(self, most: int = 6) -> Any:
        if self.chance(0.12):
            return self.pick((None, {}, ("$", "proxy", 2)))
        return {self.key(): self.value() for _ in range(self.rng.randint(0, most))}

    def time(self) -> Any:
        return self.pick((None, None, 1, 1_000, self.rng.randint(1, 10**18), 10**18))

    def trace_state(self) -> Any:
        return self.pick((None, None, [], [("k", "v")], [("k", "v"), ("z", "1"), ("t1@sys", "a b")], [("BAD", "v")]))

    def span_context(self) -> tuple[Any, ...]:
        return (
            self.pick((0, 1, self.rng.getrandbits(128), self.rng.getrandbits(128), self.rng.getrandbits(64))),
            self.pick((0, 1, self.rng.getrandbits(64), self.rng.getrandbits(64))),
            self.chance(0.5),
            self.pick((0, 1, 1, 2, 3, 255, 4)),
            self.trace_state(),
        )

    def links(self) -> Any:
        if self.chance(0.55):
            return self.pick(((), None, []))
        return [(self.span_context(), self.attributes(3)) for _ in range(self.rng.randint(1, 4))]

    def context(self) -> Any:
        kind = self.rng.randrange(10)
        if kind < 5:
            return None
        if kind == 5:
            return ("empty",)
        if kind == 6 and self.numbers:
            return ("span", self.rng.randrange(self.numbers))
        if kind == 7:
            return ("remote", self.span_context())
        if kind == 8 and self.numbers:
            return ("context", self.rng.randrange(self.numbers))
        return self.pick((("key", "some", 1), ("suppress",), ("baggage", "user", "ö k")))

    def exception(self, base: bool = False) -> tuple[str, str]:
        return (str(self.pick(EXCEPTIONS + (BASE_EXCEPTIONS if base else ()))), self.text())

    def number(self) -> int:
        self.numbers += 1
        return self.numbers - 1

    def start_arguments(self) -> dict[str, Any]:
        every = {
            "context": self.context,
            "kind": lambda: self.rng.randrange(5),
            "attributes": self.attributes,
            "links": self.links,
            "start_time": self.time,
            "record_exception": lambda: self.chance(0.6),
            "set_status_on_exception": lambda: self.chance(0.6),
        }
        chosen = [name for name in every if self.chance(0.4)]
        if self.chance(0.2):  # positional: a prefix
            chosen = list(every)[: self.rng.randint(0, len(every))]
        return {name: every[name]() for name in chosen}

    # ---- calls

    def carrier(self) -> dict[str, Any]:
        trace = self.pick(("0af7651916cd43dd8448eb211c80319c", "0" * 32, "A" * 32, "8448eb211c80319c", "xyz"))
        span = self.pick(("b7ad6b7169203331", "0" * 16, "FFFFFFFFFFFFFFFF", "12", ""))
        headers = {
            "traceparent": f"{self.pick(('00', '01', 'ff', 'cc', '0'))}-{trace}-{span}-{self.pick(('01', '00', '03', 'ff', '1'))}"
            + str(self.pick(("", "", "", "-extra", " ", "x"))),
            "tracestate": self.pick(
                ("k=v", "k=v, z=1 ,,t1@s=x y", "k=v,k=w", "K=v", "a=" + "x" * 257, "", "a=b\t,\tc=d")
            ),
            "baggage": self.pick(
                ("a=b", "a=b, c = d%20e ;p=1", "=x", "novalue", "ä=1", "a=" + "b" * 5000, "a=1+2,b=%C3%BC")
            ),
            "b3": f"{trace}-{span}" + str(self.pick(("", "-1", "-d", "-0", "-1-05e3ac9a4f6e3b90", "-1-x-y"))),
            "x-b3-traceid": trace,
            "x-b3-spanid": span,
            "x-b3-sampled": self.pick(("1", "0", "true", "True", "d", "")),
            "x-b3-flags": self.pick(("1", "0", "")),
            "uber-trace-id": f"{trace}:{span}:0:{self.pick(('1', '0', '3', 'f', 'x', '-1'))}"
            + str(self.pick(("", ":y"))),
            "uberctx-user": self.pick(("a", "%C3%BC b", " x ", "")),
        }
        kept = {name: [text] if self.chance(0.3) else text for name, text in headers.items() if self.chance(0.45)}
        if self.chance(0.1):
            kept["b3"] = self.pick(("0", "1", "d", ""))
        return kept

    def on_span(self) -> tuple[Any, ...]:
        span = self.rng.randrange(max(1, self.numbers))
        kind = self.rng.randrange(22)
        if kind < 6:
            return ("set_attribute", span, self.key(), self.value())
        if kind < 8:
            return ("set_attributes", span, self.attributes(9))
        if kind < 10:
            return ("add_event", span, self.text(), self.attributes(), self.time())
        if kind == 10:
            return ("add_link", span, self.span_context(), self.attributes(3))
        if kind < 13:
            return ("record_exception", span, self.exception(), self.attributes(2), self.time(), self.chance(0.5))
        if kind < 16:
            description = self.pick((None, None, "", "why", 7)) if self.chance(0.7) else self.text()
            return ("set_status", span, self.pick(("status", "code")), self.rng.randrange(3), description)
        if kind == 16:
            return ("update_name", span, self.text())
        if kind == 17:
            return ("is_recording", span)
        if kind < 20:
            return ("read", span)
        return ("end", span, self.time())

    def call(self) -> tuple[Any, ...]:
        kind = self.rng.randrange(40)
        if kind < 4:
            return ("start", self.number(), self.text(), self.start_arguments(), self.rng.randrange(2))
        if kind < 9:
            arguments = self.start_arguments()
            if self.chance(0.2):
                arguments["end_on_exit"] = self.chance(0.5)
            return ("enter", self.number(), self.text(), arguments, self.rng.randrange(2))
        if kind < 13:
            return ("exit", self.exception(base=True) if self.chance(0.4) else None)
        if kind == 13:
            return ("use", self.rng.randrange(max(1, self.numbers)), *(self.chance(0.6) for _ in range(3)))
        if kind == 14:
            return ("with", self.rng.randrange(max(1, self.numbers)))
        if kind == 15:
            return ("attach", self.context())
        if kind == 16:
            return ("current",)
        if kind == 17:
            return ("inject", self.pick(PROPAGATORS), self.context())
        if kind == 18:
            return ("extract", self.number(), self.pick(PROPAGATORS), self.carrier(), self.context())
        if kind == 19:
            error = self.exception() if self.chance(0.4) else None
            arguments = self.start_arguments()
            arguments.pop(
                "links", None
            )  # the official SDK changes a Link in place: the second call would change the first span
            return ("decorated", self.pick(("function", "coroutine")), self.text(), arguments, error)
        return self.on_span()

    # ---- the whole

    def root_sampler(self) -> Any:
        return self.pick((("on",), ("on",), ("off",), ("ratio", self.pick((0.0, 1e-3, 0.25, 0.5, 0.999, 1.0)))))

    def sampler(self) -> Any:
        kind = self.rng.randrange(10)
        if kind < 3:
            return ("on",)
        if kind < 5:
            return ("default on",)
        if kind == 5:
            return self.root_sampler()
        if kind < 8:
            names = (
                "remote_parent_sampled",
                "remote_parent_not_sampled",
                "local_parent_sampled",
                "local_parent_not_sampled",
            )
            return ("parent", self.root_sampler(), {name: self.root_sampler() for name in names if self.chance(0.25)})
        return ("python",) if kind == 8 else self.pick((("record only",), ("parent", ("python",), {})))

    def limits(self) -> Any:
        kind = self.rng.randrange(10)
        if kind < 4:
            return None
        if kind == 4:
            return {"max_attributes": 32, "max_events": 32, "max_links": 32, "max_attribute_length": 256}
        names = (
            "max_attributes",
            "max_events",
            "max_links",
            "max_span_attributes",
            "max_event_attributes",
            "max_link_attributes",
        )
        chosen: dict[str, Any] = {name: self.pick((0, 1, 2, 3, 5, -1)) for name in names if self.chance(0.4)}
        lengths = ("max_attribute_length", "max_span_attribute_length")
        chosen.update({name: self.pick((0, 1, 3, 10, -1)) for name in lengths if self.chance(0.4)})
        return chosen

    def processors(self) -> list[str]:
        kinds = (
            "start name", "start attribute", "ending name", "end attributes", "end name",
            "end status", "end events", "end dict", "watch", "export",
        )  # fmt: skip
        chosen = {str(self.pick(kinds)) for _ in range(self.rng.randint(1, 3))} if self.chance(0.5) else set()
        if "end attributes" in chosen:
            chosen.discard("end dict")  # assigned attributes are a plain dict there, which has no _dict
        # Ours runs exporters after every other processor (R14.05): so does the sequence.
        return sorted(chosen, key=lambda kind: (kind == "export", self.rng.random()))

    def sequence(self) -> dict[str, Any]:
        limits = self.limits()
        # Text made from other objects is not cut by the official SDK, by ours it is (drop-in.md): not together.
        self.odd_values = not any("length" in name for name in limits or ())
        config = {
            "seed": self.seed,
            "sampler": self.sampler(),
            "limits": limits,
            "processors": self.processors(),
            "random ids": self.chance(0.5),
            "scope": self.pick(
                (
                    ("scope", "1", None, None),
                    ("scope", None, "https://schema", None),
                    ("s", "2", None, {"k": 1, "l": ["a"]}),
                )
            ),
        }
        return {"config": config, "calls": [self.call() for _ in range(self.rng.randint(2, 30))]}


def generate(seed: int) -> dict[str, Any]:
    return Generator(seed).sequence()
