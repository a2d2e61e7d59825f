# Sourced by run.sh, inference.sh and larq.sh: a virtual environment of a script's own.

say() { printf 'peers: %s\n' "$*" >&2; }

# make_venv FOLDER REQUIREMENTS: the packages of the file, each in its own turn, so that one which
# cannot be installed does not take the others with it. Where one failed, the next run tries again.
make_venv() {
  local venv=$1 requirements=$2 done_mark=$1/installed
  cmp -s "$requirements" "$done_mark" && return
  say "installing $(grep -c '==' "$requirements") packages into $venv"
  /usr/bin/python3 -m venv "$venv"
  local failed=0 package
  while read -r package; do
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$package" || {
      say "$package could not be installed"
      failed=1
    }
  done < <(grep '==' "$requirements")
  if [[ $failed -eq 0 ]]; then cp "$requirements" "$done_mark"; fi
}
