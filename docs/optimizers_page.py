"""For the site: the page of the optimizers shows every class of the table, in its order."""

import ast
import os

#: In the page, the line that stands for all of them.
PLACE = '<!-- the optimizers of the table -->'


def on_page_markdown(markdown, config, **_):
    """What mkdocs calls with the text of each page."""
    if PLACE not in markdown:
        return markdown
    root = os.path.dirname(os.path.dirname(config.config_file_path))
    return markdown.replace(PLACE, '\n\n'.join('::: ' + path for path in classes(root)))


def classes(root):
    """Of the project in the folder `root`: the dotted paths of the classes in OPTIMIZERS."""
    with open(os.path.join(root, 'optimizer', '__init__.py'), encoding='utf-8') as source:
        tree = ast.parse(source.read())
    paths = {alias.name: '%s.%s' % (node.module, alias.name) for node in tree.body
             if isinstance(node, ast.ImportFrom) for alias in node.names}
    table, = (node.value for node in tree.body if isinstance(node, ast.Assign)
              and ast.unparse(node.targets[0]) == 'OPTIMIZERS')
    return [paths[node.id] for node in ast.walk(table)
            if isinstance(node, ast.Name) and node.id in paths]
