import uuid
from typing import get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rcnn_dist.config import DataSection
from rcnn_dist.data.dataset import Dataset
from rcnn_dist.data.layouts import LAYOUTS, Source
from rcnn_dist.errors import DataError
from rcnn_dist.store import files


def open_dataset(layout, root, splits=("all",), column="url"):
    return LAYOUTS[layout].open(Source(str(root), splits, "VOC2007", column))


def write(folder, *names):
    for name in names:
        files.write_bytes(files.join(str(folder), name), b"1")


def write_parquet(path, /, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def test_every_layout_of_the_configuration_has_a_reader():
    assert set(get_type_hints(DataSection)["layout"].__args__) == set(LAYOUTS)


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    return str(tmp_path / "photos") if request.param == "local" else f"memory://{uuid.uuid4().hex}/photos"


def test_a_folder_gives_its_images_at_any_depth(folder):
    write(folder, "b.JPG", "a/c d.png", "a/b/x.webp", "a.txt", ".hidden/x.jpg", "a/.x.jpg", "b.jpg.part")
    dataset = open_dataset("folder", folder)
    assert dataset.name == "photos"
    assert dataset.image_ids("all") == ("a/b/x.webp", "a/c=20d.png", "b.JPG")
    assert [files.read_bytes(dataset.image_url(i)) for i in dataset.image_ids("all")] == [b"1"] * 3
    assert open_dataset("folder", folder).image_url("a/c=20d.png") == f"{folder}/a/c d.png", "without listing the folder"
    assert dataset.objects("b.JPG") is None
    assert isinstance(dataset.name, str) and all(hasattr(dataset, name) for name in vars(Dataset) if not name.startswith("_"))


def test_links_to_folders_are_not_followed_and_a_linked_root_is(tmp_path):
    write(tmp_path / "photos", "x.jpg")
    (tmp_path / "photos" / "loop").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    assert open_dataset("folder", tmp_path / "link").image_ids("all") == ("x.jpg",)


def test_paths_too_long_for_an_id_are_found_again(tmp_path):
    name = "/".join(["é" * 40] * 3) + "/x.jpg"
    write(tmp_path / "photos", name)
    (image_id,) = open_dataset("folder", tmp_path / "photos").image_ids("all")
    assert files.read_bytes(open_dataset("folder", tmp_path / "photos").image_url(image_id)) == b"1"


def test_a_list_gives_paths_from_its_folder_and_urls(tmp_path):
    (tmp_path / "list.txt").write_bytes("\ufeff../x.jpg\r\n\n  a b.jpg \ns3://bucket/a.jpg\n/data/y.jpg\n".encode())
    dataset = open_dataset("list", tmp_path / "list.txt")
    assert dataset.image_ids("all") == ("=2E./x.jpg", "a=20b.jpg", "s3=/bucket/a.jpg", "=/data/y.jpg")
    urls = [dataset.image_url(i) for i in dataset.image_ids("all")]
    assert urls == [f"{tmp_path}/../x.jpg", f"{tmp_path}/a b.jpg", "s3://bucket/a.jpg", "/data/y.jpg"]


def test_a_list_beside_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "x.jpg")
    (tmp_path / "list.txt").write_text("x.jpg\n")
    assert files.read_bytes(open_dataset("list", "list.txt").image_url("x.jpg")) == b"1"


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_a_parquet_column_gives_its_rows_in_order(tmp_path, kind):
    write_parquet(tmp_path / "t" / "b.parquet", url=pa.array(["s3://b/2.jpg"]).cast(kind), n=[1])
    write_parquet(tmp_path / "t" / "a" / "x.parquet", url=pa.array(["s3://b/9.jpg", "local.jpg"]).cast(kind))
    write(tmp_path / "t", "_SUCCESS")
    dataset = open_dataset("parquet", tmp_path / "t")
    assert dataset.image_ids("all") == ("s3=/b/9.jpg", "local.jpg", "s3=/b/2.jpg")
    assert dataset.image_url("local.jpg") == f"{tmp_path}/t/local.jpg"
    one = open_dataset("parquet", tmp_path / "t" / "b.parquet")
    assert one.image_ids("all") == ("s3=/b/2.jpg",) and one.image_url("x.jpg") == f"{tmp_path}/t/x.jpg"


def test_parquet_at_a_url():
    folder = f"memory://{uuid.uuid4().hex}"
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"path": ["a.jpg"]}), sink)
    files.write_bytes(f"{folder}/list.parquet", sink.getvalue().to_pybytes())
    dataset = open_dataset("parquet", f"{folder}/list.parquet", column="path")
    assert dataset.image_url(*dataset.image_ids("all")) == f"{folder}/a.jpg"


def test_the_fingerprint_changes_with_the_ids_and_their_order(tmp_path):
    found = set()
    for text in ("a.jpg\nb.jpg\n", "b.jpg\na.jpg\n", "a.jpg\n", "\na.jpg\nb.jpg"):
        (tmp_path / "list.txt").write_text(text)
        found.add(open_dataset("list", tmp_path / "list.txt").fingerprint("all"))
    assert len(found) == 3


@pytest.mark.parametrize(
    ("layout", "name", "message"),
    [
        ("folder", "none", "no image in .*none: there is no such folder, or it is empty"),
        ("folder", "texts", r"none of its 2 files ends in \.jpg, "),
        ("list", "none.txt", "no list .*none.txt: give a text file"),
        ("list", "texts", "no list .*texts: give a text file"),
        ("list", "twice.txt", r"twice.txt lists a.jpg twice, line 1 and line 3; remove one"),
        ("list", "empty.txt", "empty.txt lists no image"),
        ("list", "latin.txt", "latin.txt is not UTF-8 text"),
        ("parquet", "none.parquet", "no Parquet file .*none.parquet"),
        ("parquet", "texts", "texts holds no file that ends in .parquet"),
        ("parquet", "twice.txt", "twice.txt cannot be read as Parquet"),
        ("parquet", "other.parquet", "other.parquet has no column 'url': set data.column to one of path, size"),
        ("parquet", "numbers.parquet", "column 'url' is int64, text is wanted"),
        ("parquet", "null.parquet", "null.parquet, row 1: column 'url' is empty"),
        ("parquet", "twice.parquet", "lists a.jpg twice, row 0 and row 1"),
    ],
)
def test_mistakes_are_named(tmp_path, layout, name, message):
    write(tmp_path, "texts/a.txt", "texts/b")
    for file, content in {"twice.txt": b"a.jpg\nb.jpg\na.jpg\n", "empty.txt": b"\n\n", "latin.txt": b"gr\xf6sse.jpg"}.items():
        (tmp_path / file).write_bytes(content)
    write_parquet(tmp_path / "other.parquet", path=["a"], size=[1])
    write_parquet(tmp_path / "numbers.parquet", url=[1, 2])
    write_parquet(tmp_path / "null.parquet", url=["a.jpg", None])
    write_parquet(tmp_path / "twice.parquet", url=["a.jpg", "a.jpg"])
    with pytest.raises(DataError, match=message):
        open_dataset(layout, tmp_path / name).image_ids("all")


@pytest.mark.parametrize("layout", ["folder", "list", "parquet"])
def test_a_layout_without_sets_says_what_to_set(tmp_path, layout):
    with pytest.raises(DataError, match=f"no image set 'trainval': data.layout={layout} has the one set 'all'"):
        open_dataset(layout, tmp_path).image_ids("trainval")
