#!/usr/bin/env python3
"""Perplexity of a LLaMA folder by llama.cpp: the same weights as F32, and as Q8_0 and Q4_0 by llama.cpp's own quantiser.

    llamacpp_perplexity.py MODEL_FOLDER ROWS.json

ROWS.json is {"rows": [[ids], ...]}; every token of a row but its first is scored. Prints one JSON object. Needs
llama-cpp-python and gguf; `openledger bench perplexity` runs it on the tokens that it scores itself."""
import ctypes, json, os, struct, sys, tempfile

import gguf
import llama_cpp as lc
import numpy as np


def weights(folder):
    found = {}
    for file in sorted(f for f in os.listdir(folder) if f.endswith(".safetensors")):
        data = open(os.path.join(folder, file), "rb").read()
        length = struct.unpack("<Q", data[:8])[0]
        for name, view in json.loads(data[8:8 + length]).items():
            if name == "__metadata__":
                continue
            raw = data[8 + length + view["data_offsets"][0]:8 + length + view["data_offsets"][1]]
            if view["dtype"] == "BF16":
                values = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
            else:
                values = np.frombuffer(raw, {"F32": np.float32, "F16": np.float16}[view["dtype"]])
            found[name] = values.astype(np.float32).reshape(view["shape"])
    return found


def paired(values, heads):
    """llama.cpp's order of query and key rows."""
    return values.reshape(heads, 2, values.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(values.shape)


def write(folder, path):
    config = json.load(open(os.path.join(folder, "config.json")))
    if config["model_type"] != "llama":
        raise SystemExit("only the llama family is written as GGUF here; this is " + config["model_type"])
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default" or config.get("rope_scaling"):
        raise SystemExit("rotations that are scaled are not written as GGUF here")
    heads, shared = config["num_attention_heads"], config["num_key_value_heads"]
    head = config.get("head_dim") or config["hidden_size"] // heads
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_file_type(0)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(shared)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope.get("rope_theta") or config.get("rope_theta", 10000.0))
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    names = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }
    found = weights(folder)
    writer.add_tensor("token_embd.weight", found["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", found["model.norm.weight"])
    if not config.get("tie_word_embeddings"):
        writer.add_tensor("output.weight", found["lm_head.weight"])
    for layer in range(config["num_hidden_layers"]):
        for ours, theirs in names.items():
            values = found["model.layers.%d.%s.weight" % (layer, ours)]
            if theirs in ("attn_q", "attn_k"):
                values = paired(values, heads if theirs == "attn_q" else shared)
            writer.add_tensor("blk.%d.%s.weight" % (layer, theirs), np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def perplexity(path, rows):
    settings = lc.llama_model_default_params()
    settings.n_gpu_layers = 0
    model = lc.llama_model_load_from_file(path.encode(), settings)
    longest = max(len(row) for row in rows)
    wanted = lc.llama_context_default_params()
    wanted.n_ctx = wanted.n_batch = wanted.n_ubatch = longest
    wanted.n_threads = wanted.n_threads_batch = 1
    wanted.type_k = wanted.type_v = 0
    context = lc.llama_init_from_model(model, wanted)
    batch = lc.llama_batch_init(longest, 0, 1)
    vocabulary = lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(model))
    total, count = 0.0, 0
    for row in rows:
        lc.llama_memory_clear(lc.llama_get_memory(context), True)
        batch.n_tokens = len(row)
        for index, token in enumerate(row):
            batch.token[index], batch.pos[index] = token, index
            batch.n_seq_id[index], batch.seq_id[index][0], batch.logits[index] = 1, 0, 1
        if lc.llama_decode(context, batch) != 0:
            raise SystemExit("llama.cpp does not decode")
        for index, token in enumerate(row[1:]):
            logits = np.ctypeslib.as_array(lc.llama_get_logits_ith(context, index), (vocabulary,)).astype(np.float64)
            top = logits.max()
            total -= logits[token] - top - np.log(np.exp(logits - top).sum())
            count += 1
    lc.llama_free(context)
    lc.llama_model_free(model)
    return float(np.exp(total / count))


def main():
    folder, rows = sys.argv[1], json.load(open(sys.argv[2]))["rows"]
    quiet = lc.llama_log_callback(lambda level, text, data: None)
    lc.llama_log_set(quiet, ctypes.c_void_p(0))
    lc.llama_backend_init()
    with tempfile.TemporaryDirectory() as place:
        plain = os.path.join(place, "f32.gguf")
        write(folder, plain)
        answer = {"name": "llama.cpp", "f32": perplexity(plain, rows)}
        for name, kind in (("q8_0", lc.LLAMA_FTYPE_MOSTLY_Q8_0), ("q4_0", lc.LLAMA_FTYPE_MOSTLY_Q4_0)):
            packed = os.path.join(place, name + ".gguf")
            settings = lc.llama_model_quantize_default_params()
            settings.nthread, settings.ftype = 1, kind
            if lc.llama_model_quantize(plain.encode(), packed.encode(), ctypes.byref(settings)) != 0:
                raise SystemExit("llama.cpp does not quantise")
            answer[name] = perplexity(packed, rows)
    print(json.dumps(answer))


main()
