"""The named sets of problems.

Every set is a function that returns a list of `problem_spec.Row`: problem, data, batch size, and
for tests held-out examples and a name. `PROBLEM_SETS` says which sets belong to each
`include_<name>_problems` flag. To add a set, write its function and add a row to the table.

Source: "Learned Optimizers that Scale and Generalize" (arXiv 1703.04813), section 4.1 and
appendix; the tests of "Training Stronger Baselines for Learning to Optimize" (arXiv 2010.09089).
"""

import collections
import functools
import math
from typing import Callable, List, NamedTuple, Optional, Sequence

import tensorflow.compat.v1 as tf

from problems import datasets, digits, digits_benchmark, dm_networks, tasks
from problems import problem_generator as pg
from problems.image_files import DataSource
from problems.model_adapter import ModelAdapter
from problems.problem_spec import Row, SeededRow, Spec


def _spec(problem, *args, **kwargs):
    return Spec(problem, args, kwargs)


def _row_seed(random_seed, index):
    """The seed of the data of a set's row number `index`."""
    return None if random_seed is None else random_seed + index


def _without_data(*specs):
    return [Row(spec, None, None) for spec in specs]


# Regressions and perceptrons on synthetic data.


def softmax_2_class_problems(noise_stdevs: Optional[Sequence[float]] = None) -> List[Row]:
    """Logistic regressions on clusters that overlap more or less."""
    sizes = [(10, 2.0, 100), (100, 1.0, 50), (200, 1.5, 20), (256, 1.5, 100)]
    rows = []
    for index, (n_features, separation, batch_size) in enumerate(sizes):
        noise = {} if noise_stdevs is None else {'noise_stdev': noise_stdevs[index]}
        data = datasets.random(n_features, 1000, sep=separation, random_seed=123)
        rows.append(Row(_spec(pg.SoftmaxRegression, n_features, 2, **noise), data, batch_size))
    return rows


def softmax_2_class_problems_noisy() -> List[Row]:
    """Logistic regressions on overlapping clusters, with noisy gradients."""
    return softmax_2_class_problems(noise_stdevs=(0.5, 0.1, 0.1, 0.5))


def _parity_problems(problem):
    data = datasets.noisy_parity_class(5, random_seed=123)
    return [Row(_spec(problem, 5, 2, noise_stdev=0.0), data, 23)]


def sparse_softmax_2_class_sparse_problems() -> List[Row]:
    """A regression on embeddings, with sparse gradients."""
    return _parity_problems(pg.SparseSoftmaxRegression)


def one_hot_sparse_softmax_2_class_sparse_problems() -> List[Row]:
    """A regression on embeddings, through one-hot vectors."""
    return _parity_problems(pg.OneHotSparseSoftmaxRegression)


# (features, hidden sizes, batch size)
_RANDOM_PERCEPTRONS = (
    (8, (8, 5), 10), (12, (8, 5, 3), 200), (5, (4, 4, 4, 4), 100), (11, (4, 5, 6), 64),
    (9, (8,), 128), (7, (8, 5), 16), (8, (32, 64), 10), (12, (16, 8, 3), 200),
    (5, (8, 8, 8, 8), 100), (11, (10, 12, 12), 64), (9, (32,), 128), (7, (32, 64), 16))


def fully_connected_random_2_class_problems(random_seed: Optional[int] = None) -> List[Row]:
    """Sigmoid perceptrons that learn the answers of random relu networks."""
    rows = []
    for index, (n_features, hidden_sizes, batch_size) in enumerate(_RANDOM_PERCEPTRONS):
        spec = _spec(pg.FullyConnected, n_features, 2, hidden_sizes=hidden_sizes,
                     activation=tf.nn.sigmoid)
        data = datasets.random_mlp(n_features, 1000, random_seed=_row_seed(random_seed, index))
        rows.append(Row(spec, data, batch_size))
    return rows


# Quadratics, norms, test functions.


def quadratic_problems() -> List[Row]:
    """Random quadratics of 20 to 100 dimensions."""
    return _without_data(*[_spec(pg.Quadratic, ndim) for ndim in (20, 25, 50, 100)])


def quadratic_problems_noisy() -> List[Row]:
    """Random quadratics with noisy gradients."""
    return _without_data(*[
        _spec(pg.Quadratic, ndim, noise_stdev=stdev)
        for ndim, stdev in ((20, 0.5), (25, 0.0), (50, 1.0), (100, 2.0))])


