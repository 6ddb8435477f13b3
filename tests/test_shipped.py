"""`kagent shipped`, on real files and a real database: what it says yes and no to."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from shipped_rig import Rig, numbered

from kagent import checkpoint, model, shipped, system

LINES = numbered(500)  # 4,390 bytes


@pytest.fixture
def rig(tmp_path: pathlib.Path) -> Rig:
    """One flow, `web`, over access.log."""
    one = Rig(tmp_path)
    one.configure(web=["access.log"])
    return one


# --- the file itself --------------------------------------------------------------------------


def test_a_file_whose_every_byte_is_settled_is_shipped(rig: Rig) -> None:
    """Exit 0, one line on stdout, nothing on stderr."""
    path = rig.path("access.log", LINES)
    rig.save(rig.row(path))

    result = rig.ask(path)

    assert result.stdout == f"{path}: web: shipped, all of its 4,390 bytes\n"
    assert (0, "") == (result.exit_code, result.stderr)


@pytest.mark.parametrize(
    ("data", "offset", "said"),
    [
        pytest.param(
            LINES, 4380, "10 of its 4,390 bytes are not shipped: 4380-4390\n", id="a whole line"
        ),
        pytest.param(
            LINES + b"unfinished",
            4390,
            "10 of its 4,400 bytes are not shipped: 4390-4400;"
            " they are an unfinished last line, which waits for its newline\n",
            id="an unfinished line",
        ),
        pytest.param(
            LINES + b"unfinished",
            4380,
            "20 of its 4,400 bytes are not shipped: 4380-4400;"
            " the last 10 are an unfinished last line\n",
            id="a line and an unfinished one",
        ),
        pytest.param(LINES, 0, "4,390 of its 4,390 bytes are not shipped: 0-4390\n", id="all"),
    ],
)
def test_what_is_missing_is_said(rig: Rig, data: bytes, offset: int, said: str) -> None:
    """How many bytes, which ones, and how many of them are a line without its newline."""
    path = rig.path("access.log", data)
    rig.save(rig.row(path, offset))

    result = rig.ask(path)

    assert (1, f"{path}: web: {said}") == (result.exit_code, result.stdout)


def test_ranges_above_the_offset_are_not_missing(rig: Rig) -> None:
    """A gap is missing, what was settled behind it is not."""
    path = rig.path("access.log", LINES)
    frontier = rig.row(path, 4000).frontier
    rig.save(rig.row(path, 100, ranges=(model.SettledRange(200, 4000, frontier.digest),)))

    result = rig.ask(path)

    assert "490 of its 4,390 bytes are not shipped: 100-200, 4000-4390\n" in result.stdout


def test_many_gaps_are_counted(rig: Rig) -> None:
    """The first five are named."""
    path = rig.path("access.log", LINES)
    ranges = tuple(
        model.SettledRange(at, at + 10, rig.row(path, at + 10).frontier.digest)
        for at in range(20, 200, 20)
    )
    rig.save(rig.row(path, 10, ranges=ranges))

    result = rig.ask(path)

    assert "10-20, 30-40, 50-60, 70-80, 90-100, and 5 more ranges\n" in result.stdout


def test_bytes_that_the_log_lost_and_got_again_are_missing(rig: Rig) -> None:
    """After a power cut only what an older frontier proves is shipped."""
    path = rig.path("access.log", LINES)
    row = rig.row(path, older=(rig.row(path, 4000).frontier,))
    rig.path("access.log").write_bytes(LINES[:4000])
    with path.open("ab") as file:
        file.write(b"x" * 390)
    rig.save(row)

    result = rig.ask(path)

    assert "390 of its 4,390 bytes are not shipped: 4000-4390" in result.stdout


def test_an_empty_file_that_is_known_has_nothing_missing(rig: Rig) -> None:
    """And one that is not known is not."""
    known, other = rig.path("access.log", b""), rig.path("access.log.1", b"")
    rig.save(rig.row(known))

    assert [0, 1] == [rig.ask(path).exit_code for path in (known, other)]


@pytest.mark.parametrize("is_same_inode", [True, False])
def test_a_file_with_other_content_is_not_known(rig: Rig, is_same_inode: bool) -> None:
    """Whatever its name and inode are: it was replaced, and nothing of it is shipped."""
    path = rig.path("access.log", LINES)
    row = rig.row(path)
    if not is_same_inode:
        path.rename(rig.path("kept"))
    path.write_bytes(LINES.replace(b"line 0\n", b"line X\n"))
    rig.save(row)

    result = rig.ask(path)

    assert result.exit_code == 1
    assert "web: not known" in result.stdout
    assert is_same_inode == ("it holds other content now" in result.stdout)


def test_other_bytes_before_the_offset_are_other_content(rig: Rig) -> None:
    """The head alone proves nothing."""
    path = rig.path("access.log", LINES)
    rig.save(rig.row(path))
    path.write_bytes(LINES[:-7] + b"LINE X\n")

    assert rig.ask(path).exit_code == 1


def test_a_device_number_may_change_and_the_path_helps(rig: Rig) -> None:
    """Numbers of devices change at a reboot: inode, path and content prove a file as well."""
    path = rig.path("access.log", b"short\n")
    row = rig.row(path)
    other = model.FileIdentity(row.identity.device + 1, row.identity.inode)

    rig.save(dataclasses.replace(row, identity=other))
    with_path = rig.ask(path).exit_code
    rig.save(dataclasses.replace(row, identity=other, paths=("/elsewhere",)))
    without_path = rig.ask(path).exit_code

    assert (0, 1) == (with_path, without_path)


def test_the_inode_of_a_deleted_file_proves_nothing(rig: Rig) -> None:
    """A row whose link count was seen 0 is not about a file that has its inode now."""
    path = rig.path("access.log", b"short\n")
    rig.save(rig.row(path, was_unlinked=True))

    assert rig.ask(path).exit_code == 1


# --- renamed, copied, compressed --------------------------------------------------------------


@pytest.mark.parametrize("name", ["access.log.1", "archive/what ever\n", "-rf"])
def test_a_renamed_file_is_known_by_its_identity(rig: Rig, name: str) -> None:
    """Under any name, in or out of the pattern."""
    path = rig.path("access.log", b"short\n")
    rig.save(rig.row(path))

    result = rig.ask("--", path.rename(rig.path(name)))

    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("data", "name", "code"),
    [
        pytest.param(LINES, "access.log.1", 0, id="beside it"),
        pytest.param(LINES, "archive/copy", 0, id="elsewhere"),
        pytest.param(LINES[:1023], "access.log.1", 1, id="too short to tell"),
        pytest.param(b"\n" * 4390, "access.log.1", 1, id="one value repeated"),
    ],
)
def test_a_copy_is_known_by_its_content(rig: Rig, data: bytes, name: str, code: int) -> None:
    """As copytruncate makes it, if at least 1024 bytes that tell something were shipped."""
    path = rig.path("access.log", data)
    rig.save(rig.row(path))
    copy = rig.path(name)
    shutil.copy(path, copy)
    path.write_bytes(b"")

    assert code == rig.ask(copy).exit_code


def test_a_copy_with_more_in_it_is_not_shipped(rig: Rig) -> None:
    """What was written before the copy and not shipped is missing from it."""
    path = rig.path("access.log", LINES)
    rig.save(rig.row(path, 4000))
    copy = shutil.copy(path, rig.path("access.log.1"))
    path.write_bytes(b"")

    result = rig.ask(copy)

    assert (1, True) == (result.exit_code, "not shipped: 4000-4390" in result.stdout)


def test_two_files_with_equal_contents_are_two_files(rig: Rig) -> None:
    """A file that the flow follows is not answered for by its twin: its lines are lines too."""
    rig.configure(web=["*/boot.log"])
    first, second = rig.path("a/boot.log", LINES), rig.path("b/boot.log", LINES)
    archived = rig.path("b/boot.log.1.gz", gzip.compress(LINES))
    rig.save(rig.row(first))

    assert [0, 1, 1] == [rig.ask(one).exit_code for one in (first, second, archived)]


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(gzip.compress(LINES), id="gzip"),
        pytest.param(gzip.compress(LINES[:1500]) + gzip.compress(LINES[1500:]), id="two members"),
    ],
)
def test_a_compressed_file_is_known_by_what_it_decompresses_to(rig: Rig, packed: bytes) -> None:
    """The sizes that are said are those of the content."""
    path = rig.path("access.log", LINES)
    rig.save(rig.row(path))
    path.unlink()

    result = rig.ask(rig.path("access.log.1.gz", packed))

    assert result.exit_code == 0
    assert "web: shipped, all of its 4,390 decompressed bytes\n" in result.stdout


def test_zstd_is_read_where_there_is_a_decompressor(rig: Rig) -> None:
    """With the package zstandard, also frames that follow each other."""
    zstandard = pytest.importorskip("zstandard")
    path = rig.path("access.log", LINES)
    rig.save(rig.row(path))
    path.unlink()
    packed = zstandard.compress(LINES[:100]) + zstandard.compress(LINES[100:])

    result = rig.ask(rig.path("access.log.1.zst", packed))
    damaged = rig.ask(rig.path("access.log.2.zst", packed[:4] + b"\xff" * 50))

    assert (0, 1) == (result.exit_code, damaged.exit_code)
    assert "compressed and damaged" in damaged.stderr


def test_zstd_without_a_decompressor_is_said(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is no, and says what to install."""
    rig.save()
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)

    result = rig.ask(rig.path("access.log.1.zst", b"\x28\xb5\x2f\xfd" + b"x" * 50))

    assert result.exit_code == 1
    assert "hint: pip install kagent[zstd]" in result.stderr


