"""A folded network as a TensorFlow function (NHWC), for TensorFlow Lite's converter.

Comes from: folded_network.py. Goes to: inference_models.py.
"""
import tensorflow as tf


def padded(x, node):
    """With zeros, as the graph says: TensorFlow's SAME differs where the stride is 2."""
    rows, columns = node.pads()
    if rows == 0 and columns == 0:
        return x
    return tf.pad(x, [[0, 0], [rows, rows], [columns, columns], [0, 0]])


def same_padding(step, height, width, kernel, stride):
    """True where SAME pads what the graph pads: then no operation of its own is needed."""
    for size, side, pad in zip((height, width), kernel, step.node.pads()):
        whole = max((-(-size // stride) - 1) * stride + side - size, 0)
        if whole != 2 * pad:
            return False
    return True


class TfNetwork(tf.Module):
    """Call with images f32 [N, H, W, C]; gives the logits [N, classes]."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.shapes = {step.name: step.shape for step in network.steps}
        self.sources = {step.name: step for step in network.steps}
        # Variables: the converter copies constants of a function many times (vgg19: 12 GB).
        self.weights, self.biases = {}, {}
        for step in network.steps:
            if step.weight is not None:
                self.weights[step.name] = tf.Variable(self._turned(step))
                self.biases[step.name] = tf.Variable(step.bias)
        channels, height, width = network.input_shape()
        self.function = tf.function(
            self.forward, input_signature=[tf.TensorSpec([None, height, width, channels])])

    def forward(self, images):
        values = {self.network.steps[0].name: images}
        for step in self.network.steps[1:]:
            sources = [values[name] for name in step.inputs]
            values[step.name] = getattr(self, f"_{step.op}")(step, *sources)
        return values[self.network.steps[-1].name]

    def _window(self, step, x, kernel):
        """What goes into a sliding window: the tensor, its stride and padding word."""
        stride = step.node.number("stride", 1 if step.op == "conv2d" else kernel[0])
        _, height, width = self.shapes[step.inputs[0]]
        if same_padding(step, height, width, kernel, stride):
            return x, stride, "SAME"
        return padded(x, step.node), stride, "VALID"

    def _turned(self, step):
        """Weights as TensorFlow wants them: [KH, KW, I, O], depthwise [KH, KW, I, 1], [I, O]."""
        weight = step.weight
        if step.op == "conv2d":
            groups = step.node.number("groups", 1)
            if groups == 1:
                return weight.transpose(2, 3, 1, 0)
            if weight.shape[:2] == (groups, 1):
                return weight.transpose(2, 3, 0, 1)
            raise ValueError(f"{step.name}: no grouped convolution but the depthwise one")
        source = self.sources[step.inputs[0]]
        if source.op == "flatten":  # of [H, W, C], while the weights expect [C, H, W]
            shape = self.shapes[source.inputs[0]]
            weight = weight.reshape(-1, *shape).transpose(0, 2, 3, 1).reshape(weight.shape)
        return weight.T

    def _conv2d(self, step, x):
        x, stride, padding = self._window(step, x, step.weight.shape[2:])
        if step.node.number("groups", 1) == 1:
            y = tf.nn.conv2d(x, self.weights[step.name], stride, padding)
        else:
            y = tf.nn.depthwise_conv2d(x, self.weights[step.name], [1, stride, stride, 1], padding)
        return tf.nn.bias_add(y, self.biases[step.name])

    def _linear(self, step, x):
        return tf.nn.bias_add(tf.matmul(x, self.weights[step.name]), self.biases[step.name])

    def _flatten(self, step, x):
        return tf.reshape(x, [-1, *step.shape])

    def _max_pool(self, step, x):
        kernel = step.node.number("kernel", 1)
        if any(step.node.pads()) and self.sources[step.inputs[0]].op not in ("relu", "relu6"):
            raise ValueError(f"{step.name}: zeros as padding could win here")
        x, stride, padding = self._window(step, x, (kernel, kernel))
        return tf.nn.max_pool2d(x, kernel, stride, padding)

    def _avg_pool(self, step, x):
        kernel = step.node.number("kernel", 1)
        if step.node.number("count_pad", 0):
            stride = step.node.number("stride", kernel)
            return tf.nn.avg_pool2d(padded(x, step.node), kernel, stride, "VALID")
        x, stride, padding = self._window(step, x, (kernel, kernel))
        if padding == "VALID" and any(step.node.pads()):
            raise ValueError(f"{step.name}: no average pool leaves out this padding")
        return tf.nn.avg_pool2d(x, kernel, stride, padding)

    def _global_avg_pool(self, step, x):
        return tf.reduce_mean(x, [1, 2], keepdims=True)

    def _relu(self, step, x):
        return tf.nn.relu(x)

    def _relu6(self, step, x):
        return tf.nn.relu6(x)

    def _hardtanh(self, step, x):
        return tf.clip_by_value(x, step.node.real("low", -1), step.node.real("high", 1))

    def _add(self, step, a, b):
        return a + b

    def _concat(self, step, *sources):
        return tf.concat(sources, 3)