def quadratic_problems_large() -> List[Row]:
    """Random quadratics of 784 to 2048 dimensions."""
    return _without_data(*[_spec(pg.Quadratic, ndim) for ndim in (784, 1024, 2048)])


def bowl_problems(noise_stdev: float = 0.0) -> List[Row]:
    """Two-dimensional bowls, one of them rotated."""
    straight = [_spec(pg.Bowl, condition, noise_stdev=noise_stdev)
                for condition in (0.1, 1.0, 5.0)]
    rotated = _spec(pg.Bowl, 5.0, noise_stdev=noise_stdev, angle=math.pi / 4)
    return _without_data(*(straight + [rotated]))


def bowl_problems_noisy() -> List[Row]:
    """Two-dimensional bowls with noisy gradients."""
    return bowl_problems(noise_stdev=0.1)


def norm_problems() -> List[Row]:
    """Random norms, of powers 1 to 3."""
    return _without_data(*[
        _spec(pg.Norm, ndim, norm_power=power)
        for ndim, power in ((27, 1.0), (25, 2.0), (22, 3.0))])


def norm_problems_noisy() -> List[Row]:
    """Random norms with noisy gradients."""
    return _without_data(*[
        _spec(pg.Norm, ndim, noise_stdev=0.1, norm_power=power)
        for ndim, power in ((19, 1.0), (26, 2.0), (23, 3.0))])


_TEST_FUNCTIONS = (pg.Ackley, pg.Beale, pg.Booth, pg.Branin, pg.LogSumExp, pg.Matyas,
                   pg.Michalewicz, pg.Rosenbrock, pg.StyblinskiTang)


def optimization_test_problems() -> List[Row]:
    """The two-dimensional test functions."""
    return _without_data(*map(_spec, _TEST_FUNCTIONS))


def optimization_test_problems_noisy() -> List[Row]:
    """The two-dimensional test functions with noisy gradients."""
    return _without_data(*[_spec(problem, noise_stdev=1.0) for problem in _TEST_FUNCTIONS])


# Problems made from other problems.


def _quadratics(*ndims, **kwargs):
    return [_spec(pg.Quadratic, ndim, **kwargs) for ndim in ndims]


def _quadratics_and_bowls():
    return _quadratics(20, 50, 100) + [_spec(pg.Bowl, condition) for condition in (0.1, 1.0, 5.0)]


_SUMMED_FUNCTIONS = (pg.Rosenbrock, pg.LogSumExp, pg.Ackley, pg.Beale, pg.Booth,
                     pg.StyblinskiTang, pg.Matyas, pg.Branin, pg.Michalewicz)


def _sums(*lists):
    return _without_data(*[_spec(pg.SumTask, specs) for specs in lists])


def sum_problems() -> List[Row]:
    """Sums of quadratics, norms and test functions."""
    functions = list(map(_spec, _SUMMED_FUNCTIONS))
    norm = _spec(pg.Norm, 18, norm_power=3)
    return _sums(_quadratics(11, 3, 9, 7, 5, 13, 12),
                 [norm] + _quadratics(25) + functions[:1],
                 functions,
                 functions + _quadratics(5, 13),
                 _quadratics(11, 3),
                 functions[:3])


def sum_problems_noisy() -> List[Row]:
    """Sums in which some terms have noisy gradients."""
    return _sums(_quadratics(11, 3, 9, 7, 5, 13, 12, noise_stdev=0.1),
                 list(map(_spec, _SUMMED_FUNCTIONS)) + _quadratics(5)
                 + _quadratics(13, noise_stdev=0.5))


def rescale_problems() -> List[Row]:
    """Norms and quadratics whose parameters are stretched or shrunk."""
    norms = [(_spec(pg.Norm, 18, norm_power=power), scale) for power, scale in (
        (2.5, 0.123), (1.5, 8), (2.0, 50), (3.0, 200), (1.0, 1000))]
    quadratics = zip(_quadratics(20, 25, 50, 100), (0.1, 10.0, 350.0, 132))
    return _without_data(*[_spec(pg.Rescale, spec, scale=scale)
                           for spec, scale in norms + list(quadratics)])


def log_objective_problems() -> List[Row]:
    """Logarithms of quadratics and bowls."""
    return _without_data(*[_spec(pg.LogObjective, spec) for spec in _quadratics_and_bowls()])


def sparse_gradient_problems() -> List[Row]:
    """Quadratics and bowls, most of whose gradient is 0."""
    return _without_data(*[_spec(pg.SparseProblem, spec) for spec in _quadratics_and_bowls()])


