"""The rules for Prometheus, tried on scrapes: each fires for what it is there for, alone, and names it."""

import asyncio
import operator
import re
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # Litestar brings it, without types
from prometheus_client.parser import text_string_to_metric_families

from gateway.config import StoreSettings
from tests.operate.office import office
from tests.readme.document import README, ROOT, read

RULES: list[dict[str, Any]] = yaml.safe_load((ROOT / "deploy/alert-rules.yml").read_text("utf-8"))["groups"][0]["rules"]

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Scrape = dict[str, Vector]
"""Name → labels → value."""

CRM, BR = ("subscriber", "crm"), ("source", "enviaai-br")

FIRES: dict[str, dict[str, tuple[tuple[tuple[str, str], ...], float]]] = {
    "GatewayWorkerDown": {"worker_up": ((("worker", "1"),), 0)},
    "GatewayStoreAway": {"store_away": ((), 1)},
    "GatewaySpoolFilling": {"spool_limit_bytes": ((), 100), "spool_bytes": ((), 76)},
    "GatewaySpoolUnreadable": {"spool_unreadable_files": ((), 1)},
    "GatewaySpoolPutAside": {"spool_put_aside_batches": ((), 1)},
    "GatewayUnaccounted": {"unaccounted_events": ((), -1)},
    "GatewayNobodyDelivers": {"partition_leased": ((("partition", "1"),), 0)},
    "GatewayEventsLate": {"oldest_pending_seconds": ((CRM,), 301)},
    "GatewayBreakerOpen": {"breaker_open": ((CRM,), 1)},
    "GatewaySubscriberDisabled": {"subscriber_disabled": ((CRM,), 1)},
    "GatewayDeadLetters": {"dead_letters": ((CRM,), 1)},
    "GatewayLag": {"lag_ratio": ((CRM,), 0.5)},
    "GatewayGivenUp": {"given_up_events_total": ((CRM,), 1)},
    "GatewayFilterFailures": {"filter_failures_total": ((CRM, ("worker", "0")), 1)},
    "GatewayReplayPaused": {"replay_records": ((("state", "paused"),), 1)},
    "GatewaySourceSilent": {"source_silent": ((BR,), 1)},
    "GatewaySourceBroken": {"source_broken": ((BR,), 1)},
    "GatewayQuarantine": {"requests_total": ((BR, ("outcome", "quarantined")), 1)},
    "GatewayStoreFull": {"store_memory_limit_bytes": ((), 100), "store_memory_bytes": ((), 76)},
    "GatewayStoreNotDurable": {"store_durable": ((), 0)},
    "GatewayAlertsFailing": {"alerts_failing": ((), 1)},
}
"""Rule → what is otherwise than in a gateway that is well. ``GatewayDown`` has no scrape at all."""

COMPARE = {"==": operator.eq, "!=": operator.ne, ">": operator.gt, ">=": operator.ge}
VALUE = r"(?:(?P<function>min|increase|absent)\()?(?P<name>gateway_\w+)(?:\{(?P<picked>[^}]*)\})?(?:\[1h\])?\)?"
COMPARISON = re.compile(rf"{VALUE}(?: (?P<sign>==|!=|>=?) (?:(?P<factor>[\d.]+) \* )?(?P<other>\S+))?")


def firing(scrape: Scrape, before: Scrape) -> dict[str, list[Labels]]:
    """The rules that fire, each with the labels it fires for; ``before`` is the scrape of an hour ago.

    Understands of Prometheus' language what the rules use, and raises for anything else.
    """
    found = {}
    for rule in RULES:
        parts = [COMPARISON.fullmatch(part) for part in rule["expr"].split(" and ")]
        vectors = [evaluate(part, scrape, before) for part in parts if part]
        assert len(vectors) == len(parts), rule["expr"]
        if labels := set.intersection(*(set(each) for each in vectors)):
            found[rule["alert"]] = list(labels)
    return found


