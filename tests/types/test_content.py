"""Parts out of paths, bytes, addresses and data URLs: what is recognised, what is refused, and in which words."""

from __future__ import annotations

import base64
import os
import socket
from pathlib import Path

import attrs
import pytest

from llmdispatcher import (
    AudioPart,
    FilePart,
    ImagePart,
    InvalidRequest,
    Message,
    TextPart,
    VideoPart,
    analyze_file,
    analyze_image,
    audio,
    document,
    image,
    video,
)
from llmdispatcher.types import content as media_room
from llmdispatcher.types import media_type_of
from llmdispatcher.types.content import guess_media_type

from ..cases import each

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
WAV = b"RIFF\x24\0\0\0WAVEfmt "
MP4 = b"\0\0\0\x18ftypisom\0\0\2\0"
SAMPLES = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "image/gif": b"GIF89a\1\0",
    "image/webp": b"RIFF\x24\0\0\0WEBPVP8 ",
    "image/heic": b"\0\0\0\x18ftypheic\0\0\0\0",
    "application/pdf": PDF,
    "audio/wav": WAV,
    "audio/mpeg": b"ID3\4\0\0\0",
    "audio/flac": b"fLaC\0\0",
    "audio/ogg": b"OggS\0\2",
    "audio/mp4": b"\0\0\0\x1cftypM4A \0\0\0\0",
    "video/mp4": MP4,
    "video/quicktime": b"\0\0\0\x14ftypqt  \0\0\0\0",
    "video/webm": b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1fB\x82\x84webm",
    "text/html": b"\n <!DOCTYPE HTML><title>x",
    "text/plain": "Grüße".encode(),
}


def refusal(make, *arguments, **options):
    """The text of the InvalidRequest that ``make`` raises."""
    with pytest.raises(InvalidRequest) as caught:
        make(*arguments, **options)
    return str(caught.value)


@each("media_type", list(SAMPLES))
def test_the_beginning_tells_the_kind(media_type):
    """Each format is known by its first bytes, whatever it is called."""
    assert media_type == media_type_of(SAMPLES[media_type], "misnamed.xyz")


@each("second", [0xFB, 0xF3, 0xF2, 0xFA])
def test_an_mp3_without_tags_is_known_by_its_first_frame(second):
    """MPEG 1 and 2, with and without a checksum."""
    assert "audio/mpeg" == media_type_of(bytes([0xFF, second, 0x90, 0x64]))


@each(
    "data, name, expected",
    [
        (b"a,b\n1,2\n", "a.MD", "text/markdown"),
        (b"a,b\n1,2\n", "a.csv", "text/csv"),
        (b"a,b\n1,2\n", "b.json", "application/json"),
        (b"a,b\n1,2\n", "c.txt", "text/plain"),
        (b"a,b\n1,2\n", "c.py", "text/plain"),
        (b"a,b\n1,2\n", None, "text/plain"),
        (b"not a picture", "photo.png", "text/plain"),
        (b"\0\1\2\xff", "photo.png", None),
    ],
)
def test_a_name_tells_one_text_from_another_and_nothing_else(data, name, expected):
    """Text of an unknown name is plain; what does not begin like a PNG is none, and what is no text has no kind."""
    assert expected == media_type_of(data, name)


REFUSALS = [
    (audio, "https://example.com/a.mp3", {}, "give its path or its bytes"),
    (image, PDF, {}, "image: this is application/pdf, not for image(); use document()"),
    (document, PNG, {}, "document: this is image/png, not for document(); use image()"),
    (image, b"II*\0\0\0\0\0", {}, "image: this is image/tiff, which is not sent; give image/png"),
    (document, b"\0\1\2\3", {}, "is of no known kind"),
    (image, b"", {}, "image: this is empty; there is nothing to send"),
    (image, "data:image/png;base64,", {}, "image: this is empty; there is nothing to send"),
    (lambda data: analyze_file(data, "?"), b"PK\3\4\0\0", {}, "is application/zip, which is not sent"),
    (image, "https://example.com/a.png", {"source": "url"}, "source: 'url' is not one of them; use 'address', 'path' or None"),
    (image, "~no-such-user-here/photo.png", {}, "is in a home folder that is not known"),
    (image, "data:image/png;base64,!!secret!!", {}, "the data URL is not"),
    (image, None, {}, "image: NoneType is not a source"),
    (image, 7, {}, "image: int is not a source"),
    (image, ["a.png"], {}, "image: list is not a source"),
]


