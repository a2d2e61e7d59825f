#!/usr/bin/env python3
"""PyTorch state dicts to bitloom checkpoints and back, for the built-in networks.

    python3 tools/import/torch_state_dict.py --network resnet18 --image 3x224x224 --classes 1000 \\
        resnet18.pth resnet18.h5
    bitloom train --config my.cfg --init resnet18.h5 --out run
    python3 tools/import/torch_state_dict.py --export run/checkpoint.h5 back.pth

Comes from: a .pt or .pth file of torch.save(model.state_dict()), or an .npz of the same arrays (which
needs no PyTorch). Goes to: `bitloom train --init`, `bitloom quantize`, `bitloom export`.

The network's graph is what `bitloom inspect --network N --text` prints (--bitloom names the program),
or --graph's file. --config's file is stored as the run's configuration; without it the checkpoint
names the network and the number of classes alone, which is enough for --init.

alexnet, squeezenet1_1, mobilenet_v2, resnet18 and resnet50 take torchvision's names; the others take
bitloom's own, as --names prints them. What changes on the way:
  convolution   [O, I, KH, KW] becomes OHWI in memory
  linear        [O, I]; behind a flatten of [C, H, W], columns move from order C, H, W to H, W, C
  batch norm    weight, bias, running_mean, running_var become gamma, beta, running_mean, running_var
"""
import argparse
import collections
import pathlib
import re
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools/golden"), str(ROOT / "tools/peers")]
import bitloom_archive  # noqa: E402
import graph_text  # noqa: E402

# (bitloom's layer, torchvision's), tried in order; a network that is not here has its own names.
RESNET = [(r"stem\.conv", r"conv1"), (r"stem\.bn", r"bn1"),
          (r"(layer\d\.\d+)\.shortcut\.conv", r"\1.downsample.0"),
          (r"(layer\d\.\d+)\.shortcut\.bn", r"\1.downsample.1")]
FIRE = {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}
TORCHVISION = {
    "alexnet": [(rf"{ours}", theirs) for ours, theirs in (
        ("conv1", "features.0"), ("conv2", "features.3"), ("conv3", "features.6"),
        ("conv4", "features.8"), ("conv5", "features.10"), ("fc1", "classifier.1"),
        ("fc2", "classifier.4"), ("fc3", "classifier.6"))],
    "squeezenet1_1": [(r"stem\.conv", "features.0"), (r"classifier\.conv", "classifier.1")] + [
        (rf"fire{ours}\.(squeeze|expand1x1|expand3x3)\.conv", rf"features.{theirs}.\1")
        for ours, theirs in FIRE.items()],
    "mobilenet_v2": [
        (r"stem\.conv", "features.0.0"), (r"stem\.bn", "features.0.1"),
        (r"head\.conv", "features.18.0"), (r"head\.bn", "features.18.1"), (r"fc", "classifier.1"),
        (r"block1\.depthwise\.conv", "features.1.conv.0.0"),
        (r"block1\.depthwise\.bn", "features.1.conv.0.1"),
        (r"block1\.project\.conv", "features.1.conv.1"),
        (r"block1\.project\.bn", "features.1.conv.2"),
        (r"block(\d+)\.expand\.conv", r"features.\1.conv.0.0"),
        (r"block(\d+)\.expand\.bn", r"features.\1.conv.0.1"),
        (r"block(\d+)\.depthwise\.conv", r"features.\1.conv.1.0"),
        (r"block(\d+)\.depthwise\.bn", r"features.\1.conv.1.1"),
        (r"block(\d+)\.project\.conv", r"features.\1.conv.2"),
        (r"block(\d+)\.project\.bn", r"features.\1.conv.3")],
    "resnet18": RESNET,
    "resnet50": RESNET,
}
BATCH_NORM = {"gamma": "weight", "beta": "bias", "running_mean": "running_mean",
              "running_var": "running_var"}
ROLES = {"gamma": "norm_scale", "beta": "norm_shift", "running_mean": "statistic",
         "running_var": "statistic", "weight": "weight", "bias": "bias"}

# One tensor: its name in the state dict, its shape there, its role here, and for a linear layer behind
# a flatten the channels of what was flattened (0 elsewhere).
Entry = collections.namedtuple("Entry", "torch_name shape role flattened_channels")


class Refused(Exception):
    """What a user can mend; its text goes to stderr."""


def layer_name(network, ours):
    for pattern, theirs in TORCHVISION.get(network, []):
        match = re.fullmatch(pattern, ours)
        if match:
            return match.expand(theirs)
    return ours


