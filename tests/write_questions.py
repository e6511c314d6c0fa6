"""Write the present output of each command into `docs/how-to/questions.md`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from support.questions_page import PAGE, answer, read_page
from support.sample_night import sample_night

if __name__ == "__main__":
    with TemporaryDirectory() as folder, sample_night(Path(folder)) as app:
        PAGE.write_text(answer(app, read_page(), Path(folder)), "utf-8")
