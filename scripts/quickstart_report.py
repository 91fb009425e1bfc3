#!/usr/bin/env python3
"""The model's held-out bits per byte beside those of general compressors.

Usage: quickstart_report.py [--at-most BITS] SUMMARY.json HELDOUT.txt

With --at-most the exit code is 1 when the averaged weights need more bits per byte.
"""
import argparse
import json
import os
import subprocess
import sys

parser = argparse.ArgumentParser()
parser.add_argument("--at-most", type=float, metavar="BITS")
parser.add_argument("summary")
parser.add_argument("heldout")
args = parser.parse_args()

with open(args.summary, encoding="utf-8") as f:
    summary = json.load(f)
raw_bytes = os.path.getsize(args.heldout)
for tool in ("gzip", "xz", "bzip2"):
    packed = subprocess.run([tool, "-9", "-c", args.heldout], check=True, stdout=subprocess.PIPE).stdout
    print(f"  {8 * len(packed) / raw_bytes:5.2f}  {tool} -9")
evaluations = summary["last_evaluation"]
for e in evaluations:
    print(f"  {e['bits_per_byte']:5.2f}  this model, source {e['source']}, {e['weights']} weights")
print(f"  on {raw_bytes} held-out bytes the model never trained on; it has read the rest of the text, the compressors nothing")
print(f"  training: {summary['tokens_per_second']:.0f} tokens/s, {summary['total_steps']} steps")

if args.at_most is not None:
    worst = max((e["bits_per_byte"] for e in evaluations), default=float("inf"))
    if worst > args.at_most:
        sys.exit(f"quickstart: {worst:.2f} bits per byte, expected at most {args.at_most:g}: the shipped run learnt"
                 " less than it should; please report it with the logs of the run")
