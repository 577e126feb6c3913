import pytest

from vsweep.analysis.tables.column_choices import Choice, command, parse

NAMES = ["val_bpb", "config.n_params", "tokens_B", "x*2", "a=b"]


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("loss=val_bpb", Choice("loss", "val_bpb")),
        ("N=config.n_params", Choice("N", "config.n_params")),
        ("n = config.n_params", Choice("N", "config.n_params")),
        ("D=tokens_B*1e9", Choice("D", "tokens_B", 1e9)),
        ("D=x*2", Choice("D", "x*2")),
        ("D=x*2*3", Choice("D", "x*2", 3.0)),
        ("C=a=b", Choice("C", "a=b")),
    ],
)
def test_a_choice_is_read(text, choice):
    assert parse([text], NAMES) == {choice.quantity: choice}
    quantity, _, column = text.partition("=")
    assert parse({quantity: column}, NAMES) == {choice.quantity: choice}


def test_every_wrong_choice_is_named():
    wrong = ["loss", "colour=x", "N=params", "D=tokens_B*0", "D=tokens_B*many", "loss=val_bpb", "loss=tokens_B"]
    with pytest.raises(ValueError, match="QUANTITY=COLUMN") as caught:
        parse(wrong, NAMES)
    assert len(str(caught.value).split("; --column")) == 6


def test_a_message_gives_a_command_that_is_read_back():
    choices = [Choice("D", "tokens (B)", 1e9), Choice("loss", "it's")]
    assert command(choices) == """--column 'D=tokens (B)*1e+09' --column 'loss=it'"'"'s'"""
    assert parse([str(choice) for choice in choices], ["tokens (B)", "it's"]) == {c.quantity: c for c in choices}
