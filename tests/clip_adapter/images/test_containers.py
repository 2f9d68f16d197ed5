"""Images inside tar archives and Parquet files are read in place, as files are."""

import hashlib
import io
import os
import tarfile
import threading
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_adapter.errors import DatasetError, UnreadableImageError
from clip_adapter.images import (
    ObjectFolder,
    ReadOptions,
    containers,
    image_folder,
    open_images,
    parquet_images,
)
from clip_adapter.images.containers import ContainerReader
from clip_adapter.images.tar_files import TarMembers

BLOCK = 512
Members = Sequence[tuple[str, bytes]]


def content(number: int, size: int = 3000) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + np.random.default_rng(number).bytes(size)


def write_tar(path: Path, members: Members) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def reason(reader: ContainerReader, path: str) -> str:
    with pytest.raises(UnreadableImageError) as whole:
        reader.read(path)
    with pytest.raises(UnreadableImageError) as head:
        reader.read_head(path)
    assert whole.value.reason == head.value.reason
    return whole.value.reason


def test_a_member_and_the_same_file_have_the_same_bytes(tmp_path: Path) -> None:
    write_tar(tmp_path / "a" / "s.tar", [("cat/1.jpg", content(1)), ("cat/2.jpg", content(2))])
    (tmp_path / "1.jpg").write_bytes(content(1))
    with open_images(tmp_path) as reader:
        assert reader.read("a/s.tar/cat/1.jpg") == reader.read("1.jpg") == content(1)
        assert reader.read("a/s.tar/cat/2.jpg") == content(2)
        assert reader.read_head("a/s.tar/cat/2.jpg") == content(2)[:64]
        assert reader.read_head("a/s.tar/cat/2.jpg", 9999) == content(2)


def test_a_folder_that_is_called_like_an_archive_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "s.tar").mkdir()
    (tmp_path / "s.tar" / "1.jpg").write_bytes(b"1")
    (tmp_path / "x.parquet").mkdir()
    (tmp_path / "x.parquet" / "1.jpg").write_bytes(b"2")
    with open_images(tmp_path) as reader:
        assert (reader.read("s.tar/1.jpg"), reader.read("x.parquet/1.jpg")) == (b"1", b"2")


@pytest.mark.timeout(20)
def test_a_container_is_opened_as_carefully_as_an_image(tmp_path: Path) -> None:
    secret = write_tar(tmp_path / "secret.tar", [("1.jpg", b"secret")])
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "link.tar").symlink_to(secret)
    (folder / "broken.tar").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.tar")
    with open_images(folder) as reader:
        assert reason(reader, "../secret.tar/1.jpg").startswith("its path leaves the folder")
        assert reason(reader, f"{secret}/1.jpg").startswith("its path leaves the folder")
        assert "leads out of the folder" in reason(reader, "link.tar/1.jpg")
        assert "does not exist" in reason(reader, "broken.tar/1.jpg")
        assert "is a pipe" in reason(reader, "pipe.tar/1.jpg")
        assert "does not exist" in reason(reader, "missing.tar/1.jpg")
        assert "zero byte" in reason(reader, "a\0.tar/1.jpg")
        reason(reader, "n" * 5000 + ".tar/1.jpg")
    with open_images(folder, ReadOptions(follow_links=tmp_path)) as reader:
        assert reader.read("link.tar/1.jpg") == b"secret"


