"""Each setting is declared once; an option changes the training that it is given beside."""

import json
import subprocess
import sys

import numpy as np
import pytest

import metaopt
from l2o import bounds, names, settings
from l2o.metatraining import config, options
from l2o.techniques import evolution_strategies, imitation, random_scaling, regularization
from l2o.techniques.curriculum import Curriculum
from optimizer import OPTIMIZERS
from problems import problem_generator as pg
from problems.problem_spec import Row, Spec
from tools import names as names_tool

QUADRATIC = Row(Spec(pg.Quadratic, (3,), {'random_seed': 1}))

#: A training in which nothing is as by default.
MINE = metaopt.MetaTraining(
    curriculum=Curriculum.fixed(8, 6), unroll_length=4, late_emphasis=0.25,
    imitation=metaopt.Imitation('sgd', 0.5), validation=metaopt.Validation(1, 1),
    penalty=regularization.Penalty('jacob', on_optimizer=True, time='always'),
    wrappers={'random_scaling': random_scaling.Scaling((2.0,))},
    meta_optimizer=metaopt.MetaOptimizer('adam', learning_rate=1e-2, gradient_clip=1.0))


def changed(training=MINE, **given):
    return options.described(training, metaopt.Run(), given)[0]


# The table.


def test_names_are_those_of_the_tables():
    """Else: python -m tools.names --write."""
    for name, (_, table) in names_tool.tables().items():
        assert getattr(names, name) == table, name


def test_every_setting_is_a_field_of_the_records():
    """Each can be read from, and written to, a training in which its part is on."""
    training = metaopt.MetaTraining()
    on = {
        'drawn': training, 'fixed': training._replace(curriculum=Curriculum.fixed(3),
                                                      unroll_length=2),
        'curriculum': training._replace(curriculum=Curriculum(), unroll_length=2),
        'scheduled': training._replace(episodes=config.EpisodeSchedule((4,)), unroll_length=2),
        'pes': training._replace(evolution=evolution_strategies.Config()),
        'imitation': training._replace(imitation=imitation.Imitation()),
        'penalty': training._replace(penalty=regularization.Penalty()),
        'random_scaling': training._replace(wrappers={'random_scaling': random_scaling.Scaling()})}
    for name, setting in settings.settings().items():
        for part in setting.of if setting.field else ():
            value = settings.default(name)
            assert options.get(options.put(on[part], setting.field, value), setting.field) == (
                value), name
    assert {part for row in settings.settings().values() for part in row.of} == set(on)


def test_a_record_has_the_defaults_of_the_table():
    """What a technique's record holds where it was just turned on."""
    training = changed(metaopt.MetaTraining(), if_mt=True, reg_optimizer=True, random_scaling=True,
                       meta_gradient='pes')
    for technique in settings.techniques():
        for setting in technique.settings:
            found = options.get(training, technique.field + '.' + setting.field)
            assert found == setting.stored(setting.default), setting.name


@pytest.mark.parametrize('script', ['metarun', 'metatest'])
@pytest.mark.parametrize('arguments', [['--help'], ['--helpfull'], ['--mt_ratio=2', '--jobs=0']])
def test_help_and_wrong_flags_need_no_tensorflow(script, arguments):
    program = (
        'import runpy, sys\n'
        'sys.argv = [%r] + %r\n'
        'try:\n'
        '    runpy.run_module(%r, run_name="__main__", alter_sys=True)\n'
        'finally:\n'
        '    assert "tensorflow" not in sys.modules\n') % (script, arguments, script)
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert 'AssertionError' not in done.stderr and done.returncode in (0, 1, 2)
    assert script in done.stdout + done.stderr


# Options.


@pytest.mark.parametrize('option, field, value', [
    ('evaluation_epochs', 'validation.epochs', 2), ('late_emphasis', 'late_emphasis', 0.5),
    ('mt_ratio', 'imitation.ratio', 0.75), ('alpha', 'penalty.alpha', 0.5),
    ('reg_optimizee', 'penalty.on_optimizee', True), ('fix_unroll_length', 'unroll_length', 3),
    ('fix_num_steps_eval', 'curriculum.last_validation_steps', 7),
    ('meta_learning_rate', 'meta_optimizer.learning_rate', 0.5),
    ('meta_optimizer', 'meta_optimizer.name', 'rmsprop'),
    ('scaling_ranges', 'wrappers.random_scaling.ranges', (0.0, 1.0)),
    ('objective_training_max_multiplier', 'obj_train_max_multiplier', 2.0)])
def test_an_option_changes_the_given_training_and_nothing_else_of_it(option, field, value):
    assert options.get(MINE, field) != value
    assert changed(**{option: value}) == options.put(MINE, field, value)


@pytest.mark.parametrize('option', [
    {'if_mt': True}, {'reg_optimizer': True}, {'random_scaling': True}, {'fix_unroll': True},
    {'meta_gradient': 'backprop'}, {'if_cl': False}, {'episode_steps': (0,)}])
def test_turning_on_what_is_on_changes_nothing(option):
    assert changed(**option) == MINE


def test_switches_turn_parts_on_and_off():
    off = changed(if_mt=False, reg_optimizer=False, random_scaling=False)
    default = metaopt.MetaTraining()
    assert off == MINE._replace(imitation=None, penalty=default.penalty, wrappers={})
    again = changed(off, if_mt=True, mt_k=3, reg_optimizee=True)
    assert again.imitation == metaopt.Imitation(steps_per_label=3)
    assert again.penalty == regularization.Penalty(on_optimizee=True)
    assert changed(fix_unroll=False) == MINE._replace(
        curriculum=Curriculum.drawn(6), unroll_length=default.unroll_length)
    assert changed(if_cl=True).curriculum == Curriculum()
    scheduled = changed(episode_steps=(2, 4), episode_shares=(0, 0.5), fix_num_steps=8)
    assert scheduled == MINE._replace(episodes=config.EpisodeSchedule((2, 4), (0, 0.5)))
    assert changed(scheduled, episode_steps=(0,)) == MINE


