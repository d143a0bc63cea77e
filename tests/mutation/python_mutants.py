"""Small mistakes in Python: found in the syntax tree, made in the text, so that the rest of a file stays as it is."""

import ast
from collections.abc import Iterable, Iterator

from tests.mutation.mutant import Edit, Mutant, distinct

_COMPARISONS: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "//",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.LShift: ">>",
    ast.RShift: "<<",
    ast.BitAnd: "|",
    ast.BitOr: "&",
    ast.BitXor: "|",
}


def python_mutants(file: str, text: str, within: frozenset[str] = frozenset()) -> list[Mutant]:
    """Every mistake in a file; with ``within`` only those in functions of these names.

    Comparisons (off by one, and turned round), ``and``/``or`` (exchanged, one side dropped, sides swapped where their
    value is used), ``not`` dropped or added to a condition, numbers ± 1, ``True``/``False``, arithmetic, statements
    taken away (calls, assignments to attributes and items, ``raise``, ``return``, ``break``, ``continue``), and
    functions that return at once. Texts, annotations, what is inside f-strings, and figures that somebody chose
    (``KEEP_S = 30.0``) stay.
    """
    return distinct(file, text, list(_Finder(text, within).edits()))


class _Finder:
    def __init__(self, text: str, within: frozenset[str]) -> None:
        self._text = text
        self._lines = [f"{line}\n" for line in text.split("\n")]
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))
        self._within = within

    def edits(self) -> Iterator[Edit]:
        yield from self._visit(ast.parse(self._text), inside=not self._within, tested=False)

    def _visit(self, node: ast.AST, *, inside: bool, tested: bool) -> Iterator[Edit]:
        """``tested``: only the truth of this expression counts, not its value."""
        if isinstance(node, ast.JoinedStr):
            return  # the places of what is inside are not told before Python 3.12
        if isinstance(node, ast.Assign) and _is_chosen(node):
            return
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return  # what is in it never runs
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = inside or node.name in self._within
            if inside:
                yield from self._at_once(node)
            children: Iterable[ast.AST] = [*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body]
        elif isinstance(node, ast.AnnAssign):
            children = [node.value] if node.value is not None else []
        elif isinstance(node, ast.ClassDef):
            children = node.body
        else:
            children = ast.iter_child_nodes(node)
        if inside:
            yield from self._here(node, tested=tested)
        tests = _tests(node, tested=tested)
        for child in children:
            yield from self._visit(child, inside=inside, tested=child in tests)

    def _here(self, node: ast.AST, *, tested: bool) -> Iterator[Edit]:
        match node:
            case ast.Compare():
                yield from self._comparisons(node)
            case ast.BoolOp():
                yield from self._both(node, tested=tested)
            case ast.UnaryOp(op=ast.Not()):
                yield self._replace(node, f"({self._source(node.operand)})")
            case ast.Constant(value=bool(value)):
                yield self._replace(node, str(not value))
            case ast.Constant(value=int() | float() as number):
                for other in (number + 1, number - 1):
                    if other != number:  # 1e30 + 1 is 1e30
                        yield self._replace(node, f"({other!r})")
            case ast.BinOp() if type(node.op) in _ARITHMETIC and not _is_text(node.left) and not _is_text(node.right):
                yield self._between(node.left, node.right, _ARITHMETIC[type(node.op)])
            case ast.AugAssign() if type(node.op) in _ARITHMETIC:
                yield self._between(node.target, node.value, _ARITHMETIC[type(node.op)] + "=")
                yield self._replace(node, "pass")
            case ast.Raise() | ast.Break() | ast.Delete() | ast.Return(value=None):
                yield self._replace(node, "pass")
            case ast.Continue():
                yield self._replace(node, "pass")
                yield self._replace(node, "break")
            case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
                yield self._replace(node, "return None")
            case ast.Expr(value=ast.Call() | ast.Await()):
                yield self._replace(node, "pass")
            case ast.Assign(targets=places) if any(isinstance(each, ast.Attribute | ast.Subscript) for each in places):
                yield self._replace(node, "pass")
            case _:
                pass
        if tested and isinstance(node, ast.Name | ast.Attribute | ast.Call | ast.NamedExpr | ast.Subscript):
            yield self._replace(node, f"(not ({self._source(node)}))")

    def _comparisons(self, node: ast.Compare) -> Iterator[Edit]:
        sides = [node.left, *node.comparators]
        for left, op, right in zip(sides[:-1], node.ops, sides[1:], strict=True):
            for other in _COMPARISONS[type(op)]:
                yield self._between(left, right, other)

    def _both(self, node: ast.BoolOp, *, tested: bool) -> Iterator[Edit]:
        word, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        sides = [f"({self._source(value)})" for value in node.values]
        yield self._replace(node, f"({f' {other} '.join(sides)})")
        for dropped in range(len(sides)):
            yield self._replace(node, f"({f' {word} '.join(sides[:dropped] + sides[dropped + 1 :])})")
        if not tested and not any(map(_is_bool, node.values)):  # else either order gives the same truth
            yield self._replace(node, f"({f' {word} '.join(reversed(sides))})")

    def _at_once(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Edit]:
        """The function does nothing and returns what its annotation allows without looking."""
        returns = ast.unparse(node.returns) if node.returns is not None else ""
        values = {"None": ["None"], "bool": ["True", "False"]}.get(returns, [])
        values += ["None"] if returns.endswith("| None") else []
        first = node.body[1] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body[0]
        if isinstance(first, ast.Return | ast.Expr) and isinstance(first.value, ast.Constant):
            return  # it does so anyway, or is a protocol's and never runs
        for value in values:
            start = self._place(first.lineno, first.col_offset)
            yield Edit(start, start, f"return {value}  # at once\n{' ' * first.col_offset}")

    def _between(self, left: ast.expr, right: ast.expr, word: str) -> Edit:
        """Replace the operator between two operands, with whatever space and brackets stand there kept."""
        start, end = self._end(left), self._place(right.lineno, right.col_offset)
        gap = self._text[start:end]
        kept = "".join(letter for letter in gap if letter in "() \n")
        closing, opening = kept.count(")"), kept.count("(")
        return Edit(start, end, f"{')' * closing} {word} {'(' * opening}")

    def _replace(self, node: ast.expr | ast.stmt, text: str) -> Edit:
        return Edit(self._place(node.lineno, node.col_offset), self._end(node), text)

    def _source(self, node: ast.expr) -> str:
        return self._text[self._place(node.lineno, node.col_offset) : self._end(node)]

    def _end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._place(node.end_lineno, node.end_col_offset)

    def _place(self, line: int, column_bytes: int) -> int:
        """Columns are in bytes; places in the text are in characters."""
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column_bytes].decode())


def _tests(node: ast.AST, *, tested: bool) -> list[ast.AST]:
    """The expressions directly in ``node`` of which only the truth counts."""
    match node:
        case ast.If() | ast.While() | ast.IfExp() | ast.Assert():
            return [node.test]
        case ast.comprehension():
            return list(node.ifs)
        case ast.UnaryOp(op=ast.Not()):
            return [node.operand]
        case ast.BoolOp() if tested:
            return list(node.values)
        case _:
            return []


def _is_chosen(node: ast.Assign) -> bool:
    """``NAME_BYTES = 4 * 1024``: a figure that somebody chose, and the next one would have done."""
    name, figures = node.targets[0], (ast.Constant, ast.BinOp, ast.operator)
    return (
        isinstance(name, ast.Name) and name.id.isupper() and all(isinstance(x, figures) for x in ast.walk(node.value))
    )


def _is_bool(node: ast.expr) -> bool:
    match node:
        case ast.Compare() | ast.UnaryOp(op=ast.Not()) | ast.Call(func=ast.Name(id="bool")):
            return True
        case _:
            return False


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))
