"""Reads XML from outside: no document types, no entities, no odd encodings; a broken document is one clear error."""

from __future__ import annotations

import re
from typing import Final
from xml.etree import ElementTree

from shoal.connect.feeds.feed import FeedError

_DECLARED: Final = re.compile(rb"""encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_ENCODINGS: Final = frozenset({b"utf-8", b"us-ascii", b"ascii", b"iso-8859-1", b"latin-1"})
_HEAD_BYTES: Final = 256


def parsed(feed: str, content: bytes) -> ElementTree.Element:
    """Return the root of a document.

    Raises:
        FeedError: when it is no well-formed XML, or carries a document type (which no feed here does).
    """
    head = content[:_HEAD_BYTES]
    declared = _DECLARED.search(head)
    if b"\x00" in head or (declared and declared[1].lower() not in _ENCODINGS):
        raise _error(feed, head.decode("latin-1"), "give XML in UTF-8")
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise _error(feed, head.decode("latin-1"), "give XML without a document type: entities are not taken")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise _error(feed, head.decode("latin-1"), f"the XML is broken or cut off ({error})") from error


def local(tag: str) -> str:
    """Return a tag without its name space, whose version changes from year to year."""
    return tag.rpartition("}")[2]


def children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Return the children of a name."""
    return [child for child in element if local(child.tag) == name]


def text_of(element: ElementTree.Element, *path: str) -> str:
    """Return the text at a path of names below an element; empty when there is none."""
    for name in path:
        found = children(element, name)
        if not found:
            return ""
        element = found[0]
    return (element.text or "").strip()


def _error(feed: str, value: str, fix: str) -> FeedError:
    return FeedError(feed=feed, field="document", value=value, fix=fix)
