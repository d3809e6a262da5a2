"""Others can verify: the ``openssl`` command line, with the PEM and the canonical bytes."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from llmdispatcher import SigningKey
from llmdispatcher.accounting.receipts.format import canonical, parse_signature

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="there is no openssl on this machine")


def openssl(*words, cwd):
    """Run it; its exit code and what it says."""
    done = subprocess.run([OPENSSL, *words], cwd=cwd, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def parts(chain, tmp_path):
    """A receipt as openssl wants it: key, signed bytes, signature."""
    document = chain.batch().as_dict()
    body = {name: value for name, value in document.items() if name != "signature"}
    (tmp_path / "key.pem").write_text(chain.key.public.pem())
    (tmp_path / "body").write_bytes(canonical(body))
    (tmp_path / "signature").write_bytes(parse_signature(document["signature"]))
    return tmp_path


VERIFY = ("pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "body", "-sigfile", "signature")


def test_openssl_verifies_a_receipt(parts):
    """The same bytes, the same answer."""
    assert (0, True) == (openssl(*VERIFY, cwd=parts)[0], "Verified Successfully" in openssl(*VERIFY, cwd=parts)[1])


def test_openssl_sees_an_altered_byte(parts):
    """It is the same signature over the same bytes, or none."""
    body = json.loads((parts / "body").read_text())
    (parts / "body").write_bytes(canonical({**body, "description": "other"}))

    assert 0 != openssl(*VERIFY, cwd=parts)[0]


def test_openssl_reads_the_public_key(parts):
    """A real SubjectPublicKeyInfo of Ed25519."""
    code, told = openssl("pkey", "-pubin", "-in", "key.pem", "-noout", "-text", cwd=parts)

    assert (0, True) == (code, "ED25519 Public-Key" in told)


def test_a_key_that_openssl_made_signs(tmp_path):
    """And openssl, given it, signs the same: Ed25519 has one signature for one content."""
    assert 0 == openssl("genpkey", "-algorithm", "ED25519", "-out", "made.pem", cwd=tmp_path)[0]
    (tmp_path / "made.pem").chmod(0o600)
    (tmp_path / "body").write_bytes(b"the same")
    assert 0 == openssl("pkeyutl", "-sign", "-inkey", "made.pem", "-rawin", "-in", "body", "-out", "signature", cwd=tmp_path)[0]

    assert (tmp_path / "signature").read_bytes() == SigningKey.load(tmp_path / "made.pem").sign(b"the same")
