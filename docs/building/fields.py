"""An extension of Griffe: lines of a docstring that say what a field or an argument is become a list.

So they stand for the fields of a class, whose types are in its signature.
"""

import re
from collections.abc import Iterator
from typing import Any

from griffe import Class, Extension, Module, Object

FIELD = re.compile(r"(?:^|(?<=    ))(\w+(?:, \w+)*): (?=\S)", re.MULTILINE)


class Fields(Extension):
    """`topic: whose direction it is.    basis: rows` as two items."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of a class or function."""
        if obj.docstring and (obj.is_class or obj.is_function):
            obj.docstring.value = as_list(obj.docstring.value)

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """Leave out the fields, each by itself; after Griffe's own extension has made signatures of them."""
        for found in _classes(pkg):
            for name, member in [*found.members.items()]:
                if member.is_attribute and "property" not in member.labels:
                    found.del_member(name)


def as_list(text: str) -> str:
    """A docstring in Markdown, its fields as items."""
    return re.sub(r" *\n?(?=\x00)", "\n", FIELD.sub("\x00\n- `\\1`: ", text)).replace("\x00", "")


def _classes(within: Object) -> Iterator[Class]:
    for member in within.members.values():
        if not member.is_alias and (member.is_class or member.is_module):
            yield from [member] if member.is_class else _classes(member)
