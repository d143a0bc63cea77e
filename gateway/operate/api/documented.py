"""The refusals an operation can answer, for its description, and the parameters that many operations share."""

from typing import Annotated

from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import PathParameter, QueryParameter

from gateway import problems
from gateway.problems import Body, Problem

BAD_REQUEST = problems.BAD_REQUEST
NOT_FOUND = problems.NOT_FOUND
CONFLICT = problems.CONFLICT
UNAVAILABLE = problems.UNAVAILABLE

Limit = Annotated[
    int, QueryParameter(ge=1, le=1_000, description="How many items at most.", examples=[Example(value=100)])
]
After = Annotated[
    str | None, QueryParameter(max_length=512, description="Where to go on: the `next` of an earlier answer.")
]

EventId = Annotated[str, PathParameter(max_length=64, description="The id, or a unique beginning of a recent one.")]


def documented(*refusals: Problem, unavailable: type[Body] = Body) -> dict[int, ResponseSpec]:
    """Those given, and the three that the gate answers everywhere; ``unavailable``: what a 503 looks like."""
    return {
        each.status: ResponseSpec(
            unavailable if each is UNAVAILABLE else Body,
            description=each.title,
            media_type="application/problem+json",
            generate_examples=False,
        )
        for each in (problems.NO_TOKEN, problems.FORBIDDEN, problems.TOO_MANY_TRIES, *refusals)
    }
