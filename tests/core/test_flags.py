import dataclasses

import pytest
from absl import flags as absl_flags

from core import flags
from core.errors import FlagError


def define(flag_values):
    group = flags.Group("Data", flag_values)
    group.string("name", None, "Which one.")
    group.choice("kind", "red", ("red", "green"), "Which colour.")
    group = flags.Group("Numbers", flag_values)
    group.integer("count", 5, "How many.", lower=1, upper=10)
    group.float("share", 0.5, "How much.", lower=0.0, upper=1.0)
    group.float("rate", None, "How fast.")
    group.boolean("fast", False, "Be fast.")


def parse(*arguments):
    return flags.parse(define, arguments)


def test_defaults():
    config = parse()
    values = (config.name, config.kind, config.count, config.share, config.rate, config.fast)
    assert values == (None, "red", 5, 0.5, None, False)
    assert config.given == frozenset()


@pytest.mark.parametrize("arguments", [["--name=a\udcff"], ["--name", "\udcfe"], ["\udcfe"]])
def test_what_is_not_utf_8_is_refused(arguments):
    with pytest.raises(FlagError, match=r"^not UTF-8: '.*\\udcf[ef]' - rename"):
        parse(*arguments)
    assert parse("--name=übung\U0001f600").name == "übung\U0001f600"


def test_values_have_the_type_of_their_flag():
    config = parse("--name=7", "--kind=green", "--count=7", "--share=1", "--rate=-1e-3", "--fast")
    values = (config.name, config.kind, config.count, config.share, config.rate, config.fast)
    assert values == ("7", "green", 7, 1.0, -0.001, True)
    assert [type(value) for value in values] == [str, str, int, float, float, bool]


@pytest.mark.parametrize(
    "arguments", [["--name", "x", "--nofast"], ["-name=x", "-fast=false"], ["--name=x", "--fast=0"]]
)
def test_the_forms_a_flag_can_have(arguments):
    config = parse(*arguments)
    assert (config.name, config.fast) == ("x", False)
    assert config.given == {"name", "fast"}


def test_given_holds_what_was_given_by_hand_even_if_it_is_the_default():
    assert parse("--count=5", "--name=").given == {"count", "name"}


def test_a_flag_that_may_be_given_several_times():
    def define(flag_values):
        flags.Group("Data", flag_values).strings("name", "Which ones.")

    assert flags.parse(define, []).name == []
    config = flags.parse(define, ["--name=a;b", "--name=c d"])
    assert (config.name, config.given) == (["a;b", "c d"], {"name"})


def test_a_flag_that_shows_a_text(capsys):
    def define(flag_values):
        group = flags.Group("Data", flag_values)
        group.integer("count", 5, "How many.")
        group.shown("list_them", "Show them all.", lambda: "all of them")

    config = flags.parse(define, ["--count=2", "--nolist_them"])
    assert (config.count, config.given, capsys.readouterr().out) == (2, {"count"}, "")
    assert not hasattr(config, "list_them")
    for arguments in (["--list_them"], ["--list_them=true", "--count=few"]):
        with pytest.raises(SystemExit) as end:
            flags.parse(define, arguments)
        assert (end.value.code, capsys.readouterr().out) == (0, "all of them\n")
    with pytest.raises(FlagError, match="--list_them=maybe"):
        flags.parse(define, ["--list_them=maybe"])


def test_a_negated_flag_takes_no_value():
    with pytest.raises(FlagError, match="--nofast=true does not take an argument"):
        parse("--nofast=true")


def test_the_last_of_two_values_counts():
    assert parse("--count=2", "--count=3").count == 3


def test_a_configuration_is_frozen_but_can_be_replaced():
    config = parse("--count=2")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.count = 3
    changed = dataclasses.replace(config, count=3)
    assert (config.count, changed.count, changed.given) == (2, 3, {"count"})