@each("make, given, options, text", REFUSALS)
def test_what_cannot_be_sent_is_refused(make, given, options, text):
    """With what it is and what to do; what may be a secret is not shown."""
    told = refusal(make, given, **options)

    assert text in told
    assert "secret" not in told


@each("name, data, text", [("scan.png", PDF, "'scan.png' is application/pdf"), ("a.png", b"", "'a.png' is empty")])
def test_a_file_that_cannot_be_sent_is_named(tmp_path, name, data, text):
    """So that one of many can be found."""
    (tmp_path / name).write_bytes(data)

    assert text in refusal(image, tmp_path / name)


@each("kind", [bytes, bytearray, memoryview])
def test_parts_of_bytes_go_into_a_message(kind):
    """Between texts, in order, whatever holds the bytes."""
    message = Message.user("Look:", image(kind(PNG)), "What is it?")

    assert (TextPart(text="Look:"), ImagePart(data=PNG, media_type="image/png"), TextPart(text="What is it?")) == message.content


def test_the_name_in_an_address_is_the_end_of_its_path():
    """Query and fragment are not part of it."""
    assert "image/webp" == guess_media_type("https://example.com/a/b.webp?size=large.png#x.gif")


def test_image_from_a_path(tmp_path):
    """The bytes are read, the kind comes from them; ``str`` and ``Path`` are the same."""
    path = tmp_path / "photo.jpg"
    path.write_bytes(PNG)

    assert ImagePart(data=PNG, media_type="image/png", detail="low") == image(str(path), detail="low") == image(path, detail="low")
    assert [PNG, PNG] == [image(given, source="path").data for given in (path, str(path))]


