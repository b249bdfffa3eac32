"""Commands as people type them: exit codes, one clear line for an error, help for each."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer

from mona_server.cli.commands import app
from mona_server.insights.export import export
from mona_server.store import Store
from tests.insights.mill import DAY, TENANT, Mill
from tests.insights.test_runs import CONFIG, NAME, T0, day
from tests.notify import conftest as receivers
from tests.notify.conftest import MailServer
from tests.support import PATIENCE_S

mail_server = receivers.mail_server
"""The receiver that notifications are tested with."""


def mona(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "mona_server.cli", *map(str, arguments)],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def every_command(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from every_command(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize(("path", "command"), list(every_command()), ids=lambda part: str(part)[:40])
def test_every_command_and_option_explains_itself(path: tuple[str, ...], command: Any) -> None:
    """A command has a sentence, and so has each of its options."""
    assert command.help, path
    for parameter in command.params:
        if parameter.param_type_name == "option" and parameter.name != "help":
            assert parameter.help, (path, parameter.name)


def test_a_token_can_be_made_listed_and_revoked(tmp_path: Path) -> None:
    """The secret is shown once and never again."""
    made = json.loads(mona("token", "create", "--data", tmp_path, "--role", "Admin", "--json").stdout)
    assert set(made) == {"client_id", "secret", "user_id"}
    (listed,) = json.loads(mona("token", "list", "--data", tmp_path, "--json").stdout)
    assert listed["client_id"] == made["client_id"]
    assert made["secret"] not in json.dumps(listed)
    mona("token", "revoke", listed["id"], "--data", tmp_path)
    assert json.loads(mona("token", "list", "--data", tmp_path, "--json").stdout) == []


def test_a_role_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """With code 2, one line, and the roles there are."""
    done = mona("token", "create", "--data", tmp_path, "--role", "Amin", code=2)
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Admin" in done.stderr


def test_a_person_is_invited_by_a_link(tmp_path: Path) -> None:
    """Without a mail server the link is printed, with the address as it is set; so is one for a forgotten password."""
    (tmp_path / "mona.toml").write_text('[server]\npublic_url = "https://mona.example.org/"\n')
    told = mona("user", "invite", "a@example.com", "--role", "Viewer", "--data", tmp_path).stdout
    assert "https://mona.example.org/activate?link=" in told
    told = mona("user", "reset", "a@example.com", "--url", "http://elsewhere:1", "--data", tmp_path).stdout
    assert told.startswith("http://elsewhere:1/activate?link=")
    assert "no user" in mona("user", "reset", "b@example.com", "--data", tmp_path, code=1).stderr


def test_with_a_mail_server_a_link_is_mailed_and_printed_on_request_only(
    tmp_path: Path, mail_server: MailServer
) -> None:
    """The mail goes to the person; ``--print`` shows the link and mails nothing; a mail that fails is no dead end."""
    smtp = f"smtp://127.0.0.1:{mail_server.port}?from=mona@example.org"
    (tmp_path / "mona.toml").write_text(f'[notifications]\nsmtp_url = "{smtp}"\n')
    told = mona("user", "invite", "a@example.com", "--role", "Viewer", "--data", tmp_path).stdout
    assert "mailed to a@example.com" in told
    assert "link=" not in told
    ((_, recipients, mail),) = mail_server.got
    assert recipients == ["a@example.com"]
    assert "http://127.0.0.1:8420/activate?link=" in mail.get_content()
    assert "/activate?link=" in mona("user", "reset", "a@example.com", "--print", "--data", tmp_path).stdout
    assert len(mail_server.got) == 1
    mail_server.refuse = "550 no such user here"
    failed = mona("user", "reset", "a@example.com", "--data", tmp_path)
    assert "/activate?link=" in failed.stdout
    assert "no such user here" in failed.stderr


def test_files_are_imported_from_the_command_line(tmp_path: Path) -> None:
    """Rows land in the inbox of the data directory; the second time nothing is done."""
    file = tmp_path / "t.csv"
    file.write_text("id,ts,x\na,1700000000,1\nb,never,2\n")
    arguments = (
        "import",
        file,
        "--class",
        "LOAN",
        "--id-column",
        "id",
        "--time-column",
        "ts",
        "--data",
        tmp_path / "d",
    )
    assert "1 rows accepted, 1 refused" in mona(*arguments).stdout
    assert "row 2: exportTimestamp is not a valid timestamp" in mona(*arguments, "--map", "x=y").stdout
    assert json.loads(mona(*arguments, "--json").stdout)[0]["repeated"]
    with Store.open(tmp_path / "d") as store:
        assert len(store.inbox.read("default", 0)) == 2


def test_bad_arguments_of_import_end_with_code_2(tmp_path: Path) -> None:
    """A column that is not there, and a rename without a new name."""
    file = tmp_path / "t.csv"
    file.write_text("id,x\na,1\n")
    done = mona("import", file, "--class", "LOAN", "--id-column", "key", "--data", tmp_path / "d", code=2)
    assert "its columns are id, x" in done.stderr
    assert (
        "must be old=new" in mona("import", file, "--class", "L", "--map", "x", "--data", tmp_path / "d", code=2).stderr
    )


def test_a_backup_restores_to_the_same(tmp_path: Path) -> None:
    """Backup, restore and verify work from the command line, and refuse folders that hold something."""
    file = tmp_path / "t.csv"
    file.write_text("id,x\na,1\n")
    data, copy, again = tmp_path / "data", tmp_path / "copy", tmp_path / "again"
    mona("import", file, "--class", "LOAN", "--id-column", "id", "--data", data)
    assert json.loads(mona("backup", copy, "--data", data, "--json").stdout)["files"] >= 3
    assert "is not empty" in mona("backup", copy, "--data", data, code=1).stderr
    mona("restore", copy, "--data", again)
    with Store.open(again) as store:
        assert len(store.inbox.read("default", 0)) == 1
    assert "all is as it should be" in mona("verify", "--data", again).stdout
    assert "is no backup" in mona("restore", data, "--data", tmp_path / "new", code=2).stderr


def test_the_doctor_says_what_is_wrong(tmp_path: Path) -> None:
    """Each reading has a number; in a place without data the command says so."""
    with Store.open(tmp_path / "data"):
        pass
    readings = json.loads(mona("doctor", "--data", tmp_path / "data", "--json").stdout)
    assert {"bytes_used", "lag_s", "bytes_waiting"} <= {reading["id"] for reading in readings}
    assert "no data directory" in mona("doctor", "--data", tmp_path / "nothing", code=1).stderr


def test_detect_finds_what_changed_in_stored_data(tmp_path: Path) -> None:
    """Import, configure and detect without a server: a city whose score fell is named, for each day of a range once."""
    from mona_server.config import revisions
    from mona_server.ingest.builders import ConfiguredBuilders
    from mona_server.ingest.fold import Folder

    day, start = 86_400, 1_700_006_400  # a midnight
    lines = [
        f"c{d}-{i},{start + d * day + i * 60},{'ABCD'[i % 4]},{0.5 + (i * 37 + d * 11) % 100 / 1000 - (0.3 if d >= 42 and i % 4 == 0 else 0)}"
        for d in range(56)
        for i in range(200)
    ]
    file = tmp_path / "t.csv"
    file.write_text("id,ts,city,score\n" + "\n".join(lines) + "\n")
    data = tmp_path / "d"
    mona("import", file, "--class", "LOAN", "--id-column", "id", "--time-column", "ts", "--data", data)
    verse = {"type": "AverageDrift", "metrics": ["score"], "segment_by": ["city"]}
    config = {
        "LOAN": {
            "fields": {"score": {"type": "numeric"}, "city": {"type": "string"}},
            "stanzas": {"daily": {"verses": [verse]}},
        }
    }
    with Store.open(data) as store:
        revisions.save(store.meta, "default", json.dumps(config), author="test", commit_message="", now_ms=0)
        folder = Folder(store, ConfiguredBuilders(store.meta))
        while folder.step(start * 1000):
            pass
    at = str(start + 56 * day)
    found = json.loads(mona("detect", "--class", "LOAN", "--data", data, "--now", at, "--json").stdout)
    (insight,) = found["insights"]
    assert insight["main_signal"]["segment"] == {"city": [{"value": "A"}]}
    assert insight["main_signal"]["is_desc"]
    again = mona("detect", "--class", "LOAN", "--data", data, "--now", at, "--since", str(start + 54 * day), "--json")
    assert [insight["insight_id"] for insight in json.loads(again.stdout)["insights"]] == [insight["insight_id"]]
    assert len(json.loads(again.stdout)["runs"]) == 3
    assert "configured are: LOAN" in mona("detect", "--class", "X", "--data", data, code=1).stderr
    assert (
        "there are daily__AverageDrift"
        in mona("detect", "--class", "LOAN", "--verse", "x", "--data", data, code=2).stderr
    )


def test_check_searches_a_file_and_tells_by_its_code(tmp_path: Path) -> None:
    """0 without insights, 1 with some, 2 for input that cannot be used; the same in each form of the answer."""
    day, start = 86_400, 1_700_006_400
    rows = [
        {
            "ts": start + d * day + i * 60,
            "city": "ABCD"[i % 4],
            "score": round((i * 37 + d * 11) % 100 / 1000 - drop, 4),
        }
        for d in range(56)
        for i in range(200)
        for drop in (0.3 if d >= 42 and i % 4 == 0 else 0,)
    ]
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(rows))
    calm = tmp_path / "calm.json"
    calm.write_text(json.dumps([row | {"score": (i * 37) % 100 / 1000} for i, row in enumerate(rows)]))
    config = tmp_path / "config.json"
    verse = {"type": "AverageDrift", "metrics": ["score"], "segment_by": ["city"]}
    fields = {"score": {"type": "numeric"}, "city": {"type": "string"}}
    config.write_text(json.dumps({"LOAN": {"fields": fields, "stanzas": {"daily": {"verses": [verse]}}}}))
    options = ("--config", config, "--time-column", "ts", "--now", str(start + 56 * day))
    found = json.loads(mona("check", bad, *options, "--class", "LOAN", "--json", code=1).stdout)
    assert [i["main_signal"]["segment"] for i in found["insights"]] == [{"city": [{"value": "A"}]}]
    assert "<failure" in mona("check", bad, *options, "--format", "junit", code=1).stdout
    assert json.loads(mona("check", bad, *options, "--format", "sarif", code=1).stdout)["runs"][0]["results"]
    page = tmp_path / "page.html"
    mona("check", bad, *options, "--format", "html", "--output", page, code=1)
    assert "city = A" in page.read_text()
    mona("check", calm, *options)
    assert "X" in mona("check", bad, *options, "--class", "X", code=2).stderr
    assert "nothing.json" in mona("check", tmp_path / "nothing.json", *options, code=2).stderr
    config.write_text("{")
    assert "JSON" in mona("check", bad, *options, code=2).stderr


def test_an_exported_insight_is_computed_again(tmp_path: Path) -> None:
    """0 as the file says, 1 where a number was changed, 2 for anything else."""
    file = tmp_path / "insight.json"
    file.write_text("{}")
    assert "no format of an insight file" in mona("recompute", file, code=2).stderr
    file.write_text("x")
    assert "no JSON" in mona("recompute", file, code=2).stderr
    assert "cannot be read" in mona("recompute", tmp_path / "nowhere.json", code=2).stderr
    with closing(Mill(tmp_path / "data")) as mill:
        mill.configure(CONFIG)
        for number in range(14):
            mill.send(day(number, shift=6.0 if number == 13 else 0.0))
        (insight,) = mill.run(NAME, T0 + 14 * DAY).insights
        exported = export(mill.store, TENANT, insight["insight_id"])
    file.write_text(json.dumps(exported))
    assert "as the file says" in mona("recompute", file).stdout
    again = json.loads(mona("recompute", file, "--json").stdout)
    assert again["anomaly_level"] == insight["main_signal"]["anomaly_level"]
    exported["insight"]["main_signal"]["anomaly_level"] += 0.1
    file.write_text(json.dumps(exported))
    assert "other numbers" in mona("recompute", file, code=1).stdout
