"""Values become configs, or one line that names the field, what was expected and what was got."""

from __future__ import annotations

import shlex
import tomllib
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from scratch_cli import config as configs
from scratch_cli.errors import DataError, PluginError, UsageError
from scratch_cli.options import options_of, set_text


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class Inner:
    width: int = 3
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width: got {self.width}, must be 1 or more: it is a size")


@dataclass(frozen=True, kw_only=True)
class Everything:
    n_layer: int = field(default=4, metadata={"help": "blocks"})
    lr: float = field(default=1e-3, metadata={"help": "learning | rate"})
    tied: bool = False
    path: str = "a file"
    mode: Literal["linear", "cosine"] = "linear"
    limit: int | None = None
    maybe: Optional[str] = "x"  # noqa: UP045  # the old spellings must work too
    old: Union[int, str] = "auto"  # noqa: UP007
    betas: tuple[float, float] = (0.9, 0.95)
    mixed: tuple[int, str] = (1, "a")
    sizes: tuple[int, ...] = ()
    words: frozenset[str] = frozenset()
    auto: int | Literal["auto"] = "auto"
    nested: tuple[int, ...] | str | None = None
    deep: tuple[tuple[int, int], ...] = ()
    file: Path | None = None
    weights: dict[str, float] = field(default_factory=dict)
    inner: Inner = Inner()
    color: Color = Color.RED
    noted: Annotated[int, "a note"] = 1

    def __post_init__(self) -> None:
        if self.n_layer < 1:
            raise ValueError(f"n_layer: got {self.n_layer}, must be 1 or more: a model needs a block")
        if self.path == "bad data":
            raise _BadData("path: this file is empty")


class _BadData(ValueError):
    exit_code = 3


GOOD: list[tuple[str, Any, Any]] = [
    ("n_layer", 2, 2),
    ("lr", 1, 1.0),
    ("lr", 1e-5, 1e-5),
    ("tied", True, True),
    ("path", "", ""),
    ("path", "none", "none"),
    ("mode", "cosine", "cosine"),
    ("limit", 3, 3),
    ("limit", "none", None),
    ("maybe", "none", None),
    ("maybe", "y", "y"),
    ("old", 3, 3),
    ("old", "x", "x"),
    ("betas", [0.5, 1], (0.5, 1.0)),
    ("mixed", [2, "b"], (2, "b")),
    ("sizes", [], ()),
    ("sizes", [1, 2, 3], (1, 2, 3)),
    ("words", ["a", "b", "a"], frozenset({"a", "b"})),
    ("auto", 3, 3),
    ("auto", "auto", "auto"),
    ("nested", [1, 2], (1, 2)),
    ("nested", "text", "text"),
    ("nested", "none", None),
    ("deep", [[1, 2], [3, 4]], ((1, 2), (3, 4))),
    ("file", "a/b c", Path("a/b c")),
    ("weights", {"x": 1, "y": 0.5}, {"x": 1.0, "y": 0.5}),
    ("inner", {"width": 7}, Inner(width=7)),
    ("inner", {"rate": "none"}, Inner()),
    ("color", "blue", Color.BLUE),
    ("noted", 2, 2),
]

BAD: list[tuple[str, Any, str]] = [
    ("n_layer", True, "got true, must be a whole number"),
    ("n_layer", 1.0, "got the number 1.0, must be a whole number"),
    ("n_layer", "3", "got the text '3', must be a whole number"),
    ("n_layer", "none", "got the text 'none', must be a whole number"),
    ("n_layer", [1], "got the list [1], must be a whole number"),
    ("n_layer", 0, "got 0, must be 1 or more: a model needs a block"),
    ("lr", "0.1", "got the text '0.1', must be a number"),
    ("lr", "nan", "got the text 'nan', must be a number"),
    ("lr", True, "got true, must be a number"),
    ("lr", 10**400, "got the whole number with more than 40 digits, must be a number"),
    ("tied", 1, "got the whole number 1, must be true or false"),
    ("tied", "true", "got the text 'true', must be true or false"),
    ("tied", "False", "got the text 'False', must be true or false"),
    ("path", 3, "got the whole number 3, must be text"),
    ("mode", "cosin", "got the text 'cosin', must be 'linear' or 'cosine'"),
    ("limit", "3", "got the text '3', must be a whole number or none"),
    ("old", 1.5, "got the number 1.5, must be a whole number or text"),
    ("betas", [0.9], "got the list [0.9], must be a list of 2 numbers"),
    ("betas", [1, 2, 3], "got the list [1, 2, 3], must be a list of 2 numbers"),
    ("betas", "ab", "got the text 'ab', must be a list of 2 numbers"),
    ("mixed", ["a", 1], "must be a list of 2: a whole number, text"),
    ("sizes", [1, "2"], "got the list [1, '2'], must be a list of whole numbers"),
    ("sizes", [True], "must be a list of whole numbers"),
    ("sizes", 3, "got the whole number 3, must be a list of whole numbers"),
    ("auto", "aut", "got the text 'aut', must be a whole number or 'auto'"),
    ("auto", True, "got true, must be a whole number or 'auto'"),
    ("nested", [1, "y"], "must be a list of whole numbers or text or none"),
    ("deep", [[1, 2], [3]], "must be a list of lists of 2 whole numbers"),
    ("file", 3, "got the whole number 3, must be a path or none"),
    ("weights", {"x": "y"}, "got the table {'x': 'y'}, must be a table of numbers"),
    ("color", "green", "got the text 'green', must be 'red' or 'blue'"),
    ("path", "x" * 10**6, ""),  # fine, and listed to show that long values are
    ("mode", "x" * 10**6, "must be 'linear' or 'cosine'"),
]


