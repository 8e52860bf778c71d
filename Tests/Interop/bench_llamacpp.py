#!/usr/bin/env python3
"""llama.cpp's side of `openledger bench serving`, and the files that both sides measure.

  bench_llamacpp.py make FOLDER             a 430M Llama with random weights: bench-{f16,q8_0,q4_0}.gguf and eight rank-16
                                            adapters, peft-0 … peft-7 (PEFT) and lora-0.gguf … lora-7.gguf
  bench_llamacpp.py measure MODEL THREADS   one round, as one JSON object; lora-*.gguf beside the model are its adapters

A round: 512 tokens of prompt, then 32 tokens one at a time; eight sequences of 64 tokens, then 16 steps of all; with adapters
the last two again, each sequence with its own (llama.cpp takes one adapter a batch, so a step is eight batches).
"""
import ctypes, glob, json, os, resource, sys, time

HIDDEN, LAYERS, HEADS, KV_HEADS, FEED_FORWARD, VOCABULARY, RANK = 1024, 24, 16, 4, 4096, 32000, 16
PREFILL, DECODE, SEQUENCES, PROMPT, STEPS = 512, 32, 8, 64, 16
SHAPES = {
    "attn_q": (HIDDEN, HIDDEN), "attn_k": (KV_HEADS * 64, HIDDEN), "attn_v": (KV_HEADS * 64, HIDDEN),
    "attn_output": (HIDDEN, HIDDEN), "ffn_gate": (FEED_FORWARD, HIDDEN), "ffn_up": (FEED_FORWARD, HIDDEN),
    "ffn_down": (HIDDEN, FEED_FORWARD),
}
NAMES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}


def make(folder):
    import gguf, llama_cpp as lc, numpy as np
    from safetensors.numpy import save_file

    os.makedirs(folder, exist_ok=True)
    rng = np.random.default_rng(1)

    def random(*shape):
        return (rng.standard_normal(shape, dtype=np.float32) * 0.02).astype(np.float16)

    path = f"{folder}/bench-f16.gguf"
    out = gguf.GGUFWriter(path, "llama")
    out.add_name("bench-430m")
    out.add_context_length(8192)
    out.add_embedding_length(HIDDEN)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(FEED_FORWARD)
    out.add_head_count(HEADS)
    out.add_head_count_kv(KV_HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(64)
    out.add_rope_freq_base(10000.0)
    out.add_vocab_size(VOCABULARY)
    out.add_file_type(1)
    out.add_tokenizer_model("llama")
    tokens = [b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % i for i in range(256)]
    tokens += [b"t%d" % i for i in range(VOCABULARY - len(tokens))]
    out.add_token_list(tokens)
    out.add_token_scores([0.0] * 259 + [-float(i) for i in range(VOCABULARY - 259)])
    out.add_token_types([2, 3, 3] + [6] * 256 + [1] * (VOCABULARY - 259))
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_tensor("token_embd.weight", random(VOCABULARY, HIDDEN))
    out.add_tensor("output.weight", random(VOCABULARY, HIDDEN))
    out.add_tensor("output_norm.weight", np.ones(HIDDEN, np.float32))
    for layer in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            out.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(HIDDEN, np.float32))
        for name, shape in SHAPES.items():
            out.add_tensor(f"blk.{layer}.{name}.weight", random(*shape))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    lc.llama_backend_init()
    for name, kind in (("q8_0", lc.LLAMA_FTYPE_MOSTLY_Q8_0), ("q4_0", lc.LLAMA_FTYPE_MOSTLY_Q4_0)):
        plan = lc.llama_model_quantize_default_params()
        plan.ftype = kind
        if lc.llama_model_quantize(path.encode(), f"{folder}/bench-{name}.gguf".encode(), ctypes.byref(plan)):
            sys.exit(f"bench_llamacpp: {name} could not be made")
    for index in range(8):
        lora = gguf.GGUFWriter(f"{folder}/lora-{index}.gguf", "llama")
        lora.add_type("adapter")
        lora.add_string("adapter.type", "lora")
        lora.add_float32("adapter.lora.alpha", 2.0 * RANK)
        tensors = {}
        for layer in range(LAYERS):
            for name, (rows, columns) in SHAPES.items():
                down, up = random(RANK, columns), random(rows, RANK)
                lora.add_tensor(f"blk.{layer}.{name}.weight.lora_a", down)
                lora.add_tensor(f"blk.{layer}.{name}.weight.lora_b", up)
                stem = f"base_model.model.model.layers.{layer}.{NAMES[name]}"
                tensors[f"{stem}.lora_A.weight"] = down
                tensors[f"{stem}.lora_B.weight"] = up
        lora.write_header_to_file()
        lora.write_kv_data_to_file()
        lora.write_tensors_to_file()
        lora.close()
        peft = f"{folder}/peft-{index}"
        os.makedirs(peft, exist_ok=True)
        save_file(tensors, f"{peft}/adapter_model.safetensors")
        config = dict(
            peft_type="LORA", task_type="CAUSAL_LM", r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, bias="none",
            target_modules=[name.split(".")[1] for name in NAMES.values()], base_model_name_or_path="bench-430m")
        with open(f"{peft}/adapter_config.json", "w") as file:
            json.dump(config, file)


