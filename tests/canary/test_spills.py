"""Every test's captured output is searched for the fixtures' secrets."""

import pytest

from tests.cli import running
from tests.operate import office, staff
from tests.support.spills import FIXTURE_SECRETS, judge


def report(text: str) -> pytest.TestReport:
    """Of a test that passed and logged this."""
    return pytest.TestReport(
        "tests/x.py::test_x", ("tests/x.py", 1, "test_x"), {}, "passed", None, "call", [("Captured stderr call", text)]
    )


def test_the_list_has_the_secrets_that_fixtures_use() -> None:
    """Who changes one changes the list."""
    used = {
        *(running.SECRET, office.SOURCE_SECRET, office.OPERATE_TOKEN, office.READ_TOKEN, staff.READ),
        *(secret.removeprefix("whsec_") for secret in (running.WHSEC, office.SUBSCRIBER_SECRET, staff.WHSEC)),
    }
    assert used == set(FIXTURE_SECRETS)


def test_a_log_line_with_a_secret_fails_the_test_that_wrote_it() -> None:
    """Each of them; and a line without one does not."""
    for secret in FIXTURE_SECRETS:
        spilling = report(f'{{"event":"oops","url":"https://x/?token={secret}"}}')
        judge(spilling)
        assert spilling.failed
    clean = report('{"event":"delivery.start"}')
    judge(clean)
    assert clean.passed
