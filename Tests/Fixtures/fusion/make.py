#!/usr/bin/env python3
"""Makes this folder: adapters of ../models/llama3 and what PEFT computes when it fuses them.

    pip install torch==2.13.0 peft==0.21.2 transformers==5.23.0; python make.py

DARE's mask is Protocol/fusion.md's instead of torch's; everything else is PEFT as it is.
"""
import os
import numpy as np, torch, peft
import peft.utils.merge_utils as merging
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

here = os.path.dirname(os.path.abspath(__file__))
base = os.path.join(here, "..", "models", "llama3")
PROMPT = [1, 140, 345, 395, 90, 17, 230, 9, 44, 501, 77, 3]
SLOTS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
MASK = (1 << 64) - 1


def model(): return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)


def make(name, seed, dtype, **config):
    torch.manual_seed(seed)
    wrapped = get_peft_model(model(), LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **config))
    for key, value in wrapped.named_parameters():
        if "lora_" in key: value.data = torch.randn_like(value) * (0.3 / value.shape[1] ** 0.5)
    wrapped.to(dtype).save_pretrained(os.path.join(here, name))
    readme = os.path.join(here, name, "README.md")
    if os.path.exists(readme): os.remove(readme)


# f32: of equal magnitudes torch.topk keeps any, and 16-bit factors have many.
make("c", 3, torch.float32, r=4, lora_alpha=6, target_modules=SLOTS[:5])
make("d", 4, torch.float16, r=5, lora_alpha=10, use_rslora=True, target_modules=SLOTS,
     rank_pattern={"q_proj": 1, "layers.1.mlp.down_proj": 256, "v_proj": 37},
     alpha_pattern={"layers.0.self_attn.q_proj": 3, "gate_proj": 40})


def mix(z):
    z = (z + 0x9e3779b97f4a7c15) & MASK
    z = ((z ^ (z >> 30)) * 0xbf58476d1ce4e5b9) & MASK
    z = ((z ^ (z >> 27)) * 0x94d049bb133111eb) & MASK
    return z ^ (z >> 31)


class Chance:
    """Protocol/fusion.md: the calls of random_pruning come part by part, A before B, module by module."""
    def __init__(self, seed, modules, parts):
        self.queue = [mix(mix(mix(seed) ^ part) ^ (layer << 32 | slot << 1 | side))
                      for layer, slot in modules for side in (0, 1) for part in parts(layer, slot)]

    def prune(self, tensor, density, rescale):
        stream = self.queue.pop(0)
        keep = [(mix(stream ^ i) >> 11) * 2.0 ** -53 < density for i in range(tensor.numel())]
        kept = tensor * torch.tensor(keep, dtype=tensor.dtype).reshape(tensor.shape)
        return kept / density if rescale else kept


def fused(parts, weights, seed=0, **options):
    names = [p for p in parts]
    paths = {"a": os.path.join(base, "adapter_a"), "b": os.path.join(base, "adapter_b"),
             "c": os.path.join(here, "c"), "d": os.path.join(here, "d")}
    wrapped = PeftModel.from_pretrained(model(), paths[names[0]], adapter_name=names[0])
    for name in names[1:]: wrapped.load_adapter(paths[name], adapter_name=name)
    order = [key for key, module in wrapped.base_model.model.named_modules() if hasattr(module, "lora_A")]
    places = [(int(key.split(".")[2]), SLOTS.index(key.split(".")[-1])) for key in order]
    held = {place: [i for i, name in enumerate(names) if name in dict(wrapped.named_modules())["base_model.model." + key].lora_A]
            for place, key in zip(places, order)}
    chance = Chance(seed, places, lambda layer, slot: held[(layer, slot)])
    merging.random_pruning = chance.prune
    wrapped.add_weighted_adapter(names, weights, "fused", **options)
    if options["combination_type"].startswith("dare"): assert not chance.queue, "the calls come in another order"
    wrapped.set_adapter("fused")
    wrapped.eval()
    with torch.no_grad(): return wrapped, wrapped(torch.tensor([PROMPT])).logits[0]


out = {}
single = PeftModel.from_pretrained(model(), os.path.join(here, "d")).eval()
with torch.no_grad(): out["logits.d"] = single(torch.tensor([PROMPT])).logits[0][-3:].clone()
merged = single.merge_and_unload()
for key in ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"]:
    out["merged.d." + key] = merged.get_submodule(key).weight.data.clone()
cases = {
    "linear": (["a", "b"], [0.7, -0.4], 0, dict(combination_type="cat")),
    "ties": (["a", "c"], [0.8, 0.5], 0, dict(combination_type="ties", density=0.7)),
    "ties_frequency": (["c", "a"], [0.4, -0.2], 0,
                       dict(combination_type="ties", density=0.3, majority_sign_method="frequency")),
    "dare_linear": (["a", "c"], [0.6, 0.6], 11, dict(combination_type="dare_linear", density=0.4)),
    "dare_ties": (["a", "c"], [0.9, 0.3], 12, dict(combination_type="dare_ties", density=0.5)),
}
for name, (parts, weights, seed, options) in cases.items():
    wrapped, logits = fused(parts, weights, seed, **options)
    out["logits." + name] = logits[-3:].clone()
    layer = wrapped.get_submodule("base_model.model.model.layers.1.self_attn.v_proj")
    out[f"down.{name}"] = layer.lora_A["fused"].weight.data.float().clone()
    out[f"up.{name}"] = layer.lora_B["fused"].weight.data.float().clone()
save_file(out, os.path.join(here, "reference.safetensors"))
print({k: tuple(v.shape) for k, v in out.items()})
