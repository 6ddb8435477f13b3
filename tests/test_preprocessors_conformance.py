"""What the Java agent makes of a record, kagent makes of it: to the byte, or it says why not.

`data/java_agent_processing.json` was captured from the Java agent; see `data/README.md`.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import pytest

from kagent import model, preprocessors
from kagent.preprocessors import chain

PAIRS = json.loads(
    (pathlib.Path(__file__).parent / "data" / "java_agent_processing.json").read_text()
)

FORMATS = {
    "COMMONAPACHELOG": "common_apache",
    "COMBINEDAPACHELOG": "combined_apache",
    "APACHEERRORLOG": "apache_error",
    "SYSLOG": "syslog",
    "RFC3339SYSLOG": "rfc3339_syslog",
}

# By pair: what kagent does on purpose in another way, and why. README.md, "Coming from the Java
# agent", has the same for operators.
ACCEPTED = "kagent reads the line, which the Java agent drops: "
DIFFERENCES: Mapping[str, tuple[str, str | None]] = {
    "common#10": (ACCEPTED + "an empty request is an empty text", "request"),
    "common#13": (ACCEPTED + "a host may have an IPv6 address", "host"),
    "common#19": (ACCEPTED + "a time is not judged, it stays what was written", "datetime"),
    "combined#6": ("an escaped quote does not end the field", "agent"),
    "error#6": (ACCEPTED + "not every error is a client's", "client"),
    "error#12": (ACCEPTED + "a severity is any word", "severity"),
    "syslog#12": (ACCEPTED + "a message may be empty", "message"),
    "syslog#18": (ACCEPTED + "U+0085 is a character of the message", "message"),
    "matchPattern_groups_mismatch#1": (
        "names that are not as many as the groups are refused at the start, instead of each line",
        None,
    ),
    "metadata_pretty#1": ("a record is one line: PRETTYPRINT is not offered", None),
}


def as_kagent(option: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the preprocessor, and its options, for one of `dataProcessingOptions`."""
    name = option["optionName"]
    if name == "SINGLELINE":
        parse = option.get("parseOptions", [])
        return "single_line", {
            "separator": r"\\n" if "ESCAPE_NEW_LINE" in parse else "",
            "trim": "none" if "NO_TRIM" in parse else "control",
            "empty_lines": "keep",
        }
    if name == "CSVTOJSON":
        delimiter = option.get("delimiter", ",").replace(r"\t", "\t").removeprefix("\\")
        return "csv_to_json", {
            "columns": tuple(option["customFieldNames"]),
            "delimiter": delimiter,
            "quoting": "none",
            "empty": "nullify_trailing",
            "extra": "drop",
        }
    if name == "LOGTOJSON":
        return "log_to_json", log_to_json(option)
    if name == "ADDMETADATA":
        return "add_metadata", {
            "fields": {"metadata": option.get("metadata")},
            "message": "data",
            "objects": "wrap",
            "position": "first",
        }
    if name == "ADDBRACKETS":
        return "add_brackets", {"newline": "inside"}
    return name, {}


def log_to_json(option: dict[str, Any]) -> dict[str, Any]:
    format_ = option.get("logFormat")
    names = option.get("customFieldNames")
    found: dict[str, Any] = {"fields": tuple(names)} if names else {}
    if "matchPattern" not in option:
        return found | ({"format": FORMATS[format_]} if format_ else {})
    is_apache = format_ in {"COMMONAPACHELOG", "COMBINEDAPACHELOG", "APACHEERRORLOG"}
    return found | {"pattern": option["matchPattern"], "dash": "nullify" if is_apache else "keep"}


def process(pair: dict[str, Any]) -> str:
    """Return what is shipped, 'skipped', or 'config_error'."""
    stages = []
    for option in pair["options"]:
        name, options = as_kagent(option)
        try:
            if preprocessors.find(name) is None:
                return "config_error"
            stages.append(preprocessors.make(name, options))
        except preprocessors.NotLoadableError:
            return "config_error"
    record = pair["input"].encode()
    context = model.ChunkContext("/a", "id", [0], [len(record)])
    (shipped,) = chain.Chain(stages, "drop").run([record], context).records
    return "skipped" if shipped is None else shipped.decode()


@pytest.mark.parametrize(
    "pair",
    [pair for pair in PAIRS if pair["name"] not in DIFFERENCES],
    ids=lambda one: one["name"],
)
def test_the_same_bytes_come_out(pair: dict[str, Any]) -> None:
    """Or none, or the configuration is refused, as with the Java agent."""
    expected = pair["output"] if pair["result"] == "converted" else pair["result"]

    assert expected == process(pair)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_deliberate_difference_is_the_one_that_is_named(name: str) -> None:
    """In one field only where both have an object; an object where the Java agent has none."""
    (pair,) = [pair for pair in PAIRS if pair["name"] == name]
    reason, field = DIFFERENCES[name]

    shipped = process(pair)

    assert reason
    if field is None:
        assert shipped != pair.get("output", pair["result"])
    elif pair["result"] == "skipped":
        assert field in json.loads(shipped)
    else:
        theirs = json.loads(pair["output"])
        ours = json.loads(shipped)
        assert [field] == [one for one in theirs if theirs[one] != ours[one]]
