from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class AnyUUID(doctest.OutputChecker):
    """Accepts any id where the README shows one."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return super().check_output(
            UUID.sub("…", want), UUID.sub("…", got), optionflags
        )


def test_the_examples_run_and_the_first_prints_what_the_readme_shows() -> None:
    text = README.read_text("utf-8")
    code, queues = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(queues, {})
    [session] = re.findall(r"```pycon\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace('"sqs://"', '"memory://"'), names)
    names["app"].control.purge()  # Other tests use the same memory.
    example = doctest.DocTestParser().get_doctest(
        session, names, "README", str(README), 0
    )
    report: list[str] = []
    results = doctest.DocTestRunner(AnyUUID()).run(example, out=report.append)

    assert results.attempted == 2
    assert results.failed == 0, "".join(report)
