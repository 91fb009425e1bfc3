#!/usr/bin/env python3
"""quickstart_report.py SUMMARY.json HELDOUT.txt: the model's bits per byte beside those of general compressors."""
import json
import os
import subprocess
import sys

summary = json.load(open(sys.argv[1]))
heldout = sys.argv[2]
raw_bytes = os.path.getsize(heldout)
rows = []
for tool in ("gzip", "xz", "bzip2"):
    packed = subprocess.run([tool, "-9", "-c", heldout], check=True, stdout=subprocess.PIPE).stdout
    rows.append((f"{tool} -9", 8 * len(packed) / raw_bytes))
for e in summary["last_evaluation"]:
    rows.append((f"this model, source {e['source']}, {e['weights']} weights", e["bits_per_byte"]))
for name, bits in rows:
    print(f"  {bits:5.2f}  {name}")
print(f"  on {raw_bytes} held-out bytes the model never trained on")
print(f"  training: {summary['tokens_per_second']:.0f} tokens/s, {summary['total_steps']} steps")
