"""common/metric_catalogue.py against the code: what is counted is listed, what is listed is counted."""

import ast
import functools
import re
from pathlib import Path

import pytest

from common import metric_catalogue
from common.metric_catalogue import Kind, Metric

ROOT = Path(__file__).resolve().parents[3]
_KIND_OF_CALL = {"count": Kind.COUNTER, "gauge": Kind.GAUGE, "timing": Kind.TIMING}


def _pattern(node):
    """A name as the code writes it, with {} for each part that is known only when it runs; None: it is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _pattern(node.left), _pattern(node.right)
        return None if left is None and right is None else (left or "{}") + (right or "{}")
    return None


def _used(source):
    """(kind, name pattern) of all that a module counts."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _KIND_OF_CALL:
            owner = ast.unparse(node.func.value)
            if owner.endswith("metrics") and node.args:
                found.add((_KIND_OF_CALL[node.func.attr], _pattern(node.args[0])))
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("counters"):
            found.add((Kind.COUNTER, _pattern(node.slice)))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.update((Kind.GAUGE, name) for name in _group(node))
    return found


def _group(function):
    """Names of a group of gauges: keys of the dicts in a function that gives or holds a dict[str, float]."""
    source = ast.unparse(function)
    if "dict[str, float]" not in source:
        return
    for node in ast.walk(function):
        if isinstance(node, ast.Dict):
            yield from (_pattern(key) for key in node.keys if key is not None)
        elif isinstance(node, ast.DictComp):
            yield _pattern(node.key)
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            yield _pattern(node.slice)


@functools.cache
def _of(service):
    if service == "verify":
        return {(Kind.GAUGE, name) for name in _verify_names()}
    own = [file.read_text("utf-8") for file in sorted((ROOT / service).rglob("*.py"))]
    shared = [file for file in (ROOT / "common").glob("*.py") if file.stem != "metrics" and _imported(file.stem, own)]
    return {use for source in own + [file.read_text("utf-8") for file in shared] for use in _used(source)}


def _imported(module, sources):
    """Whether one of these has it from common."""
    one_of_several = re.compile(rf"^from common import .*\b{module}\b", re.MULTILINE)
    return any(f"common.{module} " in source or one_of_several.search(source) for source in sources)


def _tables(service):
    """Names that a module keeps in a table: values of a dict of texts, made once."""
    names = set()
    for file in (ROOT / service).rglob("*.py"):
        tree = ast.parse(file.read_text("utf-8"))
        names |= {_pattern(node.value) for node in ast.walk(tree) if isinstance(node, ast.DictComp)}
    return names


def _verify_names():
    tree = ast.parse((ROOT / "ops" / "verify_report.py").read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "gauge":
            yield _pattern(node.args[0])


def _blank(name):
    """{reason} and {} alike."""
    return metric_catalogue.PLACES.sub("{}", name)


@pytest.mark.parametrize("service", ["edge", "clue", "exchange", "verify"])
def test_what_a_service_counts_is_listed(service):
    """Each name in the code of a service stands in the catalogue, as what it is."""
    listed = {(metric.kind, _blank(metric.name)) for metric in metric_catalogue.of(service)}
    unlisted = {use for use in _of(service) if use[1] is not None} - listed
    # A name made from a table of ours: the table's texts are in the code as well.
    unlisted = {(kind, name) for kind, name in unlisted if name != "{}"}
    assert not unlisted, f"add to common/metric_catalogue.py, or count under a listed name: {unlisted}"


@pytest.mark.parametrize("service", ["edge", "clue", "exchange", "verify"])
def test_what_is_listed_is_counted(service):
    """Each entry of the catalogue is counted somewhere: none outlives its metric."""
    code = {name for _, name in _of(service)} | _tables(service)
    assert not {metric.name for metric in metric_catalogue.of(service) if _blank(metric.name) not in code}


def test_a_name_is_listed_once():
    """No two entries of one service have the same name."""
    for service in ("edge", "clue", "exchange", "verify"):
        names = [_blank(metric.name) for metric in metric_catalogue.of(service)]
        assert len(names) == len(set(names))


def test_an_exact_name_is_found_before_one_with_places():
    """`joins` is its own entry; `joins.admitted` is found by its place."""
    assert metric_catalogue.find("clue", "joins").name == "joins"
    assert metric_catalogue.find("clue", "joins.admitted").name == "joins.{outcome}"
    assert metric_catalogue.find("clue", "process.fds").name == "process.fds"
    assert metric_catalogue.find("clue", "broadcast.passes") is None
    assert Metric("edge", "a.{b}.c", Kind.GAUGE, "", "").matches("a.x-1.c")
    assert not Metric("edge", "a.{b}.c", Kind.GAUGE, "", "").matches("a.x.d")
