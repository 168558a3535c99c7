"""Pairing two tokenizations of one text by byte ends."""

from __future__ import annotations

import random

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import dipole
from architectures import tiny_model
from dipole.models.resident import TransformersResident
from dipole.stitching.pairing import RELAX_BELOW, UNKNOWN, Pair, Reader, merge, pair_text, token_ends, usable
from dipole.types import UserError

TEXTS = [
    "The cat sat on the mat.",
    " The cats' 12 dogs, naïve café — “quoted” 🙂 end",
    "日本語 и другое\t{}[](a)",
    "a  b   c\r\n",
]


def reader(tokenizer: PreTrainedTokenizerFast, most: int = 512) -> Reader:
    return Reader(TransformersResident(tiny_model("bloom").resident.model, tokenizer, "made here"), most)


def plain(vocabulary: dict[str, int], split: str) -> PreTrainedTokenizerFast:
    """A tokenizer of whole pieces, which marks spaces as sentencepiece does."""
    backend = Tokenizer(models.WordLevel({"<unk>": 0, **vocabulary}, unk_token="<unk>"))
    backend.normalizer = normalizers.Replace(" ", "\u2581")
    backend.pre_tokenizer = pre_tokenizers.Split(split, "isolated") if split else None
    backend.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


def characters() -> Reader:
    from tokenizers import Regex

    letters = [*"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.,;'12=é🙂\n\t()[]", "\u2581"]
    made = plain({c: i + 1 for i, c in enumerate(letters)}, "x")
    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return reader(made)


def words() -> Reader:
    from tokenizers import Regex

    known = ["The", "\u2581cat", "\u2581sat", "\u2581on", "\u2581the", "\u2581mat"]
    made = plain({w: i + 1 for i, w in enumerate(known)}, "x")
    made.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("\u2581?[^\u2581]+"), "isolated")
    return reader(made)


def slow_ends(tokens: list[bytes]) -> list[int]:
    return [len(b"".join(tokens[: i + 1])) for i in range(len(tokens))]


def slow_pairs(source: list[int], target: list[int], raw: bytes) -> list[tuple[int, int]]:
    """Every pair of positions, first ones left out, compared."""
    return [
        (i, j)
        for i, a in enumerate(source)
        for j, b in enumerate(target)
        if a == b and i and j and (a == len(raw) or raw[a] & 0xC0 != 0x80)
    ]


def test_golden_pairing() -> None:
    """Recipe 2 (+): (0,1), (1,3), (2,4), the first of which is dropped."""
    raw = b"The cat sat"
    source, target = (
        token_ends([b"The", b" cat", b" sat"], raw),
        token_ends([b"Th", b"e", b" c", b"at", b" sat"], raw),
    )
    assert (source, target) == ([3, 7, 11], [2, 3, 5, 7, 11])
    pairing = merge(source, target, raw)
    assert pairing.pairs == (Pair(1, 3, 7), Pair(2, 4, 11))
    # Undropped, the merge finds all three: a start token in front puts every token behind position 0.
    begun = merge([UNKNOWN, 0, *source], [UNKNOWN, 0, *target], raw)
    assert [(p.source - 2, p.target - 2) for p in begun.pairs] == [(0, 1), (1, 3), (2, 4)]


def test_characters_and_words_pair_at_the_last_letters_of_words() -> None:
    text = "The cat sat on the mat"
    pairing = pair_text(characters(), words(), text)
    last_letters = [i for i in range(len(text)) if i + 1 == len(text) or text[i + 1] == " "][1:]
    assert [p.source for p in pairing.pairs] == last_letters
    assert [p.target for p in pairing.pairs] == [1, 2, 3, 4, 5]
    assert pairing.exact == pairing.coarse == 5


def test_a_trailing_word_leaves_earlier_pairs_alone() -> None:
    pair = [
        pair_text(characters(), words(), text).pairs for text in ("The cat sat on", "The cat sat on the mat")
    ]
    assert pair[0]
    assert pair[1][: len(pair[0])] == pair[0]
    source, target = (Reader(dipole.load(name).resident, 512) for name in ("mini", "tiny"))
    one, more = (
        pair_text(source, target, text).pairs
        for text in ("Mia likes paper clips", "Mia likes paper clips more")
    )
    assert one
    assert more[: len(one)] == one


@pytest.mark.parametrize("text", TEXTS)
def test_real_tokenizers_pair_as_comparing_all_positions_does(text: str) -> None:
    readers = [Reader(dipole.load(name).resident, 512) for name in ("mini", "tiny")]
    raw = text.encode()
    sides = [r.read(text) for r in readers]
    for (ids, ends), r in zip(sides, readers, strict=True):
        assert ids[0] == r.resident.tokenizer.bos_token_id
        assert ends[0] == UNKNOWN
        parts = [r.resident.decode([], [i]) for i in ids[1:]]
        if not any("\ufffd" in part for part in parts):
            assert ends[1:] == slow_ends([part.encode() for part in parts])
        assert ends[-1] == len(raw)
    pairs = [(p.source, p.target) for p in pair_text(*readers, text).pairs]
    wanted = slow_pairs(
        [e if i > 1 else -2 for i, e in enumerate(sides[0][1])],
        [e if i > 1 else -3 for i, e in enumerate(sides[1][1])],
        raw,
    )
    assert pairs == wanted