@pytest.mark.parametrize('option, needs', [
    ({'mt_ratio': 0.5}, 'if_mt'), ({'alpha': 0.5}, 'reg_optimizer or reg_optimizee'),
    ({'pes_pairs': 3}, 'meta_gradient'), ({'scaling_of': 'tensors'}, 'random_scaling'),
    ({'cl_patience': 2}, 'if_cl=True'), ({'fix_num_steps': 5}, 'fix_unroll=True'),
    ({'short_episodes': 0.5}, 'episode_steps')])
def test_an_option_that_would_change_nothing_is_refused(option, needs):
    name, = option
    with pytest.raises(ValueError, match='^%s=.* would change nothing without .*%s' % (
            name, needs)):
        changed(metaopt.MetaTraining(), **option)


def test_an_option_of_what_is_off_goes_with_the_word_that_it_is_off():
    """As published scripts call it, with all keywords."""
    assert changed(metaopt.MetaTraining(), if_mt=False, mt_ratio=0.5, mt_k=2, if_cl=False,
                   cl_patience=2) == metaopt.MetaTraining()


@pytest.mark.parametrize('option, allowed', [
    ({'mt_ratio': 2.0, 'if_mt': True}, 'a number from 0 to 1'),
    ({'evaluation_epochs': 0}, 'a positive number'),
    ({'meta_optimizer': 'sgd'}, 'one of rmsprop, adam')])
def test_an_option_out_of_bounds_is_refused(option, allowed):
    with pytest.raises(ValueError, match='^%s must be %s' % (next(iter(option)), allowed)):
        changed(metaopt.MetaTraining(), **option)


def test_an_argument_beside_an_option_of_the_same_setting_is_refused(tmp_path):
    with pytest.raises(TypeError, match='meta_learning_rate is given twice'):
        train(tmp_path, learning_rate=1.0, meta_learning_rate=2.0)


def test_bounds():
    assert bounds.allows(bounds.SHARE, 1) and not bounds.allows(bounds.BELOW_ONE, 1.0)
    assert not bounds.allows(bounds.POSITIVE, 1e-50) and not bounds.allows(bounds.ANY, 'x')
    assert not bounds.allows(('a', 'b'), ['a', 'c']) and bounds.allows(('a', 'b'), ['a'])


# Runs.


def train(folder, training=MINE, num_meta_iterations=1, **given):
    given = dict(dict(seed=3, out=None), **given)
    return metaopt.train_optimizer(
        str(folder), Spec(OPTIMIZERS['GlobalLearningRate'], (1e-2,), {}), [QUADRATIC], 1,
        num_meta_iterations, training=training, **given)


def recorded(folder):
    with np.load(str(folder / 'state.npz')) as arrays:
        return json.loads(str(arrays['facts']))['training']


def test_arguments_and_options_are_recorded_as_one_training(tmp_path):
    train(tmp_path, learning_rate=0.5, evaluation_epochs=2)
    expected = MINE._replace(validation=metaopt.Validation(1, 2),
                             meta_optimizer=MINE.meta_optimizer._replace(learning_rate=0.5))
    assert recorded(tmp_path) == json.loads(json.dumps(config.as_data(expected)))


@pytest.mark.parametrize('change, named', [
    ({'learning_rate': 10.0}, 'meta_optimizer.learning_rate was 0.01, is 10.0'),
    ({'gradient_clip': 0.0}, 'meta_optimizer.gradient_clip was 1.0, is 0.0'),
    ({'obj_train_max_multiplier': 2.0}, 'obj_train_max_multiplier was -1.0, is 2.0'),
    ({'late_emphasis': 0.5}, 'late_emphasis was 0.25, is 0.5')])
def test_a_run_does_not_go_on_with_another_training(change, named, tmp_path):
    train(tmp_path)
    with pytest.raises(ValueError, match=named):
        train(tmp_path, num_meta_iterations=2, **change)


def test_a_state_without_the_newest_setting_of_evolution_strategies_goes_on():
    present = json.loads(json.dumps(config.as_data(
        metaopt.MetaTraining(evolution=evolution_strategies.Config()))))
    older = json.loads(json.dumps(present))
    older['evolution'].pop('reuse')
    assert config.upgraded(older, present) == present


def test_a_state_of_an_older_version_goes_on():
    """Its record has the scales of random scaling beside the rest, and no learning rate."""
    present = json.loads(json.dumps(config.as_data(MINE)))
    older = json.loads(json.dumps(present))
    scaling = older.pop('wrappers')['random_scaling']
    older.update(scaling_ranges=scaling['ranges'], scaling_of=scaling['unit'], num_unrolls=None)
    older.pop('obj_train_max_multiplier')
    for name in ('learning_rate', 'gradient_clip'):
        older['meta_optimizer'].pop(name)
    older['imitation'].pop('ratios')
    assert config.upgraded(older, present) == present
    listed = dict(present, imitation=dict(present['imitation'], teacher=['sgd']))
    assert config.upgraded(older, listed) == listed
    drawn = json.loads(json.dumps(config.as_data(metaopt.MetaTraining())))
    older = dict(drawn, scaling_ranges=[], scaling_of='coordinates',
                 curriculum=dict(drawn['curriculum'], stages=[100]))
    older.pop('wrappers')
    assert config.upgraded(older, drawn) == drawn
