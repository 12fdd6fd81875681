"""Finds the source code that a study's own functions run, in their modules and all of the user's modules they import.

The noise of a private run depends on the code that it runs. An edit in any file that a user's function reaches must
therefore make it another run. Imports are found in the source (also inside functions) and in the loaded modules. All
files of an installed package that is reached are digested (`accord.core.installed_code`).
"""

import ast
import hashlib
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from pathlib import Path
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from accord.core.code_in_memory import runs_source
from accord.core.installed_code import PINNED, Installed, is_installed

_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_IMPORTS_BY_NAME = {"import_module", "__import__"}
_RUNS_OTHER_CODE = {"exec", "eval", "spec_from_file_location", "run_path", "run_module", "SourceFileLoader"} | {
    "exec_module",
    "load_module",
    "__builtins__",
}
_NOT_KNOWN = " runs code not known beforehand"
_HOLDS_THEM = {"importlib", "runpy", "builtins"}
"""Modules that hold functions of these names. Under another name such a function would not be recognised."""

_READS = re.compile(
    r"open|fdopen|urlopen|environb?|getenvb?|memmap|fromfile|from_file|genfromtxt|loadtxt|load|load_file"
)
_READS_BY_PREFIX = re.compile(r"read_[a-z]\w*")

_loaded: WeakKeyDictionary[ModuleType, tuple[ModuleSpec | None, bytes]] = WeakKeyDictionary()
"""Each loaded module's spec, and the digest of its file when it was first read here.

A file edited since then does not show the code in memory. The spec tells whether the module was reloaded, since
`importlib.reload` makes a new one.
"""

_compared: WeakKeyDictionary[ModuleType, ModuleSpec | None] = WeakKeyDictionary()
"""Modules whose code in memory was that of their file when it was first read here, with their specs."""


_packages: ContextVar[Installed | None] = ContextVar("packages", default=None)


@contextmanager
def packages_read_once() -> Iterator[None]:
    """Within this context, `read_code` reads the files of each installed package once. May decorate a function.

    A package has thousands of files, and a run asks for its code several times while it is prepared. Files of the
    user's own are read every time, and everything is read anew in the next context.
    """
    token = _packages.set(_packages.get() or Installed())
    try:
        yield
    finally:
        _packages.reset(token)


class UserCode(NamedTuple):
    """The code that a study's functions run.

    Attributes:
        digest: digest of all files, in hexadecimal. Empty where the study names no function.
        unreadable: one line for each module whose source cannot be determined.
        reads: one line for each place where a file or the environment is read.
        files: the user's own files, by the name of the module that each is. Files of installed packages are not there.
    """

    digest: str
    unreadable: tuple[str, ...]
    reads: tuple[str, ...]
    files: Mapping[str, Path] = MappingProxyType({})

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders from which `files` are imported, sorted."""
        return tuple(sorted({_imported_from(name, path) for name, path in self.files.items()}))


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
    named = {name.partition(":")[0] for name in functions}
    waiting = sorted(named)
    installed = _packages.get() or Installed()
    contents: dict[str, bytes] = {}
    files: dict[str, Path] = {}
    unreadable: list[str] = []
    reads: list[str] = []
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        # Importing `a.b` runs a/__init__.py first.
        waiting += [parent for parent in _parents(name) if parent not in seen]
        if name in seen:
            continue
        seen.add(name)
        path, problem = _path_of(name)
        top = name.partition(".")[0]
        if problem is not None and installed.brings(top):
            continue  # a module that an installed package creates at run time belongs to it
        if path is not None:
            source = path.read_bytes()
            found = _imports(name, path, source)
            if is_installed(path) and installed.brings(top):
                if top not in contents:
                    contents[top] = installed.digest(top)
                # Elsewhere in a package, imports lead to its own files or to what it requires.
                if name in named:
                    problem = _not_in_memory(name, source)
                    waiting += found.names
                    reads += found.reads
                problem = problem or _edited(top, contents[top])
            else:
                contents[name], files[name] = source, path.absolute()
                problem = _not_in_memory(name, source) or _edited(name, source)
                waiting += [*found.names, *_namespace(name)]
                unreadable += found.problems
                reads += found.reads
        if problem is not None:
            unreadable.append(problem)
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(contents):
        # Names and lengths make the encoding unambiguous. Otherwise two sets of files could give the same bytes.
        digest.update(f"{name}/{len(contents[name])}/".encode())
        digest.update(contents[name])
    return UserCode(digest.hexdigest() if contents else "", tuple(unreadable), tuple(reads), files)


def _imported_from(name: str, path: Path) -> Path:
    """Returns the folder that must be on the path for a module of this name to be the file."""
    package = path.stem == "__init__"
    return path.parents[name.count(".") + package]


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def _path_of(name: str) -> tuple[Path | None, str | None]:
    """A module's file, or why its source is unknown. (None, None) for modules of Python itself and of `PINNED`."""
    top = name.partition(".")[0]
    if top in PINNED.union(sys.builtin_module_names):
        return None, None
    # A module that the standard library creates at run time (such as os.path) belongs to it.
    if top != name and _path_of(top) == (None, None) and not _is_namespace(top):
        return None, None
    module = sys.modules.get(name)
    spec: ModuleSpec | None = _spec_of(name) if module is None else getattr(module, "__spec__", None)
    origin: str | None = getattr(module, "__file__", None) if spec is None or module is not None else spec.origin
    if origin is None or origin in ("frozen", "built-in"):
        known = module is None or hasattr(module, "__path__") or (spec is not None and spec.origin is not None)
        return None, None if known else f"module {name} has no file (was it typed at a prompt?)"
    path = Path(origin)
    if _is_library(path):
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


