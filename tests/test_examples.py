"""The examples run and train. The Keras one in a process of its own, with eager execution."""

import json
import os
import re
import runpy
import subprocess
import sys

import pytest
import tensorflow.compat.v1 as tf

from examples import adapt, own_problem, session
from problems import own_file
from tools import notebook

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGES = ('meta_train', 'own_rule')


def run_page(name):
    """The names that a page leaves behind."""
    return runpy.run_path(os.path.join(ROOT, 'examples', name + '.py'))


def numbers(pattern, text):
    """All numbers that the group of a pattern finds."""
    return [float(number) for number in re.findall(pattern, text)]


@pytest.mark.parametrize('name', PAGES)
def test_a_page_to_start_from_is_short(name):
    with open(os.path.join(ROOT, 'examples', name + '.py'), encoding='utf-8') as file:
        assert len(file.readlines()) < 50


@pytest.mark.slow
@pytest.mark.usefixtures('mode_of_the_scripts')
def test_meta_training_in_python_improves_the_validation(capsys):
    run_page('meta_train')
    losses = numbers(r'loss (\S+) after 100 steps', capsys.readouterr().out)
    assert losses[-1] < 0.5 < losses[0]


@pytest.mark.slow
@pytest.mark.usefixtures('mode_of_the_scripts')
def test_a_rule_of_ones_own_is_trained(capsys):
    page = run_page('own_rule')
    untrained, trained = numbers(r'loss (\S+) after 100', capsys.readouterr().out)
    assert trained < 0.5 * untrained
    assert os.path.exists(os.path.join(page['folder'], 'model.ckpt-0.index'))


def test_problems_of_ones_own_are_those_of_the_page():
    rows = own_file.rows(own_problem.__file__ + ':rows')
    assert [row.name for row in rows] == ['regression', 'my_model']


@pytest.mark.slow
@pytest.mark.usefixtures('mode_of_the_scripts')
def test_problems_of_ones_own_are_trained_on_and_optimized(tmp_path, capsys):
    own_problem.main(str(tmp_path), episodes=1, rates=(1e-3, 3e-2))
    text = capsys.readouterr().out
    losses = dict(re.findall(r'^(.*): loss (\S+) after 300 steps$', text, re.MULTILINE))
    learned = [float(losses['%s, %s' % (problem, name)]) for problem in ('regression', 'my_model')
               for name in ('normalized_mlp', str(tmp_path))]
    assert max(learned) < 2.0


@pytest.mark.slow
@pytest.mark.usefixtures('mode_of_the_scripts')
def test_a_shipped_optimizer_is_adapted_to_a_model(tmp_path, capsys):
    adapt.main(str(tmp_path), episodes=10, rates=(1e-3,))
    losses = dict(re.findall(r'(\w+) .*loss (\S+), held out', capsys.readouterr().out))
    assert float(losses['adapted']) < 0.8 * float(losses['shipped'])


def test_the_notebook_is_the_page():
    with open(notebook.NOTEBOOK, encoding='utf-8') as file:
        assert json.load(file) == notebook.made_from(notebook.PAGE), (
            'run: python tools/notebook.py')


@pytest.mark.slow
@pytest.mark.skipif(tf.__version__ < '2', reason='the notebook is run on TensorFlow 2 only')
def test_the_notebook_runs():
    """In the folder of the notebook, as Jupyter does it."""
    import nbclient
    import nbformat

    with open(notebook.NOTEBOOK, encoding='utf-8') as file:
        pages = nbformat.read(file, as_version=4)
    nbformat.validate(pages)
    nbclient.NotebookClient(pages, timeout=600, kernel_name='python3', resources={
        'metadata': {'path': os.path.dirname(notebook.NOTEBOOK)}}).execute()
    text = ''.join(output.get('text', '') for cell in pages.cells
                   for output in cell.get('outputs', ()))
    losses = numbers(r'loss (\S+) after 100 steps', text)
    assert losses[-1] < 0.5 < losses[0]


def test_session(run_folder):
    losses = session.main(run_folder)
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.slow
@pytest.mark.skipif(tf.__version__ < '2', reason='TensorFlow 1 has no Keras 3')
def test_keras_fit(run_folder):
    output = subprocess.check_output([sys.executable, '-m', 'examples.keras_fit', run_folder],
                                     cwd=ROOT, stderr=subprocess.DEVNULL).decode()
    first, last = numbers(r'(\S+) at', output)
    assert last < 0.7 * first
