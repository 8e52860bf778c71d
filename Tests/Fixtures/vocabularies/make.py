# Makes the GGUF vocabularies of this folder from Tests/Fixtures/tokenizers with gguf-py, and asks llama.cpp what ids it makes
# of the tokenizers' test strings. Needs llama-cpp-python and gguf (0.3.36 and 0.19 made what lies here).
#     python make.py
import json, os, sys
import gguf, llama_cpp

here = os.path.dirname(os.path.abspath(__file__))
tokenizers = os.path.join(here, "..", "tokenizers")
# The rule that each is written with, and the other rules that are tried on it: none of them depends on the tokens.
RULES = {
    "llama3": ("llama-bpe", ["llama3", "gpt-2", "smollm", "deepseek-llm", "deepseek-coder", "qwen35"]),
    "qwen2": ("qwen2", ["deepseek-r1-qwen"]),
    "deepseek": ("deepseek-v3", []),
    "glm4": ("chatglm-bpe", ["glm4", "tekken"]),
}

def pieces(json_):
    model = json_["model"]
    ids = dict(model["vocab"])
    added = {}
    for token in json_["added_tokens"]:
        ids[token["content"]] = token["id"]
        added[token["id"]] = token
    texts = {id: text for text, id in ids.items()}
    count = max(texts) + 1
    merges = [m if isinstance(m, str) else " ".join(m) for m in model.get("merges", [])]
    return [texts.get(id, "[PAD%d]" % id) for id in range(count)], added, merges

def write(name, path, rule):
    json_ = json.load(open(os.path.join(tokenizers, name, "tokenizer.json")))
    settings = json.load(open(os.path.join(tokenizers, name, "tokenizer_config.json")))
    texts, added, merges = pieces(json_)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(128); writer.add_embedding_length(32); writer.add_block_count(1)
    writer.add_feed_forward_length(32); writer.add_head_count(1); writer.add_layer_norm_rms_eps(1e-5)
    kind = gguf.TokenType
    def type_of(id):
        if id in added: return kind.CONTROL if added[id]["special"] else kind.USER_DEFINED
        text = texts[id]
        if rule is None and len(text) == 6 and text.startswith("<0x"): return kind.BYTE
        return kind.UNUSED if text.startswith("[PAD") else kind.NORMAL
    types = [type_of(id) for id in range(len(texts))]
    if rule is None:
        # As sentencepiece writes them: a token's score is the rank of its merge, below those before it.
        scores = [0.0] * len(texts)
        place = {"".join(m.split(" ")): -float(rank) for rank, m in reversed(list(enumerate(merges)))}
        for id, text in enumerate(texts):
            if types[id] in (kind.NORMAL, kind.USER_DEFINED): scores[id] = place.get(text, -float(len(merges)))
        if json_["model"].get("unk_token"):
            unknown = texts.index(json_["model"]["unk_token"])
            types[unknown] = kind.UNKNOWN
            writer.add_unk_token_id(unknown)
        writer.add_tokenizer_model("llama")
        writer.add_token_list(texts); writer.add_token_scores(scores)
        writer.add_add_space_prefix(name != "gemma")
    else:
        writer.add_tokenizer_model("gpt2"); writer.add_tokenizer_pre(rule)
        writer.add_token_list(texts); writer.add_token_merges(merges)
    writer.add_token_types(types)
    text = lambda key: (settings.get(key) or {}).get("content") if isinstance(settings.get(key), dict) else settings.get(key)
    if text("bos_token") in texts: writer.add_bos_token_id(texts.index(text("bos_token")))
    if text("eos_token") in texts: writer.add_eos_token_id(texts.index(text("eos_token")))
    writer.add_add_bos_token("TemplateProcessing" in json.dumps(json_["post_processor"]) and text("bos_token") is not None)
    template = settings.get("chat_template")
    if isinstance(template, list): template = next(t["template"] for t in template if t["name"] == "default")
    if template: writer.add_chat_template(template)
    writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file(); writer.close()

def ids(path, strings):
    vocabulary = llama_cpp.Llama(path, vocab_only=True, verbose=False)
    return [[int(id) for id in vocabulary.tokenize(s.encode(), add_bos=False, special=True)] for s in strings]

for name in sorted(os.listdir(tokenizers)):
    if not os.path.isdir(os.path.join(tokenizers, name)): continue
    cases = json.load(open(os.path.join(tokenizers, name, "expected.json")))["cases"]
    strings = [case["text"] for case in cases]
    rule, others = RULES.get(name, (None, []))
    path = os.path.join(here, name + ".gguf")
    found = {}
    for other in others:
        write(name, path, other)
        found[other] = ids(path, strings)
    write(name, path, rule)
    found[rule or "llama"] = ids(path, strings)
    differ = [i for i, case in enumerate(cases) if case["ids_nospecial"] != found[rule or "llama"][i]]
    print(name, rule, len(strings), "strings,", len(differ), "of them other ids than `tokenizers`", file=sys.stderr)
    for i in differ[:6]: print("   ", repr(strings[i]), cases[i]["ids_nospecial"], found[rule or "llama"][i], file=sys.stderr)
    with open(os.path.join(here, name + ".json"), "w") as out: json.dump(found, out, separators=(",", ":"))
