"""A trie of a million titles: what it costs to build, and to follow while GPT-2's shape writes.

    python benchmarks/trie.py [--titles 1000000] [--tokens 32] [--repeat 5] [--threads 2] [--rows 1] [--json]

The titles are made (two to four words of a list of 20,000), each with a link target. The model has GPT-2's
shape and random weights; its vocabulary has 50,257 byte-level tokens, words of the titles among them.

| what | meaning |
|---|---|
| read, sort, vocabulary | seconds to read and check the file, to sort, to make the vocabulary's trie |
| peak | memory of a process that builds, with a tiny model: whole, and beside torch and the model |
| text | milliseconds a token in free text, without and with the pool |
| links | the same with every token inside a link, each prompt in another one: no mask is there already |
| mixed | the same where a link stands in every 32 tokens, as in an encyclopaedia |

Each run has prompts of its own, so that the masks of an earlier run don't help; runs with and without the
pool take turns, and the median of each is given. Times are processor seconds over all threads, which say more
than the wall clock on a machine that does other work.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from dipole.interventions.pools.titles import read_titles
from dipole.interventions.pools.vocabulary import byte_level_alphabet, vocabulary
from dipole.interventions.tokens import Pool
from dipole.lm import LM
from dipole.models.resident import TransformersResident

VOCABULARY = 50257


def words(count: int = 20_000) -> list[str]:
    """Made words of 2 to 10 letters."""
    draw = random.Random(0)
    parts = [c + v for c in "bcdfghjklmnprstvwz" for v in ("a", "e", "i", "o", "u", "é")]
    return ["".join(draw.choices(parts, k=draw.randint(1, 5))) for _ in range(count)]


def write_titles(path: Path, count: int) -> None:
    """So many different titles with targets."""
    draw, known = random.Random(1), words()
    seen: set[str] = set()
    with path.open("w", encoding="utf-8") as file:
        while len(seen) < count:
            title = " ".join(draw.choices(known, k=draw.randint(2, 4))).title()
            if title not in seen:
                seen.add(title)
                file.write(f"{title}\thttps://example.org/wiki/{title.replace(' ', '_')}\n")


def model(**size: int) -> LM:
    """GPT-2's shape, or a given one, with random weights and a byte-level vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    letters = {byte: char for char, byte in byte_level_alphabet().items()}
    names = dict.fromkeys(letters[b] for b in range(256))
    for text in ("](", " [", "](https://", "https", "://", "example", ".org", "/wiki", "/"):
        names["".join(letters[b] for b in text.encode())] = None
    for word in words():
        for text in (word.title(), " " + word.title(), "_" + word.title(), word[:4].title()):
            names.setdefault("".join(letters[b] for b in text.encode()))
    tokens = [*list(names)[: VOCABULARY - 1], "<|endoftext|>"]
    tokens[-1:-1] = [f"{k}x" for k in range(VOCABULARY - len(tokens))]
    backend = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")
    torch.manual_seed(0)
    return LM(
        TransformersResident(
            GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, **size)).eval(), tokenizer, "gpt2-shape"
        )
    )


def build(path: Path) -> dict[str, float]:
    """Build once, in this process."""
    lm = model(n_embd=12, n_layer=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.process_time()
    titles = read_titles(path)
    read = time.process_time()
    links = titles.automaton.links
    built = time.process_time()
    Pool(titles).tokens(lm.resident)
    done = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "read_seconds": read - started,
        "sort_seconds": built - read,
        "vocabulary_seconds": done - built,
        "trie_mib": (links.data.nbytes + links.starts.nbytes) / 2**20,
        "peak_mib_with_torch_and_model": peak,
        "peak_mib_beside_those": peak - before,
    }


def seconds(lm: LM, prompts: list[str], tokens: int) -> float:
    """Seconds a step of one batch; a row that ends early goes on in the same way in either case."""
    started = time.process_time()
    drawn = lm.generate(prompts, max_new_tokens=tokens, seed=len(prompts[0]))
    return (time.process_time() - started) / max(len(s.token_ids) for s in drawn)


def prompts_of(kind: str, rows: int, draw: random.Random) -> list[str]:
    """Prompts in which nothing, or a link, is open."""
    made = [" ".join(draw.choices(words(2000), k=4)) for _ in range(rows)]
    return made if kind == "text" else [f"{text} [" for text in made]


def run(args: argparse.Namespace, path: Path) -> dict[str, float]:
    """Time a token with and without the pool."""
    lm, titles = model(), read_titles(path)
    steered, draw = Pool(titles).apply(lm), random.Random(2)
    vocabulary(lm.resident)
    seconds(lm, prompts_of("text", args.rows, draw), 4)
    seconds(steered, prompts_of("links", args.rows, draw), 4)
    # In a link of random weights some 20 tokens stand, mostly single bytes.
    cases = {"text": ("text", args.tokens), "links": ("links", 12), "mixed": ("links", 32)}
    result: dict[str, float] = {}
    for name, (kind, tokens) in cases.items():
        pairs = [
            [seconds(side, prompts_of(kind, args.rows, draw), tokens) for side in (lm, steered)]
            for _ in range(args.repeat)
        ]
        plain, pool = (statistics.median(column) for column in zip(*pairs, strict=True))
        result |= {
            f"{name}_plain_ms": 1e3 * plain,
            f"{name}_ms": 1e3 * pool,
            f"{name}_overhead": pool / plain - 1,
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--titles", type=int, default=1_000_000)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.build:
        print(json.dumps(build(args.build)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "titles.tsv"
        write_titles(path, args.titles)
        command = [sys.executable, __file__, "--build", str(path), "--threads", str(args.threads)]
        built = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        result: dict[str, Any] = {"titles": args.titles, **json.loads(built), **run(args, path)}
    result = {k: round(v, 4) for k, v in result.items()}
    print(json.dumps(result) if args.json else "\n".join(f"{k:32} {v}" for k, v in result.items()))


if __name__ == "__main__":
    main()
