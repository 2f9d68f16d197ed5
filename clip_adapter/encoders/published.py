"""Files of weights whose SHA-256 open_clip's table of addresses gives away."""

import re
from urllib.parse import urlsplit

_OPENAI = "openaipublic.azureedge.net"


def is_openai(sha256: str) -> bool:
    """Whether a file with this SHA-256 was published by OpenAI, whose addresses hold the digest.

    Args:
        sha256: 64 hexadecimal digits.
    """
    from open_clip.pretrained import _PRETRAINED

    addresses = (tag.get("url", "") for tags in _PRETRAINED.values() for tag in tags.values())
    digests = {
        part
        for address in map(urlsplit, addresses)
        if address.hostname == _OPENAI
        for part in address.path.split("/")
        if re.fullmatch("[0-9a-f]{64}", part)
    }
    return sha256 in digests
