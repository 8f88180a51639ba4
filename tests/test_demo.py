"""The demo: what it says is what its two commands have found; its page needs nothing else."""

import json
import os
import re

import pytest

from examples import demo


def summary(optimizer, rate, final, held_out_loss, best=True):
    return {'optimizer': optimizer, 'learning_rate': rate, 'final': final, 'best': best,
            'held_out_loss': held_out_loss, 'step_time': 0.01}


def test_what_was_seen_is_what_was_found():
    rules = [summary('SGD', 0.1, 0.5, 0.625), summary('SGD', 1.0, None, None, best=False),
             summary('Adam', 0.01, 0.375, 0.25)]
    found = {'summaries': [summary('normalized_mlp', None, 0.125, 0.1875)] + rules,
             'equal_time': [{'summary': rules[2], 'num_steps': 400, 'final': 0.3125,
                             'held_out_loss': None}]}
    said = ('meta-iteration 0, stage 1, validation 2.5 (best), 3 s\n'
            'meta-iteration 5, stage 1, meta-objective -1, validation 1.5 (best), 4 s\n'
            'meta-iteration 10, stage 1, meta-objective -1, validation 1.75, 5 s\n'
            'Best validation 1.5 after 10 meta-iterations: model.ckpt-0\n')
    assert demo.what_was_seen(found, 300, said) == [
        '1. Training (held-out) loss after 300 steps: normalized_mlp, untuned, 0.125 (0.188); at '
        'the best of 5 rates: SGD 0.1 0.5 (0.625), Adam 0.01 0.375 (0.25).',
        '2. The same after 3.0 s, the time of these steps: normalized_mlp 0.125 (0.188); Adam '
        '0.01 0.312 (-).',
        '3. Meta-training, %d episodes, took the validation from 2.5 to 1.5.' % demo.EPISODES]


@pytest.mark.slow
def test_the_demo_runs_in_a_folder_with_a_space(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(demo, 'COMPARISON', demo.COMPARISON + [
        '--num_testing_itrs=5', '--seeds=6', '--learning_rates=0.01', '--jobs=1'])
    monkeypatch.setattr(demo, 'TRAINING', demo.TRAINING + [
        '--num_meta_iterations=1', '--evaluation_epochs=1', '--fix_num_steps=20'])
    monkeypatch.setattr(demo.image_files, 'fashion_is_here', lambda: False)
    folder = str(tmp_path / 'my demo')
    demo.main(folder)
    text = capfd.readouterr().out
    assert re.search(r'1\. .*normalized_mlp.*\n2\. .*Adam 0\.01.*\n3\. .*validation from', text)
    files = re.search('Look at: (.*)', text).group(1).split(', ')
    assert all(os.path.getsize(path) for path in files)
    with open(os.path.join(folder, 'comparison', 'report.html'), encoding='utf-8') as file:
        page = file.read()
    assert set(re.findall('(?:src|href)="(.{22})', page)) == {'data:image/png;base64,'}
    assert 'digits (scikit-learn' in page
    with open(os.path.join(folder, 'comparison', 'summary.json'), encoding='utf-8') as file:
        assert len(json.load(file)['summaries']) == 4
