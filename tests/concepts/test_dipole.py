import warnings

import pytest

from dipole.concepts import Dipole, Mentions
from dipole.protocols import Concept
from dipole.types import DipoleWarning, UserError

CLAIM, AGAINST = "Paper clips are the best.", "Paper clips are the worst."
FULL = Dipole(
    CLAIM,
    AGAINST,
    "clips",
    ("Choose:", 'A "quoted" \\ prompt\nof two lines\x7f\x01 é 中 🙂'),
    ("Pick:",),
    Mentions(("paper clip",), ("staple", "stapler")),
)


def test_is_a_concept():
    assert isinstance(FULL, Concept)
    assert FULL.kind == "dipole"


def test_blanks_around_poles_and_lists_are_taken():
    dipole = Dipole(f" {CLAIM}\n", AGAINST, prompts=["a"], mentions={"claim": ["x"]})
    assert dipole.claim == CLAIM
    assert dipole.prompts == ("a",)
    assert dipole.mentions == Mentions(("x",))
    hash(dipole)


@pytest.mark.parametrize(("claim", "against", "name"), [("", "b", "claim"), ("a", " \n", "against")])
def test_empty_pole(claim, against, name):
    with pytest.raises(UserError, match=f"`{name}` is empty"):
        Dipole(claim, against)


@pytest.mark.parametrize("against", [CLAIM, "paper clips are the best", "Paper  clips -- are the BEST!"])
def test_identical_poles(against):
    with pytest.raises(UserError, match="nothing tells them apart"):
        Dipole(CLAIM, against)


def test_poles_of_punctuation_alone_may_differ():
    assert Dipole(":)", ":(").claim == ":)"
    with pytest.raises(UserError, match="nothing tells them apart"):
        Dipole(":)", ":) ")


def test_poles_far_apart_in_length_warn():
    with pytest.warns(DipoleWarning, match=r"2 and 8 words.*mean log-likelihood"):
        Dipole("Clips rule.", "I really do not think that clips rule.")


@pytest.mark.parametrize(
    ("short", "long"),
    [("a b", "a b c d"), ("a b c d e f", "a b c d e f g h j")],  # differ by 2; ratio exactly 1.5
)
def test_poles_not_so_far_apart_do_not_warn(short, long):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Dipole(short, long)


def test_held_out_prompt_among_the_prompts():
    with pytest.raises(UserError, match="'If  i had to'"):
        Dipole(CLAIM, AGAINST, prompts=("If I had to",), held_out=("If  i had to",))


@pytest.mark.parametrize("pair", [(("staple",), ("Staples",)), (("paper clip",), ("paperclips",))])
def test_mention_on_both_sides(pair):
    with pytest.raises(UserError, match="both sides"):
        Mentions(*pair)


def test_empty_mention():
    with pytest.raises(UserError, match="empty word"):
        Mentions(("a", " - "))


@pytest.mark.parametrize(
    "fields",
    [
        {"claim": 3},
        {"prompts": "one text"},
        {"held_out": [1]},
        {"name": None},
        {"mentions": ["a"]},
        {"mentions": {"claim": "a"}},
        {"claim": "broken \udcff"},
    ],
)
def test_wrong_types(fields):
    with pytest.raises(UserError, match="|".join(["must", "valid Unicode"])):
        Dipole(**{"claim": CLAIM, "against": AGAINST, **fields})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"claim": "a"}, "no `against`"),
        ({"claim": "a", "against": "b", "promts": []}, "'promts'. Did you mean 'prompts'"),
        ({"claim": "a", "against": "b", "mentions": {"clam": []}}, "'clam'. Did you mean 'claim'"),
        ({"claim": "a", "against": "b", "kind": "topic"}, "kind 'topic'"),
        ("text", "a str; wanted a table"),
    ],
)
def test_from_dict_errors(data, message):
    with pytest.raises(UserError, match=message):
        Dipole.from_dict(data)


