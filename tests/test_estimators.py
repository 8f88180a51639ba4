"""Every option with every estimator of the meta-gradient: it works or is refused, never ignored."""

import numpy as np
import pytest

import metaopt
from conftest import small
from l2o.metatraining.config import Run
from optimizer import OPTIMIZERS
from problems import datasets
from problems.classifiers import SoftmaxRegression
from problems.problem_spec import Row, Spec

pytestmark = pytest.mark.usefixtures('mode_of_the_scripts')

ESTIMATORS = {'backprop': {}, 'segments': {'checkpoint_every': 2},
              'pes': {'meta_gradient': 'pes', 'pes_pairs': 1}}

#: Option -> its settings, and the estimators that refuse it, by what they then name.
OPTIONS = {
    'an early end': ({'objective_training_max_multiplier': 0.999}, {}),
    'imitation': ({'if_mt': True, 'mt_ratio': 1.0}, {'pes': 'if_mt'}),
    'a penalty of the optimizer': (
        {'reg_optimizer': True, 'alpha': 0.1, 'reg_option': 'jacob', 'regularize_time': 'always'},
        {'pes': 'reg_optimizer'}),
    'a penalty of the optimizee': (
        {'reg_optimizee': True, 'beta': 100.0, 'reg_option': 'jacob', 'regularize_time': 'always'},
        {'pes': 'reg_optimizee'}),
    'random scaling': ({'random_scaling': True}, {}),
    'objectives of batches': ({'meta_objective_of': 'batches'}, {}),
    'objectives of other batches': ({'meta_objective_of': 'other_batches'}, {}),
    'the published sum': ({'meta_objective': 'published_sum'},
                          {'pes': 'meta_objective=published_sum'}),
    'late emphasis': ({'late_emphasis': 1.0}, {}),
    'episodes of unknown length': ({'unplanned_episodes': 1.0}, {}),
    'normal starts': ({'initial_params': 'normal'}, {}),
    'state carried on': ({'reset_rnn_params': False}, {}),
    'a curriculum': ({'if_cl': True, 'cl_steps': (4, 8)}, {}),
    'a schedule of episodes': ({'episode_steps': (12,)}, {}),
}
#: Those that change how results come about, not what they are.
WITHOUT_EFFECT = {
    'memory in segments': ({'checkpoint_every': 3}, {'pes': 'checkpoint_every'}),
    'swapped memory': ({'swap_memory': True}, {'pes': 'swap_memory', 'segments': 'swap_memory'}),
}


def trained(folder, changes, name='TrainableAdam', **arguments):
    """The optimizer's meta-parameters after two episodes of two unrolls, as one array."""
    rng = np.random.RandomState(0)
    data = datasets.Dataset(rng.normal(size=(40, 4)).astype('float32'), rng.randint(3, size=40))
    changes = dict(dict(fix_unroll=True, fix_num_steps=8, fix_unroll_length=4, evaluation_epochs=1,
                        fix_num_steps_eval=2), **changes)
    if 'if_cl' in changes or 'episode_steps' in changes:
        del changes['fix_unroll'], changes['fix_num_steps']
    if 'if_cl' in changes:
        del changes['fix_num_steps_eval']
    metaopt.train_optimizer(
        str(folder), Spec(OPTIMIZERS[name], (), small(name, **arguments)),
        [Row(Spec(SoftmaxRegression, (4, 3), {}), data, 5)], 1, 2, learning_rate=0.5,
        gradient_clip=0.0, run=Run(seed=1), out=None, **changes)
    with np.load(str(folder / 'state.npz')) as arrays:
        return np.concatenate([arrays[name].ravel() for name in sorted(arrays.files)
                               if name.startswith('values/LOL/') and 'RMSProp' not in name])


@pytest.fixture(name='plain', scope='module')
def _plain(tmp_path_factory):
    """A function: what an estimator makes of an optimizer without any option; computed once."""
    found = {}

    def find(estimator, name):
        if (estimator, name) not in found:
            found[estimator, name] = trained(tmp_path_factory.mktemp(estimator),
                                             ESTIMATORS[estimator], name)
        return found[estimator, name]

    return find


def check(plain, folder, estimator, option, has_effect):
    changes, refused_by = option
    # Only this one is told how long training is.
    name = 'NormalizedMLP' if 'unplanned_episodes' in changes else 'TrainableAdam'
    if estimator in refused_by:
        with pytest.raises(ValueError, match=refused_by[estimator]) as refusal:
            trained(folder, dict(ESTIMATORS[estimator], **changes), name)
        assert all(word in str(refusal.value) for word in list(ESTIMATORS[estimator])[:1])
        return
    with_option = trained(folder, dict(ESTIMATORS[estimator], **changes), name)
    without = plain(estimator, name)
    same = with_option.shape == without.shape and np.allclose(
        with_option, without, rtol=1e-5, atol=1e-5)  # float32 sums in another order
    assert np.isfinite(with_option).all() and same != has_effect


@pytest.mark.slow
@pytest.mark.parametrize('estimator', sorted(ESTIMATORS))
@pytest.mark.parametrize('option', sorted(OPTIONS))
def test_an_option_has_an_effect_or_is_refused(plain, tmp_path, estimator, option):
    check(plain, tmp_path, estimator, OPTIONS[option], has_effect=True)


@pytest.mark.slow
@pytest.mark.parametrize('estimator', sorted(ESTIMATORS))
@pytest.mark.parametrize('option', sorted(WITHOUT_EFFECT))
def test_what_saves_memory_leaves_results_as_they_are_or_is_refused(plain, tmp_path, estimator,
                                                                    option):
    check(plain, tmp_path, estimator, WITHOUT_EFFECT[option], has_effect=False)


@pytest.mark.slow
def test_reused_perturbations_have_an_effect(plain, tmp_path):
    check(plain, tmp_path, 'pes', ({'pes_reuse': True}, {}), has_effect=True)


@pytest.mark.slow
def test_evolution_strategies_refuse_an_optimizer_without_second_derivatives(tmp_path):
    with pytest.raises(ValueError, match='use_second_derivatives=False.*meta_gradient=pes'):
        trained(tmp_path, ESTIMATORS['pes'], use_second_derivatives=False)
