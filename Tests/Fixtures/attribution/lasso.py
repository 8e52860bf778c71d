#!/usr/bin/env python3
"""Writes lasso.json: what scikit-learn's Lasso finds where PassageEffect.lasso is asked. Needs numpy and scikit-learn."""
import json
import pathlib
import random

import numpy
from sklearn.linear_model import Lasso

cases = []
chance = random.Random(5)
for number in range(24):
    passages = [6, 7, 9, 12, 16, 20, 24, 32][number % 8]
    sets = [chance.getrandbits(passages) for _ in range(32)]
    if number == 7:
        sets = [set | 1 for set in sets]  # a passage that is always kept
    kept = numpy.array([[set >> i & 1 for i in range(passages)] for set in sets], dtype=float)
    true = numpy.array([chance.choice([0, 0, 0, chance.randint(-300_000, 900_000)]) for _ in range(passages)])
    values = [int(v) - 1_500_000 + chance.randint(-40_000, 40_000) for v in kept @ true]
    penalty = [1_600, 8_000, 40_000, 163][number // 2 % 4]
    model = Lasso(alpha=penalty, tol=1e-14, max_iter=2_000_000).fit(kept, numpy.array(values, dtype=float))
    cases.append(dict(passages=passages, sets=sets, values=values, penalty=penalty, weights=[float(w) for w in model.coef_]))
pathlib.Path(__file__).with_name("lasso.json").write_text(json.dumps(cases) + "\n")
