"""The unmodified `openai` client against a peer.

    python openai_client.py http://127.0.0.1:8547 [--model starter] [--datanet food] [--token FILE]

Works against a real peer and against the fake one of Tests/GatewayTests (ServeFakeNode). Needs `pip install openai`.
Prints one line a check; exits 1 if any failed.
"""

import argparse
import sys

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

    refuses("tools are refused by name", 400, "tools", lambda: client.chat.completions.create(
        model=arguments.model, messages=messages, tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}]))
    refuses("a wrong temperature is refused by name", 400, "temperature", lambda: client.chat.completions.create(
        model=arguments.model, messages=messages, temperature=9))
    refuses("an unknown model is refused by name", 404, "model", lambda: client.chat.completions.create(
        model="no-such-model", messages=messages))

    print(f"{failures} failed" if failures else "all hold")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