@pytest.mark.parametrize(
    ("packed", "said"),
    [
        pytest.param(gzip.compress(LINES)[:-9], "not complete", id="cut short"),
        pytest.param(gzip.compress(LINES)[:-8] + b"x" * 8, "damaged", id="wrong checksum"),
        pytest.param(b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 99, "damaged", id="no gzip at all"),
    ],
)
def test_a_damaged_compressed_file_is_not_shipped(rig: Rig, packed: bytes, said: str) -> None:
    """A file that gzip is still writing, for one."""
    path = rig.path("access.log", LINES)
    rig.save(rig.row(path))

    result = rig.ask(rig.path("access.log.1.gz", packed))

    assert result.exit_code == 1
    assert f"is compressed and {said}" in result.stderr


def test_a_compressed_file_with_more_in_it_is_not_shipped(rig: Rig) -> None:
    """What is missing is said in bytes of the content, the unfinished line included."""
    path = rig.path("access.log", LINES + b"unfinished")
    rig.save(rig.row(path, 4380))
    path.unlink()

    result = rig.ask(rig.path("access.log.1.gz", gzip.compress(LINES + b"unfinished")))

    assert result.exit_code == 1
    assert "4380-4400; the last 10 are an unfinished last line" in result.stdout


def test_a_compressed_file_shipped_as_it_is_is_shipped(rig: Rig) -> None:
    """A flow whose pattern matches .gz files ships their bytes, and they count, damaged or not."""
    rig.configure(web=["access.log*"])
    whole = rig.path("access.log.1.gz", gzip.compress(LINES))
    damaged = rig.path("access.log.2.gz", gzip.compress(LINES)[:-9])
    rig.save(rig.row(whole), rig.row(damaged))

    assert [0, 0] == [rig.ask(one).exit_code for one in (whole, damaged)]


