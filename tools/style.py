"""Checks what ruff has no rule for, so that there is one style of it: part of `make lint`.

Types come by `from typing import ...`, strings are formatted with %, and what a section of a
docstring (Args:, Returns:, ...) holds is indented by two more columns than its head.
"""
import ast
import glob
import os
import re
import sys

from tools.build_files import ROOMS

SECTION = re.compile(r'( *)(Args|Args and attributes|Attributes|Raises|Returns|Yields):')


def complaints(path):
    """Pairs (line, what is to be done there)."""
    with open(path, encoding='utf-8') as source:
        tree = ast.parse(source.read())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and 'typing' in [alias.name for alias in node.names]:
            yield node.lineno, 'write `from typing import ...`'
        if isinstance(node, ast.JoinedStr) or _is_format_call(node):
            yield node.lineno, 'format strings with %'
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            yield from _of_docstring(node)


def _is_format_call(node):
    return (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            and node.func.attr == 'format' and isinstance(node.func.value, ast.Constant))


def _of_docstring(node):
    text = ast.get_docstring(node, clean=False) or ''
    lines = text.split('\n')
    for index, (line, following) in enumerate(zip(lines, lines[1:])):
        head = SECTION.fullmatch(line)
        if head and re.match(' *', following).end() != head.end(1) + 2:
            yield node.body[0].lineno + index + 1, 'indent by 2 what `%s` holds' % line.strip()


def main():
    files = [path for room in ROOMS + ('docs', 'tests/clients')
             for path in sorted(glob.glob(os.path.join(room, '*.py')))]
    found = ['%s:%d: %s' % (path, line, words)
             for path in files for line, words in sorted(complaints(path))]
    print('\n'.join(found) or 'One style in %d files.' % len(files))
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
