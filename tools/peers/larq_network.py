"""A binary network of bitloom's as a Keras model of larq's layers, for larq-compute-engine.

Comes from: graph_text.py's nodes. Goes to: inference_models.py.

A convolution behind hardtanh is what bitloom makes binary: ste_sign on its input, Bi-Real's
magnitude_aware_sign on its weights, padded with +1. The first and the last layer stay float here,
where bitloom's have 8 bits. Padding is TensorFlow's SAME: for stride 2 it pads one side only, which
changes numbers at the border but neither shapes nor work.
"""
import larq
import tensorflow as tf

layers = tf.keras.layers


def convolution(node, weight_shape, binary):
    outputs, _, height, width = weight_shape
    options = {"strides": node.number("stride", 1), "padding": "same", "use_bias": False}
    if not binary:
        return layers.Conv2D(outputs, (height, width), **options)
    return larq.layers.QuantConv2D(outputs, (height, width), input_quantizer="ste_sign",
                                   kernel_quantizer="magnitude_aware_sign", pad_values=1.0,
                                   **options)


def layer(node, by_name):
    """Raises ValueError for an op that it does not know."""
    if node.op == "conv2d":
        binary = by_name[node.inputs[0]].op == "hardtanh"
        return convolution(node, by_name[node.inputs[1]].shape(), binary)
    if node.op == "linear":
        return layers.Dense(by_name[node.inputs[1]].shape()[0])
    if node.op == "batch_norm":
        return layers.BatchNormalization(momentum=0.9, epsilon=node.real("epsilon", 1e-5))
    if node.op in ("max_pool", "avg_pool"):
        kernel = node.number("kernel", 1)
        pool = layers.MaxPool2D if node.op == "max_pool" else layers.AveragePooling2D
        return pool(kernel, node.number("stride", kernel), padding="same")
    if node.op == "hardtanh":
        return layers.Activation("linear")  # its sign is taken by the convolution behind it
    if node.op == "global_avg_pool":
        return layers.GlobalAveragePooling2D()
    if node.op == "flatten":
        return layers.Flatten()
    raise ValueError(f"{node.name}: no Keras layer for {node.op!r}")


def keras_model(by_name):
    tf.random.set_seed(1)
    values, last = {}, None
    for node in by_name.values():
        if node.op == "parameter":
            continue
        sources = [values[name] for name in node.inputs if name in values]
        if node.op == "input":
            channels, height, width = node.shape()
            last = image = layers.Input((height, width, channels), batch_size=1)
        elif node.op == "add":
            last = layers.Add()(sources)
        elif node.op == "concat":
            last = layers.Concatenate()(sources)
        else:
            last = layer(node, by_name)(sources[0])
        values[node.name] = last
    return tf.keras.Model(image, last)


def convert(network):
    """The flat buffer. Raises ValueError where the model has more or fewer values than the graph."""
    import larq_compute_engine
    model = keras_model(network.by_name)
    trained = sum(int(tf.size(weight)) for weight in model.trainable_weights)
    if trained != network.parameters:
        raise ValueError(f"another network: {trained} parameters instead of {network.parameters}")
    return larq_compute_engine.convert_keras_model(model)
