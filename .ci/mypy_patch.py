"""Tells mypy of the methods that fastcore's `@patch` adds to a class, which it cannot see.

Their types are not checked, but that they exist is."""
import re
from collections import defaultdict
from pathlib import Path

from mypy.plugin import Plugin
from mypy.plugins.common import add_attribute_to_class
from mypy.types import AnyType, TypeOfAny

METHOD = re.compile(r'^@patch.*\n(?:@.*\n)*def (\w+)\(\s*\w+: *(\w+)', re.MULTILINE)
PATCHED = defaultdict(set)  # name of a class: names of methods
for path in Path('hear_nb').rglob('*.py'):
    for method, cls in METHOD.findall(path.read_text(encoding='utf-8')): PATCHED[cls].add(method)


def add_methods(context):
    for name in PATCHED[context.cls.name]:
        if name not in context.cls.info.names:
            add_attribute_to_class(context.api, context.cls, name, AnyType(TypeOfAny.explicit))


class Patched(Plugin):
    def get_customize_class_mro_hook(self, fullname):
        return add_methods if fullname.startswith('hear_nb.') and fullname.rpartition('.')[2] in PATCHED else None


def plugin(version): return Patched