@pytest.mark.parametrize(("name", "value", "wanted"), GOOD, ids=lambda value: repr(value)[:30])
def test_good_values(name, value, wanted):
    built = configs.build(Everything, {name: value}, "model")
    assert type(built) is Everything
    assert getattr(built, name) == wanted
    assert type(getattr(built, name)) is type(wanted)


@pytest.mark.parametrize(("name", "value", "message"), BAD, ids=lambda value: repr(value)[:30])
def test_bad_values(name, value, message):
    if not message:
        assert getattr(configs.build(Everything, {name: value}, "model"), name) == value
        return
    with pytest.raises(UsageError) as caught:
        configs.build(Everything, {name: value}, "model")
    assert str(caught.value).startswith(f"model.{name}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_layers": 3}, "model.n_layers: there is no such option, did you mean 'n_layer'?; there are n_layer, lr"),
        ({"zzz": 3}, "model.zzz: there is no such option; there are n_layer, lr"),
        ({"inner": {"widht": 3}}, "model.inner.widht: there is no such option, did you mean 'width'?"),
        ({"inner": {"width": "a"}}, "model.inner.width: got the text 'a', must be a whole number"),
        ({"inner": {"width": 0}}, "model.inner.width: got 0, must be 1 or more"),
        ({"inner": 3}, "model.inner: got the whole number 3, must be a table"),
        ({"lr": float("nan")}, "model.lr: got nan, must be a finite number"),
        ({"sizes": [float("inf")]}, "model.sizes[0]: got inf, must be a finite number"),
        ({"path": object()}, "model.path: got an object"),
    ],
)
def test_other_errors(values, message):
    with pytest.raises(UsageError) as caught:
        configs.build(Everything, values, "model")
    assert message in str(caught.value)


def test_an_error_with_an_exit_code_of_its_own_keeps_it():
    with pytest.raises(ValueError, match="this file is empty") as caught:
        configs.build(Everything, {"path": "bad data"}, "task")
    assert getattr(caught.value, "exit_code") == DataError.exit_code  # noqa: B009  # ValueError has no such attribute


def test_what_is_no_config():
    class Plain:
        pass

    @dataclass(frozen=True, kw_only=True)
    class Odd:
        thing: Plain = field(default_factory=Plain)

    with pytest.raises(PluginError, match="must be a dataclass"):
        configs.build(Plain, {}, "model")
    with pytest.raises(PluginError, match="Plain"):
        configs.build(Odd, {}, "model")


def test_defaults_come_back():
    default = Everything()
    values = configs.to_values(default)
    assert values["limit"] == "none"
    assert values["inner"] == {"width": 3, "rate": "none"}
    assert configs.build(Everything, tomllib.loads(tomli_w.dumps(values)), "model") == default


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
number = st.floats(allow_nan=False, allow_infinity=False)
everything = st.builds(
    Everything,
    n_layer=st.integers(1, 2**62),
    lr=number,
    tied=st.booleans(),
    path=text.filter(lambda t: t != "bad data"),
    mode=st.sampled_from(["linear", "cosine"]),
    limit=st.none() | st.integers(-(2**62), 2**62),
    maybe=st.none() | text.filter(lambda t: t != "none"),
    old=st.integers(0, 9) | text,
    betas=st.tuples(number, number),
    mixed=st.tuples(st.integers(0, 9), text),
    sizes=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    words=st.frozensets(text, max_size=3),
    auto=st.just("auto") | st.integers(0, 9),
    nested=st.none() | text.filter(lambda t: t != "none") | st.lists(st.integers(0, 9), max_size=3).map(tuple),
    file=st.none() | st.just(Path("a/b c")),
    weights=st.dictionaries(text, number, max_size=3),
    inner=st.builds(Inner, width=st.integers(1, 9), rate=st.none() | number),
    color=st.sampled_from(Color),
)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(everything)
def test_every_config_comes_back_from_toml(config):
    values = tomllib.loads(tomli_w.dumps(configs.to_values(config)))
    assert configs.build(Everything, values, "model") == config


