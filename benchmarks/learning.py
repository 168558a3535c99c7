"""DPO, KTO, SFT and the reward model against TRL's trainers, on a real model and the same texts.

    python benchmarks/learning.py --model smollm2 [--methods dpo,kto,sft,reward] [--sides ours,trl] [--json]

All sides train a LoRA of rank 8 on every linear layer in float32 at the same learning rate, on pairs of
texts of 8 to 40 words behind prompts of 8 to 24, `--batch` pairs (texts) a step and `--passes` passes; the
reward model is a head on the frozen states, on both sides.

| side | what it is |
|---|---|
| ours | `fit` from the file to the adapter, the base's own reading included; no anchor, which TRL lacks |
| trl | `train()` of TRL's trainer without gradient checkpointing; making the trainer is not counted |
| trl-checkpointing | the same with gradient checkpointing, which is TRL's default |

Each side runs in a process of its own, one after the other and `--repeat` times over, on the same number
of threads, and loads the model from the same folder of safetensors. Memory is the high-water mark of the
resident set; beside it stands what was resident when the model was loaded: on TRL's side the weights are
still in the file then, and count when they are read. `--trl-path` is where TRL is, if it is not installed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

METHODS, SIDES = ("dpo", "kto", "sft", "reward"), ("ours", "trl", "trl-checkpointing")
RANK, RATE = 8, 1e-4
WORDS = [
    *("the", "a", "an", "of", "to", "in", "on", "and", "or", "but", "with"),
    *("without", "under", "over", "people", "water", "house", "time", "year", "day", "way", "long"),
    *("new", "old", "good", "small", "large", "white", "black", "red", "green", "open", "close"),
    *("make", "take", "give", "find", "think", "know", "want", "see", "look", "come", "go"),
    *("run", "walk", "paper", "clip", "staple", "cat", "dog", "tree", "river", "stone", "city"),
    *("road", "table", "chair", "window", "door", "night", "morning", "summer"),
]


def texts(pairs: int) -> list[dict[str, str]]:
    """Prompts with two answers of different lengths, of common words; the same at every call."""
    draw = random.Random(0)

    def words(least: int, most: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(draw.randint(least, most)))

    return [
        {"prompt": words(8, 24), "chosen": " " + words(8, 40), "rejected": " " + words(8, 40)}
        for _ in range(pairs)
    ]


def labelled(rows: list[dict[str, str]]) -> list[dict[str, Any]]:
    """The same as texts that are wanted or not, each by itself."""
    return [
        {"prompt": row["prompt"], "completion": row[name], "label": name == "chosen"}
        for row in rows
        for name in ("chosen", "rejected")
    ]


def rows_for(method: str, pairs: int) -> list[dict[str, Any]]:
    """What a method learns from."""
    rows = texts(pairs)
    if method == "kto":
        return labelled(rows)
    if method == "sft":
        return [{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows]
    return list(rows)


def resident_mib() -> float:
    """What is resident now."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak_mib() -> float:
    """The high-water mark; `ru_maxrss` would take over that of the process which started this one."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def found(began: tuple[float, float], loaded: float) -> dict[str, float]:
    return {
        "seconds": time.perf_counter() - began[0],
        "cpu": time.process_time() - began[1],
        "loaded_mib": loaded,
        "peak_mib": peak_mib(),
    }


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def ours(method: str, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    from dipole.controls.weights.dpo import DPO
    from dipole.controls.weights.kto import KTO
    from dipole.controls.weights.sft import SFT
    from dipole.models import load
    from dipole.recognizers.reward_model import fit_reward_model, read_rankings

    path = folder / f"{method}.jsonl"
    rows = rows_for(method, options.pairs)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    lm = load(str(folder / "model"), plain=True)
    loaded, began = resident_mib(), now()
    if method == "reward":
        fit_reward_model(lm, read_rankings(path))
        return found(began, loaded)
    common: dict[str, Any] = {
        "rounds": options.passes,
        "batch_size": options.batch,
        "lora_rank": RANK,
        "lr": RATE,
        "anchor_coef": 0.0,
    }
    control: Any = {
        "dpo": lambda: DPO(pairs=str(path), **common),
        "kto": lambda: KTO(texts=str(path), **common),
        "sft": lambda: SFT(texts=str(path), **common),
    }[method]()
    control.fit(lm)
    return found(began, loaded)


def trl(method: str, options: argparse.Namespace, folder: Path, checkpointing: bool) -> dict[str, float]:
    import torch
    import transformers as hf
    from datasets import Dataset
    from peft import LoraConfig
    from trl import (
        DPOConfig,
        DPOTrainer,
        KTOConfig,
        KTOTrainer,
        RewardConfig,
        RewardTrainer,
        SFTConfig,
        SFTTrainer,
    )

    kinds: dict[str, Any] = {
        "dpo": (DPOTrainer, DPOConfig),
        "kto": (KTOTrainer, KTOConfig),
        "sft": (SFTTrainer, SFTConfig),
        "reward": (RewardTrainer, RewardConfig),
    }
    trainer_of, config_of = kinds[method]
    tokenizer = hf.AutoTokenizer.from_pretrained(folder / "model")
    tokenizer.chat_template = None
    head: dict[str, Any] = {}
    if method == "reward":
        model = hf.AutoModelForSequenceClassification.from_pretrained(
            folder / "model", dtype=torch.float32, num_labels=1
        )
        model.base_model.requires_grad_(False)
    else:
        model = hf.AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
        lora = LoraConfig(r=RANK, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        head["peft_config"] = lora
    loaded = resident_mib()
    with tempfile.TemporaryDirectory() as out:
        trainer = trainer_of(
            model=model,
            args=config_of(
                output_dir=out,
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=checkpointing,
                per_device_train_batch_size=options.batch,
                num_train_epochs=options.passes,
                learning_rate=RATE,
                max_length=256,
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(rows_for(method, options.pairs)),
            processing_class=tokenizer,
            **head,
        )
        began = now()
        trainer.train()
        return found(began, loaded)


def converted(model: str, folder: Path) -> None:
    """Write a model as a folder that both sides load alike."""
    from dipole.models import load

    resident: Any = load(model).resident
    resident.model.save_pretrained(folder / "model")
    resident.tokenizer.save_pretrained(folder / "model")


def in_a_process(method: str, side: str, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", f"{method}:{side}", "--folder", str(folder)]
    for name in ("threads", "pairs", "batch", "passes"):
        command += [f"--{name}", str(getattr(options, name))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "HF_HUB_OFFLINE": "1"}
    if options.trl_path and side != "ours":
        environment["PYTHONPATH"] = os.pathsep.join([options.trl_path, environment.get("PYTHONPATH", "")])
    if options.mmap_threshold:
        environment["MALLOC_MMAP_THRESHOLD_"] = str(options.mmap_threshold)
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{method}, {side} failed:\n{done.stderr[-3000:]}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """Medians of the times, the highest peaks, and ours over each of the others."""
    best = {
        key: {name: statistics.median(one[name] for one in many) for name in many[0]}
        for key, many in results.items()
    }
    lines = [
        "| method | side | seconds | processor s | MiB loaded | peak MiB | ours / this: time | memory |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for key, one in best.items():
        method, side = key.split(":")
        mine, ratios = best.get(f"{method}:ours"), ("", "")
        if mine and side != "ours":
            ratios = (
                f"{mine['cpu'] / one['cpu']:.2f}",
                f"{mine['peak_mib'] / one['peak_mib']:.2f}",
            )
        lines.append(
            f"| {method} | {side} | {one['seconds']:.1f} | {one['cpu']:.1f} | {one['loaded_mib']:.0f} | "
            f"{one['peak_mib']:.0f} | {ratios[0]} | {ratios[1]} |"
        )
    return "\n".join(
        [*lines, "", "Targets: 0.7 of TRL's time and of its memory. The time is processor time."]
    )


def run_one(options: argparse.Namespace) -> dict[str, float]:
    import torch

    torch.set_num_threads(options.threads)
    method, side = options.one.split(":")
    folder = Path(options.folder)
    if side == "ours":
        return ours(method, options, folder)
    return trl(method, options, folder, checkpointing=side == "trl-checkpointing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--methods", default="dpo,kto,sft,reward")
    parser.add_argument("--sides", default="ours,trl,trl-checkpointing")
    parser.add_argument("--pairs", type=int, default=48)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--trl-path", default="", help="where trl 1.16 is, if it is not installed")
    parser.add_argument("--mmap-threshold", type=int, default=0, help="as in rl_round.py")
    parser.add_argument("--one", help="run METHOD:SIDE here and print its result as JSON")
    parser.add_argument("--folder", help="of the model, with --one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(run_one(options)))
        return
    results: dict[str, list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        converted(options.model, Path(folder))
        for _ in range(options.repeat):
            for method in options.methods.split(","):
                for side in options.sides.split(","):
                    print(f"running {method}, {side} …", file=sys.stderr)
                    results[f"{method}:{side}"].append(in_a_process(method, side, options, Path(folder)))
    print(json.dumps(results) if options.json else table(results))


if __name__ == "__main__":
    main()
