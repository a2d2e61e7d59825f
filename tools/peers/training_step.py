#!/usr/bin/env python3
"""Training step of bitloom beside PyTorch (float, both layouts), torch.ao and Brevitas.

Run: tools/peers/run.sh --networks lenet5,resnet20 --batch 128 --threads 2 --rounds 5
     (or, where torch and brevitas are installed, python3 tools/peers/training_step.py ...)

Every contender runs in a process of its own, one after the other, and all of them again in each
round, so that what slows the machine slows all alike; rounds start with another contender each.
All train the network that `bitloom inspect --network N --text` prints, by SGD (momentum 0.9, weight
decay 1e-4), on four batches of images in memory. Prints Markdown tables of ratios (median over the
rounds of bitloom / peer; below 1 bitloom is faster, or smaller) and writes the rows as JSON lines.
A contender that fails is named with its reason, and the exit code is 1.
"""
import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

OURS = {
    "bitloom-float": ["--method", "float"],
    "bitloom-w8a8": ["--method", "qat", "--weight-bits", "8", "--activation-bits", "8"],
    "bitloom-w4a4": ["--method", "qat", "--weight-bits", "4", "--activation-bits", "4"],
}
PEERS = ["torch-float", "torch-float-nhwc", "torch-ao-w8a8", "brevitas-w8a8", "brevitas-w4a4"]


class Failure(Exception):
    """A contender that gave no row; the text is its reason."""


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def run(command, threads, timeout):
    """Stdout of a child process. Raises Failure."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout,
                              env=environment, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(str(error)) from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise Failure(said[-1] if said else f"exit code {done.returncode}")
    return done.stdout


class Comparison:
    def __init__(self, options):
        self.options = options
        self.device = cpu_name()
        self.rows = []
        self.failures = {}  # (network, contender) to reason
        self.contenders = list(OURS) + options.peers

    def sizes(self, network):
        """Image channels and side, as `bitloom bench --training` takes them."""
        gray = network.startswith("lenet")
        return (1 if gray else 3), self.options.image_size or (28 if gray else 32)

    def graph(self, network, folder):
        channels, side = self.sizes(network)
        text = run([self.options.bitloom, "inspect", "--network", network, "--text",
                    "--data.reader=synthetic", f"--data.synthetic_channels={channels}",
                    f"--data.synthetic_height={side}", f"--data.synthetic_width={side}",
                    f"--data.classes={self.options.classes}"], 1, self.options.timeout)
        path = pathlib.Path(folder) / f"{network}.net"
        path.write_text(text)
        return path

    def command(self, network, contender, graph):
        options = self.options
        common = ["--network", network, "--batch", str(options.batch),
                  "--classes", str(options.classes), "--steps", str(options.steps)]
        if contender in OURS:
            return [options.bitloom, "bench", "--training", *OURS[contender], *common,
                    "--image-size", str(self.sizes(network)[1]), f"--threads={options.threads}",
                    "--quiet", "--json", "-"]
        return [options.python, str(HERE / "peer_step.py"), "--peer", contender, *common,
                "--graph", str(graph), "--threads", str(options.threads)]

    def measure(self, network, contender, graph, round_number):
        options = self.options
        try:
            output = run(self.command(network, contender, graph), options.threads, options.timeout)
            row = json.loads(output.strip().splitlines()[-1])
        except (Failure, ValueError, IndexError) as error:
            self.failures[network, contender] = str(error)
            row = {"network": network, "error": str(error)}
        row.update(contender=contender, round=round_number, device=self.device)
        self.rows.append(row)
        said = row.get("error") or f"{row['step_ms_p50']:.2f} ms"
        print(f"round {round_number + 1}/{options.rounds} {network} {contender}: {said}",
              file=sys.stderr)

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
                if row["network"] == network and row["contender"] == contender and key in row}

    def ratio(self, network, ours, peer, key):
        """Median over the rounds that both have of ours / peer, or None."""
        mine, theirs = (self.values(network, name, key) for name in (ours, peer))
        ratios = [mine[at] / theirs[at] for at in mine if at in theirs]
        return statistics.median(ratios) if ratios else None


def cell(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def geometric_mean(values):
    if not values or any(value is None or value <= 0 for value in values):
        return None
    return math.exp(statistics.fmean(math.log(value) for value in values))


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def network_table(comparison, network, key, unit, scale):
    rows = []
    for contender in comparison.contenders:
        if (network, contender) in comparison.failures:
            reason = comparison.failures[network, contender].replace("|", "/")
            rows.append([contender, f"failed: {reason}"] + ["-"] * len(OURS))
            continue
        values = list(comparison.values(network, contender, key).values())
        middle = statistics.median(values) * scale if values else None
        rows.append([contender, cell(middle)] +
                    [cell(comparison.ratio(network, ours, contender, key)) for ours in OURS])
    return table([network, unit] + [f"{ours} / it" for ours in OURS], rows)


def mean_table(comparison, key):
    networks = comparison.options.networks
    rows = [[contender] + [
        cell(geometric_mean([comparison.ratio(network, ours, contender, key)
                             for network in networks])) for ours in OURS]
            for contender in comparison.contenders]
    return table([f"geometric mean of {len(networks)} networks"] + [f"{ours} / it" for ours in OURS],
                 rows)


def report(comparison):
    options = comparison.options
    print(f"{comparison.device}, {options.threads} threads, batch {options.batch}, "
          f"{options.rounds} rounds of {options.steps} steps; medians\n")
    for title, key, unit, scale in (("Step time", "step_ms_p50", "ms", 1),
                                    ("Memory above start-up", "peak_memory_bytes", "MiB", 2**-20)):
        print(f"## {title}\n")
        for network in options.networks:
            print(network_table(comparison, network, key, unit, scale) + "\n")
        if len(options.networks) > 1:
            print(mean_table(comparison, key) + "\n")


def words(text):
    return [word for word in text.split(",") if word]


def count(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {number}")
    return number


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bitloom", default=str(ROOT / "build/release/bitloom"), metavar="FILE",
                        help="the program; default build/release/bitloom")
    parser.add_argument("--python", default=sys.executable, metavar="FILE",
                        help="interpreter that has the peers; default this one")
    parser.add_argument("--networks", type=words, default=["lenet5", "resnet20"], metavar="N,N",
                        help="built-in networks of bitloom")
    parser.add_argument("--peers", type=words, default=PEERS, metavar="P,P",
                        help="of " + ", ".join(PEERS))
    parser.add_argument("--batch", type=count, default=128)
    parser.add_argument("--threads", type=count, default=os.cpu_count())
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--steps", type=count, default=20, help="timed steps in a round")
    parser.add_argument("--image-size", type=count, default=None,
                        help="default 28 for lenet..., else 32")
    parser.add_argument("--classes", type=count, default=10)
    parser.add_argument("--timeout", type=count, default=1800, help="seconds for one process")
    parser.add_argument("--json", metavar="FILE", help="rows, one JSON object a line")
    options = parser.parse_args()
    for peer in options.peers:
        if peer not in PEERS:
            parser.error(f"--peers: expected of {', '.join(PEERS)}, found {peer!r}")
    return options


def main():
    options = parse_options()
    comparison = Comparison(options)
    try:
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
