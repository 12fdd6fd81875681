"""The documentation is tested: settings and their defaults, examples, refusals, records, commands and links."""

import doctest
import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer.core
import typer.main
from pydantic.fields import FieldInfo

import accord
from accord.cli import main as cli
from accord.config.data import SyntheticData
from accord.config.evaluation import Fairness
from accord.config.load import parse_study
from accord.config.model import LinearModel
from accord.config.schema import Study
from accord.config.sections import SECTIONS, settings
from accord.config.sections import shape as shape_of
from accord.data import partition_summary as summary_module
from accord.orchestration import group_measures

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
STUDY_FILE, RUN_FOLDER, PYTHON = DOCS / "study-file.md", DOCS / "run-folder.md", DOCS / "python.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`([^`]+)`")


# --- reading pages ------------------------------------------------------------------------------------


def blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def parts(text: str, level: int) -> dict[str, str]:
    """Heading to what stands below it, down to the next heading of its level or a higher one."""
    pieces = re.split(rf"^(#{{1,{level}}}) (.+)$", text, flags=re.MULTILINE)
    return {
        heading: body
        for marks, heading, body in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True)
        if len(marks) == level
    }


def rows(text: str) -> list[list[str]]:
    """The cells of every table row, headings and rules left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if CODE.search(row[0])]


# --- the study file -----------------------------------------------------------------------------------

SECTION_TEXTS = parts(prose(STUDY_FILE), 2)


def documented(section: str, variety: str | None) -> dict[str, tuple[str, str]]:
    """Setting to its type and default, as the study file's page has them for a variety, or under a heading for all."""
    text = SECTION_TEXTS[f"`{section}`"]
    if variety is not None:
        (own,) = (body for heading, body in parts(text, 3).items() if variety in CODE.findall(heading))
        text = own + "".join(body for heading, body in parts(text, 3).items() if not CODE.search(heading))
    return {row[0].strip("`"): (row[1], row[2]) for row in rows(text)}


def kind(schema: Mapping[str, Any]) -> str:
    """A setting's JSON Schema in the page's words."""
    if "anyOf" in schema:
        return " or ".join(kind(each) for each in schema["anyOf"])
    if "$ref" in schema:
        return "mapping"
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema["type"] == "array":
        each = re.sub(r"\b(number|text)\b", r"\1s", kind(schema["items"]))
        return f"{'non-empty ' if 'minItems' in schema else ''}list of {each}"
    if schema["type"] in ("integer", "number"):
        return number(schema)
    return {"string": "text", "boolean": "true or false", "object": "mapping", "null": "null"}[schema["type"]]


def number(schema: Mapping[str, Any]) -> str:
    word = "whole number" if schema["type"] == "integer" else "number"
    low = next((f"{schema[key]:g} {sign}" for key, sign in LOW.items() if key in schema), "")
    high = f" < {schema['exclusiveMaximum']:g}" if "exclusiveMaximum" in schema else ""
    if schema.get("maximum", MOST) != MOST:
        high = f" ≤ {schema['maximum']:g}"
    if low and not high:
        value, sign = low.split()
        return f"{word} {'≥' if sign == '≤' else '>'} {value}"
    return f"{low} {word}{high}".strip()


LOW = {"minimum": "≤", "exclusiveMinimum": "<"}
MOST = 10**9  # of every count; not worth a word


def default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return f"`{field.default if isinstance(field.default, str) else json.dumps(field.default)}`"


def defined(cls: Any, above: str = "") -> Iterator[tuple[str, tuple[str, str]]]:
    """Setting to its type and default, as the schema has them; those of a mapping by their dotted names too."""
    schemas = cls.model_json_schema()["properties"]
    for name in settings(cls):
        field = cls.model_fields[name]
        yield above + name, (kind(schemas[name]), default(field))
        inner = shape_of(field)
        if inner is not None:
            yield from defined(inner.classes[0], f"{above}{name}.")


VARIETIES = [
    pytest.param(section, name, cls, id=f"{section}-{name or 'only'}")
    for section, shape in SECTIONS.items()
    for name, cls in (shape.names.items() if shape.tag else [(None, shape.classes[0])])
]