def test_a_large_compressed_file_is_read_in_bounded_memory(tmp_path: pathlib.Path) -> None:
    """200 MiB of content in a small file cost no more memory than any other."""
    rig = Rig(tmp_path)
    rig.configure(web=["access.log"])
    block = LINES * 239  # 1 MiB
    path = rig.path("access.log", block)
    row = rig.row(path)
    frontier = dataclasses.replace(row.frontier, offset=200 * row.offset)
    rig.save(dataclasses.replace(row, offset=200 * row.offset, frontier=frontier))
    packed = rig.path("access.log.1.gz", gzip.compress(block) * 200)
    path.unlink()
    program = (
        "from kagent import cli\n"
        "try: cli.main()\n"
        "finally: print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, "shipped", "-c", tmp_path / "kagent.yaml", packed],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert int(done.stdout.splitlines()[-1]) < 100 * 1024


# --- which flows ------------------------------------------------------------------------------


def test_every_flow_that_matches_must_have_it(rig: Rig) -> None:
    """Each is asked by itself, and named."""
    rig.configure(web=["access.log"], audit=["*.log"])
    path = rig.path("access.log", LINES)
    rig.save(rig.row(path))

    before = rig.ask(path)
    rig.save(rig.row(path, 4380), flow="audit")
    during = rig.ask(path)
    rig.save(rig.row(path), flow="audit")
    after = rig.ask(path)

    assert (1, 1, 0) == (before.exit_code, during.exit_code, after.exit_code)
    assert "audit: not known" in before.stdout
    assert "audit: 10 of its 4,390 bytes are not shipped" in during.stdout


@pytest.mark.parametrize(
    "name", ["access.log.1", "access.log-20261130", "access.log-20261130-1796000000.gz"]
)
def test_a_generation_is_asked_of_the_flow_that_followed_it(rig: Rig, name: str) -> None:
    """Outside the pattern as it is: what one flow has does not excuse the other."""
    rig.configure(web=["access.log*"], audit=["access.log"])
    path = rig.path(name, LINES)
    rig.save(rig.row(path))

    result = rig.ask(path)

    assert result.exit_code == 1
    assert f"{path}: audit: not known" in result.stdout


def test_a_moved_file_is_asked_of_every_flow_that_followed_it(rig: Rig) -> None:
    """The paths that one flow's row remembers say which other flows had the file."""
    rig.configure(web=["access.log"], audit=["access.*"])
    path = rig.path("access.log", LINES)
    rig.save(rig.row(path))

    result = rig.ask(path.rename(rig.path("archive/moved")))

    assert result.exit_code == 1
    assert "audit: not known" in result.stdout


@pytest.mark.parametrize("name", ["other.log", "access.log.json", "deep/access.log"])
def test_a_file_of_no_flow_is_not_shipped(rig: Rig, name: str) -> None:
    """By its name no flow has it, and no checkpoint is proved by its content."""
    rig.save()

    result = rig.ask(rig.path(name, LINES))

    assert result.exit_code == 1
    assert result.stdout.endswith(": no flow matches it, and none knows its content\n")


def test_an_excluded_file_is_of_no_flow(rig: Rig) -> None:
    """But a generation of a file that is followed, whose name is excluded, is the flow's."""
    source = {"paths": ["*.log*"], "exclude": ["debug.log", "*.[0-9]"]}
    rig.configure(web={"source": source})
    rig.save()

    excluded = rig.ask(rig.path("debug.log", LINES))
    generation = rig.ask(rig.path("access.log.1", LINES))

    assert "no flow matches it" in excluded.stdout
    assert "web: not known" in generation.stdout


def test_a_renamed_flow_still_knows_its_files(rig: Rig) -> None:
    """Between the change of the configuration and the restart the rows have the older name."""
    rig.configure(web={"source": {"paths": ["access.log"]}, "renamed_from": "old"})
    path = rig.path("access.log", LINES)
    rig.save(rig.row(path), flow="old")
    store = checkpoint.CheckpointStore(str(rig.root / "state"))
    store.open()
    store.describe(checkpoint.KnownFlow("old", ("/x",), "kinesis old"))
    store.close()

    assert rig.ask(path).exit_code == 0


def test_rows_of_a_flow_that_never_ran_are_nobody_s(rig: Rig) -> None:
    """They are not resumed when it starts, so they prove nothing either."""
    path = rig.path("access.log", LINES)
    row = rig.row(path)
    store = checkpoint.CheckpointStore(str(rig.root / "state"))
    store.open()
    store.write([model.FlowSnapshot("web", 1, (row,))])
    store.close()

    assert rig.ask(path).exit_code == 1


# --- what nobody will ever send ---------------------------------------------------------------


def test_what_is_not_sent_is_named_on_stderr(rig: Rig) -> None:
    """Bytes before the start position, dead letters, lines that a rule may have dropped."""
    rig.configure(web={"source": {"paths": ["access.log"]}, "oversize": "drop"})
    path = rig.path("access.log", LINES)
    row = rig.row(path, start=70)
    rig.save(row)
    folder = rig.root / "state" / "dead-letter"
    folder.mkdir()
    letters = [
        {"tail_id": row.tail_id, "start": 70, "end": 77},
        {"tail_id": row.tail_id, "start": 70, "end": 77},
        {"tail_id": row.tail_id, "start": 84, "end": 91},
        {"tail_id": "0" * 32, "start": 0, "end": 7},
        {"tail_id": "0" * 32, "path": row.tail_id},
    ]
    text = "".join(json.dumps(one) + "\n" for one in letters)
    (folder / "web.jsonl").write_text(f"{text}{row.tail_id} cut short by a cra\n")

    result = rig.ask(path)

    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        f"{path}: web: bytes 0-70 stand before the start position: never sent by this flow",
        f"{path}: web: 2 records, 14 bytes, are dead letters in {folder}/web.jsonl",
        f"{path}: web: lines longer than 1MiB, if any, were dropped: oversize is drop",
    ]