@settings(deadline=None, derandomize=True, max_examples=150)
@given(everything)
def test_every_option_can_be_pasted(config):
    for name, value in configs.to_values(config).items():
        (argument,) = shlex.split(shlex.quote(set_text("model", name, value)))
        assert configs.parse_set(argument) == ("model", name, value)


@settings(deadline=None, derandomize=True)
@given(st.recursive(text | st.integers() | st.booleans() | number, lambda x: st.lists(x) | st.dictionaries(text, x)))
def test_any_value_can_be_pasted(value):
    _, _, back = configs.parse_set(set_text("a", "b", value))
    assert back == value
    assert type(back) is type(value)


# --- --set ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "value"),
    [
        ("3", 3),
        ("1e-5", 1e-5),
        ("-0.5", -0.5),
        ("true", True),
        ("True", "True"),
        ('"3"', "3"),
        ("[0.9, 0.95]", [0.9, 0.95]),
        ("{ a = 1 }", {"a": 1}),
        ("gpt2", "gpt2"),
        ("none", "none"),
        ("a=b", "a=b"),
        ("", ""),
        ("a b/c.txt", "a b/c.txt"),
        ("C:\\data\\x.txt", "C:\\data\\x.txt"),
        ("nan", "nan"),
        ("inf", "inf"),
        ("[1, nan]", "[1, nan]"),
        ("2024-01-01", "2024-01-01"),
        ("12:30:00", "12:30:00"),
        ("1\nw = 2", "1\nw = 2"),
        ("1\n[other]\nx = 1", "1\n[other]\nx = 1"),
        ("[" * 5000, "[" * 5000),
        ("9" * 5000, "9" * 5000),
        ("0x10", 16),
        ("[1, 2", "[1, 2"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_the_right_side_is_toml_or_text(right, value):
    assert configs.parse_set(f"model.x={right}") == ("model", "x", value)


@pytest.mark.parametrize("bad", ["", "model", "model.x", "=3", "x=3", ".x=3", "model.=3", "model.a..b=3", "model =3"])
def test_a_set_of_another_form(bad):
    with pytest.raises(UsageError, match=r"must have the form kind\.field=value"):
        configs.parse_set(bad)


def test_a_dotted_field():
    assert configs.parse_set("model.inner.width = 3") == ("model", "inner.width", 3)


# --- TOML files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[model\nx = 1", "is not valid TOML: .*line 1"),
        (b"[model]\nx = 1\nx = 2", "is not valid TOML: Cannot overwrite a value"),
        (b"[model]\nx = = 2", "is not valid TOML: .*line 2"),
        (b"\x00\x01\x02\xff\xfe", "line 1: is not UTF-8 text"),
        (b"[run]\n\xff", "line 2: is not UTF-8 text"),
        (b"\x89PNG\r\n", "is not UTF-8 text"),
        (b"{}", "is not valid TOML"),
        (b"seed = 1", "'seed' stands outside of any section"),
        (b"[run]\nseed = nan", r"run\.seed: got nan, must be a finite number"),
        (b"[model]\na = [[1], [inf]]", r"model\.a\[1\]\[0\]: got inf"),
        (b"[model.inner]\na = 2024-01-01", r"model\.inner\.a: got the date or time 2024-01-01"),
        (b"[model]\na = " + b"[" * 100_000, "is nested too deeply|is not valid TOML"),
        (b"[model]\na = " + b"9" * 10_000, "is not valid TOML"),
        (b"# comment\n" * 200_000, "is larger than 1 MiB"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_broken_toml(tmp_path, content, message):
    file = tmp_path / "run.toml"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        configs.read_toml(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match="is a directory"):
        configs.read_toml(tmp_path)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        configs.read_toml(tmp_path / "missing.toml")


def test_merged_layers():
    layers = {"a": 1, "t": {"x": 1, "y": 2}, "l": [1]}, {"a": 2, "t": {"y": 3}, "l": [2], "new": {}}
    assert configs.merged(*layers) == {"a": 2, "t": {"x": 1, "y": 3}, "l": [2], "new": {}}
    assert layers[0]["t"] == {"x": 1, "y": 2}


def test_options_in_words():
    rows = {option.name: option for option in options_of(Everything, "model")}
    assert rows["n_layer"].paste == "--set model.n_layer=4"
    assert rows["n_layer"].type == "a whole number"
    assert rows["n_layer"].help == "blocks"
    assert rows["limit"].paste == "--set model.limit=none"
    assert rows["betas"].paste == "--set 'model.betas=[0.9, 0.95]'"
    assert rows["path"].paste == "--set 'model.path=a file'"
    assert rows["inner"].type == "a table"
    assert rows["words"].type == "a list of texts"
    assert rows["deep"].type == "a list of lists of 2 whole numbers"
    assert rows["weights"].type == "a table of numbers"
    assert rows["noted"].type == "a whole number"
