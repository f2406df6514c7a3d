#!/usr/bin/env python3
"""Adapter of `sconce tensors` for the conformance suite of OpenSSF Model Signing.

The suite (model-signing-conformance) calls `oms_client.py sign-model ...` and `verify-model ...` and looks at the exit
code. In its folder:

    SCONCE_CLI=build/release/sconce pytest --entrypoint=.../tests/python/oms_client.py --skip-sigstore
"""

import argparse
import os
import pathlib
import subprocess
import sys

CLI = os.environ.get("SCONCE_CLI", str(pathlib.Path(__file__).parents[2] / "build/release/sconce"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["sign-model", "verify-model"])
    for name in ("method", "model-path", "output-bundle", "bundle", "private-key", "signing-cert", "public-key"):
        parser.add_argument(f"--{name}")
    for name in ("cert-chain", "ignore-paths"):
        parser.add_argument(f"--{name}", action="append", default=[])
    parser.add_argument("--ignore-unsigned-files", action="store_true")
    o, unknown = parser.parse_known_args()
    if o.method not in ("key", "certificate"):
        sys.exit(f"oms_client.py: method {o.method} is not supported: {unknown}")
    if o.command == "sign-model":
        arguments = ["sign", o.model_path, "--key", o.private_key, "-o", o.output_bundle]
        if o.method == "certificate":
            arguments += ["--certificate", o.signing_cert]
            arguments += [a for path in o.cert_chain for a in ("--chain", path)]
    else:
        arguments = ["verify", o.model_path, "--signature", o.bundle]
        if o.method == "key":
            arguments += ["--key", o.public_key]
        else:
            arguments += [a for path in o.cert_chain for a in ("--roots", path)]
        arguments += ["--ignore-unsigned"] * o.ignore_unsigned_files + ["--allow-deprecated"]
    arguments += [a for path in o.ignore_paths for a in ("--ignore", path)]
    sys.exit(subprocess.run([CLI, "tensors", *arguments]).returncode)


if __name__ == "__main__":
    main()
