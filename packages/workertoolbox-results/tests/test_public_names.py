from __future__ import annotations

import pickle

import pytest

from cadasta.workertoolbox import results


def test_every_public_name_is_there_and_sorted() -> None:
    assert results.__all__ == sorted(results.__all__)
    assert all(hasattr(results, name) for name in results.__all__)


@pytest.mark.parametrize(
    "error",
    [
        kind("something")
        for kind in (getattr(results, name) for name in results.__all__)
        if isinstance(kind, type) and issubclass(kind, results.ResultsError)
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_pickling(error: results.ResultsError) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert isinstance(error, results.ResultsError)
