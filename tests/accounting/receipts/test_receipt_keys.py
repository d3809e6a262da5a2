"""Keys: their files, their forms for others, and that the private half is shown nowhere."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import pickle
import stat
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from llmdispatcher import ConfigError, PublicKey, PublicKeys, SigningKey
from tests.cases import each

RAW = bytes(range(200, 232))
FORMS = {
    "base64": base64.b64encode(RAW).decode(),
    "base64url": base64.urlsafe_b64encode(RAW).decode().rstrip("="),
    "with a line end": base64.b64encode(RAW).decode() + "\n",
}


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """No key in the environment."""
    for name in ("LLMDISPATCHER_RECEIPTS_KEY", "LLMRING_RECEIPTS_PRIVATE_KEY_B64"):
        monkeypatch.delenv(name, raising=False)


def secrets_of(raw):
    """Every text under which the secret could be seen."""
    return (
        base64.b64encode(raw).decode().rstrip("="),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
        raw.hex(),
        repr(raw)[2:-1],
    )


def test_a_generated_key_comes_back_from_its_file(tmp_path):
    """Mode 0600, the id written beside it, and the same key when it is loaded."""
    key = SigningKey.generate(tmp_path / "receipts.key")
    text = (tmp_path / "receipts.key").read_text()

    assert 0o600 == stat.S_IMODE((tmp_path / "receipts.key").stat().st_mode)
    assert f"key_id = {key.key_id}\n" in text
    assert key.public == SigningKey.load(tmp_path / "receipts.key").public
    assert ["receipts.key"] == [path.name for path in tmp_path.iterdir()]


def test_a_key_file_is_never_overwritten(tmp_path):
    """Not by a second key, and of two that come at once one is told."""
    path = tmp_path / "receipts.key"
    barrier = threading.Barrier(8)

    def generate(_):
        barrier.wait()
        try:
            return SigningKey.generate(path)
        except ConfigError as error:
            return str(error)

    with ThreadPoolExecutor(8) as threads:
        told = list(threads.map(generate, range(8)))

    (made,) = [one for one in told if isinstance(one, SigningKey)]
    assert 7 == told.count(f"key: {path} exists, and a key is never overwritten; take another name")
    assert made.public == SigningKey.load(path).public
    assert [path] == list(tmp_path.iterdir())


def test_a_key_file_that_cannot_be_written(tmp_path):
    """A folder that is not there; nothing is left behind."""
    with pytest.raises(ConfigError, match=r"cannot be written .*choose a directory"):
        SigningKey.generate(tmp_path / "nowhere" / "receipts.key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o620])
def test_a_key_that_others_may_read_is_refused(tmp_path, mode):
    """It is no secret any more."""
    SigningKey.generate(tmp_path / "k")
    (tmp_path / "k").chmod(mode)

    with pytest.raises(ConfigError, match=f"mode {mode:04o}.; chmod 600"):
        SigningKey.load(tmp_path / "k")


@each("text", FORMS)
def test_bare_base64_is_a_key(tmp_path, monkeypatch, text):
    """In a file and in the environment, in either alphabet."""
    (tmp_path / "k").write_text(text)
    (tmp_path / "k").chmod(0o600)
    monkeypatch.setenv("LLMDISPATCHER_RECEIPTS_KEY", text)

    assert SigningKey(RAW).public == SigningKey.load(tmp_path / "k").public == SigningKey.from_environment().public


def test_the_environment_may_name_a_file(tmp_path, monkeypatch):
    """The path of a key file instead of the key."""
    key = SigningKey.generate(tmp_path / "k")
    monkeypatch.setenv("LLMDISPATCHER_RECEIPTS_KEY", str(tmp_path / "k"))

    assert key.public == SigningKey.from_environment().public


def test_llmrings_variable_is_honoured_after_ours(monkeypatch):
    """As its server had it; ours counts first."""
    monkeypatch.setenv("LLMRING_RECEIPTS_PRIVATE_KEY_B64", FORMS["base64"])
    assert SigningKey(RAW).public == SigningKey.from_environment().public

    monkeypatch.setenv("LLMDISPATCHER_RECEIPTS_KEY", base64.b64encode(bytes(32)).decode())
    assert SigningKey(bytes(32)).public == SigningKey.from_environment().public


def test_pkcs8_is_a_key(tmp_path):
    """As openssl genpkey writes it; a key of another kind is refused."""
    key = SigningKey.generate()
    (tmp_path / "k").write_bytes(key._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "other").write_bytes(other)
    for name in ("k", "other"):
        (tmp_path / name).chmod(0o600)

    assert key.public == SigningKey.load(tmp_path / "k").public
    with pytest.raises(ConfigError, match="no private key of Ed25519"):
        SigningKey.load(tmp_path / "other")


def test_without_a_key_it_says_how_to_get_one():
    """The environment is empty."""
    with pytest.raises(ConfigError, match="key: there is none; set LLMDISPATCHER_RECEIPTS_KEY"):
        SigningKey.from_environment()


@each("slip", [FORMS["base64"][:-3], FORMS["base64"] + "AAAA", FORMS["base64"].replace("y", "!", 1), "/no/such/file"])
def test_a_slip_is_not_repeated_in_the_error(monkeypatch, slip):
    """What is nearly a key is as secret as the key."""
    monkeypatch.setenv("LLMDISPATCHER_RECEIPTS_KEY", slip)
    with pytest.raises(ConfigError, match="LLMDISPATCHER_RECEIPTS_KEY: no private key of Ed25519 is in it") as caught:
        SigningKey.from_environment()

    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(pickle.dumps(caught.value))
    assert slip[:12] not in told


def test_the_secret_is_shown_nowhere(tmp_path):
    """Not by repr, str, format, vars or dir; and it is neither pickled nor copied."""
    key = SigningKey(RAW)
    told = f"{key!r} {key!s} {key} {[getattr(key, name) for name in dir(key) if name != '_key']}"

    assert [] == [secret for secret in secrets_of(RAW) if secret in told]
    assert f"SigningKey({key.key_id})" == repr(key)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled or copied"):
            attempt(key)


@each("kind, raw", [(PublicKey, bytes(31)), *[(SigningKey, raw) for raw in (b"", bytes(31), bytes(33), "x" * 32, None)]])
def test_a_key_has_32_bytes(kind, raw):
    """Nothing else is one."""
    with pytest.raises(ConfigError, match="32"):
        kind(raw)


def test_the_id_follows_from_the_public_key():
    """``key_`` and the beginning of its SHA-256."""
    public = SigningKey(RAW).public

    assert f"key_{hashlib.sha256(public.raw).hexdigest()[:16]}" == public.key_id == SigningKey(RAW).key_id


def test_public_keys_as_json():
    """The published form, and back."""
    keys = PublicKeys((SigningKey(RAW).public, SigningKey(bytes(32)).public), SigningKey(RAW).key_id)
    document = json.loads(keys.to_json())

    assert {"keys", "current_key_id"} == document.keys()
    assert {"key_id", "public_key", "algorithm", "format"} == document["keys"][0].keys()
    assert ("Ed25519", "base64url") == (document["keys"][0]["algorithm"], document["keys"][0]["format"])
    assert keys == PublicKeys.from_text(keys.to_json()) == PublicKeys.of(document)


def test_public_keys_as_pem(tmp_path):
    """SubjectPublicKeyInfo of 44 bytes, with the algorithm's number in front of the 32; several in one file; and back."""
    keys = PublicKeys((SigningKey(RAW).public, SigningKey(bytes(32)).public))
    (tmp_path / "keys.pem").write_text(keys.pem())
    body = base64.b64decode("".join(keys.keys[0].pem().splitlines()[1:-1]))

    assert bytes.fromhex("302a300506032b6570032100") + keys.keys[0].raw == body
    assert keys == PublicKeys.of(tmp_path / "keys.pem")


