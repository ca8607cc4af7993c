"""Files that users' models and tasks are written in: what counts of a text, what it imports, and what it fixes."""

import ast
import functools
import io
import sys
import sysconfig
import tokenize
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ghostsweep.errors import UsageError

PACKAGE = Path(__file__).resolve().parents[1]
INSTALLED = tuple({Path(path).resolve() for name, path in sysconfig.get_paths().items() if "lib" in name})
PURE = ("ghostsweep.declare", "dataclasses", "functools.partial")
"""What a file may call for what its text then fixes: declarations, and a function with some arguments given."""
ELSEWHERE = ("os", "sys")
"""Modules whose attributes are of the process, not of a text."""


class Source(NamedTuple):
    """A module of the user's: its name as it is imported, its file and the text there."""

    name: str
    path: str
    text: str


@functools.lru_cache(maxsize=256)
def meaningful(text: str) -> str:
    """The text of a file without blank lines and lines of comment alone: what its digest is taken of.

    Within texts of several lines, which may be data, every line counts; not so in docstrings.
    """
    inside = _inside_texts(text)
    kept = []
    for number, line in enumerate(text.splitlines(), 1):
        short = line.rstrip()
        if number in inside:
            kept.append(line)
        elif short and not short.lstrip().startswith("#"):
            kept.append(short)
    return "\n".join(kept)


def _inside_texts(text: str) -> set[int]:
    """Lines, from 1, that begin within a text of several lines that is no docstring."""
    found = set[int]()
    try:
        said = [node.value for node in ast.walk(tree_of(text)) if isinstance(node, ast.Expr)]
        documents = {(node.lineno, node.col_offset) for node in said}
        opened: list[tuple[int, int]] = []
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            kind = tokenize.tok_name[token.type]
            if kind.endswith("STRING_START"):  # of an f-string, from Python 3.12
                opened.append(token.start)
            elif kind == "STRING" or kind.endswith("STRING_END"):
                start = token.start if kind == "STRING" else opened.pop()
                if start not in documents:
                    found |= {*range(start[0] + 1, token.end[0] + 1)}
    except (SyntaxError, tokenize.TokenError, ValueError):
        return set()
    return found


@functools.lru_cache(maxsize=64)
def tree_of(text: str) -> ast.Module:
    """The syntax of a text. Raises SyntaxError or ValueError."""
    return ast.parse(text)


def is_own(name: str, path: str | Path | None) -> bool:
    """Whether a module is the user's: in a file, neither installed nor of Python nor of this package."""
    if path is None or name.partition(".")[0] in sys.stdlib_module_names:
        return False
    place = Path(path).resolve()
    if {"site-packages", "dist-packages"} & {*place.parts} or place.is_relative_to(PACKAGE):
        return False
    return not any(place.is_relative_to(folder) for folder in INSTALLED)


def imported(path: Path, text: str) -> tuple[Source, ...]:
    """Modules of the user's that a file imports, those that these import and so on, by name; nothing is executed.

    Raises UsageError for one that is no text of Python, and for what cannot be read.
    """
    folders = [path.parent, *(Path(place or ".") for place in sys.path)]
    found: dict[str, Source] = {}
    waiting = [*_imports(text, "")]
    while waiting:
        name = waiting.pop()
        source = None if name in found else _find(name, folders)
        if source is None:
            continue
        found[name] = source
        package = name if Path(source.path).name == "__init__.py" else name.rpartition(".")[0]
        waiting += [*_imports(source.text, package), name.rpartition(".")[0]]
    return tuple(found[name] for name in sorted(found))


@functools.lru_cache(maxsize=256)
def _imports(text: str, package: str) -> tuple[str, ...]:
    """Names of modules that a text may import."""
    try:
        tree = tree_of(text)
    except (SyntaxError, ValueError):  # said where it is executed
        return ()
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            found += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return tuple(found)


def _find(name: str, folders: list[Path]) -> Source | None:
    """A module of the user's by its name; None where there is none or it is another's."""
    if not name or name.partition(".")[0] in {*sys.stdlib_module_names, "ghostsweep"}:
        return None
    for folder in folders:
        place = folder.joinpath(*name.split("."))
        for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if path.is_file():
                if not is_own(name, path):
                    return None
                try:
                    return Source(name, str(path), path.read_bytes().decode())
                except (OSError, UnicodeDecodeError) as error:
                    raise UsageError(f"{path}: cannot be read: {error}") from None
        beside = place.parent.glob(f"{place.name}.*") if place.parent.is_dir() and folder == folders[0] else ()
        for path in beside:
            if path.suffix in (".so", ".pyd") and is_own(name, path):
                raise UsageError(f"{path}: found a compiled module; allowed beside a model or task: text of Python")
        if place.is_dir() and folder == folders[0]:  # a package without a text of its own
            return Source(name, str(place / "__init__.py"), "")
    return None


def settled(text: str, variables: Mapping[str, Any], own: Collection[str]) -> frozenset[str]:
    """Names of a module whose values its text alone decides: what is defined, plain values, declarations of them.

    variables: of the module, where a plain value must be what the text says. own: names of the user's modules.
    """
    try:
        tree = tree_of(text)
    except (SyntaxError, ValueError):
        return frozenset()
    return _Settled(tree, variables, {name.partition(".")[0] for name in own}).names()


