"""What happens in a job, in sentences for people."""

from __future__ import annotations

from typing import Any

from twodfs.cli.grid import count_text
from twodfs.printable import printable
from twodfs.sizes import size_text


def sentence(event: dict[str, Any]) -> str:
    """Return what ``event`` says; empty for one that says nothing to people."""
    match event.get("event"):
        case "plan":
            wanted = f"{count_text(event['blobs'], 'blob')}, {size_text(event['bytes'])}"
            there = f"{event['blobsThere']} ({size_text(event['bytesThere'])}) are there already"
            text = f"{count_text(event['images'], 'image')}: {wanted}; {there}"
        case "progress":
            text = (
                f"{event['blobs']} of {count_text(event['ofBlobs'], 'blob')}, "
                f"{size_text(event['bytes'])} of {size_text(event['ofBytes'])}"
            )
        case "waiting":
            text = f"waits for the window {event['window']}, which opens in {event['seconds'] // 60} min"
        case "done":
            text = f"{event['reference']}@{event['digest']}{', pinned' if event['pinned'] else ''}"
        case "failed":
            text = f"{event['reference']}: {event['problem']}"
        case "detached":
            text = f"job {event['job']} goes on; 'twodfs-proxy prefetch --list' shows it"
        case "end":
            problem = f": {event['problem']}" if event.get("problem") else ""
            failed = f", {event['failed']} failed{problem}" if event["failed"] else ""
            unpinned = "".join(f"\nunpinned {name}" for name in event.get("unpinned", ()))
            text = f"{count_text(event.get('done', 0), 'image')} there{failed}{unpinned}"
        case _:
            text = ""
    return "\n".join(map(printable, text.split("\n")))
