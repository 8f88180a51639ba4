"""Names and defaults that flags offer, of tables in modules that import TensorFlow.

Written by `python -m tools.names --write`: not to be changed by hand.
"""

from typing import Any, Dict

#: Of optimizer.
OPTIMIZERS = (
    'HierarchicalRNN',
    'CoordinatewiseRNN',
    'RNNProp',
    'L2ODM',
    'NormalizedMLP',
    'GlobalLearningRate',
    'LearningRateSchedule',
    'TrainableAdam'
)

#: Of optimizer.rnn_cells.
CELLS = ('LSTMCell', 'GRUCell')

#: Of optimizer.hierarchical_rnn.
PRESET: Dict[str, Any] = {
    'level_sizes': (10, 20, 20),
    'use_problem_lr_mean': True,
    'use_gradient_shortcut': True,
    'use_grad_products': True
}

#: Of optimizer.inner_loop.
OBJECTIVES_OF = ('examples', 'batches', 'other_batches')

#: Of l2o.metatraining.meta_step.
META_OPTIMIZERS = ('rmsprop', 'adam')

#: Of l2o.metatraining.validation.
SCORES = ('mean', 'mean_log')

#: Of l2o.techniques.random_scaling.
SCALED_UNITS = ('coordinates', 'tensors')

#: Of l2o.techniques.imitation.
TEACHERS = ('adam', 'rmsprop', 'nag', 'sgd')

#: Of l2o.techniques.regularization.
MEASURES = ('hessian', 'hessian-esd', 'hessian-esd-mean-abs', 'hessian-ev', 'jacob', 'jacob-norm')

#: Of l2o.techniques.regularization.
TIMES = ('prior', 'posterior', 'none', 'always')

#: Of problems.image_files.
IMAGE_SOURCES = ('auto', 'mnist', 'digits', 'fashion')

#: Of l2o.evaluation.rules.
LEARNED = 'L2o'

#: Of l2o.evaluation.rules.
HAND_TUNED = (
    'SGD',
    'Momentum',
    'Adam',
    'AdamW',
    'RMSProp',
    'Adagrad',
    'Muon',
    'ScheduleFreeAdamW',
    'Prodigy',
    'Lion'
)

#: Of l2o.evaluation.rules.
LEARNING_RATES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)

#: Of l2o.evaluation.rules.
CONSTANT = 'constant'

#: Of l2o.evaluation.rules.
SCHEDULES = ('constant', 'cosine', 'linear')

#: Of l2o.evaluation.rules.
SCHEDULE_FREE = ('ScheduleFreeAdamW',)

#: Of l2o.evaluation.rules.
RATE_FREE = ('Prodigy',)

