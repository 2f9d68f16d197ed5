"""Published files of weights are recognised by their bytes."""

from pathlib import Path

import open_clip
import pytest

from clip_adapter.encoders.published import digest_file, is_openai, published_as

VIT_B_32 = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
RN50_X4 = "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd"
LAION = "d867053b" + 56 * "0"  # of this file open_clip publishes the beginning alone


@pytest.mark.parametrize(
    ("sha256", "expected"),
    [
        (VIT_B_32, ("ViT-B-32-quickgelu", "openai")),
        (RN50_X4, ("RN50x4-quickgelu", "openai")),
        (LAION, ("ViT-B-32-quickgelu", "laion400m_e31")),
        ("af8dbd0c" + 56 * "0", ("ViT-B-32", "laion2b_e16")),
        (VIT_B_32[:-1] + "0", None),
        (64 * "0", None),
    ],
)
def test_a_file_is_known_under_the_name_with_its_activation_function(
    sha256: str, expected: tuple[str, str] | None
) -> None:
    assert published_as(sha256) == expected


def test_every_file_of_openai_is_known_by_its_whole_digest_and_no_other_is() -> None:
    urls = {open_clip.get_pretrained_url(*each) for each in open_clip.list_pretrained()}
    digests = {url.split("/")[-2] for url in urls if "openaipublic" in url}
    assert len(digests) == 9
    assert all(is_openai(digest) for digest in digests)
    assert not any(map(is_openai, (LAION, VIT_B_32[:8], "", 64 * "0")))
    found = [published_as(digest) for digest in digests]
    assert all(each and each[1] == "openai" and each[0].endswith("-quickgelu") for each in found)


def test_a_file_that_changed_is_digested_again(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"one")
    before = digest_file(path)
    assert digest_file(path) == before
    path.write_bytes(b"two, longer")
    assert digest_file(path) != before