def test_a_path_may_begin_at_home(tmp_path, monkeypatch):
    """``~`` is the user's home directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "photo.png").write_bytes(PNG)

    assert PNG == image("~/photo.png").data


@each("url", ["https://example.com/a.png", "HTTPS://example.com/a", "http://example.com/a.png", "gs://bucket/a.png"])
def test_an_address_is_passed_on(url):
    """Nothing is fetched; the media type is what the name tells, or nothing."""
    assert ImagePart(url=url, media_type="image/png" if url.endswith(".png") else None) == image(url)


def test_image_from_a_data_url():
    """It becomes the bytes that it holds, of the kind that they are."""
    url = f"data:image/jpeg;base64,{base64.b64encode(PNG).decode()}"

    assert ImagePart(data=PNG, media_type="image/png") == image(url)


def test_a_data_url_tells_the_kind_of_its_text():
    """Where the bytes alone do not."""
    url = f"data:text/csv;base64,{base64.b64encode(b'a,b').decode()}"

    assert FilePart(data=b"a,b", media_type="text/csv") == document(url)


def test_document_from_a_path(tmp_path):
    """It keeps its name; ``name=`` wins."""
    path = tmp_path / "Bericht 1.pdf"
    path.write_bytes(PDF)

    assert FilePart(data=PDF, media_type="application/pdf", name="Bericht 1.pdf") == document(path)
    assert "report.pdf" == document(path, name="report.pdf").name


def test_document_from_bytes_with_a_name():
    """The name tells which text it is."""
    assert FilePart(data=b"# Hi", media_type="text/markdown", name="hi.md") == document(b"# Hi", name="hi.md")


def test_document_by_address_is_named_after_it():
    """By the last segment of its path, decoded."""
    url = "https://example.com/docs/annual%20report.pdf?x=1"

    assert FilePart(url=url, media_type="application/pdf", name="annual report.pdf") == document(url)


@each(
    "data, word",
    [
        (WAV, "wav"),
        (SAMPLES["audio/mpeg"], "mp3"),
        (SAMPLES["audio/flac"], "flac"),
        (SAMPLES["audio/ogg"], "ogg"),
        (SAMPLES["audio/mp4"], "m4a"),
        (MP4, "m4a"),
        (SAMPLES["video/webm"], "webm"),
    ],
)
def test_audio_has_a_format(data, word):
    """The short word that vendors know it by."""
    assert AudioPart(data=data, format=word) == audio(data)


@each("media_type", ["video/mp4", "video/webm", "video/quicktime"])
def test_video_from_bytes(media_type):
    """Three containers."""
    assert VideoPart(data=SAMPLES[media_type], media_type=media_type) == video(SAMPLES[media_type])


def test_a_missing_file_is_named_without_its_folder(tmp_path, monkeypatch):
    """Errors reach strangers, and where a server keeps its files is none of their business."""
    monkeypatch.chdir(tmp_path)
    told = [refusal(image, given) for given in ("photo.pgn", tmp_path / "photo.pgn", str(tmp_path / "photo.pgn"))]

    assert [
        "image: 'photo.pgn' is no address, and no file is there; give a path, bytes, an https:// address or a data URL"
    ] * 3 == told


def fifo(path: Path) -> None:
    """A pipe without a writer: whoever opens it to read waits for one."""
    os.mkfifo(path)


def directory(path: Path) -> None:
    """A folder."""
    path.mkdir()


def device(path: Path) -> None:
    """A device that gives bytes without end."""
    path.symlink_to("/dev/zero")


def bound_socket(path: Path) -> None:
    """A socket of another server on this machine."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


@pytest.mark.parametrize("make", [fifo, directory, device, bound_socket])
def test_only_regular_files_are_read(tmp_path, monkeypatch, make):
    """What would block, never end or do something is not even opened; the folder is not told."""
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "thing")
    readers = (image, document, audio, video, lambda path: analyze_file(path, "What is it?"))
    told = [refusal(read, tmp_path / "thing") for read in readers]

    assert [] == [words for words in told if "'thing' is not a file" not in words or tmp_path.name in words]


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path, monkeypatch):
    """It came between the look and the opening."""
    (tmp_path / "photo.png").write_bytes(PNG)
    status = (tmp_path / "photo.png").stat()
    (tmp_path / "photo.png").unlink()
    os.mkfifo(tmp_path / "photo.png")
    monkeypatch.setattr(Path, "stat", lambda *_arguments, **_options: status)

    assert "'photo.png' is not a file" in refusal(image, tmp_path / "photo.png")


def test_no_more_than_the_limit_is_read(tmp_path, monkeypatch):
    """However long the file is."""
    monkeypatch.setattr(media_room, "IMAGE", attrs.evolve(media_room.IMAGE, most=1_000_000))
    with (tmp_path / "photo.png").open("wb") as file:
        file.write(PNG)
        file.truncate(1 << 40)

    assert "'photo.png' has more than 1 MB" in refusal(image, tmp_path / "photo.png")


PARTS = [image, document, audio, video, lambda given, **naming: analyze_file(given, "?", **naming)]


@each("part", PARTS)
@each("given", ["photo.png", "/etc/passwd", "../../etc/passwd", "~/.ssh/id_rsa", "file:///etc/passwd", "", Path("photo.png")])
def test_an_address_of_a_stranger_names_no_file(tmp_path, monkeypatch, part, given):
    """With ``source="address"`` whatever is no address is refused, whether or not a file is there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.png").write_bytes(PNG)

    assert "is no address; give an https:// address or a data URL" in refusal(lambda text: part(text, source="address"), given)


def test_addresses_data_urls_and_bytes_are_taken_as_addresses():
    """What is no file of the server's passes."""
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"

    assert [None, PNG, PNG] == [image(given, source="address").data for given in ("https://example.com/a.png", url, PNG)]