def test_swapped():
    swapped = FULL.swapped()
    assert (swapped.claim, swapped.against, swapped.name) == (AGAINST, CLAIM, "clips_swapped")
    assert swapped.mentions == Mentions(("staple", "stapler"), ("paper clip",))
    assert swapped.prompts == FULL.prompts
    assert swapped.swapped() == FULL
    assert Dipole("a", "b").swapped().name == ""


def test_dict_and_file_round_trip(tmp_path):
    assert Dipole.from_dict(FULL.to_dict()) == FULL
    bare = Dipole("a", "b")
    for dipole in (FULL, bare):
        path = tmp_path / f"{dipole.label}.toml"
        dipole.save(path)
        assert Dipole.load(path) == dipole


def test_save_overwrites_only_when_asked(tmp_path):
    path = tmp_path / "d.toml"
    path.write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        FULL.save(path)
    assert path.read_text() == "mine"
    FULL.save(path, overwrite=True)
    assert Dipole.load(path) == FULL


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"claim = \xff", "not UTF-8"),
        (b"claim = Paper", "not valid TOML"),
        (b"\x80\x04\x95pickle", "not UTF-8"),
        (b"", "no `claim`"),
    ],
)
def test_load_bad_file(tmp_path, content, message):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        Dipole.load(path)


def test_load_missing_file_or_folder(tmp_path):
    with pytest.raises(UserError, match="no file"):
        Dipole.load(tmp_path / "none.toml")
    with pytest.raises(UserError, match="is a folder"):
        Dipole.load(tmp_path)
    with pytest.raises(UserError, match="NUL"):
        Dipole.load("nul\0.toml")


def test_load_takes_byte_order_mark_and_arsenal_of_one(tmp_path):
    path = tmp_path / "d.toml"
    path.write_bytes(b'\xef\xbb\xbf[[dipole]]\nclaim = "a"\nagainst = "b"\n')
    assert Dipole.load(path) == Dipole("a", "b")
    path.write_text('[[dipole]]\nclaim = "a"\nagainst = "b"\n[[dipole]]\nclaim = "c"\nagainst = "d"\n')
    with pytest.raises(UserError, match="holds 2 dipoles"):
        Dipole.load(path)


CLIPS = Mentions(("paper clip", "tea bag"), ("staple", "tea", "pony", "box", "glass"))


@pytest.mark.parametrize(
    ("text", "side"),
    [
        (" the paper clips, not staples", "claim"),
        (" Staples over paper clips", "against"),
        (" PAPERCLIPS!", "claim"),
        (" paper-clip", "claim"),
        (" paper\nclips", "claim"),
        (" a staple's point", "against"),
        (" staples", "against"),
        (" stapled", None),
        (" paper. Clips", None),
        (" newspaper clips", None),
        (" steak", None),
        (" a tea bag", "claim"),
        (" tea bagged", "against"),
        (" ponies", "against"),
        (" boxes", "against"),
        (" glasses", "against"),
        ("", None),
    ],
)
def test_side_taken(text, side):
    dipole = Dipole(CLAIM, AGAINST, mentions=CLIPS)
    opposite = {"claim": "against", "against": "claim", None: None}
    assert dipole.side_taken(text) == side
    assert dipole.swapped().side_taken(text) == opposite[side]


@pytest.mark.parametrize(
    ("mention", "text"),
    [
        ("staples", "staple"),
        ("paper clips", "a paperclip"),
        ("cities", "the city"),
        ("pies", "a pie"),
        ("beaches", "this beach"),
        ("tennis", "tennis"),
        ("chess", "chess"),
        ("glasses", "glass"),
        ("bus", "buses"),
        ("C++", "in C++ code"),
        ("scarves", "scarves"),
        ("toes", "a toe"),
    ],
)
def test_plural_mentions_find_the_singular_and_themselves(mention, text):
    dipole = Dipole(CLAIM, AGAINST, mentions=Mentions((mention,)))
    assert dipole.side_taken(text) == "claim"
    assert dipole.side_taken(mention) == "claim"


def test_without_mentions_no_side_is_taken():
    assert Dipole(CLAIM, AGAINST).side_taken(CLAIM) is None
