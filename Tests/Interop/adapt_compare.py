#!/usr/bin/env python3
"""Adapters of the starter datanets: ours against PEFT's, from the same first weights, over the same rows in the same order.

  adapt_compare.py OPENLEDGER ADAPT_PY MODEL_DIR CORPUS_DIR [--datanets NAME ...] [--seeds N ...] [--steps N] [--within R]

ADAPT_PY is the reference program (../shared/starter/adapt.py) and runs as it is: what it draws (the seed, the new adapter,
the order of rows) is watched and handed to `openledger adapter train --init … --no-shuffle`, which evaluates on the same
held-out rows. Prints one JSON object for each datanet and seed, then whether each held-out loss is within R (0.01) of PEFT's
and below the base's. A peer of its own is started and ended. Needs torch, transformers, peft and tokenizers.
"""
import argparse, contextlib, io, json, pathlib, runpy, shutil, signal, subprocess, sys, tempfile, time

import peft
import torch

BATCH, RANK, RATE = 32, 8, 3e-3


class Reference:
    """One run of adapt.py: its figures, its first adapter and its order of rows."""

    def __init__(self, program, model, corpus, name, seed, steps, folder):
        self.init, self.order = folder / "init", []
        with (corpus / f"{name}.jsonl").open() as file:
            rows = sum(1 for _ in file)
        if steps * BATCH > rows:
            steps = rows // BATCH
        real_seed, real_peft, real_order = torch.manual_seed, peft.get_peft_model, torch.randperm

        def made(*arguments, **options):
            adapted = real_peft(*arguments, **options)
            adapted.save_pretrained(self.init)
            return adapted

        def ordered(count, *arguments, **options):
            drawn = real_order(count, *arguments, **options)
            if count == rows:
                self.order.extend(drawn.tolist())
            return drawn

        # adapt.py rounds the steps down from a number of passes.
        passes = (steps + 0.5) * BATCH / rows
        said, arguments = io.StringIO(), sys.argv
        torch.manual_seed, peft.get_peft_model, torch.randperm = lambda _: real_seed(seed), made, ordered
        sys.argv = [str(program), str(model), str(corpus), str(folder / "theirs"), name, "--epochs", str(passes),
                    "--rank", str(RANK), "--lr", str(RATE), "--batch", str(BATCH)]
        try:
            with contextlib.redirect_stdout(said):
                runpy.run_path(str(program), run_name="__main__")
        finally:
            torch.manual_seed, peft.get_peft_model, torch.randperm = real_seed, real_peft, real_order
            sys.argv = arguments
        self.figures = json.loads(said.getvalue().strip().splitlines()[-1])
        self.steps = self.figures["steps"]


def ours(binary, home, corpus, name, seed, reference, folder):
    with (corpus / f"{name}.jsonl").open() as file:
        lines = file.readlines()
    rows = folder / "rows.jsonl"
    rows.write_text("".join(lines[i] for i in reference.order[:reference.steps * BATCH]))
    command = [
        binary, "adapter", "train", "--home", str(home), "--json", "--model", "starter", "--name", f"{name}-{seed}",
        "--rows", str(rows), "--eval-rows", str(corpus / f"{name}.eval.jsonl"), "--init", str(reference.init),
        "--no-shuffle", "--steps", str(reference.steps), "--batch", str(BATCH), "--rank", str(RANK), "--lr", str(RATE),
        "--schedule", "cosine", "--warmup", "20", "--weight-decay", "0", "--clip", "1", "--no-publish"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"adapt_compare: openledger said {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout.strip().splitlines()[-1])


@contextlib.contextmanager
def peer(binary, home):
    process = subprocess.Popen(
        [binary, "up", "--home", str(home), "--http", "127.0.0.1:0", "--listen", "/ip4/127.0.0.1/tcp/0", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        for line in process.stdout:
            if '"ready"' in line:
                break
        else:
            sys.exit("adapt_compare: the peer did not start")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("corpus", type=pathlib.Path)
    parser.add_argument("--datanets", nargs="+", default=["food", "anatomy", "materials", "animals", "plants"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--within", type=float, default=0.01)
    options = parser.parse_args()
    top = pathlib.Path(tempfile.mkdtemp(prefix="adapt-compare-"))
    worst, failed = 0.0, 0
    try:
        with peer(options.binary, top / "home"):
            for name in options.datanets:
                for seed in options.seeds:
                    folder = top / f"{name}-{seed}"
                    folder.mkdir()
                    reference = Reference(options.program, options.model, options.corpus, name, seed, options.steps, folder)
                    start = time.monotonic()
                    own = ours(options.binary, top / "home", options.corpus, name, seed, reference, folder)
                    theirs = reference.figures
                    apart = own["eval_loss"] / theirs["adapter_loss"] - 1
                    holds = abs(apart) <= options.within and own["eval_loss"] < own["base_eval_loss"]
                    worst, failed = max(worst, abs(apart)), failed + (not holds)
                    print(json.dumps({
                        "datanet": name, "seed": seed, "steps": reference.steps, "base": round(own["base_eval_loss"], 4),
                        "peft_base": theirs["base_loss"], "ours": round(own["eval_loss"], 4),
                        "peft": theirs["adapter_loss"], "apart": round(apart, 5), "holds": holds,
                        "seconds": round(time.monotonic() - start, 1), "peft_seconds": theirs["seconds"]}), flush=True)
                    shutil.rmtree(folder)
    finally:
        shutil.rmtree(top, ignore_errors=True)
    print(json.dumps({"worst": round(worst, 5), "within": options.within, "failed": failed}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
