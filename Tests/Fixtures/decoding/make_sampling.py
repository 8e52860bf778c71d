"""Reference distributions for the sampler: the logits processors of Hugging Face transformers, in its order.

    python make_sampling.py > sampling.json      (made with transformers 5.23.0, torch 2.13.0)

Presence and frequency penalties are not in transformers; they follow the formula in OpenAI's API reference.
"""
import json
import random

import torch
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)


def distribution(case):
    scores = torch.tensor([case["logits"]], dtype=torch.float32)
    ids = torch.tensor([case["prompt"] + case["answer"]], dtype=torch.long)
    if case["bias"]:
        bias = [[[token], value] for token, value in case["bias"]]
        scores = SequenceBiasLogitsProcessor(bias)(ids, scores)
    if case["repetition_penalty"] != 1:
        scores = RepetitionPenaltyLogitsProcessor(case["repetition_penalty"])(ids, scores)
    for token in set(case["answer"]):
        count = case["answer"].count(token)
        scores[0, token] -= count * case["frequency_penalty"] + case["presence_penalty"]
    scores = TemperatureLogitsWarper(case["temperature"])(ids, scores)
    if case["top_k"]:
        scores = TopKLogitsWarper(case["top_k"])(ids, scores)
    if case["top_p"] < 1:
        scores = TopPLogitsWarper(case["top_p"])(ids, scores)
    if case["min_p"] > 0:
        scores = MinPLogitsWarper(case["min_p"])(ids, scores)
    p = torch.softmax(scores.double(), dim=-1)[0]
    return [[i, float(p[i])] for i in range(len(p)) if p[i] > 0]


random.seed(20250)
cases = []
for index in range(72):
    vocabulary = random.choice([8, 48, 200])
    pick = lambda *options: random.choice(options)
    f32 = lambda x: float(torch.tensor(x, dtype=torch.float32))
    case = {
        "logits": [f32(round(random.gauss(0, pick(1.0, 3.0)), 4)) for _ in range(vocabulary)],
        "prompt": [random.randrange(vocabulary) for _ in range(12)],
        "answer": [random.randrange(vocabulary) for _ in range(random.randrange(10))],
        "temperature": pick(0.3, 0.7, 1.0, 1.5, 5.0),
        "top_k": pick(0, 0, 1, 5, 40),
        "top_p": pick(1.0, 1.0, 0.95, 0.6, 0.1),
        "min_p": pick(0.0, 0.0, 0.05, 0.3),
        "repetition_penalty": pick(1.0, 1.0, 1.2, 0.8),
        "frequency_penalty": pick(0.0, 0.5, -0.4),
        "presence_penalty": pick(0.0, 0.6, -0.3),
        "bias": [[t, pick(-100.0, 5.0, 1.5)] for t in random.sample(range(vocabulary), pick(0, 0, 3))],
    }
    case["top_k"] = min(case["top_k"], vocabulary)
    case["probabilities"] = distribution(case)
    cases.append(case)
print(json.dumps(cases))
