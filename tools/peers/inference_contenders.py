"""Who takes part in inference.py: their models and their processes.

Comes from: bitloom's graph text, inference_models.py, inference_peer.py. Goes to: inference.py.
"""
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import zlib

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from inference_models import KINDS  # noqa: E402
from side_by_side import Failure, cpu_value, run  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Contender:
    method: str  # bitloom's word
    bits: tuple  # of weights, of activations
    kind: str = ""  # of its model file, of KINDS
    quant: str = ""  # ours: more lines of [quant]
    network: str = ""  # ours: this one instead of the table's
    backend: str = ""  # ours: what runs it, where not the usual one
    usual: bool = True  # takes part where no contenders are named


OURS = {
    "bitloom-float": Contender("float", (32, 32)),
    "bitloom-bf16": Contender("bf16", (16, 16), "bitloom-float", backend="onednn-bf16"),
    "bitloom-static": Contender("ptq-static", (8, 8)),
    "bitloom-dynamic": Contender("ptq-dynamic", (8, 8)),
    "bitloom-weight-only": Contender("ptq-weight-only", (8, 32)),
    "bitloom-binary": Contender("qat", (1, 1), quant="""method = qat
quantizer = bi-real
weight_bits = 1
activation_bits = 1
first_last_bits = 8
""", usual=False),
    "bitloom-resnet18-int8": Contender("ptq-static", (8, 8), network="resnet18", usual=False),
}
PEERS = {
    "onnxruntime-float": Contender("float", (32, 32), "onnx-float"),
    "onnxruntime-static": Contender("ptq-static", (8, 8), "onnx-static"),
    "onnxruntime-dynamic": Contender("ptq-dynamic", (8, 8), "onnx-dynamic"),
    "openvino-float": Contender("float", (32, 32), "openvino-float"),
    "openvino-bf16": Contender("bf16", (16, 16), "openvino-float"),
    "openvino-int8": Contender("ptq-static", (8, 8), "openvino-int8"),
    "litert-float": Contender("float", (32, 32), "litert-float"),
    "litert-dynamic": Contender("ptq-dynamic", (8, 8), "litert-dynamic"),
    "litert-int8": Contender("ptq-static", (8, 8), "litert-int8"),
    "larq": Contender("qat", (1, 1), "larq", usual=False),
    "larq-indirect": Contender("qat", (1, 1), "larq", usual=False),
    "larq-xnnpack": Contender("qat", (1, 1), "larq", usual=False),
}
# --isa: bitloom's word and that of OpenVINO's oneDNN.
CAPS = {"avx2": ("avx2", "AVX2"), "avx512": ("avx512", "AVX512_CORE"),
        "vnni": ("avx512_vnni", "AVX512_CORE_VNNI"), "amx": ("avx512_amx", "AVX512_CORE_AMX")}

# Methods whose products are real: no profile goes for them.
REALS = ("float", "bf16", "ptq-weight-only")

# A checkpoint of seeded values: no step is trained, as latency does not depend on them.
CONFIG = """[data]
reader = synthetic
synthetic_images = 16
synthetic_test_images = 8
validation_images = 8
synthetic_channels = 3
synthetic_height = {side}
synthetic_width = {side}
classes = 1000
[model]
network = {network}
[train]
epochs = 0
batch = 4
[quant]
calibration_images = 8
"""


def profile_of(isa):
    """Number formats that this CPU, capped so, runs exactly: 7-bit weights without VNNI."""
    flags = cpu_value("flags").split()
    has_vnni = "avx512_vnni" in flags or "avx_vnni" in flags
    return "int8" if has_vnni and isa in (None, "vnni", "amx") else "int8-reduced"


