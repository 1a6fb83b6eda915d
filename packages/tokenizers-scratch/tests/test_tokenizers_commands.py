"""The command `tokenize`: what it prints where, what it writes, and how it ends."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest

click = pytest.importorskip("click", reason="the commands need the extra cli")
pytest.importorskip("rich", reason="the commands need the extra cli")

from click.testing import CliRunner  # noqa: E402

from tokenizers_scratch import __main__, plugin  # noqa: E402
from tokenizers_scratch.commands import encode as encoding  # noqa: E402
from tokenizers_scratch.commands.group import tokenize  # noqa: E402
from tokenizers_scratch.commands.screen import bar  # noqa: E402
from tokenizers_scratch.dataset.reader import TokenDataset  # noqa: E402
from tokenizers_scratch.errors import EmptyCorpusError, TokenizerFileError, UnknownIdError  # noqa: E402
from tokenizers_scratch.parts import load_tokenizer, offers  # noqa: E402
from tokenizers_scratch.sources import SourceError  # noqa: E402

TEXT = "the cat  sat\r\n\ton the mät 👍\n" * 3 + "end<EOS>"
CORPUS = "the cat sat on the mat, the cat and the hat. " * 20


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    (tmp_path / "corpus.txt").write_text(CORPUS, encoding="utf-8")
    (tmp_path / "text.txt").write_bytes(TEXT.encode())
    call("train", "corpus.txt", "--vocab-size", "300", "--out", "tok")
    return tmp_path


def call(*arguments, stdin=None, **options):
    """The result of a command that succeeds."""
    result = CliRunner().invoke(tokenize, list(arguments), input=stdin, catch_exceptions=False, **options)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments, stdin=None):
    """What a command that is called wrongly says."""
    result = CliRunner().invoke(tokenize, list(arguments), input=stdin)
    assert result.exit_code == 2, result.output
    return result.stderr


def failed(kind, *arguments, stdin=None):
    result = CliRunner().invoke(tokenize, list(arguments), input=stdin)
    assert isinstance(result.exception, kind), result.output
    assert result.exception.exit_code == 3
    return str(result.exception)


def test_the_command_is_offered():
    offered = {}
    plugin.register_commands(lambda name, target, *, summary: offered.setdefault(name, target))
    assert offered == {"tokenize": "tokenizers_scratch.commands.group:tokenize"}
    assert set(tokenize.commands) == {"train", "encode", "decode", "view", "compare", "prepare"}
    for command in tokenize.commands.values():
        assert command.help
        assert command.short_help
        for parameter in command.params:
            assert isinstance(parameter, click.Argument) or parameter.help, parameter.name


# --- train


def test_train_saves_what_was_asked_for(folder):
    result = call(
        "train", "corpus.txt", "--tokenizer", "bpe", "--vocab_size", "270", "--output_dir", "out",
        "--special_tokens", "<a>", "--special_tokens", "<b>", "--set", "pattern=gpt4",
        "--set", "tokenizer.min_frequency=3",
    )  # fmt: skip
    assert result.stdout == ""
    assert re.fullmatch(r"bpe: 270 entries in [\d.]+ s, saved in out\n", result.stderr)
    tokenizer = load_tokenizer("out")
    assert tokenizer.vocab_size == 270
    assert tokenizer.pattern == "gpt4"
    assert tokenizer.special_tokens["<b>"] == 5


@pytest.mark.parametrize("name", ["byte", "char", "word"])
def test_train_others(folder, name):
    call("train", "corpus.txt", "-t", name, "-o", "out")
    assert load_tokenizer("out").kind == name


def test_train_reads_documents_in_pieces_and_learns_the_same(folder, monkeypatch):
    (folder / "a.jsonl").write_text(json.dumps({"body": CORPUS}) + "\n" + json.dumps({"body": TEXT}) + "\n")
    call("train", "a.jsonl", "--field", "body", "-o", "jsonl", "--vocab-size", "300")
    (folder / "a.txt").write_bytes((CORPUS + "\n\n\n" + TEXT).encode())
    monkeypatch.setattr("tokenizers_scratch.sources.BLOCK", 7)
    call("train", "a.txt", "--separator", r"\n\n\n", "-o", "text", "--vocab-size", "300")
    assert load_tokenizer("jsonl").vocab == load_tokenizer("text").vocab


def test_train_refuses(folder):
    assert "there is no tokenizer 'klingon'; there are byte, char, bpe" in refused(
        "train", "corpus.txt", "-t", "klingon", "-o", "out"
    )
    assert "bpe: vocab_size: got 3, must be at least 260" in refused(
        "train", "corpus.txt", "--vocab-size", "3", "-o", "out"
    )
    assert "byte: vocab_size: there is no such option" in refused(
        "train", "corpus.txt", "-t", "byte", "--vocab-size", "300", "-o", "out"
    )
    assert "must have the form field=value" in refused("train", "corpus.txt", "--set", "x", "-o", "out")
    assert "must not be empty" in refused("train", "corpus.txt", "--separator", "", "-o", "out")
    assert "Missing argument" in refused("train", "-o", "out")
    assert failed(SourceError, "train", "missing.txt", "-o", "out") == "missing.txt: No such file or directory"
    (folder / "bad.jsonl").write_text('{"text": "fine"}\n{"text": \n')
    assert "bad.jsonl, line 2: not JSON" in failed(SourceError, "train", "bad.jsonl", "-o", "out")
    (folder / "empty.txt").write_text("")
    failed(EmptyCorpusError, "train", "empty.txt", "-o", "out")
    assert not (folder / "out").exists()


# --- encode and decode


def test_ids_as_text_come_back_from_files_and_pipes(folder, monkeypatch):
    ids = load_tokenizer("tok").encode(TEXT)
    encoded = call("encode", "text.txt", "-t", "tok")
    assert encoded.stdout == " ".join(map(str, ids)) + "\n"
    assert encoded.stderr == ""
    monkeypatch.setattr(encoding, "_BLOCK", 3)
    assert call("encode", "-t", "tok", stdin=TEXT.encode()).stdout == encoded.stdout
    assert call("decode", "-t", "tok", stdin=encoded.stdout).stdout_bytes == TEXT.encode()
    call("encode", "text.txt", "-t", "tok", "-o", "ids.txt")
    assert (folder / "ids.txt").read_text() == encoded.stdout
    call("decode", "ids.txt", "-t", "tok", "-o", "back.txt")
    assert (folder / "back.txt").read_bytes() == TEXT.encode()


@pytest.mark.parametrize("name", ["ids.npy", "ids.bin"])
@pytest.mark.parametrize("dtype", [None, "uint16", "int64"])
def test_ids_as_numbers_come_back(folder, monkeypatch, name, dtype):
    monkeypatch.setattr(encoding, "_BLOCK", 5)
    option = [] if dtype is None else ["--output_dtype", dtype]
    call("encode", "text.txt", "-t", "tok", "--out", name, *option)
    ids = load_tokenizer("tok").encode(TEXT)
    read = np.load(name) if name.endswith("npy") else np.fromfile(name, dtype or "uint16")
    assert read.tolist() == ids
    assert read.dtype == np.dtype(dtype or "uint16")
    option = ["--dtype", dtype] if dtype and name.endswith("bin") else []
    assert call("decode", name, "-t", "tok", *option).stdout_bytes == TEXT.encode()
    assert sorted(path.name for path in folder.glob("ids*")) == [name]


def test_lines(folder):
    tokenizer = load_tokenizer("tok")
    encoded = call("encode", "-t", "tok", "--lines", stdin="one\n\ntwo 👍").stdout
    assert encoded == "\n".join(" ".join(map(str, tokenizer.encode(line))) for line in ("one", "", "two 👍")) + "\n"
    assert call("decode", "-t", "tok", "--lines", stdin=encoded).stdout == "one\n\ntwo 👍\n"
    call("encode", "-t", "tok", "--lines", "-o", "rows.txt", stdin="one\n\ntwo 👍")
    assert (folder / "rows.txt").read_text() == encoded


def test_nothing_gives_nothing(folder):
    (folder / "empty.txt").write_text("")
    assert call("encode", "empty.txt", "-t", "tok").stdout == "\n"
    for name in ("e.npy", "e.bin"):
        call("encode", "empty.txt", "-t", "tok", "-o", name)
        assert call("decode", name, "-t", "tok").stdout == ""
    assert np.load("e.npy").shape == (0,)


def test_special_tokens_are_text_unless_allowed(folder):
    eos = str(load_tokenizer("tok").eos_id)
    assert eos not in call("encode", "-t", "tok", stdin="a<EOS>").stdout.split()
    encoded = call("encode", "-t", "tok", "--allowed-special", "all", stdin="a<EOS>").stdout
    assert encoded.split()[-1] == eos
    assert call("decode", "-t", "tok", stdin=encoded).stdout == "a"
    assert call("decode", "-t", "tok", "--keep-special", stdin=encoded).stdout == "a<EOS>"
    assert "special token '<EOS>'" in failed(
        ValueError, "encode", "-t", "tok", "--allowed-special", "none_raise", stdin="a<EOS>"
    )


def test_encode_and_decode_refuse(folder):
    assert failed(SourceError, "encode", "-t", "tok", stdin=b"abc\xff") == (
        "standard input, byte 3: not UTF-8: invalid start byte"
    )
    assert "missing.txt: No such file" in failed(SourceError, "encode", "missing.txt", "-t", "tok", "-o", "x.bin")
    assert not list(folder.glob("x.bin*"))
    assert "nowhere" in failed(TokenizerFileError, "encode", "-t", "nowhere", stdin="x")
    assert "--lines" in refused("encode", "-t", "tok", "--lines", "-o", "x.npy", stdin="x")
    assert "--dtype" in refused("encode", "-t", "tok", "--dtype", "int32", stdin="x")
    assert "Missing option" in refused("encode", stdin="x")
    for ids, reason in [("1 2\n3 x", "line 2: 'x' is no id"), ("-1", "'-1' is no id"), ("9" * 30, "is no id")]:
        assert reason in failed(SourceError, "decode", "-t", "tok", stdin=ids)
    assert "id 300 is no token" in failed(UnknownIdError, "decode", "-t", "tok", stdin="5 300")
    assert "--dtype" in refused("decode", "-t", "tok", "--dtype", "int32", stdin="1")
    assert "--lines" in refused("decode", "x.npy", "-t", "tok", "--lines")


def test_damaged_files_of_numbers_are_named(folder):
    (folder / "odd.bin").write_bytes(b"123")
    assert failed(SourceError, "decode", "odd.bin", "-t", "tok") == (
        "odd.bin: has 3 bytes, which is no whole number of uint16 ids"
    )
    np.save("floats.npy", np.zeros(3))
    np.save("table.npy", np.zeros((2, 2), np.int64))
    np.save("objects.npy", np.array([{}], object))
    (folder / "text.npy").write_text("1 2 3")
    (folder / "none.npy").write_bytes(b"")
    (folder / "cut.npy").write_bytes((folder / "table.npy").read_bytes()[:40])
    for name in ("floats", "table", "objects", "text", "none", "cut", "missing"):
        assert failed(SourceError, "decode", f"{name}.npy", "-t", "tok").startswith(f"{name}.npy: ")
    assert "missing.bin" in failed(SourceError, "decode", "missing.bin", "-t", "tok")


def test_a_type_that_is_too_narrow_is_refused(folder):
    (folder / "wide.txt").write_text("".join(chr(c) for c in range(0x20, 0x11000) if not 0xD800 <= c < 0xE000))
    call("train", "wide.txt", "-t", "char", "-o", "wide")
    message = refused("encode", "wide.txt", "-t", "wide", "-o", "x.bin", "--dtype", "uint16")
    assert "uint16: holds ids up to 65535, not 67555" in message
    call("encode", "wide.txt", "-t", "wide", "-o", "x.bin")
    assert (folder / "x.bin").stat().st_size % 4 == 0


# --- view


def test_view_in_a_pipe_has_no_colours_and_all_tokens(folder):
    result = call("view", "-t", "tok", "--text", "the cät\n x\x1b[2J", "--ids")
    assert "\x1b" not in result.stdout
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert lines[0] == "the|·|c|<C3>|<A4>|t|↵"
    assert lines[1].replace("|", "") == "·x<U+001B>[2J"
    ids = load_tokenizer("tok").encode("the cät\n x\x1b[2J")
    assert lines[3] == " ".join(map(str, ids))
    assert lines[5].split() == ["token", "id", "bytes", "frequency"]
    assert lines[-1].startswith("14 characters, 15 bytes, ")


def test_view_on_a_terminal_has_colours_unless_unwanted(folder, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = call("view", "-t", "tok", "--text", "the cät").stdout
    assert "\x1b[" in shown
    assert re.search(r"\x1b\[4;[^m]*m<C3>", shown), "a part of a character is underlined"
    assert "the·c" in re.sub(r"\x1b\[[^m]*m", "", shown)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in call("view", "-t", "tok", "--text", "the cät").stdout
    monkeypatch.delenv("NO_COLOR")

    @click.group()
    @click.pass_context
    def host(context):
        context.color = False  # as with --no-color

    host.add_command(tokenize)
    shown = CliRunner().invoke(host, ["tokenize", "view", "-t", "tok", "--text", "the cät"]).stdout
    assert shown.startswith("the|·|c|")
    assert "\x1b" not in shown


def test_view_limits_table_and_text(folder):
    result = call("view", "text.txt", "-t", "tok", "--limit", "40", "--top", "3")
    assert f"the first 40 of {len(TEXT)} characters" in result.stderr
    assert re.search(r"^and \d+ more$", result.stdout, re.MULTILINE)
    assert "40 characters" in result.stdout


def test_view_trains_a_tokenizer_that_is_only_named(folder):
    result = call("view", "-t", "bpe:vocab_size=262,min_frequency=1", "--text", "aaaaa", "--json")
    assert result.stderr == "trained on the text itself: bpe:vocab_size=262,min_frequency=1\n"
    found = json.loads(result.stdout)
    assert (found["tokens"], found["vocab_size"]) == (2, 262)
    assert {"token": "aaa", "id": 261, "bytes": 3, "frequency": 1} in found["table"]
    result = call("view", "-t", "char", "--train", "corpus.txt", "--text", "zebra", "--json")
    assert result.stderr == "trained on corpus.txt: char\n"
    assert json.loads(result.stdout)["unknown"] == 3  # z, b, r


def test_view_writes_a_page(folder):
    result = call("view", "-t", "byte", "--text", "<script>x</script>", "--html", "page.html")
    assert "page: page.html" in result.stderr
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_view_refuses(folder):
    assert "there is no tokenizer 'klingon'" in refused("view", "-t", "klingon", "--text", "x")
    assert "there is no such option" in refused("view", "-t", "bpe:size=3", "--text", "x")
    assert "got a file and --text" in refused("view", "text.txt", "-t", "byte", "--text", "x")
    assert "is no file or directory that a tokenizer" in failed(SourceError, "view", "-t", "no/such", "--text", "x")
    assert "is no .json, .model or .tiktoken" in failed(TokenizerFileError, "view", "-t", "text.txt", "--text", "x")
    failed(EmptyCorpusError, "view", "-t", "bpe", "--text", "")
    assert call("view", "-t", "tok", "--text", "").stdout.strip().endswith("0.00 characters a token")


# --- compare


def test_compare_shows_tokenizers_side_by_side(folder):
    result = call("compare", "text.txt", "-t", "tok", "-t", "byte", "-t", "bpe:vocab_size=290", "--train", "corpus.txt")
    assert result.stderr == "trained on corpus.txt: byte, bpe:vocab_size=290\n"
    assert "\x1b" not in result.stdout
    lines = result.stdout.splitlines()
    assert lines[0].split()[:4] == ["tokenizer", "vocabulary", "tokens", "bytes/token"]
    assert [line.split()[0] for line in lines[1:4]] == ["tok", "byte", "bpe:vocab_size=290"]
    assert [line.split()[-1] for line in lines[-3:]] == [line.split()[3] for line in lines[1:4]]
    assert max(lines[-3:], key=lambda line: line.count("█")).split()[0] == "tok"


def test_compare_takes_every_tokenizer_there_is(folder):
    rows = json.loads(call("compare", "corpus.txt", "--json").stdout)
    assert {"byte", "char", "bpe", "word"} <= {row["name"] for row in rows} <= set(offers())
    by_name = {row["name"]: row for row in rows}
    assert by_name["byte"]["bytes_per_token"] == 1
    assert by_name["word"]["comes_back"] is False
    assert by_name["bpe"]["tokens"] < by_name["char"]["tokens"]


def test_compare_writes_a_page(folder):
    call("compare", "text.txt", "-t", "tok", "-t", "byte", "--html", "page.html")
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert page.count("<rect") == 2
    assert "http" not in page.replace("http-equiv", "")


def test_compare_refuses(folder):
    failed(EmptyCorpusError, "compare", "--text", "")
    assert "there is no tokenizer" in refused("compare", "--text", "x", "-t", "klingon")


def test_bars_are_to_scale():
    assert [bar(share, 4) for share in (0, 0.5, 1, 2, -1, 0.28125)] == ["", "██", "████", "████", "", "█▏"]


# --- prepare


def test_prepare(folder):
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": f"the cat {i}"}) + "\n" for i in range(50)))
    arguments = (
        "prepare",
        "a.jsonl",
        "text.txt",
        "-t",
        "tok",
        "-o",
        "data",
        "--shard-size",
        "512",
    )
    result = call(*arguments, "-j", "1", "--json")
    facts = json.loads(result.stdout)
    data = TokenDataset("data", tokenizer=load_tokenizer("tok"), verify=True)
    assert facts == {
        "directory": "data", "documents": 51, "tokens": len(data), "raw_bytes": data.manifest.raw_bytes,
        "dtype": "uint16", "shards": len(data.shards),
    }  # fmt: skip
    assert len(data.shards) > 2
    assert result.stderr.startswith("data: 51 documents, ")
    tokenizer = load_tokenizer("data")
    assert tokenizer.decode(data.document(7)) == "the cat 7"
    assert tokenizer.decode(data.document(-1)) == TEXT
    again = call(*arguments, "-j", "1")
    assert again.stdout == ""
    assert f"{len(data.shards)} of {len(data.shards)} shards are there already" in again.stderr


def test_prepare_refuses(folder):
    assert "is a directory" in failed(SourceError, "prepare", "tok", "-t", "tok", "-o", "data").lower()
    for size in ("0", "x", "1.5M", "-1"):
        assert "must be a size such as 64M" in refused(
            "prepare", "text.txt", "-t", "tok", "-o", "d", "--shard-size", size
        )
    assert "-j" in refused("prepare", "text.txt", "-t", "tok", "-o", "data", "-j", "0")
    (folder / "bad.jsonl").write_text('{"text": "x"}\nnothing\n')
    assert "bad.jsonl, line 2" in failed(SourceError, "prepare", "bad.jsonl", "-t", "tok", "-o", "data", "-j", "1")


# --- the program


def test_the_program_ends_with_one_line_and_a_code(folder, capsys, monkeypatch):
    assert __main__.main(["encode", "missing.txt", "-t", "tok"]) == 3
    assert capsys.readouterr().err == "error: missing.txt: No such file or directory\n"
    assert __main__.main(["encode", "--nonsense"]) == 2
    assert "No such option" in capsys.readouterr().err
    assert __main__.main(["encode", "text.txt", "-t", "tok", "-o", "no/such/dir"]) == 1
    assert capsys.readouterr().err.startswith("error: [Errno 2]")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"the")))
    assert __main__.main(["encode", "-t", "tok"]) == 0
    assert capsys.readouterr().out.strip() == str(load_tokenizer("tok").encode("the")[0])


def test_without_click_the_error_says_what_to_install():
    code = (
        "import sys\nfrom importlib import util\nfound = util.find_spec\n"
        "util.find_spec = lambda name, *a: None if name == 'click' else found(name, *a)\n"
        "from tokenizers_scratch.__main__ import main\nsys.exit(main(['--help']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 4
    assert done.stderr == "error: the command tokenize needs click: pip install 'tokenizers-scratch[cli]'\n"
