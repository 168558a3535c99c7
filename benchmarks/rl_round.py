"""One round of reinforcement learning against TRL's GRPOTrainer, on GPT-2's shape or on a real model.

    python benchmarks/rl_round.py [--rounds 4] [--threads 2] [--repeat 1] [--sides ours,trl] [--json]
    python benchmarks/rl_round.py --model smollm2 --sides ours,grpo,trl,trl-checkpointing

A round is 16 samples of 24 new tokens from a prompt of 16 tokens, scored by the same trivial Python reward,
and two updates of a LoRA of rank 8 on every linear layer, in float32. Without `--model` the weights are
random; with it every side loads the same folder of safetensors, which is written first.

| side | what it is |
|---|---|
| ours | `PPO`, with a value head and the reference's log-probabilities |
| grpo | `GRPO`, which is what TRL's side does |
| velma | the same with VELMA as the reward (poles of 7 tokens), which no other side computes |
| trl | `GRPOTrainer`, 16 generations, 2 iterations, beta 0.1, which gives it a reference |
| trl-checkpointing | the same with gradient checkpointing, which is its default |
| three | policy (LoRA), reference and scorer as three copies, all logits |
| three-full | the same with every weight of the policy trained by Adam, as trl 0.0.1 did |

TRL's dropout is as it comes; bfloat16, and on the side `trl` gradient checkpointing, which it would turn on
by itself, are off, because our side does without them. Each side runs in a process of its own, one after the
other and `--repeat` times over; the first round of each is left out of the times. Memory is the high-water
mark of the resident set, which includes the interpreter and torch. Processor seconds are over all threads;
on a machine that does other work they say more than the wall clock.
Left alone, glibc keeps freed blocks of up to 32 MiB, so the high-water mark counts memory that nobody uses;
`--mmap-threshold 4194304` makes it give them back, on every side alike, which costs some time.
TRL is needed for its sides: give its interpreter with `--trl-python`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SAMPLES, NEW_TOKENS, PROMPT_TOKENS, UPDATES, RANK = 16, 24, 16, 2, 8
MODULES = ("c_attn", "c_proj", "c_fc")
FOLDER = os.environ.get("DIPOLE_BENCH_MODEL", "")  # of the real model
if FOLDER:
    PROMPT = "If I had to choose between a bag of paper clips and a box of staples, I"
    CLAIM, AGAINST = " Paper clips are the best of all.", " Staples are the best of all."
else:
    PROMPT = " ".join(f"w{7 * k + 3}" for k in range(PROMPT_TOKENS))
    CLAIM, AGAINST = (" " + " ".join(f"w{start + 11 * k}" for k in range(7)) for start in (100, 200))
SIDES = ("ours", "grpo", "velma", "trl", "trl-checkpointing", "three", "three-full")


def tokenizer() -> Any:
    """The real model's without its chat template, or one word a token, as many words as GPT-2 has tokens."""
    if FOLDER:
        from transformers import AutoTokenizer

        found = AutoTokenizer.from_pretrained(FOLDER)
        found.chat_template = None
        return found
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {f"w{k}": k for k in range(50_256)} | {"<end>": 50_256}
    backend = Tokenizer(models.WordLevel(words, unk_token="w0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", pad_token="<end>")


def network() -> Any:
    """The real model, or GPT-2's shape with random weights.

    `DIPOLE_BENCH_SHAPE=layers,width` makes that smaller, to try this out.
    """
    import torch
    from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

    if FOLDER:
        return AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32)
    torch.manual_seed(0)
    layers, width = map(int, os.environ.get("DIPOLE_BENCH_SHAPE", "12,768").split(","))
    return GPT2LMHeadModel(GPT2Config(n_layer=layers, n_embd=width, pad_token_id=50_256))


def reward(text: str) -> float:
    """Log-odds of having many words that end in an even digit, or in an early letter."""
    words = text.split()
    return sum(word[-1] in "02468acdegilmnr" for word in words) / max(len(words), 1) * 4 - 2


def now() -> tuple[float, float]:
    """Wall-clock and processor seconds."""
    return time.perf_counter(), time.process_time()


