#!/usr/bin/env bash
# Share of the lines of the integer library, quantizers, export and files that their tests run:
#   tools/coverage.sh [LEAST]     default: at least 90 percent of every folder, or exit code 1
# Builds preset `coverage`, runs the test programs of the folders below, and prints a line a folder
# and the files below LEAST. Needs gcovr, taken from PyPI into build/coverage/venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

least=${1:-90}
folders=(integer quant deploy io)
build=build/coverage
programs=()

cmake --preset coverage >/dev/null
# backends: whole models through deploy and integer; datasets: HDF5 arrays through io.
for folder in "${folders[@]}" backends datasets; do
  for kind in "" _golden _gradient; do
    files=(tests/"$folder"/*"$kind"_test.cpp)
    [[ -e ${files[0]} ]] || continue
    [[ -n $kind || $(printf '%s\n' "${files[@]}" | grep -cvE '(golden|gradient)_test') -gt 0 ]] || continue
    programs+=("test_$folder$kind")
  done
done
cmake --build --preset coverage -j "${BITLOOM_JOBS:-$(nproc)}" --target "${programs[@]}"
find "$build" -name '*.gcda' -delete
for program in "${programs[@]}"; do
  OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive "$build/$program" --gtest_brief=1
done

[[ -x $build/venv/bin/gcovr ]] || {
  python3 -m venv "$build/venv"
  "$build/venv/bin/pip" install -q 'gcovr==8.*'
}
filters=()
for folder in "${folders[@]}"; do filters+=(--filter "src/$folder/" --filter "include/bitloom/$folder/"); done
"$build/venv/bin/gcovr" --root . --object-directory "$build" "${filters[@]}" \
  --gcov-ignore-errors=no_working_dir_found --exclude-throw-branches --merge-mode-functions=separate \
  --json-summary "$build/summary.json" "$build" >"$build/lines.txt"
python3 - "$build/summary.json" "$least" "${folders[@]}" <<'PYTHON'
import json, sys
summary, least, folders = json.load(open(sys.argv[1])), float(sys.argv[2]), sys.argv[3:]
short = []
print(f"{'folder':<10} {'lines':>7} {'run':>7} {'percent':>8}")
for folder in folders:
    files = [f for f in summary["files"] if f["filename"].split("/")[-2] == folder]
    lines, run = (sum(f[key] for f in files) for key in ("line_total", "line_covered"))
    percent = 100 * run / max(lines, 1)
    print(f"{folder:<10} {lines:>7} {run:>7} {percent:>8.1f}")
    short += [folder] if percent < least else []
    for f in sorted(files, key=lambda each: each["line_percent"] or 0):
        if f["line_total"] and f["line_percent"] < least:
            print(f"  {f['filename']:<52} {f['line_percent']:>5.1f} of {f['line_total']}")
sys.exit(f"below {least:g} percent: {', '.join(short)}" if short else 0)
PYTHON
