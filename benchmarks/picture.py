"""The picture of how costs grow."""

PANELS = (
    ('step/parameters', 'a step, ms', 'parameters (4 tensors)'),
    ('step/tensors', 'a step, ms', 'tensors (50 x 50)'),
    ('unroll/parameters', 'an unroll of 10 steps, ms', 'parameters'),
    ('unroll/length', 'an unroll, ms', 'steps'),
    ('unroll/examples', 'an unroll of 20 steps, ms', 'examples of the objective'),
    ('memory/length', 'peak memory of the process, MB', 'steps of a training unroll'),
)

#: Name of a line -> its colour.
COLOURS = {'HierarchicalRNN': 'C3', 'training': 'C3', 'everything kept': 'C3', 'validation': 'C1',
           'checkpoint_every': 'C2', 'Adam': 'C0', 'SGD': 'C7', 'bare': 'C7'}
LABELS = {'bare': 'bare objective and gradient', 'checkpoint_every': 'with --checkpoint_every'}


def draw(results, path):
    """Draws the results of the growth benchmarks into a PNG file; needs matplotlib."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(2, 3, figsize=(13, 7.5))
    for axis, (group, value, size) in zip(axes.flat, PANELS):
        points = [result for result in results if result.group == group]
        for name in sorted({result.name for result in points}, key=list(COLOURS).index):
            line = sorted([result for result in points if result.name == name],
                          key=lambda result: result.size)
            sizes, low, values, high = zip(*[(result.size, result.low, result.value, result.high)
                                             for result in line])
            axis.loglog(sizes, values, marker='o', color=COLOURS[name],
                        label=LABELS.get(name, name))
            axis.fill_between(sizes, low, high, color=COLOURS[name], alpha=0.2)
        axis.set_xlabel(size)
        axis.set_ylabel(value)
        axis.grid(alpha=0.3)
        if points:
            axis.legend(fontsize='small')
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