def channels_of(nodes, name):
    """Channels that a node gives out."""
    node = nodes[name]
    if node.op == "input":
        return node.shape()[0]
    if node.op in ("conv2d", "linear"):
        return nodes[node.inputs[1]].shape()[0]
    if node.op == "concat":
        return sum(channels_of(nodes, source) for source in node.inputs)
    return channels_of(nodes, node.inputs[0])


def flattened_channels(nodes, linear):
    """Channels of the picture that a linear layer reads flattened; 0 if it reads a plain vector."""
    node = nodes[linear.inputs[0]]
    while node.op not in ("flatten", "linear", "conv2d", "input"):
        node = nodes[node.inputs[0]]
    return channels_of(nodes, node.inputs[0]) if node.op == "flatten" else 0


def entries_of(network, text):
    """bitloom's parameter name -> Entry, in the graph's order."""
    nodes = {node.name: node for node in graph_text.parse(text)}
    entries = {}
    for node in nodes.values():
        theirs = layer_name(network, node.name)
        if node.op in ("conv2d", "linear"):
            weight = node.inputs[1]
            shape = tuple(nodes[weight].shape())
            channels = flattened_channels(nodes, node) if node.op == "linear" else 0
            entries[weight] = Entry(f"{theirs}.weight", shape, "weight", channels)
            if node.number("bias", 0):
                entries[f"{node.name}.bias"] = Entry(f"{theirs}.bias", shape[:1], "bias", 0)
        elif node.op == "batch_norm":
            shape = (channels_of(nodes, node.inputs[0]),)
            for ours, word in BATCH_NORM.items():
                entries[f"{node.name}.{ours}"] = Entry(f"{theirs}.{word}", shape, ROLES[ours], 0)
    return entries


def to_memory(array, entry):
    """PyTorch's order to ours."""
    if array.ndim == 4:
        return np.ascontiguousarray(array.transpose(0, 2, 3, 1))
    if entry.flattened_channels:
        outputs = array.shape[0]
        return np.ascontiguousarray(
            array.reshape(outputs, entry.flattened_channels, -1).transpose(0, 2, 1)
            .reshape(outputs, -1))
    return np.ascontiguousarray(array)


def to_torch(array, entry):
    """The inverse of to_memory()."""
    if array.ndim == 4:
        return np.ascontiguousarray(array.transpose(0, 3, 1, 2))
    if entry.flattened_channels:
        outputs = array.shape[0]
        return np.ascontiguousarray(
            array.reshape(outputs, -1, entry.flattened_channels).transpose(0, 2, 1)
            .reshape(outputs, -1))
    return array


