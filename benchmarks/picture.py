"""The picture of how costs grow."""

PANELS = (
    ('step/parameters', 'a step, ms', 'parameters'),
    ('step/tensors', 'a step, ms', 'tensors'),
    ('unroll/parameters', 'an unroll of 10, ms', 'parameters'),
    ('unroll/length', 'an unroll, ms', 'steps'),
    ('unroll/examples', 'an unroll of 20, ms', 'examples'),
    ('memory/length', 'peak memory, MB', 'steps'),
)


def draw(results, path):
    """Draws the results of the growth benchmarks into a PNG file; needs matplotlib."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(2, 3, figsize=(12, 6.5))
    for axis, (group, value, size) in zip(axes.flat, PANELS):
        points = [result for result in results
                  if result.group == group and result.unit in ('ms', 'MB')]
        for name in sorted({result.name for result in points}):
            line = sorted((result.size, result.value) for result in points if result.name == name)
            axis.loglog(*zip(*line), marker='o', label=name)
        axis.set_xlabel(size)
        axis.set_ylabel(value)
        axis.grid(alpha=0.3)
        if points:
            axis.legend(fontsize='small')
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
