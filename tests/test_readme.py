"""README: the code on using a learned optimizer runs as it stands; the speed table is measured."""

import os
import re
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf

from benchmarks import report

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SECTION = 'Use a learned optimizer in your model'


def blocks(kind):
    """The code blocks ```python (kind '') or ```python KIND of the section."""
    path = os.path.join(ROOT, 'README.md')
    text = open(path, encoding='utf-8').read() if os.path.exists(path) else ''
    found = re.search(r'^## %s\n(.*?)(?=^## |\Z)' % SECTION, text, re.DOTALL | re.MULTILINE)
    if not found:
        pytest.skip('README.md has no section "%s"' % SECTION)
    return re.findall(r'^```python%s\n(.*?)^```' % (' ' + kind if kind else ''), found.group(1),
                      re.DOTALL | re.MULTILINE)


def test_graph_blocks(run_folder, tmp_path):
    """One after another, as a reader would type them."""
    code = blocks('')
    names = {'folder': run_folder, 'checkpoints': str(tmp_path)}
    assert code
    for block in code:
        exec(block, names)
    assert tf.train.latest_checkpoint(str(tmp_path)).endswith('model.ckpt-20')


@pytest.mark.slow
@pytest.mark.skipif(tf.__version__ < '2', reason='TensorFlow 1 has no Keras 3')
def test_keras_blocks(run_folder, tmp_path):
    code = blocks('keras')
    assert code
    prelude = 'folder, checkpoints = %r, %r\n' % (run_folder, str(tmp_path))
    done = subprocess.run([sys.executable, '-c', prelude + ''.join(code)], cwd=ROOT,
                          stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()


def test_speed_table_is_what_was_measured():
    with open(report.README, encoding='utf-8') as file:
        text = file.read()
    table = report.table(report.read())
    assert table.count('\n') == 2 + len(report._ROWS)
    assert report.place(text, table) == text, 'run: python -m benchmarks.report'


def test_table_of_pretrained_optimizers_is_what_was_measured():
    with open(os.path.join(ROOT, 'pretrained', 'results.md'), encoding='utf-8') as file:
        table = file.read().split('\n\n')[0]
    with open(report.README, encoding='utf-8') as file:
        assert table in file.read(), 'copy it from pretrained/results.md'
