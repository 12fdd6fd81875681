"""Reads and writes YAML by the core schema of YAML 1.2, so that a value means what it looks like.

PyYAML follows YAML 1.1, where `1e-5` is text, `no` and `on` are booleans, `1:30` is ninety and `010` is
eight. Here `1e-5` is a number. `true` and `false` are the only booleans, so `no`, `on`, `yes` and `off` are
text. `010` is ten, dates are text, and `60_000` is 60000. A key given twice is refused, and so is any tag that
makes other objects. `write` quotes by the same rules, so what it writes reads back equal.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from accord.core.errors import StudyError

Path = Sequence[str | int]
"""Keys and list positions from the top of the document."""

_CORE = "tag:yaml.org,2002:"
_RULES = (
    # (tag, pattern, first characters), in the order they are tried: an integer before a float.
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+(_[0-9]+)*|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(_[0-9]+)*(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("merge", r"<<", "<"),
)


class _Loader(yaml.SafeLoader):
    """SafeLoader with the rules above."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own class attribute, started afresh
    yaml_constructors = {  # noqa: RUF012
        tag: make
        for tag, make in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.removeprefix(_CORE) in {"null", "bool", "int", "float", "str", "seq", "map"}
    }

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Composes a mapping and refuses a key that is given twice."""
        node = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], int] = {}
        # Checked on nodes: once a dict is built, the first of two equal keys is lost.
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # refused where the mapping is built
            if (key.tag, key.value) in first:
                problem = f"key {key.value!r} is given twice, first in line {first[key.tag, key.value]}"
                raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
            first[key.tag, key.value] = key.start_mark.line + 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Builds the mapping's values at once, so that a mapping that contains itself is refused."""
        return super().construct_mapping(node, deep=True)

    def integer(self, node: yaml.ScalarNode) -> int:
        """Builds an integer, in which a leading zero has no meaning."""
        text = self.construct_scalar(node)
        try:
            return int(text, 0 if text[:2] in {"0o", "0x"} else 10)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(
                None, None, f"a number of {len(text)} digits is too long", node.start_mark
            ) from error


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes by the rules above and spells repeated values out."""

    yaml_implicit_resolvers = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        """Returns True always, since an anchor saves a line and costs a reader."""
        return True

    def text(self, value: str) -> yaml.ScalarNode:
        """Represents text. Unicode's line breaks are escaped, since PyYAML reads bare ones back as spaces."""
        style = '"' if re.search("[\x85\u2028\u2029]", value) else None
        return self.represent_scalar(f"{_CORE}str", value, style=style)


_Loader.add_constructor(f"{_CORE}int", _Loader.integer)
_Dumper.add_representer(str, _Dumper.text)
for _tag, _pattern, _first in _RULES:
    for _side in (_Loader, _Dumper):
        _side.add_implicit_resolver(f"{_CORE}{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


@dataclass(frozen=True)
class Document:
    """A parsed document.

    Attributes:
        value: plain Python values.
        node: the tree they came from, with their places. None where the text is empty.
    """

    value: Any
    node: yaml.Node | None

    def line(self, path: Path) -> int | None:
        """Returns the line, counted from 1, where the key or item at `path` starts. None where it is not there.

        >>> read("a:\\n  b: 1\\n", "x.yaml").line(["a", "b"])
        2
        """
        node, line = self.node, None
        for step in path:
            found = next((pair for pair in _children(node) if str(pair[0]) == str(step)), None)
            if found is None:
                return None
            _, line, node = found
        return line


def _children(node: yaml.Node | None) -> Iterator[tuple[str | int, int, yaml.Node]]:
    """Yields (key or position, line, node) of everything directly below. Of two with one key, the last comes first."""
    if isinstance(node, yaml.MappingNode):
        # A merge (`<<`) puts what it brings in before the mapping's own keys, which win.
        for key, value in reversed(node.value):
            yield key.value, key.start_mark.line + 1, value
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            yield position, item.start_mark.line + 1, item


def read(text: str, source: str) -> Document:
    """Parses one YAML document.

    Args:
        text: the document.
        source: what to call it in messages, either the file or the `--set`.

    Raises:
        StudyError: it is not YAML, repeats a key, or uses a tag. The message has line and column.

    >>> read("delta: 1e-5, x", "x.yaml").value, read("[1e-5, no, 60_000]", "x.yaml").value
    ({'delta': '1e-5, x'}, [1e-05, 'no', 60000])
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            value = loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise StudyError(_brief(error, source)) from error
    except yaml.reader.ReaderError as error:
        # ReaderError has a position in the text but no line.
        line = text.count("\n", 0, error.position) + 1
        raise StudyError(
            f"{source}:{line}: not valid YAML: character {chr(error.character)!a} is not allowed"
        ) from error
    except RecursionError as error:
        raise StudyError(f"{source}: not valid YAML: nested too deeply") from error
    return Document(value, node)


def _brief(error: yaml.MarkedYAMLError, source: str) -> str:
    mark = error.problem_mark or error.context_mark
    location = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
    problem = " ".join(f"{error.problem or error.context}".split())
    if "'\\t'" in problem:
        problem += "; indent with spaces, not tabs"
    elif isinstance(error, yaml.constructor.ConstructorError) and "could not determine a constructor" in problem:
        problem = f"tag {problem.rpartition(' ')[2].replace(_CORE, '!!')} is not allowed"
    elif error.context and error.problem:
        context = " ".join(error.context.split())
        problem = f"{problem} ({context})" if context.startswith("while") else f"{context} {problem}"
    return f"{location}: not valid YAML: {problem}"


def write(value: Any) -> str:
    """Writes `value` as YAML that `read` gives back equal. Keys stay in their order, and tuples become lists.

    Raises:
        StudyError: a value is not one that YAML can represent.

    >>> print(write({"delta": 1e-5, "answer": "no", "name": "1e-5"}), end="")
    delta: 1.0e-05
    answer: no
    name: '1e-5'
    """
    try:
        # So wide that no text is broken over lines.
        text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)
    except yaml.representer.RepresenterError as error:
        raise StudyError(f"a {type(error.args[-1]).__name__} cannot be written to a study file") from error
    return text
