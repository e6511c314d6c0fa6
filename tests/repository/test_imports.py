"""Imports point one way: between the packages, and between the folders of each.

`ORDER` is the architecture. It lists the folders and modules at the top of each
package, and of a large folder, lowest first. Each may import those on the lines above
its own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from cadasta.workertoolbox.results._database import tables, view
from cadasta.workertoolbox.results._database.schema import VERSION_TABLE

ROOT = Path(__file__).parents[2]
NAMESPACE = "cadasta.workertoolbox"

#: The packages that each package may import.
PACKAGES: dict[str, set[str]] = {
    "routing": set(),
    "results": set(),
    "conf": {"routing", "results"},
}

#: Each line may import the lines above it. Names on one line do not import each other.
ORDER = {
    "routing": (
        "_errors _headers _forks",  # exceptions; names of headers; forked processes
        "_log_text _task_queue",  # text that is safe in a log line; queues as wishes
        "_results_elsewhere",  # result backends whose results no monitor sees
        "_static_routes",  # routes that name a queue in the settings
        "_frozen _json_only _masking _queue_names _declaration",  # values, and checks
        "_ids",  # ids that every part of the toolbox can store
        "_environment",  # settings from environment variables
        "_predefined_queues",  # SQS queues that were created elsewhere
        "_extras _broker_urls",  # optional clients of brokers; checks of their URLs
        "no_results",  # the result backend of a producer, which Celery imports by name
        "_settings",  # read-only settings whose repr masks secrets
        "_transport_options",  # what a broker needs beyond its URL
        "_delays _own_queues",  # RabbitMQ's native delays; `Queue` objects of users
        "_topology",  # the task exchange, the queues and their bindings
        "_delayed_delivery",  # the step of a worker that declares native delays
        "_similar_queue",  # the queue whose name was meant
        "_destination _fixed_settings",  # what options name; fixed settings
        "_router _worker _scheduled_runs",  # the queue of a task; workers; beat's runs
        "_schedule_entries",  # entries of beat's schedule
        "_stored_entries",  # entries that django-celery-beat has not loaded
        "_listing",  # the list of these entries
        "_beat_runs",  # descriptions of the runs that beat sends
        "_beat",  # what beat does
        "_publication",  # what happens at a publish
        "_size_limits",  # limits on compressed messages
        "_value_count",  # the number of values in JSON
        "_decompression _suspects _task_message",  # which messages a worker accepts
        "_hidden_bodies",  # what Celery does not log of the messages that it rejects
        "_refusal_pause",  # waits of a worker that the broker refuses
        "consumer",  # the worker's consumer, which Celery imports by name
        "transports",  # subclasses of kombu's transports
        "_routing",  # `Routing`, the configuration made of all of them
        "_track",  # the same for an app that is configured
    ),
    "results": (
        "_durations",  # "30s" and "7d"
        "_duration_text _number_text",  # "2.1 min" and "12,345"
        "_errors _headers _ages _json_record",  # exceptions; headers; ages; `--json`
        "_work_queues",  # the queue of a task that other publishers have sent
        "_query_errors",  # the exceptions of queries
        "_instants",  # "2h", "yesterday" and "14:30"
        "_safe_text",  # text that is safe to print and to log
        "_database",  # engine, URLs, tables, view, schema version, privileges of roles
        "_task",  # `Task`: what the database knows of one task
        "_query",  # the query language: texts and values, without a database
        "migrations",  # steps from one schema version to the next
        "_arguments",  # redaction, truncation and JSON of task arguments
        "_schedules _workflows",  # runs of beat's entries; announced steps
        "_history",  # the archiver, days, retention, purge, erasure
        "_backend _monitor",  # what workers write; what the monitor reads and writes
        "backend",  # the result backend, which Celery imports by name
        "_store",  # queries
        "_fleet_metrics",  # metrics for Prometheus about the fleet
        "_reruns",  # tasks that are published again
        "web",  # the pages
        "django",  # the database of a Django project
        "_commands",  # one module for each command
        "commands",  # the command group, which Celery imports by name
    ),
    "results._store": (
        "escaped_texts",  # texts as the database holds them
        "open_database",  # the database that the queries read
        "rows",  # how tasks are read: ids, days, values, conditions
        "operations",  # what users have done
        "tasks",  # one task, one workflow
        "search",  # searches for tasks
        "schedules",  # the entries of beat's schedule
        "figures",  # counts, durations, backlogs
        "upkeep",  # the state of the database and of its writers
        "errors",  # groups of errors
        "fleet",  # services and workers
        "why",  # why a task has not run, or how it ended
        "store",  # `TaskStore`, which inherits the methods of all of them
    ),
    "conf": (
        "_errors",  # exceptions
        "_app_argument",  # the app in commands that can be copied
        "_logging",  # log formatters, the ids of the running task, Sentry
        "_settings",  # the variables of `Config`, the environment, URL templates
        "_brokers",  # broker URLs, profiles, folders, connections
        "_chord_unlock _followups",  # helpers for chords and replaced tasks
        "_keywords",  # the keywords of `Config`
        "_django_variables",  # the variables in the settings of a Django project
        "_existing",  # the settings of an app without the toolbox
        "_pipeline",  # from given settings to all settings
        "_config",  # `Config`
        "_starter",  # the files that `tasks init` writes
        "_setup",  # `setup_app`
        "django",  # `Config` from the settings of a Django project
        "checkup adoption",  # `tasks check`; `tasks adopt`
        "testing",  # fixtures for users' tests
        "commands",  # the commands that Celery imports by name
    ),
}

#: Folders with one module that other folders of the package may import.
ENTRY_MODULES = {"routing.transports": "routing.transports._registration"}

#: The name of a module in a string, as in `import_module("…")`, without the namespace.
NAMED_MODULE = re.compile(
    rf"\b{re.escape(NAMESPACE)}\.((?:{'|'.join(PACKAGES)})\b(?:\.\w+)*)"
)


class Import(NamedTuple):
    """One module that imports another, both without the namespace.

    `str` gives `results._store.search.filtered imports results._history.watermark`.
    """

    importer: str
    imported: str

    def __str__(self) -> str:
        return f"{self.importer} imports {self.imported}"


#: Modules that are named in strings but not imported.
NOT_IMPORTED = {
    # The logger of a module has its name; Sentry must not send what this one logs.
    Import("conf._logging.sentry", "routing._worker"),
    # The text of a module that a user gets.
    Import("conf._starter.files", "conf"),
}


#: The syntax tree of each module, by its name.
Trees = dict[str, ast.Module]


def modules(package: str) -> Trees:
    """Return the modules of a package."""
    root = ROOT / "packages" / f"workertoolbox-{package}" / "src"
    found = {}
    for path in root.rglob("*.py"):
        name = ".".join(path.relative_to(root).with_suffix("").parts)
        name = name.removeprefix(f"{NAMESPACE}.").removesuffix(".__init__")
        found[name] = ast.parse(path.read_text("utf-8"), str(path))
    return found


@pytest.fixture(scope="module")
def trees() -> Trees:
    """The modules of all packages.

    They are read when these tests run: parallel processes collect all tests, and would
    each keep a million objects.
    """
    return {
        name: tree for package in PACKAGES for name, tree in modules(package).items()
    }


@pytest.fixture(scope="module")
def named_or_imported(trees: Trees) -> list[Import]:
    return list(find_imports(trees))


@pytest.fixture(scope="module")
def imports(named_or_imported: list[Import]) -> list[Import]:
    return [each for each in named_or_imported if each not in NOT_IMPORTED]


def find_imports(trees: Trees) -> Iterator[Import]:
    """Yield the imports within the namespace, those inside functions included.

    A string that names a module counts as an import of it.
    """
    for importer, tree in trees.items():
        for node in ast.walk(tree):
            for name in _imported(node, trees):
                if name.startswith(f"{NAMESPACE}."):
                    yield Import(importer, name.removeprefix(f"{NAMESPACE}."))
        for text in strings(tree):
            for name in NAMED_MODULE.findall(str(text.value)):
                yield Import(importer, _module_of(name, trees))


def strings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield the strings of a module, docstrings excluded."""
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node not in docstrings:
                yield node


