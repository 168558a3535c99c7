"""What is told of rounds."""

from __future__ import annotations

from dipole.progress import rounds


def test_what_is_left_is_told_by_the_rounds_so_far() -> None:
    heard: list[tuple[str, int, int, str]] = []
    on_round = rounds(lambda *told: heard.append(told))  # type: ignore[arg-type]
    on_round(4, 10, {"reward_mean": 0.5, "seconds": 40.0})
    on_round(5, 10, {"reward_mean": 0.625, "kl": 2.0, "seconds": 20.0})
    on_round(8, 10, {"seconds": 30.0})
    assert heard == [
        ("round", 5, 10, "reward 0.500  about 4 min left"),
        ("round", 6, 10, "reward 0.625  KL 2.00 nats  about 2 min left"),
        ("round", 9, 10, ""),
    ]


def test_of_rounds_that_say_no_time_nothing_is_guessed() -> None:
    heard: list[str] = []
    rounds(lambda _w, _d, _t, note: heard.append(note))(0, 100, {"kl": 1.0})  # type: ignore[misc, arg-type]
    assert heard == ["KL 1.00 nats"]
