"""Recomputes a quantized convolution from a checkpoint with nothing but h5py and numpy.

    python3 recompute_layer.py CHECKPOINT PROBE

PROBE holds /source (the layer's fake-quantized input, NHWC) and /result (conv1's output, NHWC) as
bitloom computed them. The script fake-quantizes /parameters/conv1.weight with the checkpoint's
scales, convolves (3x3, padding 1), and fails unless both agree.
"""
import sys

import h5py
import numpy as np


def attributes_of(graph_text, name):
    line = next(line for line in graph_text.splitlines() if line.split(" = ")[0].strip() == name)
    inside = line[line.index("(") + 1:line.rindex(")")]
    return dict(part.strip().split("=") for part in inside.split(",") if "=" in part)


def main():
    checkpoint_path, probe_path = sys.argv[1:]
    with h5py.File(checkpoint_path, "r") as file:
        assert file.attrs["schema_name"] == b"bitloom.checkpoint" or \
            file.attrs["schema_name"] == "bitloom.checkpoint", file.attrs["schema_name"]
        dataset = file["parameters/conv1.weight"]
        axes = dataset.attrs["axes"]
        assert axes in ("OHWI", b"OHWI"), axes
        weight = dataset[()]
        scale = file["parameters/conv1.weight.q.scale"][()]
        graph = file["graph"][()]
    graph = graph.decode() if isinstance(graph, bytes) else graph
    node = attributes_of(graph, "conv1.weight.q")
    codes = np.clip(np.rint(weight / scale[:, None, None, None]), int(node["qmin"]),
                    int(node["qmax"]))
    weight = codes * scale[:, None, None, None].astype(np.float64)
    with h5py.File(probe_path, "r") as file:
        source = file["source"][()].astype(np.float64)
        result = file["result"][()]
    n, height, width, _ = source.shape
    padded = np.pad(source, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros((n, height, width, weight.shape[0]))
    for y in range(3):
        for x in range(3):
            window = padded[:, y:y + height, x:x + width, :]
            expected += np.einsum("nhwi,oi->nhwo", window, weight[:, y, x, :])
    error = np.abs(expected - result).max() / np.abs(expected).max()
    print(f"{result.shape} outputs, largest relative error {error:.2e}")
    assert np.abs(expected).max() > 0.01
    assert error < 1e-5, error


if __name__ == "__main__":
    main()
