"""Tables and ratios of inference.py's rows.

Comes from: rows of inference.py. Goes to: stdout, --ratios.
"""
import dataclasses
import json
import pathlib

from side_by_side import cell, cpu_value, geometric_mean, table

FLOATS = ("onnxruntime-float", "openvino-float", "litert-float")


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Latency of `ours` over that of the fastest of `peers`, in the same run."""
    title: str
    ours: str
    peers: tuple
    goals: dict  # by ISA: "all" goes for every other one; none: for information
    networks: tuple = ()  # empty: the seven
    batch: int = 1
    worst: float = None  # no network above this
    inverse: bool = False  # throughput: at least the goal


RATIOS = (
    Ratio("int8 / OpenVINO int8", "bitloom-static", ("openvino-int8",),
          {"amx": 0.95, "all": 1.0}, worst=1.15),
    Ratio("int8 / OpenVINO int8, MobileNetV1", "bitloom-static", ("openvino-int8",),
          {"amx": 0.65, "all": 0.8}, ("mobilenet_v1",)),
    Ratio("int8 / ONNX Runtime QDQ U8S8", "bitloom-static", ("onnxruntime-static",), {"all": 0.45}),
    Ratio("float / best float of ONNX Runtime, OpenVINO, LiteRT", "bitloom-float", FLOATS,
          {"all": 1.1}),
    Ratio("dynamic range / LiteRT dynamic range", "bitloom-dynamic", ("litert-dynamic",),
          {"all": 1.0}),
    Ratio("throughput of int8 / OpenVINO int8, ResNet50, batch 16", "bitloom-static",
          ("openvino-int8",), {"all": 0.95}, ("resnet50",), batch=16, inverse=True),
    Ratio("int8 / our float", "bitloom-static", ("bitloom-float",), {"all": 1.0}, worst=1.0),
    Ratio("int8 / LiteRT int8", "bitloom-static", ("litert-int8",), {}),
    Ratio("dynamic range / ONNX Runtime dynamic", "bitloom-dynamic", ("onnxruntime-dynamic",), {}),
    Ratio("int8 / OpenVINO int8, batch 16", "bitloom-static", ("openvino-int8",), {}, batch=16),
    Ratio("float / best float, batch 16", "bitloom-float", FLOATS, {}, batch=16),
    Ratio("1W1A / larq-compute-engine at its best", "bitloom-binary",
          ("larq", "larq-indirect", "larq-xnnpack"), {"all": 0.2}, ("resnet18_bireal",)),
    Ratio("1W1A Bi-Real / our int8 ResNet-18", "bitloom-binary", ("bitloom-resnet18-int8",),
          {"amx": None, "all": 0.77}, ("resnet18_bireal",)),
)


def running_isa(options):
    """What the cap, or the CPU, comes to."""
    if options.isa:
        return options.isa
    flags = cpu_value("flags").split()
    return "amx" if "amx_int8" in flags else "vnni" if "avx512_vnni" in flags else "other"


class Rows:
    def __init__(self, rows):
        self.by_place = {(row["network"], row["batch"], row["contender"]): row for row in rows}

    def row(self, network, batch, contender):
        return self.by_place.get((network, batch, contender), {})

    def latency(self, network, batch, contender):
        return self.row(network, batch, contender).get("latency_ms_p50")

    def ratio(self, of, network):
        """Median over rounds of ours over the least of the peers in the same round; or None."""
        mine = self.row(network, of.batch, of.ours).get("rounds")
        theirs = [self.row(network, of.batch, peer).get("rounds") for peer in of.peers]
        if mine is None or any(rounds is None for rounds in theirs):
            return None
        ratios = sorted(own / min(least) for own, *least in zip(mine, *theirs))
        half = len(ratios) // 2
        middle = ratios[half] if len(ratios) % 2 else (ratios[half - 1] + ratios[half]) / 2
        return 1 / middle if of.inverse else middle


def ratio_records(rows, options, seven):
    """One record for each of RATIOS: its networks' ratios, their mean, the goal, whether it is met
    (null where a network is missing)."""
    records, found, isa = [], Rows(rows), running_isa(options)
    for of in RATIOS:
        wanted = of.networks or seven
        ratios = {network: found.ratio(of, network) for network in wanted}
        taken = {network: ratio for network, ratio in ratios.items() if ratio is not None}
        if not taken:
            continue
        mean, goal = geometric_mean(list(taken.values())), of.goals.get(isa, of.goals.get("all"))
        met = None
        if goal is not None and len(taken) == len(wanted):
            met = mean >= goal if of.inverse else mean <= goal
            met = met and (of.worst is None or max(taken.values()) <= of.worst)
        records.append({"ratio": of.title, "batch": of.batch, "isa": isa, "networks": taken,
                        "geometric_mean": mean, "of": len(wanted), "goal": goal,
                        "inverse": of.inverse, "worst_allowed": of.worst, "met": met})
    return records


def ratio_table(records):
    rows = []
    for record in records:
        worst = max(record["networks"], key=record["networks"].get)
        goal = "-"
        if record["goal"] is not None:
            goal = f"{'>=' if record['inverse'] else '<='} {record['goal']:.2f}"
            if record["worst_allowed"] and record["of"] > 1:
                goal += f", none above {record['worst_allowed']:.2f}"
        met = {True: "yes", False: "no", None: "-"}[record["met"]]
        rows.append([record["ratio"], cell(record["geometric_mean"]),
                     f"{len(record['networks'])} of {record['of']}",
                     f"{cell(record['networks'][worst])} ({worst})", goal, met])
    return table(["ratio", "geometric mean", "networks", "highest", "goal", "met"], rows)


def latency_table(found, options, batch):
    rows = []
    for contender in options.contenders:
        cells = []
        for network in options.networks:
            row = found.row(network, batch, contender)
            mark = " *" if row.get("noisy") else ""
            cells.append("failed" if "reason" in row else cell(row.get("latency_ms_p50")) + mark)
        rows.append([contender, *cells])
    return table([f"p50 in ms, batch {batch}", *options.networks], rows)


def network_ratio_table(records, networks):
    rows = [[record["ratio"], *[cell(record["networks"].get(network)) for network in networks]]
            for record in records]
    return table(["ratio", *networks], rows)


def report(rows, options, seven):
    found = Rows(rows)
    load = max((row.get("load_average", 0) for row in rows), default=0)
    print(f"{cpu_value('model name')}, {options.threads} threads, ISA "
          f"{options.isa or 'uncapped'} ({running_isa(options)}), {options.rounds} rounds of "
          f"{options.seconds} s; medians; load average up to {load:.1f}\n")
    records = ratio_records(rows, options, seven)
    if records:
        print("## Ratios\n\n" + ratio_table(records) + "\n")
        shown = [name for name in options.networks
                 if any(name in record["networks"] for record in records)]
        print(network_ratio_table(records, shown) + "\n")
    for batch in options.batches:
        print(latency_table(found, options, batch) + "\n")
    print("`*`: rounds differ by a quarter or more.\n")
    reasons = [[row["network"], str(row["batch"]), row["contender"],
                row["reason"].replace("|", "/")] for row in rows if "reason" in row]
    if reasons:
        print("## Failed\n\n" + table(["network", "batch", "contender", "reason"], reasons) + "\n")
    if options.ratios:
        text = "".join(json.dumps(dict(record, device=cpu_value("model name"))) + "\n"
                       for record in records)
        pathlib.Path(options.ratios).write_text(text)