def test_dead_letters_that_cannot_be_read_are_said(rig: Rig) -> None:
    """They do not change the answer."""
    path = rig.path("access.log", LINES)
    rig.save(rig.row(path))
    (rig.root / "state" / "dead-letter" / "web.jsonl").mkdir(parents=True)

    result = rig.ask(path)

    assert result.exit_code == 0
    assert "dead letters not counted" in result.stderr


# --- what is no such file ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param("missing", "missing: cannot be looked at: No such file", id="missing"),
        pytest.param("", "is a directory", id="directory"),
        pytest.param("fifo", "is not a regular file", id="FIFO"),
        pytest.param("a\x1b[2Jb\n", r"a\x1b[2Jb\n: cannot be looked at", id="control characters"),
    ],
)
def test_what_is_no_file_is_said_and_not_shipped(rig: Rig, name: str, said: str) -> None:
    """Each is said on stderr, nothing blocks, and the other files are still looked at."""
    os.mkfifo(rig.path("fifo"))
    good = rig.path("access.log", LINES)
    rig.save(rig.row(good))

    result = rig.ask(rig.root / "log" / name, good)

    assert result.exit_code == 1
    assert said in result.stderr
    assert f"{good}: web: shipped" in result.stdout


def test_standard_input_has_no_position(rig: Rig) -> None:
    """And a name with a NUL, which no file has, is no crash."""
    rig.save()

    assert "standard input has no position" in rig.ask("-").stderr
    assert "null byte" in rig.ask("a\0b").stderr


