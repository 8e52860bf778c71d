"""The unmodified `openai` client against a peer.

    python openai_client.py http://127.0.0.1:8547 [--model starter] [--datanet food] [--token FILE]

Wants a peer with the starter model on this machine. Needs `pip install openai`. Prints one line a check; exits 1 if any failed.
"""

import argparse
import json
import pathlib
import shutil
import sys
import tempfile
import time

import httpx
import openai

failures = 0


def check(name, holds, detail=""):
    global failures
    failures += 0 if holds else 1
    print(f"{'ok  ' if holds else 'FAIL'} {name}{'' if holds else ': ' + str(detail)}")


def refuses(name, status, param, call):
    try:
        call()
        check(name, False, "it was accepted")
    except openai.APIStatusError as error:
        check(name, error.status_code == status and error.param == param, f"{error.status_code} {error.param} {error}")


def sampling(client, arguments, messages):
    """What says how tokens are chosen is honoured."""
    def ask(**options):
        return client.chat.completions.create(model=arguments.model, messages=messages, **options)

    plain = ask(max_tokens=8, temperature=0)
    ids = plain.choices[0].token_ids
    check("token ids come with a choice", len(ids) == plain.usage.completion_tokens, plain)
    banned = ask(max_tokens=8, temperature=0, logit_bias={str(ids[0]): -100})
    check("a bias of -100 bans a token", ids[0] not in banned.choices[0].token_ids, banned)
    forced = ask(max_tokens=3, temperature=0, logit_bias={str(ids[0]): 100})
    check("a bias of 100 forces it", forced.choices[0].token_ids == [ids[0]] * 3, forced)
    seeded = [ask(max_tokens=12, temperature=1.5, seed=5).choices[0].message.content for _ in range(2)]
    check("a seed repeats an answer", seeded[0] == seeded[1], seeded)
    choices = ask(max_tokens=12, temperature=1.5, seed=5, n=4).choices
    check("choices differ from one another", len({c.message.content for c in choices}) > 1, choices)
    check("the first of several is the one alone", choices[0].message.content == seeded[0], choices)
    penalised = ask(max_tokens=48, temperature=0, presence_penalty=2, frequency_penalty=2,
                    extra_body={"ignore_eos": True, "repetition_penalty": 2}).choices[0].token_ids
    bare = ask(max_tokens=48, temperature=0, extra_body={"ignore_eos": True}).choices[0].token_ids
    check("ignore_eos goes on", len(bare) == len(penalised) == 48, (len(bare), len(penalised)))
    check("penalties make a text repeat itself less", len(set(penalised)) > len(set(bare)), (bare, penalised))
    one = ask(max_tokens=8, temperature=2, seed=3, extra_body={"min_p": 1}).choices[0].token_ids
    check("min_p of 1 leaves the likeliest", one == ids[:8], (one, ids))
    text = plain.choices[0].message.content
    word = text.split()[1]
    stopped = ask(max_tokens=24, temperature=0, stop=[word]).choices[0]
    check("a stop text ends the answer before it", stopped.finish_reason == "stop"
          and stopped.message.content == text[:text.index(word)], stopped)
    several = client.completions.create(model=arguments.model, prompt=["Define", "A cut"], max_tokens=2, temperature=0, n=2)
    check("prompts times n are the choices", [c.index for c in several.choices] == [0, 1, 2, 3], several)


def adapters(client, arguments, messages):
    """One adapter by both of its names, and two as one."""
    cards = [card for card in client.models.list().data if (card.model_extra or {}).get("parent") == arguments.model]
    if not cards:
        return
    def ask(model, **extra):
        return client.chat.completions.create(
            model=model, messages=messages, max_tokens=16, temperature=0, extra_body=extra).choices[0].message.content

    name = cards[0].id.split(":")[1]
    check("adapter_id is base:adapter", ask(arguments.model, adapter_id=name) == ask(cards[0].id))
    alone = ask(arguments.model, merged_adapters={"ids": [name], "weights": [1.0]})
    check("a fusion of one is that one", alone == ask(cards[0].id), alone)
    if len(cards) > 1:
        names = [card.id.split(":")[1] for card in cards[:2]]
        for strategy in ("linear", "ties", "dare_linear", "dare_ties"):
            fused = client.chat.completions.create(
                model=arguments.model, messages=messages, max_tokens=8, temperature=0, seed=1, extra_body={
                    "merged_adapters": {"ids": names, "weights": [0.5, 0.5], "merge_strategy": strategy, "density": 0.5}})
            check(f"two adapters fused by {strategy} answer", fused.usage.completion_tokens > 0, fused)
    refuses("an unknown adapter of a fusion is refused by name", 404, "merged_adapters.ids[0]",
            lambda: client.chat.completions.create(
                model=arguments.model, messages=messages, extra_body={"merged_adapters": {"ids": ["no-such-adapter"]}}))


