#!/usr/bin/env python3
"""Prints the failures of a `bazel test` and `N passed, N failed`; exits with 1 when something failed.

Usage: count_tests.py BUILD_EVENTS.json BAZEL_EXIT_CODE

Counts the test cases in the test.xml files that Bazel's build events name, results from its cache included. A target
that did not build or load, or broke off without a failed case, counts as one failure.
"""
import json
import sys
import urllib.parse
import xml.etree.ElementTree as xml


def events(path):
    with open(path, encoding="utf-8") as f:
        for line in f:
            yield json.loads(line)


def cases(path):
    """(names of passed cases, names of failed ones); both empty when there is no readable test.xml."""
    passed, failed = [], []
    try:
        root = xml.parse(path).getroot()
    except (OSError, xml.ParseError):
        return passed, failed
    for case in root.iter("testcase"):
        if case.get("status") == "notrun" or case.find("skipped") is not None:
            continue
        name = ".".join(x for x in (case.get("classname"), case.get("name")) if x)
        broken = case.find("failure") is not None or case.find("error") is not None
        (failed if broken else passed).append(name)
    return passed, failed


def main():
    path, bazel_code = sys.argv[1], int(sys.argv[2])
    passed, failures, not_built, xml_of, log_of = 0, [], [], {}, {}
    status_of = {}
    for event in events(path):
        key = event.get("id", {})
        if "testResult" in key:
            label = key["testResult"]["label"]
            for output in event.get("testResult", {}).get("testActionOutput", []):
                file = urllib.parse.unquote(urllib.parse.urlparse(output.get("uri", "")).path)
                if output["name"] == "test.xml":
                    xml_of.setdefault(label, []).append(file)  # one a shard
                elif output["name"] == "test.log":
                    log_of[label] = file
        elif "testSummary" in key and "testSummary" in event:
            status_of[key["testSummary"]["label"]] = event["testSummary"]["overallStatus"]
        elif "targetCompleted" in key:
            if not event.get("completed", {}).get("success"):
                not_built.append(key["targetCompleted"]["label"])

    for label, status in sorted(status_of.items()):
        results = [cases(file) for file in xml_of.get(label, [])]
        good = [name for ok, _ in results for name in ok]
        bad = [name for _, broken in results for name in broken]
        if status in ("PASSED", "FLAKY"):
            passed += max(1, len(good))
        elif status == "NO_STATUS":
            not_built.append(label)
        else:
            passed += len(good)
            failures += [(label, name, status, log_of.get(label, "")) for name in bad or ["(whole target)"]]
    failures += [(label, "", "did not build", "") for label in sorted(set(not_built))]
    # 4: no tests were found. Another code without a failure above: the build could not even be analysed.
    if bazel_code not in (0, 4) and not failures:
        failures.append(("bazel", "", f"exit code {bazel_code}, see its message above", ""))

    for label, name, status, log in failures:
        print(f"FAILED {label} {name} [{status}]" + (f" {log}" if log else ""))
    print(f"{passed} passed, {len(failures)} failed")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
