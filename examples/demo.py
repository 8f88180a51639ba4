"""What the project is for, in two minutes: `make demo`, or `python -m examples.demo [FOLDER]`.

A shipped optimizer, with nothing to tune, beside Adam, Muon and schedule-free AdamW, each with a
grid of learning rates; then some seconds of meta-training. Both are commands of the project; it
shows them.
"""

import json
import os
import re
import shlex
import subprocess
import sys

from problems import image_files

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: Where images come from, the best first -> steps: the 1,500 digits are soon learned by heart.
STEPS = {'fashion': 300, 'digits': 100}
EPISODES = 20
COMPARISON = [
    '--learned=normalized_mlp', '--test_optimizer=L2o,Adam,Muon,ScheduleFreeAdamW',
    '--learning_rates=0.001,0.003,0.01,0.02,0.05', '--include_convnet_problems', '--seeds=6,12,18',
    '--finalists=1', '--equal_time', '--jobs=2']
#: The published command, shortened: episodes of one length in place of the curriculum, so that all
#: validations are alike, and a meta-learning rate at which seconds are enough.
TRAINING = [
    '--include_mnist_mlp_problems', '--num_problems=1', '--num_meta_iterations=%d' % EPISODES,
    '--fix_unroll', '--fix_unroll_length=20', '--evaluation_period=5', '--evaluation_epochs=5',
    '--use_second_derivatives=False', '--if_mt=True', '--mt_ratio=0.1', '--mt_k=1',
    '--mini_batch_size=2000', '--meta_optimizer=adam', '--meta_learning_rate=2e-3', '--seed=1',
    '--overwrite']


def main(folder='demo'):
    source = 'fashion' if image_files.fashion_is_here() else 'digits'
    steps, results = STEPS[source], os.path.join(folder, 'comparison')
    run('metatest', ['--save_dir=' + results, '--image_source=' + source,
                     '--num_testing_itrs=%d' % steps] + COMPARISON)
    said = run('metarun', ['--train_dir=' + os.path.join(folder, 'training'),
                           '--image_source=' + source] + TRAINING, stdout=subprocess.PIPE)
    with open(os.path.join(results, 'summary.json'), encoding='utf-8') as file:
        seen = what_was_seen(json.load(file), steps, said)
    print('\nSeen:\n%s\nLook at: %s' % ('\n'.join(seen), ', '.join(
        os.path.join(results, name) for name in ('summary.md', 'curves.png', 'report.html'))))


def run(script, flags, stdout=None):
    """Runs a script of the project, after the command is shown; what it says, if that is piped."""
    print('\n$ %s' % ' '.join(map(shlex.quote, ['python', script + '.py'] + flags)), flush=True)
    process = subprocess.Popen([sys.executable, os.path.join(ROOT, script + '.py')] + flags,
                               stdout=stdout, universal_newlines=True)
    lines = []
    for line in process.stdout or ():
        lines.append(line)
        print(line, end='', flush=True)
    if process.wait():
        sys.exit(process.returncode)
    return ''.join(lines)


def what_was_seen(found, steps, said):
    """Three lines.

    Args:
      found: what `summary.json` of the comparison holds.
      steps: of the comparison.
      said: what the meta-training said.
    """
    learned, = [row for row in found['summaries'] if row['learning_rate'] is None]
    rules = [row for row in found['summaries'] if row['best'] and row is not learned]
    costs = list(map(float, re.findall(r', validation ([^\s,]+)', said)))
    return [
        '1. Training (held-out) loss after %d steps: %s, untuned, %s; at the best of 5 rates: %s.'
        % (steps, learned['optimizer'], losses(learned),
           ', '.join('%s %s' % (name(row), losses(row)) for row in rules)),
        '2. The same after %.1f s, the time of these steps: %s %s; %s.' % (
            steps * learned['step_time'], learned['optimizer'], losses(learned),
            ', '.join('%s %s' % (name(each['summary']), losses(each))
                      for each in found['equal_time'])),
        '3. Meta-training, %d episodes, took the validation from %.3g to %.3g.' % (
            EPISODES, costs[0], min(costs))]


def name(row):
    return '%s %g' % (row['optimizer'], row['learning_rate'])


def losses(row):
    final, held_out = row['final'], row['held_out_loss']
    return '%s (%s)' % ('diverged' if final is None else '%.3g' % final,
                        '-' if held_out is None else '%.3g' % held_out)


if __name__ == '__main__':
    try:
        main(*sys.argv[1:2])
    except KeyboardInterrupt:  # the scripts have said so
        sys.exit(130)