#: Of problems.problem_sets: name -> (what it holds, whether metarun trains on it).
PROBLEM_SETS: Dict[str, Any] = {
    'bowl': ('Two-dimensional bowls, one of them rotated.', True),
    'noisy_bowl': ('Two-dimensional bowls with noisy gradients.', True),
    'dependency_chain': ('Parameters that have to be found in order.', True),
    'fully_connected_random_2_class': ('Sigmoid perceptrons that learn the answers of random relu '
                                       'networks.',
                                       True),
    'quadratic': ('Random quadratics of 20 to 100 dimensions.', True),
    'noisy_quadratic': ('Random quadratics with noisy gradients.', True),
    'large_quadratic': ('Random quadratics of 784 to 2048 dimensions.', True),
    'log_objective': ('Logarithms of quadratics and bowls.', True),
    'matmul': ('Searches for algorithms that multiply 2 x 2 and 3 x 3 matrices.', True),
    'min_max_well': ('Wells whose gradient sees only the smallest and the largest parameter.',
                     True),
    'norm': ('Random norms, of powers 1 to 3.', True),
    'noisy_norm': ('Random norms with noisy gradients.', True),
    'softmax_2_class': ('Logistic regressions on clusters that overlap more or less.', True),
    'noisy_softmax_2_class': ('Logistic regressions on overlapping clusters, with noisy '
                              'gradients.',
                              True),
    'sparse_softmax': ('A regression on embeddings, with sparse gradients.', True),
    'one_hot_sparse_softmax': ('A regression on embeddings, through one-hot vectors.', True),
    'optimization_test': ('The two-dimensional test functions.', True),
    'noisy_optimization_test': ('The two-dimensional test functions with noisy gradients.', True),
    'outward_snake': ('Winding paths out to infinity.', True),
    'projection_quadratic': ('Quadratics of which each example shows some directions.', True),
    'rescale': ('Norms and quadratics whose parameters are stretched or shrunk.', True),
    'sparse_gradient': ('Quadratics and bowls, most of whose gradient is 0.', True),
    'sum': ('Sums of quadratics, norms and test functions.', True),
    'noisy_sum': ('Sums in which some terms have noisy gradients.', True),
    'sum_of_quadratics': ('Sums of bowls around the examples.', True),
    'mnist_mlp': ('A perceptron with 20 sigmoid units, on the MNIST test images.', True),
    'mnist_mlp_relu': ('A perceptron with 20 relu units, on the MNIST test images.', True),
    'mnist_mlp_deeper': ('A perceptron with two layers of 20 sigmoid units, on the MNIST test '
                         'images.',
                         True),
    'mnist_conv': ('A convolutional network with batch normalization and pooling, on the MNIST '
                   'test images.',
                   True),
    'mnist_conv_orig': ('A small convolutional network without pooling, on the MNIST test images.',
                        True),
    'mnist_conv_wider': ('The convolutional network with twice the channels, on the MNIST test '
                         'images.',
                         True),
    'mnist_conv_4layers': ('A network of four convolutions, on the MNIST test images.', True),
    'cifar10_conv': ('A convolutional network with batch normalization and pooling, on CIFAR-10 '
                     'test images.',
                     True),
    'cifar10_conv_4layers': ('A network of four convolutions, on the CIFAR-10 test images.', True),
    'vgg16': ('VGG-16 on the CIFAR-10 test images.', True),
    'dm_quadratic': ('The quadratics of the L2O-DM and RNNProp programs, 128 of 10 dimensions at '
                     'once.',
                     True),
    'digits_small': ('Small perceptrons and convnets on the embedded digits, to meta-train on.',
                     True),
    'digits_other_sizes': ('Classifiers of other sizes on the same digits, to choose among '
                           'meta-parameters.',
                           True),
    'digits_benchmark': ('Perceptrons, softmax regression and convnets on digits of 28 x 28 '
                         'pixels, 1,000 steps.',
                         False),
    'digits_benchmark_long': ('Perceptrons on digits of 28 x 28 pixels, 10,000 steps.', False),
    'dm_conv': ('The convolutional network of the L2O-DM and RNNProp programs, on MNIST.', True),
    'dm_cifar_conv': ('The convolutional network of the L2O-DM and RNNProp programs, on CIFAR-10.',
                      True),
    'dm_lenet': ('LeNet of the L2O-DM and RNNProp programs, on CIFAR-10.', True),
    'dm_nas': ('The searched cell (NAS) of the L2O-DM and RNNProp programs, on CIFAR-10.', True),
    'dm_cifar_multi': ('Three convolutions and two dense layers (cifar-multi), on CIFAR-10.',
                       True),
    'mixed_small': ('Small versions of everything that people train, to meta-train on.', True),
    'mixed_validation': ('Families of mixed_small in other sizes, to choose among meta-trained '
                         'optimizers.',
                         True),
    'real_tasks': ('The benchmark: networks of full size on images, text and a table, with '
                   'held-out data.',
                   True),
    'perceptron': ('Relu and tanh perceptrons on images.', True),
    'convnet': ('Convolutional networks with max-pooling on images.', True),
    'residual': ('Residual networks with batch normalization on images.', True),
    'autoencoder': ('Autoencoders of images.', True),
    'variational_autoencoder': ('Variational autoencoders of images.', True),
    'ngram': ('Perceptrons that predict a character from those before.', True),
    'factorization': ('Factorizations of character statistics, with sparse gradients.', True),
    'gru': ('Recurrent networks with GRU cells that predict characters.', True),
    'lstm': ('Recurrent networks with LSTM cells that predict characters.', True),
    'transformer': ('Transformer decoders that predict characters.', True),
    'regression': ('Regressions by perceptrons: synthetic data, and a study of diabetes.', True),
    'deep': ('Networks of 10 layers and more.', True),
    'by_heart': ('Few examples, which are learned by heart, and wrong labels.', True),
    'batches': ('Small and large batches.', True),
    'unscaled': ('Regressions whose targets are not brought to mean 0 and variance 1.', True),
    'recommender': ('Factorizations of ratings, with sparse gradients.', True),
    'words': ('Embeddings of words that predict those near them, with sparse gradients.', True),
    'fine_tuning': ('Perceptrons whose layers, but for the last, were trained on digits before.',
                    True)
}