def forms(client, arguments):
    """Answers that must be JSON are."""
    messages = [{"role": "user", "content": "Describe a brisket."}]
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "count": {"enum": [1, 2]}},
              "required": ["name", "count"], "additionalProperties": False}
    answer = client.chat.completions.create(
        model=arguments.model, messages=messages, max_tokens=128, temperature=1, seed=2,
        response_format={"type": "json_schema", "json_schema": {"name": "thing", "schema": schema}})
    choice = answer.choices[0]
    try:
        value = json.loads(choice.message.content)
        check("an answer keeps to its schema", set(value) == {"name", "count"} and value["count"] in (1, 2), value)
    except json.JSONDecodeError as error:
        check("an answer keeps to its schema", False, f"{choice.finish_reason} {choice.message.content!r}: {error}")
    any_object = client.chat.completions.create(
        model=arguments.model, messages=messages, max_tokens=48, temperature=1, seed=2,
        response_format={"type": "json_object"}).choices[0]
    check("json_object begins one", any_object.message.content.lstrip().startswith("{"), any_object)
    refuses("a schema that is none is refused by name", 400, "response_format", lambda: client.chat.completions.create(
        model=arguments.model, messages=messages,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no-such-type"}}}))


def once(client, arguments, messages):
    """The same request by the same name is answered once."""
    headers = {"Idempotency-Key": f"test-{time.time_ns()}"}
    answers = [client.chat.completions.create(
        model=arguments.model, messages=messages, max_tokens=8, temperature=1.5, extra_headers=headers) for _ in range(2)]
    check("an answer is told again, not made again", answers[0].id == answers[1].id, answers)


def paid(client, arguments, messages):
    """What is paid for and receipted can do what a free answer can."""
    def ask(**options):
        extra = {"datanet": arguments.datanet, **options.pop("extra_body", {})}
        return client.chat.completions.create(model=arguments.model, messages=messages, extra_body=extra, **options)

    def cost(answer):
        return sum(float(receipt["cost"]) for receipt in getattr(answer, "receipts", None) or [answer.receipt])

    single = ask(max_tokens=8, temperature=1.2, seed=5)
    several = ask(max_tokens=8, temperature=1.2, seed=5, n=3)
    check("each paid choice has its receipt", len({r["id"] for r in several.receipts}) == 3
          and several.receipt == several.receipts[-1], several.model_extra)
    check("the first paid choice is the one alone", several.choices[0].message.content == single.choices[0].message.content, several)
    check("paid choices differ", len({c.message.content for c in several.choices}) > 1, several.choices)
    check("the prompt is counted and paid for each", several.usage.prompt_tokens == 3 * single.usage.prompt_tokens
          and cost(several) > 2 * cost(single), (several.usage, cost(several), cost(single)))
    scored = ask(max_tokens=3, temperature=0, logprobs=True, top_logprobs=2).choices[0]
    content = scored.logprobs.content
    check("paid log-probabilities", [len(t.top_logprobs) for t in content] == [2] * len(content) and content[0].logprob <= 0
          and content[0].top_logprobs[0].token == content[0].token, content)
    banned = ask(max_tokens=3, temperature=0, logit_bias={str(scored.token_ids[0]): -100})
    check("a paid bias bans a token", scored.token_ids[0] not in banned.choices[0].token_ids, banned)
    schema = {"type": "object", "properties": {"count": {"enum": [1, 2]}}, "required": ["count"], "additionalProperties": False}
    formed = ask(max_tokens=64, temperature=1, seed=2, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    check("a paid answer keeps to its schema", json.loads(formed.choices[0].message.content)["count"] in (1, 2), formed)
    names = [card.id.split(":")[1] for card in client.models.list().data
             if (card.model_extra or {}).get("parent") == arguments.model and (card.model_extra or {}).get("root")]
    if len(names) > 1:
        fused = ask(max_tokens=8, temperature=0, extra_body={"merged_adapters": {
            "ids": names[:2], "weights": [0.7, -0.3], "merge_strategy": "ties", "density": 0.5}})
        receipt = httpx.get(f"{arguments.base_url.rstrip('/')}/api/v1/receipts/{fused.receipt['id']}").json()["receipt"]
        check("a receipt names a fusion, its adapters and weights", receipt["model"]["fusion"] == "ties/500000/total"
              and [a["weight"] for a in receipt["model"]["adapters"]] == [700000, -300000], receipt["model"])
    limit = ask(max_tokens=4, temperature=0, n=2, extra_body={"max_price": str(cost(single) * 4)})
    check("a price limit is for all choices", len(limit.receipts) == 2, limit)
    refuses("an echo that is paid for is refused by name", 400, "echo", lambda: client.completions.create(
        model=arguments.model, prompt="Define", max_tokens=2, echo=True, extra_body={"peer": models_peer(arguments)}))
    chunks = list(ask(max_tokens=4, temperature=0.5, n=2, stream=True))
    check("a stream of paid choices ends with its receipts", len(chunks[-1].model_extra["receipts"]) == 2, chunks[-1])


def models_peer(arguments):
    return httpx.get(arguments.base_url.rstrip("/") + "/api/v1/id").json()["peer"]


TOOLS_TEMPLATE = """{%- if tools %}<|user|>Tools: {% for tool in tools %}{{ tool.function.name }} {% endfor %}
Call one as <tool_call>{"name": ..., "arguments": ...}</tool_call>.<|end|>{%- endif %}{%- for message in messages %}
{%- if message.role == 'assistant' %}<|assistant|>{{ message.content or '' }}{%- for call in message.tool_calls or [] %}<tool_call>
{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}</tool_call>{%- endfor %}<|end|>
{%- else %}<|user|>{{ message.content }}<|end|>{%- endif %}{%- endfor %}{%- if add_generation_prompt %}<|assistant|>{%- endif %}"""


def tools(client, arguments, token):
    """Tools, where the template takes them: forced calls, and a conversation that goes on after one. The model is the starter
    one with another template."""
    base = arguments.base_url.rstrip("/")
    owner = {"Authorization": f"Bearer {token}"}
    arguments.tools_model = f"tooled-{time.time_ns()}"
    starter = pathlib.Path(__file__).resolve().parents[2] / "Bootstrap/starter/model"
    with tempfile.TemporaryDirectory() as folder:
        for file in starter.iterdir():
            shutil.copy(file, folder)
        settings = pathlib.Path(folder, "tokenizer_config.json")
        if settings.exists():
            settings.write_text(json.dumps({k: v for k, v in json.loads(settings.read_text()).items() if k != "chat_template"}))
        pathlib.Path(folder, "chat_template.jinja").write_text(TOOLS_TEMPLATE)
        lines = httpx.post(base + "/api/v1/models", headers=owner, timeout=120,
                           json={"path": folder, "name": arguments.tools_model}).text.strip().splitlines()
    check("a model with a template for tools is imported", json.loads(lines[-1])["event"] == "done", lines[-1])
    parameters = {"type": "object", "properties": {"city": {"enum": ["Rome", "Bern"]}}, "required": ["city"],
                  "additionalProperties": False}
    offered = [{"type": "function", "function": {"name": "weather", "description": "The weather of a city.", "parameters": parameters}},
               {"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}}]
    question = [{"role": "user", "content": "What is the weather in Rome?"}]
    def ask(**options):
        return client.chat.completions.create(model=arguments.tools_model, messages=options.pop("messages", question), tools=offered,
                                              max_tokens=96, temperature=0, **options)

    plain = ask().choices[0]
    check("a model may answer without a call", plain.finish_reason in ("stop", "length", "tool_calls"), plain)
    named = ask(tool_choice={"type": "function", "function": {"name": "weather"}}).choices[0]
    call = named.message.tool_calls[0]
    check("a named function is called", named.finish_reason == "tool_calls" and call.function.name == "weather"
          and json.loads(call.function.arguments)["city"] in ("Rome", "Bern") and named.message.content is None, named)
    forced = ask(tool_choice="required", parallel_tool_calls=False).choices[0]
    check("a required call is made, and one only", forced.finish_reason == "tool_calls" and len(forced.message.tool_calls) == 1, forced)
    deltas = [c.choices[0].delta.tool_calls for c in ask(tool_choice="required", parallel_tool_calls=False, stream=True)
              if c.choices and c.choices[0].delta.tool_calls]
    check("a call is streamed", len(deltas) == 1 and deltas[0][0].function.name == forced.message.tool_calls[0].function.name
          and deltas[0][0].function.arguments == forced.message.tool_calls[0].function.arguments, deltas)
    after = ask(messages=question + [named.message.model_dump(exclude_none=True),
                                     {"role": "tool", "tool_call_id": call.id, "content": "rain"}]).choices[0]
    check("a conversation goes on after a call", after.finish_reason is not None, after)
    refuses("tools with a form are refused by name", 400, "response_format", lambda: ask(response_format={"type": "json_object"}))
    refuses("an unknown function is refused by name", 400, "tool_choice.function.name",
            lambda: ask(tool_choice={"type": "function", "function": {"name": "nobody"}}))
    httpx.delete(f"{base}/api/v1/models/{arguments.tools_model}", headers=owner)


def in_memory(client, arguments, token, messages):
    """Adapters by hand, and a fusion with a name."""
    base = arguments.base_url.rstrip("/") + "/api/v1"
    owner = {"Authorization": f"Bearer {token}"}
    adapters = [a["name"] for a in httpx.get(base + "/adapters").json()["adapters"] if a["model"] == arguments.model]
    if len(adapters) < 2:
        return
    def change(name, action):
        return httpx.post(f"{base}/adapters/{name}/{action}", headers=owner, timeout=30).json()

    first = adapters[0]
    change(first, "unload")
    check("an adapter is unloaded", httpx.get(f"{base}/adapters/{first}").json()["state"] == "disk")
    before = httpx.get(f"{base}/adapters/{first}").json()
    check("and loaded", change(first, "load")["state"] == "resident")
    client.chat.completions.create(model=f"{arguments.model}:{first}", messages=messages, max_tokens=2)
    after = httpx.get(f"{base}/adapters/{first}").json()
    check("a request is counted, and that it found the adapter", after["requests"] == before["requests"] + 1
          and after["cache_hits"] == before["cache_hits"] + 1 and after["loads"] == before["loads"] + 1, (before, after))
    check("an adapter is pinned", change(first, "pin")["pinned"] and change(first, "unpin")["pinned"] is False)
    name = f"mix-{time.time_ns()}"
    merge = {"ids": adapters[:2], "weights": [0.7, -0.3], "merge_strategy": "ties", "density": 0.5}
    made = httpx.post(base + "/fusions", headers=owner, json={"name": name, "model": arguments.model, "merged_adapters": merge})
    check("a fusion is given a name", made.status_code == 201, made.text)
    def ask(model, **extra):
        return client.chat.completions.create(model=model, messages=messages, max_tokens=8, temperature=0, extra_body=extra)

    named = ask(f"{arguments.model}:{name}")
    check("a fusion is asked for by name", named.model == f"{arguments.model}:{name}"
          and named.choices[0].token_ids == ask(arguments.model, merged_adapters=merge).choices[0].token_ids, named)
    check("and is among the models", f"{arguments.model}:{name}" in [m.id for m in client.models.list().data])
    check("an adapter that is part of it stays", httpx.delete(f"{base}/adapters/{first}", headers=owner).status_code == 409)
    merged = httpx.post(f"{base}/models/{arguments.model}/merge", headers=owner, timeout=120, json={
        "name": name + "-model", "merged_adapters": {"ids": [first], "weights": [1]}}).text.strip().splitlines()
    check("an adapter is merged into a model", json.loads(merged[-1])["event"] == "done", merged[-1])
    check("a merged model answers as its adapter does", ask(name + "-model").choices[0].message.content
          == ask(f"{arguments.model}:{first}").choices[0].message.content)
    httpx.delete(f"{base}/models/{name}-model", headers=owner)
    check("a fusion's name is removed", httpx.delete(f"{base}/fusions/{name}", headers=owner).json()["removed"])
    quote = httpx.post(base + "/quote", headers=owner, json={"prompt": "Define brisket.", "model": arguments.model, "max_tokens": 8}).json()
    asked = httpx.post(base + "/ask", headers=owner, timeout=60,
                       json={"prompt": "Define brisket.", "model": arguments.model, "max_tokens": 8}).text.strip().splitlines()
    cost = next(float(json.loads(line)["receipt"]["cost"]) for line in asked if '"receipt"' in line and '"event":"receipt"' in line)
    check("an answer costs what was quoted, at most", cost <= float(quote["estimate"]) <= float(quote["cost_max"]), (quote, cost))
    check("a prompt that is quoted is counted", quote["counted"] and quote["prompt_tokens"] == json.loads(asked[-1])["usage"]["prompt_tokens"], (quote, asked[-1]))


def metric(arguments, name, labels=""):
    text = httpx.get(arguments.base_url.rstrip("/") + "/metrics").text
    lines = [line for line in text.splitlines() if line.startswith(name + labels)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines) if lines else None


def measured(arguments):
    route = '{route="/v1/chat/completions"}'
    for name in ("openledger_time_to_first_token_seconds_count", "openledger_inter_token_seconds_count",
                 "openledger_answer_tokens_total"):
        check(f"{name} is measured", (metric(arguments, name, route) or 0) > 0)
    for name in ("openledger_engine_batch_sequences_count", "openledger_engine_answer_tokens_total"):
        check(f"{name} is measured", (metric(arguments, name) or 0) > 0)
    waited = 0
    while metric(arguments, "openledger_engine_sequences") != 0 and waited < 50:
        time.sleep(0.1)
        waited += 1
    check("nothing runs for a client that left", waited < 50)


def keys(arguments, token, messages):
    """Keys of the owner's making, with their limits."""
    base = arguments.base_url.rstrip("/")
    owner = {"Authorization": f"Bearer {token}"}
    name = f"client-test-{time.time_ns()}"
    made = httpx.post(base + "/api/v1/keys", headers=owner, json={
        "name": name, "requests_per_minute": 2, "tokens_per_minute": 100_000}).json()
    client = openai.OpenAI(base_url=base + "/v1", api_key=made["key"], max_retries=0)
    def ask():
        return client.chat.completions.with_raw_response.create(
            model=arguments.model, messages=messages, max_tokens=4, temperature=0)
    first = ask()
    check("a key's limits are told", first.headers["x-ratelimit-limit-requests"] == "2"
          and first.headers["x-ratelimit-remaining-requests"] == "1", dict(first.headers))
    ask()
    try:
        ask()
        check("a rate is kept", False)
    except openai.RateLimitError as error:
        check("a rate is kept", int(error.response.headers["retry-after"]) > 0, error)
    shown = httpx.get(base + f"/api/v1/keys/{made['id']}", headers=owner).json()
    check("its use is counted", shown["requests"] == 2 and shown["tokens"] > 8, shown)
    httpx.delete(base + f"/api/v1/keys/{made['id']}", headers=owner)
    try:
        ask()
        check("a revoked key is refused", False)
    except openai.AuthenticationError as error:
        check("a revoked key is refused", error.code == "invalid_token", error)
    made = httpx.post(base + "/api/v1/keys", headers=owner, json={"name": name, "spend_limit": "0.000001"}).json()
    client = openai.OpenAI(base_url=base + "/v1", api_key=made["key"], max_retries=0)
    try:
        ask()
        check("a spend limit is kept", False)
    except openai.APIStatusError as error:
        check("a spend limit is kept", error.status_code == 402 and error.code == "spend_limit", error)
    httpx.delete(base + f"/api/v1/keys/{made['id']}", headers=owner)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("base_url")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--datanet")
    parser.add_argument("--token", help="file with the home's token, for what spends")
    arguments = parser.parse_args()
    token = open(arguments.token).read().strip() if arguments.token else "none-needed-on-loopback"
    client = openai.OpenAI(base_url=arguments.base_url.rstrip("/") + "/v1", api_key=token, max_retries=0)
    messages = [{"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Define brisket."}]}]
    extra = {"datanet": arguments.datanet} if arguments.datanet else {}

    models = client.models.list().data
    check("the model is listed", arguments.model in [model.id for model in models], models)
    check("a model is retrieved", client.models.retrieve(arguments.model).id == arguments.model)

    raw = client.chat.completions.with_raw_response.create(
        model=arguments.model, messages=messages, max_tokens=24, temperature=0, seed=7, extra_body=extra)
    answer = raw.parse()
    choice = answer.choices[0]
    check("an answer has text", bool(choice.message.content), answer)
    check("it ends for a reason", choice.finish_reason in ("stop", "length"), choice.finish_reason)
    check("its tokens are counted",
          answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
          and answer.usage.completion_tokens > 0, answer.usage)
    if arguments.datanet:
        check("the receipt is named in the header and the body",
              raw.headers.get("x-receipt-id") == answer.receipt["id"], answer.receipt)
        check("the sources sum to a million", sum(source["ppm"] for source in answer.sources) == 1_000_000, answer.sources)

    chunks = list(client.chat.completions.create(
        model=arguments.model, messages=messages, max_tokens=24, temperature=0, seed=7, stream=True,
        stream_options={"include_usage": True}, extra_body=extra))
    check("one id and one time for all chunks", len({(c.id, c.created) for c in chunks}) == 1)
    check("the role comes first", chunks[0].choices[0].delta.role == "assistant")
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    check("the stream says what the whole answer says", text == choice.message.content, (text, choice.message.content))
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    check("only the last delta has a reason", all(r is None for r in reasons[:-1]) and reasons[-1] == choice.finish_reason, reasons)
    check("usage comes last, alone", chunks[-1].choices == [] and chunks[-1].usage.total_tokens > 0
          and all(c.usage is None for c in chunks[:-1]))
    if arguments.datanet:
        closing = chunks[-2].model_extra
        check("the closing chunk has receipt and sources", closing["receipt"]["id"] and closing["sources"], closing)

    several = client.chat.completions.create(model=arguments.model, messages=messages, max_tokens=4, n=2, temperature=0.8)
    check("n gives that many choices", [c.index for c in several.choices] == [0, 1], several.choices)

    probable = client.chat.completions.create(
        model=arguments.model, messages=messages, max_tokens=3, temperature=0, logprobs=True, top_logprobs=2)
    content = probable.choices[0].logprobs.content
    check("log-probabilities come with alternatives", content and len(content[0].top_logprobs) == 2 and content[0].logprob <= 0, content)

    echoed = client.completions.create(model=arguments.model, prompt="Define", max_tokens=2, echo=True, logprobs=1, temperature=0)
    logprobs = echoed.choices[0].logprobs
    check("an echoed prompt comes first, its first log-probability null",
          echoed.choices[0].text.startswith("Define") and logprobs.token_logprobs[0] is None, echoed)

    tokens = httpx.post(arguments.base_url.rstrip("/") + "/tokenize",
                        json={"model": arguments.model, "prompt": "brisket", "add_special_tokens": False}).json()["tokens"]
    by_ids = client.completions.create(model=arguments.model, prompt=tokens, max_tokens=2, temperature=0)
    check("token ids are a prompt", by_ids.usage.completion_tokens > 0, by_ids)

    stream = client.chat.completions.create(model=arguments.model, messages=messages, max_tokens=24, stream=True)
    next(iter(stream))
    stream.close()
    check("the peer lives on after a client left", client.models.list().data is not None)

    sampling(client, arguments, messages)
    adapters(client, arguments, messages)
    forms(client, arguments)
    once(client, arguments, messages)
    measured(arguments)
    if arguments.token and arguments.datanet:
        paid(client, arguments, messages)
    if arguments.token:
        tools(client, arguments, token)
        in_memory(client, arguments, token, messages)
        keys(arguments, token, messages)

    refuses("tools are refused by name", 400, "tools", lambda: client.chat.completions.create(
        model=arguments.model, messages=messages, tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}]))
    refuses("a wrong temperature is refused by name", 400, "temperature", lambda: client.chat.completions.create(
        model=arguments.model, messages=messages, temperature=9))
    refuses("an unknown model is refused by name", 404, "model", lambda: client.chat.completions.create(
        model="no-such-model", messages=messages))

    refuses("a model without vectors is refused by name", 400, "model", lambda: client.embeddings.create(
        model=arguments.model, input="brisket"))
    refuses("a prompt beyond the context is refused by name", 400, "prompt", lambda: client.completions.create(
        model=arguments.model, prompt=[5] * 20_000, max_tokens=1))

    print(f"{failures} failed" if failures else "all hold")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