def test_names_that_are_no_text_are_escaped(rig: Rig) -> None:
    """A name with bytes that are no UTF-8 is found, and printed with escapes."""
    rig.configure(web=["*.log"])
    path = os.fsdecode(os.fsencode(rig.path("x").parent) + b"/\xff.log")
    pathlib.Path(path).write_bytes(LINES)
    rig.save(rig.row(pathlib.Path(path), tail_id="a" * 32))

    result = rig.ask(path)

    assert (0, True) == (result.exit_code, r"/\xff.log: web: shipped" in result.stdout)


def test_a_link_is_followed(rig: Rig) -> None:
    """The operator wrote it out; what it leads to is the file that is asked about."""
    path = rig.path("access.log", LINES)
    rig.save(rig.row(path))
    rig.path("current").symlink_to(path)

    assert rig.ask(rig.path("current")).exit_code == 0


@dataclasses.dataclass
class Meddled(system.OsFiles):
    """A file system in which something happens when a file is looked at a second time."""

    meddle: object = None
    looked: int = 0

    def handle_status(self, handle: int) -> model.FileStatus:
        self.looked += 1
        if self.looked == 2:
            self.meddle()  # type: ignore[operator]
        return super().handle_status(handle)


@pytest.mark.parametrize("how", ["written", "replaced"])
def test_a_file_that_changes_while_it_is_looked_at_is_not_shipped(rig: Rig, how: str) -> None:
    """The last look is at size, time and name."""
    path = rig.path("access.log", LINES)
    row = rig.row(path)

    class Rows:
        def find(self, *_: object) -> list[model.Checkpoint]:
            return [row]

    def meddle() -> None:
        if how == "replaced":
            path.rename(rig.path("other"))
        with path.open("ab") as file:
            file.write(b"more\n")

    scopes = [
        shipped.Scope("web", "web", tuple(map(shipped.patterns.parse_pattern, [str(path)])), ())
    ]

    verdict = shipped.ask(str(path), scopes, Rows(), Meddled(meddle))

    assert not verdict.is_shipped
    assert how in verdict.fault


