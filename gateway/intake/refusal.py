"""What ends a request with a problem, wherever in the intake it is found out; nothing of it leaves the intake."""

from gateway.problems import Problem


class Refusal(Exception):
    """Raised where a request cannot be taken, answered by ``endpoint``, or by ``wire`` if it is no request yet."""

    def __init__(
        self, problem: Problem, detail: str, *, more_comes: bool = False, retry_after_s: int | None = None
    ) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.more_comes = more_comes
        """A part of the body is still on its way."""
        self.retry_after_s = retry_after_s
