"""Each output of `docs/how-to/questions.md` is that of its command."""

from __future__ import annotations

import pytest

from support.questions_page import Question, answer, masked, questions, read_page
from support.sample_night import sample_night

PAGE = read_page()
QUESTIONS = questions(PAGE)


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The questions with the output of their commands, each after the one before."""
    folder = tmp_path_factory.mktemp("fleet")
    with sample_night(folder) as app:
        page = answer(app, PAGE, folder)
    return {each.title: each.text for each in questions(page)}


def test_the_page_has_forty_questions() -> None:
    numbers = [int(each.title.partition(".")[0]) for each in QUESTIONS]

    assert numbers == [*range(1, 41)]
    assert all("$ celery" in each.text for each in QUESTIONS)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda each: each.title)
def test_the_page_has_the_output_of_the_command(
    question: Question, answered: dict[str, str]
) -> None:
    assert masked(question.text) == masked(answered[question.title])
