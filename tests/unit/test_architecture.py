"""The house rules that no linter knows: units in the names of numbers, short modules, generated tables in the docs."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import shoal
from shoal.domain.table import Table
from shoal.runtime.settings import docs_markdown

SOURCE: Final = Path(shoal.__file__).parent
ROOT: Final = SOURCE.parents[1]
PURE: Final = ("domain", "twin", "forecast", "optimise", "market", "settle", "programs", "services")
MOST_LINES: Final = 600

UNITS: Final = frozenset(
    {
        *("w", "kw", "mw", "wh", "kwh", "mwh", "hz", "ns", "ms", "s", "min", "h", "days", "years"),
        *("deg", "degc", "m2", "bytes", "frac", "permille", "amount", "cents"),
        *("per_mw", "per_mwh", "per_kw", "per_kwh", "per_w", "per_wh", "per_h", "per_s"),
    }
)
"""Last words of names that say a unit; an amount of money is in the unit that its docstring gives."""

COUNTS: Final = frozenset(
    {
        *(
            "row",
            "rows",
            "number",
            "numbers",
            "count",
            "counts",
            "index",
            "position",
            "level",
            "size",
            "step",
            "rounds",
            "length",
        ),
        *(
            "shard",
            "shards",
            "steps",
            "bins",
            "order",
            "width",
            "scale",
            "devices",
            "group",
            "groups",
            "total",
            "iterations",
            "nodes",
        ),
        *("seq", "version", "revision", "fence", "flags", "seed", "digits", "sites", "lost", "commanded"),
        *("cells", "of", "unit", "type"),  # `cell_of`: the number of each site's cell
        *(
            "at",
            "start",
            "starts",
            "slots",
            "record",
            "gateway",
            "units",
            "versions",
        ),  # places and numbers of things
        *("mask", "present", "bit", "bits"),
    }
)
"""Last words of names that count or number things."""

EXEMPT: Final = frozenset(
    {
        *(
            "field",
            "value",
            "values",
            "asked",
            "granted",
            "low",
            "high",
            "lower",
            "upper",
            "above",
            "default",
        ),
        *("observed", "forecast", "held", "newest"),  # in the unit of what they speak of, whatever that is
        # pure numbers of the model of silent sites, see `shoal.twin.silence`
        *("gain", "drift", "share", "spread", "common", "shift", "stay", "bias", "dispersion", "floor"),
        *("correlation", "mean", "usual", "z_low", "z_high", "z_firm", "square", "scale_square", "sums"),
        *("applied", "lag", "first", "token"),  # counts of samples, messages and sites; a fencing token
        *("cell_sums", "cell_values", "leaf_sums", "none", "bottom_up"),
        *(
            "fresh",
            "stale",
            "unknown",
            "suspect",
            "verdict",
            "node_limit",
            "max_orders_per_side",
        ),  # counts and codes
        *("whole", "squares"),  # sums of several columns
        *(
            "value_bound",
            "deviation_charge",
            "cost",
            "lower_bound",
            "penalty",
        ),  # money, in the unit that the docstring gives
        *("tolerance", "preference", "quantile", "quantiles", "weight", "weights"),  # pure numbers
    }
)
"""Whole names that need no unit. Keep it short."""


def modules(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (SOURCE / package).rglob("*.py"))


def is_number(annotation: ast.expr, aliases: frozenset[str] = frozenset()) -> bool:
    """Whether an annotation is a number or an array of numbers; a truth value or a record is neither."""
    text = ast.unparse(annotation).strip("\"'")
    for part in re.split(r"\s*\|\s*", text):
        if part in ("float", "int", "np.float64", "np.int64") or part in aliases:
            return True
        if re.fullmatch(r"(tuple|list|Sequence)\[(float|int)(, \.\.\.)?\]", part):
            return True
        if part.startswith("NDArray[") and not re.search(r"bool|void|Any|datetime|str|object", part):
            return True
    return False


def number_aliases(tree: ast.Module) -> frozenset[str]:
    """Return the module's own names for numbers: `Floats: TypeAlias = NDArray[np.float64]`."""
    return frozenset(
        node.target.id
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if ast.unparse(node.annotation) == "TypeAlias" and node.value is not None and is_number(node.value)
    )