def test_the_last_member_of_a_name_counts_and_an_unknown_one_is_told(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", [("1.jpg", b"old"), ("2.jpg", b"2"), ("1.jpg", b"new")])
    with open_images(tmp_path) as reader:
        assert reader.read("s.tar/1.jpg") == b"new"
        assert reason(reader, "s.tar/3.jpg") == "the archive has no file of that name"


def test_names_are_never_paths_of_this_machine(tmp_path: Path) -> None:
    names = ["/etc/passwd", "../up.jpg", "a/../../b.jpg", "./c.jpg", "x" * 10_000, "a.tar/b.jpg"]
    write_tar(tmp_path / "s.tar", [(name, str(n).encode()) for n, name in enumerate(names)])
    with open_images(tmp_path) as reader:
        for number, name in enumerate(names):
            assert reader.read(f"s.tar/{name}") == str(number).encode()
    assert [each.name for each in tmp_path.iterdir()] == ["s.tar"]


def test_what_is_no_regular_file_is_listed_and_not_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for name, kind in [("l", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE), ("d", tarfile.CHRTYPE)]:
            member = tarfile.TarInfo(f"{name}.jpg")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        sparse = tarfile.TarInfo("s.jpg")
        sparse.type = tarfile.GNUTYPE_SPARSE
        archive.addfile(sparse)
        archive.addfile(tarfile.TarInfo("1.jpg"), io.BytesIO())
    with open_images(tmp_path) as reader:
        members = reader.members("s.tar")
        assert [*members] == ["1.jpg"]
        assert members.left_out == [
            ("l.jpg", "a link"),
            ("h.jpg", "a link"),
            ("d.jpg", "a device"),
            ("s.jpg", "a sparse file"),
        ]
        for name in "lhds":
            assert reason(reader, f"s.tar/{name}.jpg") == "the archive has no file of that name"


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_compressed_archive_is_refused_with_what_to_do(tmp_path: Path, kind: str) -> None:
    with tarfile.open(tmp_path / "s.tar", f"w:{kind}") as archive:  # type: ignore[call-overload]
        archive.addfile(tarfile.TarInfo("1.jpg"))
    with open_images(tmp_path) as reader:
        assert reason(reader, "s.tar/1.jpg").endswith("cannot be read in place: decompress it")


def test_a_cut_archive_is_damaged_and_one_that_is_cut_later_is_told(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", [(f"{n}.jpg", content(n)) for n in range(9)])
    with open_images(tmp_path) as reader:
        reader.members("s.tar")
        with path.open("r+b") as file:
            file.truncate(2000)
        assert "was cut while it was read" in reason_of_read(reader, "s.tar/8.jpg")
    with open_images(tmp_path) as reader:
        assert "is damaged after 1 files" in reason(reader, "s.tar/1.jpg")


def reason_of_read(reader: ContainerReader, path: str) -> str:
    with pytest.raises(UnreadableImageError) as error:
        reader.read(path)
    return error.value.reason


def test_an_archive_that_changes_is_listed_again(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", [("1.jpg", b"old")])
    with open_images(tmp_path) as reader:
        assert reader.read("s.tar/1.jpg") == b"old"
    write_tar(tmp_path / "s.tar", [("0.jpg", b"first"), ("1.jpg", b"newer")])
    with open_images(tmp_path) as reader:
        assert reader.read("s.tar/1.jpg") == b"newer"


def test_what_is_kept_of_archives_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = containers._Kept()
    monkeypatch.setattr(containers, "_KEPT", kept)
    monkeypatch.setattr(containers, "MAX_KEPT_MEMBERS", 25)
    for shard in range(6):
        members = [(f"{n}.jpg", f"{shard} {n}".encode()) for n in range(10)]
        write_tar(tmp_path / f"{shard}.tar", members)
    with open_images(tmp_path) as reader:
        for shard in [*range(6), *range(6)]:
            assert reader.read(f"{shard}.tar/7.jpg") == f"{shard} 7".encode()
            assert len(kept._members) <= 2


def many_members(n: int) -> bytes:
    """An archive of `n` members of one block, written faster than by `tarfile`."""
    model = tarfile.TarInfo("00000000.jpg")
    model.size = 8
    header = bytearray(model.tobuf(tarfile.USTAR_FORMAT))
    header[148:156] = b" " * 8
    rest = sum(header) - sum(b"00000000")
    parts = []
    for number in range(n):
        name = b"%08d" % number
        header[:8] = name
        header[148:156] = b"%06o\0 " % (rest + sum(name))
        parts += [bytes(header), name.ljust(BLOCK, b"\0")]
    return b"".join(parts) + bytes(2 * BLOCK)


@pytest.mark.parametrize("n", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_members_of_an_archive_take_little_memory(tmp_path: Path, n: int) -> None:
    (tmp_path / "s.tar").write_bytes(many_members(n))
    with (tmp_path / "s.tar").open("rb") as file:
        tracemalloc.start()
        members = TarMembers(file)
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(members) == n
        assert kept < 100 * n
        assert peak < 200 * n
        for number in range(0, n, 997):
            name = f"{number:08d}.jpg"
            assert members.read(file, name) == name[:8].encode()
        assert members.find("missing.jpg") is None


def struct_column(images: Sequence[bytes | None]) -> pa.Array:
    return pa.array([{"bytes": each, "path": "../../etc/passwd"} for each in images])


@pytest.mark.parametrize("large", [False, True])
def test_cells_of_parquet_are_read_in_any_order(tmp_path: Path, *, large: bool) -> None:
    images = [content(n) for n in range(50)]
    kind = pa.large_binary() if large else pa.binary()
    table = pa.table({"image": struct_column(images), "raw": pa.array(images, kind)})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=7)
    with open_images(tmp_path) as reader:
        for row in [0, 49, 3, 2, 1, 20, *range(50)]:
            assert reader.read(f"t.parquet/image/{row:08d}") == images[row]
            assert reader.read(f"t.parquet/raw/{row}") == images[row]
            assert reader.read_head(f"t.parquet/raw/{row}") == images[row][:64]


def test_a_window_that_moved_on_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_images, "WINDOW_BYTES", 5 * 3008)
    images = [content(n) for n in range(40)]
    pq.write_table(pa.table({"image": struct_column(images)}), tmp_path / "t.parquet")
    with open_images(tmp_path) as reader:
        for row in [30, 0, 39, 34, 33, 5]:
            assert reader.read(f"t.parquet/image/{row}") == images[row]


def test_threads_share_an_open_file(tmp_path: Path) -> None:
    images = [content(n, 500) for n in range(200)]
    pq.write_table(pa.table({"image": struct_column(images)}), tmp_path / "t.parquet")
    wrong: list[int] = []

    def read(rows: range) -> None:
        for row in rows:
            with open_images(tmp_path) as reader:
                if reader.read(f"t.parquet/image/{row}") != images[row]:
                    wrong.append(row)

    threads = [threading.Thread(target=read, args=(range(first, 200, 4),)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_many_files_are_open_by_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = containers._Kept()
    monkeypatch.setattr(containers, "_KEPT", kept)
    for number in range(7):
        table = pa.table({"image": struct_column([content(number)])})
        pq.write_table(table, tmp_path / f"{number}.parquet")
    with open_images(tmp_path) as reader:
        for number in [*range(7), *range(7)]:
            assert reader.read(f"{number}.parquet/image/0") == content(number)
            assert len(kept._parquet_files) <= containers.MAX_KEPT_PARQUET_FILES


def test_a_cell_without_an_image_is_told(tmp_path: Path) -> None:
    table = pa.table(
        {"image": struct_column([content(1), None]), "text": ["a", "b"], "list": [[b"x"], [b"y"]]}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    with open_images(tmp_path) as reader:
        assert (
            reason(reader, "t.parquet/image/1")
            == "the row holds no image, perhaps only the path of one"
        )
        assert reader.read("t.parquet/image/0") == content(1)
        assert reason(reader, "t.parquet/image/2") == "the file has no row 2, only 2"
        assert "is no number of a row" in reason(reader, "t.parquet/image/-1")
        assert "is no number of a row" in reason(reader, "t.parquet/image")
        assert "is no number of a row" in reason(reader, f"t.parquet/image/{'9' * 30}")
        for column in ("none", "list", "image.path.x"):
            assert (
                reason(reader, f"t.parquet/{column}/0")
                == f"the file has no column of images {column!r}"
            )
        assert reason(reader, "broken.parquet/image/0").startswith("the Parquet file is damaged")


def test_bytes_that_were_changed_in_a_parquet_file_are_one_error(tmp_path: Path) -> None:
    images = [content(n) for n in range(20)]
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"image": struct_column(images)}), path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[4:60] = bytes(56)
    path.write_bytes(data)
    with open_images(tmp_path) as reader:
        assert reason(reader, "t.parquet/image/10").startswith("the Parquet file is damaged")


def test_images_that_expand_without_measure_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_images, "_FREE_BYTES", 10_000_000)
    zeros = pa.table({"image": struct_column([bytes(1_000_000)] * 50)})
    pq.write_table(zeros, tmp_path / "zeros.parquet", compression="zstd", use_dictionary=False)
    repeated = pa.DictionaryArray.from_arrays(
        pa.array([0] * 100_000, pa.int32()), pa.array([content(1, 1_000_000)])
    )
    pq.write_table(pa.table({"image": repeated}), tmp_path / "repeated.parquet")
    assert (tmp_path / "zeros.parquet").stat().st_size < 100_000
    before = pa.default_memory_pool().max_memory()
    with open_images(tmp_path) as reader:
        assert "more than 200 times as many" in reason(reader, "zeros.parquet/image/0")
        assert "expands to more than" in reason(reader, "repeated.parquet/image/90000")
    assert pa.default_memory_pool().max_memory() - before < 100_000_000


def test_a_snapshot_of_the_hub_leads_to_its_blobs_for_containers_alone(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "datasets--o--n"
    snapshot = repository / "snapshots" / "0123"
    (repository / "blobs").mkdir(parents=True)
    (snapshot / "data").mkdir(parents=True)
    pq.write_table(pa.table({"image": struct_column([content(1)])}), repository / "blobs" / "aa")
    write_tar(tmp_path / "elsewhere.tar", [("1.jpg", b"1")])
    (repository / "blobs" / "bb").write_bytes(content(2))
    (snapshot / "data" / "t.parquet").symlink_to("../../../blobs/aa")
    (snapshot / "out.tar").symlink_to(tmp_path / "elsewhere.tar")
    (snapshot / "1.jpg").symlink_to("../../blobs/bb")
    with open_images(snapshot) as reader:
        assert reader.read("data/t.parquet/image/0") == content(1)
        assert "which is not below" in reason(reader, "out.tar/1.jpg")
        assert "leads out of the folder" in reason(reader, "1.jpg")
    with open_images(snapshot / "data") as reader:
        assert hashlib.sha256(reader.read("t.parquet/image/0")).digest()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket/a//b/", "s3://bucket/a/b"),
        ("S3://bucket", "s3://bucket"),
        ("s3://bucket/a?region=eu-west-1", "s3://bucket/a?region=eu-west-1"),
    ],
)
def test_a_url_is_a_place_in_an_object_store(url: str, shown: str) -> None:
    assert str(image_folder(url)) == shown
    assert image_folder(str(image_folder(url))) == image_folder(url)


@pytest.mark.parametrize(
    "url",
    ["s3://", "s3:///a", "s3://b/../c", "s3://me:hunter2@b/c", "s3://b/c?secret_key=hunter2"],
)
def test_a_url_without_a_bucket_or_with_a_secret_is_refused(url: str) -> None:
    with pytest.raises(DatasetError) as error:
        image_folder(url)
    assert "hunter2" not in str(error.value)


def test_a_path_of_this_machine_is_a_folder() -> None:
    assert [image_folder(text) for text in ("/a", "s3:/a", "file.tar")] == [
        Path("/a"),
        Path("s3:/a"),
        Path("file.tar"),
    ]


def test_an_object_store_has_images_in_archives_only() -> None:
    with open_images(ObjectFolder("s3://bucket/a")) as reader:
        assert reason(reader, "1.jpg") == "an object store has images in tar archives only"


def test_a_network_that_fails_is_no_damage_of_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_tar(tmp_path / "0.tar", [("1.png", content(1))])

    class Failing(io.BytesIO):
        is_listed = False

        def read(self, size: int | None = -1, /) -> bytes:
            if self.is_listed:
                raise OSError("Could not connect")
            return super().read(size)

    file = Failing(archive.read_bytes())
    monkeypatch.setattr(ObjectFolder, "open_file", lambda *_: file)
    monkeypatch.setattr(ObjectFolder, "state", lambda *_: (0, 0))
    with open_images(ObjectFolder(f"s3://bucket/{tmp_path.name}")) as reader:
        assert list(reader.members("0.tar")) == ["1.png"]
        file.is_listed = True
        with pytest.raises(
            DatasetError, match=r"0.tar in s3://.* cannot be read: Could not connect"
        ):
            reader.read("0.tar/1.png")


def test_a_parquet_file_that_a_thread_reads_stays_open_while_others_take_its_place(
    tmp_path: Path,
) -> None:
    for number in range(containers.MAX_KEPT_PARQUET_FILES + 1):
        table = pa.table({"image": [content(number), content(10 + number)]})
        pq.write_table(table, tmp_path / f"{number}.parquet")
    kept = containers._Kept()
    first, *others = (
        kept.add_parquet_file(path.name, path.open("rb")) for path in sorted(tmp_path.iterdir())
    )
    assert kept.parquet_file("0.parquet") is None
    assert first.read("image", 0) == content(0)
    assert first.read("image", 1) == content(10)
    files = [each._file for each in (first, *others)]
    del first, others, kept
    assert all(file.closed for file in files)