def dm_quadratic_problems() -> List[Row]:
    """The quadratics of the L2O-DM and RNNProp programs, 128 of 10 dimensions at once."""
    return _without_data(_spec(dm_networks.UniformQuadratics))


def sparse_gradient_problems_mlp(random_seed: Optional[int] = None) -> List[Row]:
    """Perceptrons, most of whose gradient is 0."""
    rows = fully_connected_random_2_class_problems(random_seed)[:3]
    return [row._replace(spec=_spec(pg.SparseProblem, row.spec)) for row in rows]


# Problems with one particular difficulty.


def _vector_problems(problem, make_data, sizes, random_seed):
    """Rows of problems of `ndim` numbers; sizes are (ndim, examples, batch size)."""
    return [Row(_spec(problem, ndim),
                make_data(ndim, n_samples, random_seed=_row_seed(random_seed, index)), batch_size)
            for index, (ndim, n_samples, batch_size) in enumerate(sizes)]


_BINARY_SIZES = (
    (20, 1000, 100), (12, 200, 10), (56, 5000, 100), (64, 1000, 50), (13, 10000, 50),
    (20, 1000, 128), (12, 300, 16), (56, 5000, 128), (64, 1000, 64), (13, 10000, 32))
_SYMMETRIC_SIZES = (
    (20, 1000, 100), (12, 100, 10), (56, 5000, 100), (64, 1000, 50), (13, 10000, 50),
    (20, 1000, 128), (12, 100, 16), (56, 5000, 128), (64, 1000, 64), (13, 10000, 32))


def dependency_chain_problems(random_seed: Optional[int] = None) -> List[Row]:
    """Parameters that have to be found in order."""
    return _vector_problems(pg.DependencyChain, datasets.random_binary, _BINARY_SIZES,
                            random_seed)


def outward_snake_problems(random_seed: Optional[int] = None) -> List[Row]:
    """Winding paths out to infinity."""
    return _vector_problems(pg.OutwardSnake, datasets.random_binary, _BINARY_SIZES,
                            random_seed)


def projection_quadratic_problems(random_seed: Optional[int] = None) -> List[Row]:
    """Quadratics of which each example shows some directions."""
    return _vector_problems(pg.ProjectionQuadratic, datasets.random_symmetric, _SYMMETRIC_SIZES,
                            random_seed)


def sum_of_quadratics_problems(random_seed: Optional[int] = None) -> List[Row]:
    """Sums of bowls around the examples."""
    return _vector_problems(pg.SumOfQuadratics, datasets.random_symmetric, _SYMMETRIC_SIZES,
                            random_seed)


def min_max_well_problems() -> List[Row]:
    """Wells whose gradient sees only the smallest and the largest parameter."""
    return _without_data(*[_spec(pg.MinMaxWell, ndim) for ndim in (20, 12, 56, 64, 13)])


def matmul_problems() -> List[Row]:
    """Searches for algorithms that multiply 2 x 2 and 3 x 3 matrices."""
    sizes = [(2, k) for k in range(5, 9)] + [(3, k) for k in range(19, 25)]
    return _without_data(*[_spec(pg.MatMulAlgorithm, n, k) for n, k in sizes])


# Models adapted from ordinary TensorFlow code.


def adapter_rosenbrock_local() -> List[Row]:
    """Rosenbrock's function as a model."""
    return _without_data(_spec(ModelAdapter, pg.make_rosenbrock_loss_and_init))


def adapter_rosenbrock_worker() -> List[Row]:
    """Rosenbrock's function as a model, on the workers of a cluster."""
    return _without_data(_spec(ModelAdapter, pg.make_rosenbrock_loss_and_init,
                               device='/job:worker'))


# Neural networks on real images.

_MNIST_SHAPE = (1, 28, 28)
_CIFAR10_SHAPE = (3, 32, 32)


def _mnist(spec, batch_size, train, source):
    return [_images(datasets.mnist, spec, batch_size, train, source)]


def _cifar10(spec, batch_size, train, source):
    return [_images(datasets.cifar10, spec, batch_size, train, source)]


def _images(load, spec, batch_size, train, source):
    """A row; a test, which is on the test images, holds out the training images."""
    seen = load(train=train, source=source)
    return Row(spec, seen, batch_size, None if train else load(train=True, source=source))


def _mnist_mlp(hidden_sizes, activation):
    return _spec(pg.FullyConnected, 784, 10, hidden_sizes=hidden_sizes, activation=activation)


