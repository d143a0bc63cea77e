"""The README's tables say what the code says, both ways: nothing left out, nothing invented."""

import ast
import base64
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import rich_click as click

from gateway import problems
from gateway.cli import VERBS, load_verb
from gateway.config import NOT_YET
from gateway.config_file.document import read_text
from gateway.errors import ConfigError
from gateway.intake.endpoint import Answer, EventAnswer
from gateway.operate.views import DeliveryStateName
from gateway.problems import Problem
from gateway.store.connection import WANTED
from schemas.event import EVENT_TYPES, FAMILY_OF
from tests.readme.document import README, ROOT, bare, quoted, read
from tests.readme.settings import adapters, known_settings

DOCUMENT = read(README.read_text("utf-8"))
SETTINGS = known_settings()
SHARED_OPTIONS = {"--config", "--json", "--url", "--token"}
"""Options that the words above the table of commands speak of, for all verbs."""


def rows(heading: str, number: int = 0) -> list[list[str]]:
    found = DOCUMENT.tables[heading][number]
    assert found
    return found


@pytest.mark.parametrize("table", SETTINGS)
def test_each_setting_stands_there_with_its_default(table: str) -> None:
    """The keys that the reader of the file asks for are the keys in the README, and their defaults are the same."""
    shown = {bare(key): bare(default) for key, default, _ in rows(table)}
    assert shown == SETTINGS[table]


def test_the_tokens_shown_can_be_written_so() -> None:
    """The example for a monitoring token loads, and gives the role it says."""
    text = DOCUMENT.block("toml", "[[gateway.tokens]]").text
    config = read_text(Path("gateway.toml"), text, {"PROMETHEUS_TOKEN": "t" * 22}, {})
    assert [(token.name, token.role) for token in config.gateway.tokens] == [("prometheus", "read")]


def test_the_filter_shown_can_be_written_so() -> None:
    """The example with a filter and a format loads; with a field that there is not, it is refused with the column."""
    text = DOCUMENT.block("toml", "[subscribers.alarms]").text
    env = {"ALARMS_SECRET": "whsec_" + base64.b64encode(b"s" * 32).decode()}
    alarms = read_text(Path("gateway.toml"), text, env, {}).subscribers["alarms"]
    assert (alarms.format, alarms.types) == ("cloudevents-structured", ("message.*",))
    assert alarms.where == 'event.channel == "whatsapp" && has(event.data.error)'
    with pytest.raises(ConfigError, match=r"gateway\.toml:5: .*at column 47: no event has event\.data\.eror"):
        read_text(Path("gateway.toml"), text.replace("data.error", "data.eror"), env, {})


def test_all_tables_of_the_file_are_there() -> None:
    """The enumeration itself is not empty: every table of gateway.toml was watched being read."""
    wanted = {"[gateway]", "[[gateway.tokens]]", "[store]", "[sources.<name>]", "[subscribers.<name>]", "[alerts]"}
    assert set(SETTINGS) == wanted
    assert wanted == {heading for heading in DOCUMENT.headings if heading.startswith("[")}


def test_each_setting_of_each_adapter_stands_there() -> None:
    """With whether it is needed: yes, one of several, or neither."""
    shown = {(bare(adapter), bare(key)): needed for adapter, key, needed, _ in rows("[sources.<name>]", 1)}
    wanted = {}
    for name, adapter in adapters().items():
        proofs = [setting for setting in adapter.settings if setting.proof]
        one_of = "" if any(setting.required for setting in proofs) else "one of the three"
        assert not one_of or len(proofs) == 3
        for setting in adapter.settings:
            wanted[name, setting.name] = "yes" if setting.required else one_of if setting.proof else ""
    assert shown == wanted


def test_what_is_not_built_is_marked_and_listed() -> None:
    """Where a setting is refused the table says so, and the list at the end names it; nothing else is in either."""
    marked = {
        f"{table.strip('[]').partition('.')[0]}.{bare(key)}"
        for table in SETTINGS
        for key, _, meaning in rows(table)
        if meaning.startswith("*not yet*")
    }
    assert marked == set(NOT_YET)
    section = DOCUMENT.text.partition("\n## Not yet\n")[2].partition("\n## ")[0]
    listed = {name for name in quoted(section) if re.fullmatch(r"(store|sources|subscribers|alerts)\.\w+", name)}
    assert listed == set(NOT_YET)


