"""The packages routing and results agree on what both know."""

from __future__ import annotations

from inspect import getsource
from types import ModuleType

from cadasta.workertoolbox.results import _durations
from cadasta.workertoolbox.results import _headers as read
from cadasta.workertoolbox.results._arguments.jsonable import MAX_NAME_LENGTH
from cadasta.workertoolbox.results._database.tables import NAME_LENGTH
from cadasta.workertoolbox.routing import _headers as written
from cadasta.workertoolbox.routing import _ids, without_delay
from cadasta.workertoolbox.routing._environment import durations

#: Names that conf writes: its check-up imports them from results.
WRITTEN_BY_CONF = {"PROBE"}


def constants(module: ModuleType) -> dict[str, str]:
    """Return the strings that are constants of a module, by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, str)
    }


def test_constants_of_the_same_name_have_the_same_value() -> None:
    shared = constants(read).keys() & constants(written).keys()

    assert {"DISPLAY_REPRS", "PUBLISHED_AT", "ROUTING_KEY", "UNREADABLE"} <= shared
    for name in shared:
        assert constants(read)[name] == constants(written)[name]


def test_results_reads_only_names_that_another_package_writes() -> None:
    assert constants(read).keys() - WRITTEN_BY_CONF <= constants(written).keys()


def test_both_find_the_work_queue_behind_a_delay() -> None:
    key = ".".join("01" * 14) + ".export"

    assert read.work_queue({"routing_key": key}) == without_delay(key) == "export"


def test_publishers_refuse_ids_for_which_the_tables_have_no_room() -> None:
    assert _ids.MAX_LENGTH == NAME_LENGTH < MAX_NAME_LENGTH


def test_both_parse_durations_alike() -> None:
    assert getsource(durations) == getsource(_durations)