# Problems that are trained and tested in the same form: specification, data, batch size.
_IMAGE_PROBLEMS = {
    'mnist_mlp': (_mnist_mlp((20,), tf.nn.sigmoid), _mnist, 128),
    'mnist_mlp_relu': (_mnist_mlp((20,), tf.nn.relu), _mnist, 128),
    'mnist_mlp_deeper': (_mnist_mlp((20, 20), tf.nn.sigmoid), _mnist, 128),
    'mnist_conv_orig': (
        _spec(pg.ConvNetOrig, _MNIST_SHAPE, 10, ((3, 3, 8), (5, 5, 8)), activation=tf.nn.relu),
        _mnist, 64),
    'mnist_conv_wider': (
        _spec(pg.ConvNet, _MNIST_SHAPE, 10, ((3, 3, 32, 1), (5, 5, 64, 1)),
              activation=tf.nn.relu, affine_size=1024),
        _mnist, 128),
    'mnist_conv_4layers': (
        _spec(pg.VGG, _MNIST_SHAPE, 10, ((16, 16), (32, 32)), activation=tf.nn.relu),
        _mnist, 128),
    'cifar10_conv_4layers': (
        _spec(pg.VGG, _CIFAR10_SHAPE, 10, ((16, 16), (32, 32)), activation=tf.nn.relu),
        _cifar10, 128),
    'vgg16': (
        _spec(pg.VGG, _CIFAR10_SHAPE, 10,
              ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
              dense_sizes=(512, 512), activation=tf.nn.relu),
        _cifar10, 128),
}


def _image_problems(name, train, source=None):
    spec, rows, batch_size = _IMAGE_PROBLEMS[name]
    return rows(spec, batch_size, train, source)


def mnist_mlp_problems(source: Optional[DataSource] = None) -> List[Row]:
    """A perceptron with 20 sigmoid units, on the MNIST training images."""
    return _image_problems('mnist_mlp', True, source)


def mnist_conv_problems(source: Optional[DataSource] = None) -> List[Row]:
    """A small convolutional network, on the MNIST training images."""
    spec = _spec(pg.ConvNet, _MNIST_SHAPE, 10, ((3, 3, 8), (5, 5, 8)), activation=tf.nn.relu)
    return _mnist(spec, 64, True, source)


def cifar10_conv_problems(source: Optional[DataSource] = None) -> List[Row]:
    """A small convolutional network, on the CIFAR-10 training images."""
    spec = _spec(pg.ConvNet, _CIFAR10_SHAPE, 10, ((3, 3, 16), (5, 5, 16)), activation=tf.nn.relu)
    return _cifar10(spec, 64, True, source)


def test_mnist_mlp_problems(source: Optional[DataSource] = None) -> List[Row]:
    """A perceptron with 20 sigmoid units, on the MNIST test images."""
    return _image_problems('mnist_mlp', False, source)


def test_mnist_mlp_relu_problems(source: Optional[DataSource] = None) -> List[Row]:
    """A perceptron with 20 relu units, on the MNIST test images."""
    return _image_problems('mnist_mlp_relu', False, source)


def test_mnist_mlp_deeper_problems(source: Optional[DataSource] = None) -> List[Row]:
    """A perceptron with two layers of 20 sigmoid units, on the MNIST test images."""
    return _image_problems('mnist_mlp_deeper', False, source)


def test_mnist_conv_problems(source: Optional[DataSource] = None) -> List[Row]:
    """A convolutional network with batch normalization and pooling, on the MNIST test images."""
    spec = _spec(pg.ConvNet, _MNIST_SHAPE, 10, ((3, 3, 16, 1), (5, 5, 32, 1)),
                 activation=tf.nn.relu, affine_size=512)
    return _mnist(spec, 128, False, source)


def test_mnist_conv_orig_problems(source: Optional[DataSource] = None) -> List[Row]:
    """A small convolutional network without pooling, on the MNIST test images."""
    return _image_problems('mnist_conv_orig', False, source)


def test_mnist_conv_wider_problems(source: Optional[DataSource] = None) -> List[Row]:
    """The convolutional network with twice the channels, on the MNIST test images."""
    return _image_problems('mnist_conv_wider', False, source)


def test_mnist_conv_4layers_problems(source: Optional[DataSource] = None) -> List[Row]:
    """A network of four convolutions, on the MNIST test images."""
    return _image_problems('mnist_conv_4layers', False, source)