class ModelFolder:
    """Makes model files where they are missing, or were made of another graph or by another
    version: DIR/NETWORK/FILE with a row of facts beside each."""

    def __init__(self, options):
        self.options = options
        said = run([options.bitloom, "--version"], 1, 60)
        self.version = said.splitlines()[0]
        cpu = re.search(r"^CPU .*, (\w+)$", said, re.MULTILINE)
        self.isa = CAPS[options.isa][0] if options.isa else cpu[1]  # bitloom's word, for rows
        self.graphs, self.failed = {}, {}

    def model(self, network, contender):
        """Facts of its file, "path" among them. Raises Failure."""
        if contender in OURS:
            kind, network = self._our_kind(contender), OURS[contender].network or network
        else:
            kind = PEERS[contender].kind
        if (network, kind) in self.failed:
            raise Failure(self.failed[network, kind])
        try:
            return self._fresh(network, kind)
        except Failure as failure:
            self.failed[network, kind] = str(failure)
            raise

    def _our_kind(self, contender):
        reduced = (OURS[contender].method not in REALS and
                   profile_of(self.options.isa) == "int8-reduced")
        return (OURS[contender].kind or contender) + ("-reduced" if reduced else "")

    def _fresh(self, network, kind):
        folder = pathlib.Path(self.options.models) / network
        folder.mkdir(parents=True, exist_ok=True)
        graph = self._graph(network, folder)
        facts_file = folder / f"{kind}.json"
        made_from = f"{zlib.crc32(graph.read_bytes()):08x}"
        if kind not in KINDS:
            made_from += f", {self.version}"
        elif KINDS[kind].needs:
            self._fresh(network, KINDS[kind].needs)
        if facts_file.exists():
            facts = json.loads(facts_file.read_text())
            if facts["made_from"] == made_from and pathlib.Path(facts["path"]).exists():
                return facts
        print(f"making {network} {kind}", file=sys.stderr)
        facts = self._peer_model(kind, graph, folder) if kind in KINDS else self._own_model(
            network, kind, folder)
        facts.update(made_from=made_from)
        facts_file.write_text(json.dumps(facts))
        return facts

    def _graph(self, network, folder):
        if network not in self.graphs:
            side = 299 if network == "inception_v3" else 224
            path = folder / "graph.net"
            path.write_text(run([self.options.bitloom, "inspect", "--network", network, "--text",
                                 "--data.reader=synthetic", "--data.synthetic_channels=3",
                                 f"--data.synthetic_height={side}",
                                 f"--data.synthetic_width={side}", "--data.classes=1000"], 1, 60))
            self.graphs[network] = path
        return self.graphs[network]

    def _peer_model(self, kind, graph, folder):
        output = run([self.options.python, str(HERE / "inference_models.py"), "--graph", str(graph),
                      "--kind", kind, "--folder", str(folder)],
                     self.options.threads, self.options.timeout)
        facts = json.loads(output.strip().splitlines()[-1])
        facts["path"] = str(folder / facts["file"])
        return facts

    def _own_model(self, network, kind, folder):
        """train for no epoch, quantize, export."""
        path = folder / f"{kind}.model.h5"
        contender = OURS[kind.removesuffix("-reduced")]
        method = contender.method
        profile = "int8-reduced" if kind.endswith("-reduced") else "int8"

        def bitloom(*arguments):
            run([self.options.bitloom, *arguments, "--quiet", f"--threads={self.options.threads}"],
                self.options.threads, self.options.timeout)

        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            config = pathlib.Path(scratch) / "seeded.cfg"
            side = 299 if network == "inception_v3" else 224
            config.write_text(CONFIG.format(network=network, side=side) + contender.quant)
            bitloom("train", "--config", str(config), "--out", scratch,
                    *([f"--profile={profile}"] if method == "qat" else []))
            checkpoint = f"{scratch}/checkpoint.h5"
            if method.startswith("ptq"):
                quantized = f"{scratch}/quantized.h5"
                bitloom("quantize", "--checkpoint", checkpoint, "--method", method,
                        f"--profile={profile}", "--out", quantized)
                checkpoint = quantized
            bitloom("export", "--checkpoint", checkpoint, "--out", str(path),
                    *([] if method in REALS else [f"--profile={profile}"]))
        return {"kind": kind, "path": str(path), "size_bytes": path.stat().st_size}


class PeerProcess:
    """A peer with its model loaded, waiting for its turn. `facts`: for its row."""

    def __init__(self, contender, model, batch, options):
        self.options, self.process = options, None
        environment = dict(os.environ, OMP_NUM_THREADS=str(options.threads),
                           TF_CPP_MIN_LOG_LEVEL="2")
        if options.isa:
            if not contender.startswith("openvino"):
                raise Failure("has no cap on its ISA: would run with all instructions")
            environment["ONEDNN_MAX_CPU_ISA"] = CAPS[options.isa][1]
        self.errors = tempfile.TemporaryFile("w+")
        command = [options.python, str(HERE / "inference_peer.py"), "--peer", contender, "--model",
                   model["path"], "--batch", str(batch), "--threads", str(options.threads)]
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=self.errors, text=True, env=environment)
        except OSError as error:
            raise Failure(str(error)) from error
        self.facts = {key: model.get(key) for key in ("size_bytes", "parameters", "made_by")}
        try:
            self.facts.update(self._answer())
        except Failure:
            self.close()
            raise

    def turn(self):
        try:
            self.process.stdin.write(f"{self.options.seconds}\n")
            self.process.stdin.flush()
        except OSError:
            pass  # it ended: the answer says why
        return self._answer()

    def _answer(self):
        watch = threading.Timer(self.options.timeout, self.process.kill)
        watch.start()
        line = self.process.stdout.readline()
        watch.cancel()
        if line:
            return json.loads(line)
        code = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().strip().splitlines()
        raise Failure(said[-1] if said else f"exit code {code}")

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()


class OurProgram:
    """`bitloom bench --model` as a new process in each turn."""

    def __init__(self, contender, model, batch, options):
        self.options = options
        cores = sorted(os.sched_getaffinity(0))[:options.threads]
        self.command = ["taskset", "--cpu-list", ",".join(map(str, cores)), options.bitloom,
                        "bench", "--model", model["path"], "--batch", str(batch),
                        f"--threads={options.threads}", "--quiet", "--json", "-"]
        if options.isa:
            self.command.append(f"--isa={CAPS[options.isa][0]}")
        if OURS[contender].backend:
            self.command += ["--backend", OURS[contender].backend]
        first = self._bench(LEAST_RUNS)
        self.run_ms = first["latency_ms_p50"]
        self.facts = {key: first.get(key) for key in (
            "size_bytes", "peak_memory_bytes", "resident_memory_bytes", "first_inference_ms",
            "profile", "commit", "isa")}
        self.facts = {key: value for key, value in self.facts.items() if value is not None}
        self.facts["library"] = f"bitloom {first.get('commit', '')}".strip()

    def turn(self):
        runs = max(LEAST_RUNS, round(1e3 * self.options.seconds / self.run_ms))
        row = self._bench(runs)
        return {"runs": runs, **{key: row.get(key) for key in
                                 ("latency_ms_p50", "latency_ms_p90", "latency_ms_p99")}}

    def _bench(self, runs):
        output = run([*self.command, "--runs", str(runs)], self.options.threads,
                     self.options.timeout)
        try:
            return json.loads(output.strip().splitlines()[-1])
        except (ValueError, IndexError) as error:
            raise Failure(f"no row: {error}") from error

    def close(self):
        pass


LEAST_RUNS = 3
