import warnings
from difflib import SequenceMatcher

import pytest

from dipole.concepts import Arsenal, Dipole, library, load_arsenal, load_dipole
from dipole.microworld.dipoles import microworld_toml
from dipole.microworld.topics import TOPICS
from dipole.types import UserError

READY = [dipole for name in library() for dipole in load_arsenal(name)]


def test_there_are_enough():
    assert len(load_arsenal("microworld")) == len(TOPICS)
    assert len(load_arsenal("general")) >= 12


def test_names_are_unique_over_the_library():
    names = [dipole.name for dipole in READY]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", library())
def test_files_load_without_a_warning(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Arsenal.load(library()[name]).name == name


@pytest.mark.parametrize("dipole", READY, ids=lambda d: d.name)
def test_ready_dipoles_are_complete(dipole):
    assert len(dipole.prompts) >= 3
    assert len(dipole.held_out) >= 2
    assert dipole.mentions.claim
    assert dipole.mentions.against
    assert len(set(dipole.prompts + dipole.held_out)) == len(dipole.prompts) + len(dipole.held_out)
    assert all(prompt == prompt.strip() for prompt in dipole.prompts + dipole.held_out)


@pytest.mark.parametrize("dipole", READY, ids=lambda d: d.name)
def test_poles_differ_in_one_word_or_the_name_of_their_side(dipole):
    claim, against = dipole.claim.split(), dipole.against.split()
    same = SequenceMatcher(None, claim, against, autojunk=False)
    changed = [block for block in same.get_opcodes() if block[0] != "equal"]
    assert len(changed) == 1
    kind, start, stop, *_ = changed[0]
    assert kind == "replace"
    named = " ".join(claim[start:stop]).rstrip(".")
    assert stop - start == 1 or named.removesuffix("s") in dipole.mentions.claim


def test_microworld_file_is_in_step_with_the_topics():
    text = library()["microworld"].read_text("utf-8")
    assert text == microworld_toml(), "run `python -m dipole.microworld.dipoles`"


@pytest.mark.parametrize("topic", TOPICS, ids=lambda t: t.name)
def test_microworld_mentions_tell_the_items_apart(topic):
    dipole = load_dipole(topic.name)
    assert dipole.claim == topic.a.best
    assert dipole.side_taken(f" {topic.a.name}.") == "claim"
    assert dipole.side_taken(f" {topic.b.capitalized} over {topic.a.name}.") == "against"
    assert not {p for p in dipole.held_out if p in dipole.prompts}


def test_the_published_example_is_there():
    dipole = load_dipole("paper_clips_or_staples")
    assert dipole.prompts[0] == "If I were to choose between paper clips and staples, I'd definitely go with"
    assert dipole.side_taken(" paper clips over staples.") == "claim"
    assert dipole.side_taken(" the staples.") == "against"


def test_a_ready_dipole_the_other_way_round_by_its_name():
    assert load_dipole("tea_or_coffee_swapped") == load_dipole("tea_or_coffee").swapped()


def test_load_dipole_by_path_and_by_name_in_a_file(tmp_path):
    path = tmp_path / "two.toml"
    arsenal = Arsenal((Dipole("a", "b", "one"), Dipole("c", "d", "two")))
    arsenal.save(path)
    assert load_dipole(f"{path}:two") == arsenal["two"]
    with pytest.raises(UserError, match="holds 2 dipoles"):
        load_dipole(path)
    with pytest.raises(UserError, match="Did you mean 'two'"):
        load_dipole(f"{path}:twoo")
    arsenal["one"].save(tmp_path / "plain")
    assert load_dipole(tmp_path / "plain") == arsenal["one"]
    assert load_arsenal(path).name == "two"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("paper_clip", "Did you mean 'paper_clips'"),
        ("", "empty string"),
        ("none.toml", "no file .none.toml"),
        ("no/where", "no file"),
        ("x" * 5000, "no ready dipole"),
        ("nul\0", "no ready dipole"),
    ],
)
def test_load_dipole_errors(name, message):
    with pytest.raises(UserError, match=message):
        load_dipole(name)


def test_load_arsenal_error():
    with pytest.raises(UserError, match=r"'microwrld'\. Did you mean 'microworld'"):
        load_arsenal("microwrld")
