"""The rules of docs/alerts.yml use metrics and labels that a monitor shows."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import promql_parser
import pytest
import yaml  # type: ignore[import-untyped]
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from cadasta.workertoolbox.results import TaskStore
from cadasta.workertoolbox.results._fleet_metrics.refresh import FleetMetrics
from cadasta.workertoolbox.results._monitor.metrics import Metrics
from cadasta.workertoolbox.results._monitor.throughput import CommittedBatch
from cadasta.workertoolbox.results._store.fleet.fleet_figures import FleetReader
from cadasta.workertoolbox.results.commands import tasks
from servers.ports import HOST, free_ports
from servers.postgresql import PostgreSQL, refuse_connections
from support.brokers import result_backend_url
from support.figures_history import fill_database

DOCS = Path(__file__).parents[2] / "docs"

RULES = [
    rule
    for group in yaml.safe_load((DOCS / "alerts.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]

#: Labels that Prometheus adds to each metric, and its own metric about a scrape.
ADDED_LABELS = {"instance", "job"}
OWN_METRICS = {"up"}

BATCH = CommittedBatch(
    stored=1, quarantined=1, duration_s=0.1, lag_s=0.1, published_until=None
)


class Use(NamedTuple):
    """A metric and a label that an expression uses; the label may be empty."""

    metric: str
    label: str


@pytest.fixture(scope="module")
def store(postgresql: PostgreSQL) -> Iterator[TaskStore]:
    """A database with tasks, errors and schedules in all states."""
    with postgresql.database() as url, TaskStore(result_backend_url(url)) as store:
        fill_database(store.engine)
        yield store


@pytest.fixture(scope="module")
def fleet(store: TaskStore) -> FleetMetrics:
    fleet = FleetMetrics(FleetReader.from_engine(store.engine).read)
    assert fleet.refresh()
    return fleet


@pytest.fixture(scope="module")
def shown(fleet: FleetMetrics) -> Mapping[str, Set[str]]:
    """The labels of each metric that a monitor serves."""
    [port] = free_ports(1)
    metrics = Metrics(fleet)
    metrics.add(BATCH)
    metrics.serve(HOST, port)
    labels: defaultdict[str, set[str]] = defaultdict(set)
    with urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as response:
        for family in text_string_to_metric_families(response.read().decode()):
            for sample in family.samples:
                labels[sample.name] |= {*sample.labels}
    return labels


def uses(node: Any) -> Iterator[Use]:
    """Yield the metrics and labels that an expression uses."""
    match node:
        case promql_parser.VectorSelector():
            metric = str(node.name)
            yield Use(metric, "")
            yield from (Use(metric, each.name) for each in node.matchers.matchers)
        case promql_parser.MatrixSelector():
            yield from uses(node.vector_selector)
        case promql_parser.Call():
            for argument in node.args:
                yield from uses(argument)
        case promql_parser.AggregateExpr():
            inner = [*uses(node.expr)]
            yield from inner
            grouped = node.modifier.labels if node.modifier else ()
            yield from (Use(use.metric, label) for use in inner for label in grouped)
        case promql_parser.BinaryExpr():
            yield from (*uses(node.lhs), *uses(node.rhs))
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr():
            yield from uses(node.expr)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_expression_uses_metrics_and_labels_that_are_shown(
    shown: Mapping[str, Set[str]], rule: Any
) -> None:
    used = {*uses(promql_parser.parse(rule["expr"]))}
    wrong = {
        use
        for use in used
        if use.metric not in OWN_METRICS
        and not {use.label} <= shown.get(use.metric, set()) | ADDED_LABELS | {""}
        or use.metric not in {*shown} | OWN_METRICS
    }

    assert used
    assert wrong == set()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_a_rule_says_what_happened_and_which_command_to_run(rule: Any) -> None:
    annotations = rule["annotations"]
    kept = grouped_labels(promql_parser.parse(rule["expr"]))
    named = re.findall(r"\$labels\.(\w+)", " ".join(annotations.values()))
    command = re.sub(r"\{\{.*?\}\}", "x", annotations["command"])
    program, *words = shlex.split(command)

    assert {*annotations} == {"summary", "description", "command"}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert {*named} <= kept
    assert (program, *words[:3]) == ("celery", "-A", "APP", "tasks")
    # Options are parsed before the help is shown.
    assert CliRunner().invoke(tasks, [*words[3:], "--help"]).exit_code == 0


def grouped_labels(node: Any) -> Set[str]:
    """Return the labels that the result of an expression has."""
    match node:
        case promql_parser.AggregateExpr():
            return {*(node.modifier.labels if node.modifier else ())}
        case promql_parser.BinaryExpr():
            return grouped_labels(node.lhs)
        case promql_parser.ParenExpr():
            return grouped_labels(node.expr)
    return set()


def test_figures_of_the_fleet_are_those_of_the_task_store(
    fleet: FleetMetrics, store: TaskStore
) -> None:
    assert fleet.refresh()
    shown = {
        (sample.name.removeprefix("workertoolbox_"), *sample.labels.values()): (
            sample.value
        )
        for family in fleet.collect()
        for sample in family.samples
    }
    samples = store.backlog_samples(since=datetime.now(UTC) - timedelta(minutes=5))
    overdue = [each for each in store.schedules() if each.overdue]
    groups = store.error_groups(limit=1000)

    assert samples
    assert shown["schedules_overdue",] == len(overdue)
    for state in ("new", "back"):
        number = sum(group.state == state for group in groups)
        assert shown["error_groups", state] == number > 0
    for each in samples:
        if each.queue is not None and each.since == samples[-1].since:
            assert shown["queue_waiting", each.queue] == each.queued
            assert shown["queue_oldest_seconds", each.queue] == each.oldest_s


def test_metrics_are_shown_during_an_outage_of_the_database(
    store: TaskStore, fleet: FleetMetrics
) -> None:
    def database_up() -> float:
        return next(
            sample.value
            for family in fleet.collect()
            for sample in family.samples
            if sample.name == "workertoolbox_database_up"
        )

    store.engine.dispose()
    with refuse_connections(store.engine.url):
        assert not fleet.refresh()
        during = database_up()

    assert during == 0
    assert fleet.refresh()
    assert database_up() == 1