@pytest.mark.parametrize("argument", ["--count=1", "--count=10", "--share=0", "--share=1.0"])
def test_bounds_are_inclusive(argument):
    assert parse(argument).given


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--count=0", r"--count=0: 0 is not an integer in the range \[1, 10\]"),
        ("--count=11", r"11 is not an integer"),
        ("--count=2.5", r"--count=2.5"),
        ("--count=", r"--count="),
        ("--count=many", r"--count=many"),
        ("--share=1.01", r"1.01 is not a number in the range \[0.0, 1.0\]"),
        ("--share=nan", r"--share=nan: not a finite number"),
        ("--share=NaN", r"not a finite number"),
        ("--rate=inf", r"--rate=inf: not a finite number"),
        ("--rate=-inf", r"not a finite number"),
        ("--rate=1e999", r"not a finite number"),
        ("--rate=fast", r"--rate=fast"),
        ("--kind=blue", r"--kind=blue.*<red\|green>"),
        ("--fast=maybe", r"--fast=maybe"),
        ("--name", r"Missing value for flag --name"),
        ("--flagfile=/none/such.flags", r"/none/such.flags"),
        ("--flagfile=/", r"Is a directory: '/'"),
    ],
)
def test_a_value_that_a_flag_does_not_take(argument, message):
    with pytest.raises(FlagError, match=message) as caught:
        parse(argument)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(" - see --help")


def test_an_unknown_flag_is_answered_with_the_nearest_one():
    with pytest.raises(
        FlagError, match=r"Unknown command line flag 'cuont'.* - did you mean.*count"
    ):
        parse("--cuont=3")


def test_an_unknown_flag_with_nothing_near():
    with pytest.raises(FlagError, match=r"Unknown command line flag 'zzzzzz'.* - see --help$"):
        parse("--zzzzzz")


@pytest.mark.parametrize("arguments", [["extra"], ["--fast", "true"], ["--", "--count=3"]])
def test_a_stray_argument(arguments):
    with pytest.raises(FlagError, match=r"unexpected argument '.*' - flags start with --"):
        parse(*arguments)


def test_flags_can_stand_in_a_file_that_the_command_line_overrides(tmp_path):
    path = tmp_path / "recipe.flags"
    path.write_text("# a comment\n--count=7\n\n--name=two words\n--fast\n")
    config = parse(f"--flagfile={path}", "--count=8")
    assert (config.count, config.name, config.fast) == (8, "two words", True)
    assert config.given == {"count", "name", "fast"}


def test_a_bad_line_of_a_flagfile_is_an_error(tmp_path):
    (tmp_path / "recipe.flags").write_text("--cuont=7\n")
    with pytest.raises(FlagError, match=r"did you mean.*count"):
        parse(f"--flagfile={tmp_path / 'recipe.flags'}")


def test_a_flagfile_that_is_no_text_is_an_error(tmp_path):
    (tmp_path / "recipe.flags").write_bytes(b"--count=\xff\n")
    with pytest.raises(FlagError, match="can't decode byte 0xff"):
        parse(f"--flagfile={tmp_path / 'recipe.flags'}")


def test_parsing_leaves_the_flags_of_the_process_alone():
    before = set(absl_flags.FLAGS)
    parse("--count=2")
    assert set(absl_flags.FLAGS) == before
    assert "count" not in before


@pytest.mark.parametrize("flag", ["--help", "-h", "--helpshort"])
def test_help_shows_the_groups_and_ends_well(flag, capsys):
    flag_values = absl_flags.FlagValues()
    define(flag_values)
    with pytest.raises(SystemExit) as caught:
        flags.show_help_if_asked(flag_values, ["script.py", "--count=3", flag], "\nWhat it does.\n")
    assert not caught.value.code
    text = capsys.readouterr().out
    assert text.startswith("What it does.\n")
    assert (
        text.index("Data:") < text.index("--name") < text.index("Numbers:") < text.index("--rate")
    )
    assert "(a number in the range [0.0, 1.0])" in text
    assert "<red|green>" in text


def test_help_is_not_shown_to_who_does_not_ask(capsys):
    flags.show_help_if_asked(absl_flags.FlagValues(), ["--help"], "about")  # a script of that name
    assert capsys.readouterr().out == ""
