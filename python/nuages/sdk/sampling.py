"""A sampler that keeps at most so many traces a second, natively.

``TracerProvider(sampler=ParentBased(RateLimitingSampler(50)))``, or OTEL_TRACES_SAMPLER=parentbased_ratelimiting (or ratelimiting, which asks for
every span and not only for roots) with the traces per second in OTEL_TRACES_SAMPLER_ARG. The names are Jaeger's. The limit is each process's own;
an idle process saves up at most one second's worth. What share of the traces that was is not known, so sampled roots carry no ratio.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Optional, Union

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult

from nuages import _native

logger = logging.getLogger("nuages")

DEFAULT_PER_SECOND = 100.0


class RateLimitingSampler(Sampler):  # type: ignore[misc]
    """Samples while fewer than `per_second` spans a second asked."""

    def __init__(self, per_second: float) -> None:
        per_second = float(per_second)
        if not per_second >= 0:
            raise ValueError(f"per_second must be 0 or more, not {per_second}")
        self.per_second = per_second
        self._limiter = _native.rate_limiter(per_second)

    def should_sample(
        self,
        parent_context: Optional[Context],
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Any = None,
        links: Optional[Sequence[Any]] = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        """For samplers in Python that ask this one; a provider asks the same bucket from C++."""
        parent = trace.get_current_span(parent_context).get_span_context()
        state = parent.trace_state if parent.is_valid else None
        if _native.rate_limit_allows(self._limiter):
            return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, state)
        return SamplingResult(Decision.DROP, None, state)

    def get_description(self) -> str:
        return f"RateLimitingSampler{{{self.per_second:g}}}"


def rate_limiting(argument: Union[float, str, None] = None) -> RateLimitingSampler:
    """The sampler that OTEL_TRACES_SAMPLER_ARG asks for; a bad value gives the default and one error."""
    if argument is not None and str(argument).strip():
        try:
            return RateLimitingSampler(float(argument))
        except ValueError:
            logger.error(
                "OTEL_TRACES_SAMPLER_ARG has the value %r; using %g. Use traces per second.",
                argument,
                DEFAULT_PER_SECOND,
            )
    return RateLimitingSampler(DEFAULT_PER_SECOND)


def parent_based_rate_limiting(argument: Union[float, str, None] = None) -> ParentBased:
    return ParentBased(rate_limiting(argument))
