"""Checks that the BUILD files say what the sources import: part of `make lint`, needs no Bazel.

Every Python file of the rooms must be the source of a target. The target's deps must be exactly the
project's modules that its sources import, at the top or inside functions. `build_files.py --write`
rewrites the tables of modules and tests (MODULES, TESTS), and what a package itself imports
(PACKAGE), accordingly.
"""
import ast
import os
import re
import sys

ROOMS = ('', 'l2o', 'l2o/commandline', 'l2o/evaluation', 'l2o/metatraining', 'l2o/runs',
         'l2o/techniques', 'optimizer', 'problems', 'examples', 'benchmarks', 'tools', 'tests')
RUNNER = 'tests/run_pytest.py'
RULES = ('py_library', 'py_binary', 'py_test')


class Package:
    """The Python targets of one BUILD file, which is executed as Python with recording rules."""

    def __init__(self, folder):
        self.folder, self.targets = folder, {}
        names = dict.fromkeys(('load', 'package', 'exports_files', 'filegroup'),
                              lambda *args, **kwargs: None)
        names['glob'] = lambda patterns, **_: [
            name for name in os.listdir(folder or '.') if name in patterns]
        names.update(dict.fromkeys(RULES, self._add))
        with open(os.path.join(folder, 'BUILD'), encoding='utf-8') as build:
            exec(compile(build.read(), build.name, 'exec'), names)

    def _add(self, name, srcs, deps=(), **_):
        sources = [os.path.join(self.folder, source) for source in srcs]
        self.targets['//%s:%s' % (self.folder, name)] = (
            [source for source in sources if source != RUNNER],
            {self._absolute(dep) for dep in deps})

    def _absolute(self, label):
        if label.startswith(':'):
            return '//%s%s' % (self.folder, label)
        return label if ':' in label else '%s:%s' % (label, os.path.basename(label))


def imported_files(path):
    """The project's files that a file imports."""
    with open(path, encoding='utf-8') as source:
        tree = ast.parse(source.read())
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            below = {'%s.%s' % (node.module, alias.name) for alias in node.names}
            submodules = {module for module in below if module_file(module)}
            modules.update(submodules)
            if submodules != below:
                modules.add(node.module)
    return {module_file(module) for module in modules} - {None, path}


def module_file(module):
    """The project's file that holds a module, or None."""
    base = module.replace('.', '/')
    for path in (base + '.py', base + '/__init__.py'):
        if os.path.exists(path) and (os.path.getsize(path) or not path.endswith('__init__.py')):
            return path
    return None


def complaints():
    """A line for each difference between BUILD files and sources."""
    targets = {}
    for room in ROOMS:
        targets.update(Package(room).targets)
        yield from _repeated_keys(os.path.join(room, 'BUILD'))
    owners = {source: label for label, (sources, _) in targets.items() for source in sources}
    for room in ROOMS:
        for name in sorted(os.listdir(room or '.')):
            path = os.path.join(room, name)
            if name.endswith('.py') and path != RUNNER and os.path.getsize(path):
                if path not in owners:
                    yield '%s is in no target of %s' % (path, os.path.join(room, 'BUILD'))
    for label, (sources, declared) in targets.items():
        files = set().union(*[imported_files(source) for source in sources])
        needed = {owners[file] for file in files if file in owners} - {label}
        for dep in sorted(needed - declared):
            yield '%s lacks %s' % (label, dep)
        for dep in sorted(declared - needed):
            yield '%s does not need %s' % (label, dep)


def _repeated_keys(path):
    """A line for each key that a table has twice, which Bazel refuses and Python does not."""
    with open(path, encoding='utf-8') as build:
        tables = [node for node in ast.walk(ast.parse(build.read())) if isinstance(node, ast.Dict)]
    for table in tables:
        keys = [key.value for key in table.keys if isinstance(key, ast.Constant)]
        for key in sorted({key for key in keys if keys.count(key) > 1}):
            yield '%s has %s twice in one table' % (path, key)


def write():
    """Rewrites the table of each BUILD file from the imports."""
    for room in ROOMS:
        files = [name for name in sorted(os.listdir(room or '.')) if name.endswith('.py')]
        modules = [name for name in files if name not in ('__init__.py', 'conftest.py')
                   and os.path.join(room, name) != RUNNER]
        implied = [os.path.join(room, name) for name in files if name == 'conftest.py']
        rows = [_row(room, name, implied) for name in modules]
        package = ['    %s,\n' % label for label in _labels(room, [
            os.path.join(room, name) for name in files if name == '__init__.py'])]
        with open(os.path.join(room, 'BUILD'), encoding='utf-8') as build:
            text = build.read()
        text = re.sub(r'(?ms)^(MODULES|TESTS) = \{.*?^\}', r'\1 = {\n%s}' % ''.join(rows), text)
        text = re.sub(r'(?ms)^PACKAGE = \[.*?^\]', 'PACKAGE = [\n%s]' % ''.join(package), text)
        with open(os.path.join(room, 'BUILD'), 'w', encoding='utf-8') as build:
            build.write(text)


def _labels(room, paths):
    """What these files of a room import, as a BUILD file writes it."""
    files = set().union(*[imported_files(path) for path in paths])
    return sorted('"%s"' % _label(file, room) for file in files)


def _row(room, name, implied):
    labels = _labels(room, [os.path.join(room, name)] + implied)
    row = '    "%s": [%s],\n' % (name[:-3], ', '.join(labels))
    if len(row) > 100:
        lines = ''.join('        %s,\n' % label for label in labels)
        row = '    "%s": [\n%s    ],\n' % (name[:-3], lines)
    return row


def _label(file, room):
    folder, name = os.path.split(file)
    target = os.path.basename(folder) if name == '__init__.py' else name[:-3]
    if folder == room:
        return ':%s' % target
    return '//%s' % folder if target == os.path.basename(folder) else '//%s:%s' % (folder, target)


def main(arguments):
    if arguments == ['--write']:
        write()
    found = list(complaints())
    print('\n'.join(found) or 'The BUILD files agree with the sources.')
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
