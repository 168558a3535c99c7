#!/usr/bin/env bash
# Run every benchmark, one after another, and append a line of JSON for each to a dated log.
#
#     benchmarks/run_all.sh [--smallest] [--log FILE] [--only NAME]
#
# PYTHON is the interpreter (python by default), THREADS what each may use (2). --smallest runs each at a size
# that only shows that it works. A line has date, commit, machine, command, seconds, exit code, and what the
# benchmark printed: its JSON where it ends in some, else its last lines. The exit code is 1 if one failed.
# Real books and statements are no part of the repository: with BOOKS=FOLDER `books.py` reads them, with
# STANCES=FOLDER `judges.py`, by the LM of MODEL, by which `controls_real.py` goes too; else each shows its help.
set -uo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python} threads=${THREADS:-2}
smallest=0 log=benchmarks/results/log.jsonl only=""
while (($#)); do
  case $1 in
    --smallest) smallest=1 ;;
    --log) log=$2; shift ;;
    --only) only=$2; shift ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift
done
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

# bench NAME ARGUMENTS… : what only --smallest has stands behind `--`, and wins, because it comes last.
bench() {
  local name=$1 small=0 arguments=() started ended code
  shift
  [[ -z $only || $only == "$name" ]] || return 0
  for word in "$@"; do
    if [[ $word == -- ]]; then small=1
    elif ((!small || smallest)); then arguments+=("$word")
    fi
  done
  printf '== %s %s\n' "$name" "${arguments[*]}" >&2
  started=$(date +%s)
  "$python" "benchmarks/$name.py" "${arguments[@]}" >"$scratch/out" 2>"$scratch/err"
  code=$?
  ended=$(date +%s)
  if ((code)); then
    failed=1
    tail -n 20 "$scratch/err" >&2
  fi
  "$python" - "$name" "$code" "$((ended - started))" "$scratch" "${arguments[@]}" >>"$log" <<'PYTHON'
import datetime, json, os, pathlib, platform, subprocess, sys

name, code, seconds, scratch, *arguments = sys.argv[1:]
folder = pathlib.Path(scratch)


def found():
    """The rows that it wrote, the JSON that it printed or ended in, or else its last lines."""
    if (rows := folder / f"{name}.jsonl").exists():
        return [json.loads(line) for line in rows.read_text("utf-8").splitlines()]
    text = (folder / "out").read_text("utf-8")
    for part in (text, text.rstrip().rpartition("\n")[2]):
        try:
            return json.loads(part)
        except ValueError:
            pass
    return text.splitlines()[-40:]


def asked(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


cpu = [line for line in asked("lscpu").splitlines() if line.startswith("Model name")]
print(
    json.dumps(
        {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "commit": asked("git", "describe", "--always", "--dirty"),
            "machine": [cpu[0].partition(":")[2].strip() if cpu else platform.processor(), os.cpu_count()],
            "python": platform.python_version(),
            "benchmark": name,
            "arguments": [word for word in arguments if not word.startswith(scratch)],
            "seconds": int(seconds),
            "exit": int(code),
            "found": found(),
        },
        ensure_ascii=False,
    )
)
PYTHON
}

bench velma --json --threads "$threads" -- --texts 4 --rounds 1
bench logits --json --threads "$threads" -- --tokens 2 --rounds 1
bench activations --json --threads "$threads" -- --tokens 2 --rounds 1
bench trie --json --threads "$threads" -- --titles 2000 --tokens 4 --repeat 1
bench quotes --json -- --samples 6 --size 20000
bench rl_round --json --threads "$threads" --sides ours,velma,three,three-full -- --rounds 2 --sides ours
bench learning --json --threads "$threads" --model "${MODEL:-tiny}" --sides ours -- --pairs 8 --batch 4 --passes 1
bench stitching --json --threads "$threads" -- --documents 40
bench pointing_cost -- --documents 300
bench detective --out "$scratch/detective.jsonl" --corpora 1 --seeds 4 -- --cell 60 --seeds 1 --texts 8
bench topics --out "$scratch/topics.jsonl" --threads "$threads" --part 0/28 -- --table
if [[ -n ${MODEL:-} ]]; then
  bench controls_real --out "$scratch/controls_real.jsonl" --model "$MODEL" -- --n 4 --tokens 4 --only tea/plain/boost
else
  bench controls_real --help
fi
if [[ -n ${BOOKS:-} ]]; then
  bench books --books "$BOOKS" --out "$scratch/books.jsonl" -- --passages 4
else
  bench books --help
fi
if [[ -n ${STANCES:-} ]]; then
  bench judges --data "$STANCES" --model "${MODEL:-tiny}" --json --threads "$threads" -- --n 2 --judges velma
else
  bench judges --help
fi
exit "$failed"