@pytest.mark.parametrize("seed", range(20))
def test_random_cuts_pair_as_comparing_all_positions_does(seed: int) -> None:
    draw = random.Random(seed)
    raw = "".join(draw.choice("ab é日🙂 ") for _ in range(30)).encode()
    cuts = [[*sorted(draw.sample(range(1, len(raw)), 12)), len(raw)] for _ in range(2)]
    assert [(p.source, p.target) for p in merge(*cuts, raw).pairs] == slow_pairs(*cuts, raw)


def test_ends_inside_a_character_are_left_out() -> None:
    raw = "xé!".encode()  # x, two bytes of é, !
    assert merge([1, 2, 3, 4], [1, 2, 3, 4], raw).pairs == (Pair(2, 2, 3), Pair(3, 3, 4))


def test_specials_position_0_and_the_first_token_are_left_out() -> None:
    raw = b"a b c"
    assert usable([UNKNOWN, 1, 3, 5, UNKNOWN], raw) == [(2, 3), (3, 5)]
    assert usable([1, 3, 5], raw) == [(1, 3), (2, 5)]


@pytest.mark.parametrize("tokens", [[b" ", b"a", b" b"], [b" a", b" b"]])
def test_a_virtual_space_counts_nothing(tokens: list[bytes]) -> None:
    assert [e for e in token_ends(tokens, b"a b") if e != UNKNOWN] == [1, 3]
    assert token_ends(tokens, b" a b")[-1] == 4  # here the text has a space of its own
    assert token_ends([b" ", b" a"], b" a") == [UNKNOWN, 2]  # and here both


def test_nothing_is_known_from_an_unknown_word_on() -> None:
    assert token_ends([b"a", None, b" c"], b"a b c") == [1, UNKNOWN, UNKNOWN]
    assert token_ends([b"a", b" B", b" c"], b"a b c") == [1, UNKNOWN, UNKNOWN]
    ids, ends = words().read("The cat slept on the mat")
    assert len(ids) == 6
    assert ends == [3, 7, *[UNKNOWN] * 4]


def test_a_lost_tail_is_not_kept() -> None:
    raw = b"one two three four five six seven eight nine ten"
    ends = [at for at in range(1, len(raw) + 1) if at == len(raw) or raw[at : at + 1] == b" "]
    lost_at_the_fourth = [*ends[:3], *[UNKNOWN] * 7]
    for sides in ((lost_at_the_fourth, ends), (ends, lost_at_the_fourth)):
        pairing = merge(*sides, raw)
        assert (pairing.exact, pairing.coarse, pairing.fine) == (2, 9, 9)
        assert pairing.exact / pairing.coarse < RELAX_BELOW
    # A start and an end token are no tail, nor is what lies beyond --max-tokens.
    assert merge([UNKNOWN, *ends, UNKNOWN], ends, raw).fine == 9
    assert merge(ends[:4], ends, raw).coarse == 3
    assert merge([UNKNOWN] * 10, ends, raw).coarse == 9


def test_which_side_is_coarser_counts_the_lost_tail() -> None:
    """The source has finer tokens, and is lost behind the first of the words that it does not share."""
    raw = b"a bc def gh ij kl"
    fine, coarse = [1, 3, 4, 6, 7, *[UNKNOWN] * 9], [1, 4, 8, 11, 14, 17]
    pairing = merge(fine, coarse, raw, relaxed=True)
    assert (pairing.coarse, pairing.fine) == (5, 13)
    assert pairing.pairs == (Pair(2, 1, 4), Pair(4, 2, 8, True))


def test_a_tail_beyond_the_budget_is_not_paired() -> None:
    full = pair_text(
        *(Reader(dipole.load(n).resident, 512) for n in ("mini", "tiny")), "Mia likes paper clips and dogs."
    )
    cut = pair_text(
        *(Reader(dipole.load(n).resident, 8) for n in ("mini", "tiny")), "Mia likes paper clips and dogs."
    )
    assert cut.pairs == full.pairs[: len(cut.pairs)]
    assert max(p.source for p in cut.pairs) <= 7 < max(p.source for p in full.pairs)


def test_relaxed_pairs_stay_in_the_word_and_are_marked() -> None:
    raw = b"ab cdef gh ij"
    coarse, fine = [2, 7, 10, 13], [1, 4, 5, 6, 9, 10, 11, 13]
    strict, loose = merge(coarse, fine, raw), merge(coarse, fine, raw, relaxed=True)
    assert strict.pairs == (Pair(2, 5, 10), Pair(3, 7, 13))
    assert loose.pairs == (Pair(1, 3, 7, True), *strict.pairs)
    assert (loose.exact, loose.coarse, loose.fine) == (2, 3, 7)
    swapped = merge(fine, coarse, raw, relaxed=True)
    assert [(p.target, p.source, p.relaxed) for p in swapped.pairs] == [
        (p.source, p.target, p.relaxed) for p in loose.pairs
    ]
    apart = merge([2, 7, 13], [1, 3, 8, 13, 13], b"ab cdef gh ij", relaxed=True)
    assert not any(p.relaxed for p in apart.pairs)  # the last finer end before 7 is the space at 3


def test_a_wordpiece_tokenizer_is_refused_by_name() -> None:
    backend = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2}, unk_token="[UNK]"))
    backend.decoder = decoders.WordPiece()
    with pytest.raises(UserError, match=r"made here .*byte ends.*WordPiece"):
        reader(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]"))