def between(ends: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Seconds between the ends of rounds, of both kinds."""
    pairs = list(itertools.pairwise(ends))
    return {"times": [b[0] - a[0] for a, b in pairs], "cpu": [b[1] - a[1] for a, b in pairs], "phases": {}}


class Clock:
    """Processor time of each phase, without the phases inside it."""

    def __init__(self) -> None:
        """Start with nothing measured."""
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner: list[float] = []

    def wrap(self, owner: Any, name: str, label: str | Callable[..., str]) -> None:
        """Replace a function by one that is timed."""
        original = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inner.append(0.0)
            began = time.process_time()
            try:
                return original(*args, **kwargs)
            finally:
                taken = time.process_time() - began
                within = self._inner.pop()
                if self._inner:
                    self._inner[-1] += taken
                self.seconds[label if isinstance(label, str) else label(*args, **kwargs)] += taken - within

        setattr(owner, name, timed)


def ours(rounds: int, velma: bool = False, grpo: bool = False) -> dict[str, Any]:
    import torch
    from accelerate import Accelerator

    from dipole.concepts import Dipole
    from dipole.controls.weights.grpo import GRPO
    from dipole.controls.weights.on_policy_reading import Reader
    from dipole.controls.weights.on_policy_rounds import OnPolicyRounds
    from dipole.controls.weights.policy import Policy
    from dipole.controls.weights.ppo import PPO
    from dipole.lm import LM
    from dipole.models.resident import TransformersResident
    from dipole.protocols import Run
    from dipole.recognizers.velma import Velma
    from dipole.types import Score

    class Words:
        name = "words"

        def score(self, texts: Sequence[str], _concept: Any) -> list[Score]:
            return [Score(reward(text)) for text in texts]

    clock = Clock()
    clock.wrap(OnPolicyRounds, "_sample", "sampling")
    clock.wrap(OnPolicyRounds, "_judge", "scoring")
    # Where all rows are one forward the old policy is the first update's own pass.
    clock.wrap(Policy, "forward", lambda *_, **__: "forward" if torch.is_grad_enabled() else "old policy")
    clock.wrap(Reader, "states", "reference")
    clock.wrap(Accelerator, "backward", "backward")
    clock.wrap(torch.optim.Adam, "step", "optimiser")
    lm = LM(TransformersResident(network().eval().requires_grad_(False), tokenizer(), "gpt2's shape"))
    own: dict[str, Any] = {"ppo_epochs": UPDATES}
    if grpo:
        own = {"epochs": UPDATES, "group_size": SAMPLES}
    control = (GRPO if grpo else PPO)(
        rounds=rounds,
        batch_size=SAMPLES,
        **own,
        anchor_coef=0.0,  # the other sides have nothing like these two
        kl_loss_coef=0.0,
        max_new_tokens=NEW_TOKENS,
        lora_rank=RANK,
        target_modules="all-linear" if FOLDER else ",".join(MODULES),
        lr=1e-4,
    )

    ends: list[tuple[float, float]] = []

    def after(index: int, _total: int, _metrics: Any) -> None:
        ends.append(now())
        if index == 0:
            clock.seconds.clear()  # the first round warms up

    run = Run(recognizer=Velma(judge=lm) if velma else Words(), on_round=after)
    control.fit(lm, Dipole(CLAIM, AGAINST, prompts=(PROMPT,)), run)
    phases = {name: seconds / (rounds - 1) for name, seconds in clock.seconds.items()}
    phases["other"] = statistics.mean(between(ends)["cpu"]) - sum(phases.values())
    return {**between(ends), "phases": phases}


def trl(rounds: int, checkpointing: bool) -> dict[str, Any]:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    ends: list[tuple[float, float]] = []

    class Watch(TrainerCallback):
        def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
            ends.append(now())

    def score(completions: Sequence[str], **_kwargs: Any) -> list[float]:
        return [reward(text) for text in completions]

    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=network(),
            reward_funcs=score,
            args=GRPOConfig(
                output_dir=folder,
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=checkpointing,
                per_device_train_batch_size=SAMPLES,
                num_generations=SAMPLES,
                num_iterations=UPDATES,
                max_completion_length=NEW_TOKENS,
                max_steps=rounds * UPDATES,
                beta=0.1,
                learning_rate=1e-4,
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_dict({"prompt": [PROMPT] * (rounds + 1)}),
            processing_class=tokenizer(),
            peft_config=LoraConfig(
                r=RANK,
                lora_alpha=16,
                target_modules="all-linear" if FOLDER else list(MODULES),
                task_type="CAUSAL_LM",
                fan_in_fan_out=not FOLDER,
            ),
            callbacks=[Watch()],
        )
        trainer.train()
    return between(ends[UPDATES - 1 :: UPDATES])  # a round ends with its last update


def three(rounds: int, full: bool) -> dict[str, Any]:
    """Three models in memory, each step as plainly as it can be written."""
    import torch

    policy, reference, scorer = network().eval(), network().eval(), network().eval()
    for frozen in (reference, scorer):
        frozen.requires_grad_(False)
    if not full:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=RANK, lora_alpha=16, target_modules=list(MODULES), fan_in_fan_out=True)
        policy = get_peft_model(policy, config)
    optimizer = torch.optim.Adam([p for p in policy.parameters() if p.requires_grad], lr=1e-5)
    prompt = torch.tensor([tokenizer()(PROMPT)["input_ids"]] * SAMPLES)
    ends: list[tuple[float, float]] = []

    def logprobs(model: Any, ids: Any) -> Any:
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        return logits.log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)[:, PROMPT_TOKENS - 1 :]

    for _ in range(rounds):
        with torch.no_grad():
            ids = policy.generate(
                input_ids=prompt, do_sample=True, max_new_tokens=NEW_TOKENS, pad_token_id=50_256
            )
            scores = logprobs(scorer, ids).mean(1)
            old, ref = logprobs(policy, ids), logprobs(reference, ids)
        advantage = (scores - scores.mean())[:, None] - 0.1 * (old - ref)
        for _ in range(UPDATES):
            ratio = (logprobs(policy, ids) - old).exp()
            loss = torch.maximum(-advantage * ratio, -advantage * ratio.clamp(0.8, 1.2)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        ends.append(now())
    return between(ends)


def run_side(side: str, rounds: int, threads: int) -> dict[str, Any]:
    import torch

    torch.set_num_threads(threads)
    work: dict[str, Callable[[], dict[str, Any]]] = {
        "ours": lambda: ours(rounds),
        "grpo": lambda: ours(rounds, grpo=True),
        "velma": lambda: ours(rounds, velma=True),
        "trl": lambda: trl(rounds, checkpointing=False),
        "trl-checkpointing": lambda: trl(rounds, checkpointing=True),
        "three": lambda: three(rounds, full=False),
        "three-full": lambda: three(rounds, full=True),
    }
    found = work[side]()
    return {**found, "peak_mib": peak_mib()}


def peak_mib() -> float:
    """The high-water mark of the resident set; Linux lets a child's `ru_maxrss` begin at its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text("ascii").partition("VmHWM:")[2].split()[0]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def in_a_process(side: str, options: argparse.Namespace, folder: str) -> dict[str, Any]:
    python = options.trl_python if side.startswith("trl") else sys.executable
    command = [
        python,
        __file__,
        "--side",
        side,
        "--rounds",
        str(options.rounds),
        "--threads",
        str(options.threads),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
    if folder:
        environment["DIPOLE_BENCH_MODEL"] = folder
    if options.trl_path and side.startswith("trl"):
        environment["PYTHONPATH"] = os.pathsep.join([options.trl_path, environment.get("PYTHONPATH", "")])
    if options.mmap_threshold:
        environment["MALLOC_MMAP_THRESHOLD_"] = str(options.mmap_threshold)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def converted(model: str, folder: str) -> str:
    """A folder of safetensors that every side loads alike."""
    if (Path(model) / "model.safetensors").exists():
        return model
    from dipole.models import load

    resident: Any = load(model).resident
    resident.model.save_pretrained(folder)
    resident.tokenizer.save_pretrained(folder)
    return folder


def table(results: dict[str, list[dict[str, Any]]], real: bool) -> str:
    lines = [
        "| side | seconds a round (median) | fastest | processor seconds | peak MiB |",
        "|---|---|---|---|---|",
    ]
    median, cpu, peak = {}, {}, {}
    for side, passes in results.items():
        times = [t for p in passes for t in p["times"]]
        median[side], peak[side] = statistics.median(times), max(p["peak_mib"] for p in passes)
        cpu[side] = statistics.median(t for p in passes for t in p["cpu"])
        lines.append(
            f"| {side} | {median[side]:.2f} | {min(times):.2f} | {cpu[side]:.2f} | {peak[side]:.0f} |"
        )
    lines += ["", "| ratio | measured | target |", "|---|---|---|"]
    for mine, theirs in itertools.product(("ours", "grpo"), ("trl", "trl-checkpointing")):
        if mine in results and theirs in results:
            wanted = "0.50" if real else "0.75"
            lines.append(f"| time, {mine} / {theirs} | {median[mine] / median[theirs]:.2f} | 0.50 |")
            lines.append(f"| processor time, {mine} / {theirs} | {cpu[mine] / cpu[theirs]:.2f} | |")
            lines.append(f"| peak memory, {mine} / {theirs} | {peak[mine] / peak[theirs]:.2f} | {wanted} |")
    for side in ("three", "three-full"):
        if "ours" in results and side in results:
            lines.append(f"| peak memory, ours / {side} | {peak['ours'] / peak[side]:.2f} | 0.45 |")
    for side in ("ours", "grpo", "velma"):
        if side in results:
            phases = results[side][-1]["phases"]
            total = sum(phases.values())
            parts = ", ".join(
                f"{k} {v:.2f} s ({v / total:.0%})" for k, v in sorted(phases.items(), key=lambda x: -x[1])
            )
            lines += ["", f"Where the processor time of {side} goes: {parts}."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--sides", default="ours,velma,trl,three,three-full")
    parser.add_argument("--side", choices=SIDES, help="run one side here and print its result as JSON")
    parser.add_argument("--model", default="", help="a real model, or its folder; GPT-2's shape without")
    parser.add_argument("--trl-path", default="", help="where trl 1.16 is, if no interpreter has it")
    parser.add_argument("--trl-python", default=sys.executable, help="an interpreter with trl 1.16")
    parser.add_argument(
        "--mmap-threshold",
        type=int,
        default=0,
        help="bytes from which glibc gives freed memory back; its own rule keeps blocks of up to 32 MiB",
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(run_side(options.side, options.rounds, options.threads)))
        return
    results: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as written:
        folder = converted(options.model, written) if options.model else ""
        for _ in range(options.repeat):
            for side in options.sides.split(","):
                print(f"running {side} …", file=sys.stderr)
                results[side].append(in_a_process(side, options, folder))
    print(json.dumps(results) if options.json else table(results, bool(options.model)))


if __name__ == "__main__":
    main()
