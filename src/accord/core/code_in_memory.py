"""Whether the code that a loaded module runs is the code of the source file that is read now.

A file that was edited after it was imported says nothing of what runs. Python keeps a module's functions, but not its
source. Its source is therefore compiled, and the functions are compared with those in memory.
"""

import ast
import inspect
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.machinery import SOURCE_SUFFIXES
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_LITERALS = (int, float, complex, bool, str, bytes, tuple, type(None))
_MISSING = object()
_PYTEST = "_pytest.assertion.rewrite"
"""The module of the import hook that rewrites tests."""


def runs_source(module: ModuleType, source: bytes) -> bool:
    """Whether a loaded module's functions, classes and constants are those of a source.

    Functions that another module made are left out, such as those of dataclasses. Constants are names that are
    assigned a literal, once. Other values cannot be compared without running the source.

    Args:
        module: the module in memory.
        source: what its file holds now.
    """
    path = getattr(module, "__file__", None)
    if path is None or not path.endswith(tuple(SOURCE_SUFFIXES)):
        return True
    try:
        tree = ast.parse(source)
        compiled = _compiled(module, source, path)
    except (SyntaxError, ValueError):
        return False  # what was loaded was valid
    if compiled is None:
        return False
    known: dict[str, list[Any]] = {}
    for code in _nested(compiled):
        known.setdefault(code.co_qualname, []).append(_contents(code))
    loaded = [function.__code__ for function in _functions(vars(module), module.__name__, set())]
    own = [code for code in loaded if Path(code.co_filename).resolve() == Path(path).resolve()]
    if any(_contents(code) not in known.get(code.co_qualname, []) for code in own):
        return False
    return _matches(tree.body, vars(module), in_class=False)


def _compiled(module: ModuleType, source: bytes, path: str) -> CodeType | None:
    """Compiles a source as the module was. None where that cannot be done."""
    loader = getattr(module.__spec__, "loader", None)
    if type(loader).__module__ != _PYTEST:
        return compile(source, path, "exec", dont_inherit=True)
    # pytest loads tests with asserts that say what failed. The same rewriting of the file gives the same code. Where
    # this version of pytest does it otherwise, the code is not known.
    try:
        tree = ast.parse(source, filename=path)
        sys.modules[_PYTEST].rewrite_asserts(tree, source, path, loader.config)  # type: ignore[union-attr]
        return compile(tree, path, "exec", dont_inherit=True)
    except (KeyError, AttributeError, TypeError):
        return None


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _contents(code: CodeType) -> tuple[Any, ...]:
    """What a code object does. Its first line is part of it, since lines between functions may have changed."""
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    counts = (code.co_firstlineno, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount)
    return code.co_code, names, counts, tuple(map(_constant, code.co_consts))


def _constant(value: Any) -> Any:
    """Tells apart what compares as equal, such as 1, 1.0 and True."""
    if isinstance(value, CodeType):
        return _contents(value)
    if isinstance(value, tuple):
        return tuple(map(_constant, value))
    if isinstance(value, frozenset):
        return frozenset(map(_constant, value))
    return type(value).__name__, repr(value)


def _functions(values: Any, module: str, seen: set[int]) -> Iterator[FunctionType]:
    """Functions among a namespace's values, in its classes and under its decorators."""
    for value in list(values.values()):
        inner = getattr(value, "__func__", value) if isinstance(value, staticmethod | classmethod) else value
        parts = [inner.fget, inner.fset, inner.fdel] if isinstance(inner, property) else [inner]
        for part in parts:
            if not isinstance(part, FunctionType):
                part = inspect.getattr_static(part, "__wrapped__", None)  # as functools.cache leaves it
            while isinstance(part, FunctionType) and id(part) not in seen:
                seen.add(id(part))
                yield part
                part = getattr(part, "__wrapped__", None)
        if isinstance(inner, type) and inner.__module__ == module and id(inner) not in seen:
            seen.add(id(inner))
            yield from _functions(vars(inner), module, seen)


def _matches(body: list[ast.stmt], memory: Mapping[str, Any], in_class: bool) -> bool:
    """Whether a namespace holds the definitions, literal constants and literal defaults of a module or class body."""
    bound = _bound(body)
    for statement in body:
        if isinstance(statement, _DEFINITIONS):
            if bound[statement.name] == 1 and not _defines(statement, memory, in_class):
                return False
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
            if isinstance(target, ast.Name) and bound[target.id] == 1:
                value = memory.get(target.id, _MISSING)
                # Enumerations, dataclasses and named tuples put something else in a constant's stead.
                if not (in_class and type(value) not in _LITERALS) and not _is_literal(statement.value, value):
                    return False
    return True


def _defines(statement: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, memory: Any, in_class: bool) -> bool:
    if statement.name not in memory:
        return in_class or statement.name.startswith("__")
    value = memory[statement.name]
    if isinstance(statement, ast.ClassDef):
        return not isinstance(value, type) or _matches(statement.body, vars(value), in_class=True)
    value = inspect.unwrap(getattr(value, "__func__", value))
    if not isinstance(value, FunctionType) or value.__name__ != statement.name:
        return True
    if value.__module__ != memory.get("__module__", memory.get("__name__")):
        return True  # such as the __new__ that an enumeration puts in place of its own
    stated, defaults = statement.args.defaults, value.__defaults__ or ()
    by_name = zip(statement.args.kwonlyargs, statement.args.kw_defaults, strict=True)
    keywords = {argument.arg: default for argument, default in by_name if default is not None}
    keyword_defaults = value.__kwdefaults__ or {}
    return (
        len(stated) == len(defaults)
        and keywords.keys() == keyword_defaults.keys()
        and all(map(_is_literal, stated, defaults))
        and all(_is_literal(default, keyword_defaults[name]) for name, default in keywords.items())
    )


def _bound(body: list[ast.stmt]) -> Counter[str]:
    """How often each name is bound. Only what is bound once is known from its statement."""
    bound: Counter[str] = Counter()
    for node in ast.walk(ast.Module(body, [])):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound[node.id] += 1
        elif isinstance(node, _DEFINITIONS):
            bound[node.name] += 1
        elif isinstance(node, ast.Global):
            bound.update(node.names)
        elif isinstance(node, ast.alias):
            bound[node.asname or node.name.partition(".")[0]] += 1
    return bound


def _is_literal(expression: ast.expr | None, value: Any) -> bool:
    """Whether a value is that of an expression, as far as this is known without running it."""
    if expression is None:
        return True  # `name: int` binds nothing
    try:
        literal = ast.literal_eval(expression)
    except (ValueError, TypeError, SyntaxError):
        return True
    if isinstance(literal, list | dict | set):
        return True  # may be filled while the module is used
    return bool(_constant(value) == _constant(literal))
