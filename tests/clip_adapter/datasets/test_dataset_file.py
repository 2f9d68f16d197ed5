"""Files that name classes: `--class-names FILE` and `dataset.yaml`."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_adapter.datasets import DatasetError, FolderOptions, ImageSource
from clip_adapter.datasets.dataset_file import MAX_BYTES
from clip_adapter.datasets.imagefolder import open_imagefolder

Put = Callable[[Path, int], Path]
Name = Callable[..., ImageSource]


@pytest.fixture(name="pets")
def _pets(tmp_path: Path, put: Put) -> Path:
    for number, name in enumerate(("001", "AnnualCrop", "no")):
        put(tmp_path / "pets" / name / "1.png", number)
    return tmp_path / "pets"


@pytest.fixture(name="name")
def _name(pets: Path, tmp_path: Path) -> Name:
    """Open the folder with a file of class names."""

    def name(file: str, text: str | bytes) -> ImageSource:
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / file).write_bytes(data)
        return open_imagefolder(pets, FolderOptions(class_names=tmp_path / file))

    return name


@pytest.fixture(name="describe")
def _describe(pets: Path) -> Callable[[str], ImageSource]:
    """Open the folder with a dataset.yaml."""

    def describe(text: str) -> ImageSource:
        (pets / "dataset.yaml").write_text(text, encoding="utf-8")
        return open_imagefolder(pets)

    return describe


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("names.yaml", "001: an owl\nAnnualCrop: crops\nno: Norway\n"),
        ("names.yml", "001: {name: an owl}\nAnnualCrop/: crops\nno: Norway\n"),
        ("names.csv", "folder,name\n001,an owl\nAnnualCrop,crops\nno,Norway\n"),
        ("names.csv", 'no,"Norway"\r\n001,an owl\r\n\r\nAnnualCrop,crops\r\n'),
        ("names.txt", "001\tan owl\nAnnualCrop\tcrops\nno\tNorway\n"),
        ("names.txt", "001,an owl\nAnnualCrop, crops\n\nno,Norway"),
        ("names", "an owl\ncrops\nNorway\n"),
        ("names.txt", "\ufeff001\tan owl\nAnnualCrop\tcrops\nno\tNorway\n"),
    ],
)
def test_a_file_names_the_classes(name: Name, file: str, text: str) -> None:
    source = name(file, text)
    assert source.class_names == ("an owl", "crops", "Norway")
    assert (source.class_folders, source.class_prompts) == ((None, None, None), ())


def test_names_without_folders_are_said_to_be_in_order(name: Name) -> None:
    (note,) = name("names.txt", "an owl\ncrops\nNorway\n").notes
    assert "in order: '001' is 'an owl', 'no' is 'Norway'" in note


def test_a_name_in_lines_may_have_a_comma(name: Name) -> None:
    assert name("names.txt", "001,owl, grey\nno\tNorway").class_names[0] == "owl, grey"


def test_classes_that_a_file_leaves_out_are_named_by_rule_and_counted(name: Name) -> None:
    source = name("names.yaml", "001: an owl\n")
    assert source.class_names == ("an owl", "Annual Crop", "no")
    assert "names 1 of 3 class folders; 'AnnualCrop' and 1 more are named after" in source.notes[0]
    assert "AnnualCrop is 'Annual Crop'" in source.notes[1]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (
            "n.yaml",
            "001: {name: an owl, prompts: [an owl at night., 'the {}']}\nno: {prompts: no!}\n",
        ),
        ("n.csv", "001,an owl,an owl at night.,the {}\nno,,no!,\n"),
        ("n.txt", "001\tan owl\tan owl at night.\tthe {}\nno\t\tno!\n"),
    ],
)
def test_a_file_gives_classes_prompts_of_their_own(name: Name, file: str, text: str) -> None:
    source = name(file, text)
    assert source.class_names == ("an owl", "Annual Crop", "no")
    assert source.class_prompts == (("an owl at night.", "the {}"), (), ("no!",))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("n.yaml", "AnualCrop: crops", "'AnualCrop', which is not among.*mean 'AnnualCrop'"),
        ("n.yaml", "001: crops\nno: crops", "calls the class folders '001' and 'no' both 'crops'"),
        ("n.yaml", "no: a\nno: b", "key 'no' occurs twice"),
        ("n.csv", "no,a\nno,b", "names the class folder 'no' twice"),
        ("n.yaml", "no: '001'", "both read '001'"),
        ("n.yaml", 'no: "a\\eb"', "control characters"),
        ("n.csv", "no,a,\x1b[2J", "control characters"),
        ("n.yaml", "no: {prompts: ['{} and {}']}", "once or not at all"),
        ("n.yaml", "no: {prompts: [a, a]}", "one prompt twice"),
        ("n.yaml", "no: {names: a}", "unknown key 'names': did you mean 'name'"),
        ("n.yaml", "no: [a, b]", "is a list, expected a text"),
        ("n.yaml", "no: {prompts: {a: b}}", "found a mapping, expected a list of texts"),
        ("n.yaml", "[a, b]", "is a list; expected a mapping"),
        ("n.yaml", "no: {", "is not YAML"),
        ("n.yaml", "[" * 1000, "is not YAML"),
        ("n.yaml", "&a {no: *a}", "is not YAML"),
        ("n.yaml", "", "names no class"),
        ("n.yaml", "no:", "says nothing of the class folder 'no'"),
        ("n.csv", 'no,"a', "is no CSV file"),
        ("n.txt", "no\tNorway\nowl", "'owl' without a folder"),
        ("n.txt", "a\nb", "2 names without folders for 3 class folders"),
        ("n.txt", b"\xff", "is not UTF-8 at byte 0"),
        ("n.txt", "a" * (MAX_BYTES + 1), "larger than 1,048,576 bytes"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(
    name: Name, file: str, text: str, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        name(file, text)


def test_a_python_object_in_yaml_is_not_made(name: Name, tmp_path: Path) -> None:
    harm = f"no: !!python/object/apply:os.mkdir ['{tmp_path / 'made'}']"
    with pytest.raises(DatasetError, match="is a list, expected a text"):
        name("n.yaml", harm)
    assert not (tmp_path / "made").exists()


def test_lists_that_yaml_repeats_without_end_are_not_written_out(name: Name) -> None:
    levels = [
        f"l{level}: &l{level} [{', '.join(['*l' + str(level - 1)] * 9)}]" for level in range(1, 40)
    ]
    with pytest.raises(DatasetError, match="is a list, expected a text") as caught:
        name("n.yaml", "\n".join(["l0: &l0 [x]", *levels]))
    assert len(str(caught.value)) < 500


def test_a_missing_file_is_named(pets: Path) -> None:
    with pytest.raises(DatasetError, match=r"absent\.csv does not exist"):
        open_imagefolder(pets, FolderOptions(class_names=pets / "absent.csv"))


def test_a_pipe_is_not_waited_for(pets: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DatasetError, match="is not a regular file"):
        open_imagefolder(pets, FolderOptions(class_names=tmp_path / "pipe.csv"))


def test_dataset_yaml_describes_the_folder(describe: Callable[[str], ImageSource]) -> None:
    source = describe(
        "class_names: {001: an owl, no: {name: Norway, prompts: [Norway seen from space.]}}\n"
        "templates: ['a satellite photo of {}.', '{} from above']\n"
        "name: land\nlicence: CC-BY-4.0\ncitation: >\n  Helber et al.,\n  2019\n"
    )
    assert source.class_names == ("an owl", "Annual Crop", "Norway")
    assert source.templates == ("a satellite photo of {}.", "{} from above")
    assert source.class_prompts == ((), (), ("Norway seen from space.",))
    assert (source.licence, source.citation) == ("CC-BY-4.0", "Helber et al., 2019")
    assert source.notes[0] == (
        "dataset.yaml says: 2 classes, 2 templates, name land, licence CC-BY-4.0, citation Helber et "
        "al., 2019"
    )


def test_a_dataset_yaml_of_one_key_leaves_the_rest_to_the_rules(
    describe: Callable[[str], ImageSource],
) -> None:
    source = describe("licence: MIT\n")
    assert source.class_names == ("001", "Annual Crop", "no")
    assert source.templates == ("a photo of a {}.",)


def test_a_file_of_class_names_comes_before_dataset_yaml(
    describe: Callable[[str], ImageSource], pets: Path, tmp_path: Path
) -> None:
    describe("class_names: {no: Norway}\ntemplates: ['{} from above']\n")
    (tmp_path / "names.csv").write_text("001,an owl\n", encoding="utf-8")
    source = open_imagefolder(pets, FolderOptions(class_names=tmp_path / "names.csv"))
    assert source.class_names == ("an owl", "Annual Crop", "no")
    assert source.templates == ("{} from above",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("template: ['{}']", "unknown key 'template': did you mean 'templates'"),
        ("templates: ['no place']", "has 0 places"),
        ("licence: [MIT]", "licence of .* is a list, expected a text"),
        ("just words", "is a text; expected a mapping"),
        ("class_names: [a, b]", "class_names of .* is a list"),
    ],
)
def test_a_dataset_yaml_that_cannot_be_used_says_why(
    describe: Callable[[str], ImageSource], text: str, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        describe(text)


def test_a_dataset_yaml_that_leads_out_of_the_folder_is_not_read(
    pets: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("name: secret", encoding="utf-8")
    (pets / "dataset.yaml").symlink_to(tmp_path / "secret")
    with pytest.raises(DatasetError, match="link that leads out of the folder"):
        open_imagefolder(pets)


@pytest.mark.parametrize(("name", "said"), [("My Photos", "as 'my-photos'"), ("a" * 300, "80")])
def test_a_name_that_is_no_slug_is_refused_with_the_file_that_has_it(
    describe: Callable[[str], ImageSource], pets: Path, name: str, said: str
) -> None:
    with pytest.raises(DatasetError, match=said) as refusal:
        describe(f"name: {name}\n")
    assert str(refusal.value).startswith(f"name of {pets / 'dataset.yaml'} is ")


def test_a_character_that_yaml_does_not_allow_is_an_error_about_the_file(
    describe: Callable[[str], ImageSource],
) -> None:
    with pytest.raises(DatasetError, match=r"is not YAML that can be used: .*#x0000"):
        describe("name: a\0b\n")