def test_cifar10_conv_problems(source: Optional[DataSource] = None) -> List[Row]:
    """A convolutional network with batch normalization and pooling, on CIFAR-10 test images."""
    spec = _spec(pg.ConvNet, _CIFAR10_SHAPE, 10, ((3, 3, 16, 2), (5, 5, 32, 2)),
                 activation=tf.nn.relu, affine_size=32)
    return _cifar10(spec, 128, False, source)


def test_cifar10_conv_4layers_problems(source: Optional[DataSource] = None) -> List[Row]:
    """A network of four convolutions, on the CIFAR-10 test images."""
    return _image_problems('cifar10_conv_4layers', False, source)


def test_vgg16_problems(source: Optional[DataSource] = None) -> List[Row]:
    """VGG-16 on the CIFAR-10 test images."""
    return _image_problems('vgg16', False, source)


def test_problems(source: Optional[DataSource] = None) -> List[SeededRow]:
    """A mixture of everything, fixed by seeds: a list of `SeededRow`."""
    mnist = datasets.mnist(source=source)
    images = [
        ('%s_%s' % (name, activation.__name__), spec(activation), mnist, 64)
        for name, spec in (('mlp', functools.partial(_mnist_mlp, (64,))), ('conv', _small_conv))
        for activation in (tf.nn.sigmoid, tf.nn.relu)]
    return [SeededRow(spec, dataset, batch_size, name, seed=5678)
            for name, spec, dataset, batch_size in _fixed_problems() + images]


def _small_conv(activation):
    return _spec(pg.ConvNet, _MNIST_SHAPE, 10, ((3, 3, 8), (5, 5, 8)), activation=activation)


def _fixed_problems():
    """Names, specifications, data and batch sizes."""
    two_classes = datasets.random(10, 10000, random_seed=1234)
    ten_classes = datasets.random(20, 10000, n_classes=10, random_seed=1234)
    return [
        ('quadratic', _spec(pg.Quadratic, 20, random_seed=1234), None, None),
        ('quadratic_noisy', _spec(pg.Quadratic, 20, noise_stdev=1.0, random_seed=1234), None, None),
        ('rosenbrock', _spec(pg.Rosenbrock, random_seed=1234), None, None),
        ('rosenbrock_noisy', _spec(pg.Rosenbrock, random_seed=1234, noise_stdev=1.0), None, None),
        ('softmax', _spec(pg.SoftmaxRegression, 10, 2), two_classes, 100),
        ('softmax_noisy', _spec(pg.SoftmaxRegression, 10, 2, noise_stdev=1.0), two_classes, 100),
        ('mlp_2_class', _spec(pg.FullyConnected, 10, 2), two_classes, 100),
        ('mlp_10_class', _spec(pg.FullyConnected, 20, 10), ten_classes, 100)]


# The table.


class ProblemSet(NamedTuple):
    """The problems behind one `include_<name>_problems` flag.

    The rows are made by functions (source=None, random_seed=None): where real data come from, a
    `DataSource`, and the seed of data that are drawn.
    """

    training: Optional[Callable[..., list]]  # rows for meta-training; None for a benchmark
    testing: Callable[..., list]  # rows for meta-testing
    help: str  # what the flag includes, in words


def _same(set_function, drawn=False):
    """A set without real data, the same in training and testing; `drawn` from a seed or not."""
    rows = functools.partial(_synthetic_rows, set_function, drawn)
    return ProblemSet(rows, rows, _help(set_function))


def _synthetic_rows(set_function, drawn, source=None, random_seed=None):
    del source
    return set_function(random_seed) if drawn else set_function()


def _tested(testing, training):
    """A set with real data: a part to train on, another one to test on."""
    return ProblemSet(functools.partial(_real_rows, training),
                      functools.partial(_real_rows, testing), _help(testing))


def _real_rows(set_function, source=None, random_seed=None):
    del random_seed
    return set_function(source)


def _image_set(name, testing):
    return _tested(testing, functools.partial(_image_problems, name, True))


def _dm_network(entry):
    """A network of the L2O-DM and RNNProp programs, in training and testing."""
    load = {'mnist': _mnist, 'cifar10': _cifar10}[entry.images]
    training, testing = (functools.partial(load, entry.problem, dm_networks.BATCH_SIZE, train)
                         for train in (True, False))
    return ProblemSet(functools.partial(_real_rows, training),
                      functools.partial(_real_rows, testing), entry.help)


def _benchmark(set_function):
    """A set that nothing is trained on."""
    return _tested(set_function, None)._replace(training=None)