@each("given", ["key", "keys", "list", "pem", "json", "entry"])
def test_public_keys_come_in_many_forms(given):
    """One key, a value with several, a list, and texts."""
    public = SigningKey(RAW).public
    keys = PublicKeys((public,))
    forms = {"key": public, "keys": keys, "list": [public], "pem": public.pem(), "json": keys.to_json(), "entry": public.as_dict()}

    assert public == PublicKeys.of(forms[given]).get(public.key_id)


@each(
    "text",
    [
        "",
        "hello",
        "{}",
        '{"keys": 3}',
        '{"keys": [{}]}',
        '{"keys": [], "keys": []}',
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
    ],
)
def test_what_holds_no_public_keys(text):
    """It is told that it does not, and what would."""
    with pytest.raises(ValueError, match=r"public keys?: .*; "):
        PublicKeys.from_text(text)


def test_a_public_key_of_another_kind():
    """An elliptic curve key verifies no receipts."""
    pem = generate_private_key(SECP256R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(ConfigError, match="Ed25519"):
        PublicKeys.from_text(pem)


def test_an_id_that_is_not_the_keys():
    """A list that gives a key a false name is refused."""
    entry = {**SigningKey(RAW).public.as_dict(), "key_id": SigningKey(bytes(32)).key_id}
    with pytest.raises(ConfigError, match="is not the id of this key"):
        PublicKeys.of({"keys": [entry], "current_key_id": None})


def test_a_file_of_public_keys_that_is_not_there(tmp_path):
    """Told as any other mistake."""
    with pytest.raises(ConfigError, match="cannot be read"):
        PublicKeys.of(tmp_path / "none.pem")