def says_its_unit(name: str) -> bool:
    plain = name.strip("_").lower()
    words = plain.split("_")
    ends = {words[-1], "_".join(words[-2:])}
    return len(plain) == 1 or plain in EXEMPT or bool(ends & (UNITS | COUNTS))


def numbers_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield every annotated number: attributes of public classes, parameters of public functions."""
    aliases = number_aliases(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for item in node.body:
                if not (isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)):
                    continue
                if is_number(item.annotation, aliases):
                    yield item.lineno, item.target.id
        elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__init__"):
            for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
                if argument.annotation is not None and is_number(argument.annotation, aliases):
                    yield argument.lineno, argument.arg


@pytest.mark.parametrize("package", PURE)
def test_numbers_of_the_pure_core_say_their_unit(package: str) -> None:
    silent = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in modules(package)
        for line, name in numbers_in(ast.parse(path.read_text(encoding="utf-8")))
        if not says_its_unit(name)
    ]
    assert not silent, "numbers without a unit in their name:\n" + "\n".join(silent)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("class A:\n    power: float", ["power"]),
        ("class A:\n    power_kw: NDArray[np.float64]\n    soc: float | None", ["soc"]),
        ("def f(price: float, *, power_kw: float) -> float: ...", ["price"]),
        ("Floats: TypeAlias = NDArray[np.float64]\ndef f(power: Floats) -> None: ...", ["power"]),
        ("class A:\n    fresh: NDArray[np.bool_]\n    name: str\n    row: int", []),
    ],
)
def test_rule_of_units_finds_what_it_should(source: str, found: list[str]) -> None:
    names = [name for _, name in numbers_in(ast.parse(source)) if not says_its_unit(name)]
    assert names == found


def test_every_module_is_short_enough_and_says_what_it_is() -> None:
    for path in sorted([*SOURCE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= MOST_LINES, (
            f"{path.relative_to(ROOT)} has more than {MOST_LINES} lines: split it"
        )
        if text and path.is_relative_to(SOURCE):
            assert ast.get_docstring(ast.parse(text)), f"{path.relative_to(ROOT)} does not say what it is"


def test_every_package_has_its_init_without_reexports() -> None:
    for folder in {path.parent for path in SOURCE.rglob("*.py")}:
        init = folder / "__init__.py"
        assert init.is_file(), f"{folder.relative_to(ROOT)} has no __init__.py"
        imports = [node for node in ast.walk(ast.parse(init.read_text())) if isinstance(node, ast.ImportFrom)]
        assert not imports, f"{init.relative_to(ROOT)} re-exports"


def test_no_import_is_relative() -> None:
    for path in (*SOURCE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), (
                f"{path.relative_to(ROOT)}:{node.lineno}"
            )


def declared_tables() -> dict[str, Table]:
    """Return every `Table` that a module of the pure core declares."""
    found: dict[str, Table] = {}
    for package in PURE:
        module = importlib.import_module(f"shoal.{package}")
        for info in pkgutil.iter_modules(module.__path__):
            members = vars(importlib.import_module(f"shoal.{package}.{info.name}")).values()
            found.update({member.name: member for member in members if isinstance(member, Table)})
    return found


def test_tables_document_every_column() -> None:
    tables = declared_tables()
    assert tables.keys() >= {"telemetry", "nameplate"}
    for table in tables.values():
        text = table.markdown()
        for column in table.columns:
            assert column.description, f"{table.name}.{column.name} has no description"
            assert f"| `{column.name}` |" in text
            assert says_its_unit(column.name) or column.unit == "1", (
                f"{table.name}.{column.name} says no unit"
            )


_BLOCK: Final = re.compile(r"<!-- generated: ([a-z:_-]+) -->\n(.*?)<!-- end -->", re.DOTALL)


def test_generated_parts_of_the_docs_are_current() -> None:
    """A document may hold `<!-- generated: table:telemetry -->` or `settings` up to `<!-- end -->`."""
    texts = {f"table:{name}": table.markdown() for name, table in declared_tables().items()}
    texts["settings"] = docs_markdown()
    for document in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for name, held in _BLOCK.findall(document.read_text(encoding="utf-8")):
            assert name in texts, f"{document.name}: nothing generates {name!r}"
            assert held.strip() == texts[name].strip(), f"{document.name}: the part {name!r} is out of date"
