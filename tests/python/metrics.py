"""Reads the metrics of standard input with Prometheus's own parser; writes a line of JSON for each sample."""

import json
import sys

from prometheus_client.parser import text_string_to_metric_families

for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation, f"{family.name} has no HELP"
    assert family.type != "unknown", f"{family.name} has no TYPE"
    for sample in family.samples:
        print(json.dumps([family.name, family.type, sample.name, sample.labels, sample.value]))
