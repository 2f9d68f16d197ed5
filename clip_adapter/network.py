"""Asks whether a host answers, without waiting for longer than one is willing to."""

import http.client
import os
import threading
import time
import urllib.error
import urllib.request

HUB = "https://huggingface.co"


class Probe:
    """One question to one host, under way as soon as it is made.

    A name server that is out of reach blocks for longer than any timeout of urllib's, so the
    question is asked by a thread that nobody has to wait for.
    """

    def __init__(self, url: str, *, seconds: float = 4.0) -> None:
        self.url = url
        self._deadline = time.monotonic() + seconds
        self._answered = False
        self._settled = threading.Event()
        threading.Thread(target=self._ask, args=(seconds,), daemon=True).start()

    @classmethod
    def of_hub(cls) -> "Probe":
        """A question to the Hugging Face hub, or the mirror that HF_ENDPOINT names."""
        return cls(os.environ.get("HF_ENDPOINT", HUB).rstrip("/"))

    def answers(self) -> bool:
        """Whether any HTTP answer came, within the seconds given since the question was asked."""
        self._settled.wait(max(0.0, self._deadline - time.monotonic()))
        return self._answered

    def _ask(self, seconds: float) -> None:
        self._answered = _answers(self.url, seconds=seconds)
        self._settled.set()  # a host that refuses is not waited for


def _answers(url: str, *, seconds: float) -> bool:
    try:
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310  # http(s), from open_clip's table or the user's setting
        urllib.request.urlopen(request, timeout=seconds).close()  # noqa: S310  # the same
    except urllib.error.HTTPError:
        return True  # an answer all the same
    except (OSError, ValueError, http.client.HTTPException):
        return False  # nobody there, no URL, or no HTTP
    return True
