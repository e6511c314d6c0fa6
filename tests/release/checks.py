"""Checks of version, changelog, tag and tree, without a build."""

from __future__ import annotations

from collections.abc import Iterator

from packaging.version import Version

from release.project import Project, changes, git, is_version

#: The heading of changes that no release has.
UNRELEASED = "Unreleased"


def find_problems(project: Project) -> list[str]:
    """Return what prevents a release, each with what to do."""
    problems = [*_version_problems(project)]
    if not problems:
        problems = [*_changelog_problems(project), *_tag_problems(project)]
    return [*problems, *_tree_problems(project)]


def _version_problems(project: Project) -> Iterator[str]:
    version = project.version
    if not version or "version" in project.metadata.get("dynamic", ()):
        yield "pyproject.toml has no static version; write one under [project]"
        return
    if not is_version(version) or str(Version(version)) != version:
        yield (
            f"version {version!r} is not in the normal form of PEP 440; write it as "
            "in 1.2.0"
        )
        return
    earlier = [each for each in project.released() if each != version]
    if earlier and Version(version) < Version(earlier[-1]):
        yield (
            f"version {version} is not greater than {earlier[-1]}, the last release; "
            "raise it"
        )


def _changelog_problems(project: Project) -> Iterator[str]:
    sections = changes(project)
    if not sections.get(project.version):
        yield (
            f"CHANGELOG.md has no changes under '## {project.version}'; write what is "
            "new for users"
        )
    if sections.get(UNRELEASED):
        yield (
            f"CHANGELOG.md has changes under '## {UNRELEASED}'; move them to "
            f"'## {project.version}'"
        )


def _tag_problems(project: Project) -> Iterator[str]:
    if project.version in project.released():
        yield (
            f"the tag {project.tag} exists: this version is released already; raise "
            "the version"
        )


def _tree_problems(project: Project) -> Iterator[str]:
    if changed := git(project.root, "status", "--porcelain").splitlines():
        shown = ", ".join(line[3:] for line in changed[:3])
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        yield f"files are not committed: {shown}{more}; commit or remove them"
