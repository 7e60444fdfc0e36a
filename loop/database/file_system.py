"""On which kind of file system a path lies: SQLite's shared memory needs one machine."""

from __future__ import annotations

from pathlib import Path

NETWORK = (
    *(
        "nfs",
        "cifs",
        "smb",
        "afs",
        "afpfs",
        "9p",
        "ceph",
        "lustre",
        "gpfs",
        "beegfs",
        "glusterfs",
        "panfs",
        "pvfs",
    ),
    *("orangefs", "wekafs", "ocfs", "gfs", "davfs", "webdav", "fuse.", "virtiofs", "vboxsf", "prl_fs"),
)
"""Beginnings of the names of file systems that several machines may share."""


def on_network(path: Path) -> str | None:
    """The type of the network file system on which `path` lies or will lie; None on a local one."""
    import psutil

    place = path.resolve()
    kinds = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    kind = next((kinds[folder] for folder in (place, *place.parents) if folder in kinds), "")
    return kind if kind.lower().startswith(NETWORK) else None


def journal_mode(path: Path) -> str:
    """The SQLite journal that is safe there: WAL on a local file system, DELETE on a network one."""
    return "DELETE" if on_network(path) else "WAL"
