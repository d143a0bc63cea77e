"""The secrets that fixtures use, and whether a test's captured output holds one: logs of every test are looked at."""

import pytest

FIXTURE_SECRETS = (
    "enviaai-secret-of-these-tests",
    "the-secret-of-enviaai-br",
    "operate-token-for-tests-0000",
    "read-token-for-tests-000000",
    "read-token-of-these-tests-0000",
    "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
)


def spilled(text: str) -> list[str]:
    """Those that stand in a text."""
    return [secret for secret in FIXTURE_SECRETS if secret in text]


def judge(report: pytest.TestReport) -> None:
    """Fail a test that passed, but whose output or log holds a secret."""
    if report.passed and (found := spilled("".join(text for _, text in report.sections))):
        report.outcome = "failed"
        report.longrepr = f"a secret of a fixture stands in what this test printed or logged: {', '.join(found)}"
