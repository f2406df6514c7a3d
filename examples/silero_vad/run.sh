#!/bin/sh
# The main job, step by step: compile the exported model, run it on a recording, look at the answer.
#     examples/silero_vad/run.sh BUILD_FOLDER OUTPUT_FOLDER
set -eu
here=$(dirname "$0")
build=$1
out=$2
mkdir -p "$out"

step() {
  printf '$ %s\n' "$*"
  "$@"
}
step "$build/sconce" compile "$here/silero_vad.pt2" -o "$out/silero_vad.pte"
step "$build/examples/speech_view" tensor "$here/speech.wav" "$out/speech.npy"
step "$build/sconce" run "$out/silero_vad.pte" --inputs "$out/speech.npy" --outputs "$out/answer.safetensors"
step "$build/examples/speech_view" show "$here/speech.wav" "$out/answer.safetensors" "$out/speech.svg"
