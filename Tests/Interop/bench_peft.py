#!/usr/bin/env python3
"""PEFT's side of `openledger bench training`: LoRA of rank 8 on every linear layer, PyTorch on the CPU.

  bench_peft.py THREADS BATCH TOKENS STEPS HIDDEN LAYERS HEADS KV_HEADS FEED_FORWARD VOCABULARY TIED

A Llama of those sizes in float32 with random weights (they change no step's time), rows of TOKENS tokens that are all
scored, AdamW. Prints one JSON object: the median step's tokens a second, and the resident bytes at most, and before the
model was made.
"""
import json, resource, sys, time

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


threads, batch, tokens, steps, hidden, layers, heads, kv_heads, width, vocabulary, tied = map(int, sys.argv[1:])
torch.set_num_threads(threads)
torch.manual_seed(1)
before = peak()
model = get_peft_model(
    LlamaForCausalLM(LlamaConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=kv_heads,
        intermediate_size=width, vocab_size=vocabulary, tie_word_embeddings=bool(tied), max_position_embeddings=8192)),
    LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, task_type="CAUSAL_LM", target_modules=[
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.0)
times = []
for step in range(steps + 1):
    ids = torch.randint(0, vocabulary, (batch, tokens))
    start = time.perf_counter()
    loss = model(input_ids=ids, labels=ids).loss
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    times.append(time.perf_counter() - start)
times = sorted(times[1:])  # the first one allocates
print(json.dumps({
    "name": "PEFT, PyTorch " + torch.__version__, "tokens_per_second": batch * tokens / times[len(times) // 2],
    "resident_bytes_most": peak(), "resident_bytes_before": before}))
