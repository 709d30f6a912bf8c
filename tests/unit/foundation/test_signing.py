"""URLs of files: what is signed, what is not, and names that fit a path."""

from datetime import UTC, datetime

import pytest

from pyat.foundation.identity import Signer
from pyat.foundation.signing import LIFETIME_S_MIN, FileUrlExpired, FileUrlInvalid, FileUrls, url_filename

KEY = b"a key of the tests, thirty-two bytes or more"
NOW = datetime(2030, 5, 1, 12, 30, tzinfo=UTC)


def _parts(url: str) -> list[str]:
    return url.split("/")[4:]


def test_every_process_of_an_installation_makes_the_same_urls() -> None:
    made = {FileUrls.of(Signer(KEY), LIFETIME_S_MIN).url("http://x", "app", "att", "full", "a", NOW) for _ in range(2)}
    assert len(made) == 1
    assert made != {FileUrls.of(Signer(KEY + b"!"), LIFETIME_S_MIN).url("http://x", "app", "att", "full", "a", NOW)}


def test_the_name_is_not_signed_and_the_rest_is() -> None:
    urls = FileUrls(KEY, LIFETIME_S_MIN)
    base, attachment, variant, expires, signature, _ = _parts(urls.url("", "app1", "att1", "full", "a.png", NOW))
    assert (base, attachment, variant) == ("app1", "att1", "full")
    urls.verify(base, attachment, variant, expires, signature, NOW)
    wrong = [
        ("app2", attachment, variant, expires, signature),
        (base, "att2", variant, expires, signature),
        (base, attachment, "large", expires, signature),
        (base, attachment, variant, str(int(expires) + 1), signature),
        (base, attachment, variant, "0" + expires, signature),
        (base, attachment, variant, expires, signature.upper() if signature.upper() != signature else "x"),
        (base, attachment, variant, expires, ""),
        (base, attachment, variant, expires, "é"),
        (base, attachment, variant, "", signature),
        (base, attachment, variant, "-1", signature),
        (base, attachment, variant, "٣", signature),
        (base, attachment, variant, "9" * 5_000, signature),
    ]
    for parts in wrong:
        with pytest.raises(FileUrlInvalid):
            urls.verify(*parts, NOW)


def test_a_url_expires() -> None:
    urls = FileUrls(KEY, LIFETIME_S_MIN)
    base, attachment, variant, expires, signature, _ = _parts(urls.url("", "app1", "att1", "full", "a.png", NOW))
    ends = urls.verify(base, attachment, variant, expires, signature, NOW)
    assert 7_200 <= (ends - NOW).total_seconds() <= 10_800
    with pytest.raises(FileUrlExpired):
        urls.verify(base, attachment, variant, expires, signature, ends)


@pytest.mark.parametrize(
    ("filename", "shown"),
    [
        ("cat.png", "cat.png"),
        ("a b/c\\d.png", "a_b_c_d.png"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("€€€", "_"),
        ("", "file"),
        ("...", "file"),
        ("x" * 200 + ".png", "x" * 96 + ".png"),
    ],
)
def test_a_name_fits_a_path(filename: str, shown: str) -> None:
    assert url_filename(filename) == shown
