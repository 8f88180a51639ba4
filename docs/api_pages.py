"""For the site: pages of the API show every optimizer of the table, every module of a folder."""

import ast
import os
import re

#: Lines of a page that stand for what is shown there.
OPTIMIZERS = '<!-- the optimizers of the table -->'
MODULES = re.compile('<!-- the modules of (.*) -->')


def on_page_markdown(markdown, config, **_):
    """What mkdocs calls with the text of each page."""
    root = os.path.dirname(os.path.dirname(config.config_file_path))
    markdown = MODULES.sub(lambda place: _shown(modules(root, place.group(1))), markdown)
    return markdown.replace(OPTIMIZERS, _shown(classes(root)))


def _shown(paths):
    return '\n\n'.join('::: ' + path for path in paths)


def modules(root, folder):
    """The dotted paths of the modules in a folder of the project, which is in the folder `root`."""
    return ['%s.%s' % (folder.replace('/', '.'), name[:-3])
            for name in sorted(os.listdir(os.path.join(root, folder)))
            if name.endswith('.py') and name != '__init__.py']


def classes(root):
    """The dotted paths of the classes in the table of optimizers, OPTIMIZERS."""
    with open(os.path.join(root, 'optimizer', '__init__.py'), encoding='utf-8') as source:
        tree = ast.parse(source.read())
    paths = {alias.name: '%s.%s' % (node.module, alias.name) for node in tree.body
             if isinstance(node, ast.ImportFrom) for alias in node.names}
    table, = (node.value for node in tree.body if isinstance(node, ast.Assign)
              and getattr(node.targets[0], 'id', None) == 'OPTIMIZERS')
    return [paths[node.id] for node in ast.walk(table)
            if isinstance(node, ast.Name) and node.id in paths]
