#!/usr/bin/env bash
# Runs tests on an emulated 64-bit Arm. The machine may be any Debian with python3 and pip; nothing
# is installed on it. Compiling the training kernel alone takes minutes.
#
#   tests/system/arm64.sh SCRATCH [PYTEST ARGUMENT...]
#
# SCRATCH is a directory that takes 1.5 GB and is reused if it exists. Without arguments the script
# runs the tests of the engine, and those that compare models with scikit-learn's, except slow ones.
set -euo pipefail

scratch=$(realpath -m "${1:?usage: arm64.sh SCRATCH [PYTEST ARGUMENT...]}")
shift
unset PYTHONPATH  # packages for this machine would hide those for arm64
checkout=$(realpath "$(dirname "$0")/../..")
root=$scratch/root       # Debian's files for arm64, as the emulator shows them
wheels=$scratch/wheels   # Python packages for arm64
emulator=$scratch/qemu/usr/bin/qemu-aarch64-static
python=$scratch/python   # the emulated interpreter

# apt-get with a state of its own, in which arm64 is the only architecture.
arm_apt() {
  apt-get -qq -o Dir::State="$scratch/apt" -o Dir::State::status="$scratch/apt/status" \
    -o Dir::Cache="$scratch/apt" -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
    -o APT::Sandbox::User=root -o APT::Install-Recommends=false -o Acquire::Languages=none "$@"
}

fetch_emulator() {
  mkdir -p "$scratch/deb"
  (cd "$scratch/deb" && apt-get -qq -o APT::Sandbox::User=root download qemu-user-static)
  dpkg-deb -x "$scratch"/deb/qemu-user-static_*.deb "$scratch/qemu"
}

fetch_python() {
  mkdir -p "$root" "$scratch"/apt/{lists,archives}/partial
  touch "$scratch/apt/status"  # nothing is installed: every dependency is downloaded
  arm_apt update
  arm_apt install -y --download-only python3 libstdc++6
  for package in "$scratch"/apt/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
}

fetch_packages() {
  local version=$1 requirements platforms=(--platform manylinux2014_aarch64)
  for libc in $(seq 17 36); do platforms+=(--platform "manylinux_2_${libc}_aarch64"); done
  mapfile -t requirements < <(python3 - "$checkout/pyproject.toml" <<'CODE'
import sys, tomllib
with open(sys.argv[1], "rb") as file:
    print(*tomllib.load(file)["project"]["dependencies"], sep="\n")
CODE
  )
  python3 -m pip install --quiet --no-warn-conflicts --root-user-action=ignore \
    --target "$wheels" --only-binary=:all: \
    --python-version "$version" --implementation cp "${platforms[@]}" \
    "${requirements[@]}" pytest hypothesis pandas mlxtend
}

# The interpreter calls itself by the name of this file, so that its child processes are emulated.
write_launcher() {
  cat >"$python" <<SH
#!/bin/sh
export PYTHONHOME=$root/usr PYTHONPATH=\${PYTHONPATH:+\$PYTHONPATH:}$checkout:$wheels
exec $emulator -cpu max -L $root -0 $python $root/usr/bin/python3 "\$@"
SH
  chmod +x "$python"
}

if [ ! -e "$scratch/complete" ]; then
  fetch_emulator
  fetch_python
  version=$(readlink "$root/usr/bin/python3")  # such as python3.11
  fetch_packages "${version#python}"
  touch "$scratch/complete"
fi
write_launcher

if [ $# -eq 0 ]; then
  set -- -m "not slow" tests/engine tests/training/test_parity_sklearn.py \
    tests/training/test_reproducibility.py
fi
export NUMBA_CACHE_DIR=$scratch/kernels
cd "$checkout"
"$python" -m fastmlp info
"$python" -m pytest -q -p no:cacheprovider --durations 5 "$@"