class _Settled:
    """Looks at the statements of a module, each name of which is settled or not."""

    def __init__(self, tree: ast.Module, variables: Mapping[str, Any], own: set[str]) -> None:
        self.variables, self.own = variables, own
        self.bound: dict[str, ast.AST] = {}
        self.imports: dict[str, str] = {}
        self.known: dict[str, bool] = {}
        for statement in tree.body:
            self._bind(statement)
        for node in ast.walk(tree):
            if isinstance(node, ast.Global):
                self.known |= dict.fromkeys(node.names, False)
        self.known |= dict.fromkeys(_bound_twice(tree.body), False)

    def _bind(self, statement: ast.stmt) -> None:
        match statement:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                self.bound[name] = statement
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._target(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._target(target, value)
            case ast.Import(names=names):
                for alias in names:
                    name = alias.asname or alias.name.partition(".")[0]
                    self.bound[name] = statement
                    self.imports[name] = alias.name if alias.asname else name
            case ast.ImportFrom(module=module, names=names, level=level):
                for alias in names:
                    self.bound[alias.asname or alias.name] = statement
                    self.imports[alias.asname or alias.name] = f"{'.' * level}{module}.{alias.name}"

    def _target(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.bound[target.id] = value
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            for one, its in zip(target.elts, value.elts, strict=True):
                self._target(one, its)

    def names(self) -> frozenset[str]:
        return frozenset(name for name in self.bound if self.is_settled(name))

    def is_settled(self, name: str) -> bool:
        if name not in self.known:
            self.known[name] = False  # while it is looked at: nothing is settled by itself
            node = self.bound.get(name)
            if node is None:
                self.known[name] = name not in self.variables  # of Python itself
            elif name in self.imports:
                self.known[name] = self._root(name) not in self.own and not self.imports[name].startswith(".")
            else:
                self.known[name] = self._fixed(node) and self._as_said(name, node)
        return self.known[name]

    def _root(self, name: str) -> str:
        return self.imports.get(name, "").partition(".")[0]

    def _as_said(self, name: str, node: ast.AST) -> bool:
        """Whether a plain value is what the text says, and was not set from elsewhere."""
        now = self.variables.get(name)
        if isinstance(node, ast.FunctionDef) and not node.decorator_list:
            code = getattr(now, "__code__", None)
            return code is not None and (code.co_name, code.co_firstlineno) == (name, node.lineno)
        if not isinstance(node, ast.expr) or not isinstance(
            now, bool | int | float | complex | str | list | dict | set
        ):
            return True
        if any(isinstance(each, ast.Call) for each in ast.walk(node)):
            return False  # nothing of a user's is called to compare it
        try:
            said = eval(compile(ast.Expression(node), "<text>", "eval"), dict(self.variables))
        except Exception:
            return False
        return repr(said) == repr(now)

    def _fixed(self, node: ast.AST | None) -> bool:
        match node:
            case None | ast.Constant() | ast.Pass() | ast.operator() | ast.unaryop() | ast.boolop() | ast.cmpop():
                return True
            case ast.Name(id=name):
                return self.is_settled(name)
            case ast.Attribute(value=value):
                name = self._dotted(node).partition(".")[0]
                return self._root(name) not in ELSEWHERE and name in self.imports and self._fixed(value)
            case ast.Call(func=func, args=args, keywords=keywords):
                called = self._dotted(func)
                name, _, rest = called.partition(".")
                whole = ".".join(filter(None, (self.imports.get(name, ""), rest)))
                pure = self.is_settled(name) and any(whole == one or whole.startswith(f"{one}.") for one in PURE)
                return pure and all(map(self._fixed, [*args, *(each.value for each in keywords)]))
            case ast.Lambda(args=args):
                return all(map(self._fixed, [*args.defaults, *args.kw_defaults]))
            case ast.FunctionDef(args=args, decorator_list=decorators):
                defaults = [*args.defaults, *args.kw_defaults]
                return all(map(self._fixed, defaults)) and all(map(self._decorates, decorators))
            case ast.ClassDef(bases=bases, keywords=[], body=body, decorator_list=decorators):
                return all(map(self._fixed, [*bases, *body])) and all(map(self._decorates, decorators))
            case ast.AnnAssign(value=value) | ast.Assign(value=value) | ast.Expr(value=value):
                return self._fixed(value)
            case ast.BinOp() | ast.UnaryOp() | ast.BoolOp() | ast.Compare() | ast.IfExp() | ast.Starred():
                return all(self._fixed(each) for each in ast.iter_child_nodes(node) if not isinstance(each, ast.Load))
            case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
                return all(map(self._fixed, elements))
            case ast.Dict(keys=keys, values=values):
                return all(map(self._fixed, [*keys, *values]))
        return False

    def _decorates(self, node: ast.expr) -> bool:
        """Whether a decorator is another's, so that the function that it is given is what counts."""
        func = node.func if isinstance(node, ast.Call) else node
        given = [*node.args, *(each.value for each in node.keywords)] if isinstance(node, ast.Call) else []
        name = self._dotted(func).partition(".")[0]
        return name in self.imports and self.is_settled(name) and all(map(self._fixed, given))

    def _dotted(self, node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return node.id
        return f"{self._dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def _bound_twice(body: list[ast.stmt]) -> Iterator[str]:
    """Names that statements of a module bind more than once, or not at the top: in a condition, a loop, a `with`."""
    simple = (ast.Assign, ast.AnnAssign, ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    seen: dict[str, object] = {}
    for statement in body:
        scopes: list[ast.AST] = [statement]
        while scopes:
            node = scopes.pop()
            names: dict[str, object] = {}
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names[node.name] = node
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
                names[node.id] = node
            elif isinstance(node, ast.Import):  # "import a" and "import a.b" bind the same
                names |= {
                    each.asname or each.name.partition(".")[0]: each.name.partition(".")[0] for each in node.names
                }
            elif isinstance(node, ast.ImportFrom):
                names |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
            for name, what in names.items():
                if not isinstance(statement, simple) or seen.setdefault(name, what) != what:
                    yield name
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
                scopes += ast.iter_child_nodes(node)
