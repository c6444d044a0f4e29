"""A fingerprint of a run's images, so that a resumed run can tell whether they are still the same.

It does not depend on where the folder is. Of each file it has the size, the first and the last bytes (where a
Parquet file has its statistics), not the whole, as a large set would take as long as an epoch to read. So it
does not see a change in the middle of a file above ``2 * END_BYTES`` that keeps the size.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ..common.messages import one_line
from ..data.class_folders import holds_runs
from ..data.image_set import AnyImageSet
from ..data.sources import data_source

END_BYTES = 2**14
MOST_NAMED = 3


def fingerprint(source: str, image_sets: Mapping[str, AnyImageSet]) -> dict[str, Any]:
    """Return the fingerprint of the image sets of ``source``, JSON-ready.

    Args:
        source: as ``load_image_set`` takes it.
        image_sets: the whole sets by the name of their split.

    Returns:
        ``classes``: the names; ``counts``: by split, the images of each class; ``hashes``: by split, the
        hash of each class's files, or one of all files where they hold several images.

    Raises:
        OSError: a file cannot be read.
    """
    names = next(iter(image_sets.values())).class_names
    counts = {
        split: image_set.labels.bincount(minlength=len(image_set.class_names)).tolist()
        for split, image_set in image_sets.items()
    }
    hashes: dict[str, list[str]] = {}
    for split, image_set in image_sets.items():
        if image_set.paths:
            by_class: list[list[str]] = [[] for _ in image_set.class_names]
            for path, label in zip(image_set.paths, image_set.labels.tolist()):
                by_class[label].append(path)
            hashes[split] = [hash_of_files(paths) for paths in by_class]
    if not hashes:
        folder = data_source(source)
        hashes["all"] = [hash_of_files(_files_in(folder))] if isinstance(folder, Path) else [folder]
    return {"classes": list(names), "counts": counts, "hashes": hashes}


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return what differs between two fingerprints in a few words, "" where nothing does."""
    return (
        _difference_of_classes(before["classes"], now["classes"])
        or _difference_of_splits(before["counts"], now["counts"])
        or _difference_of_counts(before, now)
        or _difference_of_files(before, now)
    )


def _difference_of_classes(before: Sequence[str], now: Sequence[str]) -> str:
    gone, new = (
        [name for name in ours if name not in set(others)] for ours, others in ((before, now), (now, before))
    )
    changes = [
        f"{'class' if len(names) == 1 else 'classes'} {_listed(names)} {verb}"
        for names, verb in ((gone, "missing"), (new, "new"))
        if names
    ]
    if not changes and list(before) != list(now):
        return "the classes are in another order"
    return " and ".join(changes)


def _difference_of_splits(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    gone, new = (sorted(ours.keys() - others.keys()) for ours, others in ((before, now), (now, before)))
    changes = [f"split {_listed(gone)} missing"] if gone else []
    return " and ".join(changes + ([f"split {_listed(new)} new"] if new else []))


def _difference_of_counts(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    for split, counts in before["counts"].items():
        for name, old, new in zip(now["classes"], counts, now["counts"][split]):
            if old != new:
                return f"class {one_line(name)!r} had {old:,} images in {split!r}, now it has {new:,}"
    return ""


def _difference_of_files(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if before["hashes"].keys() != now["hashes"].keys():
        return "they are stored in another way"
    for split, hashes in before["hashes"].items():
        changed = [name for name, old, new in zip(now["classes"], hashes, now["hashes"][split]) if old != new]
        if changed and split == "all":
            return "the files have other contents"
        if changed:
            of = "class" if len(changed) == 1 else "classes"
            return f"{of} {_listed(changed)} in {split!r} with other contents, or in another order"
    return ""


def _listed(names: Sequence[str]) -> str:
    named = ", ".join(repr(one_line(name)) for name in names[:MOST_NAMED])
    return named if len(names) <= MOST_NAMED else f"{named} and {len(names) - MOST_NAMED} more"


def _files_in(folder: Path) -> list[str]:
    """Return the files of a folder that ``datasets`` reads: no hidden ones, notes and folders of runs."""
    files: list[str] = []
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            files += [] if path.is_symlink() or holds_runs(path) else _files_in(path)
        elif path.is_file() and path.suffix.lower() not in (".md", ".txt"):
            files.append(str(path))
    return sorted(files)


def hash_of_files(paths: Iterable[str]) -> str:
    """Return a hash of the sizes and both ends of files, in their order, as 32 hexadecimal digits."""
    hasher = blake2b(digest_size=16)
    for path in paths:
        with Path(path).open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            ends = file.read(END_BYTES)
            if size > END_BYTES:
                file.seek(max(END_BYTES, size - END_BYTES))
                ends += file.read(END_BYTES)
        hasher.update(size.to_bytes(8, "little") + ends)
    return hasher.hexdigest()
