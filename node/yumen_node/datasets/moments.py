"""SQL that reads a source's column as dates or timestamps.

Text is in the declared format, or ISO 8601: a date, or a date and a time of day; `2020/1/5` and a
blank for the T will do. Timestamps have no zone: text with a zone or an offset, and columns with a
time zone, are read as UTC. What is finer than a microsecond is lost. A timestamp is a date where it
is midnight, as `63.0` is an integer; a date is a timestamp at its midnight. Years beyond 1 to 9999
and infinity are mistyped.
"""

from __future__ import annotations

from datetime import datetime

from yumen_core.sql.storage import temporal_literal, text_literal

_ZONED = "TIMESTAMP WITH TIME ZONE"
NATIVE = ("DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", _ZONED)
_DAY = r"[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}"
_TIME = r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?"
_OFFSET = r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)"


def timestamp(raw: str, native: str, written: str | None) -> str:
    """A TIMESTAMP, or NULL where `raw` is none. `native` is the source's type, `written` the
    declared format of its text."""
    moment = _moment(raw, native, written)
    least, most = temporal_literal(datetime.min), temporal_literal(datetime.max)
    return f"CASE WHEN {moment} BETWEEN {least} AND {most} THEN {moment} END"


def date(raw: str, native: str, written: str | None) -> str:
    """A DATE, or NULL where `raw` is none."""
    moment = timestamp(raw, native, written)
    return f"CASE WHEN {moment} = date_trunc('day', {moment}) THEN CAST({moment} AS DATE) END"


def _moment(raw: str, native: str, written: str | None) -> str:
    if written is not None:
        return f"try_strptime({raw}, {text_literal(written)})"
    if native == _ZONED:
        return _utc(raw)
    if native != "VARCHAR":
        return f"TRY_CAST({raw} AS TIMESTAMP)"
    plain, zoned = f"{_DAY}([ T]{_TIME})?", f"{_DAY}[ T]{_TIME}{_OFFSET}"
    read = _utc(f"TRY_CAST({raw} AS {_ZONED})")
    return (
        f"CASE WHEN regexp_full_match({raw}, {text_literal(plain)}) "
        f"THEN TRY_CAST({raw} AS TIMESTAMP) "
        f"WHEN regexp_full_match({raw}, {text_literal(zoned)}) THEN {read} END"
    )


def _utc(zoned: str) -> str:
    return f"CASE WHEN isfinite({zoned}) THEN make_timestamp(epoch_us({zoned})) END"
