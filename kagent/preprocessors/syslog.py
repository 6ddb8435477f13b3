"""Reads syslog, of RFC 3164 and of RFC 5424, with and without the priority. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from kagent import model
from kagent.preprocessors import conversion, flat, formats, jsontext, readers

# --- formats -----------------------------------------------------------------------------------

ALWAYS = ("timestamp", "hostname", "program", "processid", "message")
_NAMES = (*ALWAYS, "priority")
_PRI = formats.Part("priority", rb"(?:<(?P<priority>\d{1,3})>)?+")
_BSD_TIME = rb"(?P<timestamp>[A-Z][a-z]++[ ]++\d{1,2}+[ ]++\d{1,2}+:\d\d:\d{1,2}+(?:[.,:]\d++)?+)"
_RFC3339_TIME = (
    rb"(?P<timestamp>\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:[.,]\d++)?+(?:[Zz]|[+-]\d\d:?+\d\d))"
)
# RFC 3164 makes the tag optional: `last message repeated 3 times`.
_TAGGED = rb"(?:(?P<program>[^ :\[\n]++)(?:\[(?P<processid>[^\] \n]++)\])?+:(?: |\Z)|(?=[^ ]))"


def _syslog(time: bytes) -> formats.Format:
    return formats.Format(
        names=_NAMES,
        parts=(
            _PRI,
            formats.Part("timestamp", time),
            formats.Part("facility", rb"(?: <\d++\.\d++>)?+"),
            formats.token("hostname"),
            formats.Part("program", rb" " + _TAGGED),
            formats.Part("message", rb"(?P<message>[^\n]*+)"),
        ),
        fast=(
            formats.Fast(
                rb"%b ([^ <][^ ]*) ([^ :[]+)(?:\[([^] ]+)\])?: ([^\n]*)"
                % re.sub(rb"\?P<\w+>", b"", time),
                ALWAYS,
                {"processid": b""},
            ),
        ),
        optional=frozenset({"priority"}),
    )


RFC3164 = _syslog(_BSD_TIME)
RFC3339 = _syslog(_RFC3339_TIME)

# https://www.rfc-editor.org/rfc/rfc5424#section-6
_SD_ELEMENT = rb'\[[^ =\]"\n]++(?: [^ =\]"\n]++="(?:[^"\\\]\n]++|\\[^\n])*+")*+\]'
RFC5424 = formats.Format(
    names=(*_NAMES, "msgid", "structured_data"),
    optional=frozenset({"priority", "msgid", "structured_data"}),
    parts=(
        formats.Part("priority", rb"<(?P<priority>\d{1,3})>"),
        formats.Part("version", rb"[1-9]\d{0,2}+"),
        formats.Part("timestamp", rb" (?:%b|-)" % _RFC3339_TIME),
        formats.token("hostname"),
        formats.token("program"),
        formats.token("processid"),
        formats.token("msgid"),
        formats.Part("structured data", rb" (?P<structured_data>-|(?:%b)++)" % _SD_ELEMENT),
        formats.Part("message", rb"(?: (?:\xef\xbb\xbf)?+(?P<message>[^\n]*+))?+"),
    ),
    null=b"-",
)

# --- reader -----------------------------------------------------------------------------------

# https://www.rfc-editor.org/rfc/rfc5424#section-6.2.1
_FACILITIES = formats.words(
    "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp ntp audit alert clock "
    "local0 local1 local2 local3 local4 local5 local6 local7"
)
_SEVERITIES = formats.words("emerg alert crit err warning notice info debug")
_PRIORITY_MAX = 191


class SyslogReader:
    """Reads syslog as files have it and as it is sent: with a priority, or structured data.

    The five fields of the Java agent come first. A line with a priority has it, its facility and
    its severity behind them; one of RFC 5424 also has the message's id and its structured data.
    """

    def __init__(
        self,
        of: formats.Format,
        fields: Sequence[str] | None,
        types: Mapping[str, conversion.Type],
        *,
        is_dash_null: bool | None = None,
    ) -> None:
        """Prepare the patterns; see readers.FormatReader."""
        self._plain = readers.FormatReader(of, fields, types, is_dash_null=is_dash_null)
        always = self._plain.names[: len(ALWAYS)]
        names = [*always, "priority", "facility", "severity"]
        null = b"-" if is_dash_null else None
        self._with_priority = flat.Writer(names, types, null=null)
        self._structured = flat.Writer([*names, "msgid"], types, null=b"-")
        self._is_5424 = of is RFC3164
        self.names = [*names, "msgid"]
        self._format = of

    def read(self, records: Sequence[bytes]) -> list[model.Outcome]:
        """Return an object for each record, or why there is none."""
        if b"<" not in {record[:1] for record in records}:
            return self._plain.read(records)
        return [
            self._read_prioritised(record) if record.startswith(b"<") else outcome
            for record, outcome in zip(records, self._plain.read(records), strict=True)
        ]

    def _read_prioritised(self, record: bytes) -> model.Outcome:
        line = jsontext.line_of(record)
        structured = RFC5424.exact.fullmatch(line) if self._is_5424 else None
        match = structured or self._format.exact.fullmatch(line)
        if match is None:
            is_5424 = self._is_5424 and RFC5424.begins(line, parts=2)
            of = RFC5424 if is_5424 else self._format
            return model.Unparsed(of.failed_part(line))
        priority = int(match["priority"])
        if priority > _PRIORITY_MAX:
            return model.Unparsed("'priority' is out of range")
        facility, severity = _FACILITIES[priority >> 3], _SEVERITIES[priority & 7]
        values = [
            *match.group(*ALWAYS),
            match["priority"],
            facility.encode(),
            severity.encode(),
        ]
        if structured is None:
            return self._with_priority.write(values)
        written = self._structured.write([*values, structured["msgid"]])
        if not isinstance(written, bytes) or structured["structured_data"] == b"-":
            return written
        data = _structured_data(structured["structured_data"])
        return b'%b,"structured_data":%b}\n' % (written[:-2], data)


_ELEMENT = re.compile(rb'\[([^ =\]"]++)((?: [^ =\]"]++="(?:[^"\\\]]++|\\.)*+")*+)\]', re.DOTALL)
_PARAMETER = re.compile(rb' ([^ =\]"]++)="((?:[^"\\\]]++|\\.)*+)"', re.DOTALL)
_ESCAPED = re.compile(rb'\\(["\\\]])')


def _structured_data(text: bytes) -> bytes:
    """Return structured data as an object of objects; of a name that stands twice, the last."""
    elements: dict[bytes, bytes] = {}
    for name, parameters in _ELEMENT.findall(text):
        pairs = {key: _ESCAPED.sub(rb"\1", value) for key, value in _PARAMETER.findall(parameters)}
        members = [
            b"%b:%b" % (jsontext.string(key), jsontext.string(value))
            for key, value in pairs.items()
        ]
        elements[name] = b"{%b}" % b",".join(members)
    shown = [b"%b:%b" % (jsontext.string(name), value) for name, value in elements.items()]
    return b"{%b}" % b",".join(shown)
