"""A loop over segments whose backward pass computes each segment anew ("gradient checkpointing").

Of the forward pass only what each segment begins with is kept, so that with n steps in segments of
k the memory grows as n / k + k, not as n; the price is a second forward pass ("Training Deep Nets
with Sublinear Memory Cost", arXiv 1604.06174).
"""

from typing import Any, Callable, List, Sequence, Tuple

import tensorflow.compat.v1 as tf


def segmented_loop(goes_on: Callable[[Any], tf.Tensor],
                   segment: Callable[[Any], Tuple[Any, List[tf.Tensor]]], start: Any,
                   output_shapes: Sequence[Sequence[int]], parameters: List[tf.Variable],
                   max_segments: tf.Tensor) -> Tuple[Any, List[tf.Tensor]]:
    """Runs segments one after another: a loop that can be differentiated once.

    Gradients reach the floating-point tensors of `start` and the `parameters`, nothing else. What
    runs in a segment must give the same when it runs again: random draws must be stateless.

    Args:
      goes_on: the function carry -> boolean scalar, whether there is another segment.
      segment: the function carry -> (new carry, list of outputs), tensors of static shapes; it is
        called twice. The carry is a nest.
      start: the first carry.
      output_shapes: of the outputs, which are float32.
      parameters: list of variables made outside, on which the segments depend.
      max_segments: integer scalar.

    Returns:
      the last carry; the list of outputs, `[segments run]` + shape each.

    Raises:
      ValueError: control flow of version 1, which cannot differentiate a loop within a loop's body.
    """
    if not tf.control_flow_v2_enabled():
        raise ValueError('Gradient checkpointing needs tf.enable_control_flow_v2().')
    stored, end, outputs = _forward(goes_on, segment, start, output_shapes, max_segments)
    end = tf.nest.flatten(end)
    results, num_states = _floating(end) + outputs, len(_floating(end))

    def backward(*gradients):
        return [None] * len(results) + _backward(
            segment, start, stored, parameters, gradients[:num_states], gradients[num_states:])

    @tf.custom_gradient
    def attach_gradient(*tensors):
        return [tf.identity(tensor) for tensor in tensors[:len(results)]], backward

    attached = attach_gradient(*results + _floating(tf.nest.flatten(start)) + [
        tf.convert_to_tensor(parameter) for parameter in parameters])
    return (tf.nest.pack_sequence_as(start, _replace_floating(end, attached[:num_states])),
            attached[num_states:])


def _forward(goes_on, segment, start, output_shapes, max_segments):
    """TensorArrays of what segments begin with; the last carry; the outputs."""
    def body(index, carry, stored, written):
        stored = [array.write(index, tensor)
                  for array, tensor in zip(stored, tf.nest.flatten(carry))]
        carry, outputs = segment(carry)
        written = [array.write(index, output) for array, output in zip(written, outputs)]
        return index + 1, carry, stored, written

    stored = [tf.TensorArray(tensor.dtype, max_segments, element_shape=tensor.shape,
                             clear_after_read=False) for tensor in tf.nest.flatten(start)]
    written = [tf.TensorArray(tf.float32, max_segments, element_shape=shape)
               for shape in output_shapes]
    count, end, stored, written = tf.while_loop(
        lambda index, carry, *_: goes_on(carry), body,
        (tf.constant(0), start, stored, written), back_prop=False, parallel_iterations=1)
    return stored, end, [array.gather(tf.range(count)) for array in written]


def _backward(segment, start, stored, parameters, of_end, of_outputs):
    """The gradients of the floating-point tensors of `start`, and of the parameters.

    Args:
      of_end, of_outputs: lists, the gradients of what the last carry holds in floating point, and
        of the outputs of all segments.
    """
    reached: List[bool] = []

    def body(index, of_carry, of_parameters):
        carry = [tf.stop_gradient(array.read(index)) for array in stored]
        end, outputs = segment(tf.nest.pack_sequence_as(start, carry))
        before = _floating(carry)
        gradients = tf.gradients(
            _floating(tf.nest.flatten(end)) + outputs, before + parameters,
            list(of_carry) + [gradient[index] for gradient in of_outputs])
        reached[:] = [gradient is not None for gradient in gradients[len(before):]]
        return (index - 1,
                [tf.zeros_like(tensor) if gradient is None else tf.convert_to_tensor(gradient)
                 for tensor, gradient in zip(before, gradients)],
                [total if gradient is None else total + gradient
                 for total, gradient in zip(of_parameters, gradients[len(before):])])

    zeros = [tf.zeros(parameter.shape) for parameter in parameters]
    _, of_start, of_parameters = tf.while_loop(
        lambda index, *_: index >= 0, body,
        (tf.shape(of_outputs[0])[0] - 1, list(of_end), zeros),
        back_prop=False, parallel_iterations=1)
    return of_start + [gradient if depends else None
                       for gradient, depends in zip(of_parameters, reached)]


def _floating(tensors):
    return [tensor for tensor in tensors if tensor.dtype.is_floating]


def _replace_floating(tensors, replacements):
    replacements = iter(replacements)
    return [next(replacements) if tensor.dtype.is_floating else tensor for tensor in tensors]
