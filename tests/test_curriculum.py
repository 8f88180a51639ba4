"""The curriculum on scripted sequences of validation costs."""
import json
import math

import pytest

from techniques.curriculum import PUBLISHED_STAGES, Curriculum, Verdict

STAYS = Verdict(improved=False, advanced=False, finished=False)
IMPROVES = Verdict(improved=True, advanced=False, finished=False)
ADVANCES = Verdict(improved=False, advanced=True, finished=False)
FINISHES = Verdict(improved=False, advanced=False, finished=True)


def run(curriculum, costs):
    return [curriculum.update(cost) for cost in costs]


def test_published_stages():
    curriculum = Curriculum()
    assert PUBLISHED_STAGES[0] == curriculum.train_steps == 100
    assert curriculum.validation_steps == 200
    assert PUBLISHED_STAGES[-1] == 5000


def test_a_scripted_run_through_all_stages():
    curriculum = Curriculum(stages=(10, 20, 50), patience=2)
    assert run(curriculum, [3., 2., 2.5, 1., 1., 1.5]) == [
        IMPROVES, IMPROVES, STAYS, IMPROVES, STAYS, ADVANCES]
    assert (curriculum.stage, curriculum.train_steps, curriculum.validation_steps) == (1, 20, 50)
    # Costs of a longer stage may be higher: they are not compared with those before.
    assert curriculum.at_stage_start
    assert run(curriculum, [7., 8., 9.]) == [IMPROVES, STAYS, ADVANCES]
    assert (curriculum.stage, curriculum.train_steps, curriculum.validation_steps) == (2, 50, 50)
    assert run(curriculum, [5., 6., 4., 4., 6.]) == [IMPROVES, STAYS, IMPROVES, STAYS, FINISHES]
    assert curriculum.finished and curriculum.stage == 2 and curriculum.best_cost == 4.


def test_the_last_published_stage_validates_on_its_own_length():
    curriculum = Curriculum(patience=1)
    lengths = []
    while not curriculum.finished:
        lengths.append((curriculum.train_steps, curriculum.validation_steps))
        run(curriculum, [1., 2.])
    assert lengths == list(zip(PUBLISHED_STAGES, PUBLISHED_STAGES[1:] + (5000,)))


@pytest.mark.parametrize('cost', [math.nan, math.inf, -math.inf])
def test_a_cost_that_is_not_finite_never_improves(cost):
    curriculum = Curriculum(stages=(10, 20), patience=2)
    assert run(curriculum, [cost, cost]) == [STAYS, ADVANCES]
    assert run(curriculum, [1., cost, 0.5]) == [IMPROVES, STAYS, IMPROVES]
    assert curriculum.best_cost == 0.5


def test_fixed_length_is_one_stage_without_end():
    curriculum = Curriculum.fixed(train_steps=20, validation_steps=100)
    assert (curriculum.train_steps, curriculum.validation_steps) == (20, 100)
    verdicts = run(curriculum, [1.] + 50 * [2.] + [0.5])
    assert verdicts == [IMPROVES] + 50 * [STAYS] + [IMPROVES]
    assert Curriculum.fixed(20).validation_steps == 20


COSTS = [3., 4., 2., 2., 9., 9., 9.5, math.nan, 8., 8., 8., 8.]


@pytest.mark.parametrize('cut', range(len(COSTS)))
def test_a_restored_curriculum_goes_on_as_if_never_stopped(cut):
    whole = Curriculum(stages=(10, 20, 30), patience=2)
    expected = run(whole, COSTS)
    stopped = Curriculum(stages=(10, 20, 30), patience=2)
    before = run(stopped, COSTS[:cut])
    saved = json.loads(json.dumps(stopped.state(), allow_nan=False))
    resumed = Curriculum(stages=(10, 20, 30), patience=2)
    resumed.restore(saved)
    assert resumed.at_stage_start == stopped.at_stage_start
    assert before + run(resumed, COSTS[cut:]) == expected
    assert resumed.state() == whole.state()


def test_the_state_of_other_stages_is_refused():
    state = Curriculum(stages=(10, 20)).state()
    with pytest.raises(ValueError, match=r'\[10, 20\].*\[10, 30\]'):
        Curriculum(stages=(10, 30)).restore(state)


@pytest.mark.parametrize('arguments, message', [
    (dict(stages=()), 'at least one stage'),
    (dict(stages=(0, 10)), 'at least 1 step'),
    (dict(stages=(10, 10)), 'must increase'),
    (dict(stages=(20, 10)), 'must increase'),
    (dict(patience=0), 'patience'),
    (dict(last_validation_steps=0), 'validation'),
])
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Curriculum(**arguments)
