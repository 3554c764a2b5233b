"""`yumen log`: verify what a coordinator or a node has written down."""

from __future__ import annotations

from yumen_cli import log_report
from yumen_cli.options import AsJson, LogFolder, LogKey
from yumen_cli.plain import command, group
from yumen_cli.terminal import emit, say

app = group("The logs: verify what was written down.")


@command(app, "verify", example="yumen log verify node/log --key node-log.vkey")
def verify(directory: LogFolder, key: LogKey = None, as_json: AsJson = False) -> None:
    """Recompute a log and check its signature.

    Without --key the log is checked against the key that lies beside it, which shows damage but
    not a log that was made anew; the report says which key was used.
    """
    from yumen_core.log import verify_directory

    log_report.check_is_log(directory)
    found = verify_directory(directory, log_report.read_key(key), canonical=True)
    document = log_report.document(directory, found)
    if as_json:
        emit(document)
    else:
        say(log_report.words(document))
