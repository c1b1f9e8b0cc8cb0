"""Prints `passed failed skipped` of a ctest JUnit report; names the skipped.

A test that ctest could not start counts as failed: JUnit calls it skipped.
"""

import sys
import xml.etree.ElementTree as ElementTree


def main(report):
    passed = failed = skipped = 0
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        reason = case.find("skipped")
        if case.get("status") == "run":
            passed += 1
        elif reason is not None and (
                "SKIP_" in reason.get("message", "")):
            skipped += 1
            print(f"   SKIPPED: {case.get('name')}: "
                  f"{reason.get('message')}\n"
                  f"{case.findtext('system-out', '').strip()[-500:]}",
                  file=sys.stderr)
        else:
            failed += 1
    print(passed, failed, skipped)


main(sys.argv[1])
