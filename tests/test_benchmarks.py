"""That the benchmarks run; what they measure is nothing to assert."""

import json

import pytest

from benchmarks import measuring, memory, run


@pytest.mark.slow
def test_everything_runs_at_tiny_sizes(tmp_path):
    lines = []
    results = run.run(run.TINY, show=lines.append)
    run.write(results, str(tmp_path))
    with open(str(tmp_path / 'results.json')) as file:
        written = json.load(file)['results']
    assert len(lines) == len(results) == len(written)
    assert {'step', 'unroll', 'step/parameters', 'step/tensors', 'unroll/length'} <= {
        result['group'] for result in written}
    assert all(result['value'] > 0 for result in written)


def test_memory_is_measured():
    assert memory.peak(length=2, examples=10) > 10


def test_times_are_taken_in_turns():
    order = []
    functions = {name: lambda name=name: order.append(name) for name in 'ab'}
    times = measuring.in_turns(functions, repeats=2, warm_up=1)
    assert ''.join(order) == 'ababab'
    assert times['a'].repeats == 2