@each("given", ["https://example.com/a.png", "gs://bucket/a.png", "data:image/png;base64,AAAA"])
def test_a_path_of_a_stranger_names_no_address(tmp_path, monkeypatch, given):
    """With ``source="path"`` a text is the path of a file, whatever it looks like: the vendor fetches nothing."""
    monkeypatch.chdir(tmp_path)
    told = refusal(lambda text: image(text, source="path"), given)

    assert "no file is there" in told


@each("source", ["What is this?\n" * 1000, "a\0b", "x" * 300])
def test_a_text_that_cannot_be_a_path_is_refused(source):
    """Not with an OSError or a ValueError, and it is not repeated at length."""
    assert len(refusal(image, source)) < 400


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    """With the system's reason."""
    path = tmp_path / "photo.png"
    path.write_bytes(PNG)

    def deny(*_arguments, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", deny)

    assert "cannot be read (Permission denied)" in refusal(image, path)


@each("make, data, most", [(image, PNG, 20), (document, PDF, 50), (audio, WAV, 100), (video, MP4, 100)])
def test_each_kind_has_a_limit(make, data, most, tmp_path):
    """A byte more than the most is refused, a sparse file of that size quickly; exactly the most is not."""
    path = tmp_path / "large"
    path.write_bytes(data)
    with path.open("r+b") as file:
        file.truncate(most * 1_000_000)
    allowed = make(path)
    with path.open("r+b") as file:
        file.truncate(most * 1_000_000 + 1)

    assert most * 1_000_000 == len(allowed.data)
    assert f"has more than {most} MB" in refusal(make, path)


def test_analyze_image_is_prompt_and_image(tmp_path):
    """Ready for ``Message.user``."""
    (tmp_path / "a.png").write_bytes(PNG)
    content = analyze_image(tmp_path / "a.png", "What is this?")

    assert (TextPart(text="What is this?"), ImagePart(data=PNG, media_type="image/png")) == content
    assert content == Message.user(*content).content


@each(
    "name, data, expected",
    [
        ("a", PNG, ImagePart(data=PNG, media_type="image/png")),
        ("a.pdf", PDF, FilePart(data=PDF, media_type="application/pdf", name="a.pdf")),
        ("a.csv", b"a,b", FilePart(data=b"a,b", media_type="text/csv", name="a.csv")),
        ("a.wav", WAV, AudioPart(data=WAV, format="wav")),
        ("a.mov", SAMPLES["video/quicktime"], VideoPart(data=SAMPLES["video/quicktime"], media_type="video/quicktime")),
    ],
)
def test_analyze_file_sees_the_kind(tmp_path, name, data, expected):
    """Image, document, recording or film."""
    (tmp_path / name).write_bytes(data)

    assert (TextPart(text="Sum it up."), expected) == analyze_file(tmp_path / name, "Sum it up.")


def test_analyze_file_by_address():
    """The name must tell, since nothing is fetched."""
    url = "https://example.com/a.pdf"

    assert FilePart(url=url, media_type="application/pdf", name="a.pdf") == analyze_file(url, "?")[1]
    assert "does not tell what is there" in refusal(analyze_file, "https://example.com/a", "?")


def test_every_kind_of_audio_has_a_word():
    """The table of words is complete."""
    assert set(media_room.AUDIO.media_types) == set(media_room.AUDIO_FORMATS)


@each("address", ["https://[::1/a.png", "https://", "https://x/\ud800", "https://x/\r\nX: 1", "http://a b/c.png"])
@each("make", [image, document])
def test_an_address_that_is_none_is_told(make, address):
    """Not by an error of the parser's."""
    with pytest.raises(InvalidRequest, match="is no address"):
        make(address, source="address")
