import pytest

from dipole.concepts import Arsenal, Dipole
from dipole.protocols import Concept
from dipole.types import UserError

TWO = Arsenal(
    (Dipole("Tea is best.", "Tea is worst.", "tea"), Dipole("Cats rule.", "Cats lose.", "cats")), "pair"
)


def test_iteration_and_lookup():
    assert isinstance(TWO, Concept)
    assert len(TWO) == 2
    assert [d.name for d in TWO] == list(TWO.names) == ["tea", "cats"]
    assert TWO["cats"].claim == "Cats rule."
    with pytest.raises(UserError, match=r"'cat'\. Did you mean 'cats'\? Available: tea, cats\."):
        TWO["cat"]


def test_round_trip(tmp_path):
    assert Arsenal.from_dict(TWO.to_dict()) == TWO
    TWO.save(tmp_path / "a.toml")
    assert Arsenal.load(tmp_path / "a.toml") == TWO
    with pytest.raises(UserError, match="exists already"):
        TWO.save(tmp_path / "a.toml")


def test_names_are_made_and_must_differ():
    arsenal = Arsenal((Dipole("Paper clips are the best.", "Paper clips lose."),))
    assert arsenal.names == ("paper_clips_are_the_best",)
    with pytest.raises(UserError, match="'tea'"):
        Arsenal((TWO["tea"], TWO["tea"]))


def test_nothing_in_it():
    with pytest.raises(UserError, match="empty"):
        Arsenal(())


def test_file_of_one_dipole_is_an_arsenal_named_after_it(tmp_path):
    path = tmp_path / "solo.toml"
    TWO["tea"].save(path)
    assert Arsenal.load(path) == Arsenal((TWO["tea"],), "solo")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[[dipole]]\nclaim = "a"\n', "dipole number 1 has no `against`"),
        ('[[dipole]]\nname = "x"\nclaim = "a"\nfoo = 1\n', "dipole 'x' has an unknown key 'foo'"),
        ('[[dipoles]]\nclaim = "a"\n', "'dipoles'. Did you mean 'dipole'"),
        ("dipole = 3\n", "no dipoles"),
        ("dipole = [3]\n", "a int; wanted a table"),
        ("name = 3\ndipole = []\n", "must be text"),
        ("", "no dipoles"),
    ],
)
def test_load_errors(tmp_path, content, message):
    path = tmp_path / "a.toml"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        Arsenal.load(path)
