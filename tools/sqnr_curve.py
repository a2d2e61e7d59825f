#!/usr/bin/env python3
"""Accuracy against size after training: equal widths of weights beside chosen ones at a share of their size.

For each width of --widths: quantizes the float checkpoint by equal widths and by those that
`bitloom allocate` chooses (noise_rule = measured) for --share of that size, exports both and
evaluates them on the held-out and on the test images. Widths of --greedy also by greedy choice from
measured sensitivities, widths of --adaround also with learned rounding of both. Activations have
8 bits. Rows go to --out, one a model, as `bitloom eval` writes them, with method ptq-static,
ptq-mixed, ptq-greedy, ptq-adaround or ptq-mixed-adaround, equal_bits (the width beside which a row
stands), and, from allocate, seconds of the choice and the SQNR measured by it. What is in --out
already is not done again.

  tools/sqnr_curve.py --checkpoint trainers/results/cifar10_resnet20_float.h5 --data FOLDER \\
      --out trainers/results/sqnr_resnet20_ptq.jsonl
"""
import argparse
import json
import pathlib
import subprocess
import tempfile


def bitloom(program, *words):
    subprocess.run([program, *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def last_row(path):
    return json.loads(path.read_text().splitlines()[-1])


def allocate(options, width, greedy, folder):
    """Summaries by method: equal, closed-form and, if asked for, greedy."""
    out = folder / "allocate.json"
    bitloom(
        options.program, "allocate", "--quiet", "--checkpoint", options.checkpoint, "--json", out,
        "--images", options.images, f"--data.path={options.data}", f"--threads={options.threads}",
        "--quant.first_last_bits=0", "--quant.activation_bits=8", f"--quant.weight_bits={width}",
        f"--quant.target_size_of_equal={options.share}", "--quant.noise_rule=measured",
        *(["--greedy"] if greedy else []))
    return {row["method"]: row for row in last_row(out)["methods"]}


def evaluate(options, method, width, summary, folder):
    """The row of one model; `summary` has its widths, or nothing for equal ones."""
    checkpoint, model, out = (folder / name for name in ("ptq.h5", "model.h5", "eval.json"))
    table = [f"--quant.layer_bits={summary['layer_bits']}"] if summary.get("layer_bits") else []
    if method.endswith("adaround"):
        table += ["--quant.adaround=true", f"--quant.adaround_steps={options.adaround_steps}"]
    bitloom(
        options.program, "quantize", "--quiet", "--checkpoint", options.checkpoint, "--method",
        "ptq-static", "--out", checkpoint, f"--data.path={options.data}",
        f"--threads={options.threads}", "--quant.first_last_bits=0", "--quant.activation_bits=8",
        f"--quant.weight_bits={width}", *table)
    bitloom(options.program, "export", "--quiet", "--checkpoint", checkpoint, "--out", model)
    bitloom(options.program, "eval", "--quiet", "--validation", "--model", model, "--json", out,
            f"--threads={options.threads}")
    row = last_row(out)
    del row["plan"]
    row["method"] = method
    row["equal_bits"] = width
    row["layer_bits"] = summary.get("layer_bits")
    row["seconds"] = summary.get("seconds")
    row["measured_sqnr_db"] = summary.get("measured_sqnr_db")
    return row


def run_width(options, width, folder):
    """Makes the rows of one width that are missing."""
    rows = []
    if options.out.exists():
        rows = [json.loads(line) for line in options.out.read_text().splitlines()]
    done = {row["method"]: row for row in rows if row["equal_bits"] == width}
    # By the names that allocate has for them.
    wanted = {"ptq-static": "equal", "ptq-mixed": "closed-form"}
    if width in numbers(options.greedy):
        wanted["ptq-greedy"] = "greedy"
    missing = [method for method in wanted if method not in done]
    summaries = allocate(options, width, "ptq-greedy" in missing, folder) if missing else {}
    todo = [(method, summaries[wanted[method]]) for method in missing]
    if width in numbers(options.adaround):
        chosen = summaries.get("closed-form") or done["ptq-mixed"]
        todo += [(method, {"layer_bits": bits})
                 for method, bits in (("ptq-adaround", None),
                                      ("ptq-mixed-adaround", chosen["layer_bits"]))
                 if method not in done]
    for method, summary in todo:
        if method == "ptq-static":
            summary = {**summary, "layer_bits": None}
        row = evaluate(options, method, width, summary, folder)
        with options.out.open("a") as file:
            file.write(json.dumps(row, sort_keys=True, separators=(",", ":")) + "\n")
        print(f"{method} {width}: {row['average_weight_bits']:.3f} bits, "
              f"{row['parameter_bytes']} bytes, validation {row['validation_top1']:.2f} %, "
              f"test {row['top1']:.2f} %", flush=True)


def numbers(text):
    return [int(word) for word in text.split(",") if word]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=pathlib.Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--program", default="build/release/bitloom")
    parser.add_argument("--widths", default="8,7,6,5,4,3")
    parser.add_argument("--greedy", default="5,4")
    parser.add_argument("--adaround", default="")
    parser.add_argument("--adaround-steps", type=int, default=300)
    parser.add_argument("--share", type=float, default=0.78)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for width in numbers(options.widths):
            run_width(options, width, pathlib.Path(name))


if __name__ == "__main__":
    main()
