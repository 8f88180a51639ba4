"""Makes the notebook `examples/meta_train.ipynb` from the page `examples/meta_train.py`.

The docstring and the comments that follow an empty line become text; what stands between them,
code. A test checks that the notebook is what this makes.
"""

import ast
import json
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE = os.path.join(ROOT, 'examples', 'meta_train.py')
NOTEBOOK = os.path.join(ROOT, 'examples', 'meta_train.ipynb')
#: What finds the project where it is not installed.
FIRST_CELL = "import sys\n\nsys.path.insert(0, '..')  # where the project is not installed"


def made_from(page):
    """The notebook of a page, as JSON holds it."""
    with open(page, encoding='utf-8') as file:
        text = file.read()
    title, _, rest = ast.get_docstring(ast.parse(text)).partition('\n\n')
    title = '# ' + title.split(':')[0] + '\n\n' + rest
    code = text.split('"""', 2)[2]
    cells = [_cell(0, 'markdown', title), _cell(1, 'code', FIRST_CELL)]
    for part in re.split(r'\n\n+(?=# )', code):
        comment = re.match(r'(# .*\n)*', part).group()
        if comment:
            cells.append(_cell(len(cells), 'markdown', re.sub('(?m)^# ', '', comment)))
        cells.append(_cell(len(cells), 'code', part[len(comment):]))
    kernel = {'display_name': 'Python 3', 'language': 'python', 'name': 'python3'}
    return {'cells': cells, 'metadata': {'kernelspec': kernel}, 'nbformat': 4, 'nbformat_minor': 5}


def _cell(index, kind, text):
    cell = {'cell_type': kind, 'id': 'cell-%d' % index, 'metadata': {},
            'source': text.strip().splitlines(True)}
    return cell if kind == 'markdown' else dict(cell, execution_count=None, outputs=[])


if __name__ == '__main__':
    with open(NOTEBOOK, 'w', encoding='utf-8') as notebook:
        json.dump(made_from(PAGE), notebook, indent=1)
        notebook.write('\n')
