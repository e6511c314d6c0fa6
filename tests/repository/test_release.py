"""The checks of `hatch run release`, on packages in a temporary repository."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from release.builds import export
from release.checks import find_problems
from release.installs import public_modules
from release.project import Project

CHANGELOG = "# Changelog\n\n## 0.2.0\n\n- New: a thing.\n\n## 0.1.0\n\nFirst.\n"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A package of version 0.2.0 that can be released, after 0.1.0."""
    project = Project(tmp_path, "workertoolbox-demo")
    project.folder.mkdir(parents=True)
    write(project, "pyproject.toml", '[project]\nname = "demo"\nversion = "0.2.0"\n')
    write(project, "CHANGELOG.md", CHANGELOG)
    run_git(project, "init", "--quiet")
    commit(project)
    run_git(project, "tag", "workertoolbox-demo-v0.1.0")
    run_git(project, "tag", "workertoolbox-other-v9.0.0")
    return project


def write(project: Project, name: str, text: str) -> None:
    """Write a file of the package."""
    (project.folder / name).write_text(text, "utf-8")


def run_git(project: Project, *words: str) -> None:
    """Run a Git command, without the configuration of the user."""
    user = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    unsigned = ["-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"]
    command = ["git", "-C", str(project.root), *user, *unsigned, *words]
    subprocess.run(command, check=True, capture_output=True)


def commit(project: Project) -> None:
    """Commit all files."""
    run_git(project, "add", "--all")
    run_git(project, "commit", "--quiet", "--message", "change")


def test_a_complete_package_can_be_released(project: Project) -> None:
    assert find_problems(project) == []
    assert project.tag == "workertoolbox-demo-v0.2.0"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('dynamic = ["version"]', "has no static version"),
        ('version = "0.2"', "CHANGELOG.md has no changes under '## 0.2'"),
        ('version = "0.2.0-rc1"', "not in the normal form of PEP 440"),
        ('version = "next"', "not in the normal form of PEP 440"),
        ('version = "0.0.9"', "not greater than 0.1.0, the last release"),
        ('version = "0.1.0"', "the tag workertoolbox-demo-v0.1.0 exists"),
        ('version = "0.3.0"', "no changes under '## 0.3.0'"),
    ],
)
def test_a_version_that_cannot_be_released_is_a_problem(
    project: Project, line: str, problem: str
) -> None:
    write(project, "pyproject.toml", f'[project]\nname = "demo"\n{line}\n')
    commit(project)
    [found] = find_problems(project)

    assert problem in found


def test_versions_are_compared_as_versions(project: Project) -> None:
    for version in ("0.10.0", "0.9.0", "notes"):
        run_git(project, "tag", f"workertoolbox-demo-v{version}")
    [found] = find_problems(project)

    assert "not greater than 0.10.0" in found


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("- New: a thing.\n", "", "no changes under '## 0.2.0'"),
        ("## 0.2.0", "## Unreleased\n\n- More.\n\n## 0.2.0", "under '## Unreleased'"),
    ],
)
def test_a_changelog_without_the_changes_of_the_version_is_a_problem(
    project: Project, old: str, new: str, problem: str
) -> None:
    write(project, "CHANGELOG.md", CHANGELOG.replace(old, new))
    commit(project)
    [found] = find_problems(project)

    assert problem in found


@pytest.mark.parametrize("change", ["edit", "add"])
def test_files_that_are_not_committed_are_a_problem(
    project: Project, change: str
) -> None:
    name = "CHANGELOG.md" if change == "edit" else "notes.txt"
    write(project, name, CHANGELOG + "\nMore.\n")
    [found] = find_problems(project)

    assert name in found


def test_only_modules_that_users_may_import_are_imported(tmp_path: Path) -> None:
    wheel = tmp_path / "demo.whl"
    with ZipFile(wheel, "w") as archive:
        for name in ("__init__", "_private/a", "web/__init__", "web/_b", "web/c"):
            archive.writestr(f"demo/{name}.py", "")
        archive.writestr("demo/migrations/env.py", "")
        archive.writestr("demo/py.typed", "")

    assert public_modules(wheel) == ["demo", "demo.web", "demo.web.c"]


def test_a_revision_is_exported_without_what_is_not_committed(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write(project, "notes.txt", "")
    export_to: Callable[[str], Path] = tmp_path_factory.mktemp("copy").joinpath
    copy = export(project.root, "HEAD", export_to("tree"))

    files = sorted(path.name for path in copy.rglob("*") if path.is_file())
    assert files == ["CHANGELOG.md", "pyproject.toml"]
