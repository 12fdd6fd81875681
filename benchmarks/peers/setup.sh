#!/bin/sh
# Make one virtual environment a peer (their pins clash): setup.sh [FOLDER], by default .peers beside this folder.
# A peer that is ready has a copy of its requirements at FOLDER/PEER/.installed; PYTHON names the interpreter.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$(dirname "$here")/.peers}
python=${PYTHON:-python3}
mkdir -p "$folder"
for peer in pfl flower opacus; do
    mark="$folder/$peer/.installed"
    if cmp -s "$here/$peer.txt" "$mark"; then
        echo "$peer: ready"
        continue
    fi
    rm -f "$mark"
    log="$folder/$peer.log"
    if "$python" -m venv "$folder/$peer" >"$log" 2>&1 &&
        "$folder/$peer/bin/python" -m pip install --requirement "$here/$peer.txt" >>"$log" 2>&1; then
        cp "$here/$peer.txt" "$mark"
        echo "$peer: installed"
    else
        why=$(grep -i error "$log" | tail -n 1 || true)
        echo "$peer: left out: ${why:-$(tail -n 1 "$log")} (all of it in $log)"
    fi
done
