"""The answers file: where it goes, that nothing is overwritten, what a line holds."""

from __future__ import annotations

import json
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path

import pytest

from llmdispatcher import AttemptRecord, ConfigError, Message, RateLimitError, Request, Response, ToolCall, Usage
from llmdispatcher.batch import AnswersFile, InvalidLine, Prompt
from llmdispatcher.batch.runner import result_record

from ..cli.conftest import records

PROMPT = Prompt(3, "a", Request("gpt-4o", [Message.user("Hello")]))


def create(wanted=None, *, force=False):
    """Create an answers file and close it; where it is."""
    prompts = Path("prompts.jsonl")
    prompts.touch()
    with AnswersFile.create(wanted, force=force, prompts=prompts) as answers:
        return answers.path.name


def test_a_fresh_name_each_time(away):
    """answers.jsonl, then numbers; what is there stays."""
    assert ["answers.jsonl", "answers-2.jsonl", "answers-3.jsonl"] == [create(), create(), create()]


def test_an_existing_file_is_not_overwritten(away):
    """A name that the user chose is taken as it is, or refused."""
    (away / "mine.jsonl").write_text("precious")

    with pytest.raises(ConfigError, match=r"mine\.jsonl exists \(choose another output, or force"):
        create(away / "mine.jsonl")
    assert "precious" == (away / "mine.jsonl").read_text()


def test_force_overwrites(away):
    """When asked to."""
    (away / "mine.jsonl").write_text("old")
    create(away / "mine.jsonl", force=True)

    assert "" == (away / "mine.jsonl").read_text()


@pytest.mark.parametrize(
    ("lines", "is_kept"),
    [
        (['{"id": 1, "simulated": true}', '{"id": 2, "error": {}, "simulated": true}'], False),
        (['{"id": 1, "simulated": true}', '{"id": 2}'], True),
        (['{"id": 1, "simulated": true}', "precious"], True),
        (["[]"], True),
        ([], False),
    ],
)
def test_who_goes_on_overwrites_made_up_answers_only(away, lines, is_kept):
    """A batch that was tried out with simulated vendors is asked in earnest; one real answer keeps its file."""
    file = away / "mine.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines))

    with pytest.raises(ConfigError, match=r"mine\.jsonl exists") if is_kept else nullcontext():
        AnswersFile.create(file, prompts=None, resume=True).__exit__()
    assert ("".join(f"{line}\n" for line in lines) if is_kept else "") == file.read_text()


def test_prompts_are_never_overwritten(away):
    """Not even by force, and not under another name of theirs either."""
    (away / "prompts.jsonl").write_text("precious")
    (away / "link.jsonl").symlink_to(away / "prompts.jsonl")

    for name in ("prompts.jsonl", "link.jsonl"):
        with pytest.raises(ConfigError, match="these are the prompts"):
            create(away / name, force=True)


def test_a_device_is_no_file_to_protect():
    """/dev/null takes answers."""
    assert "null" == create(Path("/dev/null"))


def test_a_missing_folder_is_told(away):
    """With the system's reason."""
    with pytest.raises(ConfigError, match="No such file or directory"):
        create(away / "none" / "answers.jsonl")


def test_a_folder_that_takes_no_file_is_told(away, monkeypatch):
    """Also for the name that nobody chose."""
    monkeypatch.setattr(Path, "open", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))

    with pytest.raises(ConfigError, match=r"answers\.jsonl: Permission denied \(choose an output"):
        create()


def test_lines_are_whole_at_once(away):
    """A reader sees every line as soon as it is written, so that an interrupted run leaves no half of one."""
    with AnswersFile.create(None, force=False, prompts=Path("prompts.jsonl")) as answers:
        answers.write({"id": 1})
        answers.write({"id": 2})
        assert [{"id": 1}, {"id": 2}] == records(answers.path)


def test_half_a_character_can_be_written(away):
    """Models are cut in the middle of an emoji; JSON can name the half, UTF-8 cannot."""
    with AnswersFile.create(None, force=False, prompts=Path("prompts.jsonl")) as answers:
        answers.write({"content": "\ud83d ü"})

    assert [{"content": "\ud83d ü"}] == records(answers.path)
    assert "ü" in answers.path.read_text(encoding="utf-8")


def test_an_answer():
    """Everything that is known, money as exact text; what is empty is left out."""
    response = Response(
        content="Hi",
        model="gpt-4o",
        vendor="openai",
        finish_reason="stop",
        usage=Usage(input_tokens=3, output_tokens=1, cache_read_tokens=2, cost=Decimal("0.0000175")),
        latency=0.12345,
        trace=(
            AttemptRecord(vendor="azure", model="gpt-4o", started=0, latency=0.01, error="VendorUnavailable", status=503),
            AttemptRecord(vendor="openai", model="gpt-4o", started=0.01, latency=0.1, first_token=0.05),
        ),
    )

    assert {
        "id": "a",
        "model": "gpt-4o",
        "vendor": "openai",
        "content": "Hi",
        "finish_reason": "stop",
        "usage": {"input_tokens": 3, "output_tokens": 1, "cache_read_tokens": 2},
        "cost": "0.0000175",
        "latency": 0.123,
        "attempts": [
            {"vendor": "azure", "model": "gpt-4o", "latency": 0.01, "error": "VendorUnavailable", "status": 503},
            {"vendor": "openai", "model": "gpt-4o", "latency": 0.1, "first_token": 0.05},
        ],
    } == json.loads(json.dumps(result_record(PROMPT, response), default=str))


def test_tool_calls_and_refusals_are_kept():
    """Where an answer is not text."""
    response = Response(tool_calls=(ToolCall(id="1", name="f", arguments="{}"),), refusal="No.")
    line = result_record(PROMPT, response)

    assert ("f", "No.") == (line["tool_calls"][0]["name"], line["refusal"])


def test_an_error():
    """Its class, its text, and the facts that it has."""
    error = RateLimitError("slow down", vendor="openai", status=429, retry_after=2.0, attempts=4)

    assert {
        "id": "a",
        "model": "gpt-4o",
        "error": {
            "class": "RateLimitError",
            "message": "openai: slow down",
            "attempts": 4,
            "vendor": "openai",
            "status": 429,
            "retry_after": 2.0,
        },
    } == result_record(PROMPT, error)


def test_a_mistake():
    """Lines that could not be asked keep their place."""
    assert {"id": 7, "line": 7, "error": {"class": "InvalidRequest", "message": "model: missing"}} == result_record(
        InvalidLine(7, 7, "model: missing"), None
    )


def test_resume_without_a_name_does_not_begin_anew_beside_a_finished_batch(tmp_path, monkeypatch):
    """Where nothing is unfinished, the answers have to be named, since all would be paid for once more. At first it begins."""
    monkeypatch.chdir(tmp_path)
    with AnswersFile.create(None, prompts=None, resume=True) as answers:
        assert answers.path == Path("answers.jsonl")
    Path("answers.jsonl").write_text('{"id": 1, "content": "x"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no batch with answers in answers\.jsonl is unfinished \(name its answers by output"):
        AnswersFile.create(None, prompts=None, resume=True)
    assert not Path("answers-2.jsonl").exists()
