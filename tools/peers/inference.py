#!/usr/bin/env python3
"""Inference of bitloom beside ONNX Runtime, OpenVINO and LiteRT: the same networks in one run.

Run: tools/peers/inference.sh --threads 2 --rounds 5 --json build/inference.jsonl
     tools/peers/inference.sh --networks vgg16,resnet50 --batches 1 --isa vnni
     tools/peers/inference.sh --only-models        (so that a later run only times)

Every contender has a process of its own, tied to as many cores as --threads says. The peers of a
network load their models once; then the contenders take turns, one at a time, --seconds each, and
all of them again in each round, every round starting with another one. bitloom runs as `bitloom
bench --model` in each turn. All run the graph that `bitloom inspect --network N --text` prints, at
one batch size, with the peers' own quantization of it (inference_models.py).

Prints Markdown: the ratios that have a goal, then each contender's median latency, then what each
failed for. --json writes one row a network, batch and contender, with the keys of `bitloom bench`
(`bitloom report` draws them); what a tool cannot run is a row with the reason, and the exit code 1.
"""
import argparse
import json
import os
import pathlib
import statistics
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))
from inference_contenders import (OURS, PEERS, Failure, ModelFolder, OurProgram,  # noqa: E402
                                  PeerProcess)
from inference_report import report  # noqa: E402
from side_by_side import count, cpu_value, words  # noqa: E402

SEVEN = ("mobilenet_v1", "inception_v3", "resnet50", "resnet101", "resnet152", "vgg16", "vgg19")
MORE = ("resnet18", "mobilenet_v2", "squeezenet1_1", "alexnet")
ISAS = ("avx2", "avx512", "vnni", "amx")
# A p50 of one round that is this much above the lowest round's marks a row as noisy.
NOISY = 1.25


class Run:
    """Rows of all that was measured."""

    def __init__(self, options):
        self.options = options
        self.models = ModelFolder(options)
        self.rows = []

    def row(self, network, batch, contender, **values):
        known = OURS.get(contender) or PEERS[contender]
        row = {"network": network, "image_size": 299 if network == "inception_v3" else 224,
               "batch": batch, "contender": contender, "backend": contender.split("-")[0],
               "method": known.method, "weight_bits": known.bits[0],
               "activation_bits": known.bits[1], "threads": self.options.threads,
               "isa": self.models.isa, "device": cpu_value("model name"), **values}
        self.rows.append(row)
        if "reason" in row:
            row["latency_ms_p50"] = None
            print(f"{network}, batch {batch}, {contender}: {row['reason']}", file=sys.stderr)

    def measure(self, network, batch):
        started = {}
        try:
            for contender in self.options.contenders:
                try:
                    model = self.models.model(network, contender)
                    maker = OurProgram if contender in OURS else PeerProcess
                    started[contender] = maker(contender, model, batch, self.options)
                except Failure as failure:
                    self.row(network, batch, contender, reason=str(failure))
            self.take_turns(network, batch, started)
        finally:
            for contender in started.values():
                contender.close()

    def take_turns(self, network, batch, started):
        turns = {name: [] for name in started}
        for number in range(self.options.rounds if started else 0):
            first = number % len(started)
            for name in (list(started) * 2)[first:first + len(started)]:
                if name not in turns:
                    continue
                try:
                    load = os.getloadavg()[0]
                    turns[name].append(dict(started[name].turn(), load=load))
                except Failure as failure:
                    self.row(network, batch, name, reason=str(failure))
                    del turns[name]
            self.tell(network, batch, number, turns)
        for name, results in turns.items():
            self.row(network, batch, name, **started[name].facts, **summary(results, batch))

    def tell(self, network, batch, number, turns):
        said = ", ".join(f"{name} {results[-1]['latency_ms_p50']:.2f}"
                         for name, results in turns.items())
        print(f"{network}, batch {batch}, round {number + 1}/{self.options.rounds}, ms: {said}",
              file=sys.stderr)


def summary(turns, batch):
    """Of one contender's rounds."""
    p50s = [turn["latency_ms_p50"] for turn in turns]
    middle = {key: statistics.median(turn[key] for turn in turns)
              for key in ("latency_ms_p50", "latency_ms_p90", "latency_ms_p99")
              if all(turn.get(key) is not None for turn in turns)}
    return {**middle, "images_per_second": 1e3 * batch / middle["latency_ms_p50"],
            "runs": sum(turn["runs"] for turn in turns), "rounds": p50s,
            "load_average": max(turn["load"] for turn in turns),
            "noisy": max(p50s) > NOISY * min(p50s)}


def save(rows, path):
    if path:
        pathlib.Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    contenders = [*OURS, *PEERS]
    parser.add_argument("--bitloom", default=str(ROOT / "build/release/bitloom"), metavar="FILE",
                        help="the program; default build/release/bitloom")
    parser.add_argument("--python", default=sys.executable, metavar="FILE",
                        help="interpreter that has the peers; default this one")
    parser.add_argument("--networks", type=words, default=[*SEVEN, *MORE], metavar="N,N",
                        help=f"of bitloom's networks; default {','.join([*SEVEN, *MORE])}")
    parser.add_argument("--contenders", type=words, metavar="C,C",
                        default=[name for name in contenders if {**OURS, **PEERS}[name].usual],
                        help="of " + ", ".join(contenders))
    parser.add_argument("--batches", type=lambda text: [count(word) for word in words(text)],
                        default=[1, 16], metavar="N,N", help="images in a run; default 1,16")
    parser.add_argument("--threads", type=count, default=os.cpu_count())
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one turn; default 2")
    parser.add_argument("--isa", choices=ISAS,
                        help="cap of bitloom and OpenVINO; the others have none and stand aside")
    parser.add_argument("--models", default=str(ROOT / "build/inference_models"), metavar="DIR",
                        help="where models are kept; default build/inference_models")
    parser.add_argument("--only-models", action="store_true", help="make them, time nothing")
    parser.add_argument("--timeout", type=count, default=1800, help="seconds for one step")
    parser.add_argument("--json", metavar="FILE", help="rows, one JSON object a line")
    parser.add_argument("--ratios", metavar="FILE", help="ratios, one JSON object a line")
    options = parser.parse_args()
    for contender in options.contenders:
        if contender not in contenders:
            parser.error(f"--contenders: expected of {', '.join(contenders)}, found {contender!r}")
    return options


def make_models(run):
    for network in run.options.networks:
        for contender in run.options.contenders:
            try:
                run.models.model(network, contender)
            except Failure as failure:
                run.row(network, None, contender, reason=str(failure))


def main():
    options = parse_options()
    run = Run(options)
    if options.only_models:
        make_models(run)
    else:
        for network in options.networks:
            for batch in options.batches:
                run.measure(network, batch)
                save(run.rows, options.json)
        report(run.rows, options, SEVEN)
    save(run.rows, options.json)
    sys.exit(1 if any("reason" in row for row in run.rows) else 0)


if __name__ == "__main__":
    main()
