"""What `--help` shows: the flags that most runs need, by group, and an example."""

import textwrap

from l2o.commandline.flags import METARUN, METATEST, groups

#: Script -> the flags that `--help` shows, besides those of the problem sets.
SHOWN = {
    METARUN: (
        'train_dir', 'overwrite', 'seed', 'image_source', 'data_dir', 'optimizer', 'num_problems',
        'num_meta_iterations', 'fix_unroll', 'fix_unroll_length', 'fix_num_steps',
        'meta_optimizer', 'meta_learning_rate', 'evaluation_period', 'evaluation_epochs', 'if_cl',
        'if_mt', 'reg_optimizer', 'reg_option', 'quiet'),
    METATEST: (
        'train_dir', 'save_dir', 'overwrite', 'image_source', 'data_dir', 'optimizer',
        'test_optimizer', 'learned', 'learning_rates', 'schedules', 'finalists', 'equal_time',
        'cards', 'jobs', 'num_testing_itrs', 'seeds', 'model_name', 'restore_model_name',
        'inspect', 'quiet'),
}

PURPOSES = {METARUN: 'Meta-trains a learned optimizer.',
            METATEST: 'Evaluates learned optimizers beside hand-tuned ones.'}

EXAMPLES = {
    METARUN: 'python -m metarun --train_dir=opt --optimizer=RNNProp --include_mnist_mlp_problems '
             '--random_scaling --fix_unroll --meta_objective_of=batches --num_meta_iterations=20 '
             '--evaluation_period=10 --evaluation_epochs=5 --meta_optimizer=adam '
             '--meta_learning_rate=3e-3',
    METATEST: 'python -m metatest --train_dir=opt/RNNProp_GRUCell_20_2 --save_dir=opt_eval '
              '--include_mnist_mlp_relu_problems --test_optimizer=L2o,Adam --finalists=1 '
              '--num_testing_itrs=500 --seeds=6,12',
}

WORDS = ('--help', '-help', '-h', '-?', '--?')  # arguments that ask for the page


def page(script: str, width: int = 100) -> str:
    """The text of `--help` of a script."""
    parts = ['%s For example:' % PURPOSES[script], _wrap(EXAMPLES[script], width, '  ', ' \\'), '']
    for title, flags in groups().items():
        chosen = [flag for flag in flags if flag.name in SHOWN[script]]
        if chosen:
            parts += ['%s:' % title] + [_entry(flag, script, width) for flag in chosen] + ['']
    parts.append(textwrap.fill(
        'Problems are chosen by --include_<set>_problems, of which --only=NAME,NAME picks some, or '
        'are your own: --problem=FILE.py:NAME. --helpfull lists all sets and all flags.', width,
        break_on_hyphens=False))
    return '\n'.join(parts)


def _entry(flag, script, width):
    default = flag.defaults[script]
    written = ','.join(map(str, default)) if isinstance(default, list) else str(default)
    return textwrap.fill('--%s: %s (default: %s)' % (flag.name, flag.help, written or 'empty'),
                         width, initial_indent='  ', subsequent_indent='      ',
                         break_on_hyphens=False, break_long_words=False)


def _wrap(command, width, indent, end):
    """A command line over several lines, as a shell takes it."""
    lines = textwrap.wrap(command, width - len(end), initial_indent=indent,
                          subsequent_indent=indent + '  ', break_on_hyphens=False)
    return (end + '\n').join(lines)