@pytest.mark.parametrize(("section", "variety", "cls"), VARIETIES)
def test_every_setting_is_documented_with_its_type_and_default(section: str, variety: str | None, cls: Any) -> None:
    true = dict(defined(cls))
    assert documented(section, variety) == true


@pytest.mark.parametrize("section", SECTIONS)
def test_no_variety_is_documented_that_there_is_not(section: str) -> None:
    headings = parts(SECTION_TEXTS[f"`{section}`"], 3)
    assert {name for heading in headings for name in CODE.findall(heading)} == set(SECTIONS[section].names)


def test_every_part_is_listed_with_what_it_is_where_left_out() -> None:
    listed = {row[0]: row[2] for row in rows(SECTION_TEXTS["The parts"])}
    assert list(listed) == [f"[`{name}`](#{name})" for name in Study.model_fields]
    for name, shape in SECTIONS.items():
        if shape.default is not None:
            assert listed[f"[`{name}`](#{name})"] == f"`{shape.default}`"
    seed = Study.model_fields["seed"]
    assert listed["[`seed`](#seed)"] == default(seed)
    assert f"by default {default(seed)}" in SECTION_TEXTS["`seed`"]


@pytest.mark.parametrize(
    ("page", "block"),
    [pytest.param(page, text, id=f"{page.name}-{i}") for page in PAGES for i, text in enumerate(blocks(page, "yaml"))],
)
def test_yaml_is_a_study_or_part_of_one(page: Path, block: str) -> None:
    whole = re.search(r"^data:", block, flags=re.MULTILINE)
    parse_study(block if whole else f"data: digits\n{block}", source=page.name)


def test_the_complete_example_names_every_part() -> None:
    (first, *_) = blocks(STUDY_FILE, "yaml")
    assert re.findall(r"^(\w+):", first, flags=re.MULTILINE) == list(Study.model_fields)


# --- commands -----------------------------------------------------------------------------------------

COMMANDS = typer.main.get_command(cli.app)


def options_of(words: list[str]) -> tuple[str, set[str]]:
    """The command that words after `accord` name, and its options."""
    command: Any = COMMANDS
    name = "accord"
    for word in words:
        if not isinstance(command, typer.core.TyperGroup):
            break
        assert word in command.commands, f"no command {name} {word}"
        command, name = command.commands[word], f"{name} {word}"
    return name, {"--help", "-h"} | {option for each in command.params for option in each.opts}