def test_each_verb_stands_there_with_its_options() -> None:
    """In the order of the command's own table, with its words, and every option but those that all share."""
    shown = rows("Commands")
    assert [bare(verb) for verb, _ in shown] == list(VERBS)
    for name, words in ((bare(verb), words) for verb, words in shown):
        command: Any = load_verb(name)
        does_something = not isinstance(command, click.Group) or command.invoke_without_command
        options = {option.opts[-1] for option in command.params if isinstance(option, click.Option) and does_something}
        assert words.startswith(VERBS[name].help)
        assert {option for option in quoted(words) if option.startswith("--")} == options - SHARED_OPTIONS, name


def test_each_provider_stands_there_with_what_its_adapter_knows() -> None:
    """Title, deadline of the answer, last retry, and what is redacted."""
    shown = {bare(row[0]): (row[1], row[4], row[5], tuple(quoted(row[6]))) for row in rows("Providers")}
    wanted = {}
    for name, adapter in adapters().items():
        within = "not documented" if adapter.ack_deadline_s is None else f"{adapter.ack_deadline_s:g} s"
        wanted[name] = (adapter.title, within, in_words(adapter.retry_horizon_s), adapter.redacts)
    assert shown == wanted


def in_words(seconds: int) -> str:
    if not seconds:
        return "no retries documented"
    return f"{seconds / 60:.0f} min" if seconds < 3_600 else f"{round(seconds / 3_600, 1):g} h"


def test_each_answer_stands_there() -> None:
    """Every problem that the intake's code names, with status and code; the success shown has the real fields."""
    named = {
        node.attr
        for file in (ROOT / "gateway/intake").glob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "problems"
    }
    found = [getattr(problems, name) for name in named]
    wanted = {(str(each.status), each.code) for each in found if isinstance(each, Problem)}
    shown = {(status, bare(code)) for status, code, _, _ in rows("What a provider is answered")}
    elsewhere = problems.NOT_FOUND  # of a process without intake (gateway/routes.py)
    assert shown == wanted | {("200", ""), (str(elsewhere.status), elsewhere.code)}
    answer = msgspec.json.decode(DOCUMENT.block("json", '{"status"').text, type=Answer)
    assert msgspec.to_builtins(answer).keys() == set(Answer.__struct_fields__)
    assert len(answer.events) == 1
    assert set(msgspec.to_builtins(answer.events[0])) == set(EventAnswer.__struct_fields__)


def test_each_type_of_event_stands_there() -> None:
    """Every type, under its family, in the order of the schema."""
    shown = [(bare(family), quoted(types)) for family, types, _ in rows("The event")]
    assert [name for _, types in shown for name in types] == list(EVENT_TYPES)
    for family, types in shown:
        assert {FAMILY_OF[name].__struct_config__.tag for name in types} == {family}


def test_each_metric_named_is_one() -> None:
    """A name that nobody exposes would be an alert that never fires."""
    code = (ROOT / "gateway/operate/metrics.py").read_text("utf-8")
    counters = {f"{name}_total": name for name in re.findall(r'_counter\(\s*"(\w+)"', code)}
    named = set(re.findall(r"`gateway_(\w+)`", DOCUMENT.text))
    named |= set(re.findall(r"\bgateway_(\w+)", (ROOT / "deploy/alert-rules.yml").read_text("utf-8")))
    assert len(named) > 5
    assert counters.keys() & named
    assert named.isdisjoint(counters.values())
    assert [name for name in named if f'"{counters.get(name, name)}"' not in code] == []


def test_the_lines_for_a_store_of_ones_own_are_those_that_are_checked() -> None:
    """What the README says to write is what the gateway insists on."""
    assert DOCUMENT.block("text", "appendonly").text.splitlines() == [line for _, line in WANTED.values()]


def test_each_state_of_a_delivery_is_explained() -> None:
    """All that ``show`` and ``trace`` can say, and nothing else."""
    assert [bare(state) for state, _ in rows("Where an event is")] == list(get_args(DeliveryStateName))