def measure(path, threads):
    import llama_cpp as lc

    lc.llama_backend_init()
    quiet = lc.llama_log_callback(lambda level, text, data: None)
    lc.llama_log_set(quiet, ctypes.c_void_p(0))
    plan = lc.llama_model_default_params()
    plan.n_gpu_layers = 0
    began = time.perf_counter()
    model = lc.llama_model_load_from_file(path.encode(), plan)
    if not model:
        sys.exit(f"bench_llamacpp: {path} could not be read")
    load = time.perf_counter() - began
    vocabulary = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model))
    result = dict(name="llama.cpp", threads=threads, load_ms=round(load * 1000, 1))

    def context(tokens, sequences):
        c = lc.llama_context_default_params()
        c.n_ctx, c.n_batch, c.n_ubatch, c.n_seq_max = tokens, 2048, 512, sequences
        c.n_threads = c.n_threads_batch = threads
        c.no_perf = True
        made = lc.llama_init_from_model(model, c)
        assert made
        return made

    batch = lc.llama_batch_init(2048, 0, 1)

    def token(position, sequence=0):
        return (300 + 37 * position + 101 * sequence) % vocabulary

    def decode(c, rows):  # (position, sequence, whether its logits are wanted)
        batch.n_tokens = len(rows)
        for index, (position, sequence, wanted) in enumerate(rows):
            batch.token[index], batch.pos[index] = token(position, sequence), position
            batch.n_seq_id[index], batch.seq_id[index][0], batch.logits[index] = 1, sequence, wanted
        assert lc.llama_decode(c, batch) == 0
        lc.llama_synchronize(c)

    def adapt(c, adapter):
        if adapter is None:
            lc.llama_set_adapters_lora(c, None, 0, None)
        else:
            lc.llama_set_adapters_lora(c, (lc.llama_adapter_lora_p_ctypes * 1)(adapter), 1, (ctypes.c_float * 1)(1.0))

    def timed(body):
        began = time.perf_counter()
        body()
        return time.perf_counter() - began

    one = context(PREFILL + DECODE + 64, 1)
    decode(one, [(0, 0, 1)])

    def clear(c):
        lc.llama_memory_clear(lc.llama_get_memory(c), True)

    def single(suffix):
        clear(one)
        seconds = timed(lambda: decode(one, [(p, 0, p == PREFILL - 1) for p in range(PREFILL)]))
        if not suffix:
            result["prefill_tokens_per_second"] = PREFILL / seconds
        seconds = timed(lambda: [decode(one, [(PREFILL + i, 0, 1)]) for i in range(DECODE)])
        result[f"decode{suffix}_tokens_per_second"] = DECODE / seconds

    many = context(SEQUENCES * 256, SEQUENCES)

    def together(suffix, adapters, steps):
        clear(many)
        for sequence in range(SEQUENCES):
            if adapters:
                adapt(many, adapters[sequence % len(adapters)])
            decode(many, [(p, sequence, p == PROMPT - 1) for p in range(PROMPT)])

        def step(index):
            if not adapters:
                return decode(many, [(PROMPT + index, sequence, 1) for sequence in range(SEQUENCES)])
            for sequence in range(SEQUENCES):
                adapt(many, adapters[sequence % len(adapters)])
                decode(many, [(PROMPT + index, sequence, 1)])

        seconds = timed(lambda: [step(index) for index in range(steps)])
        result[f"sequences_8{suffix}_tokens_per_second"] = SEQUENCES * steps / seconds

    single("")
    together("", None, STEPS)
    paths = sorted(glob.glob(os.path.join(os.path.dirname(os.path.abspath(path)), "lora-*.gguf")))
    if paths:
        adapters = [lc.llama_adapter_lora_init(model, p.encode()) for p in paths]
        assert all(adapters)
        adapt(one, adapters[0])
        single("_lora")
        together("_8_loras", adapters, STEPS // 4)
    result["resident_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in result.items()}))


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "make":
        make(sys.argv[2])
    elif len(sys.argv) == 4 and sys.argv[1] == "measure" and sys.argv[3].isdigit():
        measure(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(__doc__)