def _module_of(name: str, trees: Trees) -> str:
    """Return the longest part of a dotted name that is a module."""
    while name not in trees:
        name = name.rpartition(".")[0]
    return name


def _imported(node: ast.AST, trees: Trees) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"write an absolute import: {ast.unparse(node)}"
        for alias in node.names:
            submodule = f"{node.module}.{alias.name}"
            is_module = submodule.removeprefix(f"{NAMESPACE}.") in trees
            yield submodule if is_module else str(node.module)


def package_of(module: str) -> str:
    return module.split(".")[0]


def top_of(module: str, folder: str) -> str:
    """Return the part of a package or folder that a module in it belongs to.

    For the package or folder itself, that is an empty string.
    """
    return module.removeprefix(folder).removeprefix(".").split(".")[0]


def between_packages(imports: list[Import]) -> list[Import]:
    return [each for each in imports if package_of(each[0]) != package_of(each[1])]


def within(folder: str, imports: list[Import]) -> list[Import]:
    return [
        each
        for each in imports
        if all(f"{module}.".startswith(f"{folder}.") for module in each)
    ]


def shown(found: list[Import]) -> list[str]:
    return sorted({str(each) for each in found})


def private_names(importer: str, tree: ast.Module) -> Iterator[str]:
    """Yield the private names and attributes that a module uses of other packages."""
    public = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = f"{node.module}.".removeprefix(f"{NAMESPACE}.")
            if package_of(module) in {*PACKAGES} - {package_of(importer)}:
                for alias in node.names:
                    public.add(alias.asname or alias.name)
                    if alias.name.startswith("_"):
                        yield f"{importer}, line {node.lineno}: {alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in public and re.match("_(?!_)", node.attr):
                yield f"{importer}, line {node.lineno}: {ast.unparse(node)}"


