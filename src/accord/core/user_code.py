"""Finds the source code that a study's own functions run, in their modules and all of the user's modules they import.

The noise of a private run depends on the code that it runs. An edit in any file that a user's function reaches must
therefore make it another run. Imports are found in the source (also inside functions) and in the loaded modules.
Installed packages are left out, since their versions identify them.
"""

import ast
import hashlib
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_IMPORTS_BY_NAME = {"import_module", "__import__"}
_RUNS_OTHER_CODE = {"exec", "eval", "spec_from_file_location", "run_path", "run_module", "SourceFileLoader"}
_INSTALLED = {"site-packages", "dist-packages"}

_loaded: WeakKeyDictionary[ModuleType, tuple[ModuleSpec | None, bytes]] = WeakKeyDictionary()
"""Each loaded module's spec, and the digest of its file when it was first read here.

A file edited since then does not show the code in memory. The spec tells whether the module was reloaded, since
`importlib.reload` makes a new one.
"""


class UserCode(NamedTuple):
    """The code that a study's functions run.

    Attributes:
        digest: digest of all files, in hexadecimal. Empty where the study names no function.
        unreadable: one line for each module whose source cannot be determined.
    """

    digest: str
    unreadable: tuple[str, ...]


def functions_in(values: Any) -> Iterator[str]:
    """Every `module:function` in nested lists and mappings.

    >>> list(functions_in({"model": {"function": "nets:small", "width": 3}, "seed": 1}))
    ['nets:small']
    """
    if isinstance(values, str):
        if _FUNCTION.fullmatch(values):
            yield values
    elif isinstance(values, dict):
        for value in values.values():
            yield from functions_in(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from functions_in(value)


def read_code(functions: Iterable[str]) -> UserCode:
    """Reads the files that functions run.

    Args:
        functions: names of the form `module:function`. A module that cannot be found is left out, since loading it will
            fail anyway.
    """
    waiting = sorted({name.partition(":")[0] for name in functions})
    files: dict[str, bytes] = {}
    unreadable: list[str] = []
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        # Importing `a.b` runs a/__init__.py first.
        waiting += [parent for parent in _parents(name) if parent not in seen]
        if name in seen:
            continue
        seen.add(name)
        path, problem = _path_of(name)
        if path is not None:
            files[name] = path.read_bytes()
            problem = _edited(name, files[name])
            found, problems = _imports(name, path, files[name])
            waiting += [each for each in (*found, *_namespace(name)) if each not in seen]
            unreadable += problems
        if problem is not None:
            unreadable.append(problem)
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(files):
        # Names and lengths make the encoding unambiguous. Otherwise two sets of files could give the same bytes.
        digest.update(f"{name}/{len(files[name])}/".encode())
        digest.update(files[name])
    return UserCode(digest.hexdigest() if files else "", tuple(unreadable))


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def _path_of(name: str) -> tuple[Path | None, str | None]:
    """A module's file where it is the user's own, or why its source is unknown. (None, None) for other modules."""
    top = name.partition(".")[0]
    if top in {"accord", *sys.builtin_module_names}:
        return None, None
    # A module that an installed package creates at run time (such as torch.ops) belongs to that package.
    if top != name and _path_of(top) == (None, None) and not _is_namespace(top):
        return None, None
    module = sys.modules.get(name)
    spec: ModuleSpec | None = _spec_of(name) if module is None else getattr(module, "__spec__", None)
    origin: str | None = getattr(module, "__file__", None) if spec is None or module is not None else spec.origin
    if origin is None or origin in ("frozen", "built-in"):
        known = module is None or hasattr(module, "__path__") or (spec is not None and spec.origin is not None)
        return None, None if known else f"module {name} has no file (was it typed at a prompt?)"
    path = Path(origin)
    if _is_installed(path):
        return None, None
    return (path, None) if path.is_file() else (None, f"module {name}: {path} is no file that can be read")


def _is_namespace(name: str) -> bool:
    """Whether a name is a folder without __init__.py."""
    spec = getattr(sys.modules.get(name), "__spec__", None) or _spec_of(name)
    return spec is not None and spec.origin is None and spec.submodule_search_locations is not None


def _spec_of(name: str) -> ModuleSpec | None:
    """Where a module that is not loaded would come from, found without running it."""
    # `importlib.util.find_spec` would import the parent packages, which is user code.
    spec: ModuleSpec | None = None
    search: list[str] | None = [*sys.path, str(Path.cwd())]
    for part in (*_parents(name), name):
        if search is None:
            return None
        spec = PathFinder.find_spec(part, search)
        search = None if spec is None else spec.submodule_search_locations
    return spec


def _is_installed(path: Path) -> bool:
    resolved = path.resolve()
    if _INSTALLED.intersection(resolved.parts):
        return True
    library = {Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib")}
    return any(resolved.is_relative_to(folder) for folder in library)


def _edited(name: str, source: bytes) -> str | None:
    """Says why a module cannot be known where its file was edited after it was loaded, else None."""
    module = sys.modules.get(name)
    if module is None:
        return None
    # A module is weakly referenced, and a reload keeps the module but gives it a new spec.
    digest = hashlib.blake2b(source).digest()
    spec, first = _loaded.get(module, (None, b""))
    if not first or spec is not module.__spec__:
        _loaded[module] = module.__spec__, digest
    elif first != digest:
        return f"module {name} was edited after it was loaded; load it anew (importlib.reload, or a new process)"
    return None


def _imports(name: str, path: Path, source: bytes) -> tuple[list[str], list[str]]:
    """Names that a file's import statements may load, and one line for each import that cannot be followed."""
    if path.name.endswith(tuple(EXTENSION_SUFFIXES)):
        return [], []
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        return [], [f"module {name}: {path.name} is not Python source ({error})"]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: list[str] = []
    problems: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node.module or "", node.level, package)
            # `from a import b` loads a.b where that is a module.
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            literal = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            if called in _IMPORTS_BY_NAME and isinstance(literal, str) and not literal.startswith("."):
                found.append(literal)
            elif called in _IMPORTS_BY_NAME | _RUNS_OTHER_CODE and not _is_method(node.func, called):
                problems.append(f"module {name}, line {node.lineno}: {called}(…) runs code not known beforehand")
    return found, problems


def _is_method(func: ast.expr, called: str) -> bool:
    """Whether a call is of a method, such as `model.eval()`, and not of the builtin of the same name."""
    return called in ("eval", "exec") and isinstance(func, ast.Attribute)


def _absolute(module: str, level: int, package: str) -> str:
    if level == 0:
        return module
    base = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*base, module] if module else base)


def _namespace(name: str) -> set[str]:
    """Modules from which a loaded module's names come. This finds imports by a computed name, too."""
    found = set()
    for value in list(vars(sys.modules[name]).values()) if name in sys.modules else []:
        if isinstance(value, ModuleType):
            found.add(value.__name__)
        elif isinstance(value, FunctionType | type):
            found.add(value.__module__)
        else:
            found.add(type(value).__module__)
    return {each for each in found if isinstance(each, str) and each != "__main__"}
