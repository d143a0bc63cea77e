"""The mutants are the mistakes they say they are, the list of equivalent ones holds, and a judge can say either.

The middle run is a step of ``.ci/run``, the long one, of all, takes half an hour or more: ``python -m tests.mutation``.
"""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mutation.copies import Copy
from tests.mutation.equivalent import Equivalent, is_equivalent, load, wrong_entries
from tests.mutation.judge import Answer, Question
from tests.mutation.jury import AGAIN_TIMES, LEAST_S, ControlFailed, Jury
from tests.mutation.lua_mutants import lua_mutants, split
from tests.mutation.mutant import Mutant
from tests.mutation.python_mutants import python_mutants
from tests.mutation.run import ROOT, Wanted, run
from tests.mutation.targets import PARTS, TARGETS, Target, mutants_of


def python(text: str) -> set[str]:
    """What becomes of the last line of a Python text."""
    return {mutant.after for mutant in python_mutants("x.py", text)}


def lua(text: str) -> set[str]:
    """What becomes of a line of Lua."""
    return {mutant.after for mutant in lua_mutants("x.lua", text)}


@pytest.mark.parametrize(
    ("text", "mutants"),
    [
        ("x = a < b", {"x = a <= b", "x = a >= b"}),
        ("x = a == b is c", {"x = a != b is c", "x = a == b is not c"}),
        ("x = (a) in (b)", {"x = (a) not in (b)"}),
        ("x = a[3]", {"x = a[(4)]", "x = a[(2)]"}),
        ("x = f(flag=True)", {"x = f(flag=False)"}),
        ("x = a + b", {"x = a - b"}),
        ("x = 'a' + b", set()),
        ("x = a or b", {"x = ((a) and (b))", "x = ((a))", "x = ((b))", "x = ((b) or (a))"}),
        ("a.b = c", {"pass"}),
        ("f(x)", {"pass"}),
        ("a -= b", {"a += b", "pass"}),
        ("raise E", {"pass"}),
        ("LIMIT_S = 30.0", set()),
        ("LIMIT_BYTES = 4 * 1024", set()),
        ("PORTS = (80, )", {"PORTS = ((81), )", "PORTS = ((79), )"}),
        ("x: int = 'ä' < b", {"x: int = 'ä' <= b", "x: int = 'ä' >= b"}),
        ("x = f'{a < 1}'", set()),
        ("x = 1e30", set()),
        ("if TYPE_CHECKING:\n    import a", set()),
        ("def f() -> None:\n    return None", set()),
        ("def f() -> bool:\n    ...", set()),
    ],
)
def test_mistakes_in_python(text: str, mutants: set[str]) -> None:
    """Each kind on a line of its own; texts, chosen figures and f-strings stay."""
    assert python(text) == mutants
    assert all(ast.parse(mutant.apply(text)) for mutant in python_mutants("x.py", text))


def test_a_condition_is_turned_round_and_a_function_returns_at_once() -> None:
    """Also in a function that says what it returns; ``within`` leaves the others alone."""
    text = 'def f(a: int) -> bool:\n    """Say."""\n    if a:\n        return not a\n    return g(a)\n'
    text += "def g(a):\n    f(a)\n"
    assert python(text) == {
        *("return True # at once if a:", "return False # at once if a:", "if (not (a)):"),
        *("return (a)", "return not (not (a))", "return None", "pass"),
    }
    assert {mutant.after for mutant in python_mutants("x.py", text, frozenset({"g"}))} == {"pass"}


@pytest.mark.parametrize(
    ("text", "mutants"),
    [
        ("local x = a <= b", {"local x = a < b", "local x = a > b"}),
        ("local x = a and b -- and c", {"local x = a or b -- and c"}),
        ("local k = KEYS[2]", {"local k = KEYS[3]", "local k = KEYS[(1)]"}),
        ("local x = a - -b", {"local x = a + -b", "local x = a - b"}),
        ("local LIMIT = 7", set()),
        ("local x = tonumber(y or '0')", {"local x = tonumber(y and '0')", "local x = tonumber(y or '1')"}),
        ("redis.call('DEL', k)", {""}),
        ("redis.call('RPUSH', k, v)", {"", "redis.call('LPUSH', k, v)"}),
        ("if f(x) then g(x) end", {"if not (f(x)) then g(x) end", "if f(x) then end"}),
        (
            "if not x then return y end",
            {"if x then return y end", "if not (not x) then return y end", "if not x then end"},
        ),
        ("a, b = b, {c}", {""}),
        ("for i = a, b do break end", {"for i = a, b do end"}),
    ],
)
def test_mistakes_in_lua(text: str, mutants: set[str]) -> None:
    """Each kind on a line of its own; comments and declarations stay."""
    assert lua(text) == mutants


def test_a_script_is_read_to_the_last_letter() -> None:
    """Every script of ours is understood; what is no word of Lua is said."""
    for path in (ROOT / "gateway/store/lua").glob("*.lua"):
        assert list(split(path.read_text("utf-8")))
    with pytest.raises(ValueError, match="no word"):
        list(split("local x = `y`"))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.file)