def test_a_module_that_is_named_but_not_imported_exists(
    named_or_imported: list[Import],
) -> None:
    assert NOT_IMPORTED <= {*named_or_imported}


def test_names_are_imported_from_a_package_or_its_modules(trees: Trees) -> None:
    # After `import cadasta.workertoolbox.results` or `from cadasta import …`, every
    # module would be an attribute, and the other tests would not see its use.
    wrong = []
    for importer, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                is_inside = f"{node.module}".startswith(f"{NAMESPACE}.")
                names = [] if is_inside else [f"{node.module}"]
            else:
                names = []
            if any(name.split(".")[0] == "cadasta" for name in names):
                wrong.append(f"{importer}: {ast.unparse(node)}")

    assert wrong == []


def test_a_package_uses_only_public_names_of_another_one(trees: Trees) -> None:
    wrong = [
        found
        for importer, tree in trees.items()
        for found in private_names(importer, tree)
    ]

    assert wrong == []


def test_packages_import_one_way(imports: list[Import]) -> None:
    wrong = [
        each
        for each in between_packages(imports)
        if package_of(each.imported) not in PACKAGES[package_of(each.importer)]
    ]

    assert shown(wrong) == []


def test_a_package_imports_only_public_modules_of_another_one(
    imports: list[Import],
) -> None:
    private = [each for each in between_packages(imports) if "._" in each.imported]

    assert shown(private) == []


@pytest.mark.parametrize("folder", ORDER)
def test_the_order_lists_each_folder_and_module_once(folder: str, trees: Trees) -> None:
    listed = [name for line in ORDER[folder] for name in line.split()]
    existing = {
        top_of(name, folder) for name in trees if f"{name}.".startswith(f"{folder}.")
    }

    assert sorted(listed) == sorted(existing - {""})


@pytest.mark.parametrize("folder", ORDER)
def test_folders_import_one_way(folder: str, imports: list[Import]) -> None:
    line_of = {
        name: number
        for number, line in enumerate(ORDER[folder])
        for name in line.split()
    }
    wrong = []
    for each in within(folder, imports):
        importer, imported = (top_of(module, folder) for module in each)
        if importer and imported and importer != imported:
            if line_of[imported] >= line_of[importer]:
                wrong.append(each)

    assert shown(wrong) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_the_package_that_it_is_in(
    package: str, imports: list[Import]
) -> None:
    wrong = [each for each in within(package, imports) if each.imported == package]

    assert shown(wrong) == []


@pytest.mark.parametrize(("folder", "entry"), ENTRY_MODULES.items())
def test_other_folders_import_only_the_entry_module(
    folder: str, entry: str, imports: list[Import]
) -> None:
    wrong = [
        each
        for each in imports
        if f"{each.imported}.".startswith(f"{folder}.")
        and not each.importer.startswith(folder)
        and each.imported != entry
    ]

    assert shown(wrong) == []


def test_no_modules_import_each_other_in_a_circle(imports: list[Import]) -> None:
    # A package imports its modules, and they do not need it.
    graph = TopologicalSorter[str]()
    for each in imports:
        if not {*each} & {*PACKAGES}:
            graph.add(each.importer, each.imported)

    graph.prepare()


def test_conf_does_not_name_tables_of_results(trees: Trees) -> None:
    views = (view.live.name, view.tasks.name)
    names = {*tables.metadata.tables, *views, VERSION_TABLE}
    pattern = re.compile(rf"\b({'|'.join(sorted(names))})\b")
    found = [
        f"{name}, line {node.lineno}: {node.value!r}"
        for name, tree in trees.items()
        if package_of(name) == "conf"
        for node in strings(tree)
        if pattern.search(str(node.value))
    ]

    assert len(names) > 10
    assert found == []
