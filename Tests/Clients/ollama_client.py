"""The unmodified `ollama` client against a peer.

    python ollama_client.py http://127.0.0.1:8547 [--model starter] [--token FILE]

Wants a peer with the starter model. Needs `pip install ollama`. Prints one line a check; exits 1 if any failed.
"""

import argparse
import json
import sys

import httpx
import ollama

failures = 0


def check(name, holds, detail=""):
    global failures
    failures += 0 if holds else 1
    print(f"{'ok  ' if holds else 'FAIL'} {name}{'' if holds else ': ' + str(detail)}")


def refuses(name, status, word, call):
    try:
        answer = call()
        list(answer) if not isinstance(answer, (dict, ollama.GenerateResponse, ollama.ChatResponse)) else None
        check(name, False, "it was accepted")
    except ollama.ResponseError as error:
        check(name, error.status_code == status and word in error.error, f"{error.status_code} {error.error}")


def models(client, arguments):
    listed = client.list().models
    names = [model.model for model in listed]
    check("the model is listed with a tag", f"{arguments.model}:latest" in names, names)
    shown = client.show(arguments.model)
    check("it is shown", shown.details.family != "" and shown.modelinfo["general.parameter_count"] > 0, shown)
    check("its context is told", shown.modelinfo[f"{shown.details.family}.context_length"] > 0, shown.modelinfo)
    check("a model in memory is told", f"{arguments.model}:latest" in [model.model for model in client.ps().models])
    refuses("an unknown model is not shown", 404, "not found", lambda: client.show("no-such-model"))


def answers(client, arguments):
    options = {"temperature": 0, "num_predict": 16}
    messages = [{"role": "user", "content": "Define brisket."}]
    whole = client.chat(model=arguments.model, messages=messages, options=options)
    check("an answer has text", bool(whole.message.content) and whole.done, whole)
    check("it ends for a reason", whole.done_reason in ("stop", "length"), whole.done_reason)
    check("its tokens and times are counted", whole.eval_count > 0 and whole.prompt_eval_count > 0
          and whole.total_duration >= whole.eval_duration > 0, whole)
    parts = list(client.chat(model=arguments.model, messages=messages, options=options, stream=True))
    check("the stream says what the whole answer says",
          "".join(part.message.content for part in parts) == whole.message.content, parts)
    check("only the last part is done", [part.done for part in parts] == [False] * (len(parts) - 1) + [True])
    check("the last part counts", parts[-1].eval_count == whole.eval_count, parts[-1])
    tagged = client.chat(model=f"{arguments.model}:latest", messages=messages, options=options)
    check("a tag changes nothing", tagged.message.content == whole.message.content, tagged)
    asked = client.generate(model=arguments.model, prompt="Define brisket.", options=options)
    check("generate puts the prompt through the template", asked.response == whole.message.content, asked)
    raw = client.generate(model=arguments.model, prompt="Define brisket.", raw=True, options=options)
    check("raw does not", raw.prompt_eval_count < asked.prompt_eval_count, raw)
    streamed = "".join(part.response for part in client.generate(
        model=arguments.model, prompt="Define brisket.", options=options, stream=True))
    check("generate streams", streamed == asked.response, streamed)
    loaded = client.generate(model=arguments.model)
    check("an empty prompt loads the model", loaded.done and loaded.done_reason == "load", loaded)
    seeded = [client.generate(model=arguments.model, prompt="Define", options={"temperature": 1.5, "seed": 7, "num_predict": 8})
              for _ in range(2)]
    check("a seed repeats an answer", seeded[0].response == seeded[1].response, seeded)


def forms(client, arguments):
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}}, "required": ["name"],
              "additionalProperties": False}
    answer = client.chat(model=arguments.model, messages=[{"role": "user", "content": "Name a meat."}], format=schema,
                         options={"num_predict": 96, "seed": 2})
    try:
        check("an answer keeps to its schema", set(json.loads(answer.message.content)) == {"name"}, answer)
    except json.JSONDecodeError as error:
        check("an answer keeps to its schema", False, f"{answer.message.content!r}: {error}")


def refusals(client, arguments):
    messages = [{"role": "user", "content": "Define brisket."}]
    refuses("an unknown model is refused", 404, "no-such-model",
            lambda: client.chat(model="no-such-model", messages=messages))
    refuses("images are refused by name", 400, "images",
            lambda: client.generate(model=arguments.model, prompt="x", images=[b"\x89PNG"]))
    refuses("thinking is refused by name", 400, "think",
            lambda: client.chat(model=arguments.model, messages=messages, think=True))
    refuses("a suffix is refused by name", 400, "suffix",
            lambda: client.generate(model=arguments.model, prompt="x", suffix="y"))
    refuses("an option out of range is refused by name", 400, "temperature",
            lambda: client.chat(model=arguments.model, messages=messages, options={"temperature": 9}))
    refuses("a model without vectors is refused", 400, "vectors",
            lambda: client.embed(model=arguments.model, input="x"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("base_url")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--token", help="file with the home's token; none is needed on loopback")
    arguments = parser.parse_args()
    base = arguments.base_url.rstrip("/")
    client = ollama.Client(host=base)
    check("it says which version it speaks", bool(httpx.get(base + "/api/version").json()["version"]))
    answers(client, arguments)
    models(client, arguments)
    forms(client, arguments)
    refusals(client, arguments)
    foreign = httpx.post(base + "/api/chat", json={"model": arguments.model}, headers={"Origin": "http://evil.example"})
    check("another site's page is refused", foreign.status_code == 403, foreign.text)
    print(f"{failures} failed" if failures else "all hold")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