def load_state(path):
    """Name -> f32 array. Takes a bare state dict or one under "state_dict" or "model", and strips
    DataParallel's "module."."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            state = {name: file[name] for name in file.files}
    else:
        try:
            import torch
        except ModuleNotFoundError:
            raise Refused(f"{path}: expected PyTorch to read it, found none; install torch or "
                               "save the arrays with numpy.savez") from None
        state = torch.load(path, map_location="cpu", weights_only=True)
        for key in ("state_dict", "model"):
            state = state.get(key, state) if isinstance(state, dict) else state
        if not isinstance(state, dict):
            raise Refused(f"{path}: expected a state dict, found {type(state).__name__}")
        state = {name: value.detach().to(torch.float32).numpy() for name, value in state.items()
                 if isinstance(value, torch.Tensor)}
    return {name.removeprefix("module."): value for name, value in state.items()
            if not name.endswith("num_batches_tracked")}


def convert(state, entries, source):
    """Our parameter name -> array in memory order. Raises Refused with every mistake."""
    problems = []
    missing = [entry.torch_name for entry in entries.values() if entry.torch_name not in state]
    known = {entry.torch_name for entry in entries.values()}
    surplus = [name for name in state if name not in known]
    if missing:
        problems.append(f"expected {len(entries)} tensors, found {len(entries) - len(missing)} of "
                        f"them; missing: {', '.join(missing[:5])}{' ...' if missing[5:] else ''}")
    if surplus:
        problems.append(f"expected no other tensors, found {len(surplus)}: "
                        f"{', '.join(surplus[:5])}{' ...' if surplus[5:] else ''}")
    parameters = {}
    for ours, entry in entries.items():
        array = state.get(entry.torch_name)
        if array is None:
            continue
        if tuple(array.shape) != entry.shape:
            problems.append(f"{entry.torch_name}: expected shape {list(entry.shape)}, "
                            f"found {list(array.shape)}; check --image and --classes")
            continue
        array = np.asarray(array, dtype=np.float32)
        if not np.isfinite(array).all():
            problems.append(f"{entry.torch_name}: expected finite values, found others")
        parameters[ours] = to_memory(array, entry)
    if problems:
        raise Refused("\n".join(f"{source}: {problem}" for problem in problems))
    return parameters


def graph_of(arguments):
    if arguments.graph:
        return pathlib.Path(arguments.graph).read_text()
    channels, height, width = (int(size) for size in arguments.image.split("x"))
    command = [arguments.bitloom, "inspect", "--network", arguments.network, "--text",
               "--data.reader=synthetic", f"--data.classes={arguments.classes}",
               f"--data.synthetic_channels={channels}", f"--data.synthetic_height={height}",
               f"--data.synthetic_width={width}"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise Refused(f"{arguments.bitloom}: expected the bitloom program, found none; "
                           "set --bitloom or --graph") from None
    except subprocess.CalledProcessError as error:
        raise Refused(error.stderr.strip()) from None


def write_checkpoint(path, network, graph, config, parameters, entries):
    axes = {4: "OHWI", 2: "OI", 1: "C"}
    tensors = {f"parameters/{name}": (array, axes[array.ndim], "1")
               for name, array in parameters.items()}
    attributes = {f"parameters/{name}": {"role": entries[name].role} for name in parameters}
    attributes[""] = {"network": network, "method": "float", "profile": "", "seed": 1, "epoch": 0,
                      "step": 0, "loss_sum": 0.0, "correct": 0, "seconds": 0.0,
                      "validation_top1": 0.0, "isa": "", "threads": 0, "onednn_version": ""}
    bitloom_archive.write_archive(str(path), "bitloom.checkpoint", 1, tensors, attributes,
                                  {"graph": graph, "config": config})


def import_state(arguments):
    graph = graph_of(arguments)
    entries = entries_of(arguments.network, graph)
    parameters = convert(load_state(arguments.source), entries, arguments.source)
    outputs = [entry.shape[0] for entry in entries.values() if len(entry.shape) > 1][-1]
    config = (pathlib.Path(arguments.config).read_text() if arguments.config else
              f"[data]\nclasses = {outputs}\n\n[model]\nnetwork = {arguments.network}\n")
    write_checkpoint(arguments.target, arguments.network, graph, config, parameters, entries)
    print(f"wrote {arguments.target}: {arguments.network}, {len(parameters)} tensors, "
          f"{sum(array.size for array in parameters.values())} values")


def export_state(arguments):
    """A float checkpoint as a state dict; averaged weights where the run kept them."""
    archive = bitloom_archive.read_archive(str(arguments.source))
    if archive.schema_name != "bitloom.checkpoint":
        raise Refused(f"{arguments.source}: expected a checkpoint, found "
                           f"{archive.schema_name}")
    root = archive.attributes[""]
    if root["method"] != "float":
        raise Refused(f"{arguments.source}: expected a float checkpoint, found "
                           f"{root['method']}")
    state = {}
    for ours, entry in entries_of(root["network"], archive.texts["graph"]).items():
        values = archive.tensors.get(f"averages/{ours}", archive.tensors[f"parameters/{ours}"])
        state[entry.torch_name] = to_torch(values, entry)
    if arguments.target.suffix == ".npz":
        np.savez(arguments.target, **state)
    else:
        import torch
        torch.save({name: torch.from_numpy(array.copy()) for name, array in state.items()},
                   arguments.target)
    print(f"wrote {arguments.target}: {len(state)} tensors")


def print_names(arguments):
    for ours, entry in entries_of(arguments.network, graph_of(arguments)).items():
        print(entry.torch_name, "x".join(str(size) for size in entry.shape), ours)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export", action="store_true", help="from a checkpoint to a state dict")
    parser.add_argument("--names", action="store_true", help="print the names and shapes; no files")
    parser.add_argument("--network", help="built-in network, like resnet18")
    parser.add_argument("--image", default="3x224x224", help="channels x height x width")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--graph", help="graph text, in place of --image and --classes")
    parser.add_argument("--config", help=".cfg stored as the run's configuration")
    parser.add_argument("--bitloom", default=str(ROOT / "build/release/bitloom"))
    parser.add_argument("source", nargs="?", type=pathlib.Path)
    parser.add_argument("target", nargs="?", type=pathlib.Path)
    arguments = parser.parse_args()
    if not arguments.names and arguments.target is None:
        parser.error("expected SOURCE and TARGET")
    if not arguments.export and not arguments.network:
        parser.error("expected --network")
    try:
        if arguments.names:
            print_names(arguments)
        elif arguments.export:
            export_state(arguments)
        else:
            import_state(arguments)
    except (Refused, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
