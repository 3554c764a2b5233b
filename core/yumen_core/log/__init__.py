"""The Merkle log: C2SP tlog-tiles, signed-note checkpoints, RFC 6962 hashing."""

from yumen_core.log.alarm import LogAlarm
from yumen_core.log.appender import TileLog
from yumen_core.log.checkpoint import (
    Checkpoint,
    open_checkpoint,
    parse_checkpoint,
    sign_checkpoint,
)
from yumen_core.log.entry import Act, Entry, decode_entry
from yumen_core.log.member import open_log
from yumen_core.log.merkle import verify_consistency, verify_inclusion
from yumen_core.log.note import Note, Signer, Verifier, open_note, sign_note
from yumen_core.log.verify import LogReport, verify_directory

__all__ = [
    "Act",
    "Checkpoint",
    "Entry",
    "LogAlarm",
    "LogReport",
    "Note",
    "Signer",
    "TileLog",
    "Verifier",
    "decode_entry",
    "open_checkpoint",
    "open_log",
    "open_note",
    "parse_checkpoint",
    "sign_checkpoint",
    "sign_note",
    "verify_consistency",
    "verify_directory",
    "verify_inclusion",
]
