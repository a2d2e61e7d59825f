#!/usr/bin/env python3
"""Training step of bitloom beside PyTorch (float and bf16, both layouts), torch.ao and Brevitas.

Run: tools/peers/run.sh --threads 2 --rounds 5 --json rows.jsonl --ratios ratios.json
     tools/peers/run.sh --networks lenet5:128,resnet18@224:16
     (or, where torch and brevitas are installed, python3 tools/peers/training_step.py ...)

Every contender runs in a process of its own, one after the other, and all of them again in each
round, so that what slows the machine slows all alike; rounds start with another contender each.
All train the network that `bitloom inspect --network N --text` prints, by SGD (momentum 0.9, weight
decay 1e-4), on four batches of images in memory; one with another number of parameters has failed.
Prints Markdown tables of ratios (median over the rounds of bitloom / peer; below 1 bitloom is
faster, or smaller), the ratios that have a goal first, and writes rows and ratios as JSON. bitloom
in bf16 takes part where it and the CPU have that. A contender that fails is named with its reason,
and the exit code is 1.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import re
import statistics
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))
from side_by_side import (Failure, cell, count, cpu_value, geometric_mean, run, table,  # noqa: E402
                          words)

OURS = {
    "bitloom-float": ["--method", "float"],
    "bitloom-w8a8": ["--method", "qat", "--weight-bits", "8", "--activation-bits", "8"],
    "bitloom-w4a4": ["--method", "qat", "--weight-bits", "4", "--activation-bits", "4"],
}
PEERS = ["torch-float", "torch-float-nhwc", "torch-bf16", "torch-bf16-nhwc", "torch-ao-w8a8",
         "brevitas-w8a8", "brevitas-w4a4"]
NETWORKS = "lenet5:128,resnet20:128,vgg_small:100,resnet18@224:16,mobilenet_v1@224:16"

FLOATS = ["torch-float", "torch-float-nhwc"]
BF16S = ["torch-bf16", "torch-bf16-nhwc"]
TIME, MEMORY = "step_ms_p50", "peak_memory_bytes"
# What the ratio says, key of a row, ours, theirs (the best of them, round by round: an eager user
# may choose the layout).
RATIOS = [
    ("W8A8 step / PyTorch float step, better layout", TIME, "bitloom-w8a8", FLOATS),
    ("W4A4 step / PyTorch float step, better layout", TIME, "bitloom-w4a4", FLOATS),
    ("W8A8 step / torch.ao W8A8 step", TIME, "bitloom-w8a8", ["torch-ao-w8a8"]),
    ("W8A8 step / Brevitas W8A8 step", TIME, "bitloom-w8a8", ["brevitas-w8a8"]),
    ("W4A4 step / Brevitas W4A4 step", TIME, "bitloom-w4a4", ["brevitas-w4a4"]),
    ("W8A8 step / our float step", TIME, "bitloom-w8a8", ["bitloom-float"]),
    ("float step / PyTorch float step, better layout", TIME, "bitloom-float", FLOATS),
    ("W8A8 bf16 step / PyTorch float step, better layout", TIME, "bitloom-w8a8-bf16", FLOATS),
    ("W8A8 bf16 step / PyTorch bf16 step, better layout", TIME, "bitloom-w8a8-bf16", BF16S),
    ("float bf16 step / PyTorch bf16 step, better layout", TIME, "bitloom-float-bf16", BF16S),
    ("W8A8 memory / PyTorch float's, better layout", MEMORY, "bitloom-w8a8", FLOATS),
    ("float memory / PyTorch float's, better layout", MEMORY, "bitloom-float", FLOATS),
]


@dataclasses.dataclass(frozen=True)
class Network:
    """One of --networks: NAME, NAME@SIDE, NAME:BATCH or NAME@SIDE:BATCH."""
    name: str
    side: int
    batch: int

    def __str__(self):
        return f"{self.name}@{self.side}, batch {self.batch}"

    def channels(self):
        return 1 if self.name.startswith("lenet") else 3


def has_bf16(bitloom, timeout):
    """True where the CPU multiplies bf16 and the program offers it."""
    flags = cpu_value("flags").split()
    if "amx_bf16" not in flags and "avx512_bf16" not in flags:
        return False
    return "--precision" in run([bitloom, "bench", "--help"], 1, timeout)


class Comparison:
    def __init__(self, options):
        self.options = options
        self.device = cpu_value("model name")
        self.rows = []
        self.failures = {}  # (network, contender) to reason
        self.parameters = {}  # network to their count
        self.ours = dict(OURS)
        if has_bf16(options.bitloom, options.timeout):
            for name, words_of in OURS.items():
                self.ours[f"{name}-bf16"] = [*words_of, "--precision", "bf16"]
        self.contenders = list(self.ours) + options.peers

    def graph(self, network, folder):
        text = run([self.options.bitloom, "inspect", "--network", network.name, "--text",
                    "--data.reader=synthetic", f"--data.synthetic_channels={network.channels()}",
                    f"--data.synthetic_height={network.side}",
                    f"--data.synthetic_width={network.side}",
                    f"--data.classes={self.options.classes}"], 1, self.options.timeout)
        path = pathlib.Path(folder) / f"{network.name}_{network.side}.net"
        path.write_text(text)
        return path

    def command(self, network, contender, graph):
        options = self.options
        common = ["--network", network.name, "--batch", str(network.batch),
                  "--classes", str(options.classes), "--steps", str(options.steps)]
        if contender in self.ours:
            return [options.bitloom, "bench", "--training", *self.ours[contender], *common,
                    "--image-size", str(network.side), f"--threads={options.threads}",
                    "--quiet", "--json", "-"]
        return [options.python, str(HERE / "peer_step.py"), "--peer", contender, *common,
                "--graph", str(graph), "--threads", str(options.threads)]

    def measure(self, network, contender, graph, round_number):
        options = self.options
        try:
            output = run(self.command(network, contender, graph), options.threads, options.timeout)
            row = json.loads(output.strip().splitlines()[-1])
            self.require_same_network(network, row)
        except (Failure, ValueError, IndexError, KeyError) as error:
            self.failures[network, contender] = str(error)
            row = {"error": str(error)}
        row.update(network=network.name, image_size=network.side, batch=network.batch,
                   contender=contender, round=round_number, device=self.device)
        self.rows.append(row)
        said = row.get("error") or f"{row['step_ms_p50']:.2f} ms"
        print(f"round {round_number + 1}/{options.rounds} {network} {contender}: {said}",
              file=sys.stderr)

    def require_same_network(self, network, row):
        expected = self.parameters.setdefault(network, row["parameters"])
        if row["parameters"] != expected:
            raise Failure(f"another network: {row['parameters']} parameters instead of {expected}")

    def run_all(self):
        with tempfile.TemporaryDirectory() as folder:
            graphs = {network: self.graph(network, folder) for network in self.options.networks}
            for round_number in range(self.options.rounds):
                first = round_number % len(self.contenders)
                order = self.contenders[first:] + self.contenders[:first]
                for network, graph in graphs.items():
                    for contender in order:
                        if (network, contender) not in self.failures:
                            self.measure(network, contender, graph, round_number)

    def values(self, network, contender, key):
        """By round."""
        return {row["round"]: row[key] for row in self.rows
                if (row["network"], row["image_size"], row["batch"], row["contender"]) ==
                (network.name, network.side, network.batch, contender) and key in row}

    def ratios(self, network, ours, peers, key):
        """Ours / the least of the peers, of each round that all of them have."""
        mine = self.values(network, ours, key)
        theirs = [self.values(network, peer, key) for peer in peers]
        return [mine[at] / min(peer[at] for peer in theirs) for at in mine
                if all(at in peer for peer in theirs)]

    def ratio(self, network, ours, peers, key):
        """Their median, or None."""
        ratios = self.ratios(network, ours, peers, key)
        return statistics.median(ratios) if ratios else None


def network_table(comparison, network, key, unit, scale):
    rows = []
    for contender in comparison.contenders:
        if (network, contender) in comparison.failures:
            reason = comparison.failures[network, contender].replace("|", "/")
            rows.append([contender, f"failed: {reason}"] + ["-"] * len(comparison.ours))
            continue
        values = list(comparison.values(network, contender, key).values())
        middle = statistics.median(values) * scale if values else None
        rows.append([contender, cell(middle)] +
                    [cell(comparison.ratio(network, ours, [contender], key))
                     for ours in comparison.ours])
    return table([str(network), unit] + [f"{ours} / it" for ours in comparison.ours], rows)


def mean_table(comparison, key):
    networks = comparison.options.networks
    rows = [[contender] + [
        cell(geometric_mean([comparison.ratio(network, ours, [contender], key)
                             for network in networks])) for ours in comparison.ours]
            for contender in comparison.contenders]
    return table([f"geometric mean of {len(networks)} networks"] +
                 [f"{ours} / it" for ours in comparison.ours], rows)


def ratio_records(comparison):
    """RATIOS of this run, one a network, each with its rounds; the last of each their mean."""
    records = []
    for name, key, ours, peers in RATIOS:
        medians = []
        for network in comparison.options.networks:
            rounds = comparison.ratios(network, ours, peers, key)
            medians.append(statistics.median(rounds) if rounds else None)
            records.append({"ratio": name, "network": network.name, "image_size": network.side,
                            "batch": network.batch, "median": medians[-1], "rounds": rounds})
        records.append({"ratio": name, "network": None, "geometric_mean": geometric_mean(medians)})
    return records


def ratio_table(records, networks):
    rows = []
    for name, *_ in RATIOS:
        own = [record for record in records if record["ratio"] == name]
        values = [record.get("median", record.get("geometric_mean")) for record in own]
        if any(value is not None for value in values):
            rows.append([name] + [cell(value) for value in values])
    return table(["ratio"] + [str(network) for network in networks] + ["geometric mean"], rows)


def report(comparison):
    options = comparison.options
    print(f"{comparison.device}, {options.threads} threads, "
          f"{options.rounds} rounds of {options.steps} steps; medians\n")
    if len(comparison.ours) == len(OURS):
        print("bitloom in f32 alone: this CPU or this build has no bf16.\n")
    records = ratio_records(comparison)
    print("## Ratios\n\n" + ratio_table(records, options.networks) + "\n")
    if options.ratios:
        text = "".join(json.dumps(dict(record, device=comparison.device)) + "\n"
                       for record in records)
        pathlib.Path(options.ratios).write_text(text)
    for title, key, unit, scale in (("Step time", TIME, "ms", 1),
                                    ("Memory above start-up", MEMORY, "MiB", 2**-20)):
        print(f"## {title}\n")
        for network in options.networks:
            print(network_table(comparison, network, key, unit, scale) + "\n")
        if len(options.networks) > 1:
            print(mean_table(comparison, key) + "\n")


NETWORK = re.compile(r"^([^@:]+)(?:@(\d+))?(?::(\d+))?$")


def network_of(word, options):
    """Raises ValueError."""
    match = NETWORK.match(word)
    if match is None:
        raise ValueError(f"expected NAME[@SIDE][:BATCH], found {word!r}")
    name, side, batch = match.groups()
    usual = options.image_size or (28 if name.startswith("lenet") else 32)
    network = Network(name, int(side or usual), int(batch or options.batch))
    if network.side < 1 or network.batch < 1:
        raise ValueError(f"expected 1 pixel and image or more, found {word!r}")
    return network


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bitloom", default=str(ROOT / "build/release/bitloom"), metavar="FILE",
                        help="the program; default build/release/bitloom")
    parser.add_argument("--python", default=sys.executable, metavar="FILE",
                        help="interpreter that has the peers; default this one")
    parser.add_argument("--networks", type=words, default=words(NETWORKS), metavar="N,N",
                        help=f"NAME[@SIDE][:BATCH], of bitloom's networks; default {NETWORKS}")
    parser.add_argument("--peers", type=words, default=PEERS, metavar="P,P",
                        help="of " + ", ".join(PEERS))
    parser.add_argument("--batch", type=count, default=128, help="where a network gives none")
    parser.add_argument("--threads", type=count, default=os.cpu_count())
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--steps", type=count, default=20, help="timed steps in a round")
    parser.add_argument("--image-size", type=count, default=None,
                        help="where a network gives none; default 28 for lenet..., else 32")
    parser.add_argument("--classes", type=count, default=10)
    parser.add_argument("--timeout", type=count, default=1800, help="seconds for one process")
    parser.add_argument("--json", metavar="FILE", help="rows, one JSON object a line")
    parser.add_argument("--ratios", metavar="FILE", help="ratios, one JSON object a line")
    options = parser.parse_args()
    for peer in options.peers:
        if peer not in PEERS:
            parser.error(f"--peers: expected of {', '.join(PEERS)}, found {peer!r}")
    try:
        options.networks = [network_of(word, options) for word in options.networks]
    except ValueError as error:
        parser.error(f"--networks: {error}")
    return options


def main():
    options = parse_options()
    try:
        comparison = Comparison(options)
        comparison.run_all()
    except Failure as failure:  # without bitloom there is nothing to compare
        sys.exit(f"training_step.py: {failure}")
    if options.json:
        text = "".join(json.dumps(row) + "\n" for row in comparison.rows)
        pathlib.Path(options.json).write_text(text)
    report(comparison)
    sys.exit(1 if comparison.failures else 0)


if __name__ == "__main__":
    main()