# --- the database and the configuration -------------------------------------------------------


def test_without_a_database_nothing_is_known(rig: Rig) -> None:
    """The daemon never ran: exit 1, and a hint; nothing is created."""
    result = rig.ask(rig.path("access.log", LINES))

    assert (1, "") == (result.exit_code, result.stdout)
    assert "checkpoints.db: does not exist" in result.stderr
    assert not (rig.root / "state").exists()


def test_what_only_the_operator_can_mend_is_78(rig: Rig) -> None:
    """A damaged database and a wrong configuration."""
    path = rig.path("access.log", LINES)
    (rig.root / "state").mkdir()
    (rig.root / "state" / "checkpoints.db").write_bytes(b"no database" * 1000)

    damaged = rig.ask(path)
    (rig.root / "kagent.yaml").write_text("flows: [{nam: x}]\n")
    wrong = rig.ask(path)

    assert (78, 78) == (damaged.exit_code, wrong.exit_code)
    assert "checkpoints.db" in damaged.stderr
    assert "did you mean 'name'?" in wrong.stderr


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, to be somebody else"
)
@pytest.mark.parametrize("what", ["log", "state"])
def test_who_may_not_read_is_told(public: pathlib.Path, what: str) -> None:
    """A file, or the positions: the answer is no, with a hint."""
    rig = Rig(public)
    rig.configure(web=["access.log"])
    path = rig.path("access.log", LINES)
    rig.save(rig.row(path))
    (rig.root / "kagent.yaml").chmod(0o755)
    for one in (rig.root / "state", *(rig.root / "state").iterdir()):
        one.chmod(0o755)
    hidden = path if what == "log" else rig.root / "state"
    hidden.chmod(0o700)

    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]  # noqa: RUF005
        + [sys.executable, "-m", "kagent", "shipped", "-c", rig.root / "kagent.yaml", path],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (1, "") == (done.returncode, done.stdout)
    assert "Permission denied" in done.stderr
    assert (what == "state") == ("hint: ask as root" in done.stderr)


def test_no_file_at_all_is_wrong_usage(rig: Rig) -> None:
    """A glob that matched nothing must not mean that everything is shipped."""
    assert rig.ask().exit_code == 2
