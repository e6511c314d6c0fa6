"""The packages routing and results agree on what both know."""

from __future__ import annotations

from inspect import getsource
from types import ModuleType

from cadasta.workertoolbox.results import _durations, _work_queues
from cadasta.workertoolbox.results import _headers as read
from cadasta.workertoolbox.results._arguments.jsonable import MAX_NAME_LENGTH
from cadasta.workertoolbox.results._database.tables import NAME_LENGTH
from cadasta.workertoolbox.results._monitor import size_limits as monitor_limits
from cadasta.workertoolbox.results._monitor import value_count as monitor_count
from cadasta.workertoolbox.routing import _destination, _ids, without_delay
from cadasta.workertoolbox.routing import _headers as written
from cadasta.workertoolbox.routing import _size_limits as worker_limits
from cadasta.workertoolbox.routing import _value_count as worker_count
from cadasta.workertoolbox.routing._environment import durations

#: Names that conf writes, whose check-up imports them from results, or results itself.
WRITTEN_ELSEWHERE = {"PROBE", "RERUN"}


def numbers(module: ModuleType) -> dict[str, int]:
    """Return the integers that are constants of a module, by name."""
    found = vars(module).items()
    return {name: value for name, value in found if isinstance(value, int)}


def constants(module: ModuleType) -> dict[str, str]:
    """Return the strings that are constants of a module, by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, str)
    }


def test_constants_of_the_same_name_have_the_same_value() -> None:
    shared = constants(read).keys() & constants(written).keys()

    names = {"DISPLAY_REPRS", "PUBLISHED_AT", "QUEUE", "ROUTING_KEY", "UNREADABLE"}

    assert names <= shared
    for name in shared:
        assert constants(read)[name] == constants(written)[name]


def test_results_reads_only_names_that_another_package_writes() -> None:
    assert constants(read).keys() - WRITTEN_ELSEWHERE <= constants(written).keys()


def test_both_find_the_work_queue_behind_a_delay() -> None:
    key = ".".join("01" * 14) + ".export"

    assert read.work_queue({"routing_key": key}, {}) == without_delay(key) == "export"


def test_both_match_routing_keys_alike() -> None:
    ours, theirs = _destination._match_words, _work_queues._match_words

    assert getsource(ours) == getsource(theirs)


def test_publishers_refuse_ids_for_which_the_tables_have_no_room() -> None:
    assert _ids.MAX_LENGTH == NAME_LENGTH < MAX_NAME_LENGTH


def test_workers_and_the_monitor_have_the_same_limits_for_compressed_messages() -> None:
    in_workers = numbers(worker_limits)

    assert in_workers.keys() >= {"LZMA_MEMORY_BYTES", "MAX_BODY_BYTES", "MAX_VALUES"}
    assert in_workers.items() <= numbers(monitor_limits).items()


def test_both_count_the_values_of_a_message_alike() -> None:
    ours, theirs = worker_count.has_more_values, monitor_count.has_more_values

    assert getsource(ours) == getsource(theirs)
    assert worker_count._TOKEN == monitor_count._TOKEN
    assert worker_count._TOKENS_PER_VALUE == monitor_count._TOKENS_PER_VALUE


def test_workers_take_every_compressed_message_that_the_monitor_takes() -> None:
    for size in (1, 999, 10**4, 10**6, 10**7):
        assert worker_count.max_values(size) >= monitor_count.max_values(size)


def test_both_parse_durations_alike() -> None:
    assert getsource(durations) == getsource(_durations)
