"""README and docs/: their code runs, their commands parse, their tables are those measured."""

import glob
import os
import re
import shlex
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf
from absl import flags as absl_flags

from benchmarks import pages, report
from l2o.commandline import flags

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
README, USE, QUALITY = (os.path.join(ROOT, *path) for path in (
    ['README.md'], ['docs', 'use.md'], ['docs', 'quality.md']))
PAGES = [README] + sorted(glob.glob(os.path.join(ROOT, 'docs', '*.md')))


def text(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def blocks(path, language):
    """The code blocks of a page in this language."""
    return re.findall(r'^```%s\n(.*?)^```' % language, text(path), re.DOTALL | re.MULTILINE)


def python_blocks(path, keras):
    """Those of Keras, which needs a program of its own, or the others."""
    found = [block for block in blocks(path, 'python') if ('optimizer.keras' in block) == keras]
    assert found
    return found


def run_in_eager_mode(code, folder):
    done = subprocess.run([sys.executable, '-c', code], cwd=str(folder), stderr=subprocess.PIPE,
                          env=dict(os.environ, PYTHONPATH=ROOT))
    assert done.returncode == 0, done.stderr.decode()


def test_the_five_lines_of_readme_train():
    weights = tf.get_variable('weights', [3], initializer=tf.zeros_initializer())
    names = {'loss': tf.reduce_sum(tf.square(weights - 1.0))}
    for block in python_blocks(README, keras=False):
        exec(block, names)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(50):
            session.run(names['train'])
        assert session.run(names['loss']) < 1.5


def test_graph_blocks(monkeypatch, tmp_path):
    """One after another, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in python_blocks(USE, keras=False):
        exec(block, names)
    assert tf.train.latest_checkpoint('checkpoints').endswith('model.ckpt-20')


@pytest.mark.slow
@pytest.mark.skipif(tf.__version__ < '2', reason='TensorFlow 1 has no Keras 3')
def test_keras_blocks(tmp_path):
    run_in_eager_mode(''.join(python_blocks(USE, keras=True) + python_blocks(README, keras=True)),
                      tmp_path)


@pytest.mark.parametrize('page', PAGES, ids=os.path.basename)
def test_commands_have_flags_that_exist(page):
    """All of `metarun.py` and `metatest.py` but those with a gap: `...`."""
    for command in ''.join(blocks(page, 'sh')).replace('\\\n', ' ').splitlines():
        words = shlex.split(command, comments=True)
        script = next((name for name in ('metarun', 'metatest') if name + '.py' in words), None)
        if script and '...' not in command and '$' not in command:
            values = absl_flags.FlagValues()
            flags.define(getattr(flags, script.upper()), values)
            assert values(words[words.index(script + '.py'):])[1:] == []


def test_speed_table_is_what_was_measured():
    table = report.table(report.read())
    assert table.count('\n') == 2 + len(report._ROWS)
    page = text(report.PAGE)
    assert pages.place(page, report.SPEED, table) == page, 'run: python -m benchmarks.report'
    of_gpu = report.gpu_table(report.read(report.GPU_RESULTS))
    assert pages.place(page, report.GPU, of_gpu) == page, 'run: python -m benchmarks.report'


def test_table_of_pretrained_optimizers_is_what_was_measured():
    table = text(os.path.join(ROOT, 'pretrained', 'results.md')).split('\n\n')[0]
    assert table in text(QUALITY), 'copy it from pretrained/results.md'
    real_tasks = text(os.path.join(ROOT, 'pretrained', 'real_tasks.md')).split('\n\n')[:2]
    assert all(each.strip() in text(QUALITY) for each in real_tasks), (
        'copy it from pretrained/real_tasks.md')