def test_every_target_is_there(target: Target) -> None:
    """Its file, its functions, its tests; and something can be wrong in each."""
    if target.within:
        names = {
            node.name
            for node in ast.walk(ast.parse((ROOT / target.file).read_text("utf-8")))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert target.within <= names
    assert [test for test in target.tests if not (ROOT / test).exists()] == []
    assert mutants_of(target, ROOT)


def test_the_equivalent_ones_still_exist_and_have_a_reason() -> None:
    """An entry whose line has changed must be thought through again."""
    entries = load()
    mutants = [mutant for target in TARGETS for mutant in mutants_of(target, ROOT)]
    assert wrong_entries(entries, mutants) == []
    assert all(len(entry.reason) > 20 for entry in entries)
    assert len(entries) < len(mutants) / 10, "a list this long hides survivors"


def test_an_entry_that_fits_nothing_or_too_much_is_wrong() -> None:
    """The control of the test above."""
    (mutant, _) = python_mutants("x.py", "x = a < b")
    entry = Equivalent(file="x.py", before=mutant.before, after=mutant.after, reason="so")
    assert wrong_entries([entry], [mutant]) == []
    assert wrong_entries([entry], []) == wrong_entries([entry], [mutant, mutant]) == [entry]
    assert is_equivalent(mutant, [entry])
    assert not is_equivalent(Mutant("y.py", 1, mutant.before, mutant.after, mutant.edit), [entry])


def test_a_judge_kills_with_tests_that_look_and_not_with_others() -> None:
    """The same mistake in event ids: noticed by their tests, and by those of proofs not at all."""
    file = "schemas/event.py"
    looks = Target("dedupe", file, ("tests/schemas/test_event_id.py",), frozenset({"event_id"}))
    does_not = Target("dedupe", file, ("tests/adapters/test_proving.py",), frozenset({"event_id"}))
    said: list[str] = []
    killed = run(Wanted(most=1), said.append, targets=[looks])
    assert ([each.fate for each in killed.verdicts], killed.score()) == (["killed"], 100.0)
    survived = run(Wanted(most=1), said.append, targets=[does_not])
    assert ([each.fate for each in survived.verdicts], survived.score()) == (["survived"], 0.0)
    assert [each.mutant for each in survived.verdicts] == [each.mutant for each in killed.verdicts]
    assert sum(line.startswith("survived  ") for line in said) == 1
    assert any(line.startswith("dedupe: 1 judged, 1 killed, 0 timed out, 0 survived: 100.0 %, ") for line in said)


class Asked(Copy):
    """Answers for its tests: ``took_s`` for each file, of which only ``slow`` notices anything."""

    def __init__(self, took_s: dict[str, float], *, hangs: int = 0) -> None:
        self.took_s, self.hangs = took_s, hangs
        self.questions: list[Question] = []
        self.is_changed = False

    def ask(self, question: Question) -> Answer:
        """The next answer."""
        self.questions.append(question)
        if self.is_changed and self.hangs:
            self.hangs -= 1
            return Answer("timeout", question.within_s, "", "quick::a")
        notices = self.is_changed and question.tests == "slow"
        took_s = self.took_s[question.tests.partition("::")[0]]
        return Answer("failed" if notices else "passed", took_s, "", "slow::a" if notices else None)

    @contextmanager
    def holding(self, mutant: Mutant) -> Iterator[None]:
        """Changed within the block."""
        self.is_changed = True
        yield
        self.is_changed = False


(MUTANT, _) = python_mutants("x.py", "x = a < b")


def test_who_is_quick_is_asked_first_and_then_who_notices() -> None:
    """Of the tests that notice, those that did so last come first; what the code as it is takes is asked once."""
    copy, jury, target = Asked({"slow": 2.5, "quick": 1.0}), Jury(), Target("guard", "x.py", ("slow", "quick"))
    assert [jury.judge(copy, target, MUTANT) for _ in range(4)] == ["killed"] * 4
    asked = [(question.tests, question.first) for question in copy.questions]
    assert asked[:4] == [("slow", ()), ("quick", ()), ("quick", ()), ("slow", ())]
    assert asked[4:] == [("quick", ()), *[("slow", ("slow::a",))] * 3]


@pytest.mark.parametrize(
    ("hangs", "fate", "asked"),
    [
        (0, "survived", [("quick", LEAST_S)]),
        (1, "survived", [("quick", LEAST_S), ("quick::a", LEAST_S), ("quick", LEAST_S * AGAIN_TIMES)]),
        (2, "timed out", [("quick", LEAST_S), ("quick::a", LEAST_S)]),
    ],
)
def test_what_hangs_hangs_by_itself_too(hangs: int, fate: str, asked: list[tuple[str, float]]) -> None:
    """On a busy machine a sound run may take long: the test that ran is asked alone before a mistake is noticed."""
    copy = Asked({"quick": 1.0}, hangs=hangs)
    assert Jury().judge(copy, Target("guard", "x.py", ("quick",)), MUTANT) == fate
    assert [(question.tests, question.within_s) for question in copy.questions[1:]] == asked


def test_tests_that_fail_anyway_judge_nothing() -> None:
    """They would kill everything."""
    broken = Target("guard", "gateway/delivery/addresses.py", ("tests/no_such_file.py",))
    with pytest.raises(ControlFailed, match="do not pass on the code as it is"):
        run(Wanted(most=1), lambda _: None, targets=[broken])


def test_every_part_has_targets() -> None:
    """None is forgotten."""
    assert {target.part for target in TARGETS} == set(PARTS)
    assert Path(ROOT / "tests/mutation/equivalent.toml").exists()