def _family(family):
    """Small versions in training, full ones in testing."""
    small, full = (functools.partial(_real_rows, functools.partial(tasks.rows, part))
                   for part in (family.small, family.full))
    return ProblemSet(small, full, family.help)


def _help(set_function):
    return set_function.__doc__.splitlines()[0]


PROBLEM_SETS = collections.OrderedDict([
    ('bowl', _same(bowl_problems)),
    ('noisy_bowl', _same(bowl_problems_noisy)),
    ('dependency_chain', _same(dependency_chain_problems, drawn=True)),
    ('fully_connected_random_2_class', _same(fully_connected_random_2_class_problems, drawn=True)),
    ('quadratic', _same(quadratic_problems)),
    ('noisy_quadratic', _same(quadratic_problems_noisy)),
    ('large_quadratic', _same(quadratic_problems_large)),
    ('log_objective', _same(log_objective_problems)),
    ('matmul', _same(matmul_problems)),
    ('min_max_well', _same(min_max_well_problems)),
    ('norm', _same(norm_problems)),
    ('noisy_norm', _same(norm_problems_noisy)),
    ('softmax_2_class', _same(softmax_2_class_problems)),
    ('noisy_softmax_2_class', _same(softmax_2_class_problems_noisy)),
    ('sparse_softmax', _same(sparse_softmax_2_class_sparse_problems)),
    ('one_hot_sparse_softmax', _same(one_hot_sparse_softmax_2_class_sparse_problems)),
    ('optimization_test', _same(optimization_test_problems)),
    ('noisy_optimization_test', _same(optimization_test_problems_noisy)),
    ('outward_snake', _same(outward_snake_problems, drawn=True)),
    ('projection_quadratic', _same(projection_quadratic_problems, drawn=True)),
    ('rescale', _same(rescale_problems)),
    ('sparse_gradient', _same(sparse_gradient_problems)),
    ('sum', _same(sum_problems)),
    ('noisy_sum', _same(sum_problems_noisy)),
    ('sum_of_quadratics', _same(sum_of_quadratics_problems, drawn=True)),
    ('mnist_mlp', _image_set('mnist_mlp', test_mnist_mlp_problems)),
    ('mnist_mlp_relu', _image_set('mnist_mlp_relu', test_mnist_mlp_relu_problems)),
    ('mnist_mlp_deeper', _image_set('mnist_mlp_deeper', test_mnist_mlp_deeper_problems)),
    ('mnist_conv', _tested(test_mnist_conv_problems, mnist_conv_problems)),
    ('mnist_conv_orig', _image_set('mnist_conv_orig', test_mnist_conv_orig_problems)),
    ('mnist_conv_wider', _image_set('mnist_conv_wider', test_mnist_conv_wider_problems)),
    ('mnist_conv_4layers', _image_set('mnist_conv_4layers', test_mnist_conv_4layers_problems)),
    ('cifar10_conv', _tested(test_cifar10_conv_problems, cifar10_conv_problems)),
    ('cifar10_conv_4layers',
     _image_set('cifar10_conv_4layers', test_cifar10_conv_4layers_problems)),
    ('vgg16', _image_set('vgg16', test_vgg16_problems)),
    ('dm_quadratic', _same(dm_quadratic_problems)),
    ('digits_small', _tested(digits.training_problems, digits.training_problems)),
    ('digits_other_sizes',
     _tested(digits.validation_problems, digits.validation_problems)),
    ('digits_benchmark', _benchmark(digits_benchmark.rows)),
    ('digits_benchmark_long', _benchmark(digits_benchmark.long_rows)),
] + [(name, _dm_network(entry)) for name, entry in dm_networks.NETWORKS.items()]
  + [(name, _tested(set_function, set_function)) for name, set_function in tasks.MIXED.items()]
  + [(name, _family(family)) for name, family in tasks.FAMILIES.items()])

#: Two sets -> a further one that comes along where both are included.
_JOINT_SETS = {
    ('sparse_gradient', 'fully_connected_random_2_class'):
        ('sparse_gradient_mlp', _same(sparse_gradient_problems_mlp, drawn=True)),
}


def including(names: Sequence[str]) -> 'collections.OrderedDict[str, ProblemSet]':
    """The sets of these names, and those that come along where two are included together."""
    joint = [entry for pair, entry in _JOINT_SETS.items() if set(pair) <= set(names)]
    return collections.OrderedDict([(name, PROBLEM_SETS[name]) for name in names] + joint)