def evaluate(part: re.Match[str], scrape: Scrape, before: Scrape) -> Vector:
    """Of one comparison what is true."""
    name, function = part["name"], part["function"]
    picked = set(re.findall(r'(\w+)="(\w+)"', part["picked"] or ""))
    left = {labels: value for labels, value in scrape.get(name, {}).items() if labels >= picked}
    if function == "absent":
        return {} if left else {frozenset(): 1.0}
    if function == "increase":
        left = {labels: value - before[name].get(labels, 0) for labels, value in left.items()}
    if function == "min":
        left = {frozenset(): min(left.values())} if left else {}
    holds, factor, other = COMPARE[part["sign"]], float(part["factor"] or 1), part["other"]
    if other.startswith("gateway_"):
        right = scrape.get(other, {})
        return {labels: v for labels, v in left.items() if labels in right and holds(v, factor * right[labels])}
    return {labels: v for labels, v in left.items() if holds(v, factor * float(other))}


def scraped(store_settings: StoreSettings, *, away: bool = False) -> Scrape:
    """What a gateway answers."""

    async def run() -> Scrape:
        async with office(store_settings, away=away) as at:
            found: Scrape = {}
            for family in text_string_to_metric_families((await at.reader.get("/metrics")).text):
                for sample in family.samples:
                    found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
            return found

    return asyncio.run(run())


def healthy(store_settings: StoreSettings) -> Scrape:
    """That of a gateway that is well: in an office nobody delivers, and its store need not be durable."""
    found = scraped(store_settings)
    found["gateway_partition_leased"] = dict.fromkeys(found["gateway_partition_leased"], 1.0)
    found["gateway_store_durable"] = {frozenset(): 1.0}
    return found


def test_each_rule_fires_alone_for_what_it_is_there_for(store_settings: StoreSettings) -> None:
    """On a gateway that is well none does; all that a rule's words name are labels it has; no other is in the file."""
    well = healthy(store_settings)
    assert firing(well, well) == {}
    assert list(firing({}, {})) == ["GatewayDown"]
    rules = {rule["alert"]: rule for rule in RULES}
    assert rules.keys() == FIRES.keys() | {"GatewayDown"}
    for alert, changes in FIRES.items():
        ill = dict(well)
        for name, (labels, value) in changes.items():
            known = well[f"gateway_{name}"]
            assert {key for each in known for key, _ in each} == {key for key, _ in labels}, name
            ill[f"gateway_{name}"] = {**known, frozenset(labels): value}
        found = firing(ill, well)
        assert list(found) == [alert]
        named = set(re.findall(r"\{\{ \$labels\.(\w+) \}\}", rules[alert]["annotations"]["summary"]))
        assert all(named <= {key for key, _ in labels} for labels in found[alert]), alert


def test_while_the_store_is_away_that_alone_is_told(store_settings: StoreSettings) -> None:
    """What is missing then is no reason for another alarm."""
    well = healthy(store_settings)
    assert list(firing(scraped(store_settings, away=True), well)) == ["GatewayStoreAway"]


def test_the_readme_and_the_rules_name_the_same_metrics() -> None:
    """Whoever reads the one and loads the other has missed nothing."""
    in_rules = {name for rule in RULES for name in re.findall(r"gateway_\w+", rule["expr"])}
    [table] = [
        rows
        for tables in read(README.read_text("utf-8")).tables.values()
        for rows in tables
        if "gateway_info" in rows[0][0]
    ]
    in_table = {name for row in table for cell in row for name in re.findall(r"`(gateway_\w+)", cell)}
    assert in_table == in_rules


@pytest.mark.parametrize("expr", ["rate(gateway_info[5m]) > 0", "gateway_info < 1", "gateway_info == 1 or gateway_up"])
def test_what_is_not_understood_is_not_passed_over(expr: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule in words that the tests do not know fails them, and is not taken for one that never fires."""
    monkeypatch.setattr("tests.operate.test_alert_rules.RULES", [{"alert": "Odd", "expr": expr}])
    with pytest.raises(AssertionError):
        firing({}, {})