def named_commands(page: Path) -> Iterator[list[str]]:
    """Every `accord ...` of a page's code, as words."""
    text = page.read_text(encoding="utf-8")
    spans = [
        *CODE.findall(FENCE.sub("", text)),
        *(line for _, body in FENCE.findall(text) for line in body.split("\n")),
    ]
    for span in spans:
        found = re.match(r"(?:\$ )?accord ((?:[a-z]|-).*)", span.strip())
        if found:
            yield shlex.split(found[1], comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_exists(page: Path) -> None:
    for words in named_commands(page):
        name, known = options_of([word for word in words if not word.startswith("-")])
        for word in words:
            if word.startswith("-"):
                assert word.partition("=")[0] in known, f"{name} has no {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_named_alone_exist_somewhere(page: Path) -> None:
    commands = (["init"], ["run"], ["sweep"], ["budget"], ["data", "partition"], ["doctor"], ["compare"], ["export"])
    known = set().union(*(options_of(words)[1] for words in commands))
    named = {span.split()[0].partition("=")[0] for span in CODE.findall(prose(page)) if span.startswith("--")}
    assert named <= known


def shown() -> Iterator[Any]:
    """Every command of the pages beside the output shown for it, where some is."""
    for page in PAGES:
        for block in [*blocks(page, "console"), *blocks(page, "")]:
            for piece in re.split(r"^\$ accord ", block, flags=re.MULTILINE)[1:]:
                command, _, output = piece.partition("\n")
                if output:
                    yield pytest.param(command, output, id=f"{page.name}-{command}")


@pytest.mark.parametrize(("command", "output"), list(shown()))
def test_commands_print_what_is_shown(
    command: str,
    output: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.argv", ["accord", *shlex.split(command)])
    monkeypatch.setattr("accord.cli.progress._PATIENCE", 3600.0)  # no line on a long wait, however busy the machine
    Path("study.yaml").write_text(blocks(STUDY_FILE, "yaml")[0], encoding="utf-8")
    Path("examples").symlink_to(ROOT / "examples")
    with pytest.raises(SystemExit) as caught:
        cli.main()
    said = capsys.readouterr()
    assert [line.rstrip() for line in (said.err + said.out).splitlines()] == output.splitlines()
    assert caught.value.code == (0 if said.out else 2)
    assert {path.name for path in tmp_path.iterdir()} == {"study.yaml", "examples"}


# --- Python -------------------------------------------------------------------------------------------


def test_the_python_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    names: dict[str, Any] = {}
    runner = doctest.DocTestRunner(verbose=False)
    written = []
    try:
        for number, block in enumerate(blocks(PYTHON, "python")):
            file = re.match(r"# (\w+)\.py\n", block)
            if file:
                Path(f"{file[1]}.py").write_text(block, encoding="utf-8")
                written.append(file[1])
                continue
            test = doctest.DocTestParser().get_doctest(block, names, f"python.md block {number}", str(PYTHON), 0)
            assert test.examples, f"block {number} holds no example: {block}"
            runner.run(test, clear_globs=False)
            names = test.globs
    finally:
        for module in written:
            sys.modules.pop(module, None)
    assert runner.failures == 0
    assert runner.tries > 20


# --- run folders --------------------------------------------------------------------------------------

Keys = tuple[str, ...]
FREE = {"CLIENT", "COLUMN", "GROUP", "LEVEL", "NAME", "RATE", "SIZE"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[accord.Run]:
    """Small runs that together have every record: with all there is, cut off and resumed; unit client; fine-tuned."""
    data = {"name": "synthetic", "train_rows": 200, "test_rows": 120, "features": 4}
    partition = {"name": "iid", "num_partitions": 4}
    noise = {"noise_multiplier": 2.0, "delta": 1e-3}
    full = Study(
        data=data,
        partition=partition,
        model={"name": "logistic"},
        program={"name": "fedavg", "rounds": 2},
        privacy={"unit": "sample", **noise},
        fairness={"groups": ["group", "group*label"]},
        evaluation={"twin": True, "checkpoint_every": 2, "early_stopping": {"patience": 2}, "predictions": True},
    )
    client = Study(
        data=data,
        partition=partition,
        imbalance={"group": "group", "value": "0", "share": 0.25, "rows": 80},
        program={"name": "fedavg", "rounds": 1, "weights": "uniform"},
        privacy={"unit": "client", "adaptive": {"count_noise": 3.0}, **noise},
    )
    tuned = Study(data=data, partition=partition, program={"name": "ditto"}, evaluation={"fine_tune": {"steps": 1}})
    numbers = full.model_copy(update={"data": SyntheticData.model_validate(data | {"target_kind": "number"})})
    numbers = numbers.model_copy(update={"model": LinearModel(name="linear"), "fairness": Fairness(groups=("group",))})
    number = Study(
        data=data | {"target_kind": "number"},
        partition=partition,
        program={"name": "ditto", "rounds": 1},
        training={"learning_rate": 0.01},
        evaluation={"fine_tune": {"steps": 1}},
    )
    folder = tmp_path_factory.mktemp("runs")
    with pytest.raises(RuntimeError, match="power cut"):
        accord.run(full, folder / "full", on_round=power_cut)
    joint = Study(
        data=data,
        partition=partition,
        program={"name": "fedavg", "rounds": 1},
        privacy={"unit": "sample", **noise},
    )
    return [
        accord.resume(folder / "full"),
        accord.run(client, folder / "client", ledger=folder / "client.ledger"),
        accord.run(tuned, folder / "tuned"),
        accord.run(joint, folder / "joint", ledger=folder / "joint.ledger"),
        accord.run(numbers, folder / "numbers"),
        accord.run(number, folder / "number"),
    ]


def power_cut(stage: str, record: object, planned: int) -> None:
    """Ends a run as a kill would."""
    raise RuntimeError("power cut")


def keys(value: Any, above: Keys = ()) -> Iterator[Keys]:
    """The path of every value in a JSON object; a list of objects counts as `name[]`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from keys(inner, (*above, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from keys(inner, (*above[:-1], f"{above[-1]}[]"))
    else:
        yield above


def listed_keys(section: str) -> set[Keys]:
    """The keys that the run folder's page lists for a file, RATE and GAP spelled out."""
    page = prose(RUN_FOLDER)
    sentence = re.search(r"RATE stands for\s(.*?); GAP for\s(.*?)\.\s", page, flags=re.DOTALL)
    assert sentence is not None
    stands_for = {"RATE": CODE.findall(sentence[1]), "GAP": CODE.findall(sentence[2])}
    found = set()
    for row in rows(parts(page, 2)[section]):
        for name in CODE.findall(row[0]):
            last = name.rpartition(".")[2]
            found |= {(*name.split(".")[:-1], each) for each in stands_for.get(last, [last])}
    return found


def fits(key: Keys, pattern: Keys) -> bool:
    return len(key) == len(pattern) and all(b in FREE or a == b for a, b in zip(key, pattern, strict=True))


def records(folder: Path, name: str) -> list[Any]:
    path = folder / name
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]


@pytest.mark.parametrize("name", ["rounds.jsonl", "ledger.jsonl", "result.json", "partition.json", "clients.json"])
def test_every_key_of_a_record_is_documented(name: str, runs: list[accord.Run]) -> None:
    true = {key for run in runs for record in records(run.folder, name) for key in keys(record)}
    listed = listed_keys(f"`{name}`")
    # A key that is null, as `twin`, is documented by the keys below it.
    assert {key for key in true if not any(fits(key, pattern[: len(key)]) for pattern in listed)} == set()
    assert {pattern for pattern in listed if not any(fits(key, pattern) for key in true)} == set()


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("partition.json", "`partition.json` of more than 10,000 clients"),
        ("clients.json", "`clients.json` of more than 1,000 clients"),
    ],
)
def test_every_key_of_a_record_of_very_many_clients_is_documented(
    name: str, section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"{group_measures.MOST_CLIENTS:,}" in section or f"{summary_module.MOST_LISTED:,}" in section
    monkeypatch.setattr(group_measures, "MOST_CLIENTS", 3)
    monkeypatch.setattr(summary_module, "MOST_LISTED", 3)
    true = set()
    for target in ("class", "number"):
        study = Study(
            data={"name": "synthetic", "train_rows": 200, "test_rows": 120, "target_kind": target},
            partition={"name": "iid", "num_partitions": 4},
            training={"learning_rate": 0.01},
            program={"name": "fedavg", "rounds": 1},
            imbalance={"group": "group", "value": "0", "share": 0.25},
            fairness={"groups": ["group"]},
        )
        (record,) = records(accord.run(study, tmp_path / target).folder, name)
        true |= set(keys(record))
    listed = listed_keys(section)
    assert {key for key in true if not any(fits(key, pattern) for pattern in listed)} == set()
    assert {pattern for pattern in listed if not any(fits(key, pattern) for key in true)} == set()


def test_every_file_of_a_run_folder_is_documented(runs: list[accord.Run]) -> None:
    tree = blocks(RUN_FOLDER, "text")[0]
    listed = {line.split()[0].strip("/") for line in tree.splitlines() if line.startswith("  ")}
    assert listed == {path.name for path in runs[0].folder.iterdir()}


def test_exit_codes_are_those_of_the_errors() -> None:
    table = parts(prose(RUN_FOLDER), 2)["Exit codes"]
    errors = [getattr(accord, name) for name in accord.__all__ if name.endswith(("Error", "Fault", "Early"))]
    assert set(re.findall(r"^\| (\d) \|", table, flags=re.MULTILINE)) == {
        "0",
        *(str(each.exit_code) for each in errors),
    }


# --- links --------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}"
