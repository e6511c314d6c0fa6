"""Pages as trees, for tests that look at what a browser would see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

#: Elements without an end tag.
_VOID = frozenset(
    "area base br col embed hr img input link meta source track wbr".split()
)


@dataclass
class Element:
    """An element of a page.

    Attributes:
        tag: Its name, in lower case.
        attributes: Its attributes; those without a value have an empty one.
        children: Elements and texts in it.
    """

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text in it, with single spaces."""
        return " ".join("".join(self._texts()).split())

    @property
    def raw_text(self) -> str:
        """The text in it as it is written."""
        return "".join(self._texts())

    def all(self, tag: str = "", **attributes: str) -> list[Element]:
        """Return the elements in it with a tag and with attributes.

        Args:
            attributes: Their values; `class_` is one of the classes. An underscore in
                a name stands for a hyphen.
        """
        return [each for each in self._walk() if each.matches(tag, attributes)]

    def one(self, tag: str = "", **attributes: str) -> Element:
        """Return the only element in it with a tag and attributes.

        Raises:
            AssertionError: There are several, or there is no such element.
        """
        found = self.all(tag, **attributes)
        assert len(found) == 1, f"{len(found)} elements {tag} {attributes}"
        return found[0]

    def matches(self, tag: str, attributes: dict[str, str]) -> bool:
        """Return whether it has a tag, and attributes as for `all`."""
        if tag and self.tag != tag:
            return False
        for name, value in attributes.items():
            if name == "class_":
                if value not in self.attributes.get("class", "").split():
                    return False
            elif self.attributes.get(name.replace("_", "-")) != value:
                return False
        return True

    def _walk(self) -> Iterator[Element]:
        for each in self.children:
            if isinstance(each, Element):
                yield each
                yield from each._walk()

    def _texts(self) -> Iterator[str]:
        for each in self.children:
            if isinstance(each, Element):
                yield from each._texts()
            else:
                yield each


def parse(html: str) -> Element:
    """Return the tree of a page.

    Raises:
        AssertionError: An element is not closed, or closed twice.
    """
    builder = _Builder()
    builder.feed(html)
    builder.close()
    assert [each.tag for each in builder.open] == ["page"]
    return builder.open[0]


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("page")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len({*names}), f"{tag} has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> ends <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)
