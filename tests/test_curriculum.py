"""The curriculum on scripted sequences of validation costs."""
import math

import pytest

from l2o.settings import PUBLISHED_STAGES
from l2o.techniques.curriculum import Curriculum, CurriculumState, Verdict

STAYS = Verdict(improved=False, advanced=False, finished=False)
IMPROVES = Verdict(improved=True, advanced=False, finished=False)
ADVANCES = Verdict(improved=False, advanced=True, finished=False)
FINISHES = Verdict(improved=False, advanced=False, finished=True)


def run(curriculum, costs, state=None):
    """The verdicts on a sequence of costs, and the last state."""
    state, verdicts = state or CurriculumState(), []
    for cost in costs:
        state, verdict = curriculum.update(state, cost)
        verdicts.append(verdict)
    return verdicts, state


def test_published_stages():
    curriculum, start = Curriculum(), CurriculumState()
    assert PUBLISHED_STAGES[0] == curriculum.train_steps(start) == 100
    assert curriculum.validation_steps(start) == 200
    assert PUBLISHED_STAGES[-1] == 5000


def test_a_stage_ends_as_published():
    """From the third validation on, the first that does not improve; none improved: the end."""
    verdicts, state = run(Curriculum(), [5., 4., 3., 3.5])
    assert verdicts == [IMPROVES, IMPROVES, IMPROVES, ADVANCES]
    assert state == CurriculumState(stage=1)
    verdicts, state = run(Curriculum(), [7., 8., 8.], state.begin(7.))
    assert verdicts == [STAYS, STAYS, FINISHES]
    assert state.stage == 1 and state.best_cost == 7.


def test_what_is_to_beat_is_the_best_at_the_new_length():
    """As both published programs do it; longer trajectories may cost more."""
    _, state = run(Curriculum(), [5., 4., 3., 3.5])
    verdicts, state = run(Curriculum(), [9.5, 9., 8.8, 8.9], state.begin(9.2))
    assert verdicts == [STAYS, IMPROVES, IMPROVES, ADVANCES]
    assert state == CurriculumState(stage=2)


@pytest.mark.parametrize('cost', [math.nan, math.inf])
def test_where_the_best_explodes_at_the_new_length_anything_finite_is_better(cost):
    state = CurriculumState(stage=1).begin(cost)
    assert run(Curriculum(), [100.], state)[0] == [IMPROVES]
    assert run(Curriculum(), [cost, cost, cost], state)[0] == [STAYS, STAYS, FINISHES]


def test_a_scripted_run_through_all_stages():
    curriculum = Curriculum(stages=(10, 20, 50), patience=2)
    verdicts, state = run(curriculum, [3., 4.])
    assert verdicts == [IMPROVES, ADVANCES]
    assert (curriculum.train_steps(state), curriculum.validation_steps(state)) == (20, 50)
    verdicts, state = run(curriculum, [5., 2., 1., 1.], state.begin(4.))
    assert verdicts == [STAYS, IMPROVES, IMPROVES, ADVANCES]
    assert (curriculum.train_steps(state), curriculum.validation_steps(state)) == (50, 50)
    assert run(curriculum, [0.5, 0.6], state.begin(1.))[0] == [IMPROVES, FINISHES]


def test_a_stage_that_improves_late_goes_on():
    assert run(Curriculum(stages=(10, 20), patience=2), [3., 2., 1., 0.5])[0] == 4 * [IMPROVES]


@pytest.mark.parametrize('cost', [math.nan, math.inf, -math.inf])
def test_a_cost_that_is_not_finite_never_improves(cost):
    curriculum = Curriculum(stages=(10, 20), patience=2)
    assert run(curriculum, [cost, cost])[0] == [STAYS, FINISHES]
    verdicts, state = run(curriculum, [1., cost, 0.5])
    assert verdicts == [IMPROVES, ADVANCES, IMPROVES]
    assert state.best_cost == 0.5


def test_fixed_length_is_one_stage_without_end():
    curriculum, start = Curriculum.fixed(train_steps=20, validation_steps=100), CurriculumState()
    assert (curriculum.train_steps(start), curriculum.validation_steps(start)) == (20, 100)
    verdicts, _ = run(curriculum, [1.] + 50 * [2.] + [0.5])
    assert verdicts == [IMPROVES] + 50 * [STAYS] + [IMPROVES]
    assert Curriculum.fixed(20).validation_steps(start) == 20


def test_other_problems_begin_the_stage_anew():
    curriculum = Curriculum(stages=(10, 20), patience=2)
    _, state = run(curriculum, [1., 2.])
    _, state = run(curriculum, [3.], state.begin(1.5))
    assert state.stage == 1 and state.validations == 1
    assert run(curriculum, [9.], state.compare_anew())[0] == [IMPROVES]
    assert state.compare_anew().stage == 1


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
        Curriculum(**arguments).check()
