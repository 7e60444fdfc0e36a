"""Which files a lab may attach: data and pictures, by name and by content; nothing that could be run."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}(\.[A-Za-z0-9_-]{1,20}){1,3}")
BEGINNINGS = {
    "png": (b"\x89PNG\r\n\x1a\n",),
    "jpg": (b"\xff\xd8\xff",),
    "jpeg": (b"\xff\xd8\xff",),
    "tif": (b"II*\x00", b"MM\x00*"),
    "tiff": (b"II*\x00", b"MM\x00*"),
    "pdf": (b"%PDF-",),
}
TEXT = ("csv", "json", "txt", "xy", "xye", "cif", "xrdml", "dat", "md")
MOST_BYTES = 20 * 2**20


class AttachmentError(ValueError):
    """A file that is not taken; the message says why."""


def check_name(name: str) -> None:
    """Raises AttachmentError for a name that no file can have."""
    if not NAME.fullmatch(name):
        raise AttachmentError(
            "a file's name is letters, digits, dashes and one to three suffixes, such as xrd_1.csv"
        )


def check(name: str, content: bytes) -> None:
    """Raises AttachmentError for a name or content that is not taken."""
    check_name(name)
    suffix = PurePosixPath(name).suffix[1:].lower()
    if suffix in BEGINNINGS:
        if not content.startswith(BEGINNINGS[suffix]):
            raise AttachmentError(f"{name} does not begin as a .{suffix} file does")
    elif suffix not in TEXT:
        raise AttachmentError(f".{suffix} files are not taken; taken are {', '.join((*TEXT, *BEGINNINGS))}")
    elif content.startswith(b"#!") or b"\x00" in content or not _is_utf8(content):
        raise AttachmentError(f"{name} is no plain text in UTF-8")


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
