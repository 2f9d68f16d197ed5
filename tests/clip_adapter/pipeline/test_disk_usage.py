"""Every file below a root is counted once."""

from pathlib import Path

from clip_adapter.pipeline.disk_usage import Usage, disk_usage


def sizes(root: Path) -> dict[str, tuple[int, int]]:
    return {each.what: (each.n_files, each.size_bytes) for each in disk_usage(root)}


def put(path: Path, size_bytes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size_bytes)


def test_files_are_counted_folder_by_folder(root: Path) -> None:
    put(root / "features" / "ab" / "image" / "1.parquet", 10)
    put(root / "features" / "2.tmp", 20)
    put(root / "mine" / "notes.txt", 30)
    put(root / "notes.txt", 40)
    assert sizes(root) == {"features": (2, 30), "other": (2, 70)}


def test_a_linked_folder_is_counted_once_and_links_in_it_are_not_followed(root: Path) -> None:
    disk = root.parent / "disk"
    put(disk / "digits" / "1.png", 10)
    (disk / "digits" / "elsewhere").symlink_to(root)
    root.mkdir()
    (root / "images").symlink_to(disk)
    link = (disk / "digits" / "elsewhere").lstat().st_size
    assert sizes(root) == {"images": (2, 10 + link)}


def test_a_link_to_a_file_counts_as_itself(root: Path) -> None:
    put(root.parent / "large.bin", 9000)
    root.mkdir()
    (root / "large.bin").symlink_to(root.parent / "large.bin")
    (usage,) = disk_usage(root)
    assert usage == Usage(
        what="other",
        n_files=1,
        size_bytes=(root / "large.bin").lstat().st_size,
        how_to_free="not written by this program",
    )


def test_what_is_not_there_takes_nothing(root: Path) -> None:
    assert disk_usage(root) == []
