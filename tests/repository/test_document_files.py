"""Installations, service files and probes in the documents are correct."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml  # type: ignore[import-untyped]

from support.documents import DOCUMENTS, ROOT, blocks, celery_commands

OPERATIONS = DOCUMENTS["docs/how-to/operations.md"].read_text("utf-8")

#: A package of the toolbox, with its extras, after `pip install`.
PACKAGE = re.compile(r"(workertoolbox-\w+)(?:\[([\w,]+)\])?")


def test_the_packages_to_install_have_the_extras() -> None:
    lines = [
        line
        for file in DOCUMENTS.values()
        for line in re.findall(r"pip install (.*)", file.read_text("utf-8"))
    ]
    wanted = {found for line in lines for found in PACKAGE.findall(line)}

    assert len(wanted) > 8
    for package, extras in wanted:
        text = (ROOT / f"packages/{package}/pyproject.toml").read_text("utf-8")
        known = tomllib.loads(text)["project"]["optional-dependencies"]
        assert {each for each in extras.split(",") if each} <= {*known}


def test_an_installation_from_a_clone_names_the_folder_of_each_package() -> None:
    text = DOCUMENTS["README.md"].read_text("utf-8")
    folders = {each.parent.name for each in ROOT.glob("packages/*/pyproject.toml")}
    [command] = re.findall(r"^ {4}pip install (.*\./packages/.*)$", text, re.MULTILINE)
    paths = [each.partition("[")[0] for each in shlex.split(command)]

    # pip would look for a package that is left out in the index.
    assert sorted(paths) == sorted(f"./packages/{name}" for name in folders)


def test_the_unit_of_systemd_starts_a_documented_monitor() -> None:
    [text] = blocks(OPERATIONS, "ini")
    unit = configparser.RawConfigParser(strict=True)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text.text)

    assert unit.sections() == ["Unit", "Service", "Install"]
    [command] = celery_commands(unit["Service"]["ExecStart"])
    folder = unit["Service"]["RuntimeDirectory"]
    assert command[-1] == f"/run/{folder}/healthy"


def test_the_container_runs_a_monitor_whose_file_its_probes_look_at() -> None:
    [text] = blocks(OPERATIONS, "dockerfile")
    [command] = re.findall(r"^CMD (\[.*\])$", text.text, re.MULTILINE)
    words = json.loads(command)
    file = words[words.index("--health-file") + 1]

    assert words[:5] == ["celery", "-A", "export", "tasks", "monitor"]
    assert [*celery_commands(shlex.join(words))] == [words[1:]]
    assert f"find {file} " in text.text.partition("HEALTHCHECK")[2]
    assert f"find {file} " in liveness_command()[2]


def liveness_command() -> list[str]:
    """Return the command of the probe of Kubernetes."""
    [pod] = (each for each in yaml_documents() if "containers" in each)
    command: list[str] = pod["containers"][0]["livenessProbe"]["exec"]["command"]
    return command


def yaml_documents() -> list[dict[str, Any]]:
    return [yaml.safe_load(each.text) for each in blocks(OPERATIONS, "yaml")]


@pytest.mark.parametrize(("age_s", "code"), [(5, 0), (120, 1), (None, 1)])
def test_a_probe_fails_if_the_file_is_old_or_missing(
    age_s: int | None, code: int, tmp_path: Path
) -> None:
    file = tmp_path / "healthy"
    if age_s is not None:
        file.touch()
        at = file.stat().st_mtime - age_s
        os.utime(file, (at, at))
    [probe] = re.findall(r"^    (test -n .*)$", OPERATIONS, re.MULTILINE)
    shell, option, command = liveness_command()
    for each in (probe, command):
        here = re.sub(r"(?<=find )\S+", str(file), each)

        done = subprocess.run([shell, option, here], stderr=subprocess.DEVNULL)
        assert done.returncode == code


def test_the_autoscaler_asks_for_metrics_in_promql() -> None:
    [scaled] = (each for each in yaml_documents() if each.get("kind") == "ScaledObject")
    queries = [each["metadata"]["query"] for each in scaled["spec"]["triggers"]]
    described = re.findall(r"^\| `(workertoolbox_\w+)", OPERATIONS, re.MULTILINE)

    assert len(queries) == 2
    for query in queries:
        metric = re.findall(r"workertoolbox_\w+", str(promql_parser.parse(query)))
        assert {*metric} <= {*described}