def _is_library(path: Path) -> bool:
    """Whether a file is the standard library's."""
    library = {Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib")}
    return not is_installed(path) and any(path.resolve().is_relative_to(folder) for folder in library)


def _not_in_memory(name: str, source: bytes) -> str | None:
    """Refuses a file that was edited after its module was loaded, and before it was first read here."""
    module = sys.modules.get(name)
    if module is None:
        return None
    if module not in _compared or _compared[module] is not module.__spec__:
        if not runs_source(module, source):
            return (
                f"module {name} runs other code than its file has now (was it edited after it was imported, or "
                "rewritten by an import hook?); restart Python"
            )
        _compared[module] = module.__spec__
    return None


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


class _Found(NamedTuple):
    """What a file's syntax tells: names that its imports may load, and lines on what cannot be known from it."""

    names: list[str]
    problems: list[str]
    reads: list[str]


def _imports(name: str, path: Path, source: bytes) -> _Found:
    found = _Found([], [], [])
    if path.name.endswith(tuple(EXTENSION_SUFFIXES)):
        return found
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        found.problems.append(f"module {name}: {path.name} is not Python source ({error})")
        return found
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    literal_imports: set[int] = set()
    for node in ast.walk(tree):  # a call comes before the function it calls
        where = f"module {name}, line {getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            found.names.extend(alias.name for alias in node.names)
            found.problems.extend(f"{where}: import {alias}{_NOT_KNOWN}" for alias in _hidden(node.names, ""))
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node.module or "", node.level, package)
            # `from a import b` loads a.b where that is a module.
            found.names.extend([base, *(f"{base}.{alias.name}" for alias in node.names)])
            found.problems.extend(
                f"{where}: from {base} import {alias}{_NOT_KNOWN}" for alias in _hidden(node.names, base)
            )
            found.reads.extend(f"{where}: {base}.{alias.name}" for alias in node.names if _reads(alias.name))
        elif isinstance(node, ast.Call):
            literal = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            if _name(node.func) in _IMPORTS_BY_NAME and isinstance(literal, str) and not literal.startswith("."):
                found.names.append(literal)
                literal_imports.add(id(node.func))
        elif isinstance(node, ast.Name | ast.Attribute) and id(node) not in literal_imports:
            called = _name(node)
            if called in _IMPORTS_BY_NAME | _RUNS_OTHER_CODE and not _is_method(node, called):
                found.problems.append(f"{where}: {called}(…){_NOT_KNOWN}")
            elif called == "open" or (isinstance(node, ast.Attribute) and _reads(called)):
                found.reads.append(f"{where}: {ast.unparse(node)}")
    return found


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _reads(name: str) -> bool:
    """Whether a function or attribute of this name reads a file or the environment."""
    return _READS.fullmatch(name) is not None or _READS_BY_PREFIX.fullmatch(name) is not None


def _hidden(aliases: list[ast.alias], module: str) -> list[str]:
    """Imports after which a function that runs other code goes by another name."""
    found = []
    for alias in aliases:
        top = (module or alias.name).partition(".")[0]
        renamed = alias.asname is not None and alias.name in _IMPORTS_BY_NAME
        if top in _HOLDS_THEM and (renamed or alias.name in _RUNS_OTHER_CODE | {"*"} or top != "importlib"):
            found.append(alias.name + (f" as {alias.asname}" if alias.asname else ""))
    return found


def _is_method(node: ast.expr, called: str) -> bool:
    """Whether a name is of a method, such as `model.eval()`, and not of the builtin of the same name."""
    return called in ("eval", "exec") and isinstance(node, ast.Attribute)


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
